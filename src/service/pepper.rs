//! The pepper of hashed lookups and its replacement, which nobody has to wait for.
//!
//! All hashes are made with the next pepper beside those of the current one, some at a time; whoever
//! binds meanwhile stores both. Then each node makes its index of them. Then the next pepper is
//! announced: from then on every node asks the database which pepper is current, or doesn't believe
//! its memory at all, so that one transaction changes it for all of them. At last the former hashes
//! are removed, some at a time. How far that is stands in the database: whoever comes next goes on.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::{
    app::{App, freshness::BELIEVED_FOR},
    clock::{SharedClock, millis},
    secret,
    service::index,
    store::{
        Store, StoreError,
        peppers::{self, Stage},
    },
};

/// The length of a pepper in characters: more than a table made beforehand could cover.
const PEPPER_LENGTH: usize = 32;

/// How many hashes are made or removed in one transaction: whoever binds waits for that at most.
const BATCH: i64 = 200;

/// How many times as long as a transaction took nothing is done after it, so that lookups have the
/// processor.
const PAUSE: u32 = 3;

/// How long a node may take to make its index of the next pepper before the others go on without it.
const BUILD_TIME: Duration = Duration::from_mins(2);

/// Makes the first pepper, unless there is one.
///
/// # Errors
/// When the database fails.
pub async fn make_first(store: &Store, clock: &SharedClock) -> Result<bool, StoreError> {
    if store.read(peppers::current).await?.is_some() {
        return Ok(false);
    }
    begin(store, clock, i64::MIN).await
}

async fn begin(store: &Store, clock: &SharedClock, before_ms: i64) -> Result<bool, StoreError> {
    let (fresh, now_ms) = (secret::random_alphanumeric(PEPPER_LENGTH), clock.now_ms());
    store.write(move |tx| peppers::begin(tx, before_ms, &fresh, now_ms)).await
}

/// Replaces a pepper that is older than the configured age, or goes on where that was
/// interrupted; answers whether the new one came into use. Of several nodes that try at once, one
/// brings it into use.
///
/// # Errors
/// When the database fails.
pub async fn rotate(app: &App) -> Result<bool, StoreError> {
    let is_replaced = is_due(app).await? && replace(app).await?;
    // Those that are left from a time before, as well.
    in_batches(app, peppers::forget_some).await?;
    Ok(is_replaced)
}

async fn is_due(app: &App) -> Result<bool, StoreError> {
    if app.store.read(peppers::next).await?.is_some() {
        return Ok(true);
    }
    let Some(age) = app.config.lookup.pepper_rotation else { return Ok(false) };
    let before_ms = app.clock.now_ms() - millis(age);
    let current = app.store.read(peppers::current).await?;
    // Looked at first, since beginning keeps everybody who binds waiting for a moment.
    if current.is_some_and(|pepper| pepper.created_at > before_ms) {
        return Ok(false);
    }
    begin(&app.store, &app.clock, before_ms).await?;
    Ok(true)
}

async fn replace(app: &App) -> Result<bool, StoreError> {
    in_batches(app, peppers::hash_some).await?;
    build_indexes(app).await?;
    app.store.write(peppers::announce).await?;
    app.index.telling_is_due.notify_one();
    // The other nodes hear of it meanwhile, or take what they have in memory for old.
    sleep(BELIEVED_FOR + BELIEVED_FOR / 10).await;
    let now_ms = app.clock.now_ms();
    let is_replaced = app.store.write(move |tx| peppers::switch(tx, now_ms)).await?;
    app.index.telling_is_due.notify_one();
    index::catch_up(app).await?;
    Ok(is_replaced)
}

/// Does something in transactions of its own until there is no more of it.
async fn in_batches(
    app: &App,
    work: fn(&mut crate::store::Tx<'_>, i64) -> Result<bool, StoreError>,
) -> Result<(), StoreError> {
    loop {
        let began = Instant::now();
        if !app.store.write(move |tx| work(tx, BATCH)).await? {
            return Ok(());
        }
        sleep(began.elapsed() * PAUSE).await;
    }
}

/// Waits until this node has made its index, and as long again for the others.
async fn build_indexes(app: &App) -> Result<(), StoreError> {
    let next = app.store.read(peppers::next).await?;
    let Some(next) = next.filter(|next| next.stage == Stage::Hashed) else { return Ok(()) };
    let began = Instant::now();
    index::catch_up(app).await?;
    if app.index.is_next_built_within(next.pepper.id, BUILD_TIME).await {
        sleep(began.elapsed()).await;
    }
    Ok(())
}

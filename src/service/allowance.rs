//! What all nodes together let people have of what others ask for about them.

use crate::{
    app::{App, limits::SharedLimit},
    matrix::threepid::ThreePid,
    rate_limit::Exceeded,
    store::{StoreError, allowances},
};

/// How many allowances are forgotten in one transaction.
const BATCH: i64 = 1000;

/// Why somebody gets no more.
#[derive(Debug, thiserror::Error)]
pub enum AllowanceError {
    /// Nothing is left of it for now.
    #[error("the limit is reached")]
    Exceeded(Exceeded),
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Takes one of what `whom` may have of a limit that is switched on.
///
/// # Errors
/// When nothing is left, or the database fails.
pub async fn take(
    app: &App,
    limit: Option<&SharedLimit>,
    whom: &str,
) -> Result<(), AllowanceError> {
    let Some(allowance) = limit.map(|limit| limit.of(whom)) else { return Ok(()) };
    let now_ms = app.clock.now_ms();
    let taken = app.store.write(move |tx| allowances::take(tx, &allowance, now_ms));
    taken.await?.map_err(AllowanceError::Exceeded)
}

/// As [`take`], of what who has an address may have.
///
/// # Errors
/// When nothing is left, or the database fails.
pub async fn take_of_address(
    app: &App,
    limit: Option<&SharedLimit>,
    threepid: &ThreePid,
) -> Result<(), AllowanceError> {
    take(app, limit, &format!("{} {}", threepid.medium().as_str(), threepid.address())).await
}

/// Forgets the allowances of which all is there again; answers how many.
///
/// # Errors
/// When the database fails.
pub async fn forget_full(app: &App) -> Result<usize, StoreError> {
    let now_ms = app.clock.now_ms();
    let mut count = 0;
    loop {
        let removed = app.store.write(move |tx| allowances::remove_full(tx, now_ms, BATCH)).await?;
        count += removed;
        if i64::try_from(removed).is_ok_and(|removed| removed < BATCH) {
            return Ok(count);
        }
    }
}

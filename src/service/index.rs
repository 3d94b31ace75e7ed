//! Keeps in memory what lookups and token checks need, and in step with the database.
//!
//! The truth is the database. Its triggers write down what changed; every node asks for that several
//! times a second, reads again what is true of it now, and brings that in. A node that hasn't been
//! able to for a second doesn't believe its memory. What a node changes itself it brings in before
//! it answers.

mod fill;

use std::{sync::Arc, time::Duration};

use tokio::sync::watch;

use crate::{
    app::{
        App,
        index::{Generation, Phase, State, Wanted},
    },
    index::{Entry, Table, key},
    matrix::threepid::ThreePid,
    store::{
        StoreError, Tx,
        changes::{self, Change, Position},
        hashes,
        peppers::{self, Pepper, Stage},
        standing::{self, Standing},
    },
};

/// How often the database is asked for changes.
const ROUND: Duration = Duration::from_millis(200);

/// How often other nodes are told of changes at most.
const MOMENT: Duration = Duration::from_millis(20);

/// How many changes are read at most; more are taken for a change of everything.
const MOST_CHANGES: usize = 50_000;

/// How many 3PIDs are read again in one query of the database, which must not take too long.
const AT_ONCE: usize = 1000;

/// How old the last answer may be to go on from it: changes are forgotten after twice as long.
const GO_ON_WITHIN: Duration = Duration::from_mins(30);

/// An association that holds for that much longer is taken for one that holds for ever, in
/// milliseconds: nothing stays in memory that long.
const FOR_EVER_MS: i64 = 10 * 365 * 24 * 60 * 60 * 1000;

/// Keeps memory in step with the database until `stop` says `true`.
pub async fn keep(app: &App, stop: watch::Receiver<bool>) {
    let due = app.index.changes_are_due.clone();
    // Gone with this function.
    let _listener = app.store.listen(move || due.notify_one());
    let (building, telling) = (build_when_due(app, stop.clone()), tell_others(app, stop.clone()));
    tokio::join!(follow(app, stop), building, telling);
}

/// Says that an index is to come, so that the server isn't taken for ready before.
pub fn announce(app: &App) {
    if app.config.lookup.index {
        app.index.set_phase(Phase::Building);
    }
}

async fn follow(app: &App, mut stop: watch::Receiver<bool>) {
    let mut failed = false;
    loop {
        let caught_up = catch_up(app).await;
        if let Err(error) = &caught_up
            && !failed
        {
            tracing::warn!(%error, "changes can't be read: the database answers meanwhile");
        }
        failed = caught_up.is_err();
        tokio::select! {
            () = tokio::time::sleep(ROUND) => {}
            () = app.index.changes_are_due.notified() => {}
            _ = stop.wait_for(|stopped| *stopped) => return,
        }
    }
}

/// Tells other nodes of changes, of many within a moment at once.
async fn tell_others(app: &App, mut stop: watch::Receiver<bool>) {
    loop {
        tokio::select! {
            () = app.index.telling_is_due.notified() => {}
            _ = stop.wait_for(|stopped| *stopped) => return,
        }
        if let Err(error) = app.store.tell_others().await {
            tracing::debug!(%error, "other nodes could not be told of a change");
        }
        tokio::time::sleep(MOMENT).await;
    }
}

/// Brings in what changed since the last time.
///
/// # Errors
/// When the database fails.
pub async fn catch_up(app: &App) -> Result<(), StoreError> {
    let mut feed = app.index.feed.lock().await;
    let moment = app.freshness.moment();
    let before = match &*feed {
        Some((position, read)) if read.age(&app.clock) < GO_ON_WITHIN => Some(position.clone()),
        _ => None,
    };
    let read = move |tx: &mut Tx<'_>| {
        let news = match before {
            Some(before) => changes::since(tx, &before, MOST_CHANGES)?,
            None => None,
        };
        let news = match news {
            Some(news) => news,
            None => (vec![Change::Everything], changes::position(tx)?),
        };
        let peppers = (peppers::current(tx)?, peppers::next(tx)?);
        Ok::<_, StoreError>((news, peppers))
    };
    let ((changes, position), (current, next)) = app.store.read_first(read).await?;
    take_in(app, changes).await?;
    adopt(app, current, next);
    *feed = Some((position, moment));
    app.freshness.prove(moment);
    Ok(())
}

/// Brings in at once what this node has changed, and tells others; where that fails the database
/// answers until it has been caught up.
pub async fn hear(app: &App) {
    app.index.telling_is_due.notify_one();
    if let Err(error) = catch_up(app).await {
        tracing::warn!(%error, "changes can't be read: the database answers meanwhile");
        app.freshness.doubt();
    }
}

async fn take_in(app: &App, changes: Vec<Change>) -> Result<(), StoreError> {
    let mut threepids = Vec::new();
    for change in changes {
        match change {
            Change::Threepid(threepid) => threepids.push(threepid),
            Change::Token(hash) => app.tokens.forget(&hash),
            Change::Terms => app.tokens.forget_all(),
            Change::Everything => forget_everything(app).await,
        }
    }
    // Whoever has changed something else has a turn in between.
    for some in threepids.chunks(AT_ONCE) {
        bring_in(app, some.iter().cloned()).await?;
    }
    Ok(())
}

async fn forget_everything(app: &App) {
    app.tokens.forget_all();
    // Not while an index is put in place that was read before.
    let _turn = app.index.turn.lock().await;
    app.index.change(|state| *state = State::default());
}

/// Takes up which pepper is current and which comes next.
fn adopt(app: &App, current: Option<Pepper>, next: Option<peppers::Next>) {
    if !app.config.lookup.index {
        return;
    }
    let is_of = |generation: &Option<Arc<Generation>>, pepper: Option<&Pepper>| {
        generation.as_ref().map(|it| (it.pepper_id, it.pepper.as_str()))
            == pepper.map(|it| (it.id, it.pepper.as_str()))
    };
    app.index.change(|state| {
        if !is_of(&state.current, current.as_ref()) {
            let is_next = is_of(&state.next, current.as_ref());
            state.current = if is_next { state.next.take() } else { None };
        }
        if !is_of(&state.next, next.as_ref().map(|next| &next.pepper)) {
            state.next = None;
        }
        state.is_switching = next.as_ref().is_some_and(|next| next.stage == Stage::Announced);
    });
    app.index.want(|wanted| {
        wanted.current = current;
        // Before that, it would have to be kept up to date for nothing; and not where both don't fit.
        let is_ready = |next: &peppers::Next| next.stage >= Stage::Hashed && has_room(app);
        wanted.next = next.filter(is_ready).map(|next| next.pepper);
    });
    tell_phase(app);
    if missing(app).is_some() {
        app.index.build_is_due.notify_one();
    }
}

fn tell_phase(app: &App) {
    let phase = match (app.index.wanted().is_off, app.index.state().current) {
        (true, _) => Phase::Off,
        (false, Some(_)) => Phase::Complete,
        (false, None) => Phase::Building,
    };
    app.index.set_phase(phase);
}

/// Brings in what this node has just changed, so that it is seen at once. Where that fails the
/// database answers until it has been caught up.
pub async fn refresh(app: &App, threepids: impl IntoIterator<Item = ThreePid>) {
    app.index.telling_is_due.notify_one();
    if app.index.phase() == Phase::Off {
        return;
    }
    if let Err(error) = bring_in(app, threepids).await {
        tracing::warn!(%error, "a change could not be read again: the database answers meanwhile");
        app.freshness.doubt();
    }
}

/// Reads again what is true of `threepids`. Of several who do so at once one does it for all.
async fn bring_in(
    app: &App,
    threepids: impl IntoIterator<Item = ThreePid>,
) -> Result<(), StoreError> {
    let number = app.index.wait_for(threepids);
    let _turn = app.index.turn.lock().await;
    if app.index.is_done(number) {
        return Ok(());
    }
    let taken = app.index.take_waiting();
    let threepids = taken.threepids.iter().cloned().collect();
    set(app, app.index.generations(), threepids).await?;
    taken.done();
    Ok(())
}

/// What the index is to say of a 3PID.
enum Known {
    Nobody,
    User(String),
    Ask,
}

impl Known {
    fn of(standing: &Standing, now_ms: i64) -> Self {
        // What was bound here goes before what directories say, and that before neighbours.
        let held = match (&standing.own, &standing.in_directory, standing.theirs.as_slice()) {
            (Some(own), ..) => Some(own),
            (None, Some(mxid), _) => return Self::User(mxid.clone()),
            (None, None, []) => return Self::Nobody,
            (None, None, [only]) => Some(only),
            (None, None, _) => None,
        };
        let held = held.map(|held| (held.mxid.as_str(), (held.not_before, held.not_after)));
        match held.map(|(mxid, holds)| Self::entry_of(mxid, holds, now_ms)) {
            Some(Entry::User(mxid)) => Self::User(mxid.to_owned()),
            Some(Entry::Ask) | None => Self::Ask,
        }
    }

    /// Where one association is all that is said, which holds from a time to another one.
    fn entry_of(mxid: &str, (from_ms, to_ms): (i64, i64), now_ms: i64) -> Entry<'_> {
        let is_for_ever = from_ms <= now_ms && to_ms >= now_ms.saturating_add(FOR_EVER_MS);
        if is_for_ever { Entry::User(mxid) } else { Entry::Ask }
    }

    fn entry(&self) -> Option<Entry<'_>> {
        match self {
            Self::Nobody => None,
            Self::User(mxid) => Some(Entry::User(mxid)),
            Self::Ask => Some(Entry::Ask),
        }
    }
}

/// Sets what `generations` say of `threepids`. The caller holds the turn, or nobody else changes them.
async fn set(
    app: &App,
    generations: Vec<Arc<Generation>>,
    threepids: Vec<ThreePid>,
) -> Result<(), StoreError> {
    if generations.is_empty() {
        return Ok(());
    }
    for some in threepids.chunks(AT_ONCE) {
        set_some(app, generations.clone(), some.to_vec()).await?;
    }
    keep_within_bounds(app);
    Ok(())
}

async fn set_some(
    app: &App,
    generations: Vec<Arc<Generation>>,
    threepids: Vec<ThreePid>,
) -> Result<(), StoreError> {
    let (sources, now_ms) = (app.believed(), app.clock.now_ms());
    let read = move |tx: &mut Tx<'_>| {
        let standings = standing::of(tx, &sources, &threepids)?;
        let mut sets = Vec::new();
        for generation in generations {
            for (threepid, standing) in &standings {
                let hash = threepid.lookup_hash(&generation.pepper);
                let is_taken = generation.read(|table| table.find(key(&hash)).is_some());
                let known = if is_taken && hashes::is_shared(tx, generation.pepper_id, &hash)? {
                    Known::Ask
                } else {
                    Known::of(standing, now_ms)
                };
                sets.push((generation.clone(), hash, known));
            }
        }
        Ok::<_, StoreError>(sets)
    };
    for (generation, hash, known) in app.store.read_first(read).await? {
        generation.change(|table| table.set(&hash, known.entry()));
    }
    Ok(())
}

fn keep_within_bounds(app: &App) {
    let State { current, next, .. } = app.index.state();
    let bytes = |table: &Table| table.bytes();
    let of_next = next.as_ref().map_or(0, |generation| generation.read(bytes));
    let of_current = current.as_ref().map_or(0, |generation| generation.read(bytes));
    let most = app.config.lookup.index_memory;
    if of_current > most {
        switch_off(app);
    } else if of_current + of_next > most {
        // The next one is made again when it is the current one.
        app.index.change(|state| state.next = None);
    }
}

fn switch_off(app: &App) {
    app.index.want(|wanted| wanted.is_off = true);
    app.index.change(|state| *state = State::default());
    app.index.set_phase(Phase::Off);
    tracing::warn!(
        bytes = app.config.lookup.index_memory,
        "the index of lookups would take more than `lookup.index_memory`: the database answers"
    );
}

/// Whether there is room for the index of the next pepper beside the current one.
fn has_room(app: &App) -> bool {
    app.index.state().current.is_none_or(|current| {
        current.read(Table::bytes).saturating_mul(2) <= app.config.lookup.index_memory
    })
}

/// The pepper for which there should be an index and is none.
fn missing(app: &App) -> Option<Pepper> {
    let Wanted { current, next, is_off } = app.index.wanted();
    let has = app.index.state();
    let is_there = |pepper: &Pepper| {
        let mut generations = has.current.iter().chain(&has.next);
        generations.any(|generation| generation.pepper_id == pepper.id)
    };
    if is_off { None } else { [current, next].into_iter().flatten().find(|one| !is_there(one)) }
}

async fn build_when_due(app: &App, mut stop: watch::Receiver<bool>) {
    loop {
        while let Some(pepper) = missing(app) {
            if let Err(error) = build(app, &pepper).await {
                tracing::warn!(%error, "the index of lookups could not be built: again in a second");
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        }
        tokio::select! {
            () = app.index.build_is_due.notified() => {}
            _ = stop.wait_for(|stopped| *stopped) => return,
        }
    }
}

/// Builds the index under `pepper`, and brings in what changed meanwhile.
async fn build(app: &App, pepper: &Pepper) -> Result<(), StoreError> {
    let began = app.freshness.moment();
    let position = app.store.read(changes::position).await?;
    let table = fill::table(app, pepper.pepper.clone()).await?;
    let Some(table) = table else {
        switch_off(app);
        return Ok(());
    };
    tracing::info!(
        entries = table.len(),
        bytes = table.bytes(),
        ms = began.age(&app.clock).as_millis(),
        "built the index of lookups"
    );
    let generation = Arc::new(Generation::new(pepper.id, pepper.pepper.clone(), table));
    // Most of what changed meanwhile, before whoever binds has to wait for the rest.
    let Some(position) = bring_up_to_date(app, &generation, position).await? else { return Ok(()) };
    let _turn = app.index.turn.lock().await;
    // What changed since is forgotten after a while.
    if began.age(&app.clock) >= GO_ON_WITHIN {
        return Ok(());
    }
    if bring_up_to_date(app, &generation, position).await?.is_none() {
        return Ok(());
    }
    let wanted = app.index.wanted();
    app.index.change(|state| {
        if wanted.current.is_some_and(|current| current.id == pepper.id) {
            state.current = Some(generation);
        } else if wanted.next.is_some_and(|next| next.id == pepper.id) {
            state.next = Some(generation);
        }
    });
    tell_phase(app);
    Ok(())
}

/// Brings into `generation`, which nobody else knows yet, what changed since `position`; answers
/// where to go on, or `None` where that can't be told.
async fn bring_up_to_date(
    app: &App,
    generation: &Arc<Generation>,
    position: Position,
) -> Result<Option<Position>, StoreError> {
    let since = move |tx: &mut Tx<'_>| changes::since(tx, &position, MOST_CHANGES);
    let Some((changes, position)) = app.store.read_first(since).await? else { return Ok(None) };
    if changes.contains(&Change::Everything) {
        return Ok(None);
    }
    let threepid = |change| match change {
        Change::Threepid(threepid) => Some(threepid),
        Change::Token(_) | Change::Terms | Change::Everything => None,
    };
    let threepids = changes.into_iter().filter_map(threepid).collect();
    set(app, vec![generation.clone()], threepids).await?;
    Ok(Some(position))
}

/// Forgets changes that all nodes have seen long ago.
///
/// # Errors
/// When the database fails.
pub async fn forget_old_changes(app: &App) -> Result<(), StoreError> {
    while app.store.write(changes::forget_old).await? {}
    Ok(())
}

/// Tells monitoring how the index stands.
pub fn tell_monitoring(app: &App) {
    let generations = app.index.generations();
    let bytes = generations.iter().map(|generation| generation.read(Table::bytes)).sum();
    let current = app.index.state().current;
    let entries = current.map_or(0, |generation| generation.read(Table::len));
    app.metrics.index().set(entries, bytes, app.freshness.holds(), app.freshness.age());
}

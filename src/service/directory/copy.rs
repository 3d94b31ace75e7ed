//! Copying the people of directories, so that lookups by hash find them without asking.
//!
//! A whole copy is filled in page by page beside the one that is believed, and takes its place at
//! once; who is gone from the directory is gone with the old one. In between, what has changed is
//! copied into the one that is believed. Of several nodes one copies, by a lease; after a crash or a
//! failure somebody goes on where it ended.

mod plan;

use std::collections::HashSet;

use self::plan::{Kind, Plan, Run};
use crate::{
    app::App,
    cause::causes,
    directory::{Cursor, Directory, DirectoryError, Page, Person},
    matrix::id::UserId,
    service::{self, index},
    store::{
        StoreError, Tx,
        directory_people::{self, Change, Copied, Held},
        directory_syncs::{self, Sync},
        peppers,
    },
};

/// How many people are written in one transaction.
const BATCH: usize = 500;

/// How many rows of an old copy are removed in one transaction.
const REMOVED_AT_ONCE: i64 = 1000;

/// The most invitations that wait which are looked for in a copy.
const MOST_AWAITED: i64 = 10_000;

/// What came of looking whether a directory is to be copied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It isn't time yet.
    NotDue,
    /// Another node copies it.
    Elsewhere,
    /// All of its people were copied.
    Copied {
        /// How many addresses they have.
        addresses: i64,
        /// How many addresses of them several people have.
        claimed_twice: i64,
    },
    /// What has changed was copied.
    Updated {
        /// How many people have changed.
        people: usize,
    },
    /// The directory failed; it is tried again later.
    Failed(String),
}

/// Why a copy ended early.
#[derive(Debug, thiserror::Error)]
enum CopyError {
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    #[error("another node has taken over")]
    TakenOver,
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Copies a directory if that is due.
///
/// # Errors
/// When the database fails.
pub async fn copy_if_due(app: &App, directory: &Directory) -> Result<Outcome, StoreError> {
    copy(app, directory, false).await
}

/// Copies all people of a directory now, as the operator wishes.
///
/// # Errors
/// When the database fails.
pub async fn copy_now(app: &App, directory: &Directory) -> Result<Outcome, StoreError> {
    copy(app, directory, true).await
}

async fn copy(app: &App, directory: &Directory, is_forced: bool) -> Result<Outcome, StoreError> {
    let run = match begin(app, Plan::of(app, directory, is_forced)).await? {
        Ok(run) => run,
        Err(outcome) => return Ok(outcome),
    };
    let name = run.directory.clone();
    let copied = match run.kind {
        Kind::Full => copy_everybody(app, directory, run).await,
        Kind::Changes => copy_changes(app, directory, run).await,
    };
    match copied {
        Ok(outcome) => Ok(outcome),
        Err(CopyError::TakenOver) => Ok(Outcome::Elsewhere),
        Err(CopyError::Store(error)) => Err(error),
        Err(CopyError::Directory(error)) => {
            let is_forgotten = matches!(error, DirectoryError::Forgotten);
            let error = causes(&error);
            tracing::info!(directory = name, error, "the directory was not copied");
            let after = if is_forgotten { plan::forget } else { plan::fail };
            end_early(app, name, error.clone(), after).await?;
            Ok(Outcome::Failed(error))
        }
    }
}

/// Takes the lease, if something is due.
async fn begin(app: &App, plan: Plan) -> Result<Result<Run, Outcome>, StoreError> {
    let of = plan.directory.clone();
    // Looked at first: a write keeps others waiting.
    let state = app.store.read(move |tx| directory_syncs::find(tx, &of)).await?;
    let state = state.unwrap_or_default();
    let copied_at = state.full_at.unwrap_or(0);
    app.metrics.directories().set_copy(&plan.directory, state.addresses, copied_at);
    if let Err(outcome) = plan.due(&state) {
        return Ok(Err(outcome));
    }
    let begin = move |tx: &mut Tx<'_>| {
        let mut state = directory_syncs::hold(tx, &plan.directory)?;
        let kind = match plan.due(&state) {
            Ok(kind) => kind,
            Err(outcome) => return Ok(Err(outcome)),
        };
        let run = plan.begin(&mut state, kind);
        directory_syncs::put(tx, &state)?;
        Ok::<_, StoreError>(Ok(run))
    };
    app.store.write(begin).await
}

async fn copy_everybody(
    app: &App,
    directory: &Directory,
    mut run: Run,
) -> Result<Outcome, CopyError> {
    loop {
        let page = directory.page(run.cursor.as_ref()).await?;
        match store_page(app, &run, page).await? {
            Some(next) => run.cursor = Some(goes_forward(&run, next)?),
            None => break,
        }
    }
    let (before, addresses, claimed_twice) = swap(app, &run).await?;
    let name = run.directory.as_str();
    tracing::info!(directory = name, addresses, "copied the directory");
    if claimed_twice > 0 {
        tracing::warn!(
            directory = name,
            claimed_twice,
            "addresses are several people's in the directory, and so they are nobody's here"
        );
    }
    if before > addresses.saturating_mul(2).max(20) {
        tracing::warn!(directory = name, before, addresses, "most of its addresses are gone");
    }
    remove_old_copies(app, name).await?;
    tell_invited(app, name).await?;
    Ok(Outcome::Copied { addresses, claimed_twice })
}

async fn copy_changes(
    app: &App,
    directory: &Directory,
    mut run: Run,
) -> Result<Outcome, CopyError> {
    let mut people = 0;
    while let Some(page) = directory.changes(run.since_ms, run.cursor.as_ref()).await? {
        people += page.people.len();
        match store_page(app, &run, page).await? {
            Some(next) => run.cursor = Some(goes_forward(&run, next)?),
            None => break,
        }
    }
    finish_changes(app, &run, people > 0).await?;
    if people > 0 {
        tracing::debug!(directory = run.directory, people, "copied what has changed");
        tell_invited(app, &run.directory).await?;
    }
    Ok(Outcome::Updated { people })
}

fn goes_forward(run: &Run, next: Cursor) -> Result<Cursor, DirectoryError> {
    if run.cursor.as_ref() == Some(&next) {
        let problem = "the next page would be the same one".to_owned();
        return Err(DirectoryError::Malformed(problem));
    }
    Ok(next)
}

/// Writes a page in batches; answers where the next one begins. A batch that is written again after
/// a crash changes nothing.
async fn store_page(app: &App, run: &Run, page: Page) -> Result<Option<Cursor>, CopyError> {
    let Page { people, next } = page;
    let mut batches = people.chunks(BATCH).peekable();
    let (mut is_first, node) = (true, app.node.clone());
    while is_first || batches.peek().is_some() {
        is_first = false;
        let batch = batches.next().unwrap_or_default();
        let (users, held) = (users(batch), held(batch));
        let is_last = batches.peek().is_none();
        let cursor = next.clone().filter(|_| is_last);
        let (run, node, now_ms) = (run.clone(), node.clone(), app.clock.now_ms());
        let write = move |tx: &mut Tx<'_>| {
            let peppers = peppers::hold_current(tx)?.ok_or(StoreError::NoPepper)?;
            let mut state = plan::hold(tx, &run, &node)?;
            let copy = Copied { directory: &run.directory, generation: run.generation };
            match run.kind {
                Kind::Full => directory_people::add(tx, copy, &held, &peppers)?,
                Kind::Changes => {
                    let change = Change::People { copy, users: &users, held: &held };
                    directory_people::change(tx, &change, &peppers)?;
                }
            }
            plan::live(&mut state, now_ms);
            if let Some(Cursor(text)) = cursor {
                state.run_cursor = Some(text);
            }
            Ok::<_, CopyError>(directory_syncs::put(tx, &state)?)
        };
        app.store.write(write).await?;
    }
    index::hear(app).await;
    Ok(next)
}

fn users(people: &[Person]) -> Vec<UserId> {
    people.iter().map(|person| person.mxid.clone()).collect()
}

fn held(people: &[Person]) -> Vec<Held> {
    let of = |person: &Person| {
        let mxid = person.mxid.clone();
        let held = move |threepid| Held { threepid, mxid: mxid.clone() };
        person.threepids.clone().into_iter().map(held)
    };
    people.iter().flat_map(of).collect()
}

/// Lets the copy take the place of the one before; answers how many addresses were known before, how
/// many are now, and how many several people have.
async fn swap(app: &App, run: &Run) -> Result<(i64, i64, i64), CopyError> {
    let (run, node) = (run.clone(), app.node.clone());
    let swap = move |tx: &mut Tx<'_>| {
        let peppers = peppers::hold_current(tx)?.ok_or(StoreError::NoPepper)?;
        let mut state = plan::hold(tx, &run, &node)?;
        let copy = Copied { directory: &run.directory, generation: run.generation };
        let before = state.addresses;
        let (addresses, claimed_twice) = directory_people::count(tx, copy)?;
        (state.generation, state.addresses) = (run.generation, addresses);
        state.full_at = Some(run.began_at);
        state.changes_at = Some(run.began_at);
        plan::end(&mut state);
        directory_people::change(tx, &Change::Swapped(&state), &peppers)?;
        Ok::<_, CopyError>((before, addresses, claimed_twice))
    };
    let swapped = app.store.write(swap).await?;
    index::hear(app).await;
    Ok(swapped)
}

async fn finish_changes(app: &App, run: &Run, has_changed: bool) -> Result<(), CopyError> {
    let (run, node) = (run.clone(), app.node.clone());
    let finish = move |tx: &mut Tx<'_>| {
        let mut state = plan::hold(tx, &run, &node)?;
        if has_changed {
            let copy = Copied { directory: &run.directory, generation: run.generation };
            state.addresses = directory_people::count(tx, copy)?.0;
        }
        state.changes_at = Some(run.began_at);
        plan::end(&mut state);
        Ok::<_, CopyError>(directory_syncs::put(tx, &state)?)
    };
    app.store.write(finish).await
}

/// Leaves the copy to the next attempt, which finds what `after` leaves it.
async fn end_early(
    app: &App,
    directory: String,
    error: String,
    after: fn(&mut Sync, String, i64),
) -> Result<(), StoreError> {
    let (node, now_ms) = (app.node.clone(), app.clock.now_ms());
    let end = move |tx: &mut Tx<'_>| {
        let mut state = directory_syncs::hold(tx, &directory)?;
        if state.node != node {
            return Ok(());
        }
        after(&mut state, error, now_ms);
        directory_syncs::put(tx, &state)
    };
    app.store.write(end).await
}

/// Leaves the copy to whoever goes on with it.
///
/// # Errors
/// When the database fails.
pub async fn release(app: &App, directory: &Directory) -> Result<(), StoreError> {
    let (directory, node) = (directory.settings().name.clone(), app.node.clone());
    let release = move |tx: &mut Tx<'_>| {
        let mut state = directory_syncs::hold(tx, &directory)?;
        if state.node != node || state.node_until == 0 {
            return Ok(());
        }
        state.node_until = 0;
        directory_syncs::put(tx, &state)
    };
    app.store.write(release).await
}

/// Removes all copies but the one that is believed and the one that is being made.
async fn remove_old_copies(app: &App, directory: &str) -> Result<(), StoreError> {
    loop {
        let directory = directory.to_owned();
        let remove = move |tx: &mut Tx<'_>| {
            // Everybody in one order, so that nobody waits in a circle.
            peppers::hold_current(tx)?;
            let state = directory_syncs::hold(tx, &directory)?;
            let kept = [state.generation, state.last_generation];
            directory_people::remove_some(tx, &directory, &kept, REMOVED_AT_ONCE)
        };
        if !app.store.write::<_, StoreError>(remove).await? {
            return Ok(());
        }
    }
}

/// Who is invited by an address that is found in the copy gets the invitation.
async fn tell_invited(app: &App, directory: &str) -> Result<(), StoreError> {
    let (directory, all) = (directory.to_owned(), app.copied_directories());
    let awaited =
        move |tx: &mut Tx<'_>| directory_people::awaited(tx, (&directory, &all), MOST_AWAITED);
    let found = app.store.read::<_, StoreError>(awaited).await?;
    service::directory::owe(app, found).await.map(drop)
}

/// Removes the copies of directories that are copied no more; answers how many.
///
/// # Errors
/// When the database fails.
pub async fn forget_others(app: &App) -> Result<usize, StoreError> {
    let known: HashSet<String> = app.copied_directories().into_iter().collect();
    let mut names = app.store.read(directory_syncs::names).await?;
    names.retain(|name| !known.contains(name));
    for name in &names {
        let directory = name.clone();
        let forget = move |tx: &mut Tx<'_>| {
            let peppers = peppers::hold_current(tx)?.ok_or(StoreError::NoPepper)?;
            let more = directory_people::remove_some(tx, &directory, &[], REMOVED_AT_ONCE)?;
            if !more {
                directory_people::change(tx, &Change::Forgotten(&directory), &peppers)?;
            }
            Ok::<_, StoreError>(more)
        };
        while app.store.write(forget.clone()).await? {}
        index::hear(app).await;
        tracing::info!(directory = name, "removed the copy of a directory that is copied no more");
    }
    Ok(names.len())
}

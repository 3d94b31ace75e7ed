//! Telling neighbours of binds and unbinds: each entry of the log at least once, in order, across
//! failures and restarts.

use std::{sync::atomic::Ordering, time::Duration};

use serde::{Deserialize, Serialize, Serializer};
use serde_json::Value;

use crate::{
    app::App,
    cause::causes,
    clock::{LEASE_MARGIN, millis},
    config::Neighbour,
    federation::PushError,
    matrix::json::{NotCanonical, Object},
    store::{
        StoreError, Tx, associations,
        replication_log::{self, Cursor, Entry},
        replication_refusals as refusals,
    },
};

/// The most entries in a request.
const BATCH: i64 = 100;

/// After so many failures in a row it begins with a single entry, and goes on with twice as many each
/// time: so it gets as far as the entry that is at fault, if there is one.
const CAREFUL_AFTER: i32 = 3;

/// How often a neighbour has to refuse an entry, and take others, before that is set aside: within
/// about two minutes.
const TRIES: i32 = 8;

/// How many associations are compared with the log at a time.
const COMPARED: i64 = 1000;

/// The pause after the first failure; doubled with each further one.
const FIRST_PAUSE: Duration = Duration::from_secs(1);

/// The longest pause between two attempts.
const LONGEST_PAUSE: Duration = Duration::from_mins(10);

/// Why a neighbour wasn't told.
#[derive(Debug, thiserror::Error)]
enum TellError {
    #[error(transparent)]
    Push(#[from] PushError),
    #[error("it can't be signed")]
    Sign(#[from] NotCanonical),
    #[error("it can't be written as JSON")]
    Json(#[from] serde_json::Error),
}

/// Brings the log up to date once in the life of the process, where there is a neighbour to tell:
/// with what was bound and unbound before there was one.
///
/// # Errors
/// When the database fails; what is missing is appended the next time.
pub async fn catch_up(app: &App) -> Result<(), StoreError> {
    if !app.has_told_neighbours() || app.log_is_complete.load(Ordering::Acquire) {
        return Ok(());
    }
    let next = |name: String| app.store.read(move |tx| associations::medium_after(tx, &name));
    let mut medium = next(String::new()).await?;
    while let Some(current) = medium {
        let mut address = Some(String::new());
        while let Some(after) = address {
            let of = current.clone();
            let append =
                move |tx: &mut Tx<'_>| replication_log::append_missing(tx, &of, &after, COMPARED);
            address = app.store.write::<_, StoreError>(append).await?;
        }
        medium = next(current.to_string()).await?;
    }
    let now_ms = app.clock.now_ms();
    let removals =
        move |tx: &mut Tx<'_>| replication_log::append_missing_removals(tx, COMPARED, now_ms);
    while app.store.write::<_, StoreError>(removals).await? > 0 {}
    app.log_is_complete.store(true, Ordering::Release);
    Ok(())
}

/// Tells `neighbour` all that is due now.
///
/// # Errors
/// When the database fails.
pub async fn tell(app: &App, neighbour: &Neighbour) -> Result<(), StoreError> {
    let Some(url) = &neighbour.url else { return Ok(()) };
    let mut most = None;
    while let Some((cursor, entries)) = claim(app, neighbour, most).await? {
        let (name, count) = (&neighbour.name, entries.len());
        match send(app, neighbour, url, &entries).await {
            Ok(()) => {
                tracing::debug!(%name, count, "told a neighbour");
                app.metrics.pushed(name.as_str(), true);
                advance(app, cursor, entries).await?;
                most = i64::try_from(count * 2).ok();
            }
            Err(error) => {
                app.metrics.pushed(name.as_str(), false);
                let failed = failed(&error, &entries);
                if !set_aside(app, &cursor, (failed, count), &causes(&error)).await? {
                    return postpone(app, cursor, &causes(&error)).await;
                }
                most = None;
            }
        }
    }
    Ok(())
}

async fn advance(app: &App, cursor: Cursor, told: Vec<Entry>) -> Result<(), StoreError> {
    let peers: Vec<String> = app.told_neighbours().map(|n| n.name.to_string()).collect();
    let now_ms = app.clock.now_ms();
    let advance = move |tx: &mut Tx<'_>| {
        let place = (cursor.peer.as_str(), cursor.last_id);
        replication_log::advance(tx, place, &told, (&peers, now_ms))
    };
    app.store.write(advance).await
}

/// Which of the entries the neighbour names as those that it refuses.
fn failed(error: &TellError, entries: &[Entry]) -> Vec<i64> {
    #[derive(Deserialize)]
    struct Failure {
        errcode: String,
        failed_ids: Vec<Value>,
    }
    let TellError::Push(PushError::Refused { answer, .. }) = error else { return Vec::new() };
    let Ok(failure) = serde_json::from_str::<Failure>(answer) else { return Vec::new() };
    if failure.errcode != "M_VERIFICATION_FAILED" {
        return Vec::new();
    }
    let is_named = |id: &i64| {
        let same = |named: &Value| named.as_str() == Some(&id.to_string()) || *named == *id;
        failure.failed_ids.iter().any(same)
    };
    entries.iter().map(|entry| entry.id).filter(is_named).collect()
}

/// Remembers which of `count` entries the neighbour refuses, and sets aside what it has refused often
/// enough; answers whether there was such a one.
async fn set_aside(
    app: &App,
    cursor: &Cursor,
    (failed, count): (Vec<i64>, usize),
    reason: &str,
) -> Result<bool, StoreError> {
    if failed.is_empty() {
        return Ok(false);
    }
    let is_try = failed.len() < count;
    let (peer, reason, now_ms) = (cursor.peer.clone(), reason.to_owned(), app.clock.now_ms());
    let set_aside = move |tx: &mut Tx<'_>| {
        refusals::refuse(tx, &peer, &failed, (&reason, is_try))?;
        if is_try { refusals::set_aside(tx, &peer, TRIES, now_ms) } else { Ok(Vec::new()) }
    };
    let ids = app.store.write::<_, StoreError>(set_aside).await?;
    if ids.is_empty() {
        return Ok(false);
    }
    let name = &cursor.peer;
    app.metrics.set_aside(name, ids.len());
    tracing::warn!(
        neighbour = name,
        ?ids,
        "what a neighbour refuses was set aside: see `bindery peers cursor {name}`"
    );
    Ok(true)
}

/// What comes next for a neighbour, at most so much, unless it isn't due, nothing is there, or another node has it.
async fn claim(
    app: &App,
    neighbour: &Neighbour,
    most: Option<i64>,
) -> Result<Option<(Cursor, Vec<Entry>)>, StoreError> {
    let (name, now_ms) = (neighbour.name.to_string(), app.clock.now_ms());
    let next = move |tx: &mut Tx<'_>| {
        let cursor = replication_log::cursor(tx, &name)?.unwrap_or_else(|| Cursor::new(name));
        let is_careful =
            cursor.attempts >= CAREFUL_AFTER && !refusals::are_tried(tx, &cursor.peer)?;
        let most = most.unwrap_or(if is_careful { 1 } else { BATCH });
        let entries = refusals::next(tx, &cursor, most.min(BATCH))?;
        Ok::<_, StoreError>((cursor, entries))
    };
    let (mut cursor, entries) = app.store.read(next).await?;
    if cursor.due_at > now_ms || entries.is_empty() {
        return Ok(None);
    }
    let until_ms = now_ms + millis(app.neighbours.timeout() + LEASE_MARGIN);
    let (peer, last_id) = (cursor.peer.clone(), cursor.last_id);
    let claim =
        move |tx: &mut Tx<'_>| replication_log::claim(tx, (&peer, last_id), now_ms, until_ms);
    cursor.attempts += 1;
    Ok(app.store.write::<_, StoreError>(claim).await?.then_some((cursor, entries)))
}

async fn send(
    app: &App,
    neighbour: &Neighbour,
    url: &str,
    entries: &[Entry],
) -> Result<(), TellError> {
    let sign = |entry: &Entry| Ok((entry.id, signed(app, neighbour, entry)?));
    let all: Result<Vec<_>, NotCanonical> = entries.iter().map(sign).collect();
    let body = serde_json::to_string(&Push { associations: Ordered(all?) })?;
    Ok(app.neighbours.push(url, body).await?)
}

/// An entry as the neighbour wants it.
fn signed(app: &App, neighbour: &Neighbour, entry: &Entry) -> Result<Object, NotCanonical> {
    let mut object = Object::from_iter([
        ("address".to_owned(), Value::from(entry.address.as_str())),
        ("medium".to_owned(), Value::from(entry.medium.as_str())),
        ("mxid".to_owned(), Value::from(entry.mxid.clone())),
        ("not_before".to_owned(), Value::from(entry.not_before)),
        ("not_after".to_owned(), Value::from(entry.not_after)),
        ("ts".to_owned(), Value::from(entry.ts)),
    ]);
    let key = app.keys.signing();
    let key_id = neighbour.key_id.clone().unwrap_or_else(|| key.id());
    key.sign_as(app.neighbours.own_name(), &key_id, &mut object)?;
    Ok(object)
}

/// The body of a request.
#[derive(Serialize)]
struct Push {
    #[serde(rename = "sgAssocs")]
    associations: Ordered,
}

/// An object whose keys keep their order: a Sydent takes them in the order of the text.
struct Ordered(Vec<(i64, Object)>);

impl Serialize for Ordered {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(id, object)| (id.to_string(), object)))
    }
}

/// Tells a neighbour again later.
async fn postpone(app: &App, cursor: Cursor, error: &str) -> Result<(), StoreError> {
    let Cursor { peer, last_id, attempts, .. } = cursor;
    let pause = pause_after(attempts);
    tracing::warn!(neighbour = peer, attempts, error, ?pause, "a neighbour wasn't told");
    let (error, due_ms) = (error.to_owned(), app.clock.now_ms() + millis(pause));
    app.store.write(move |tx| replication_log::postpone(tx, (&peer, last_id), due_ms, &error)).await
}

/// The pause after so many attempts: doubled each time up to a limit.
fn pause_after(attempts: i32) -> Duration {
    let doublings = u32::try_from(attempts.saturating_sub(1)).unwrap_or(0).min(16);
    FIRST_PAUSE.saturating_mul(1 << doublings).min(LONGEST_PAUSE)
}

/// How long nothing is due for `neighbour`; `None` where there is nothing to tell it.
///
/// # Errors
/// When the database fails.
pub async fn time_to_next(
    app: &App,
    neighbour: &Neighbour,
) -> Result<Option<Duration>, StoreError> {
    let name = neighbour.name.to_string();
    let state = move |tx: &mut Tx<'_>| {
        let cursor = replication_log::cursor(tx, &name)?.unwrap_or_else(|| Cursor::new(name));
        let is_any = !refusals::next(tx, &cursor, 1)?.is_empty();
        Ok::<_, StoreError>((cursor.due_at, is_any))
    };
    let (due_at, is_any) = app.store.read(state).await?;
    let wait = u64::try_from(due_at - app.clock.now_ms()).unwrap_or(0);
    Ok(is_any.then_some(Duration::from_millis(wait)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_from_a_second_to_ten_minutes() {
        for (attempts, seconds) in [(1, 1), (2, 2), (5, 16), (10, 512), (11, 600), (i32::MAX, 600)]
        {
            assert_eq!(pause_after(attempts), Duration::from_secs(seconds), "{attempts}");
        }
    }

    #[test]
    fn a_request_has_the_entries_in_the_order_of_their_numbers() {
        let ids = [9, 10, 100];
        let associations = Ordered(ids.map(|id| (id, Object::new())).to_vec());
        let body = serde_json::to_string(&Push { associations }).unwrap();
        assert_eq!(body, r#"{"sgAssocs":{"9":{},"10":{},"100":{}}}"#);
    }
}

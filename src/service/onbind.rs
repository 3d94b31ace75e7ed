//! Telling homeservers of binds: what invitations owe is delivered at least once, across failures
//! and restarts.

use std::{collections::HashMap, time::Duration};

use futures_util::{StreamExt, TryStreamExt, stream};
use serde_json::{Map, Value, json};

use crate::{
    app::App,
    cause::causes,
    clock::{LEASE_MARGIN, millis},
    federation::FederationError,
    matrix::{
        id::{ServerName, UserId},
        json::{NotCanonical, Object},
    },
    secret,
    store::{
        StoreError,
        associations::Association,
        invites::{self, Invite, Outcome, State},
    },
};

/// How many invitations are looked at at a time.
const BATCH: i64 = 200;

/// How many homeservers are told at the same time.
const AT_ONCE: usize = 8;

/// The pause after the first failure; doubled with each further one.
const FIRST_PAUSE: Duration = Duration::from_secs(30);

/// The longest pause between two attempts.
const LONGEST_PAUSE: Duration = Duration::from_hours(4);

/// Delivers all that is due now.
///
/// # Errors
/// When the database fails.
pub async fn deliver_due(app: &App) -> Result<(), StoreError> {
    loop {
        let now_ms = app.clock.now_ms();
        let due = app.store.read(move |tx| invites::due(tx, now_ms, BATCH)).await?;
        if due.is_empty() {
            return Ok(());
        }
        let mut of_servers: HashMap<ServerName, Vec<Owed>> = HashMap::new();
        for owed in due.into_iter().filter_map(Owed::of) {
            of_servers.entry(owed.mxid.server_name().clone()).or_default().push(owed);
        }
        stream::iter(of_servers.into_values())
            .map(|owed| tell_one_server(app, owed))
            .buffer_unordered(AT_ONCE)
            .try_collect::<()>()
            .await?;
    }
}

/// An invitation with the one it is owed to.
struct Owed {
    invite: Invite,
    mxid: UserId,
    bound_at: i64,
}

impl Owed {
    fn of(invite: Invite) -> Option<Self> {
        match invite.state.clone() {
            State::Owed { mxid, bound_at, .. } => Some(Self { invite, mxid, bound_at }),
            State::Waiting | State::Settled { .. } => None,
        }
    }
}

/// Tells one homeserver of its invitations, one by one: of a batch it would refuse all for one.
/// Once it can't be reached, the others wait as well.
async fn tell_one_server(app: &App, all: Vec<Owed>) -> Result<(), StoreError> {
    let mut away = None;
    for mut owed in all {
        if !claim(app, &mut owed).await? {
            continue;
        }
        let told = match &away {
            None => tell(app, &owed).await,
            Some(error) => Err(TellError::Away(String::clone(error))),
        };
        match told {
            Ok(()) => settle(app, &owed, Outcome::Delivered, None).await?,
            Err(error) => {
                let message = causes(&error);
                postpone(app, &owed, &message).await?;
                if !matches!(error, TellError::Federation(FederationError::Status(_))) {
                    away = Some(message);
                }
            }
        }
    }
    Ok(())
}

/// Claims an invitation, unless another node has it.
async fn claim(app: &App, owed: &mut Owed) -> Result<bool, StoreError> {
    let (token, now_ms) = (owed.invite.token.clone(), app.clock.now_ms());
    let until_ms = now_ms + millis(app.config.federation.timeout + LEASE_MARGIN);
    owed.invite.attempts += 1;
    app.store.write(move |tx| invites::claim(tx, &token, now_ms, until_ms)).await
}

/// Why a homeserver wasn't told.
#[derive(Debug, thiserror::Error)]
enum TellError {
    #[error(transparent)]
    Federation(#[from] FederationError),
    #[error("it can't be signed")]
    Sign(#[from] NotCanonical),
    #[error("{0}")]
    Away(String),
}

async fn tell(app: &App, owed: &Owed) -> Result<(), TellError> {
    let object = onbind(app, owed)?;
    Ok(app.federation.onbind(owed.mxid.server_name(), &object).await?)
}

/// The body of the request: the association with the one invitation, signed
/// ([spec](https://spec.matrix.org/v1.19/server-server-api/#put_matrixfederationv13pidonbind)).
fn onbind(app: &App, Owed { invite, mxid, bound_at }: &Owed) -> Result<Object, NotCanonical> {
    let (name, key) = (&app.config.server.name, app.keys.signing());
    let mut signed: Object = Map::from_iter([
        ("mxid".to_owned(), Value::from(mxid.as_str())),
        ("token".to_owned(), Value::from(invite.token.as_str())),
    ]);
    key.sign(name, &mut signed)?;
    let association = Association::new(invite.threepid.clone(), mxid.clone(), *bound_at);
    let mut object = association.to_json();
    let invites = json!([{
        "address": invite.threepid.address(),
        "medium": invite.threepid.medium().as_str(),
        "mxid": mxid,
        "room_id": invite.room_id,
        "sender": invite.sender,
        "signed": signed,
        // Where Dendrite looks for it.
        "token": invite.token,
    }]);
    object.insert("invites".to_owned(), invites);
    key.sign(name, &mut object)?;
    Ok(object)
}

async fn settle(
    app: &App,
    owed: &Owed,
    outcome: Outcome,
    error: Option<String>,
) -> Result<(), StoreError> {
    let (token, now_ms) = (owed.invite.token.clone(), app.clock.now_ms());
    app.store
        .write(move |tx| invites::settle(tx, &token, outcome, (now_ms, error.as_deref())))
        .await?;
    Ok(())
}

/// Tries again later, or gives up what was owed for too long.
async fn postpone(app: &App, owed: &Owed, error: &str) -> Result<(), StoreError> {
    let (server, attempts) = (owed.mxid.server_name(), owed.invite.attempts);
    let now_ms = app.clock.now_ms();
    if now_ms - owed.bound_at > millis(app.config.invites.retry_for) {
        tracing::error!(%server, attempts, error, "gave up telling a homeserver of an invitation");
        return settle(app, owed, Outcome::Failed, Some(error.to_owned())).await;
    }
    let pause = pause_after(attempts);
    tracing::warn!(%server, attempts, error, ?pause, "a homeserver didn't take an invitation");
    let (token, error) = (owed.invite.token.clone(), error.to_owned());
    let due_ms = now_ms + millis(pause);
    app.store.write(move |tx| invites::postpone(tx, &token, due_ms, &error)).await
}

/// The pause after so many attempts: doubled each time up to a limit, and up to a quarter longer by
/// chance, so that what failed together doesn't come back together.
fn pause_after(attempts: i32) -> Duration {
    let doublings = u32::try_from(attempts.saturating_sub(1)).unwrap_or(0).min(16);
    let pause = FIRST_PAUSE.saturating_mul(1 << doublings).min(LONGEST_PAUSE);
    let [chance] = secret::random_bytes();
    pause + pause / 4 * u32::from(chance) / 255
}

/// How long nothing is due; `None` where nothing is owed.
///
/// # Errors
/// When the database fails.
pub async fn time_to_next(app: &App) -> Result<Option<Duration>, StoreError> {
    let due_ms = app.store.read(invites::next_due).await?;
    let wait = |due_ms: i64| u64::try_from(due_ms - app.clock.now_ms()).unwrap_or(0);
    Ok(due_ms.map(wait).map(Duration::from_millis))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_four_hours_and_a_quarter_at_the_most() {
        for (attempts, seconds) in
            [(1, 30), (2, 60), (3, 120), (10, 4 * 3600), (i32::MAX, 4 * 3600)]
        {
            let pause = pause_after(attempts);
            let shortest = Duration::from_secs(seconds);
            assert!(pause >= shortest && pause <= shortest * 5 / 4, "{attempts}: {pause:?}");
        }
    }
}

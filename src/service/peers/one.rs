//! One question to one peer: by which API, and what that shows of the peer.

mod by_v1;
mod by_v2;

use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use super::{AskError, Found, Item};
use crate::{
    app::{App, peers::Peer},
    breaker::Attempt,
    cause::causes,
    clock::millis,
    federation::{PeerAddress, PeerError},
    metrics::{Api, PeerAddresses, PeerOutcome},
};

/// How long a peer is taken for one that knows API v1 only, or lets this server in by no other.
const WITHOUT_V2: Duration = Duration::from_hours(1);

/// What came of asking by one API; `None` if it took too long.
type Asked = Option<Result<Vec<Found>, AskError>>;

/// Whose the addresses are, as far as one peer knows; `None` if it didn't answer.
pub(super) async fn ask(
    app: &App,
    address: &PeerAddress,
    items: &[Item],
    until: Instant,
) -> Option<Vec<Found>> {
    let (peer, began) = (app.peers.get(address), Instant::now());
    if began >= until {
        return None;
    }
    let Some(attempt) = peer.admits() else {
        tracing::debug!(peer = address.as_str(), "not asked: it is left alone for a while");
        app.metrics.peers.skipped();
        return None;
    };
    let asked = by_either(app, address, &peer, (items, until)).await;
    let (count, took) = (items.len(), began.elapsed());
    let name = address.as_str();
    match asked {
        Some(Ok(found)) => {
            attempt.succeeded();
            app.metrics.peers.addresses(PeerAddresses::Found, found.len());
            tracing::debug!(peer = name, count, found = found.len(), ?took, "asked a peer");
            Some(found)
        }
        Some(Err(error)) => {
            tracing::debug!(peer = name, count, ?took, error = causes(&error), "a peer failed");
            conclude(attempt, name, &error);
            None
        }
        None => {
            tracing::debug!(peer = name, count, ?took, "a peer took too long");
            // One that had hardly any time has shown nothing.
            if took >= app.config.peers.timeout / 8 {
                attempt.failed();
            }
            None
        }
    }
}

/// Whether to ask the peer again soon, after it gave no answer.
fn conclude(attempt: Attempt<'_>, name: &str, error: &AskError) {
    match error {
        AskError::Peer(PeerError::LimitExceeded { retry_after }) => {
            tracing::info!(peer = name, ?retry_after, "a peer was asked too much");
            attempt.rests(*retry_after);
        }
        // The peer is well: it is the operator's turn.
        AskError::Peer(PeerError::TermsNotSigned) => attempt.succeeded(),
        AskError::Peer(_) | AskError::RefusesV2(_) => attempt.failed(),
        // That shows nothing of the peer.
        AskError::Store(_) => drop(attempt),
    }
}

/// Asks by API v2, and by v1 a peer that has no v2 or refuses this server there.
async fn by_either(
    app: &App,
    address: &PeerAddress,
    peer: &Peer,
    (items, until): (&[Item], Instant),
) -> Asked {
    let now_ms = app.clock.now_ms();
    // Who asks first may be registering, and the lock be held meanwhile.
    let dealings = timeout_at(until, peer.dealings.lock()).await;
    if dealings.ok()?.without_v2_until <= now_ms {
        let asked = timeout_at(until, by_v2::lookup(app, address, peer, items)).await.ok();
        app.metrics.peers.asked(Api::V2, outcome(&asked));
        match &asked {
            Some(Err(AskError::Peer(PeerError::NoV2))) => {
                tracing::debug!(peer = address.as_str(), "a peer knows API v1 only");
            }
            Some(Err(AskError::RefusesV2(error))) => tracing::info!(
                peer = address.as_str(),
                error = causes(error),
                "a peer refuses this server by API v2, and is asked by v1"
            ),
            _ => return asked,
        }
        peer.dealings.lock().await.without_v2_until = now_ms.saturating_add(millis(WITHOUT_V2));
    }
    let asked = timeout_at(until, by_v1::lookup(app, address, items)).await.ok();
    let asked = asked.map(|answered| answered.map_err(AskError::from));
    app.metrics.peers.asked(Api::V1, outcome(&asked));
    asked
}

fn outcome(asked: &Asked) -> PeerOutcome {
    match asked {
        Some(Ok(_)) => PeerOutcome::Answered,
        Some(Err(AskError::Peer(PeerError::NoV2))) => PeerOutcome::Absent,
        Some(Err(AskError::Peer(PeerError::LimitExceeded { .. }))) => PeerOutcome::Limited,
        Some(Err(AskError::Peer(PeerError::TermsNotSigned))) => PeerOutcome::Terms,
        Some(Err(
            AskError::RefusesV2(_)
            | AskError::Peer(PeerError::Unauthorized | PeerError::Refused(400..=499)),
        )) => PeerOutcome::Refused,
        Some(Err(AskError::Peer(_) | AskError::Store(_))) => PeerOutcome::Failed,
        None => PeerOutcome::TimedOut,
    }
}

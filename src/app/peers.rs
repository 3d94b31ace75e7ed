//! What is remembered of other identity servers: what they said, whether they work, and how they
//! are spoken to.

mod answers;

use std::sync::Arc;

use moka::sync::Cache;

pub use self::answers::{Answers, Claim, Known, Proof, Said};
use crate::{
    breaker::{Attempt, Gate},
    clock::SharedClock,
    federation::{PeerAddress, PeerPolicy},
};

/// The most peers that are remembered.
const MAX_PEERS: u64 = 4096;

/// What is remembered of all peers.
pub struct Peers {
    /// What they said.
    pub answers: Answers,
    each: Cache<PeerAddress, Arc<Peer>>,
    clock: SharedClock,
}

impl Peers {
    /// Nothing is known yet.
    #[must_use]
    pub fn new(clock: SharedClock) -> Self {
        Self { answers: Answers::new(clock.clone()), each: Cache::new(MAX_PEERS), clock }
    }

    /// How many are remembered.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.each.run_pending_tasks();
        self.each.entry_count()
    }

    /// What is remembered of one.
    #[must_use]
    pub fn get(&self, address: &PeerAddress) -> Arc<Peer> {
        let peer = || Peer {
            dealings: tokio::sync::Mutex::default(),
            gate: Gate::new(self.clock.clone()),
        };
        self.each.get_with_by_ref(address, || Arc::new(peer()))
    }
}

/// What is remembered of one peer.
pub struct Peer {
    /// How it is spoken to. Locked while that is found out, so that many questions at once cause
    /// one registration.
    pub dealings: tokio::sync::Mutex<Dealings>,
    gate: Gate,
}

/// How a peer is spoken to.
#[derive(Default)]
pub struct Dealings {
    /// Our access token there; not to be logged.
    pub token: Option<String>,
    /// The pepper that it wants.
    pub pepper: Option<String>,
    /// Until when it is taken for one that knows API v1 only, or lets this server in by no other,
    /// in milliseconds since the Unix epoch.
    pub without_v2_until: i64,
    /// What it wants accepted first.
    pub unaccepted: Option<Unaccepted>,
}

/// Terms of a peer that the operator had not accepted.
#[derive(Clone)]
pub struct Unaccepted {
    /// The policies.
    pub policies: Vec<PeerPolicy>,
    /// Until when they are taken for what it wants, in milliseconds since the Unix epoch.
    pub until_ms: i64,
}

impl Peer {
    /// The right to ask it once, unless it is left alone now.
    #[must_use]
    pub fn admits(&self) -> Option<Attempt<'_>> {
        self.gate.admits()
    }
}

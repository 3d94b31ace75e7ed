//! The doors, gathered: what every service needs, built once.

pub mod freshness;
pub mod index;
pub mod limits;
pub mod pace;
pub mod peers;
pub mod tokens;

use std::sync::Arc;

use std::sync::atomic::{AtomicBool, AtomicI64};

use tokio::sync::{Notify, watch};

use self::{
    freshness::Freshness, index::LookupIndex, limits::Limits, pace::Pace, peers::Peers,
    tokens::Tokens,
};
use crate::{
    clock::{SharedClock, millis},
    config::{Config, Neighbour},
    delivery::{Delivery, DeliveryError},
    directory::{Directories, DirectorySetupError},
    federation::{Federation, Neighbours, NeighboursError, SetupError},
    homeserver::{Homeserver, UnusableHomeserver},
    matrix::{medium::Mediums, signing::KeyRing, threepid::ThreePid},
    messages::{Messages, MessagesError},
    metrics::{Metrics, Outcome, PeerMemory},
    secret,
    store::{Store, standing::Sources},
};

/// Everything that the services work with.
pub struct App {
    /// What the operator says.
    pub config: Config,
    /// The database.
    pub store: Store,
    /// What people read.
    pub messages: Arc<Messages>,
    /// The door to people.
    pub delivery: Delivery,
    /// What tells this process from others on the same database.
    pub node: String,
    /// The door to the organisation's directories.
    pub directories: Directories,
    /// The door to other servers.
    pub federation: Federation,
    /// The door to neighbours.
    pub neighbours: Neighbours,
    /// The door to the homeserver behind this server, if there is one.
    pub homeserver: Option<Homeserver>,
    /// The long-term signing keys.
    pub keys: KeyRing,
    /// The kinds of 3PIDs.
    pub mediums: Arc<Mediums>,
    /// What is remembered of other identity servers.
    pub peers: Peers,
    /// Who is behind hashes, in memory.
    pub index: LookupIndex,
    /// Whose access tokens are, in memory.
    pub tokens: Tokens,
    /// Whether those two may be believed.
    pub freshness: Freshness,
    /// How much one source may ask for.
    pub limits: Limits,
    /// How long refusals of logins take.
    pub refusals: Pace,
    /// The time.
    pub clock: SharedClock,
    /// What monitoring reads.
    pub metrics: Metrics,
    /// The day on which the log told last that the budget of text messages is spent, counted from
    /// the Unix epoch.
    pub sms_shut_off_day: AtomicI64,
    /// Wakes who tells homeservers of binds.
    pub onbind_is_due: Notify,
    /// Wakes who tells neighbours of binds and unbinds.
    pub push_is_due: watch::Sender<()>,
    /// Whether the log for neighbours holds what was bound before there were some.
    pub log_is_complete: AtomicBool,
}

/// Why a door can't be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// What people read.
    #[error("messages (`[messages]`, `[brands]`)")]
    Messages(#[from] MessagesError),
    /// The door to people.
    #[error("sending messages (`[email]`, `[sms]`, `[mediums]`)")]
    Delivery(#[from] DeliveryError),
    /// The door to the organisation's directories.
    #[error("directories (`[[directories]]`)")]
    Directory(#[from] DirectorySetupError),
    /// The door to other servers.
    #[error("requests to other servers (`[federation]`, `[dns]`)")]
    Federation(#[from] SetupError),
    /// The door to neighbours.
    #[error("neighbours (`[replication]`)")]
    Neighbours(#[from] NeighboursError),
    /// The door to the homeserver.
    #[error("requests to the homeserver (`[gateway]`)")]
    Homeserver(#[from] UnusableHomeserver),
}

impl App {
    /// Opens the other doors beside the database.
    ///
    /// # Errors
    /// When the configuration names something that can't be used.
    pub fn open(
        config: Config,
        store: Store,
        keys: KeyRing,
        clock: SharedClock,
    ) -> Result<Self, OpenError> {
        let messages = Arc::new(Messages::new(&config)?);
        let (mediums, metrics) = (Arc::new(mediums(&config)), metrics(&config));
        let counts = metrics.directories().clone();
        Ok(Self {
            node: secret::random_token(),
            directories: Directories::open(&config.directories, &mediums, &counts, &clock)?,
            delivery: Delivery::new(&config, messages.clone(), clock.clone())?,
            messages,
            federation: Federation::new(&config, clock.clone())?,
            neighbours: Neighbours::new(&config)?,
            homeserver: config.gateway.as_ref().map(Homeserver::new).transpose()?,
            mediums,
            peers: Peers::new(clock.clone()),
            index: LookupIndex::new(),
            tokens: Tokens::new(),
            freshness: Freshness::new(clock.clone()),
            limits: Limits::new(&config.limits, &clock),
            refusals: Pace::new(clock.clone()),
            metrics,
            config,
            store,
            keys,
            clock,
            sms_shut_off_day: AtomicI64::new(i64::MIN),
            onbind_is_due: Notify::new(),
            push_is_due: watch::Sender::new(()),
            log_is_complete: AtomicBool::new(false),
        })
    }

    /// Tells monitoring what became of a message.
    pub fn count_message(&self, to: &ThreePid, sent: &Result<(), DeliveryError>) {
        let outcome = match sent {
            Ok(()) => Outcome::Sent,
            Err(DeliveryError::Refused(_) | DeliveryError::InvalidAddress(_)) => Outcome::Refused,
            Err(DeliveryError::Unsent(_) | DeliveryError::Setup { .. }) => Outcome::Failed,
        };
        self.metrics.message(to.medium().as_str(), outcome);
    }

    /// Tells monitoring how much is remembered of other identity servers.
    pub fn measure_memory(&self) {
        let (answers, answer_bytes) = self.peers.answers.size();
        let (peers, domains) = (self.peers.count(), self.federation.known_domains());
        self.metrics.peers.set_memory(PeerMemory { answers, answer_bytes, peers, domains });
    }

    /// The neighbours that are told of binds and unbinds.
    pub fn told_neighbours(&self) -> impl Iterator<Item = &Neighbour> {
        self.config.peers.replicate.iter().filter(|neighbour| neighbour.url.is_some())
    }

    /// Whether there is anybody to tell of binds and unbinds.
    #[must_use]
    pub fn has_told_neighbours(&self) -> bool {
        self.told_neighbours().next().is_some()
    }

    /// The names of all neighbours: what others said before isn't believed any more.
    #[must_use]
    pub fn believed_origins(&self) -> Vec<String> {
        self.config.peers.replicate.iter().map(|neighbour| neighbour.name.to_string()).collect()
    }

    /// The directories whose copies are believed, in the operator's order.
    #[must_use]
    pub fn copied_directories(&self) -> Vec<String> {
        let copied = self.config.directories.iter().filter(|directory| directory.is_copied());
        copied.map(|directory| directory.name.clone()).collect()
    }

    /// Who is believed beside what was bound here.
    #[must_use]
    pub fn believed(&self) -> Sources {
        Sources { origins: self.believed_origins(), directories: self.copied_directories() }
    }

    /// Sessions that were last changed then or earlier are expired; in milliseconds since the
    /// Unix epoch.
    #[must_use]
    pub fn oldest_session(&self) -> i64 {
        self.clock.now_ms() - millis(self.config.sessions.lifetime)
    }
}

/// All counts, at zero.
fn metrics(config: &Config) -> Metrics {
    let metrics = Metrics::default();
    config.mediums.keys().for_each(|medium| metrics.know_medium(medium));
    for neighbour in &config.peers.replicate {
        metrics.know_neighbour(neighbour.name.as_str());
    }
    metrics
}

/// E-mail, phone, and what the configuration adds to them.
fn mediums(config: &Config) -> Mediums {
    let others = config.mediums.iter();
    Mediums::new(others.map(|(name, medium)| (name.as_str(), medium.rule.clone())))
}

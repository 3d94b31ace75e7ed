//! The doors, gathered: what every service needs, built once.

pub mod freshness;
pub mod index;
pub mod lockout;
pub mod pace;
pub mod peers;
pub mod tokens;

use std::sync::Arc;

use std::sync::atomic::{AtomicBool, AtomicI64};

use tokio::sync::{Notify, watch};

use self::{
    freshness::Freshness, index::LookupIndex, lockout::Lockouts, pace::Pace, peers::Peers,
    tokens::Tokens,
};
use crate::{
    clock::{SharedClock, millis},
    config::{self, Config, Neighbour, Rate},
    delivery::{Delivery, DeliveryError},
    directory::{Directories, DirectorySetupError},
    federation::{Federation, Neighbours, NeighboursError, SetupError},
    homeserver::{Homeserver, UnusableHomeserver},
    matrix::{medium::Mediums, signing::KeyRing, threepid::ThreePid},
    messages::{Messages, MessagesError},
    metrics::{Metrics, Outcome, PeerMemory},
    rate_limit::RateLimit,
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
    /// Who has tried too many wrong passwords.
    pub lockouts: Lockouts,
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
            lockouts: Lockouts::new(clock.clone()),
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

/// The rate limits; `None` where they are switched off.
pub struct Limits {
    /// Registrations from one client address.
    pub register_per_client: Option<RateLimit>,
    /// Validation messages asked for from one client address.
    pub request_token_per_client: Option<RateLimit>,
    /// Validation messages asked for by one account.
    pub request_token_per_account: Option<RateLimit>,
    /// Validation messages to one address.
    pub request_token_per_address: Option<RateLimit>,
    /// Tokens submitted to one session.
    pub submit_token_per_session: Option<RateLimit>,
    /// Addresses looked up by one account.
    pub lookup_addresses_per_account: Option<RateLimit>,
    /// Addresses looked up from one client address.
    pub lookup_addresses_per_client: Option<RateLimit>,
    /// Invitations by one account.
    pub invite_per_account: Option<RateLimit>,
    /// Invitations from one client address, which is a homeserver's.
    pub invite_per_client: Option<RateLimit>,
    /// Invitations of one address.
    pub invite_per_address: Option<RateLimit>,
    /// Text messages asked for by one account.
    pub sms_per_account: Option<RateLimit>,
    /// Text messages asked for from one network.
    pub sms_per_network: Option<RateLimit>,
    /// Text messages to one number.
    pub sms_per_address: Option<RateLimit>,
    /// Text messages to numbers that differ in the last four digits only.
    pub sms_per_prefix: Option<RateLimit>,
    /// Logins with a 3PID from one client address.
    pub login_per_client: Option<RateLimit>,
    /// Logins with one 3PID.
    pub login_per_address: Option<RateLimit>,
    /// Signatures for invitations and unbinds asked for without an account, from one client address.
    pub proof_per_client: Option<RateLimit>,
    /// Passwords that are tried as one user.
    pub credentials_per_user: Option<RateLimit>,
    /// Passwords that are tried from one client address.
    pub credentials_per_client: Option<RateLimit>,
}

impl Limits {
    /// The limits that the configuration asks for.
    #[must_use]
    pub fn new(limits: &config::Limits, clock: &SharedClock) -> Self {
        let limit = |rate: Rate| {
            limits.enabled.then(|| RateLimit::new(rate.count, rate.per, clock.clone()))
        };
        Self {
            register_per_client: limit(limits.register_per_client),
            request_token_per_client: limit(limits.request_token_per_client),
            request_token_per_account: limit(limits.request_token_per_account),
            request_token_per_address: limit(limits.request_token_per_address),
            submit_token_per_session: limit(limits.submit_token_per_session),
            lookup_addresses_per_account: limit(limits.lookup_addresses_per_account),
            lookup_addresses_per_client: limit(limits.lookup_addresses_per_client),
            invite_per_account: limit(limits.invite_per_account),
            invite_per_client: limit(limits.invite_per_client),
            invite_per_address: limit(limits.invite_per_address),
            sms_per_account: limit(limits.sms_per_account),
            sms_per_network: limit(limits.sms_per_network),
            sms_per_address: limit(limits.sms_per_address),
            sms_per_prefix: limit(limits.sms_per_prefix),
            login_per_client: limit(limits.login_per_client),
            login_per_address: limit(limits.login_per_address),
            proof_per_client: limit(limits.proof_per_client),
            credentials_per_user: limit(limits.credentials_per_user),
            credentials_per_client: limit(limits.credentials_per_client),
        }
    }

    /// Frees the memory of sources that have been quiet.
    pub fn forget_idle(&self) {
        for limit in [
            &self.register_per_client,
            &self.request_token_per_client,
            &self.request_token_per_account,
            &self.request_token_per_address,
            &self.submit_token_per_session,
            &self.lookup_addresses_per_account,
            &self.lookup_addresses_per_client,
            &self.invite_per_account,
            &self.invite_per_client,
            &self.invite_per_address,
            &self.sms_per_account,
            &self.sms_per_network,
            &self.sms_per_address,
            &self.sms_per_prefix,
            &self.login_per_client,
            &self.login_per_address,
            &self.proof_per_client,
            &self.credentials_per_user,
            &self.credentials_per_client,
        ]
        .into_iter()
        .flatten()
        {
            limit.forget_idle();
        }
    }
}

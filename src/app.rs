//! The doors, gathered: what every service needs, built once.

use std::sync::Arc;

use tokio::sync::Notify;

use crate::{
    clock::{SharedClock, millis},
    config::{self, Config, Rate},
    delivery::{Delivery, DeliveryError},
    federation::{Federation, SetupError},
    matrix::{medium::Mediums, signing::KeyRing},
    messages::{Messages, MessagesError},
    rate_limit::RateLimit,
    store::Store,
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
    /// The door to other servers.
    pub federation: Federation,
    /// The long-term signing keys.
    pub keys: KeyRing,
    /// The kinds of 3PIDs.
    pub mediums: Arc<Mediums>,
    /// How much one source may ask for.
    pub limits: Limits,
    /// The time.
    pub clock: SharedClock,
    /// Wakes who tells homeservers of binds.
    pub onbind_is_due: Notify,
}

/// Why a door can't be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// What people read.
    #[error("messages (`[messages]`, `[brands]`)")]
    Messages(#[from] MessagesError),
    /// The door to people.
    #[error("mail (`[email]`)")]
    Delivery(#[from] DeliveryError),
    /// The door to other servers.
    #[error("requests to other servers (`[federation]`, `[dns]`)")]
    Federation(#[from] SetupError),
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
        let (email, server) = (&config.email, &config.server);
        Ok(Self {
            delivery: Delivery::new(email, server, messages.clone(), clock.clone())?,
            messages,
            federation: Federation::new(&config.federation, &config.dns, clock.clone())?,
            mediums: Arc::new(mediums(&config)),
            limits: Limits::new(&config.limits, &clock),
            config,
            store,
            keys,
            clock,
            onbind_is_due: Notify::new(),
        })
    }

    /// Sessions that were last changed then or earlier are expired; in milliseconds since the
    /// Unix epoch.
    #[must_use]
    pub fn oldest_session(&self) -> i64 {
        self.clock.now_ms() - millis(self.config.sessions.lifetime)
    }
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
    /// Signatures for invitations and unbinds asked for without an account, from one client address.
    pub proof_per_client: Option<RateLimit>,
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
            proof_per_client: limit(limits.proof_per_client),
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
            &self.proof_per_client,
        ]
        .into_iter()
        .flatten()
        {
            limit.forget_idle();
        }
    }
}

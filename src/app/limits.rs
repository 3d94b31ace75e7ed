//! How much one source may ask for, and how much may be asked for about one person.

use crate::{
    clock::SharedClock,
    config::{self, Rate},
    rate_limit::RateLimit,
    store::allowances::Allowance,
};

/// A limit that protects somebody else than who asks, or the operator's purse. All nodes of a
/// database have it together, and it outlives them.
pub struct SharedLimit {
    name: &'static str,
    rate: Rate,
}

impl SharedLimit {
    /// What `whom` may have.
    #[must_use]
    pub fn of(&self, whom: &str) -> Allowance {
        Allowance::new(self.name, whom, self.rate)
    }
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
    pub request_token_per_address: Option<SharedLimit>,
    /// Tokens submitted to one session.
    pub submit_token_per_session: Option<SharedLimit>,
    /// Addresses looked up by one account.
    pub lookup_addresses_per_account: Option<RateLimit>,
    /// Addresses looked up from one client address.
    pub lookup_addresses_per_client: Option<RateLimit>,
    /// Invitations by one account.
    pub invite_per_account: Option<RateLimit>,
    /// Invitations from one client address, which is a homeserver's.
    pub invite_per_client: Option<RateLimit>,
    /// Invitations of one address.
    pub invite_per_address: Option<SharedLimit>,
    /// Text messages asked for by one account.
    pub sms_per_account: Option<SharedLimit>,
    /// Text messages asked for from one network.
    pub sms_per_network: Option<SharedLimit>,
    /// Text messages to one number.
    pub sms_per_address: Option<SharedLimit>,
    /// Text messages to numbers that differ in the last four digits only.
    pub sms_per_prefix: Option<SharedLimit>,
    /// Logins with a 3PID from one client address.
    pub login_per_client: Option<RateLimit>,
    /// Logins with one 3PID.
    pub login_per_address: Option<SharedLimit>,
    /// Signatures for invitations and unbinds asked for without an account, from one client address.
    pub proof_per_client: Option<RateLimit>,
    /// Passwords that are tried as one user.
    pub credentials_per_user: Option<SharedLimit>,
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
        let shared = |name, rate| limits.enabled.then_some(SharedLimit { name, rate });
        Self {
            register_per_client: limit(limits.register_per_client),
            request_token_per_client: limit(limits.request_token_per_client),
            request_token_per_account: limit(limits.request_token_per_account),
            request_token_per_address: shared(
                "request_token_per_address",
                limits.request_token_per_address,
            ),
            submit_token_per_session: shared(
                "submit_token_per_session",
                limits.submit_token_per_session,
            ),
            lookup_addresses_per_account: limit(limits.lookup_addresses_per_account),
            lookup_addresses_per_client: limit(limits.lookup_addresses_per_client),
            invite_per_account: limit(limits.invite_per_account),
            invite_per_client: limit(limits.invite_per_client),
            invite_per_address: shared("invite_per_address", limits.invite_per_address),
            sms_per_account: shared("sms_per_account", limits.sms_per_account),
            sms_per_network: shared("sms_per_network", limits.sms_per_network),
            sms_per_address: shared("sms_per_address", limits.sms_per_address),
            sms_per_prefix: shared("sms_per_prefix", limits.sms_per_prefix),
            login_per_client: limit(limits.login_per_client),
            login_per_address: shared("login_per_address", limits.login_per_address),
            proof_per_client: limit(limits.proof_per_client),
            credentials_per_user: shared("credentials_per_user", limits.credentials_per_user),
            credentials_per_client: limit(limits.credentials_per_client),
        }
    }

    /// Frees the memory of sources that have been quiet.
    pub fn forget_idle(&self) {
        for limit in [
            &self.register_per_client,
            &self.request_token_per_client,
            &self.request_token_per_account,
            &self.lookup_addresses_per_account,
            &self.lookup_addresses_per_client,
            &self.invite_per_account,
            &self.invite_per_client,
            &self.login_per_client,
            &self.proof_per_client,
            &self.credentials_per_client,
        ]
        .into_iter()
        .flatten()
        {
            limit.forget_idle();
        }
    }
}

//! `[limits]`: how much one source may ask for.

use std::net::IpAddr;

use ipnet::IpNet;

use super::{Rate, Section, count, hours, minutes};

/// How much one source may ask for.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Whether there are limits at all.
    pub enabled: bool,
    /// Clients that no limit by client address or network counts: homeservers, which ask for all
    /// their users.
    pub exempt_networks: Vec<IpNet>,
    /// Registrations from one client address.
    pub register_per_client: Rate,
    /// Validation messages asked for from one client address.
    pub request_token_per_client: Rate,
    /// Validation messages asked for by one account.
    pub request_token_per_account: Rate,
    /// Validation messages to one address.
    pub request_token_per_address: Rate,
    /// Tokens submitted to one session.
    pub submit_token_per_session: Rate,
    /// Addresses looked up by one account.
    pub lookup_addresses_per_account: Rate,
    /// Addresses looked up from one client address.
    pub lookup_addresses_per_client: Rate,
    /// Invitations by one account.
    pub invite_per_account: Rate,
    /// Invitations from one client address, which is a homeserver's.
    pub invite_per_client: Rate,
    /// Invitations of one address.
    pub invite_per_address: Rate,
    /// Logins with a 3PID from one client address.
    pub login_per_client: Rate,
    /// Logins with one 3PID.
    pub login_per_address: Rate,
    /// Signatures for invitations and unbinds asked for without an account, from one client address.
    pub proof_per_client: Rate,
    /// Passwords that are tried as one user.
    pub credentials_per_user: Rate,
    /// Passwords that are tried from one client address, which is a homeserver's.
    pub credentials_per_client: Rate,
    /// Text messages to one number.
    pub sms_per_address: Rate,
    /// Text messages asked for from one network: /24 of IPv4, /64 of IPv6.
    pub sms_per_network: Rate,
    /// Text messages asked for by one account.
    pub sms_per_account: Rate,
    /// Text messages to the numbers that differ in their last four digits only.
    pub sms_per_prefix: Rate,
}

impl Limits {
    /// Whether no limit by client address or network counts `client`.
    #[must_use]
    pub fn exempts(&self, client: IpAddr) -> bool {
        let client = client.to_canonical();
        self.exempt_networks.iter().any(|network| network.contains(&client))
    }
}

/// The defaults are argued for in `config.example.toml`.
pub(super) fn read_limits(s: &mut Section<'_, '_>) -> Limits {
    let rate = |number, per| Rate { count: count(number), per };
    Limits {
        enabled: s.get("enabled", true),
        exempt_networks: s.list("exempt_networks", Vec::new()),
        register_per_client: s.get("register_per_client", rate(300, hours(1))),
        request_token_per_client: s.get("request_token_per_client", rate(100, hours(1))),
        request_token_per_account: s.get("request_token_per_account", rate(10, hours(1))),
        request_token_per_address: s.get("request_token_per_address", rate(10, hours(24))),
        submit_token_per_session: s.get("submit_token_per_session", rate(20, minutes(10))),
        lookup_addresses_per_account: s
            .get("lookup_addresses_per_account", rate(100_000, hours(24))),
        lookup_addresses_per_client: s
            .get("lookup_addresses_per_client", rate(1_000_000, hours(24))),
        invite_per_account: s.get("invite_per_account", rate(100, hours(1))),
        invite_per_client: s.get("invite_per_client", rate(1000, hours(24))),
        invite_per_address: s.get("invite_per_address", rate(20, hours(24))),
        login_per_client: s.get("login_per_client", rate(100, hours(1))),
        login_per_address: s.get("login_per_address", rate(10, minutes(10))),
        proof_per_client: s.get("proof_per_client", rate(300, minutes(10))),
        credentials_per_user: s.get("credentials_per_user", rate(30, minutes(10))),
        credentials_per_client: s.get("credentials_per_client", rate(1000, minutes(10))),
        sms_per_address: s.get("sms_per_address", rate(5, hours(24))),
        sms_per_network: s.get("sms_per_network", rate(20, hours(1))),
        sms_per_account: s.get("sms_per_account", rate(5, hours(1))),
        sms_per_prefix: s.get("sms_per_prefix", rate(30, hours(1))),
    }
}

/// One lookup has to fit into what an account may look up at once, or it could never be answered.
pub(super) fn one_lookup_fits(root: &mut Section<'_, '_>, max_addresses: usize, limits: &Limits) {
    let burst = limits.lookup_addresses_per_account.count.get();
    if limits.enabled && max_addresses > usize::try_from(burst).unwrap_or(usize::MAX) {
        root.fault(
            &["limits.lookup_addresses_per_account", "lookup.max_addresses"],
            &format!("{burst} at once are fewer than lookup.max_addresses, {max_addresses}"),
            &format!("raise it to {max_addresses} or more, or lower lookup.max_addresses"),
        );
    }
}

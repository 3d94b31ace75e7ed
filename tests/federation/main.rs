//! How homeservers and other identity servers are found and asked, over real DNS, TCP and TLS on loopback.
#![expect(clippy::unwrap_used, reason = "a test stops where it can't go on")]
#![expect(clippy::indexing_slicing, reason = "a test stops where it can't go on")]

#[path = "../support/authority.rs"]
#[expect(dead_code, reason = "this binary needs only a part")]
mod authority;
#[path = "../support/dns.rs"]
mod dns;
#[path = "../support/homeserver.rs"]
#[expect(dead_code, reason = "this binary needs only a part")]
mod homeserver;

mod client;
mod discovery;
mod dnssec;
mod guard;
mod identity;
mod log;
mod openid;
mod peer;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use bindery::{
    clock::ManualClock,
    config::{self, Config},
    federation::{Federation, OpenIdError},
};

use crate::{
    dns::FakeDns,
    homeserver::{Ca, FakeHomeserver},
};

/// The token that every homeserver of these tests is asked about.
const TOKEN: &str = "the-openid-token";

/// The server under test, and what surrounds it.
struct World {
    dns: FakeDns,
    ca: Ca,
    clock: Arc<ManualClock>,
    federation: Federation,
}

impl World {
    /// A world in which loopback may be reached.
    async fn start() -> Self {
        Self::with(|_| {}).await
    }

    /// The same with another configuration.
    async fn with(configure: impl FnOnce(&mut config::Federation)) -> Self {
        Self::configured(|config| configure(&mut config.federation)).await
    }

    /// The same with another configuration of anything.
    async fn configured(configure: impl FnOnce(&mut Config)) -> Self {
        let dns = FakeDns::start().await;
        let ca = Ca::new();
        let clock = Arc::new(ManualClock::at(1_700_000_000_000));
        let mut config = Config::from_toml(
            "server.name = 'id.example'\nserver.base_url = 'https://id.example:8090'",
        )
        .unwrap();
        config.federation.allow_networks = vec!["127.0.0.0/8".parse().unwrap()];
        config.federation.ca_file = Some(ca.file().to_owned());
        config.federation.timeout = Duration::from_secs(10);
        config.peers.timeout = Duration::from_secs(10);
        config.dns.nameservers = vec![dns.address()];
        configure(&mut config);
        let federation = Federation::new(&config, clock.clone()).unwrap();
        Self { dns, ca, clock, federation }
    }

    /// A homeserver at `address` with a certificate for `host`, where [`TOKEN`] is a token of the
    /// user alice of the server called `name`.
    async fn homeserver(&self, host: &str, address: SocketAddr, name: &str) -> FakeHomeserver {
        let homeserver = FakeHomeserver::start_at(&self.ca, &[host], address).await;
        homeserver.set_user(TOKEN, &format!("@alice:{name}"));
        homeserver
    }

    /// What answers for `host` on port 443 of an address that DNS then has: its well-known
    /// document delegates to `delegated`.
    async fn well_known(&self, host: &str, delegated: &str) -> FakeHomeserver {
        let server = FakeHomeserver::start_at_443(&self.ca, &[host]).await;
        server.delegate_to(delegated);
        self.dns.host(host, &[&server.address().ip().to_string()]);
        server
    }

    /// Asks the server called `name` whose [`TOKEN`] is.
    async fn ask(&self, name: &str) -> Result<String, OpenIdError> {
        let user = self.federation.openid_user(&name.parse().unwrap(), TOKEN).await?;
        Ok(user.as_str().to_owned())
    }
}

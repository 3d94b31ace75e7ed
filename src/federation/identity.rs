//! From the domain of an e-mail address to the identity server that answers for it.

use std::{fmt, sync::Arc, time::Duration};

use futures_util::future::join_all;
use moka::sync::Cache;
use serde::Deserialize;
use tokio::sync::{Mutex, MutexGuard};
use url::{Host, Url};

use super::{
    Answer, Client, Destination, Federation, FederationError, Records, Service, Target, is_absent,
};
use crate::{
    clock::{SharedClock, millis},
    config,
};

/// The service under which a domain names its identity servers.
const SERVICE: &str = "_matrix-identity._tcp";

/// The most targets of a service that are looked at.
const MAX_TARGETS: usize = 8;

/// The longest well-known document in bytes.
const MAX_WELL_KNOWN: usize = 50 * 1024;

/// The most domains that are remembered.
const MAX_DOMAINS: u64 = 16 * 1024;

/// The shortest and the longest time that service records hold, whatever they say.
const LIFETIMES: (Duration, Duration) = (Duration::from_mins(1), Duration::from_hours(24));

/// How long a well-known document holds.
const WELL_KNOWN_LIFETIME: Duration = Duration::from_hours(1);

/// How long it holds that a domain has no identity server.
const NOTHING_LIFETIME: Duration = Duration::from_mins(5);

/// How long a domain is left alone after the first failure; doubled with each further one.
const FIRST_PAUSE: Duration = Duration::from_mins(1);

/// The longest that a domain is left alone after a failure.
const LONGEST_PAUSE: Duration = Duration::from_hours(1);

/// The base URL of another identity server.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct PeerAddress {
    /// Without a slash at the end of its path, if it has one.
    base: Url,
    is_operators: bool,
}

impl PeerAddress {
    /// A server that the operator names, by its base URL: it may be anywhere, at private addresses
    /// too.
    ///
    /// Fails if it can't be asked by that.
    pub fn of_operator(base_url: &str) -> Result<Self, FederationError> {
        let unusable = || FederationError::Unusable(base_url.to_owned());
        let url = Url::parse(base_url).map_err(|_| unusable())?;
        let is_http = matches!(url.scheme(), "http" | "https") && url.has_host();
        if is_http { Ok(Self { base: bare(url), is_operators: true }) } else { Err(unusable()) }
    }

    /// A server that somebody else names: https only, and never at an address that the guard
    /// refuses.
    fn of_stranger(base_url: &str) -> Option<Self> {
        let url = Url::parse(base_url).ok().filter(|url| url.scheme() == "https")?;
        let is_plain = url.username().is_empty() && url.password().is_none();
        is_plain.then(|| Self { base: bare(url), is_operators: false })
    }

    /// The base URL, without a slash at its end.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.base.as_str().trim_end_matches('/')
    }

    /// What is asked of it at `path`, which begins with a slash.
    pub(super) fn path(&self, path: &str) -> String {
        format!("{}{path}", self.base.path().trim_end_matches('/'))
    }

    /// Where it is asked.
    pub(super) async fn destination(
        &self,
        client: &Client,
    ) -> Result<Destination, FederationError> {
        if self.is_operators {
            client.trusted(&self.base).await
        } else {
            client.of_url(&self.base).await
        }
    }

    /// Host and port.
    fn place(&self) -> Option<(String, u16)> {
        let host = self.base.host_str()?.trim_end_matches('.');
        Some((host.to_owned(), self.base.port_or_known_default()?))
    }
}

impl fmt::Display for PeerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for PeerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a domain says of its identity server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Discovered {
    /// That it has none.
    Nothing,
    /// That it is this server.
    Ourselves,
    /// Where it is: the first is asked, the others only where those before fail. Never empty.
    At(Vec<PeerAddress>, FoundBy),
}

/// How an identity server was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FoundBy {
    /// By service records.
    Service,
    /// By the well-known document for clients.
    WellKnown,
}

impl Federation {
    /// The identity server of `domain`, which is that of an e-mail address, in any form. What was
    /// found is remembered, and so is that nothing was.
    ///
    /// Takes no longer than the time-out of peers. Fails if the domain's name servers or web server
    /// can't be asked, and for a while after that.
    pub async fn identity_server(&self, domain: &str) -> Result<Discovered, FederationError> {
        let Some(domain) = a_label(domain) else { return Ok(Discovered::Nothing) };
        self.peers.identities.find(&self.peers.client, &domain).await
    }

    /// Of how many domains it is remembered where their identity server is.
    #[must_use]
    pub fn known_domains(&self) -> u64 {
        self.peers.identities.domains.run_pending_tasks();
        self.peers.identities.domains.entry_count()
    }

    /// The targets of the service records of `domain` that are passed over since their names are
    /// aliases, as they were found last.
    pub async fn passed_over(&self, domain: &str) -> Vec<String> {
        let domains = &self.peers.identities.domains;
        let Some(known) = a_label(domain).and_then(|domain| domains.get(&domain)) else {
            return Vec::new();
        };
        match &known.lock().await.finding {
            Some(Finding::Service(_, aliases)) => aliases.clone(),
            _ => Vec::new(),
        }
    }
}

/// Finds identity servers, and remembers them.
pub(super) struct Identities {
    domains: Cache<String, Arc<Mutex<Known>>>,
    /// The names of this server, with the port where they have one.
    own: Vec<(String, Option<u16>)>,
    clock: SharedClock,
    timeout: Duration,
}

/// What is known of a domain. Locked while it is asked about, so that many questions at once cause
/// one.
#[derive(Debug)]
struct Known {
    /// `None` after a failure.
    finding: Option<Finding>,
    fresh_until_ms: i64,
    failures: u32,
}

#[derive(Debug, Clone)]
enum Finding {
    Nothing,
    Ourselves,
    /// The records, and the names of the targets that are passed over.
    Service(Records, Vec<String>),
    WellKnown(PeerAddress),
}

impl Finding {
    fn discovered(&self) -> Discovered {
        let (records, aliases) = match self {
            Self::Nothing => return Discovered::Nothing,
            Self::Ourselves => return Discovered::Ourselves,
            Self::WellKnown(peer) => {
                return Discovered::At(vec![peer.clone()], FoundBy::WellKnown);
            }
            Self::Service(records, aliases) => (records, aliases),
        };
        let Service::At(targets) = records.service() else { return Discovered::Nothing };
        let peers: Vec<PeerAddress> = targets
            .iter()
            .filter(|target| target.port != 0 && !aliases.contains(&target.host))
            .take(MAX_TARGETS)
            .filter_map(peer_at)
            .collect();
        if peers.is_empty() { Discovered::Nothing } else { Discovered::At(peers, FoundBy::Service) }
    }
}

impl Default for Known {
    fn default() -> Self {
        Self { finding: None, fresh_until_ms: i64::MIN, failures: 0 }
    }
}

impl Known {
    /// For as long as nobody says otherwise it counts as failed: who asks may be gone before there
    /// is an answer.
    fn fail(&mut self, now_ms: i64) {
        let pause = FIRST_PAUSE.saturating_mul(2_u32.saturating_pow(self.failures));
        self.finding = None;
        self.failures = self.failures.saturating_add(1);
        self.fresh_until_ms = now_ms.saturating_add(millis(pause.min(LONGEST_PAUSE)));
    }

    fn learn(&mut self, finding: Finding, until_ms: i64) {
        *self = Self { finding: Some(finding), fresh_until_ms: until_ms, failures: 0 };
    }
}

impl Identities {
    /// `timeout` is for all that is asked about one domain.
    pub(super) fn new(server: &config::Server, clock: SharedClock, timeout: Duration) -> Self {
        let own = server.all_names().iter().filter_map(|name| place_of(name)).collect();
        Self { domains: Cache::new(MAX_DOMAINS), own, clock, timeout }
    }

    async fn find(&self, client: &Client, domain: &str) -> Result<Discovered, FederationError> {
        let entry = self.domains.get_with(domain.to_owned(), Arc::default);
        let mut known = entry.lock().await;
        let now_ms = self.clock.now_ms();
        if now_ms >= known.fresh_until_ms {
            known.fail(now_ms);
            self.ask(client, domain, &mut known, now_ms).await?;
        }
        let finding = known.finding.as_ref().ok_or(FederationError::AskedTooSoon)?;
        Ok(finding.discovered())
    }

    async fn ask(
        &self,
        client: &Client,
        domain: &str,
        known: &mut MutexGuard<'_, Known>,
        now_ms: i64,
    ) -> Result<(), FederationError> {
        let asked = tokio::time::timeout(self.timeout, self.look(client, domain)).await;
        let found = asked.unwrap_or(Err(FederationError::TimedOut));
        let (finding, lifetime) = found.inspect_err(|error| {
            tracing::debug!(domain, %error, "its identity server can't be found");
        })?;
        tracing::debug!(domain, ?finding, ?lifetime, "its identity server");
        known.learn(finding, now_ms.saturating_add(millis(lifetime)));
        Ok(())
    }

    /// What the domain says now, and for how long that holds.
    async fn look(
        &self,
        client: &Client,
        domain: &str,
    ) -> Result<(Finding, Duration), FederationError> {
        let records = client.resolver().records(SERVICE, domain).await;
        let records =
            records.map_err(|source| FederationError::Dns { host: domain.to_owned(), source })?;
        let (shortest, longest) = LIFETIMES;
        let lifetime = records.ttl.clamp(shortest, longest);
        match records.service() {
            Service::Unknown => self.well_known(client, domain).await,
            Service::NotOffered => Ok((Finding::Nothing, lifetime)),
            Service::At(targets) => {
                tracing::debug!(domain, ?targets, "service records");
                if targets.iter().any(|target| self.is_own(&target.host, target.port)) {
                    return Ok((Finding::Ourselves, lifetime));
                }
                let aliases = aliases(client, &targets).await;
                Ok((Finding::Service(records, aliases), lifetime))
            }
        }
    }

    /// The identity server that the domain's document for clients names:
    /// [spec](https://spec.matrix.org/v1.19/client-server-api/#getwell-knownmatrixclient)
    async fn well_known(
        &self,
        client: &Client,
        domain: &str,
    ) -> Result<(Finding, Duration), FederationError> {
        let url = Url::parse(&format!("https://{domain}/.well-known/matrix/client"))
            .map_err(|_| FederationError::Unusable(domain.to_owned()))?;
        let peer = match client.get_url(url, MAX_WELL_KNOWN).await {
            Ok(Answer { status: 200, body, .. }) => named_in(&body),
            Ok(Answer { status, .. }) if status >= 500 => {
                return Err(FederationError::Status(status));
            }
            Ok(_) | Err(FederationError::AddressRefused(_)) => None,
            Err(FederationError::Dns { source, .. }) if is_absent(source.as_ref()) => None,
            Err(error) => return Err(error),
        };
        Ok(match peer {
            None => (Finding::Nothing, NOTHING_LIFETIME),
            Some(peer) if peer.place().is_some_and(|(host, port)| self.is_own(&host, port)) => {
                (Finding::Ourselves, WELL_KNOWN_LIFETIME)
            }
            Some(peer) => (Finding::WellKnown(peer), WELL_KNOWN_LIFETIME),
        })
    }

    fn is_own(&self, host: &str, port: u16) -> bool {
        let host = host.trim_end_matches('.');
        self.own.iter().any(|(own_host, own_port)| {
            own_host.eq_ignore_ascii_case(host) && own_port.is_none_or(|own_port| own_port == port)
        })
    }
}

/// The domain as DNS knows it; `None` for what is no host name.
fn a_label(domain: &str) -> Option<String> {
    let domain = idna::domain_to_ascii_strict(domain.trim_end_matches('.')).ok()?;
    // A number would be taken for an IPv4 address.
    let is_name = matches!(Host::parse(&domain), Ok(Host::Domain(_)));
    is_name.then_some(domain)
}

/// An identity server has no delegation: certificate and Host header are the target's own.
fn peer_at(target: &Target) -> Option<PeerAddress> {
    let host = target.host.trim_end_matches('.');
    PeerAddress::of_stranger(&format!("https://{host}:{}", target.port))
}

fn bare(mut url: Url) -> Url {
    url.set_query(None);
    url.set_fragment(None);
    let path = url.path().trim_end_matches('/').to_owned();
    url.set_path(&path);
    url
}

/// Host and port of a name as homeservers write it, or of a base URL without its scheme.
fn place_of(name: &str) -> Option<(String, Option<u16>)> {
    let url = Url::parse(&format!("https://{name}")).ok()?;
    // Port 443 is not kept in such a URL.
    let port = if name.ends_with(":443") { Some(443) } else { url.port() };
    Some((url.host_str()?.trim_end_matches('.').to_owned(), port))
}

/// The targets whose name is an alias, which RFC 2782 forbids.
async fn aliases(client: &Client, targets: &[Target]) -> Vec<String> {
    let looked_at = targets.iter().take(MAX_TARGETS).map(async |target| {
        let found = client.resolver().host(&target.host).await;
        found.is_ok_and(|host| host.is_alias).then(|| target.host.clone())
    });
    let aliases: Vec<String> = join_all(looked_at).await.into_iter().flatten().collect();
    for target in &aliases {
        tracing::debug!(target, "passed over: an alias");
    }
    aliases
}

fn named_in(document: &[u8]) -> Option<PeerAddress> {
    #[derive(Deserialize)]
    struct Document {
        #[serde(rename = "m.identity_server")]
        identity_server: IdentityServer,
    }
    #[derive(Deserialize)]
    struct IdentityServer {
        base_url: String,
    }
    let document: Document = serde_json::from_slice(document).ok()?;
    PeerAddress::of_stranger(&document.identity_server.base_url)
}

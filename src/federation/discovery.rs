//! From a server name to where that server is:
//! [resolving server names](https://spec.matrix.org/v1.19/server-server-api/#resolving-server-names).

use std::{
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use moka::sync::Cache;
use reqwest::header::{AGE, CACHE_CONTROL, DATE, EXPIRES, HeaderMap, HeaderName};
use serde::Deserialize;
use tokio::sync::Mutex;
use url::Url;

use super::{Client, Destination, FederationError, Service};
use crate::{
    clock::{SharedClock, millis},
    matrix::id::ServerName,
};

/// The port of federation where nothing names another.
const FEDERATION_PORT: u16 = 8448;

/// The services in the order in which they are looked for; the second is deprecated.
const SERVICES: [&str; 2] = ["_matrix-fed._tcp", "_matrix._tcp"];

/// The longest well-known document in bytes.
const MAX_WELL_KNOWN: usize = 50 * 1024;

/// The most hosts whose well-known documents are remembered.
const MAX_HOSTS: u64 = 4096;

/// How long a document holds if its headers don't say.
const DEFAULT_LIFETIME: Duration = Duration::from_hours(24);

/// The shortest and the longest time that a document holds, whatever its headers say.
const LIFETIMES: (Duration, Duration) = (Duration::from_mins(1), Duration::from_hours(48));

/// How long it is left alone after the first failure; doubled with each further one.
const FIRST_PAUSE: Duration = Duration::from_mins(1);

/// The longest that it is left alone after a failure.
const LONGEST_PAUSE: Duration = Duration::from_hours(1);

/// Finds servers, and remembers what their well-known documents said.
pub(super) struct Discovery {
    hosts: Cache<String, Arc<Mutex<WellKnown>>>,
    clock: SharedClock,
    timeout: Duration,
}

/// What is known of a host's well-known document. Locked while it is fetched, so that many
/// questions at once cause one request.
#[derive(Debug)]
struct WellKnown {
    delegated: Option<ServerName>,
    fresh_until_ms: i64,
    failures: u32,
}

impl Discovery {
    /// `timeout` is how long a well-known document is waited for, redirects included; then
    /// discovery goes on without it.
    pub(super) fn new(clock: SharedClock, timeout: Duration) -> Self {
        Self { hosts: Cache::new(MAX_HOSTS), clock, timeout }
    }

    /// Where the server called `name` is.
    ///
    /// Fails if it has no address that may be connected to.
    pub(super) async fn locate(
        &self,
        client: &Client,
        name: &ServerName,
    ) -> Result<Destination, FederationError> {
        // Steps 1 and 2.
        if is_explicit(name) {
            return direct(client, name).await;
        }
        // Step 3: what is delegated to is taken as the name was, without a second well-known.
        let delegated = self.delegated(client, name.host()).await;
        let name = delegated.as_ref().unwrap_or(name);
        if is_explicit(name) { direct(client, name).await } else { by_service(client, name).await }
    }

    /// The server that the host's well-known document names, if it names one.
    async fn delegated(&self, client: &Client, host: &str) -> Option<ServerName> {
        let entry = self.hosts.get_with(host.to_ascii_lowercase(), Arc::default);
        let mut known = entry.lock().await;
        let now_ms = self.clock.now_ms();
        if now_ms < known.fresh_until_ms {
            tracing::debug!(host, delegated = ?known.delegated, "well-known, remembered");
            return known.delegated.clone();
        }
        let fetched = tokio::time::timeout(self.timeout, fetch(client, host, now_ms)).await;
        match fetched.unwrap_or(Err(FederationError::TimedOut)) {
            Ok((delegated, lifetime)) => {
                tracing::debug!(host, %delegated, ?lifetime, "well-known");
                known.delegated = Some(delegated);
                known.failures = 0;
                known.fresh_until_ms = now_ms.saturating_add(millis(lifetime));
            }
            Err(error) => {
                let doubled = 2_u32.saturating_pow(known.failures);
                let pause = FIRST_PAUSE.saturating_mul(doubled).min(LONGEST_PAUSE);
                tracing::debug!(host, %error, ?pause, "no well-known");
                known.delegated = None;
                known.failures = known.failures.saturating_add(1);
                known.fresh_until_ms = now_ms.saturating_add(millis(pause));
            }
        }
        known.delegated.clone()
    }
}

impl Default for WellKnown {
    fn default() -> Self {
        Self { delegated: None, fresh_until_ms: i64::MIN, failures: 0 }
    }
}

fn is_explicit(name: &ServerName) -> bool {
    name.ip().is_some() || name.port().is_some()
}

async fn direct(client: &Client, name: &ServerName) -> Result<Destination, FederationError> {
    let port = name.port().unwrap_or(FEDERATION_PORT);
    tracing::debug!(%name, port, "asked directly");
    client.direct(name.host(), port, name.as_str()).await
}

/// Steps 3.3 to 3.5, or 4 to 6: by service records, else at the usual port. Host header and
/// certificate are those of `name`, wherever the records lead.
async fn by_service(client: &Client, name: &ServerName) -> Result<Destination, FederationError> {
    for service in SERVICES {
        match client.resolver().service(service, name.host()).await {
            Service::Unknown => tracing::debug!(%name, service, "no such service"),
            Service::NotOffered => return Err(FederationError::NotOffered(name.to_string())),
            Service::At(targets) => {
                tracing::debug!(%name, service, ?targets, "found by its service records");
                return client.via(name.host(), &targets).await;
            }
        }
    }
    direct(client, name).await
}

/// The server named in a host's well-known document, and for how long that holds.
async fn fetch(
    client: &Client,
    host: &str,
    now_ms: i64,
) -> Result<(ServerName, Duration), FederationError> {
    #[derive(Deserialize)]
    struct Document {
        #[serde(rename = "m.server")]
        server: ServerName,
    }
    let url = Url::parse(&format!("https://{host}/.well-known/matrix/server"))
        .map_err(|_| FederationError::Unusable(host.to_owned()))?;
    let answer = client.get_url(url, MAX_WELL_KNOWN).await?;
    if answer.status != 200 {
        return Err(FederationError::Status(answer.status));
    }
    let document: Document =
        serde_json::from_slice(&answer.body).map_err(|_| FederationError::Malformed)?;
    let (shortest, longest) = LIFETIMES;
    Ok((document.server, lifetime(&answer.headers, now_ms).clamp(shortest, longest)))
}

/// For how long an answer may be remembered (RFC 9111, section 4.2), not yet clamped.
fn lifetime(headers: &HeaderMap, now_ms: i64) -> Duration {
    let text = |name: HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    let seconds = |text: &str| Duration::from_secs(text.trim_matches('"').parse().unwrap_or(0));
    let directives = headers.get_all(CACHE_CONTROL);
    let directives = directives.iter().filter_map(|value| value.to_str().ok());
    let directives: Vec<_> = directives
        .flat_map(|value| value.split(','))
        .map(|directive| directive.trim().to_ascii_lowercase())
        .collect();
    if directives.iter().any(|directive| directive == "no-store" || directive == "no-cache") {
        return Duration::ZERO;
    }
    if let Some(max_age) = directives.iter().find_map(|text| text.strip_prefix("max-age=")) {
        return seconds(max_age).saturating_sub(text(AGE).map_or(Duration::ZERO, seconds));
    }
    let Some(expires) = text(EXPIRES) else { return DEFAULT_LIFETIME };
    let now = UNIX_EPOCH + Duration::from_millis(u64::try_from(now_ms).unwrap_or(0));
    let date = text(DATE).and_then(|date| httpdate::parse_http_date(date).ok()).unwrap_or(now);
    httpdate::parse_http_date(expires)
        .ok()
        .and_then(|expires: SystemTime| expires.duration_since(date).ok())
        .unwrap_or(Duration::ZERO)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lifetime_of(headers: &[(&'static str, &'static str)]) -> u64 {
        let headers = headers
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap()))
            .collect();
        // 1994-11-06T08:49:37Z
        lifetime(&headers, 784_111_777_000).as_secs()
    }

    #[test]
    fn max_age_says_how_long_and_the_time_in_other_caches_counts() {
        assert_eq!(lifetime_of(&[("cache-control", "public, Max-Age=\"3600\"")]), 3600);
        assert_eq!(lifetime_of(&[("cache-control", "max-age=3600"), ("age", "600")]), 3000);
        assert_eq!(lifetime_of(&[("cache-control", "max-age=60"), ("age", "61")]), 0);
        assert_eq!(lifetime_of(&[("cache-control", "max-age=x")]), 0);
        assert_eq!(lifetime_of(&[("cache-control", "max-age=3600, no-cache")]), 0);
    }

    #[test]
    fn expires_counts_from_the_date_of_the_answer_else_from_now() {
        let expires = ("expires", "Sun, 06 Nov 1994 09:49:37 GMT");
        assert_eq!(lifetime_of(&[expires]), 3600);
        assert_eq!(lifetime_of(&[expires, ("date", "Sun, 06 Nov 1994 09:39:37 GMT")]), 600);
        assert_eq!(lifetime_of(&[("expires", "0")]), 0);
        assert_eq!(lifetime_of(&[expires, ("cache-control", "max-age=5")]), 5);
        assert_eq!(lifetime_of(&[]), 24 * 3600);
    }
}

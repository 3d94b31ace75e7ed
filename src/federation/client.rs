//! HTTPS to hosts that others name: every address is checked before it is connected to.

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use moka::sync::Cache;
use reqwest::{
    Method, Request, Response,
    dns::{Addrs, Name, Resolve, Resolving},
    header::{AUTHORIZATION, CONTENT_TYPE, HOST, HeaderMap, HeaderValue, LOCATION},
    redirect,
};
use rustls::ClientConfig;
use serde_json::Value;
use url::{Host, Url};

use super::{AddressGuard, FederationError, Resolver, Target};
use crate::matrix::json::Object;

/// The most redirects that are followed.
const MAX_REDIRECTS: usize = 5;

/// The most addresses of one destination that are tried: a stranger's records must not turn
/// this server into a port scanner.
const MAX_ADDRESSES: usize = 16;

/// The most destinations whose connections are kept for reuse.
const MAX_DESTINATIONS: u64 = 256;

/// How long a destination's connections are kept without use.
const IDLE: Duration = Duration::from_secs(90);

/// Resolves, checks, connects, asks and reads, each within limits.
#[derive(Debug)]
pub(super) struct Client {
    guard: AddressGuard,
    resolver: Resolver,
    tls: ClientConfig,
    connect_timeout: Duration,
    destinations: Cache<Destination, reqwest::Client>,
}

/// Where a request goes: made by [`Client`] alone, so that all its addresses are checked ones.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Destination {
    /// Host (also the name that the certificate has to bear) and, for an IP literal, the port. For
    /// a host name the port is that of the address, which need not be the same for all.
    base: Url,
    host_header: String,
    addresses: Vec<SocketAddr>,
}

/// What is asked for; path and query as they are to appear in the request.
#[derive(Debug, Clone)]
pub(super) struct Call<'a> {
    pub(super) method: Method,
    pub(super) path: &'a str,
    pub(super) query: Option<&'a str>,
    /// An access token.
    pub(super) token: Option<&'a str>,
    /// The body, a JSON object.
    pub(super) object: Option<&'a Object>,
}

impl<'a> Call<'a> {
    /// `method` of `path`, with nothing more.
    pub(super) fn new(method: Method, path: &'a str) -> Self {
        Self { method, path, query: None, token: None, object: None }
    }

    fn request(&self, base: &Url) -> Result<Request, FederationError> {
        let mut url = base.clone();
        url.set_path(self.path);
        url.set_query(self.query);
        let mut request = Request::new(self.method.clone(), url);
        if let Some(token) = self.token {
            let bearer = HeaderValue::from_str(&format!("Bearer {token}"));
            let mut bearer = bearer.map_err(|_| FederationError::Malformed)?;
            bearer.set_sensitive(true);
            request.headers_mut().insert(AUTHORIZATION, bearer);
        }
        if let Some(object) = self.object {
            let json = HeaderValue::from_static("application/json");
            request.headers_mut().insert(CONTENT_TYPE, json);
            *request.body_mut() = Some(Value::Object(object.clone()).to_string().into());
        }
        Ok(request)
    }
}

/// An answer, read to its end.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) headers: HeaderMap,
    pub(super) body: Vec<u8>,
}

impl Client {
    /// `connect_timeout` is for all the addresses of a destination together.
    pub(super) fn new(
        guard: AddressGuard,
        resolver: Resolver,
        tls: ClientConfig,
        connect_timeout: Duration,
    ) -> Self {
        let destinations =
            Cache::builder().max_capacity(MAX_DESTINATIONS).time_to_idle(IDLE).build();
        Self { guard, resolver, tls, connect_timeout, destinations }
    }

    /// What DNS is asked with.
    pub(super) fn resolver(&self) -> &Resolver {
        &self.resolver
    }

    /// The destination `host:port`, where `host` may be an IP literal (IPv6 in brackets).
    ///
    /// Fails if the host can't be resolved or none of its addresses may be connected to.
    pub(super) async fn direct(
        &self,
        host: &str,
        port: u16,
        host_header: &str,
    ) -> Result<Destination, FederationError> {
        let base = base_url(host, port)?;
        let addresses = self.checked(self.addresses(&base).await?, port);
        destination(without_port(base), host_header, addresses)
    }

    /// The destination of a URL that the operator named: wherever it leads, and without TLS if
    /// that is what it says.
    ///
    /// Fails if the host can't be resolved.
    pub(super) async fn trusted(&self, url: &Url) -> Result<Destination, FederationError> {
        let unusable = || FederationError::Unusable(url.to_string());
        let (Some(host), Some(port)) = (url.host_str(), url.port_or_known_default()) else {
            return Err(unusable());
        };
        let mut base =
            Url::parse(&format!("{}://{host}:{port}/", url.scheme())).map_err(|_| unusable())?;
        let addresses = self.addresses(&base).await?;
        let addresses = addresses.into_iter().map(|address| (address, port).into()).collect();
        base = without_port(base);
        destination(base, &host_header(url), addresses)
    }

    async fn addresses(&self, base: &Url) -> Result<Vec<IpAddr>, FederationError> {
        match base.host() {
            Some(Host::Domain(name)) => Ok(self.resolve(name).await?.addresses),
            Some(Host::Ipv4(ip)) => Ok(vec![ip.into()]),
            Some(Host::Ipv6(ip)) => Ok(vec![ip.into()]),
            None => Err(FederationError::Unusable(base.to_string())),
        }
    }

    /// The destination that serves `host` at `targets`, the first ones preferred.
    ///
    /// Fails if none of the targets has an address that may be connected to.
    pub(super) async fn via(
        &self,
        host: &str,
        targets: &[Target],
    ) -> Result<Destination, FederationError> {
        let base = base_url(host, 443)?;
        if !matches!(base.host(), Some(Host::Domain(_))) {
            return Err(FederationError::Unusable(host.to_owned()));
        }
        let mut addresses = Vec::new();
        let mut failure = FederationError::Unusable(host.to_owned());
        for target in targets.iter().filter(|target| target.port != 0) {
            match self.resolve(&target.host).await {
                // RFC 2782: the name of a target must not be an alias.
                Ok(found) if found.is_alias => {
                    tracing::debug!(host, target = target.host, "passed over: an alias");
                }
                Ok(found) => {
                    failure = FederationError::AddressRefused(target.host.clone());
                    addresses.extend(self.checked(found.addresses, target.port));
                }
                Err(error) => failure = error,
            }
            if addresses.len() >= MAX_ADDRESSES {
                break;
            }
        }
        if addresses.is_empty() { Err(failure) } else { destination(base, host, addresses) }
    }

    async fn resolve(&self, host: &str) -> Result<super::Host, FederationError> {
        self.resolver
            .host(host)
            .await
            .map_err(|source| FederationError::Dns { host: host.to_owned(), source })
    }

    fn checked(&self, addresses: Vec<IpAddr>, port: u16) -> Vec<SocketAddr> {
        let (permitted, refused): (Vec<IpAddr>, Vec<IpAddr>) =
            addresses.into_iter().partition(|address| self.guard.permits(*address));
        if !refused.is_empty() {
            tracing::debug!(?refused, "addresses left out");
        }
        permitted.into_iter().map(|address| SocketAddr::new(address, port)).collect()
    }

    /// Asks, and reads the answer; redirects are answers like others.
    ///
    /// Fails if the answer's body is longer than `limit` bytes.
    pub(super) async fn call(
        &self,
        to: &Destination,
        call: &Call<'_>,
        limit: usize,
    ) -> Result<Answer, FederationError> {
        read(self.send(to, call.request(&to.base)?).await?, limit).await
    }

    /// `GET` of an https URL that a stranger named; redirects are followed, each checked anew.
    ///
    /// Fails if the body is longer than `limit` bytes, and on more than five redirects, a loop
    /// or one that leaves https.
    pub(super) async fn get_url(&self, url: Url, limit: usize) -> Result<Answer, FederationError> {
        let mut seen = vec![url.clone()];
        let mut url = url;
        loop {
            let to = self.of_url(&url).await?;
            let mut target = to.base.clone();
            target.set_path(url.path());
            target.set_query(url.query());
            let response = self.send(&to, Request::new(Method::GET, target)).await?;
            let Some(next) = redirect_of(&response, &url) else {
                return read(response, limit).await;
            };
            if seen.len() > MAX_REDIRECTS || seen.contains(&next) {
                return Err(FederationError::Redirects);
            }
            tracing::debug!(from = %url, to = %next, "redirected");
            seen.push(next.clone());
            url = next;
        }
    }

    /// The destination of an https URL that a stranger named.
    ///
    /// Fails if it is none, or none of its addresses may be connected to.
    pub(super) async fn of_url(&self, url: &Url) -> Result<Destination, FederationError> {
        let is_plain = url.scheme() == "https" && url.username().is_empty();
        let host = url.host_str().filter(|_| is_plain && url.password().is_none());
        let (Some(host), Some(port)) = (host, url.port_or_known_default()) else {
            return Err(FederationError::Unusable(url.to_string()));
        };
        self.direct(host, port, &host_header(url)).await
    }

    async fn send(
        &self,
        to: &Destination,
        mut request: Request,
    ) -> Result<Response, FederationError> {
        let host = HeaderValue::from_str(&to.host_header)
            .map_err(|_| FederationError::Unusable(to.host_header.clone()))?;
        request.headers_mut().insert(HOST, host);
        let client = match self.destinations.get(to) {
            Some(client) => client,
            None => self.connections(to)?,
        };
        Ok(client.execute(request).await?)
    }

    fn connections(&self, to: &Destination) -> Result<reqwest::Client, FederationError> {
        let client = reqwest::Client::builder()
            .user_agent(concat!("Bindery/", env!("CARGO_PKG_VERSION")))
            .dns_resolver(Checked(to.addresses.clone()))
            .tls_backend_preconfigured(self.tls.clone())
            .connect_timeout(self.connect_timeout)
            .redirect(redirect::Policy::none())
            .https_only(to.base.scheme() == "https")
            // The Host header is our own, which HTTP/2 has no place for.
            .http1_only()
            .no_proxy()
            .build()?;
        self.destinations.insert(to.clone(), client.clone());
        Ok(client)
    }
}

/// Answers with the checked addresses, whatever the name: a second question to DNS could bring
/// others.
struct Checked(Vec<SocketAddr>);

impl Resolve for Checked {
    fn resolve(&self, _: Name) -> Resolving {
        let addresses: Addrs = Box::new(self.0.clone().into_iter());
        Box::pin(std::future::ready(Ok(addresses)))
    }
}

/// Host and, where it isn't the usual one, port.
fn host_header(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

/// For a host name the port is that of the address.
fn without_port(mut base: Url) -> Url {
    // Only a URL without a host refuses that.
    if matches!(base.host(), Some(Host::Domain(_))) && base.set_port(None).is_err() {
        tracing::debug!(%base, "has no host");
    }
    base
}

fn base_url(host: &str, port: u16) -> Result<Url, FederationError> {
    // An address with port 0 would be taken for one whose port is the usual one.
    let usable = Some(port).filter(|port| *port != 0);
    usable
        .and_then(|port| Url::parse(&format!("https://{host}:{port}/")).ok())
        .ok_or_else(|| FederationError::Unusable(format!("{host}:{port}")))
}

fn destination(
    base: Url,
    host_header: &str,
    mut addresses: Vec<SocketAddr>,
) -> Result<Destination, FederationError> {
    if addresses.is_empty() {
        return Err(FederationError::AddressRefused(host_header.to_owned()));
    }
    addresses.truncate(MAX_ADDRESSES);
    Ok(Destination { base, host_header: host_header.to_owned(), addresses })
}

fn redirect_of(response: &Response, from: &Url) -> Option<Url> {
    if !matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308) {
        return None;
    }
    let location = response.headers().get(LOCATION)?.to_str().ok()?;
    let mut next = from.join(location).ok()?;
    next.set_fragment(None);
    Some(next)
}

async fn read(mut response: Response, limit: usize) -> Result<Answer, FederationError> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        if body.len() + chunk.len() > limit {
            return Err(FederationError::TooLarge { limit });
        }
        body.extend_from_slice(&chunk);
    }
    let headers = std::mem::take(response.headers_mut());
    Ok(Answer { status: response.status().as_u16(), headers, body })
}

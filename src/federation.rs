//! Requests to homeservers and to other identity servers: who they are found by, what they may be reached at, and what is
//! believed of their answers.

mod client;
mod discovery;
mod dns;
mod guard;
mod identity;
mod keys;
mod peer;
mod push;

use std::{
    error::Error,
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use reqwest::Method;
use rustls::ClientConfig;
use serde::Deserialize;
use url::form_urlencoded;

use self::{
    client::{Answer, Call, Client, Destination},
    discovery::Discovery,
    dns::{Host, Records, Resolver, Service, Target, is_absent},
    identity::Identities,
    keys::Keys,
    peer::PeerKeys,
};
pub use guard::AddressGuard;
pub use identity::{Discovered, FoundBy, PeerAddress};
pub use peer::{
    HashDetails, HashedQuery, OpenIdToken, PeerError, PeerPolicy, PeerThreepid, PeerVersions,
};
pub use push::{Neighbours, NeighboursError, PushError};

use crate::{
    clock::SharedClock,
    config::{self, Config},
    matrix::{
        id::{ServerName, UserId},
        json::Object,
    },
    roots,
};

/// The longest answer in bytes, where it isn't a list.
const MAX_ANSWER: usize = 64 * 1024;

/// The door to homeservers.
pub struct Federation {
    client: Client,
    discovery: Discovery,
    keys: Keys,
    timeout: Duration,
    peers: Peers,
}

/// What other identity servers are found and asked with: like homeservers, but within a time-out of
/// their own.
struct Peers {
    client: Client,
    identities: Identities,
    keys: PeerKeys,
    timeout: Duration,
}

/// Why requests to homeservers can't be made at all.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// The system's name servers are not known.
    #[error("the system's name servers can't be read; name some under `dns.nameservers`")]
    NameServers(#[source] Box<dyn Error + Send + Sync>),
    /// The keys for DNSSEC can't be read.
    #[error(
        "`dns.trust_anchor_file` {path} can't be read; it takes DNSKEY records, such as \
         `. 3600 IN DNSKEY 257 3 8 AwEAA…`"
    )]
    TrustAnchors {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: Box<dyn Error + Send + Sync>,
    },
    /// The extra certificates can't be read.
    #[error("`federation.ca_file` {path} can't be read")]
    CaFile {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: io::Error,
    },
    /// The TLS library refuses its own defaults.
    #[error("TLS can't be set up")]
    Tls(#[source] rustls::Error),
}

/// Why a server could not be asked, or gave no answer that could be used.
#[derive(Debug, thiserror::Error)]
pub enum FederationError {
    /// A name or URL that can't be connected to: not https, no host, port 0.
    #[error("{0} is not something to connect to: it takes https, a host and a port above 0")]
    Unusable(String),
    /// The name has no address, or no name server answered.
    #[error("{host} can't be resolved")]
    Dns {
        /// The name.
        host: String,
        /// What the resolver said.
        source: Box<dyn Error + Send + Sync>,
    },
    /// The server's service record says that there is no federation.
    #[error("{0} offers no federation: its service record has the root as target")]
    NotOffered(String),
    /// No address of the host may be connected to.
    #[error(
        "no address of {0} may be connected to; exceptions go under `federation.allow_networks`"
    )]
    AddressRefused(String),
    /// Connecting, TLS or HTTP failed.
    #[error("the request failed")]
    Http(#[source] reqwest::Error),
    /// It took too long.
    #[error("the request took too long")]
    TimedOut,
    /// Redirects led too far, or in a circle.
    #[error("too many redirects")]
    Redirects,
    /// The answer was too long.
    #[error("the answer is longer than {limit} bytes")]
    TooLarge {
        /// The longest answer that is read.
        limit: usize,
    },
    /// An answer with a status that has no use.
    #[error("the answer has status {0}")]
    Status(u16),
    /// It was asked a moment ago, without success.
    #[error("it was asked a moment ago, without success")]
    AskedTooSoon,
    /// The body is not the JSON that it has to be.
    #[error("the answer is not the JSON that was asked for")]
    Malformed,
}

impl From<reqwest::Error> for FederationError {
    fn from(error: reqwest::Error) -> Self {
        if error.is_timeout() {
            Self::TimedOut
        } else {
            // The URL may hold an access token.
            Self::Http(error.without_url())
        }
    }
}

/// Why an OpenID token names no user.
#[derive(Debug, thiserror::Error)]
pub enum OpenIdError {
    /// The homeserver refused the token (a status from 400 to 499).
    #[error("the homeserver refused the token with status {0}")]
    Refused(u16),
    /// The homeserver named no user of its own.
    #[error("the homeserver named somebody who is not its user")]
    WrongUser,
    /// The homeserver could not be asked, or its answer made no sense.
    #[error("the homeserver gave no usable answer")]
    Unreachable(#[source] FederationError),
    /// The homeserver took too long.
    #[error("the homeserver took too long to answer")]
    TimedOut,
}

impl From<FederationError> for OpenIdError {
    fn from(error: FederationError) -> Self {
        match error {
            FederationError::TimedOut => Self::TimedOut,
            other => Self::Unreachable(other),
        }
    }
}

impl Federation {
    /// Reads the root certificates and the name servers.
    ///
    /// Fails if `ca_file` or the system's resolver configuration can't be read.
    pub fn new(config: &Config, clock: SharedClock) -> Result<Self, SetupError> {
        let resolver = Resolver::new(&config.dns)?;
        let guard = AddressGuard::new(&config.federation);
        let tls = tls(&config.federation)?;
        let client = |timeout| Client::new(guard.clone(), resolver.clone(), tls.clone(), timeout);
        // What is tried first must leave time for what is tried next.
        let half = config.federation.timeout / 2;
        let peers = Peers {
            client: client(config.peers.timeout / 2),
            identities: Identities::new(&config.server, clock.clone(), config.peers.timeout),
            keys: PeerKeys::new(clock.clone()),
            timeout: config.peers.timeout,
        };
        Ok(Self {
            client: client(half),
            discovery: Discovery::new(clock.clone(), half),
            keys: Keys::new(clock),
            timeout: config.federation.timeout,
            peers,
        })
    }

    /// The user whom `access_token`, an OpenID token, was given to by the homeserver `server`:
    /// `GET /_matrix/federation/v1/openid/userinfo` —
    /// [spec](https://spec.matrix.org/v1.19/server-server-api/#get_matrixfederationv1openiduserinfo)
    ///
    /// Takes no longer than the configured time-out, discovery included. Fails unless the
    /// homeserver answers 200 and names a user of its own.
    pub async fn openid_user(
        &self,
        server: &ServerName,
        access_token: &str,
    ) -> Result<UserId, OpenIdError> {
        #[derive(Deserialize)]
        struct Userinfo {
            sub: String,
        }
        let asked = tokio::time::timeout(self.timeout, self.userinfo(server, access_token));
        let answer = asked.await.map_err(|_| OpenIdError::TimedOut)??;
        match answer.status {
            200 => {}
            status @ 400..=499 => return Err(OpenIdError::Refused(status)),
            status => return Err(FederationError::Status(status).into()),
        }
        let Userinfo { sub } =
            serde_json::from_slice(&answer.body).map_err(|_| FederationError::Malformed)?;
        let user: UserId = sub.parse().map_err(|_| OpenIdError::WrongUser)?;
        if user.server_name() == server { Ok(user) } else { Err(OpenIdError::WrongUser) }
    }

    /// Tells the homeserver `server` of a bind:
    /// `POST /_matrix/federation/v1/3pid/onbind` —
    /// [spec](https://spec.matrix.org/v1.19/server-server-api/#put_matrixfederationv13pidonbind)
    ///
    /// The specification's method is PUT, which is tried where POST is unknown; homeservers know
    /// only POST. No `X-Matrix` is sent: the object is signed itself.
    ///
    /// Takes no longer than the configured time-out. Fails unless the homeserver answers with a
    /// status from 200 to 299.
    pub async fn onbind(
        &self,
        server: &ServerName,
        object: &Object,
    ) -> Result<(), FederationError> {
        let sent = tokio::time::timeout(self.timeout, self.post_onbind(server, object));
        match sent.await.map_err(|_| FederationError::TimedOut)??.status {
            200..=299 => Ok(()),
            status => Err(FederationError::Status(status)),
        }
    }

    async fn post_onbind(
        &self,
        server: &ServerName,
        object: &Object,
    ) -> Result<Answer, FederationError> {
        let path = "/_matrix/federation/v1/3pid/onbind";
        let to = self.discovery.locate(&self.client, server).await?;
        let mut call = Call { object: Some(object), ..Call::new(Method::POST, path) };
        let answer = self.client.call(&to, &call, MAX_ANSWER).await?;
        if matches!(answer.status, 404 | 405) {
            call.method = Method::PUT;
            return self.client.call(&to, &call, MAX_ANSWER).await;
        }
        Ok(answer)
    }

    /// The public key with which `server` signs its requests now under `key_id`; `None` where it
    /// has no such key.
    ///
    /// Takes no longer than the configured time-out. Fails if the keys have to be fetched and
    /// can't be.
    pub async fn server_key(
        &self,
        server: &ServerName,
        key_id: &str,
    ) -> Result<Option<[u8; 32]>, FederationError> {
        let found = tokio::time::timeout(
            self.timeout,
            self.keys.find(server, key_id, || self.fetch_keys(server)),
        );
        found.await.map_err(|_| FederationError::TimedOut)?
    }

    async fn fetch_keys(&self, server: &ServerName) -> Result<Answer, FederationError> {
        let to = self.discovery.locate(&self.client, server).await?;
        let call = Call::new(Method::GET, "/_matrix/key/v2/server");
        self.client.call(&to, &call, MAX_ANSWER).await
    }

    async fn userinfo(
        &self,
        server: &ServerName,
        access_token: &str,
    ) -> Result<Answer, FederationError> {
        let query = format!("access_token={}", percent_encoded(access_token));
        let path = "/_matrix/federation/v1/openid/userinfo";
        let to = self.discovery.locate(&self.client, server).await?;
        let call = Call { query: Some(&query), ..Call::new(Method::GET, path) };
        self.client.call(&to, &call, MAX_ANSWER).await
    }
}

/// A value of a query.
fn percent_encoded(text: &str) -> String {
    // The form encoding of a space is the only one that is not percent-encoding.
    form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>().replace('+', "%20")
}

/// TLS that checks chain and name against the system's roots and those of `ca_file`.
fn tls(federation: &config::Federation) -> Result<ClientConfig, SetupError> {
    let ca_file = federation.ca_file.as_deref();
    let roots = roots::read(ca_file).map_err(|source| SetupError::CaFile {
        path: ca_file.unwrap_or(Path::new("")).to_owned(),
        source,
    })?;
    if roots.is_empty() {
        tracing::warn!(
            "the system has no root certificates, so no homeserver can be asked; \
             install its package of them (often `ca-certificates`) or set `federation.ca_file`"
        );
    }
    let mut tls = roots::tls(roots).map_err(SetupError::Tls)?;
    tls.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(tls)
}

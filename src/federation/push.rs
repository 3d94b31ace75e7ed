//! Requests that tell neighbours of binds and unbinds, by mutual TLS. Their addresses are the
//! operator's, so that any may be reached.

use std::time::Duration;

use reqwest::{
    Method, Request,
    header::{CONTENT_TYPE, HeaderValue},
    redirect,
};
use rustls::RootCertStore;
use url::Url;

use super::FederationError;
use crate::{
    config::{Config, Replication},
    matrix::id::ServerName,
    mutual_tls::{Credentials, Unusable},
    roots,
};

/// How long a neighbour may take to answer: a Sydent checks a hundred signatures first.
const TIMEOUT: Duration = Duration::from_secs(30);

/// The longest part of an answer that is read: where it is a refusal, it says why.
const MAX_ANSWER: usize = 8 * 1024;

/// Where neighbours are pushed to, below their base URL.
const PATH: &str = "/_matrix/identity/replicate/v1/push";

/// The door to neighbours.
#[derive(Debug)]
pub struct Neighbours {
    client: reqwest::Client,
    name: ServerName,
}

/// Why neighbours can't be told anything.
#[derive(Debug, thiserror::Error)]
pub enum NeighboursError {
    /// Certificate, key or authorities can't be used.
    #[error(transparent)]
    Credentials(#[from] Unusable),
    /// The common name of the certificate can't sign.
    #[error("the common name {0:?} of `replication.certificate` is no server name")]
    Name(String),
    /// A neighbour is to be told, and would not know by whom.
    #[error("{0} can't be pushed to without `replication.certificate`, `key` and `ca_file`")]
    NoCertificate(ServerName),
    /// The TLS library refuses its own defaults.
    #[error("TLS can't be set up")]
    Tls(#[from] rustls::Error),
    /// The HTTP library can't be set up.
    #[error("requests can't be made")]
    Http(#[from] reqwest::Error),
}

/// Why a neighbour didn't take what it was told.
#[derive(Debug, thiserror::Error)]
pub enum PushError {
    /// It can't be reached, or didn't answer in time.
    #[error(transparent)]
    Request(#[from] FederationError),
    /// It refused.
    #[error("it answers with status {status}: {answer}")]
    Refused {
        /// The status.
        status: u16,
        /// The beginning of the answer.
        answer: String,
    },
}

impl Neighbours {
    /// Reads the certificates, where there are some.
    ///
    /// # Errors
    /// When they can't be used, say no name to sign under, or are missing.
    pub fn new(config: &Config) -> Result<Self, NeighboursError> {
        let credentials = config.replication.as_ref().map(credentials).transpose()?;
        let by_tls = |url: &String| url.starts_with("https:");
        let mut told = config.peers.replicate.iter().filter(|n| n.url.as_ref().is_some_and(by_tls));
        if let (None, Some(neighbour)) = (&credentials, told.next()) {
            return Err(NeighboursError::NoCertificate(neighbour.name.clone()));
        }
        let (tls, name) = match &credentials {
            Some(credentials) => (credentials.client()?, name_of(credentials, config)?),
            None => (roots::tls(RootCertStore::empty())?, config.server.name.clone()),
        };
        let client = reqwest::Client::builder()
            .user_agent(concat!("Bindery/", env!("CARGO_PKG_VERSION")))
            .tls_backend_preconfigured(tls)
            .timeout(TIMEOUT)
            .redirect(redirect::Policy::none())
            .no_proxy()
            .build()?;
        Ok(Self { client, name })
    }

    /// The name under which neighbours know us, and under which associations are signed for them.
    #[must_use]
    pub fn own_name(&self) -> &ServerName {
        &self.name
    }

    /// The longest that one request takes.
    #[must_use]
    pub fn timeout(&self) -> Duration {
        TIMEOUT
    }

    /// Sends JSON to the neighbour whose base URL is `base`: `POST
    /// /_matrix/identity/replicate/v1/push`, in Sydent's format.
    ///
    /// # Errors
    /// When it doesn't answer that it has taken it.
    pub async fn push(&self, base: &str, json: String) -> Result<(), PushError> {
        let unusable = || FederationError::Unusable(base.to_owned());
        let url: Url = format!("{base}{PATH}").parse().map_err(|_| unusable())?;
        let mut request = Request::new(Method::POST, url);
        // A Sydent wants it to the letter.
        let content_type = HeaderValue::from_static("application/json");
        request.headers_mut().insert(CONTENT_TYPE, content_type);
        *request.body_mut() = Some(json.into());
        let mut response = self.client.execute(request).await.map_err(FederationError::from)?;
        let mut answer = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(FederationError::from)? {
            let rest = MAX_ANSWER.saturating_sub(answer.len());
            answer.extend(chunk.iter().take(rest));
            if rest < chunk.len() {
                break;
            }
        }
        if response.status().is_success() {
            return Ok(());
        }
        let answer = String::from_utf8_lossy(&answer).into_owned();
        Err(PushError::Refused { status: response.status().as_u16(), answer })
    }
}

fn credentials(replication: &Replication) -> Result<Credentials, Unusable> {
    Credentials::read(&replication.certificate, &replication.key, &replication.ca_file)
}

fn name_of(credentials: &Credentials, config: &Config) -> Result<ServerName, NeighboursError> {
    let file = config.replication.as_ref().map(|replication| replication.certificate.clone());
    let name =
        credentials.common_name().ok_or_else(|| Unusable::Nameless(file.unwrap_or_default()))?;
    name.parse().map_err(|_| NeighboursError::Name(name))
}

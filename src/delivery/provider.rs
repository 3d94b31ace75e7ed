//! HTTP to the providers that send messages for this server.

use std::{path::Path, time::Duration};

use reqwest::{Request, redirect, retry};

use super::{DeliveryError, ProviderFault};
use crate::{cause::causes, config::Originator, roots};

/// In bytes; of a longer answer the rest is left unread.
const LONGEST_ANSWER: usize = 64 * 1024;

/// How long a connection may lie idle.
const IDLE: Duration = Duration::from_secs(30);

/// A message for a provider to send.
#[derive(Clone, Copy)]
pub(super) struct Outgoing<'a> {
    /// The canonical address; the digits of a phone number.
    pub(super) address: &'a str,
    /// The address as providers know it: a phone number with its `+`.
    pub(super) to: &'a str,
    /// What the person reads.
    pub(super) text: &'a str,
    /// The token in the text, or nothing.
    pub(super) token: &'a str,
    /// The link in the text.
    pub(super) link: &'a str,
    /// From whom, where that was chosen.
    pub(super) originator: Option<&'a Originator>,
    /// The locale of the text.
    pub(super) locale: &'a str,
    /// The brand that it is written for, or nothing.
    pub(super) brand: &'a str,
}

/// The connections to one provider.
#[derive(Debug)]
pub(super) struct Client {
    http: reqwest::Client,
    timeout: Duration,
}

/// What a provider answered.
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) body: Vec<u8>,
}

impl Client {
    /// Connects to nothing yet. `key` is that of the provider's settings.
    pub(super) fn new(
        key: &str,
        ca_file: Option<&Path>,
        timeout: Duration,
    ) -> Result<Self, DeliveryError> {
        let roots = roots::read(ca_file)
            .map_err(|error| DeliveryError::setup(format!("`{key}.ca_file`"), error))?;
        if roots.is_empty() {
            tracing::warn!(
                "the system has no root certificates, so `{key}` is reached by plain http at most; \
                 install its package of them (often `ca-certificates`) or set `{key}.ca_file`"
            );
        }
        let unusable = |error: Box<dyn std::error::Error + Send + Sync>| {
            DeliveryError::setup(format!("TLS for `{key}`"), error)
        };
        let mut tls = roots::tls(roots).map_err(|error| unusable(error.into()))?;
        tls.alpn_protocols = vec![b"http/1.1".to_vec()];
        let http = reqwest::Client::builder()
            .user_agent(concat!("Bindery/", env!("CARGO_PKG_VERSION")))
            .tls_backend_preconfigured(tls)
            .connect_timeout(timeout / 2)
            .timeout(timeout)
            .pool_idle_timeout(IDLE)
            .redirect(redirect::Policy::none())
            // A message that is sent twice is paid for twice.
            .retry(retry::never())
            .http1_only()
            .no_proxy()
            .build()
            .map_err(|error| unusable(error.into()))?;
        Ok(Self { http, timeout })
    }

    /// Asks once; redirects are answers like others.
    pub(super) async fn send(&self, request: Request) -> Result<Answer, ProviderFault> {
        let mut response = self.http.execute(request).await.map_err(|error| self.fault(error))?;
        let mut body = Vec::new();
        while body.len() < LONGEST_ANSWER {
            let chunk = response.chunk().await.map_err(|error| self.fault(error))?;
            let Some(chunk) = chunk else { break };
            body.extend_from_slice(&chunk);
        }
        body.truncate(LONGEST_ANSWER);
        Ok(Answer { status: response.status().as_u16(), body })
    }

    fn fault(&self, error: reqwest::Error) -> ProviderFault {
        if error.is_connect() {
            // The URL may hold the number and a secret.
            ProviderFault::Unreachable(causes(&error.without_url()))
        } else if error.is_timeout() {
            ProviderFault::TimedOut(self.timeout)
        } else {
            ProviderFault::Broken
        }
    }
}

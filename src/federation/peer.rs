//! What is asked of another identity server, by API v2 and, where it has none, by API v1.

mod public_keys;

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use reqwest::{
    Method,
    header::{HeaderMap, RETRY_AFTER},
};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Answer, Call, Federation, FederationError, MAX_ANSWER, PeerAddress, percent_encoded};
use crate::matrix::{
    id::{ServerName, UserId},
    json::Object,
};

pub(super) use public_keys::PeerKeys;

const V2: &str = "/_matrix/identity/v2";

const V1: &str = "/_matrix/identity/api/v1";

/// The longest answer to a lookup in bytes.
const MAX_MAPPINGS: usize = 1024 * 1024;

/// The longest access token or pepper in bytes.
const MAX_WORD: usize = 1024;

/// How long a peer that says only that it is too much is left alone, and the longest at all.
const PAUSES: (Duration, Duration) = (Duration::from_mins(1), Duration::from_hours(1));

/// Why a peer gave no answer that could be used.
#[derive(Debug, thiserror::Error)]
pub enum PeerError {
    /// It could not be asked, or what it said makes no sense.
    #[error(transparent)]
    Federation(#[from] FederationError),
    /// The access token is none, or none any more.
    #[error("it doesn't take the access token")]
    Unauthorized,
    /// Its terms have to be accepted first.
    #[error("its terms have not been accepted")]
    TermsNotSigned,
    /// The hashes were made with a pepper that isn't its current one.
    #[error("it has another pepper by now")]
    InvalidPepper {
        /// The current pepper, if it says so.
        lookup_pepper: Option<String>,
        /// The algorithm that goes with it, if it says so.
        algorithm: Option<String>,
    },
    /// It was asked too much.
    #[error("it was asked too much, and wants to be left alone for {} s", retry_after.as_secs())]
    LimitExceeded {
        /// When it may be asked again.
        retry_after: Duration,
    },
    /// It doesn't speak API v2.
    #[error("it doesn't speak API v2")]
    NoV2,
    /// It refused with this status.
    #[error("it refused with status {0}")]
    Refused(u16),
}

/// `GET /v2/hash_details`: how addresses are hashed for a peer.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct HashDetails {
    /// What each hash is made with; never empty.
    pub lookup_pepper: String,
    /// The algorithms that it knows.
    pub algorithms: Vec<String>,
}

/// `POST /v2/lookup`: what is looked up.
#[derive(Debug, Clone, Copy)]
pub struct HashedQuery<'a> {
    /// The algorithm.
    pub algorithm: &'a str,
    /// The pepper that the peer gave.
    pub pepper: &'a str,
    /// The hashes.
    pub addresses: &'a [String],
}

/// An OpenID token of this server's own user.
#[derive(Clone)]
pub struct OpenIdToken {
    /// The token; not to be logged.
    pub access_token: String,
    /// Who vouches for it: this server.
    pub matrix_server_name: ServerName,
    /// How long it holds.
    pub expires_in: Duration,
}

/// A policy of a peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerPolicy {
    /// Its id.
    pub id: String,
    /// Its version.
    pub version: String,
    /// Language, name and URL of each of its texts.
    pub texts: Vec<(String, String, String)>,
}

/// Medium and address, as they are sent.
pub type PeerThreepid = (String, String);

/// Which APIs a peer speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PeerVersions {
    /// API v1.
    pub v1: bool,
    /// API v2.
    pub v2: bool,
}

/// Each takes no longer than the time-out of peers.
impl Federation {
    /// Which APIs `peer` speaks: whether it answers at the base of each.
    ///
    /// Fails if it can't be asked.
    pub async fn peer_versions(&self, peer: &PeerAddress) -> Result<PeerVersions, PeerError> {
        let v2 = self.peer_call(peer, &get(&peer.path(V2)), MAX_ANSWER).await?;
        let v1 = self.peer_call(peer, &get(&peer.path(V1)), MAX_ANSWER).await?;
        Ok(PeerVersions { v1: object(&v1).is_ok(), v2: object(&v2).is_ok() })
    }

    /// An access token of `peer` for this server's own user, for whom it asks this server:
    /// [spec](https://spec.matrix.org/v1.19/identity-service-api/#post_matrixidentityv2accountregister)
    ///
    /// Fails if it gives none.
    pub async fn register(
        &self,
        peer: &PeerAddress,
        openid: &OpenIdToken,
    ) -> Result<String, PeerError> {
        #[derive(Deserialize)]
        struct Registered {
            token: String,
        }
        let body = json!({
            "access_token": openid.access_token,
            "token_type": "Bearer",
            "matrix_server_name": openid.matrix_server_name,
            "expires_in": openid.expires_in.as_secs(),
        });
        let path = peer.path(&format!("{V2}/account/register"));
        let answer = self.post(peer, &path, None, body, MAX_ANSWER).await?;
        let Registered { token } = read(&answer)?;
        let is_word = is_word(&token) && token.bytes().all(|byte| byte.is_ascii_graphic());
        if is_word { Ok(token) } else { Err(FederationError::Malformed.into()) }
    }

    /// The terms of `peer`, by their ids:
    /// [spec](https://spec.matrix.org/v1.19/identity-service-api/#get_matrixidentityv2terms)
    ///
    /// Fails if it doesn't say.
    pub async fn terms(&self, peer: &PeerAddress) -> Result<Vec<PeerPolicy>, PeerError> {
        #[derive(Deserialize)]
        struct Terms {
            policies: Object,
        }
        let path = peer.path(&format!("{V2}/terms"));
        let answer = self.peer_call(peer, &get(&path), MAX_ANSWER).await?;
        let Terms { policies } = read(&answer)?;
        let policies = policies.into_iter().map(|(id, policy)| policy_of(id, &policy));
        policies.collect::<Option<_>>().ok_or(FederationError::Malformed.into())
    }

    /// Tells `peer` that its terms at `urls` are accepted:
    /// [spec](https://spec.matrix.org/v1.19/identity-service-api/#post_matrixidentityv2terms)
    ///
    /// Fails if it doesn't take that.
    pub async fn accept_terms(
        &self,
        peer: &PeerAddress,
        token: &str,
        urls: &[String],
    ) -> Result<(), PeerError> {
        let path = peer.path(&format!("{V2}/terms"));
        let body = json!({ "user_accepts": urls });
        let answer = self.post(peer, &path, Some(token), body, MAX_ANSWER).await?;
        object(&answer).map(|_| ())
    }

    /// How addresses are hashed for `peer`:
    /// [spec](https://spec.matrix.org/v1.19/identity-service-api/#get_matrixidentityv2hash_details)
    ///
    /// Fails if it doesn't say.
    pub async fn hash_details(
        &self,
        peer: &PeerAddress,
        token: &str,
    ) -> Result<HashDetails, PeerError> {
        let path = peer.path(&format!("{V2}/hash_details"));
        let call = Call { token: Some(token), ..get(&path) };
        let details: HashDetails = read(&self.peer_call(peer, &call, MAX_ANSWER).await?)?;
        let is_fit = is_word(&details.lookup_pepper);
        if is_fit { Ok(details) } else { Err(FederationError::Malformed.into()) }
    }

    /// Who `peer` says has the addresses of `query`, by their hashes; nothing else that it says
    /// counts, nor what is no user id:
    /// [spec](https://spec.matrix.org/v1.19/identity-service-api/#post_matrixidentityv2lookup)
    ///
    /// Fails if it gives no answer.
    pub async fn lookup_v2(
        &self,
        peer: &PeerAddress,
        token: &str,
        query: HashedQuery<'_>,
    ) -> Result<HashMap<String, UserId>, PeerError> {
        #[derive(Deserialize)]
        struct Found {
            mappings: HashMap<String, Value>,
        }
        let HashedQuery { algorithm, pepper, addresses } = query;
        let body = json!({ "algorithm": algorithm, "pepper": pepper, "addresses": addresses });
        let path = peer.path(&format!("{V2}/lookup"));
        let answer = self.post(peer, &path, Some(token), body, MAX_MAPPINGS).await?;
        let Found { mappings } = read(&answer)?;
        let asked: HashSet<&str> = addresses.iter().map(String::as_str).collect();
        let mappings = mappings.into_iter().filter(|(hash, _)| asked.contains(hash.as_str()));
        Ok(mappings.filter_map(|(hash, mxid)| Some((hash, user_id(&mxid)?))).collect())
    }

    /// The association that `peer` has for an address, if any, by API v1. Its signature is not
    /// checked here, but that medium and address are those asked for.
    ///
    /// Fails if it gives no answer, or one about another address.
    pub async fn lookup_v1(
        &self,
        peer: &PeerAddress,
        medium: &str,
        address: &str,
    ) -> Result<Option<Object>, PeerError> {
        let (of_medium, of_address) = (percent_encoded(medium), percent_encoded(address));
        let query = format!("medium={of_medium}&address={of_address}");
        let path = peer.path(&format!("{V1}/lookup"));
        let call = Call { query: Some(&query), ..get(&path) };
        let association = object(&self.peer_call(peer, &call, MAX_ANSWER).await?)?;
        if association.is_empty() {
            return Ok(None);
        }
        let says = |key: &str, value: &str| association.get(key).is_some_and(|text| text == value);
        if says("medium", medium) && says("address", address) {
            Ok(Some(association))
        } else {
            Err(FederationError::Malformed.into())
        }
    }

    /// Who `peer` says has these addresses, by API v1, unsigned; nothing else that it says counts,
    /// nor what is no user id.
    ///
    /// Fails if it gives no answer.
    pub async fn bulk_lookup_v1(
        &self,
        peer: &PeerAddress,
        threepids: &[PeerThreepid],
    ) -> Result<HashMap<PeerThreepid, UserId>, PeerError> {
        #[derive(Deserialize)]
        struct Found {
            threepids: Vec<(String, String, Value)>,
        }
        let body = json!({ "threepids": threepids });
        let path = peer.path(&format!("{V1}/bulk_lookup"));
        let Found { threepids: found } =
            read(&self.post(peer, &path, None, body, MAX_MAPPINGS).await?)?;
        let asked: HashSet<&PeerThreepid> = threepids.iter().collect();
        let found = found.into_iter().filter_map(|(medium, address, mxid)| {
            let threepid = (medium, address);
            asked.contains(&threepid).then_some(())?;
            Some((threepid, user_id(&mxid)?))
        });
        Ok(found.collect())
    }

    async fn post(
        &self,
        peer: &PeerAddress,
        path: &str,
        token: Option<&str>,
        body: Value,
        limit: usize,
    ) -> Result<Answer, PeerError> {
        let object = match body {
            Value::Object(object) => object,
            _ => Object::new(),
        };
        let call = Call { token, object: Some(&object), ..Call::new(Method::POST, path) };
        self.peer_call(peer, &call, limit).await
    }

    async fn peer_call(
        &self,
        peer: &PeerAddress,
        call: &Call<'_>,
        limit: usize,
    ) -> Result<Answer, PeerError> {
        let asked = tokio::time::timeout(self.peers.timeout, async {
            let to = peer.destination(&self.peers.client).await?;
            self.peers.client.call(&to, call, limit).await
        });
        let answer = asked.await.map_err(|_| FederationError::TimedOut)?;
        let status = answer.as_ref().map(|answer| answer.status).ok();
        tracing::debug!(%peer, method = %call.method, path = call.path, status, "asked a peer");
        Ok(answer?)
    }
}

fn get(path: &str) -> Call<'_> {
    Call::new(Method::GET, path)
}

/// The object of a good answer.
fn object(answer: &Answer) -> Result<Object, PeerError> {
    if (200..=299).contains(&answer.status) {
        return serde_json::from_slice(&answer.body).map_err(|_| FederationError::Malformed.into());
    }
    Err(refusal(answer))
}

fn read<'a, T: Deserialize<'a>>(answer: &'a Answer) -> Result<T, PeerError> {
    if (200..=299).contains(&answer.status) {
        return serde_json::from_slice(&answer.body).map_err(|_| FederationError::Malformed.into());
    }
    Err(refusal(answer))
}

/// What an answer that is no good one means.
fn refusal(answer: &Answer) -> PeerError {
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Refusal {
        errcode: String,
        lookup_pepper: Option<String>,
        algorithm: Option<String>,
        retry_after_ms: Option<u64>,
    }
    let said: Refusal = serde_json::from_slice(&answer.body).unwrap_or_default();
    match (answer.status, said.errcode.as_str()) {
        (_, "M_TERMS_NOT_SIGNED") => PeerError::TermsNotSigned,
        (_, "M_INVALID_PEPPER") => PeerError::InvalidPepper {
            lookup_pepper: said.lookup_pepper.filter(|pepper| is_word(pepper)),
            algorithm: said.algorithm,
        },
        (429, _) | (_, "M_LIMIT_EXCEEDED") => PeerError::LimitExceeded {
            retry_after: retry_after(&answer.headers, said.retry_after_ms),
        },
        (401, _) => PeerError::Unauthorized,
        (404 | 405, _) => PeerError::NoV2,
        (status, _) => PeerError::Refused(status),
    }
}

fn retry_after(headers: &HeaderMap, millis: Option<u64>) -> Duration {
    let header = headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok());
    let seconds = header.and_then(|text| text.trim().parse().ok()).map(Duration::from_secs);
    let (usual, longest) = PAUSES;
    let said = seconds.or(millis.map(Duration::from_millis)).unwrap_or(usual);
    said.clamp(Duration::from_secs(1), longest)
}

fn is_word(text: &str) -> bool {
    (1..=MAX_WORD).contains(&text.len())
}

fn user_id(value: &Value) -> Option<UserId> {
    value.as_str()?.parse().ok()
}

/// A policy: an object that has its version, and an object for each language.
fn policy_of(id: String, policy: &Value) -> Option<PeerPolicy> {
    let policy = policy.as_object()?;
    let version = policy.get("version")?.as_str()?.to_owned();
    let texts = policy.iter().filter(|(key, _)| *key != "version");
    let texts = texts.filter_map(|(language, text)| {
        let said = |key: &str| text.get(key)?.as_str().map(str::to_owned);
        Some((language.clone(), said("name")?, said("url")?))
    });
    Some(PeerPolicy { id, version, texts: texts.collect() })
}

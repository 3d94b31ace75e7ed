//! A service that speaks the JSON of ma1sd's REST backend.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use reqwest::{
    StatusCode,
    header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue},
    redirect, retry,
};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Deserializer, Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

use super::{Addresses, Cursor, DirectoryError, DirectorySetupError, Matches, Page, Person};
use crate::{
    cause::causes,
    config::{self, HttpDirectory, HttpPaths, MxidTemplate},
    matrix::{id::UserId, threepid::ThreePid},
    roots,
};

/// In bytes.
const LONGEST_ANSWER: usize = 4 * 1024 * 1024;

/// How long a connection may lie idle.
const IDLE: Duration = Duration::from_secs(30);

/// What the paths begin with, the newer ones first.
const PREFIXES: [&str; 2] = ["/_ma1sd/backend/api/v1", "/_mxisd/backend/api/v1"];

/// The most addresses of one question.
const ADDRESSES_AT_ONCE: usize = 1000;

/// The service.
pub(super) struct HttpService {
    base_url: String,
    paths: HttpPaths,
    /// Whether the newer paths were found to be missing.
    is_old: AtomicBool,
    mxid: MxidTemplate,
    addresses: Addresses,
    client: reqwest::Client,
}

impl HttpService {
    pub(super) fn open(
        settings: &config::Directory,
        http: &HttpDirectory,
        addresses: Addresses,
    ) -> Result<Self, DirectorySetupError> {
        let client = client(settings, http)
            .map_err(|problem| DirectorySetupError { name: settings.name.clone(), problem })?;
        Ok(Self {
            base_url: http.base_url.clone(),
            paths: http.paths,
            is_old: AtomicBool::new(false),
            mxid: settings.mxid.clone(),
            addresses,
            client,
        })
    }

    pub(super) async fn find(
        &self,
        threepids: &[ThreePid],
    ) -> Result<Vec<(ThreePid, UserId)>, DirectoryError> {
        let mut found = Vec::new();
        for chunk in threepids.chunks(ADDRESSES_AT_ONCE) {
            let answer: Option<Lookup> = match chunk {
                [threepid] => {
                    let question = json!({ "lookup": Address::of(threepid) });
                    self.ask::<Option<Single>>("identity/single", &question)
                        .await?
                        .flatten()
                        .map(|single| Lookup { lookup: single.lookup.into_iter().collect() })
                }
                several => {
                    let several: Vec<_> = several.iter().map(Address::of).collect();
                    self.ask("identity/bulk", &json!({ "lookup": several })).await?
                }
            };
            let mappings = answer.map(|answer| answer.lookup).unwrap_or_default();
            found.extend(mappings.iter().filter_map(|mapping| self.owner(mapping)));
        }
        Ok(found)
    }

    fn owner(&self, mapping: &Mapping) -> Option<(ThreePid, UserId)> {
        let threepid = self.addresses.canonical(&mapping.medium, &mapping.address)?;
        Some((threepid, self.user(mapping.id.as_ref()?)?))
    }

    /// The user that the service means.
    fn user(&self, id: &Id) -> Option<UserId> {
        match id.kind.as_str() {
            "localpart" => self.mxid.make(&id.value),
            "mxid" => id.value.parse().ok(),
            _ => None,
        }
    }

    pub(super) async fn check(
        &self,
        user: &UserId,
        password: &SecretString,
    ) -> Result<Option<Person>, DirectoryError> {
        let Some(name) = self.mxid.name_of(user) else { return Ok(None) };
        let question = json!({ "auth": {
            "mxid": user.as_str(),
            "localpart": name,
            "domain": user.server_name().as_str(),
            "password": password.expose_secret(),
        } });
        let answer: Option<Login> = self.ask("auth/login", &question).await?;
        let Some(auth) = answer.map(|answer| answer.auth).filter(|auth| auth.success) else {
            return Ok(None);
        };
        // A service that names nobody means the one who was asked about.
        let mxid = match &auth.id {
            None => Some(user.clone()),
            Some(id) => self.user(id),
        };
        let Some(mxid) = mxid else { return Ok(None) };
        let canonical =
            |address: &Held| self.addresses.canonical(&address.medium, &address.address);
        Ok(Some(Person {
            display_name: auth.profile.display_name.filter(|name| !name.is_empty()),
            threepids: auth.profile.three_pids.iter().filter_map(canonical).collect(),
            ..Person::new(mxid)
        }))
    }

    /// By name and by address: people see one field.
    pub(super) async fn search(&self, term: &str, limit: usize) -> Result<Matches, DirectoryError> {
        let by = |by: &str| {
            let question = json!({ "by": by, "search_term": term });
            async move { self.ask::<Found>("directory/user/search", &question).await }
        };
        let (by_name, by_address) = tokio::try_join!(by("name"), by("threepid"))?;
        let mut matches = Matches::default();
        for found in [by_name, by_address].into_iter().flatten() {
            matches.limited |= found.limited;
            for result in found.results {
                // A whole user id is understood as well.
                let mxid = self.mxid.make(&result.user_id).or_else(|| result.user_id.parse().ok());
                let Some(mxid) = mxid else { continue };
                let is_known = matches.people.iter().any(|person: &Person| person.mxid == mxid);
                if !is_known {
                    let (display_name, avatar_url) = (result.display_name, result.avatar_url);
                    matches.people.push(Person { display_name, avatar_url, ..Person::new(mxid) });
                }
            }
        }
        matches.limited |= matches.people.len() > limit;
        matches.people.truncate(limit);
        Ok(matches)
    }

    /// Such services don't list their people.
    #[expect(clippy::unused_async, reason = "other kinds ask")]
    pub(super) async fn page(&self, _: Option<&Cursor>) -> Result<Page, DirectoryError> {
        Err(DirectoryError::Unsupported)
    }

    #[expect(clippy::unused_async, reason = "other kinds ask")]
    pub(super) async fn changes(
        &self,
        _: i64,
        _: Option<&Cursor>,
    ) -> Result<Option<Page>, DirectoryError> {
        Ok(None)
    }

    /// Asks once, at the older path too where there is nothing at the newer one. `None`: the
    /// service has no such path at all.
    async fn ask<T: DeserializeOwned>(
        &self,
        path: &str,
        question: &Value,
    ) -> Result<Option<T>, DirectoryError> {
        let [new, old] = PREFIXES;
        let is_old = self.is_old.load(Ordering::Relaxed);
        let prefixes: &[&str] = match self.paths {
            HttpPaths::Ma1sd => &[new],
            HttpPaths::Mxisd => &[old],
            HttpPaths::Either if is_old => &[old, new],
            HttpPaths::Either => &[new, old],
        };
        for prefix in prefixes {
            let url = format!("{}{prefix}/{path}", self.base_url);
            if let Some(answer) = self.post(&url, question).await? {
                self.is_old.store(*prefix == old, Ordering::Relaxed);
                return serde_json::from_slice(&answer)
                    .map(Some)
                    .map_err(|error| DirectoryError::Malformed(problem(path, &error)));
            }
        }
        Ok(None)
    }

    /// The body of the answer; `None` where there is no such path.
    async fn post(&self, url: &str, question: &Value) -> Result<Option<Vec<u8>>, DirectoryError> {
        let response = self.client.post(url).json(question).send().await.map_err(fault)?;
        match response.status() {
            StatusCode::NOT_FOUND => Ok(None),
            status if status.is_success() => body(response).await.map(Some),
            status => Err(DirectoryError::Refused(format!("status {}", status.as_u16()))),
        }
    }
}

async fn body(mut response: reqwest::Response) -> Result<Vec<u8>, DirectoryError> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(fault)? {
        if body.len() + chunk.len() > LONGEST_ANSWER {
            let problem = format!("it is longer than {LONGEST_ANSWER} bytes");
            return Err(DirectoryError::Malformed(problem));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// What serde says may repeat what it has read: an address.
fn problem(path: &str, error: &serde_json::Error) -> String {
    format!("{path}: unexpected JSON in line {}, column {}", error.line(), error.column())
}

fn fault(error: reqwest::Error) -> DirectoryError {
    if error.is_timeout() {
        DirectoryError::TimedOut
    } else {
        DirectoryError::Unreachable(causes(&error.without_url()))
    }
}

fn client(settings: &config::Directory, http: &HttpDirectory) -> Result<reqwest::Client, String> {
    let roots = roots::read(http.ca_file.as_deref()).map_err(|e| format!("http.ca_file: {e}"))?;
    let mut tls = roots::tls(roots).map_err(|error| format!("TLS: {error}"))?;
    tls.alpn_protocols = vec![b"http/1.1".to_vec()];
    let connections = usize::try_from(settings.max_connections.get()).unwrap_or(usize::MAX);
    reqwest::Client::builder()
        .user_agent(concat!("Bindery/", env!("CARGO_PKG_VERSION")))
        .tls_backend_preconfigured(tls)
        .default_headers(headers(http)?)
        .timeout(settings.timeout)
        .pool_idle_timeout(IDLE)
        .pool_max_idle_per_host(connections)
        .redirect(redirect::Policy::none())
        .retry(retry::never())
        .http1_only()
        .no_proxy()
        .build()
        .map_err(|error| causes(&error))
}

fn headers(http: &HttpDirectory) -> Result<HeaderMap, String> {
    let value = |text: &str| {
        let mut value = HeaderValue::from_str(text)?;
        value.set_sensitive(true);
        Ok::<_, reqwest::header::InvalidHeaderValue>(value)
    };
    let mut headers = HeaderMap::new();
    if let Some(secret) = &http.secret {
        let bearer = value(&format!("Bearer {}", secret.expose_secret()));
        headers.insert(AUTHORIZATION, bearer.map_err(|e| format!("http.secret: {e}"))?);
    }
    for (name, text) in &http.headers {
        let key = format!("http.headers.{name}");
        let value = value(text.expose_secret()).map_err(|e| format!("{key}: {e}"))?;
        headers.insert(HeaderName::try_from(name).map_err(|e| format!("{key}: {e}"))?, value);
    }
    Ok(headers)
}

#[derive(Serialize)]
struct Address<'a> {
    medium: &'a str,
    address: &'a str,
}

impl<'a> Address<'a> {
    fn of(threepid: &'a ThreePid) -> Self {
        Self { medium: threepid.medium().as_str(), address: threepid.address() }
    }
}

#[derive(Deserialize)]
struct Single {
    lookup: Option<Mapping>,
}

#[derive(Deserialize)]
struct Lookup {
    #[serde(default, deserialize_with = "or_default")]
    lookup: Vec<Mapping>,
}

#[derive(Deserialize)]
struct Mapping {
    medium: String,
    address: String,
    id: Option<Id>,
}

#[derive(Deserialize)]
struct Id {
    #[serde(rename = "type")]
    kind: String,
    value: String,
}

#[derive(Deserialize)]
struct Login {
    auth: Auth,
}

#[derive(Deserialize)]
struct Auth {
    #[serde(default, deserialize_with = "or_default")]
    success: bool,
    id: Option<Id>,
    #[serde(default, deserialize_with = "or_default")]
    profile: Profile,
}

#[derive(Default, Deserialize)]
struct Profile {
    display_name: Option<String>,
    #[serde(default, deserialize_with = "or_default")]
    three_pids: Vec<Held>,
}

#[derive(Deserialize)]
struct Held {
    medium: String,
    address: String,
}

#[derive(Deserialize)]
struct Found {
    #[serde(default, deserialize_with = "or_default")]
    limited: bool,
    #[serde(default, deserialize_with = "or_default")]
    results: Vec<FoundPerson>,
}

#[derive(Deserialize)]
struct FoundPerson {
    user_id: String,
    display_name: Option<String>,
    avatar_url: Option<String>,
}

/// Such services write `null` for what they don't know.
fn or_default<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(
    deserializer: D,
) -> Result<T, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

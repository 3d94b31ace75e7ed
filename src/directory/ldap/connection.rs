//! Connections to the servers of a directory: each is asked by one question at a time.

use std::{
    panic::AssertUnwindSafe,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures_util::FutureExt;
use ldap3::{
    LdapConnAsync, LdapConnSettings, LdapError, LdapResult, Scope, SearchResult, StdStream,
    controls::{Control, ControlType, MakeCritical, PagedResults},
};
use rustls::ClientConfig;
use secrecy::{ExposeSecret, SecretString};
use tokio::{net::TcpStream, time};

use super::{DirectoryError, Entry, Filter};
use crate::{
    cause::causes,
    config::{self, LdapUrl},
    roots,
};

/// Where a directory is, and how this server logs in.
pub(super) struct Servers {
    urls: Vec<LdapUrl>,
    starttls: bool,
    tls: Arc<ClientConfig>,
    bind: Option<(String, SecretString)>,
    timeout: Duration,
    /// The server that is tried first: the one that answered last.
    first: AtomicUsize,
}

/// A connection, and how long one question may take on it.
pub(super) struct Connection {
    ldap: ldap3::Ldap,
    timeout: Duration,
}

/// A search.
pub(super) struct Query<'q> {
    pub(super) base: &'q str,
    pub(super) scope: Scope,
    pub(super) filter: &'q Filter,
    pub(super) attributes: Vec<&'q str>,
    /// How many entries are wanted at the most; 0: all.
    pub(super) limit: i32,
}

/// What a search has found.
pub(super) struct Found {
    pub(super) entries: Vec<Entry>,
    /// Whether there is more, which a limit of ours or of the server's has kept back.
    pub(super) is_limited: bool,
    /// Where the next page begins.
    pub(super) cookie: Option<Vec<u8>>,
}

impl Servers {
    /// Reads the authorities that are trusted; connects to nothing yet.
    pub(super) fn new(settings: &config::Ldap, timeout: Duration) -> Result<Self, String> {
        let roots =
            roots::read(settings.ca_file.as_deref()).map_err(|e| format!("ldap.ca_file: {e}"))?;
        let tls = roots::tls(roots).map_err(|error| format!("TLS: {error}"))?;
        Ok(Self {
            urls: settings.urls.clone(),
            starttls: settings.starttls,
            tls: Arc::new(tls),
            bind: settings.bind.clone(),
            timeout,
            first: AtomicUsize::new(0),
        })
    }

    /// A connection on which this server has logged in.
    pub(super) async fn log_in(&self) -> Result<Connection, DirectoryError> {
        let mut connection = self.connect().await?;
        if let Some((dn, password)) = &self.bind {
            let result = connection.bind(dn, password).await?;
            if result.rc != SUCCESS {
                return Err(match result.rc {
                    rc if is_no_login(rc) => {
                        refused("the server accepts neither bind_dn nor its password: correct them")
                    }
                    rc => refusal(rc),
                });
            }
        }
        Ok(connection)
    }

    /// Tries another server first the next time, where there is one.
    pub(super) fn turn_away(&self) {
        let count = self.urls.len().max(1);
        let next = |first: usize| Some((first + 1) % count);
        // The closure always has a value.
        let _ = self.first.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next);
    }

    /// Whether `password` is the one of the entry `dn`: whether one can log in with the two, on a
    /// connection that is used for nothing else.
    pub(super) async fn accepts(
        &self,
        dn: &str,
        password: &SecretString,
    ) -> Result<bool, DirectoryError> {
        // Without name or password a login is anonymous, and always right (RFC 4513, 5.1.2).
        if dn.is_empty() || password.expose_secret().is_empty() {
            return Ok(false);
        }
        let mut connection = self.connect().await?;
        let result = connection.bind(dn, password).await?;
        connection.close();
        match result.rc {
            SUCCESS => Ok(true),
            rc if is_no_login(rc) => Ok(false),
            rc => Err(refusal(rc)),
        }
    }

    /// A connection to the first server that answers, in TLS as configured.
    async fn connect(&self) -> Result<Connection, DirectoryError> {
        let count = self.urls.len().max(1);
        let first = self.first.load(Ordering::Relaxed);
        let mut last = DirectoryError::Unreachable("no server is configured".to_owned());
        for url in self.urls.iter().cycle().skip(first).take(count) {
            match self.connect_to(url).await {
                Ok(connection) => return Ok(connection),
                Err(error) => {
                    // At once: a deadline around all this may let nothing more happen.
                    self.turn_away();
                    tracing::debug!(server = url.text(), %error, "an LDAP server does not answer");
                    last = error;
                }
            }
        }
        Err(last)
    }

    async fn connect_to(&self, url: &LdapUrl) -> Result<Connection, DirectoryError> {
        let servers = u32::try_from(self.urls.len()).unwrap_or(u32::MAX);
        // Of several servers one that is silent must leave time for another.
        let patience = if servers > 1 { self.timeout / (servers + 1) } else { self.timeout };
        let connecting = async {
            let host = url.server.host().trim_start_matches('[').trim_end_matches(']');
            let stream = TcpStream::connect((host, url.port())).await?;
            // ldap3 leaves Nagle's algorithm on, which costs 40 ms after each handshake.
            stream.set_nodelay(true)?;
            let settings = LdapConnSettings::new()
                .set_std_stream(StdStream::Tcp(stream.into_std()?))
                .set_starttls(self.starttls)
                .set_config(self.tls.clone());
            LdapConnAsync::with_settings(settings, &url.text()).await
        };
        let connected = guarded(patience, Box::pin(connecting)).await;
        let (connection, ldap) = connected.map_err(|error| match error {
            DirectoryError::Unreachable(cause) | DirectoryError::Refused(cause) => {
                DirectoryError::Unreachable(format!("{}: {cause}", url.text()))
            }
            error => error,
        })?;
        tokio::spawn(async move {
            if let Err(error) = connection.drive().await {
                tracing::debug!(error = %causes(&error), "a connection to an LDAP server broke");
            }
        });
        Ok(Connection { ldap, timeout: self.timeout })
    }
}

impl Connection {
    /// Whether the server has hung up.
    pub(super) fn is_closed(&mut self) -> bool {
        self.ldap.is_closed()
    }

    /// The same one for questions that may take longer.
    pub(super) fn with_patience(mut self, timeout: Duration) -> Self {
        self.timeout = self.timeout.max(timeout);
        self
    }

    /// Says goodbye, without waiting for anything.
    pub(super) fn close(mut self) {
        tokio::spawn(async move { time::timeout(self.timeout, self.ldap.unbind()).await });
    }

    async fn bind(
        &mut self,
        dn: &str,
        password: &SecretString,
    ) -> Result<LdapResult, DirectoryError> {
        let asking = self.ldap.simple_bind(dn, password.expose_secret());
        guarded(self.timeout, Box::pin(asking)).await
    }

    /// Asks for all that the query finds at once.
    pub(super) async fn search(&mut self, query: &Query<'_>) -> Result<Found, DirectoryError> {
        let options = ldap3::SearchOptions::new().sizelimit(query.limit);
        self.ldap.with_search_options(options);
        self.ask(query).await
    }

    /// Asks for one page of it ([RFC 2696](https://www.rfc-editor.org/rfc/rfc2696)), from where
    /// `cookie` says.
    pub(super) async fn page(
        &mut self,
        query: &Query<'_>,
        size: i32,
        cookie: Vec<u8>,
    ) -> Result<Found, DirectoryError> {
        self.ldap.with_controls(PagedResults { size, cookie }.critical());
        self.ask(query).await
    }

    async fn ask(&mut self, query: &Query<'_>) -> Result<Found, DirectoryError> {
        let Query { base, scope, filter, attributes, .. } = query;
        let asking = self.ldap.search(base, *scope, filter.as_str(), attributes.clone());
        let asking = asking.map(|outcome| {
            // Read here, since ldap3 panics on a control that it can't read.
            outcome.map(|SearchResult(entries, result)| {
                let cookie = cookie(&result);
                (entries, result.rc, cookie)
            })
        });
        let (entries, rc, cookie) = guarded(self.timeout, Box::pin(asking)).await?;
        let is_limited = rc == SIZE_LIMIT_EXCEEDED;
        if rc != SUCCESS && !is_limited {
            return Err(refusal(rc));
        }
        let entries = entries.into_iter().filter_map(Entry::of).collect();
        Ok(Found { entries, is_limited, cookie })
    }
}

/// Where the next page begins; an empty one means that there is none.
fn cookie(result: &LdapResult) -> Option<Vec<u8>> {
    result.ctrls.iter().find_map(|control| match control {
        Control(Some(ControlType::PagedResults), raw) => {
            let PagedResults { cookie, .. } = raw.parse();
            (!cookie.is_empty()).then_some(cookie)
        }
        _ => None,
    })
}

/// What comes of `question`, which is large, within `timeout`; ldap3 panics on answers that are none.
async fn guarded<T>(
    timeout: Duration,
    question: impl Future<Output = Result<T, LdapError>>,
) -> Result<T, DirectoryError> {
    match time::timeout(timeout, AssertUnwindSafe(question).catch_unwind()).await {
        Ok(Ok(outcome)) => outcome.map_err(fault),
        Ok(Err(_panic)) => Err(DirectoryError::Malformed("the answer is no LDAP".to_owned())),
        Err(_elapsed) => Err(DirectoryError::TimedOut),
    }
}

fn fault(error: LdapError) -> DirectoryError {
    match error {
        LdapError::Timeout { .. } => DirectoryError::TimedOut,
        LdapError::LdapResult { result } => refusal(result.rc),
        LdapError::FilterParsing => refused("the filter can't be sent: correct it"),
        LdapError::OpSend { .. } | LdapError::ResultRecv { .. } | LdapError::EndOfStream => {
            DirectoryError::Unreachable("the server hung up".to_owned())
        }
        error => {
            let cause = causes(&error);
            let is_untrusted =
                ["UnknownIssuer", "BadSignature"].iter().any(|it| cause.contains(it));
            let remedy = if is_untrusted { " (name its authority in ca_file)" } else { "" };
            DirectoryError::Unreachable(format!("{cause}{remedy}"))
        }
    }
}

const SUCCESS: u32 = 0;
const SIZE_LIMIT_EXCEEDED: u32 = 4;

/// Whether a result code means that name and password don't let anybody in: wrong, locked, expired
/// or without any. Some servers say for a locked account that they are unwilling.
fn is_no_login(rc: u32) -> bool {
    matches!(rc, 19 | 32 | 34 | 48 | 49 | 50 | 53)
}

fn refused(what: &str) -> DirectoryError {
    DirectoryError::Refused(what.to_owned())
}

/// What a result code (RFC 4511, appendix A.2) means for a question of ours. The server's own words
/// are not repeated: they may hold what was asked for.
fn refusal(rc: u32) -> DirectoryError {
    let message = match rc {
        2 => "the server does not know what it is asked for: does it have STARTTLS?",
        3 => return DirectoryError::TimedOut,
        8 | 13 => "the server wants TLS: write ldaps://, or starttls = true",
        10 => "the server refers to another one: name that one in urls",
        11 => "the server's administrative limit is too low: raise it for bind_dn",
        12 => "the server can't send people in pages (RFC 2696), or doesn't for bind_dn",
        32 => "there is no base_dn, or bind_dn may not see it",
        34 => "base_dn is no name of an entry",
        49 | 48 => "the server wants a login: set bind_dn and bind_password",
        50 => "bind_dn may not search here: allow it",
        51 | 52 => return DirectoryError::Unreachable("the server is busy".to_owned()),
        53 => "the server is unwilling: does it want TLS, or a login?",
        rc => return DirectoryError::Refused(format!("the server's result code is {rc}")),
    };
    refused(message)
}

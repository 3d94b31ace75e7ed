//! Mail by SMTP ([RFC 5321](https://www.rfc-editor.org/rfc/rfc5321)): lettre's dialogue over
//! connections of our own.
//!
//! lettre 0.11.23 leaves Nagle's algorithm on, which costs 40 ms a mail; its pool bounds the idle
//! connections, and not those in use; and its STARTTLS keeps what was received before TLS began.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};

use lettre::{
    address::Envelope,
    transport::smtp::{
        self,
        authentication::{Credentials, DEFAULT_MECHANISMS},
        client::AsyncSmtpConnection,
        commands::{Data, Mail, Rcpt},
        extension::{ClientId, Extension, MailBodyParameter, MailParameter, ServerInfo},
    },
};
use secrecy::ExposeSecret;
use tokio::{net::TcpStream, sync::Semaphore, time};

use super::{DeliveryError, Fault, Reply, Step};
use crate::{
    clock::{SharedClock, millis},
    config::{self, SmtpSecurity},
    matrix::id::ServerName,
};

mod tls;

/// How long a connection may lie idle; common servers hang up after one to five minutes.
const IDLE: Duration = Duration::from_secs(30);

/// How long a farewell may take.
const FAREWELL: Duration = Duration::from_secs(5);

/// A mail server and the connections to it.
pub(super) struct Smtp {
    server: config::Smtp,
    tls: Option<tls::Client>,
    hello: ClientId,
    clock: SharedClock,
    /// One for each connection that may be in use at once.
    slots: Semaphore,
    idle: Arc<Mutex<Idle>>,
}

/// Connections that wait for the next mail.
#[derive(Default)]
struct Idle {
    /// The one used last is last; each with the time since when it has waited.
    connections: Vec<(AsyncSmtpConnection, i64)>,
    /// Whether a task is there to close them.
    watched: bool,
}

impl fmt::Debug for Smtp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Smtp").field("server", &self.server).finish_non_exhaustive()
    }
}

impl Smtp {
    /// A server to which there is no connection yet.
    pub(super) fn new(
        server: &config::Smtp,
        own_name: &ServerName,
        clock: SharedClock,
    ) -> Result<Self, DeliveryError> {
        let tls = match server.security {
            SmtpSecurity::None => None,
            SmtpSecurity::Starttls | SmtpSecurity::Tls => {
                Some(tls::Client::new(&server.host, server.ca_file.as_deref())?)
            }
        };
        let connections = usize::try_from(server.max_connections.get()).unwrap_or(usize::MAX);
        Ok(Self {
            server: server.clone(),
            tls,
            hello: hello(own_name),
            clock,
            slots: Semaphore::new(connections.min(Semaphore::MAX_PERMITS)),
            idle: Arc::default(),
        })
    }

    /// The longest that a mail takes.
    pub(super) fn timeout(&self) -> Duration {
        self.server.timeout
    }

    /// Sends one mail within the configured time-out, waiting for a connection included.
    pub(super) async fn send(&self, envelope: &Envelope, mail: &[u8]) -> Result<(), Fault> {
        match time::timeout(self.server.timeout, self.send_in_turn(envelope, mail)).await {
            Ok(outcome) => outcome,
            // The connection was dropped half-way, together with the future.
            Err(_elapsed) => Err(Fault::TimedOut(self.server.timeout)),
        }
    }

    async fn send_in_turn(&self, envelope: &Envelope, mail: &[u8]) -> Result<(), Fault> {
        let _slot = self.slots.acquire().await;
        let waiting = self.idle().pop_fresh(self.clock.now_ms());
        if let Some(mut connection) = waiting {
            let outcome = transact(&mut connection, envelope, mail).await;
            if !outcome.as_ref().is_err_and(is_farewell) {
                return self.put_back(connection, outcome);
            }
            // The server had hung up on it; nothing of the message was sent, so it can't arrive
            // twice. Only once, since a new connection has no such excuse.
        }
        let mut connection = self.connect().await?;
        let outcome = transact(&mut connection, envelope, mail).await;
        self.put_back(connection, outcome)
    }

    /// Keeps a connection for the next mail, if this one went well on it.
    fn put_back(
        &self,
        connection: AsyncSmtpConnection,
        outcome: Result<(), Fault>,
    ) -> Result<(), Fault> {
        match &outcome {
            Ok(()) => {
                let mut idle = self.idle();
                idle.connections.push((connection, self.clock.now_ms()));
                if !std::mem::replace(&mut idle.watched, true) {
                    tokio::spawn(watch(Arc::downgrade(&self.idle), self.clock.clone()));
                }
            }
            Err(Fault::Reply { .. }) => drop(tokio::spawn(bid_farewell(connection))),
            Err(_) => drop(connection),
        }
        outcome
    }

    fn idle(&self) -> MutexGuard<'_, Idle> {
        lock(&self.idle)
    }

    async fn connect(&self) -> Result<AsyncSmtpConnection, Fault> {
        let config::Smtp { host, port, .. } = &self.server;
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let stream = TcpStream::connect((host, *port)).await.map_err(Fault::Unreachable)?;
        stream.set_nodelay(true).map_err(Fault::Unreachable)?;
        let stream = match (&self.tls, self.server.security) {
            (None, _) => Box::new(stream),
            (Some(tls), SmtpSecurity::Starttls) => tls.upgrade(stream, &self.hello).await?,
            (Some(tls), _) => tls.wrap(stream).await?,
        };
        let mut connection = AsyncSmtpConnection::connect_with_transport(stream, &self.hello)
            .await
            .map_err(|error| fault(Step::Hello, &error))?;
        self.log_in(&mut connection).await?;
        Ok(connection)
    }

    async fn log_in(&self, connection: &mut AsyncSmtpConnection) -> Result<(), Fault> {
        let Some((name, password)) = &self.server.login else { return Ok(()) };
        if connection.server_info().get_auth_mechanism(DEFAULT_MECHANISMS).is_none() {
            return Err(Fault::NoLogin);
        }
        let credentials = Credentials::new(name.clone(), password.expose_secret().to_owned());
        let outcome = connection.auth(DEFAULT_MECHANISMS, &credentials).await;
        outcome.map(drop).map_err(|error| fault(Step::Login, &error))
    }
}

impl Idle {
    /// The connection that was used last, if it has not waited for too long.
    fn pop_fresh(&mut self, now_ms: i64) -> Option<AsyncSmtpConnection> {
        self.connections.pop_if(|(_, since)| is_fresh(*since, now_ms)).map(|(it, _)| it)
    }

    /// Takes out those that have waited for too long.
    fn take_stale(&mut self, now_ms: i64) -> Vec<AsyncSmtpConnection> {
        let stale = self.connections.extract_if(.., |(_, since)| !is_fresh(*since, now_ms));
        stale.map(|(connection, _)| connection).collect()
    }
}

/// A clock that was put back makes a connection stale too: better one too many than one for ever.
fn is_fresh(since_ms: i64, now_ms: i64) -> bool {
    (0..millis(IDLE)).contains(&now_ms.saturating_sub(since_ms))
}

fn lock(idle: &Mutex<Idle>) -> MutexGuard<'_, Idle> {
    idle.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Closes connections that nobody needs any more, until none is left.
async fn watch(idle: Weak<Mutex<Idle>>, clock: SharedClock) {
    loop {
        time::sleep(IDLE).await;
        let Some(idle) = idle.upgrade() else { return };
        let (stale, none_left) = {
            let mut idle = lock(&idle);
            let stale = idle.take_stale(clock.now_ms());
            idle.watched = !idle.connections.is_empty();
            (stale, !idle.watched)
        };
        for connection in stale {
            tokio::spawn(bid_farewell(connection));
        }
        if none_left {
            return;
        }
    }
}

/// A client does not hang up without a QUIT (RFC 5321, section 4.1.1.10).
async fn bid_farewell(mut connection: AsyncSmtpConnection) {
    let _ = time::timeout(FAREWELL, connection.quit()).await;
}

/// Sends one mail over a connection that is ready for it.
async fn transact(
    connection: &mut AsyncSmtpConnection,
    envelope: &Envelope,
    mail: &[u8],
) -> Result<(), Fault> {
    let parameters = mail_parameters(connection.server_info(), envelope, mail)?;
    let sender = Mail::new(envelope.from().cloned(), parameters);
    connection.command(sender).await.map_err(|error| fault(Step::Mail, &error))?;
    for recipient in envelope.to() {
        let recipient = Rcpt::new(recipient.clone(), Vec::new());
        connection.command(recipient).await.map_err(|error| fault(Step::Recipient, &error))?;
    }
    connection.command(Data).await.map_err(|error| fault(Step::Data, &error))?;
    // The line end of the last line comes with the dot.
    let mail = mail.strip_suffix(b"\r\n").unwrap_or(mail);
    let outcome = connection.message(mail).await;
    outcome.map(drop).map_err(|error| fault(Step::Message, &error))
}

/// A local part that isn't ASCII needs SMTPUTF8 ([RFC 6531](https://www.rfc-editor.org/rfc/rfc6531)),
/// and makes the headers 8-bit.
fn mail_parameters(
    server: &ServerInfo,
    envelope: &Envelope,
    mail: &[u8],
) -> Result<Vec<MailParameter>, Fault> {
    let mut parameters = Vec::new();
    let mut addresses = envelope.from().into_iter().chain(envelope.to());
    if !addresses.all(|address| AsRef::<str>::as_ref(address).is_ascii()) {
        if !server.supports_feature(Extension::SmtpUtfEight) {
            return Err(Fault::NoSmtpUtf8);
        }
        parameters.push(MailParameter::SmtpUtfEight);
    }
    if !mail.is_ascii() {
        parameters.push(MailParameter::Body(MailBodyParameter::EightBitMime));
    }
    Ok(parameters)
}

/// Whether the server had closed the connection (421, or without a word) before it was given a
/// message.
fn is_farewell(fault: &Fault) -> bool {
    match fault {
        Fault::Reply { step, reply } => reply.code == 421 && *step != Step::Message,
        Fault::Broken(step) => *step != Step::Message,
        _ => false,
    }
}

/// What lettre's error says, without the server's words.
fn fault(step: Step, error: &smtp::Error) -> Fault {
    tracing::debug!(%error, %step, "a mail was not sent");
    match error.status() {
        Some(code) => {
            let words = std::error::Error::source(error).map(ToString::to_string);
            let status = words.as_deref().and_then(enhanced_status);
            Fault::Reply { step, reply: Reply { code: code.into(), status } }
        }
        None => Fault::Broken(step),
    }
}

/// The enhanced status code at the head of a reply's text.
fn enhanced_status(text: &str) -> Option<String> {
    let first = text.split_whitespace().next()?;
    let is_number = |part: &str| {
        (1..=3).contains(&part.len()) && part.bytes().all(|digit| digit.is_ascii_digit())
    };
    let mut parts = first.split('.');
    (parts.clone().count() == 3 && parts.all(is_number)).then(|| first.to_owned())
}

/// Who this server is to a mail server.
fn hello(name: &ServerName) -> ClientId {
    match name.ip() {
        Some(std::net::IpAddr::V4(v4)) => ClientId::Ipv4(v4),
        Some(std::net::IpAddr::V6(v6)) => ClientId::Ipv6(v6),
        None => ClientId::Domain(name.host().to_owned()),
    }
}

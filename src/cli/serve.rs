//! `bindery serve`: start, listen, stop.

use std::{
    io::{ErrorKind, IsTerminal, stderr},
    net::{SocketAddr, TcpListener},
    sync::Arc,
    time::Duration,
};

use actix_web::{
    HttpServer,
    dev::{Server, ServerHandle},
    web::Data,
};
use anyhow::Context;
use futures_util::future::join_all;
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::watch,
};
use tracing_subscriber::EnvFilter;

use super::{keys, say};
use crate::{
    app::App,
    clock::{SharedClock, SystemClock},
    config::{Config, EmailTransport, Log, LogFormat, Replication, SmsProvider, Tls},
    http,
    matrix::signing::{KeyRing, SigningKey},
    mutual_tls::Credentials,
    service,
    store::Store,
    worker,
};

/// How long requests may take to end after the first signal, in seconds.
const DRAIN_SECONDS: u64 = 8;

pub(super) async fn serve(config: Config) -> anyhow::Result<()> {
    start_log(&config.log)?;
    let mut signals = Signals::catch()?;
    // First of all: what can't listen must not touch the database of the one that does.
    let listeners = bind("server.listen", &config.server.listen)?;
    let of_neighbours = config.replication.as_ref().map_or(&[][..], |config| &config.listen);
    let for_neighbours = bind("replication.listen", of_neighbours)?;
    let for_credentials = bind("credentials.listen", &config.credentials.listen)?;
    let addresses = listeners.iter().map(TcpListener::local_addr).collect::<Result<Vec<_>, _>>()?;
    let app = tokio::select! {
        opened = open(config) => Data::new(opened?),
        () = signals.next() => anyhow::bail!("stopped before it had started"),
    };
    service::index::announce(&app);
    let server = listen(&app, listeners)?;
    let replication = listen_to_neighbours(&app, for_neighbours)?;
    let credentials = listen_for_credentials(&app, for_credentials)?;
    let (stop, stopped) = watch::channel(false);
    let work = tokio::spawn(worker::run(app.clone().into_inner(), stopped));
    let others: Vec<Server> = replication.into_iter().chain(credentials).collect();
    let mut handles = vec![server.handle()];
    handles.extend(others.iter().map(Server::handle));
    let serving = tokio::spawn(server);
    for other in others {
        tokio::spawn(other);
    }
    match app.config.log.format {
        LogFormat::Text => greet(&app, &addresses)?,
        // Lines that are no JSON would disturb whoever reads output and log together.
        LogFormat::Json => {
            tracing::info!(?addresses, server = %app.config.server.name, "listening");
        }
    }
    stop_on_signal(signals, handles, serving).await?;
    stop.send_replace(true);
    // A round of the worker that hangs on the database must not keep the process alive.
    let _ = tokio::time::timeout(Duration::from_secs(1), work).await;
    tracing::info!("stopped");
    Ok(())
}

fn start_log(log: &Log) -> anyhow::Result<()> {
    // actix tells at info how it starts and ends its workers; `log.filter` can name it all the same.
    let filter = format!("actix_server=warn,{}", log.filter);
    let filter = EnvFilter::try_new(filter).context("log.filter")?;
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(stderr)
        .with_ansi(stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none());
    match log.format {
        LogFormat::Text => subscriber.init(),
        LogFormat::Json => subscriber.json().init(),
    }
    Ok(())
}

/// Opens all doors.
async fn open(config: Config) -> anyhow::Result<App> {
    let clock: SharedClock = Arc::new(SystemClock);
    let database = config.database.clone();
    let store = tokio::task::spawn_blocking(move || Store::open(&database))
        .await?
        .context("the database (`database.url`)")?;
    let is_new = service::pepper::make_first(&store, &clock).await?;
    let keys = signing_keys(&config, is_new)?;
    Ok(App::open(config, store, keys, clock)?)
}

/// The signing keys. On the first start one is made; later a missing file is an error, since
/// nothing that was signed before would verify with a new key.
fn signing_keys(config: &Config, is_new: bool) -> anyhow::Result<KeyRing> {
    let path = &config.signing.key_file;
    if is_new && !path.exists() {
        let key = SigningKey::generate();
        keys::make(path, &key)?;
        tracing::info!(key = key.id(), file = %path.display(), "made a signing key");
    }
    keys::read(path)
}

/// Takes the addresses to listen on, those of `setting`.
fn bind(setting: &str, addresses: &[SocketAddr]) -> anyhow::Result<Vec<TcpListener>> {
    let listener = |address: &SocketAddr| {
        TcpListener::bind(address).map_err(|error| {
            let remedy = match error.kind() {
                ErrorKind::AddrInUse => {
                    ": another program, perhaps another Bindery, listens there; stop it or choose \
                     another port"
                }
                ErrorKind::AddrNotAvailable => ": this machine has no such address",
                ErrorKind::PermissionDenied => {
                    ": ports below 1024 need a permission (CAP_NET_BIND_SERVICE)"
                }
                _ => "",
            };
            anyhow::anyhow!("can't listen on {address} (`{setting}`): {error}{remedy}")
        })
    };
    addresses.iter().map(listener).collect()
}

fn listen(app: &Data<App>, listeners: Vec<TcpListener>) -> anyhow::Result<Server> {
    let shared = app.clone();
    let mut server = HttpServer::new(move || {
        actix_web::App::new().app_data(shared.clone()).configure(http::routes)
    })
    .disable_signals()
    .shutdown_timeout(DRAIN_SECONDS);
    let tls = app.config.server.tls.as_ref().map(tls_config).transpose()?;
    for listener in listeners {
        server = match &tls {
            Some(tls) => server.listen_rustls_0_23(listener, tls.clone())?,
            None => server.listen(listener)?,
        };
    }
    Ok(server.run())
}

/// Where neighbours push to, if anywhere.
fn listen_to_neighbours(
    app: &Data<App>,
    listeners: Vec<TcpListener>,
) -> anyhow::Result<Option<Server>> {
    let Some(replication) = app.config.replication.as_ref().filter(|_| !listeners.is_empty())
    else {
        return Ok(None);
    };
    let Replication { certificate, key, ca_file, .. } = replication;
    let tls = Credentials::read(certificate, key, ca_file).and_then(|files| files.server());
    let tls = tls.context("`[replication]`")?;
    tracing::info!(addresses = ?replication.listen, name = %app.neighbours.own_name(), "neighbours can push");
    Ok(Some(http::serve_neighbours(app, listeners, &tls)?))
}

/// Where only passwords are asked about, if anywhere.
fn listen_for_credentials(
    app: &Data<App>,
    listeners: Vec<TcpListener>,
) -> anyhow::Result<Option<Server>> {
    if listeners.is_empty() {
        return Ok(None);
    }
    let addresses = &app.config.credentials.listen;
    tracing::info!(?addresses, "a homeserver can ask whether passwords are right");
    Ok(Some(http::serve_credentials(app, listeners)?))
}

fn tls_config(tls: &Tls) -> anyhow::Result<rustls::ServerConfig> {
    use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
    let certificates = CertificateDer::pem_file_iter(&tls.certificate)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .with_context(|| format!("{} (`server.tls.certificate`)", tls.certificate.display()))?;
    let key = PrivateKeyDer::from_pem_file(&tls.key)
        .with_context(|| format!("{} (`server.tls.key`)", tls.key.display()))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(certificates, key)
        .context("certificate and key (`server.tls`)")
}

/// Tells the person at the terminal where everything is and what to try.
fn greet(app: &App, addresses: &[SocketAddr]) -> anyhow::Result<()> {
    let config = &app.config;
    let base_url = &config.server.base_url;
    for address in addresses {
        let scheme = if config.server.tls.is_some() { "https" } else { "http" };
        say(&format!("Bindery listens on {scheme}://{address} as {}.", config.server.name))?;
    }
    say(&format!("  Database:     {}", config.database.shown()))?;
    say(&format!("  Signing key:  {}", config.signing.key_file.display()))?;
    say(&match &config.email.transport {
        EmailTransport::Smtp(smtp) => format!("  Mail:         by {}:{}", smtp.host, smtp.port),
        EmailTransport::Sendmail { command } => format!("  Mail:         by {}", command.display()),
        EmailTransport::Directory(path) => {
            format!("  Mail:         into {}, nobody gets it", path.display())
        }
        EmailTransport::Log => "  Mail:         into the log, nobody gets it".to_owned(),
    })?;
    say(match &config.sms.provider {
        None => "  SMS:          none, phone numbers are not validated",
        Some(SmsProvider::Log) => "  SMS:          into the log, nobody gets them",
        Some(SmsProvider::Twilio(_)) => "  SMS:          by Twilio",
        Some(SmsProvider::Http(_)) => "  SMS:          by a gateway",
    })?;
    say("Try first:")?;
    say(&format!("  curl {base_url}/_matrix/identity/versions"))?;
    say("  bindery account token @you:example.org   # an access token, without a homeserver")
}

/// SIGINT and SIGTERM.
struct Signals {
    interrupts: Signal,
    terminations: Signal,
}

impl Signals {
    /// From here on they end the process no more.
    fn catch() -> anyhow::Result<Self> {
        Ok(Self {
            interrupts: signal(SignalKind::interrupt())?,
            terminations: signal(SignalKind::terminate())?,
        })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupts.recv() => {}
            _ = self.terminations.recv() => {}
        }
    }
}

/// Waits for a signal and drains; stops at once on the second one.
async fn stop_on_signal(
    mut signals: Signals,
    handles: Vec<ServerHandle>,
    mut serving: tokio::task::JoinHandle<std::io::Result<()>>,
) -> anyhow::Result<()> {
    tokio::select! {
        ended = &mut serving => return Ok(ended??),
        () = signals.next() => {}
    }
    tracing::info!("stopping: requests are answered to their end; once more stops at once");
    tokio::select! {
        _ = join_all(handles.iter().map(|handle| handle.stop(true))) => {}
        () = signals.next() => std::process::exit(1),
    }
    Ok(())
}

//! `bindery serve`: start, listen, stop.

use std::{net::TcpListener, sync::Arc, time::Duration};

use actix_web::{HttpServer, dev::ServerHandle, web::Data};
use anyhow::Context;
use secrecy::ExposeSecret;
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::watch,
};
use tracing_subscriber::EnvFilter;

use super::{keys, say};
use crate::{
    app::App,
    clock::{SharedClock, SystemClock},
    config::{Config, DatabaseKind, EmailTransport, Log, LogFormat, Tls},
    http,
    matrix::signing::{KeyRing, SigningKey},
    service,
    store::Store,
    worker,
};

/// How long requests may take to end after the first signal, in seconds.
const DRAIN_SECONDS: u64 = 8;

pub(super) async fn serve(config: Config) -> anyhow::Result<()> {
    start_log(&config.log)?;
    let app = Data::new(open(config).await?);
    let (stop, stopped) = watch::channel(false);
    let work = tokio::spawn(worker::run(app.clone().into_inner(), stopped));
    let server = listen(&app)?;
    let handle = server.handle();
    let serving = tokio::spawn(server);
    greet(&app)?;
    stop_on_signal(handle, serving).await?;
    stop.send_replace(true);
    // A round of the worker that hangs on the database must not keep the process alive.
    let _ = tokio::time::timeout(Duration::from_secs(1), work).await;
    tracing::info!("stopped");
    Ok(())
}

fn start_log(log: &Log) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(&log.filter).context("log.filter")?;
    let subscriber = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
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
    let is_new = service::lookup::make_first_pepper(&store, &clock).await?;
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

fn listen(app: &Data<App>) -> anyhow::Result<actix_web::dev::Server> {
    let shared = app.clone();
    let mut server = HttpServer::new(move || {
        actix_web::App::new().app_data(shared.clone()).configure(http::routes)
    })
    .disable_signals()
    .shutdown_timeout(DRAIN_SECONDS);
    let tls = app.config.server.tls.as_ref().map(tls_config).transpose()?;
    for address in &app.config.server.listen {
        let listener = TcpListener::bind(address)
            .with_context(|| format!("can't listen on {address} (`server.listen`)"))?;
        server = match &tls {
            Some(tls) => server.listen_rustls_0_23(listener, tls.clone())?,
            None => server.listen(listener)?,
        };
    }
    Ok(server.run())
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
fn greet(app: &App) -> anyhow::Result<()> {
    let config = &app.config;
    let base_url = &config.server.base_url;
    for address in &config.server.listen {
        let scheme = if config.server.tls.is_some() { "https" } else { "http" };
        say(&format!("Bindery listens on {scheme}://{address} as {}.", config.server.name))?;
    }
    let data = match config.database.kind() {
        DatabaseKind::Sqlite(path) => path.display().to_string(),
        DatabaseKind::Postgres(url) => without_password(url.expose_secret()),
    };
    say(&format!("Database: {data}"))?;
    say(&format!("Signing key: {}", config.signing.key_file.display()))?;
    match &config.email.transport {
        EmailTransport::Smtp(smtp) => say(&format!("Mail: by {}:{}", smtp.host, smtp.port))?,
        EmailTransport::Sendmail { command } => say(&format!("Mail: by {}", command.display()))?,
        EmailTransport::Directory(path) => say(&format!("Mail: into {}", path.display()))?,
        EmailTransport::Log => say("Mail: into the log")?,
    }
    say("Try first:")?;
    say(&format!("  curl {base_url}/_matrix/identity/versions"))?;
    say("  bindery account token @you:example.org   # an access token, without a homeserver")
}

fn without_password(url: &str) -> String {
    url::Url::parse(url).map_or_else(
        |_| "PostgreSQL".to_owned(),
        |mut url| {
            // Fails only for URLs that can't have a password.
            let _ = url.set_password(None);
            url.set_query(None);
            url.to_string()
        },
    )
}

/// Waits for SIGINT or SIGTERM and drains; stops at once on the second signal.
async fn stop_on_signal(
    handle: ServerHandle,
    serving: tokio::task::JoinHandle<std::io::Result<()>>,
) -> anyhow::Result<()> {
    let mut interrupts = signal(SignalKind::interrupt())?;
    let mut terminations = signal(SignalKind::terminate())?;
    let mut serving = std::pin::pin!(serving);
    tokio::select! {
        ended = &mut serving => return Ok(ended??),
        () = either(&mut interrupts, &mut terminations) => {}
    }
    tracing::info!("stopping: requests are answered to their end; once more stops at once");
    tokio::select! {
        () = handle.stop(true) => {}
        () = either(&mut interrupts, &mut terminations) => std::process::exit(1),
    }
    Ok(())
}

async fn either(one: &mut Signal, other: &mut Signal) {
    tokio::select! {
        _ = one.recv() => {}
        _ = other.recv() => {}
    }
}

//! A server in the test's own process, whose clock the test moves, and the people who use it.

use std::{
    net::TcpListener,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use actix_web::{App as Actix, HttpServer, dev::ServerHandle, web::Data};
use bindery::{
    app::App,
    clock::{Clock, ManualClock, SharedClock},
    config::Config,
    http,
    matrix::signing::KeyRing,
    service,
    store::Store,
};
use mail_parser::MessageParser;
use serde_json::{Value, json};

use crate::{
    database::TestDatabase,
    smtp::{Behaviour, SmtpServer, Tls},
};

/// The signing key of the specification's test vectors, under the version `1`.
pub(crate) const SEED: &str = "YJDBA9Xnr2sVqXD9Vj7XVUnmFZcZrlw8Md7kMW+3XA1";

/// The public half of [`SEED`].
pub(crate) const PUBLIC_KEY: &str = "XGX0JRS2Af3be3knz2fBiRbApjm2Dh61gXDJA8kcJNI";

/// When tests begin: 2026-11-23T07:08:09.123Z.
pub(crate) const START_MS: i64 = 1_795_417_689_123;

/// Where the API lies.
pub(crate) const V2: &str = "/_matrix/identity/v2";

pub(crate) struct TestApp {
    pub(crate) app: Data<App>,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) smtp: Arc<SmtpServer>,
    /// What `email.smtp` says.
    mail: String,
    /// `http://127.0.0.1:port`
    pub(crate) base: String,
    pub(crate) database: Arc<TestDatabase>,
    client: reqwest::Client,
    server: ServerHandle,
    /// Ends the keeping of what is in memory.
    keeper: tokio::sync::watch::Sender<bool>,
}

impl TestApp {
    /// A server with the default limits switched off.
    pub(crate) async fn start() -> Self {
        Self::with("[limits]\nenabled = false").await
    }

    /// A server with more configuration, which begins with a section's head.
    pub(crate) async fn with(toml: &str) -> Self {
        Self::with_smtp(toml, Behaviour::default()).await
    }

    /// A server whose mail server behaves as asked.
    pub(crate) async fn with_smtp(toml: &str, behaviour: Behaviour) -> Self {
        Self::launch(toml, Base::with_smtp(behaviour).await).await
    }

    /// A server with retired keys beside the one that signs: lines of a key file.
    pub(crate) async fn with_retired_keys(lines: &str) -> Self {
        let mut base = Base::with_smtp(Behaviour::default()).await;
        base.keys += lines;
        Self::launch("limits.enabled = false", base).await
    }

    /// Another server on the same database under the same clock, with the same mail server: a
    /// second node, or the first one after a restart.
    pub(crate) async fn beside(&self, toml: &str) -> Self {
        let base = Base {
            database: self.database.clone(),
            clock: self.clock.clone(),
            smtp: self.smtp.clone(),
            mail: self.mail.clone(),
            keys: signing_key(),
        };
        Self::launch(toml, base).await
    }

    async fn launch(toml: &str, base: Base) -> Self {
        let Base { database, clock, smtp, mail, keys } = base;
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        // Nobody else's name servers are asked by a test that isn't about peers.
        let alone = if toml.contains("peers") { "" } else { "peers.discover = false\n" };
        let toml = format!(
            "server.name = 'id.example.org'\nserver.base_url = '{base}'\n\
             database.url = '{}'\ndatabase.max_connections = 4\n\
             email.from = 'Example <noreply@example.org>'\n\
             email.smtp = {{ {mail} }}\n{alone}{toml}",
            database.url
        );
        let config = Config::from_toml(&toml).unwrap_or_else(|faults| panic!("{faults}"));
        let app = Data::new(open(config, &keys, clock.clone()).await);
        let server = serve(app.clone(), listener);
        let keeper = keep(&app).await;
        Self { app, clock, smtp, mail, base, database, client: client(), server, keeper }
    }

    /// Brings into memory what the test did to the database itself.
    pub(crate) async fn settle(&self) {
        service::index::catch_up(&self.app).await.unwrap();
    }

    /// From here on the server hears nothing of what others do.
    pub(crate) fn cut_off(&self) {
        self.keeper.send_replace(true);
    }

    /// Who has no access token.
    pub(crate) fn stranger(&self) -> Caller<'_> {
        Caller { app: self, token: None }
    }

    /// A user with an access token.
    pub(crate) async fn account(&self, mxid: &str) -> Caller<'_> {
        let mxid = mxid.parse().unwrap();
        let now_ms = self.clock.now_ms();
        let token = service::account::issue_token(&self.app.store, mxid, now_ms).await.unwrap();
        Caller { app: self, token: Some(token) }
    }

    /// Whoever has this access token.
    pub(crate) fn holder(&self, token: &str) -> Caller<'_> {
        Caller { app: self, token: Some(token.to_owned()) }
    }

    /// The newest mail to `address`.
    pub(crate) fn last_mail_to(&self, address: &str) -> Mail {
        let seen = self.smtp.seen();
        let to = format!("<{address}>");
        let mail = seen.mails.iter().rev().find(|mail| mail.to.iter().any(|t| t.contains(&to)));
        let message = mail.unwrap_or_else(|| panic!("no mail went to {address}"));
        let parsed = MessageParser::default().parse(&message.raw).unwrap();
        let text = parsed.body_text(0).unwrap().into_owned();
        let link = text.split_whitespace().find(|word| word.starts_with("http")).unwrap();
        let query: url::Url = link.parse().unwrap();
        // The link of an invitation has its token deeper inside.
        let token = query.query_pairs().find(|(name, _)| name == "token");
        let token = token.map(|(_, token)| token.into_owned()).unwrap_or_default();
        let html = parsed.body_html(0).unwrap().into_owned();
        Mail { link: link.to_owned(), token, text, html }
    }

    /// Opens a mailed link as a browser does that follows no redirects.
    pub(crate) async fn open(&self, link: &str) -> Answer {
        answer(self.client.get(link)).await
    }

    /// How many mails were sent.
    pub(crate) fn mails(&self) -> usize {
        self.smtp.seen().mails.len()
    }

    /// Tells homeservers of the binds that they are owed.
    pub(crate) async fn deliver(&self) {
        bindery::worker::deliver(&self.app).await;
    }

    /// Copies the directories that are due.
    pub(crate) async fn copy(&self) {
        for directory in self.app.directories.iter().filter(|one| one.settings().is_copied()) {
            bindery::worker::copy(&self.app, directory).await;
        }
    }

    /// Does what the background does in a round.
    pub(crate) async fn background(&self) {
        bindery::worker::round(&self.app).await;
    }
}

impl Drop for TestApp {
    fn drop(&mut self) {
        // Asked to stop is enough; nobody waits for it.
        drop(self.server.stop(false));
    }
}

/// What a server stands on.
struct Base {
    database: Arc<TestDatabase>,
    clock: Arc<ManualClock>,
    smtp: Arc<SmtpServer>,
    mail: String,
    /// The key file.
    keys: String,
}

impl Base {
    async fn with_smtp(behaviour: Behaviour) -> Self {
        let database = TestDatabase::new();
        let smtp = SmtpServer::start(behaviour.clone()).await;
        Self {
            mail: mail_settings(&smtp, &behaviour, &database),
            database: Arc::new(database),
            clock: Arc::new(ManualClock::at(START_MS)),
            smtp: Arc::new(smtp),
            keys: signing_key(),
        }
    }
}

fn signing_key() -> String {
    format!("ed25519 1 {SEED}\n")
}

/// What `email.smtp` says to reach `server`, which behaves as asked.
fn mail_settings(server: &SmtpServer, behaviour: &Behaviour, database: &TestDatabase) -> String {
    let mut settings = vec![format!("host = '127.0.0.1', port = {}, timeout = '2s'", server.port)];
    if behaviour.tls != Tls::None {
        let ca_file = database.folder.path().join("mail-ca.pem");
        std::fs::write(&ca_file, &server.ca).unwrap();
        let security = if behaviour.tls == Tls::Starttls { "starttls" } else { "tls" };
        settings.push(format!("security = '{security}', ca_file = '{}'", ca_file.display()));
    }
    if let Some((_, username, password)) = behaviour.login {
        settings.push(format!("username = '{username}', password = '{password}'"));
    }
    settings.join(", ")
}

async fn open(config: Config, keys: &str, clock: SharedClock) -> App {
    let store = Store::open(&config.database).unwrap();
    service::pepper::make_first(&store, &clock).await.unwrap();
    App::open(config, store, KeyRing::from_text(keys).unwrap(), clock).unwrap()
}

/// Keeps what the server has in memory in step with the database.
async fn keep(app: &Data<App>) -> tokio::sync::watch::Sender<bool> {
    let (stop, stopped) = tokio::sync::watch::channel(false);
    service::index::announce(app);
    let kept = app.clone().into_inner();
    tokio::spawn(async move { service::index::keep(&kept, stopped).await });
    if app.config.lookup.index {
        app.index.is_complete_within(Duration::from_secs(20)).await;
    }
    stop
}

fn serve(app: Data<App>, listener: TcpListener) -> ServerHandle {
    let server =
        HttpServer::new(move || Actix::new().app_data(app.clone()).configure(http::routes))
            .workers(1)
            .disable_signals()
            .listen(listener)
            .unwrap()
            .run();
    let handle = server.handle();
    tokio::spawn(server);
    handle
}

fn client() -> reqwest::Client {
    // Another test of this process may have been first.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .build()
        .unwrap()
}

/// A mail as a person reads it.
pub(crate) struct Mail {
    pub(crate) link: String,
    pub(crate) token: String,
    pub(crate) text: String,
    pub(crate) html: String,
}

/// Somebody who makes requests.
pub(crate) struct Caller<'a> {
    app: &'a TestApp,
    pub(crate) token: Option<String>,
}

/// A session that a person validated.
pub(crate) struct Session {
    pub(crate) sid: String,
    pub(crate) client_secret: String,
}

impl Session {
    /// The session's fields in a request.
    pub(crate) fn json(&self) -> Value {
        json!({ "sid": self.sid, "client_secret": self.client_secret })
    }

    /// The session's fields in a query.
    pub(crate) fn query(&self) -> String {
        format!("sid={}&client_secret={}", self.sid, self.client_secret)
    }
}

impl Caller<'_> {
    /// A request to a path of the v2 API, or to any when `path` is the root or begins with
    /// `/_matrix`, `/.well-known`, `/health` or `/metrics`.
    pub(crate) fn request(&self, method: &str, path: &str) -> reqwest::RequestBuilder {
        let others = ["/_matrix", "/.well-known", "/health", "/metrics"];
        let path = if path == "/" || others.iter().any(|other| path.starts_with(other)) {
            path.to_owned()
        } else {
            format!("{V2}{path}")
        };
        let url = format!("{}{path}", self.app.base);
        let request = self.app.client.request(method.parse().unwrap(), url);
        match &self.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        }
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        answer(self.request("GET", path)).await
    }

    pub(crate) async fn post(&self, path: &str, body: Value) -> Answer {
        answer(self.request("POST", path).json(&body)).await
    }

    /// Sends a body as it stands, of some `Content-Type`.
    pub(crate) async fn post_raw(&self, path: &str, content_type: &str, body: &str) -> Answer {
        let request = self.request("POST", path).header("content-type", content_type);
        answer(request.body(body.to_owned())).await
    }

    /// Asks for a validation mail.
    pub(crate) async fn request_token(&self, email: &str, secret: &str, attempt: i64) -> Answer {
        let body = json!({ "email": email, "client_secret": secret, "send_attempt": attempt });
        self.post("/validate/email/requestToken", body).await
    }

    /// Validates an address as a person does: by the link in the mail.
    pub(crate) async fn validated(&self, email: &str, canonical: &str) -> Session {
        // Another one each time: the same one would find the session that is validated already.
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let client_secret = format!("monkeys_are.GREAT-{}", NEXT.fetch_add(1, Ordering::Relaxed));
        let opened = self.request_token(email, &client_secret, 1).await.ok();
        let sid = opened["sid"].as_str().unwrap().to_owned();
        let link = self.app.last_mail_to(canonical).link;
        let page = self.app.open(&link).await;
        assert_eq!(page.status, 200, "{}", page.body);
        Session { sid, client_secret }
    }

    /// Validates an address and binds it to `mxid`.
    pub(crate) async fn bound(&self, email: &str, mxid: &str) -> Value {
        let session = self.validated(email, email).await;
        let mut body = session.json();
        body["mxid"] = json!(mxid);
        self.post("/3pid/bind", body).await.ok()
    }

    /// The user ids behind `addresses`, looked up by hash under the current pepper.
    pub(crate) async fn find(&self, addresses: &[&str]) -> Vec<Option<String>> {
        let details = self.get("/hash_details").await.ok();
        let pepper = details["lookup_pepper"].as_str().unwrap();
        let hashes: Vec<String> = addresses.iter().map(|a| hash(a, "email", pepper)).collect();
        let body = json!({ "algorithm": "sha256", "pepper": pepper, "addresses": hashes });
        let found = self.post("/lookup", body).await.ok();
        let mxid = |hash: &String| found["mappings"][hash].as_str().map(str::to_owned);
        hashes.iter().map(mxid).collect()
    }
}

/// The hash of an address as a client makes it.
pub(crate) fn hash(address: &str, medium: &str, pepper: &str) -> String {
    use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
    use sha2::{Digest, Sha256};
    URL_SAFE_NO_PAD.encode(Sha256::digest(format!("{address} {medium} {pepper}")))
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: reqwest::header::HeaderMap,
    pub(crate) body: String,
}

/// Sends a request.
pub(crate) async fn answer(request: reqwest::RequestBuilder) -> Answer {
    let response = request.send().await.unwrap();
    Answer {
        status: response.status().as_u16(),
        headers: response.headers().clone(),
        body: response.text().await.unwrap(),
    }
}

impl Answer {
    /// The body of a success.
    pub(crate) fn ok(&self) -> Value {
        assert_eq!(self.status, 200, "{}", self.body);
        self.json()
    }

    /// The body of a refusal with this status and errcode.
    pub(crate) fn refused(&self, status: u16, errcode: &str) -> Value {
        let body = self.json();
        assert_eq!((self.status, body["errcode"].as_str()), (status, Some(errcode)), "{body}");
        assert!(body["error"].is_string(), "{body}");
        body
    }

    /// The body, which must be declared as JSON.
    pub(crate) fn json(&self) -> Value {
        assert_eq!(self.header("content-type"), "application/json", "{}", self.body);
        serde_json::from_str(&self.body).unwrap()
    }

    /// The value of a header that must be there.
    pub(crate) fn header(&self, name: &str) -> &str {
        let value = self.headers.get(name).unwrap_or_else(|| panic!("no {name}: {self:?}"));
        value.to_str().unwrap()
    }
}

//! Several servers that know each other by DNS and TLS, under one clock.

use std::{
    collections::HashMap,
    net::TcpListener,
    sync::{Arc, Mutex},
};

use actix_web::{
    App as Actix, HttpServer,
    body::MessageBody,
    dev::{Payload, ServerHandle, ServiceRequest, ServiceResponse},
    middleware::{Next, from_fn},
    web::{Bytes, Data},
};
use bindery::{
    app::App,
    clock::ManualClock,
    config::Config,
    http,
    matrix::{
        medium::Mediums,
        signing::{KeyRing, SigningKey},
        threepid::{ThreePid, encode_hash},
    },
    service,
    store::{
        Store, StoreError, Tx,
        associations::{self, Association},
        peppers,
    },
};
use serde_json::{Value, json};

use crate::{
    database::TestDatabase,
    dns::FakeDns,
    homeserver::{Ca, FakeHomeserver},
};

/// Where API v2 lies.
pub(crate) const V2: &str = "/_matrix/identity/v2";

/// Who asks, where it doesn't matter who.
pub(crate) const ALICE: &str = "@alice:hs.example";

/// What surrounds the servers.
pub(crate) struct World {
    pub(crate) dns: FakeDns,
    pub(crate) ca: Ca,
    pub(crate) clock: Arc<ManualClock>,
}

/// A server in the test's own process.
pub(crate) struct Bindery {
    pub(crate) app: Data<App>,
    /// Where others reach it.
    pub(crate) url: String,
    pub(crate) port: u16,
    /// Where the test reaches it.
    base: String,
    pub(crate) database: TestDatabase,
    seen: Arc<Mutex<Vec<Seen>>>,
    servers: Vec<ServerHandle>,
}

/// A request that another server made.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) path: String,
    pub(crate) query: String,
    pub(crate) body: String,
}

impl World {
    pub(crate) async fn start() -> Self {
        // Another test of this process may have been first.
        let _ = rustls::crypto::ring::default_provider().install_default();
        Self {
            dns: FakeDns::start().await,
            ca: Ca::new(),
            clock: Arc::new(ManualClock::at(1_795_417_689_123)),
        }
    }

    /// Says that the identity server of `domain` is at `port` of `host`, which is here.
    pub(crate) fn serves(&self, domain: &str, host: &str, port: u16) {
        self.dns.host(host, &["127.0.0.1"]);
        self.dns.service(&format!("_matrix-identity._tcp.{domain}"), &[(0, 0, port, host)]);
    }

    /// The server of `domain`, which does as it is told.
    pub(crate) async fn fake(&self, domain: &str) -> FakeHomeserver {
        let host = format!("id.{domain}");
        let fake = FakeHomeserver::start(&self.ca, &[&host]).await;
        self.serves(domain, &host, fake.address().port());
        fake
    }

    /// The Bindery of `domain`, with more configuration, which begins with top-level keys.
    pub(crate) async fn bindery(&self, domain: &str, toml: &str) -> Bindery {
        let host = format!("id.{domain}");
        let tls = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = tls.local_addr().unwrap().port();
        let url = format!("https://{host}:{port}");
        self.serves(domain, &host, port);
        let database = TestDatabase::new();
        let toml = format!(
            "server.name = '{host}:{port}'\nserver.base_url = '{url}'\n\
             database.url = '{}'\ndatabase.max_connections = 2\nemail.transport = 'log'\n\
             limits.enabled = false\nlookup.algorithms = ['sha256', 'none']\n\
             dns.nameservers = ['{}']\nfederation.allow_networks = ['127.0.0.1/32']\n\
             federation.ca_file = '{}'\n{toml}",
            database.url,
            self.dns.address(),
            self.ca.file().display(),
        );
        let config = Config::from_toml(&toml).unwrap_or_else(|faults| panic!("{faults}"));
        let store = Store::open(&config.database).unwrap();
        let clock = self.clock.clone();
        service::pepper::make_first(&store, &(clock.clone() as Arc<_>)).await.unwrap();
        let keys = KeyRing::new(SigningKey::generate());
        let app = Data::new(App::open(config, store, keys, clock).unwrap());
        let seen = Arc::<Mutex<Vec<Seen>>>::default();
        let plain = TcpListener::bind("127.0.0.1:0").unwrap();
        let base = format!("http://{}", plain.local_addr().unwrap());
        let servers = serve(&app, &seen, (plain, tls), self.ca.tls(&[&host]));
        Bindery { app, url, port, base, database, seen, servers }
    }
}

/// Serves tests in plain and others by TLS, and remembers what the latter ask.
fn serve(
    app: &Data<App>,
    seen: &Arc<Mutex<Vec<Seen>>>,
    (plain, tls): (TcpListener, TcpListener),
    config: rustls::ServerConfig,
) -> Vec<ServerHandle> {
    let (app, seen) = (app.clone(), seen.clone());
    let for_tests = app.clone();
    let plain_server =
        HttpServer::new(move || Actix::new().app_data(for_tests.clone()).configure(http::routes));
    let plain_server = plain_server.workers(1).disable_signals().listen(plain).unwrap().run();
    let tls_server = HttpServer::new(move || {
        Actix::new()
            .app_data(app.clone())
            .app_data(Data::from(seen.clone()))
            .wrap(from_fn(remember))
            .configure(http::routes)
    });
    let tls_server =
        tls_server.workers(1).disable_signals().listen_rustls_0_23(tls, config).unwrap().run();
    let handles = vec![plain_server.handle(), tls_server.handle()];
    tokio::spawn(plain_server);
    tokio::spawn(tls_server);
    handles
}

/// Remembers a request.
async fn remember(
    mut request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<impl MessageBody>, actix_web::Error> {
    let body = request.extract::<Bytes>().await.unwrap_or_default();
    let seen = request.app_data::<Data<Mutex<Vec<Seen>>>>().unwrap();
    seen.lock().unwrap().push(Seen {
        path: request.path().to_owned(),
        query: request.query_string().to_owned(),
        body: String::from_utf8_lossy(&body).into_owned(),
    });
    request.set_payload(Payload::from(body));
    next.call(request).await
}

impl Drop for Bindery {
    fn drop(&mut self) {
        for server in &self.servers {
            drop(server.stop(false));
        }
    }
}

/// A 3PID of any medium.
pub(crate) fn threepid(medium: &str, address: &str) -> ThreePid {
    Mediums::default().threepid_anywhere(medium, address).unwrap()
}

impl Bindery {
    /// Binds an address to a user, without the validation that takes a mail.
    pub(crate) async fn bind(&self, medium: &str, address: &str, mxid: &str) {
        let association =
            Association::new(threepid(medium, address), mxid.parse().unwrap(), self.now_ms());
        let work = move |tx: &mut Tx<'_>| {
            let pepper = peppers::hold_current(tx)?.unwrap();
            associations::bind(tx, &association, &pepper)
        };
        self.app.store.write::<_, StoreError>(work).await.unwrap();
    }

    fn now_ms(&self) -> i64 {
        self.app.clock.now_ms()
    }

    /// Makes a request as `mxid`; answers its status and body.
    pub(crate) async fn post(&self, mxid: &str, path: &str, body: &Value) -> (u16, Value) {
        let user = mxid.parse().unwrap();
        let token = service::account::issue_token(&self.app.store, user, self.now_ms());
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let request = client.post(format!("{}{V2}{path}", self.base)).json(body);
        let answer = request.bearer_auth(token.await.unwrap()).send().await.unwrap();
        (answer.status().as_u16(), answer.json().await.unwrap())
    }

    /// What is said at `path` to anybody.
    pub(crate) async fn text(&self, path: &str) -> String {
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let answer = client.get(format!("{}{path}", self.base)).send().await.unwrap();
        assert_eq!(answer.status(), 200, "{path}");
        answer.text().await.unwrap()
    }

    /// The same, as JSON.
    pub(crate) async fn get(&self, path: &str) -> Value {
        serde_json::from_str(&self.text(path).await).unwrap()
    }

    /// What API v1 answers to anybody.
    pub(crate) async fn post_v1(&self, path: &str, body: &Value) -> Value {
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let url = format!("{}/_matrix/identity/api/v1{path}", self.base);
        client.post(url).json(body).send().await.unwrap().json().await.unwrap()
    }

    async fn pepper(&self) -> String {
        service::lookup::current_pepper(&self.app).await.unwrap()
    }

    /// Looks up texts such as `alice@b.test email` in plain.
    pub(crate) async fn find(&self, texts: &[&str]) -> HashMap<String, String> {
        self.find_as(ALICE, texts).await
    }

    /// The same for somebody else.
    pub(crate) async fn find_as(&self, mxid: &str, texts: &[&str]) -> HashMap<String, String> {
        let body =
            json!({ "algorithm": "none", "pepper": self.pepper().await, "addresses": texts });
        self.mappings(mxid, &body).await
    }

    /// Whose an e-mail address is, looked up by its hash.
    pub(crate) async fn find_hashed(&self, mxid: &str, address: &str) -> Option<String> {
        let pepper = self.pepper().await;
        let hash = encode_hash(&threepid("email", address).lookup_hash(&pepper));
        let body = json!({ "algorithm": "sha256", "pepper": pepper, "addresses": [hash] });
        self.mappings(mxid, &body).await.remove(&hash)
    }

    async fn mappings(&self, mxid: &str, body: &Value) -> HashMap<String, String> {
        let (status, answer) = self.post(mxid, "/lookup", body).await;
        assert_eq!(status, 200, "{answer}");
        serde_json::from_value(answer["mappings"].clone()).unwrap()
    }

    /// What other servers asked so far.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    /// How often others made a request whose path ends so.
    pub(crate) fn count(&self, end: &str) -> usize {
        self.seen().iter().filter(|seen| seen.path.ends_with(end)).count()
    }

    /// How many addresses others looked up, in all their lookups by API v2.
    pub(crate) fn looked_up(&self) -> usize {
        let lookups = self.seen().into_iter().filter(|seen| seen.path.ends_with("/v2/lookup"));
        let count = |seen: Seen| {
            let body: Value = serde_json::from_str(&seen.body).unwrap();
            body["addresses"].as_array().unwrap().len()
        };
        lookups.map(count).sum()
    }
}

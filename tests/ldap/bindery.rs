//! A Bindery in the test's own process, whose clock the test moves, and a person who asks it.

use std::{
    collections::{HashMap, HashSet},
    net::TcpListener,
    sync::Arc,
};

use actix_web::{App as Actix, HttpServer, dev::ServerHandle, web::Data};
use bindery::{
    app::App,
    clock::{Clock, ManualClock, SystemClock},
    config::Config,
    http,
    matrix::{
        signing::{KeyRing, SigningKey},
        threepid::{ThreePid, encode_hash},
    },
    service,
    store::Store,
    worker,
};
use serde_json::{Value, json};

use crate::{database::TestDatabase, world::World};

/// Where API v2 lies.
const V2: &str = "/_matrix/identity/v2";

/// What a homeserver shows that asks about passwords.
const SECRET: &str = "the homeserver's";

pub(crate) struct Bindery {
    pub(crate) app: Data<App>,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) person: Asker,
    server: ServerHandle,
    pub(crate) database: TestDatabase,
}

impl Bindery {
    /// A server whose only directory is that of `world`.
    pub(crate) async fn of(world: &World) -> Self {
        let database = TestDatabase::new();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let toml = format!("server.base_url = '{base}'\n{}", settings(world, &database.url));
        let config = Config::from_toml(&toml).unwrap_or_else(|faults| panic!("{faults}"));
        let store = Store::open(&config.database).unwrap();
        // The directory's server has the real time.
        let clock = Arc::new(ManualClock::at(SystemClock.now_ms()));
        service::pepper::make_first(&store, &(clock.clone() as Arc<_>)).await.unwrap();
        let token = token(&store).await;
        let keys = KeyRing::new(SigningKey::generate());
        let app = Data::new(App::open(config, store, keys, clock.clone()).unwrap());
        let shared = app.clone();
        let server =
            HttpServer::new(move || Actix::new().app_data(shared.clone()).configure(http::routes));
        let server = server.workers(1).disable_signals().listen(listener).unwrap().run();
        let handle = server.handle();
        tokio::spawn(server);
        let person = Asker { http: reqwest::Client::builder().build().unwrap(), base, token };
        Self { app, clock, person, server: handle, database }
    }

    /// Does what the worker does for the directory in a round.
    pub(crate) async fn copy(&self) {
        worker::copy(&self.app, self.app.directories.get("staff").unwrap()).await;
    }
}

impl Drop for Bindery {
    fn drop(&mut self) {
        drop(self.server.stop(false));
    }
}

/// The configuration of a Bindery whose only directory is that of `world`, without the top-level
/// keys of how it is reached.
pub(crate) fn settings(world: &World, database: &str) -> String {
    format!(
        "server.name = 'id.example.org'\ndatabase.url = '{database}'\nemail.transport = 'log'\n\
         peers.discover = false\nlimits.enabled = false\n\
         credentials.secret = \"{SECRET}\"\nlookup.algorithms = ['sha256', 'none']\ndns.nameservers = ['127.0.0.1:9']\n\
         [[directories]]\nname = 'staff'\ntype = 'ldap'\nmxid = '@{{uid}}:example.org'\n\
         country = 'GB'\n{}",
        world.settings(&[world.ldaps()], ROLES)
    )
}

/// The role of those who are in a group.
const ROLES: &str = "groups.roles = { 'cn=admins,ou=groups,dc=example,dc=org' = 'admin' }";

/// An access token of somebody's.
pub(crate) async fn token(store: &Store) -> String {
    let now_ms = SystemClock.now_ms();
    service::account::issue_token(store, "@eve:example.org".parse().unwrap(), now_ms).await.unwrap()
}

/// Somebody with an access token.
pub(crate) struct Asker {
    pub(crate) http: reqwest::Client,
    /// `http://127.0.0.1:port`
    pub(crate) base: String,
    pub(crate) token: String,
}

impl Asker {
    /// Who the addresses belong to, looked up by their hashes in one request.
    pub(crate) async fn by_hash(&self, threepids: &[ThreePid]) -> HashMap<String, String> {
        let details = self.request("GET", "/hash_details", None).await;
        let pepper = details["lookup_pepper"].as_str().unwrap();
        let hashes: HashMap<String, &ThreePid> =
            threepids.iter().map(|it| (encode_hash(&it.lookup_hash(pepper)), it)).collect();
        let addresses: HashSet<_> = hashes.keys().collect();
        let body = json!({ "algorithm": "sha256", "pepper": pepper, "addresses": addresses });
        let answer = self.request("POST", "/lookup", Some(body)).await;
        let found = answer["mappings"].as_object().unwrap().iter();
        found.map(|(hash, mxid)| (hashes[hash].address().to_owned(), text(mxid))).collect()
    }

    /// Who has this e-mail address, by a lookup of its hash.
    pub(crate) async fn owner(&self, email: &str) -> Option<String> {
        self.by_hash(&[ThreePid::email(email).unwrap()]).await.remove(email)
    }

    /// The same by a lookup in plain.
    pub(crate) async fn owner_in_plain(&self, email: &str) -> Option<String> {
        let details = self.request("GET", "/hash_details", None).await;
        let pepper = &details["lookup_pepper"];
        let asked = format!("{email} email");
        let body = json!({ "algorithm": "none", "pepper": pepper, "addresses": [asked] });
        let answer = self.request("POST", "/lookup", Some(body)).await;
        answer["mappings"].get(&asked).map(text)
    }

    /// What a homeserver is told that asks whether a password is right.
    pub(crate) async fn check(&self, mxid: &str, password: &str) -> Value {
        let url = format!("{}/_matrix-internal/identity/v1/check_credentials", self.base);
        let body = json!({ "user": { "id": mxid, "password": password } });
        let response = self.http.post(url).bearer_auth(SECRET).json(&body).send().await.unwrap();
        assert_eq!(response.status(), 200);
        response.json::<Value>().await.unwrap()["auth"].take()
    }

    pub(crate) async fn request(&self, method: &str, path: &str, body: Option<Value>) -> Value {
        let url = format!("{}{V2}{path}", self.base);
        let mut request = self.http.request(method.parse().unwrap(), url).bearer_auth(&self.token);
        if let Some(body) = body {
            request = request.json(&body);
        }
        let response = request.send().await.unwrap();
        let status = response.status();
        let answer: Value = response.json().await.unwrap();
        assert!(status.is_success(), "{path}: {answer}");
        answer
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

//! A Sydent, as an operator would set it up who has this test's authority for certificates.

use std::{
    ffi::OsStr,
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use diesel::{Connection, SqliteConnection, connection::SimpleConnection};
use serde_json::{Value, json};
use tokio::sync::Mutex;
use url::Url;

use crate::{
    authority::Ca,
    client::Api,
    environment,
    process::{Process, eventually, free_port},
};

/// Its name, under which it signs.
pub(crate) const NAME: &str = "ids.people.test";

/// The address of its terms, where it has some.
pub(crate) const TERMS: &str = "https://people.test/terms-1.0.en";

/// The identity server and its data.
pub(crate) struct Sydent {
    /// Its public key, by the id `ed25519:0`.
    pub(crate) public_key: String,
    /// Where neighbours push to.
    pub(crate) replication_url: String,
    api_port: u16,
    api: Api,
    internal: Api,
    start: Start,
    process: Mutex<Process>,
}

struct Start {
    folder: PathBuf,
    authorities: PathBuf,
    nameserver: SocketAddr,
}

impl Sydent {
    /// Starts one whose files are in `folder` and which pushes to Bindery at `neighbour`, once the
    /// two have been made acquainted.
    pub(crate) async fn start(
        ca: &Ca,
        folder: PathBuf,
        nameserver: SocketAddr,
        neighbour: (&str, &str),
        http: &reqwest::Client,
    ) -> Self {
        fs::create_dir(&folder).unwrap();
        let ports = [free_port(), free_port(), free_port()];
        let (certificate, key) = ca.pem_of(&[NAME]);
        fs::write(folder.join("replication.pem"), key + &certificate).unwrap();
        fs::write(folder.join("sydent.conf"), config(&folder, ca, ports, neighbour)).unwrap();
        let start = Start { folder, authorities: ca.file().to_owned(), nameserver };
        let api = |port: u16, path: &str| Api {
            http: http.clone(),
            base: format!("http://127.0.0.1:{port}/_matrix/identity{path}"),
            token: None,
        };
        let mut sydent = Self {
            public_key: String::new(),
            replication_url: format!("https://127.0.0.1:{}", ports[2]),
            api_port: ports[0],
            api: api(ports[0], "/api/v1"),
            internal: api(ports[1], "/internal"),
            process: Mutex::new(start.run()),
            start,
        };
        sydent.answers().await;
        let key = sydent.api.get("/pubkey/ed25519:0").await.ok();
        key["public_key"].as_str().unwrap().clone_into(&mut sydent.public_key);
        sydent
    }

    /// Where its API answers, without TLS.
    pub(crate) fn address(&self) -> SocketAddr {
        ([127, 0, 0, 1], self.api_port).into()
    }

    /// Gives it terms that people have to accept from now on.
    pub(crate) async fn introduce_terms(&self) {
        let text = json!({ "name": "Terms", "url": TERMS });
        let terms = json!({ "version": "1.0", "langs": { "en": text } });
        let terms = json!({ "master_version": "1.0", "docs": { "terms": terms } });
        let [file, config] = ["terms.yaml", "sydent.conf"].map(|f| self.start.folder.join(f));
        // JSON is YAML.
        fs::write(&file, terms.to_string()).unwrap();
        let line = format!("terms.path = {}\n", file.display());
        let text = fs::read_to_string(&config).unwrap();
        assert!(text.contains("terms.path = \n"), "{text}");
        self.kill().await;
        fs::write(config, text.replace("terms.path = \n", &line)).unwrap();
        self.start_again().await;
    }

    /// Has it forget who is logged in, as if it had been set up anew.
    pub(crate) async fn forget_accounts(&self) {
        self.alter("DELETE FROM tokens").await;
    }

    /// Has it choose another pepper, as it does where it has none.
    pub(crate) async fn change_pepper(&self) {
        self.alter("DELETE FROM hashing_metadata").await;
    }

    /// Has it answer API v1 with associations that were altered after they were signed.
    pub(crate) async fn forge(&self, from: &str, to: &str) {
        let set = format!("sgAssoc = replace(sgAssoc, '{from}', '{to}')");
        self.alter(&format!("UPDATE global_threepid_associations SET {set}")).await;
    }

    /// Changes its database behind its back. While it runs, a lookup keeps that locked until
    /// something else is stored.
    async fn alter(&self, sql: &str) {
        self.kill().await;
        self.execute(sql);
        self.start_again().await;
    }

    /// Makes a neighbour of the server that has this key, as Sydent's operators do.
    pub(crate) fn befriend(&self, name: &str, public_key: &str) {
        self.execute(&format!(
            "INSERT INTO peers (name, active) VALUES ('{name}', 1);
             INSERT INTO peer_pubkeys (peername, alg, key)
             VALUES ('{name}', 'ed25519', '{public_key}')"
        ));
    }

    /// Has it bind an e-mail address as if that had been proved.
    pub(crate) async fn bind(&self, address: &str, mxid: &str) {
        self.bind_any("email", address, mxid).await;
    }

    /// Has it bind an address of any medium.
    pub(crate) async fn bind_any(&self, medium: &str, address: &str, mxid: &str) {
        let body = json!({ "medium": medium, "address": address, "mxid": mxid });
        let bound = self.internal.post("/bind", body).await.ok();
        assert_eq!(bound["mxid"], mxid);
    }

    /// Has it unbind an address.
    pub(crate) async fn unbind(&self, address: &str, mxid: &str) {
        let body = json!({ "medium": "email", "address": address, "mxid": mxid });
        self.internal.post("/unbind", body).await.ok();
    }

    /// The association of an address as it tells anybody who asks.
    pub(crate) async fn association(&self, address: &str) -> Option<Value> {
        let query = [("medium", "email"), ("address", address)];
        let url = Url::parse_with_params("http://sydent/lookup", query).unwrap();
        let found = self.api.get(&format!("/lookup?{}", url.query().unwrap())).await.ok();
        Some(found).filter(|found| found.get("mxid").is_some())
    }

    /// Waits until an address is `mxid`'s there.
    pub(crate) async fn until(&self, address: &str, mxid: Option<&str>) {
        let what = format!("Sydent knows {address} as that of {mxid:?}");
        eventually(&what, async || {
            let found = self.association(address).await;
            let found = found.as_ref().map(|found| found["mxid"].as_str().unwrap());
            (found == mxid).then_some(())
        })
        .await;
    }

    /// Takes it away.
    pub(crate) async fn kill(&self) {
        self.process.lock().await.kill();
    }

    /// Lets it come back.
    pub(crate) async fn start_again(&self) {
        *self.process.lock().await = self.start.run();
        self.answers().await;
    }

    fn execute(&self, sql: &str) {
        let file = self.start.folder.join("sydent.db");
        let mut database = SqliteConnection::establish(file.to_str().unwrap()).unwrap();
        database.batch_execute("PRAGMA busy_timeout = 10000").unwrap();
        database.batch_execute(sql).unwrap();
    }

    async fn answers(&self) {
        let (http, url) = (&self.api.http, &self.api.base);
        self.process.lock().await.until(async || http.get(url).send().await.is_ok()).await;
    }
}

impl Start {
    fn run(&self) -> Process {
        let (address, port) =
            (self.nameserver.ip().to_string(), self.nameserver.port().to_string());
        let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/sydent/start.py");
        let config = self.folder.join("sydent.conf");
        Process::start(
            "Sydent",
            environment("bin/python").as_os_str(),
            &[program.as_os_str(), OsStr::new(&address), OsStr::new(&port)],
            // For what it asks homeservers, it trusts whom OpenSSL trusts.
            &[
                ("SSL_CERT_FILE", self.authorities.as_os_str()),
                ("SYDENT_CONF", config.as_os_str()),
                ("PYTHONDONTWRITEBYTECODE", OsStr::new("1")),
            ],
            self.folder.join("log"),
        )
    }
}

/// It adds its signing key itself.
fn config(folder: &Path, ca: &Ca, ports: [u16; 3], (name, url): (&str, &str)) -> String {
    let [api, internal, replication] = ports;
    let (folder, authority) = (folder.display(), ca.file().display());
    format!(
        "[general]\n\
         server.name = {NAME}\n\
         pidfile.path =\n\
         templates.path = {folder}\n\
         terms.path =\n\
         ip.whitelist = 127.0.0.0/8\n\
         [db]\n\
         db.file = {folder}/sydent.db\n\
         [http]\n\
         clientapi.http.bind_address = 127.0.0.1\n\
         clientapi.http.port = {api}\n\
         internalapi.http.bind_address = 127.0.0.1\n\
         internalapi.http.port = {internal}\n\
         replication.https.bind_address = 127.0.0.1\n\
         replication.https.port = {replication}\n\
         replication.https.certfile = {folder}/replication.pem\n\
         replication.https.cacert = {authority}\n\
         [peer.{name}]\n\
         base_replication_url = {url}\n\
         [email]\n\
         email.from = noreply@people.test\n"
    )
}

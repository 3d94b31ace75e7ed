//! Neighbours: servers of their own, which push to each other by mutual TLS.

use std::{net::TcpListener, path::PathBuf};

use actix_web::dev::ServerHandle;
use bindery::{
    http::serve_neighbours, matrix::signing::SigningKey, mutual_tls::Credentials, worker,
};
use serde_json::{Map, Value, json};

use crate::{
    authority::Ca,
    harness::{Answer, PUBLIC_KEY, SEED, START_MS, TestApp, answer},
};

/// Where neighbours push to.
pub(crate) const PUSH: &str = "/_matrix/identity/replicate/v1/push";

/// An authority, and a folder for the certificates of all neighbours.
pub(crate) struct Village {
    pub(crate) ca: Ca,
    folder: tempfile::TempDir,
}

/// Where somebody lives: a name, a certificate, and a port that is theirs even while they are away.
pub(crate) struct Seat {
    pub(crate) name: String,
    pub(crate) url: String,
    certificate: PathBuf,
    key: PathBuf,
    ca_file: PathBuf,
    listener: TcpListener,
}

impl Village {
    pub(crate) fn new() -> Self {
        Self { ca: Ca::new(), folder: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn seat(&self, name: &str) -> Seat {
        self.seat_of(&[name], &self.ca)
    }

    /// With a certificate of another authority, or with none or several common names.
    pub(crate) fn seat_of(&self, names: &[&str], ca: &Ca) -> Seat {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let (certificate, key) = ca.pem_of(names);
        let file = |ending: &str, text: &str| {
            let path = self.folder.path().join(format!("{port}.{ending}"));
            std::fs::write(&path, text).unwrap();
            path
        };
        Seat {
            name: names.first().copied().unwrap_or_default().to_owned(),
            url: format!("https://127.0.0.1:{port}"),
            certificate: file("crt", &certificate),
            key: file("key", &key),
            ca_file: self.ca.file().to_owned(),
            listener,
        }
    }
}

impl Seat {
    fn credentials(&self) -> Credentials {
        Credentials::read(&self.certificate, &self.key, &self.ca_file).unwrap()
    }

    /// The configuration of whoever lives here, with these neighbours.
    pub(crate) fn config(&self, neighbours: &[String]) -> String {
        format!(
            "limits.enabled = false\nsessions.lifetime = '52w'\n\
             lookup.algorithms = ['sha256', 'none']\npeers.discover = false\n\
             [replication]\ncertificate = '{}'\nkey = '{}'\nca_file = '{}'\n{}",
            self.certificate.display(),
            self.key.display(),
            self.ca_file.display(),
            neighbours.join("\n")
        )
    }

    /// What others say who push here and believe what comes from here; with more lines.
    pub(crate) fn neighbour(&self, more: &str) -> String {
        let url = &self.url;
        self.believed(&format!("url = '{url}'\n{more}"))
    }

    /// What others say who only believe what comes from here; with more lines.
    pub(crate) fn believed(&self, more: &str) -> String {
        let name = &self.name;
        let more = if more.contains("keys =") {
            more.to_owned()
        } else {
            format!("keys = ['ed25519:1 {PUBLIC_KEY}']\n{more}")
        };
        format!("[[peers.replicate]]\nname = '{name}'\n{more}")
    }

    /// Moves in: from now on `app` hears what is pushed here.
    pub(crate) fn listen(&self, app: &TestApp) -> Open {
        let tls = self.credentials().server().unwrap();
        let listener = self.listener.try_clone().unwrap();
        let server = serve_neighbours(&app.app, vec![listener], &tls).unwrap();
        let handle = server.handle();
        tokio::spawn(server);
        Open(handle)
    }

    /// A client with the certificate of this seat.
    pub(crate) fn client(&self) -> reqwest::Client {
        let _ = rustls::crypto::ring::default_provider().install_default();
        reqwest::Client::builder()
            .tls_backend_preconfigured(self.credentials().client().unwrap())
            .no_proxy()
            .build()
            .unwrap()
    }

    /// Pushes these associations to another seat.
    pub(crate) async fn push(&self, to: &Seat, associations: Value) -> Answer {
        self.push_text(to, &json!({ "sgAssocs": associations }).to_string()).await
    }

    /// Pushes any text.
    pub(crate) async fn push_text(&self, to: &Seat, text: &str) -> Answer {
        let request = self.client().post(format!("{}{PUSH}", to.url));
        answer(request.header("content-type", "application/json").body(text.to_owned())).await
    }

    /// An association as whoever lives here signs it.
    pub(crate) fn signed(&self, association: &Value) -> Value {
        signed_by(&self.name, &key(), association)
    }
}

/// Somebody who listens; until this is dropped.
pub(crate) struct Open(ServerHandle);

impl Open {
    /// Waits until nobody listens any more.
    pub(crate) async fn close(self) {
        self.0.stop(false).await;
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        drop(self.0.stop(false));
    }
}

/// The key that all neighbours sign with.
pub(crate) fn key() -> SigningKey {
    SigningKey::from_line(&format!("ed25519 1 {SEED}")).unwrap()
}

/// An association with a signature under a name.
pub(crate) fn signed_by(name: &str, key: &SigningKey, association: &Value) -> Value {
    let mut object: Map<String, Value> = association.as_object().unwrap().clone();
    key.sign(&name.parse().unwrap(), &mut object).unwrap();
    Value::Object(object)
}

/// An association of an e-mail address, made so many milliseconds after the tests begin, which holds
/// from before on.
pub(crate) fn association(address: &str, mxid: &str, after: i64) -> Value {
    let ts = START_MS + after;
    json!({ "medium": "email", "address": address, "mxid": mxid, "ts": ts,
            "not_before": START_MS - 1_000_000,
            "not_after": ts + 1_000_000_000_000_i64 })
}

/// That nobody has an address any more.
pub(crate) fn removal(address: &str, after: i64) -> Value {
    json!({ "medium": "email", "address": address, "mxid": null, "ts": START_MS + after,
            "not_before": null, "not_after": null })
}

impl TestApp {
    /// Tells all neighbours what is due.
    pub(crate) async fn push(&self) {
        for neighbour in self.app.told_neighbours() {
            worker::push(&self.app, neighbour).await;
        }
    }

    /// A number that monitoring reads.
    pub(crate) async fn metric(&self, name: &str) -> i64 {
        let text = self.stranger().get("/metrics").await.body;
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        line.unwrap_or_else(|| panic!("no {name}: {text}")).trim().parse().unwrap()
    }

    /// What became of what `neighbour` sent: taken, known, quarantined.
    pub(crate) async fn received(&self, neighbour: &str) -> [i64; 3] {
        let mut counts = [0; 3];
        for (count, outcome) in counts.iter_mut().zip(["taken", "known", "quarantined"]) {
            let labels = format!("neighbour=\"{neighbour}\",outcome=\"{outcome}\"");
            *count = self.metric(&format!("bindery_replication_received_total{{{labels}}}")).await;
        }
        counts
    }

    /// The reasons in the quarantine, the oldest first.
    pub(crate) async fn quarantined(&self) -> Vec<String> {
        let all =
            self.app.store.read::<_, bindery::store::StoreError>(bindery::store::quarantine::list);
        all.await.unwrap().into_iter().map(|one| one.reason).collect()
    }

    /// Whom anybody finds behind an address.
    pub(crate) async fn who_is(&self, address: &str) -> Option<String> {
        let somebody = self.account("@somebody:hs.example").await;
        somebody.find(&[address]).await.remove(0)
    }
}

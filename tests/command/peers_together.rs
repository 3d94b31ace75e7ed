//! Four real programs that find each other by DNS and by well-known documents, and ask each other
//! by TLS.

use std::{collections::HashMap, fs};

use serde_json::json;

use crate::{
    authority::Ca,
    dns::FakeDns,
    homeserver::{FakeHomeserver, Reply},
    port::free_port,
    process::{Bindery, Home, PATIENCE, Person, until},
};

const ALICE: &str = "@alice:a.test";
const BOB: &str = "@bob:b.test";
const CAROL: &str = "@carol:c.test";
const DORA: &str = "@dora:d.test";

pub(crate) const REGISTER: &str = "/_matrix/identity/v2/account/register";
pub(crate) const LOOKUP: &str = "/_matrix/identity/v2/lookup";
const VERSIONS: &str = "/_matrix/identity/versions";

/// Names and certificates for the servers.
pub(crate) struct World {
    pub(crate) dns: FakeDns,
    pub(crate) ca: Ca,
}

/// A server that runs.
pub(crate) struct Server {
    home: Home,
    pub(crate) process: Bindery,
    /// Where others reach it.
    pub(crate) url: String,
    /// Its name as a homeserver.
    name: String,
    /// Where the test reaches it.
    base: String,
    client: reqwest::Client,
}

impl World {
    pub(crate) async fn start() -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        Self { dns: FakeDns::start().await, ca: Ca::new() }
    }

    /// A server at `host`, with more configuration.
    pub(crate) async fn serve(&self, host: &str, toml: &str) -> Server {
        let home = Home::new();
        let port = free_port();
        let name = format!("{host}:{port}");
        let (certificate, key) = self.ca.pem(&[host, "127.0.0.1"]);
        fs::write(home.path().join("cert.pem"), certificate).unwrap();
        fs::write(home.path().join("key.pem"), key).unwrap();
        let patience = if toml.contains("peers.timeout") { "" } else { "peers.timeout = '20s'\n" };
        let config = format!(
            "server.name = '{name}'\nserver.base_url = 'https://{name}'\n\
             server.listen = ['127.0.0.1:{port}']\n\
             server.tls = {{ certificate = 'cert.pem', key = 'key.pem' }}\n\
             dns.nameservers = ['{}']\ndatabase.url = '{}'\nemail.transport = 'directory'\n\
             federation.allow_networks = ['127.0.0.0/8']\nfederation.ca_file = '{}'\n\
             lookup.algorithms = ['sha256', 'none']\nlimits.enabled = false\n\
             {patience}{toml}",
            self.dns.address(),
            home.database.url,
            self.ca.file().display(),
        );
        fs::write(home.path().join("bindery.toml"), config).unwrap();
        self.dns.host(host, &["127.0.0.1"]);
        let process = home.serve().await;
        let ca = reqwest::Certificate::from_pem(&fs::read(self.ca.file()).unwrap()).unwrap();
        let client = reqwest::Client::builder().tls_certs_only([ca]).no_proxy();
        let client = client.timeout(PATIENCE * 2).build().unwrap();
        let (url, base) = (format!("https://{name}"), format!("https://127.0.0.1:{port}"));
        Server { home, process, url, name, base, client }
    }

    /// Lets service records say that `server` is the identity server of `domain`.
    pub(crate) fn service(&self, domain: &str, server: &Server) {
        let (host, port) = server.name.split_once(':').unwrap();
        let service = format!("_matrix-identity._tcp.{domain}");
        self.dns.service(&service, &[(0, 0, port.parse().unwrap(), host)]);
    }

    /// Lets the well-known document say that `server` is the identity server of `domain`.
    async fn well_known(&self, domain: &str, server: &Server) -> FakeHomeserver {
        let site = FakeHomeserver::start_at_443(&self.ca, &[domain]).await;
        self.dns.host(domain, &[&site.address().ip().to_string()]);
        let document = json!({ "m.identity_server": { "base_url": server.url } }).to_string();
        site.set_reply("/.well-known/matrix/client", Reply::new(200, document));
        site
    }
}

impl Server {
    /// A user with an access token for this server.
    pub(crate) fn person(&self, mxid: &str) -> Person {
        let token = self.home.run(&["account", "token", mxid]).ok().trim_end().to_owned();
        Person { base: self.base.clone(), token, client: self.client.clone() }
    }

    /// Binds an address to a user, who opens the link in the mail.
    pub(crate) async fn bind(&self, email: &str, mxid: &str) {
        let person = self.person(mxid);
        let mut body = person.validated(&self.home, &[email.to_owned()]).await.remove(0);
        body["mxid"] = json!(mxid);
        assert_eq!(person.bind(&body).await.ok()["mxid"], mxid);
    }

    /// How often this server logged a request for each of the paths so far.
    pub(crate) async fn count<const N: usize>(&self, paths: [&str; N]) -> [usize; N] {
        let logged = |path: &str| {
            let is_for = |line: &&str| line.split_whitespace().any(|word| word == path);
            let log = self.process.log().replace(['=', '"'], " ");
            log.lines().filter(is_for).count()
        };
        // What was answered before this request is logged before it.
        let before = logged(VERSIONS);
        assert!(self.client.get(format!("{}{VERSIONS}", self.base)).send().await.is_ok());
        until("the line of a request", async || (logged(VERSIONS) > before).then_some(())).await;
        paths.map(logged)
    }
}

/// Whose the addresses are, looked up in plain.
pub(crate) async fn find(person: &Person, emails: &[&str]) -> HashMap<String, String> {
    let details = person.get("/_matrix/identity/v2/hash_details").await.ok();
    let addresses: Vec<String> = emails.iter().map(|email| format!("{email} email")).collect();
    let body = json!({ "algorithm": "none", "pepper": details["lookup_pepper"],
        "addresses": addresses });
    let found = person.post("/lookup", &body).await.ok();
    serde_json::from_value(found["mappings"].clone()).unwrap()
}

#[tokio::test]
async fn addresses_are_found_at_real_servers_and_what_a_peer_asks_goes_no_further() {
    let world = World::start().await;
    let d = world.serve("is.d.test", "").await;
    let a = world.serve("is.a.test", &format!("peers.forward = ['{}']", d.url)).await;
    let b = world.serve("is.b.test", "").await;
    let c = world.serve("is.c.test", &format!("peers.forward = ['{}']", a.url)).await;
    world.service("b.test", &b);
    let site = world.well_known("c.test", &c).await;
    b.bind("bob@b.test", BOB).await;
    c.bind("carol@c.test", CAROL).await;
    d.bind("dora@elsewhere.test", DORA).await;

    let alice = a.person(ALICE);
    let asked = ["Bob@B.test", "carol@c.test", "dora@elsewhere.test", "nobody@b.test"];
    let found = find(&alice, &asked).await;
    let expected = asked.iter().zip([BOB, CAROL, DORA]);
    let expected = expected.map(|(email, mxid)| (format!("{email} email"), mxid.to_owned()));
    assert_eq!(found, expected.collect());
    // Each was asked once, whatever the number of addresses; A was asked by Alice alone.
    for peer in [&b, &c, &d] {
        assert_eq!(peer.count([REGISTER, LOOKUP]).await, [1, 1], "{}", peer.process.log());
    }
    assert_eq!(a.count([REGISTER, LOOKUP]).await, [0, 1]);
    let queries = world.dns.queries();
    for domain in ["b.test", "c.test", "elsewhere.test"] {
        let query = format!("SRV _matrix-identity._tcp.{domain}");
        assert!(queries.contains(&query), "{query} isn't in {queries:?}");
    }
    let documents = site.requests();
    assert_eq!(documents.len(), 1);
    assert_eq!(documents[0].target, "/.well-known/matrix/client");

    let invite = json!({ "medium": "email", "address": "bob@b.test", "room_id": "!room:a.test",
        "sender": ALICE });
    let refused = alice.post("/store-invite", &invite).await;
    assert_eq!(refused.status, 400, "{refused:?}");
    let refusal: serde_json::Value = serde_json::from_str(&refused.body).unwrap();
    assert_eq!((&refusal["errcode"], &refusal["mxid"]), (&json!("M_THREEPID_IN_USE"), &json!(BOB)));
    assert_eq!(b.count([LOOKUP]).await, [1]);

    // C asks A about what it doesn't know; A knows it from D alone, and asks nobody.
    let of_c = c.person(CAROL);
    assert!(find(&of_c, &["dora@elsewhere.test", "guest@elsewhere.test"]).await.is_empty());
    assert_eq!(a.count([REGISTER, LOOKUP]).await, [1, 2]);
    assert_eq!(d.count([LOOKUP]).await, [1]);
    // Nor does it when C asks in plain, with what would be asked of D for anybody else.
    let as_peer = a.person(&format!("@_bindery:{}", c.name));
    assert!(find(&as_peer, &["guest@elsewhere.test"]).await.is_empty());
    assert_eq!(d.count([LOOKUP]).await, [1]);
    assert!(find(&alice, &["guest@elsewhere.test"]).await.is_empty());
    assert_eq!(d.count([LOOKUP]).await, [2]);
}

//! What `bindery peers` says about other identity servers.

use std::fs;

use bindery::matrix::signing::{SigningKey, encode_base64};
use serde_json::{Value, json};

use crate::{
    authority::Ca,
    dns::FakeDns,
    homeserver::{FakeHomeserver, Reply},
    port::free_port,
    process::{Bindery, Done, Home, Person},
};

const V1: &str = "/_matrix/identity/api/v1";

const V2: &str = "/_matrix/identity/v2";

/// Names and certificates for servers on loopback.
struct World {
    dns: FakeDns,
    ca: Ca,
}

impl World {
    async fn start() -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        Self { dns: FakeDns::start().await, ca: Ca::new() }
    }

    /// Lets the server in `home` be `name`, with a certificate for `host`, and find others by these
    /// names; answers its port.
    fn configure(&self, home: &Home, host: &str, toml: &str) -> u16 {
        let port = free_port();
        let (certificate, key) = self.ca.pem(&[host, "127.0.0.1"]);
        fs::write(home.path().join("cert.pem"), certificate).unwrap();
        fs::write(home.path().join("key.pem"), key).unwrap();
        let config = format!(
            "server.name = '127.0.0.1:{port}'\nserver.base_url = 'https://{host}:{port}'\n\
             server.listen = ['127.0.0.1:{port}']\n\
             server.tls = {{ certificate = 'cert.pem', key = 'key.pem' }}\n\
             dns.nameservers = ['{}']\ndatabase.url = '{}'\n\
             federation.allow_networks = ['127.0.0.0/8']\nfederation.ca_file = '{}'\n\
             limits.enabled = false\npeers.timeout = '20s'\n{toml}",
            self.dns.address(),
            home.database.url,
            self.ca.file().display(),
        );
        fs::write(home.path().join("bindery.toml"), config).unwrap();
        port
    }

    /// A home whose server has run.
    async fn home(&self) -> Home {
        let home = Home::new();
        home.serve().await.kill().await;
        self.configure(&home, "is.a.test", "");
        home
    }

    /// What answers as the identity server of `domain`, at a host with a certificate for `name`.
    async fn peer(&self, domain: &str, name: &str) -> FakeHomeserver {
        let server = FakeHomeserver::start(&self.ca, &[name]).await;
        let host = format!("is.{domain}");
        self.dns.host(&host, &["127.0.0.1"]);
        let service = format!("_matrix-identity._tcp.{domain}");
        self.dns.service(&service, &[(0, 0, server.address().port(), &host)]);
        server
    }
}

fn set(server: &FakeHomeserver, path: &str, body: &Value) {
    server.set_reply(path, Reply::new(200, body.to_string()));
}

/// Runs `bindery peers` while the servers of the test answer.
async fn peers(home: &Home, arguments: &[&str]) -> Done {
    let mut command = home.command(&[&["peers"], arguments].concat());
    let output = tokio::task::spawn_blocking(move || command.output().unwrap());
    Done::of(output.await.unwrap())
}

/// Asserts that each of `words` is in `text`.
fn says(text: &str, words: &[&str]) {
    for word in words {
        assert!(text.contains(word), "{word}\nisn't in\n{text}");
    }
}

#[tokio::test]
async fn a_real_server_is_found_let_in_to_and_asked() {
    let world = World::start().await;
    let (a, b) = (world.home().await, Home::new());
    let mut plain = b.serve().await;
    let you = Person::of(&b, &plain);
    let bodies = you.validated(&b, &["you@b.test".to_owned()]).await;
    you.bind(&bodies[0]).await.ok();
    plain.kill().await;

    let port = world.configure(&b, "is.b.test", "");
    let own_port = world.configure(&a, "is.a.test", "");
    world.dns.host("is.b.test", &["127.0.0.1"]);
    world.dns.service("_matrix-identity._tcp.b.test", &[(0, 0, port, "is.b.test")]);
    let servers: [Bindery; 2] = [a.serve().await, b.serve().await];

    let checked = peers(&a, &["check", "b.test"]).await.ok();
    says(
        &checked,
        &[
            &format!("of b.test: by service records: https://is.b.test:{port} ("),
            "ok    connection and certificate: speaks API v2 (",
            "ok    public key: none is called ed25519:0; ",
            "ok    terms: none (",
            &format!("ok    account: @_bindery:127.0.0.1:{own_port} ("),
            "ok    hashing: pepper ",
        ],
    );
    let found = peers(&a, &["lookup", "email", "You@b.test"]).await.ok();
    says(&found, &["ok    lookup: @you:example.org ("]);
    assert_eq!(found.lines().last(), Some("@you:example.org"));
    let unknown = peers(&a, &["lookup", "email", "else@b.test"]).await;
    assert_eq!((unknown.code, &unknown.err[..]), (Some(1), "bindery: nobody knows it\n"));
    says(&unknown.out, &["ok    lookup: unknown there ("]);
    // Nobody vouches for the account while this server doesn't run.
    drop(servers);
    let _b = b.serve().await;
    let refused = peers(&a, &["check", "b.test"]).await;
    assert_eq!(refused.code, Some(1), "{refused:?}");
    says(&refused.out, &["FAIL  account: "]);
}

#[tokio::test]
async fn each_failure_comes_with_what_helps() {
    let world = World::start().await;
    let home = world.home().await;
    let _wrong = world.peer("wrong.test", "else.test").await;
    let wrong = peers(&home, &["check", "wrong.test"]).await;
    assert_eq!((wrong.code, &wrong.err[..]), (Some(1), "bindery: not everything works\n"));
    says(&wrong.out, &["FAIL  connection and certificate: ", "certificate", "federation.ca_file"]);

    let none = peers(&home, &["check", "nobody.test"]).await;
    assert_eq!(none.code, Some(1));
    says(&none.out, &["of nobody.test: it has none ("]);
    world.dns.fail("_matrix-identity._tcp.broken.test");
    let broken = peers(&home, &["check", "broken.test"]).await;
    assert_eq!(broken.code, Some(1));
    says(&broken.out, &["FAIL  the identity server of broken.test: ", "`dns.nameservers`"]);

    let peer = world.peer("c.test", "is.c.test").await;
    set(&peer, V2, &json!({}));
    set(&peer, &format!("{V2}/terms"), &json!({ "policies": {} }));
    let register = format!("{V2}/account/register");
    peer.set_reply(&register, Reply::new(401, r#"{"errcode":"M_UNAUTHORIZED"}"#));
    let refused = peers(&home, &["check", "c.test"]).await;
    says(&refused.out, &["FAIL  account: ", "/.well-known/matrix/server has to lead here"]);
}

#[tokio::test]
async fn targets_that_are_aliases_are_named_with_what_helps() {
    let world = World::start().await;
    let home = world.home().await;
    let peer = world.peer("c.test", "is.c.test").await;
    world.dns.alias("alias.c.test", "is.c.test");
    let port = peer.address().port();
    let service = "_matrix-identity._tcp.c.test";
    world.dns.service(service, &[(0, 0, port, "alias.c.test"), (1, 0, port, "is.c.test")]);
    let checked = peers(&home, &["check", "c.test"]).await.out;
    let found = format!("by service records: https://is.c.test:{port} (");
    let passed_over = "\n      alias.c.test. is passed over: it is an alias (CNAME)\n";
    says(&checked, &[&found, passed_over, "have to name the host itself"]);
    world.dns.service(service, &[(0, 0, port, "alias.c.test")]);
    let checked = peers(&home, &["check", "c.test"]).await.out;
    says(&checked, &["of c.test: it has none (", passed_over]);
}

#[tokio::test]
async fn the_public_key_of_a_peer_is_shown_and_that_of_a_neighbour_compared() {
    let world = World::start().await;
    let home = world.home().await;
    let peer = world.peer("c.test", "is.c.test").await;
    let (key, other) = (SigningKey::generate(), SigningKey::generate());
    let [key, other] = [key, other].map(|key| encode_base64(&key.public()));
    set(&peer, V1, &json!({}));
    set(&peer, &format!("{V1}/pubkey/ed25519%3A0"), &json!({ "public_key": key }));
    let shown = peers(&home, &["check", "c.test"]).await.ok();
    says(&shown, &[&format!("ok    public key: ed25519:0 {key} (")]);

    let check = async |configured: &str, valid: bool| {
        set(&peer, &format!("{V1}/pubkey/isvalid"), &json!({ "valid": valid }));
        let neighbour = "[[peers.replicate]]\nname = 'is.c.test'\nkeys = ['ed25519:0 ";
        world.configure(&home, "is.a.test", &format!("{neighbour}{configured}']"));
        peers(&home, &["check", "c.test"]).await
    };
    let good = check(&key, true).await.ok();
    says(&good, &[&format!("ok    public key ed25519:0: {key}, as configured for is.c.test (")]);
    let asked = peer.requests().pop().unwrap().target;
    assert_eq!(
        asked.replace("%2B", "+").replace("%2F", "/"),
        format!("{V1}/pubkey/isvalid?public_key={key}")
    );
    let changed = check(&other, true).await;
    assert_eq!(changed.code, Some(1));
    let fault = format!("FAIL  public key ed25519:0: it serves another one, {key} (");
    says(&changed.out, &[&fault, "write it under `keys` of the neighbour"]);
    let revoked = check(&key, false).await;
    assert_eq!(revoked.code, Some(1));
    says(&revoked.out, &["FAIL  public key ed25519:0: it says that the key is not valid ("]);
}

#[tokio::test]
async fn terms_are_shown_and_only_the_operator_accepts_them() {
    let world = World::start().await;
    let home = world.home().await;
    let peer = world.peer("c.test", "is.c.test").await;
    let url = "https://is.c.test/privacy/1/en";
    let policies = json!({
        "policies": { "privacy": { "version": "1", "en": { "name": "Privacy", "url": url } } },
    });
    set(&peer, V2, &json!({}));
    set(&peer, &format!("{V2}/terms"), &policies);
    set(&peer, &format!("{V2}/account/register"), &json!({ "token": "token" }));
    let not_signed = Reply::new(403, r#"{"errcode":"M_TERMS_NOT_SIGNED"}"#);
    peer.set_reply(&format!("{V2}/hash_details"), not_signed);
    let posts = || peer.requests().iter().filter(|it| it.method == "POST").count();

    let refused = peers(&home, &["check", "c.test"]).await;
    says(&refused.out, &["ok    terms: privacy 1 (", "FAIL  hashing: ", "`--accept`"]);
    let shown = peers(&home, &["terms", "c.test"]).await.ok();
    says(&shown, &[&format!("privacy\t1\ten\tPrivacy\t{url}\n")]);
    assert_eq!(posts(), 1);

    says(&peers(&home, &["terms", "c.test", "--accept"]).await.ok(), &["They are accepted"]);
    let details = json!({ "lookup_pepper": "pepper", "algorithms": ["sha256"] });
    set(&peer, &format!("{V2}/hash_details"), &details);
    let checked = peers(&home, &["check", "c.test"]).await.ok();
    says(&checked, &[&format!("ok    accepting its terms: {url} (")]);
    let requests = peer.requests();
    let accepted = requests.iter().find(|it| it.method == "POST" && it.target.ends_with("/terms"));
    let body: Value = serde_json::from_slice(&accepted.unwrap().body).unwrap();
    assert_eq!(body, json!({ "user_accepts": [url] }));
}

#[tokio::test]
async fn an_answer_by_v1_counts_only_with_a_signature_that_verifies_and_while_it_holds() {
    let world = World::start().await;
    let home = world.home().await;
    let peer = world.peer("c.test", "is.c.test").await;
    let key = SigningKey::generate();
    set(&peer, V1, &json!({}));
    set(&peer, &format!("{V1}/pubkey/ed25519%3A0"), &json!({}));
    let path = format!("{V1}/pubkey/{}", key.id().replace(':', "%3A"));
    set(&peer, &path, &json!({ "public_key": encode_base64(&key.public()) }));
    let signed = |not_after: i64| {
        let mut association = json!({
            "medium": "email", "address": "you@c.test", "mxid": "@you:c.test",
            "ts": 0, "not_before": 0, "not_after": not_after,
        });
        let object = association.as_object_mut().unwrap();
        key.sign(&"c.test".parse().unwrap(), object).unwrap();
        association
    };
    let lookup = async |association: &Value| {
        set(&peer, &format!("{V1}/lookup"), association);
        peers(&home, &["lookup", "email", "you@c.test"]).await
    };
    let good = signed(4_102_444_800_000);
    let found = lookup(&good).await.ok();
    says(
        &found,
        &["certificate: API v1 only (", &format!("ok    signature: by c.test, {}", key.id())],
    );
    assert_eq!(found.lines().last(), Some("@you:c.test"));

    let mut forged = good;
    forged["mxid"] = json!("@mallory:c.test");
    let refused = lookup(&forged).await;
    assert_eq!(refused.code, Some(1));
    says(&refused.out, &["FAIL  signature: none verifies with a key that it serves"]);
    let expired = lookup(&signed(1)).await;
    assert_eq!(expired.code, Some(1));
    says(&expired.out, &["FAIL  validity: "]);
    let other = json!({ "medium": "email", "address": "else@c.test", "mxid": "@else:c.test" });
    let refused = lookup(&other).await;
    assert_eq!(refused.code, Some(1));
    says(&refused.out, &["FAIL  lookup by v1: "]);
}

#[tokio::test]
async fn the_servers_that_the_configuration_names_are_listed() {
    let home = Home::with("[peers]\nforward = ['https://is.example/']\ndiscover = false");
    let list = home.run(&["peers", "list"]).ok();
    assert_eq!(list, "discover\toff\nforward\thttps://is.example\n");
}

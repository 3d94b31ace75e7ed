//! Unbinding by the signature of the user's homeserver.

use std::time::Duration;

use bindery::{
    clock::Clock,
    matrix::signing::{SigningKey, encode_base64},
};
use serde_json::{Map, Value, json};

use crate::{
    harness::{Answer, TestApp, answer},
    homeserver::{Ca, FakeHomeserver, Reply},
};

const UNBIND: &str = "/_matrix/identity/v2/3pid/unbind";
const SECOND: Duration = Duration::from_secs(1);
const KEYS: &str = "/_matrix/key/v2/server";

/// A server on which @bob of a homeserver has bound an address.
struct World {
    app: TestApp,
    homeserver: FakeHomeserver,
    key: SigningKey,
    _ca: Ca,
}

impl World {
    async fn start() -> Self {
        let ca = Ca::new();
        let homeserver = FakeHomeserver::start(&ca, &["127.0.0.1"]).await;
        let toml = format!(
            "limits.enabled = false\nserver.aliases = ['alias.example:8448']\n\
             federation.allow_networks = ['127.0.0.0/8']\nfederation.timeout = '2s'\n\
             federation.ca_file = '{}'",
            ca.file().display()
        );
        let app = TestApp::with(&toml).await;
        let world = Self { app, homeserver, key: SigningKey::generate(), _ca: ca };
        world.publish(&world.key, Duration::from_hours(24 * 30));
        let bob = world.bob();
        world.app.account(&bob).await.bound("bob@example.org", &bob).await;
        world
    }

    fn name(&self) -> String {
        self.homeserver.name("127.0.0.1")
    }

    fn bob(&self) -> String {
        format!("@bob:{}", self.name())
    }

    /// Makes `key` the homeserver's, for so long.
    fn publish(&self, key: &SigningKey, lifetime: Duration) {
        let until = self.app.clock.now_ms() + bindery::clock::millis(lifetime);
        let keys = json!({
            "server_name": self.name(),
            "verify_keys": { key.id(): { "key": encode_base64(&key.public()) } },
            "old_verify_keys": {},
            "valid_until_ts": until,
        });
        self.publish_object(key, keys);
    }

    fn publish_object(&self, key: &SigningKey, keys: Value) {
        let Value::Object(mut object) = keys else { panic!("no object") };
        key.sign(&self.name().parse().unwrap(), &mut object).unwrap();
        self.homeserver.set_reply(KEYS, Reply::new(200, Value::Object(object).to_string()));
    }

    fn content(&self) -> Value {
        let threepid = json!({ "medium": "email", "address": "bob@example.org" });
        json!({ "mxid": self.bob(), "threepid": threepid })
    }

    /// The header over the request to `destination`, as Synapse or as the specification has it.
    fn header(&self, key: &SigningKey, form: &str, destination: &str) -> String {
        self.header_over(key, (form, destination), self.content())
    }

    fn header_over(
        &self,
        key: &SigningKey,
        (form, destination): (&str, &str),
        content: Value,
    ) -> String {
        let origin = self.name();
        let mut signed = Map::from_iter([
            ("method".to_owned(), json!("POST")),
            ("uri".to_owned(), json!(UNBIND)),
            ("origin".to_owned(), json!(origin)),
            (form.to_owned(), json!(destination)),
            ("content".to_owned(), content),
        ]);
        key.sign(&origin.parse().unwrap(), &mut signed).unwrap();
        let sig = signed["signatures"][&origin][&key.id()].as_str().unwrap();
        format!(
            "X-Matrix origin=\"{origin}\",destination=\"{destination}\",key=\"{}\",sig=\"{sig}\"",
            key.id()
        )
    }

    async fn unbind(&self, headers: &[String]) -> Answer {
        let mut request = self.app.stranger().request("POST", UNBIND).json(&self.content());
        for header in headers {
            request = request.header("authorization", header);
        }
        answer(request).await
    }

    async fn is_bound(&self) -> bool {
        let carol = self.app.account("@carol:hs.example").await;
        carol.find(&["bob@example.org"]).await[0].is_some()
    }

    fn times_asked(&self) -> usize {
        self.homeserver.requests().iter().filter(|request| request.target == KEYS).count()
    }
}

#[tokio::test]
async fn the_homeserver_unbinds_under_each_of_our_names_in_both_forms() {
    let world = World::start().await;
    let address = world.app.base.strip_prefix("http://").unwrap();
    let bob = world.app.account(&world.bob()).await;
    for name in ["id.example.org", address, "alias.example:8448"] {
        for form in ["destination_is", "destination"] {
            bob.bound("bob@example.org", &world.bob()).await;
            assert!(world.is_bound().await);
            let unbound = world.unbind(&[world.header(&world.key, form, name)]).await;
            assert_eq!(unbound.ok(), json!({}), "{name} {form}");
            assert!(!world.is_bound().await);
        }
    }
    assert_eq!(world.times_asked(), 1);
    let again = world.unbind(&[world.header(&world.key, "destination", "id.example.org")]).await;
    assert_eq!(again.ok(), json!({}));
}

#[tokio::test]
async fn one_good_signature_among_several_headers_suffices() {
    let world = World::start().await;
    let other = SigningKey::generate();
    let headers = [
        world.header(&other, "destination_is", "id.example.org"),
        world.header(&world.key, "destination_is", "id.example.org"),
    ];
    assert_eq!(world.unbind(&headers).await.ok(), json!({}));
    assert!(!world.is_bound().await);
}

#[tokio::test]
async fn what_the_homeserver_did_not_sign_is_refused() {
    let world = World::start().await;
    let good = world.header(&world.key, "destination_is", "id.example.org");
    let of_other_request = world.header(&world.key, "uri", "id.example.org");
    let of_other_server = world.header(&world.key, "destination_is", "other.example");
    let mut forged = SigningKey::generate().to_line();
    forged = forged.replace(forged.split(' ').nth(1).unwrap(), &world.key.id()[8..]);
    let forged = SigningKey::from_line(&forged).unwrap();
    for headers in [
        vec![],
        vec!["X-Matrix nonsense".to_owned()],
        vec!["Bearer token".to_owned()],
        vec![of_other_server],
        vec![of_other_request],
        vec![world.header(&forged, "destination_is", "id.example.org")],
        vec![good.replace("sig=\"", "sig=\"A")],
    ] {
        world.unbind(&headers).await.refused(403, "M_FORBIDDEN");
        assert!(world.is_bound().await, "{headers:?}");
    }
    assert_eq!(world.unbind(&[good]).await.ok(), json!({}));
}

#[tokio::test]
async fn another_homeserver_can_not_unbind_its_neighbours_users() {
    let world = World::start().await;
    let carol = "@carol:other.example";
    world.app.account(carol).await.bound("carol@example.org", carol).await;
    let threepid = json!({ "medium": "email", "address": "carol@example.org" });
    let body = json!({ "mxid": carol, "threepid": threepid });
    let form = ("destination_is", "id.example.org");
    let header = world.header_over(&world.key, form, body.clone());
    let request = world.app.stranger().request("POST", UNBIND).json(&body);
    answer(request.header("authorization", header)).await.refused(403, "M_FORBIDDEN");
    let found = world.app.account(carol).await.find(&["carol@example.org"]).await;
    assert_eq!(found, [Some(carol.to_owned())]);
}

#[tokio::test]
async fn a_new_key_is_fetched_once_and_an_unknown_one_not_again_and_again() {
    let world = World::start().await;
    world.unbind(&[world.header(&world.key, "destination_is", "id.example.org")]).await.ok();
    let new = SigningKey::generate();
    world.publish(&new, Duration::from_hours(24 * 30));
    world.app.clock.advance(Duration::from_mins(2));
    world.unbind(&[world.header(&new, "destination_is", "id.example.org")]).await.ok();
    assert_eq!(world.times_asked(), 2);
    for _ in 0..5 {
        let header = world.header(&SigningKey::generate(), "destination_is", "id.example.org");
        world.unbind(&[header]).await.refused(403, "M_FORBIDDEN");
    }
    assert_eq!(world.times_asked(), 2);
}

#[tokio::test]
async fn keys_are_believed_for_seven_days_and_not_after_their_own_end() {
    for (lifetime, believed) in
        [(Duration::from_hours(24 * 30), 7 * 24 * 3600), (Duration::from_hours(2), 2 * 3600)]
    {
        // A second less than that.
        let believed = Duration::from_secs(believed - 1);
        let world = World::start().await;
        world.publish(&world.key, lifetime);
        let header = [world.header(&world.key, "destination_is", "id.example.org")];
        world.unbind(&header).await.ok();
        world.app.clock.advance(believed);
        world.unbind(&header).await.ok();
        assert_eq!(world.times_asked(), 1);
        world.homeserver.set_reply(KEYS, Reply::new(500, "{}"));
        world.app.clock.advance(SECOND);
        world.unbind(&header).await.refused(502, "M_UNKNOWN");
        assert_eq!(world.times_asked(), 2);
    }
}

#[tokio::test]
async fn keys_that_are_not_the_homeservers_own_are_not_believed() {
    let world = World::start().await;
    let named = |name: &str, keys: &str| {
        let key = json!({ world.key.id(): { "key": encode_base64(&world.key.public()) } });
        let until = world.app.clock.now_ms() + 1_000_000;
        json!({ "server_name": name, keys: key, "valid_until_ts": until })
    };
    let mut old = named(&world.name(), "old_verify_keys");
    old["verify_keys"] = json!({});
    let mut outdated = named(&world.name(), "verify_keys");
    outdated["valid_until_ts"] = json!(world.app.clock.now_ms() - 1);
    for keys in [named("other.example", "verify_keys"), old, outdated] {
        world.publish_object(&world.key, keys);
        let header = world.header(&world.key, "destination_is", "id.example.org");
        let refused = world.unbind(&[header]).await;
        assert!(matches!(refused.status, 403 | 502), "{}", refused.body);
        world.app.clock.advance(Duration::from_mins(2));
    }
    let unsigned = named(&world.name(), "verify_keys").to_string();
    world.homeserver.set_reply(KEYS, Reply::new(200, unsigned));
    let header = world.header(&world.key, "destination_is", "id.example.org");
    world.unbind(&[header]).await.refused(502, "M_UNKNOWN");
    assert!(world.is_bound().await);
}

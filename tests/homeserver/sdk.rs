//! The same by way of matrix-js-sdk, the library of Element's clients.

use std::{
    io::{BufRead, BufReader, Write},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
};

use serde_json::{Value, json};

use crate::{environment, person::Person, world::World};

/// What the library calls identity servers among the services that have terms.
const IDENTITY_SERVICE: &str = "SERVICE_TYPE_IS";

/// A person's client.
pub(crate) struct Sdk {
    process: Child,
    told: ChildStdin,
    tells: BufReader<ChildStdout>,
}

impl Sdk {
    fn start(world: &World, person: &Person) -> Self {
        let options = json!({
            "baseUrl": world.synapse.base_url(),
            "idBaseUrl": world.bindery.base_url(),
            "userId": person.mxid,
            "accessToken": person.homeserver.token,
        });
        Self::with(world, &options)
    }

    /// A client of these options.
    pub(crate) fn with(world: &World, options: &Value) -> Self {
        let mut process = Command::new(environment("bin/node"))
            .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/homeserver/js/client.js"))
            .arg(environment("js/node_modules/matrix-js-sdk/lib/index.js"))
            .arg(options.to_string())
            .env_clear()
            .env("NODE_EXTRA_CA_CERTS", world.authorities())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let told = process.stdin.take().unwrap();
        let tells = BufReader::new(process.stdout.take().unwrap());
        Self { process, told, tells }
    }

    /// What a method returns.
    pub(crate) fn ok(&mut self, method: &str, arguments: &Value) -> Value {
        let mut answer = self.ask(method, arguments);
        assert!(answer.get("error").is_none(), "{method}: {answer}");
        answer["result"].take()
    }

    /// Asserts that a method throws what a refusal with this status and errcode becomes.
    pub(crate) fn refused(&mut self, method: &str, arguments: &Value, status: u16, errcode: &str) {
        let error = &self.ask(method, arguments)["error"];
        let told = (&error["httpStatus"], &error["errcode"]);
        assert_eq!(told, (&json!(status), &json!(errcode)), "{method}: {error}");
    }

    fn ask(&mut self, method: &str, arguments: &Value) -> Value {
        writeln!(self.told, "{}", json!({ "method": method, "arguments": arguments })).unwrap();
        let mut line = String::new();
        self.tells.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap()
    }

    /// Opens an account at the identity server, and answers with its token.
    fn introduce(&mut self) -> Value {
        let openid_token = self.ok("getOpenIdToken", &json!([]));
        self.ok("registerWithIdentityServer", &json!([openid_token]))["token"].take()
    }
}

impl Drop for Sdk {
    fn drop(&mut self) {
        // Fails only for a process that has ended already.
        let _ = self.process.kill();
        self.process.wait().unwrap();
    }
}

// What the client waits for is served by other tasks of the test, while the test waits for the
// client: hence the second thread.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn matrix_js_sdk_finds_the_server_and_agrees_to_its_terms() {
    let world = World::with(
        "[terms.privacy]\nversion = '1'\n\
         en = { name = 'Privacy', url = 'https://id.test/privacy-1.en' }",
    )
    .await;
    let alice = world.newcomer("alice").await;
    let mut sdk = Sdk::start(&world, &alice);
    let base_url = world.bindery.base_url();
    let discovered = sdk.ok(
        "AutoDiscovery.fromDiscoveryConfig",
        &json!([{
            "m.homeserver": { "base_url": world.synapse.base_url() },
            "m.identity_server": { "base_url": base_url },
        }]),
    );
    assert_eq!(discovered["m.identity_server"]["state"], "SUCCESS", "{discovered}");

    let token = sdk.introduce();
    sdk.refused("getIdentityAccount", &json!([token]), 403, "M_TERMS_NOT_SIGNED");
    let terms = sdk.ok("getTerms", &json!([IDENTITY_SERVICE, base_url]));
    let url = &terms["policies"]["privacy"]["en"]["url"];
    sdk.ok("agreeToTerms", &json!([IDENTITY_SERVICE, base_url, token, [url]]));
    let account = sdk.ok("getIdentityAccount", &json!([token]));
    assert_eq!(account, json!({ "user_id": "@alice:hs.test" }));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn matrix_js_sdk_validates_binds_finds_and_invites() {
    let world = World::start().await;
    let (alice, bob) = (world.newcomer("alice").await, world.newcomer("bob").await);
    let mut sdk = Sdk::start(&world, &alice);
    let token = sdk.introduce();
    let opened =
        sdk.ok("requestEmailToken", &json!(["alice@people.test", "a-secret", 1, null, token]));
    world.open_mailed_link("alice@people.test").await;
    let binding = json!({
        "sid": opened["sid"],
        "client_secret": "a-secret",
        "id_server": world.bindery.id_server(),
        "id_access_token": token,
    });
    sdk.ok("bindThreePid", &json!([binding]));

    let mut sdk = Sdk::start(&world, &bob);
    let token = sdk.introduce();
    let addresses = json!([["Alice@people.test", "email"], ["carol@people.test", "email"]]);
    let found = sdk.ok("identityHashedLookup", &json!([addresses, token]));
    assert_eq!(found, json!([{ "address": "Alice@people.test", "mxid": "@alice:hs.test" }]));
    let room = bob.open_room("Tea").await;
    sdk.ok("inviteByThreePid", &json!([room, "email", "alice@people.test"]));
    assert_eq!(alice.inviter(&room).await.as_deref(), Some("@bob:hs.test"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn matrix_js_sdk_joins_by_the_mailed_url() {
    let world = World::start().await;
    let (alice, bob) = (world.newcomer("alice").await, world.newcomer("bob").await);
    let room = bob.open_room("Tea").await;
    let mut sdk = Sdk::start(&world, &bob);
    sdk.introduce();
    sdk.ok("inviteByThreePid", &json!([room, "email", "alice@people.test"]));

    let mut sdk = Sdk::start(&world, &alice);
    let sign_url = world.sign_url("alice@people.test");
    assert_eq!(sdk.ok("joinRoom", &json!([room, { "inviteSignUrl": sign_url }])), json!(room));
    bob.sees_in(&room, &[&alice, &bob]).await;
}

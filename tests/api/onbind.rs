//! A bind tells the homeserver of what waited for it, whatever fails in between.

use std::time::Duration;

use bindery::matrix::signing::{decode_base64, verifies};
use serde_json::{Value, json};

use crate::{
    harness::{Caller, PUBLIC_KEY, TestApp},
    homeserver::{Ca, FakeHomeserver, Received, Reply},
    invite::{invited, request},
};

pub(crate) const ONBIND: &str = "/_matrix/federation/v1/3pid/onbind";

/// A server, and a homeserver that it can reach.
pub(crate) struct World {
    pub(crate) app: TestApp,
    pub(crate) homeserver: FakeHomeserver,
    pub(crate) ca: Ca,
}

impl World {
    pub(crate) async fn start() -> Self {
        let ca = Ca::new();
        let homeserver = FakeHomeserver::start(&ca, &["127.0.0.1"]).await;
        homeserver.set_reply(ONBIND, Reply::new(200, "{}"));
        let app = TestApp::with(&toml(&ca)).await;
        Self { app, homeserver, ca }
    }

    /// A user of the homeserver.
    pub(crate) fn mxid(&self, name: &str) -> String {
        format!("@{name}:{}", self.homeserver.name("127.0.0.1"))
    }

    pub(crate) async fn bind(&self, app: &TestApp, name: &str, address: &str) {
        let mxid = self.mxid(name);
        app.account(&mxid).await.bound(address, &mxid).await;
    }

    /// The onbind requests that arrived.
    pub(crate) fn told(&self) -> Vec<Received> {
        let requests = self.homeserver.requests();
        requests.into_iter().filter(|request| request.target == ONBIND).collect()
    }

    /// The tokens of the invitations that arrived, in order.
    pub(crate) fn tokens(&self) -> Vec<String> {
        self.told().iter().map(token_of).collect()
    }
}

pub(crate) fn toml(ca: &Ca) -> String {
    format!(
        "limits.enabled = false\nfederation.allow_networks = ['127.0.0.0/8']\n\
         federation.timeout = '2s'\nfederation.ca_file = '{}'",
        ca.file().display()
    )
}

pub(crate) fn json_of(request: &Received) -> Value {
    serde_json::from_slice(&request.body).unwrap()
}

pub(crate) fn token_of(request: &Received) -> String {
    json_of(request)["invites"][0]["signed"]["token"].as_str().unwrap().to_owned()
}

async fn invite(alice: &Caller<'_>, address: &str) -> String {
    invited(alice, address).await["token"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn the_invitation_reaches_the_homeserver_of_who_bound_signed_and_alone() {
    let world = World::start().await;
    let alice = world.app.account("@alice:hs.example").await;
    let token = invite(&alice, "bob@example.org").await;
    world.bind(&world.app, "bob", "bob@example.org").await;
    world.app.deliver().await;
    let [request] = &world.told()[..] else { panic!("{:?}", world.told()) };
    assert_eq!(request.method, "POST");
    assert!(!request.headers.contains_key("authorization"));
    let body = json_of(request);
    let bob = world.mxid("bob");
    assert_eq!((&body["medium"], &body["address"]), (&json!("email"), &json!("bob@example.org")));
    assert_eq!(body["mxid"], bob);
    let invite = &body["invites"][0];
    assert_eq!(body["invites"].as_array().unwrap().len(), 1);
    assert_eq!(invite["room_id"], "!room:hs.example");
    assert_eq!(invite["sender"], "@alice:hs.example");
    assert_eq!((&invite["mxid"], &invite["address"]), (&json!(bob), &json!("bob@example.org")));
    let key = decode_base64(PUBLIC_KEY).unwrap().try_into().unwrap();
    let server = "id.example.org".parse().unwrap();
    let signed = invite["signed"].as_object().unwrap();
    assert_eq!((signed.len(), &signed["mxid"], &signed["token"]), (3, &json!(bob), &json!(token)));
    assert!(verifies(signed, &server, "ed25519:1", &key));
    assert!(verifies(body.as_object().unwrap(), &server, "ed25519:1", &key));
}

#[tokio::test]
async fn what_was_delivered_is_not_delivered_again_and_not_to_others() {
    let world = World::start().await;
    let alice = world.app.account("@alice:hs.example").await;
    let token = invite(&alice, "bob@example.org").await;
    world.bind(&world.app, "bob", "bob@example.org").await;
    world.bind(&world.app, "carol", "carol@example.org").await;
    world.app.deliver().await;
    world.bind(&world.app, "bob", "bob@example.org").await;
    world.bind(&world.app, "mallory", "bob@example.org").await;
    world.app.clock.advance(Duration::from_hours(1));
    world.app.deliver().await;
    assert_eq!(world.tokens(), [token]);
}

#[tokio::test]
async fn an_invitation_stays_owed_to_who_bound_first() {
    let world = World::start().await;
    let alice = world.app.account("@alice:hs.example").await;
    invite(&alice, "bob@example.org").await;
    world.homeserver.set_reply(ONBIND, Reply::new(500, "{}"));
    world.bind(&world.app, "bob", "bob@example.org").await;
    world.app.deliver().await;
    world.bind(&world.app, "mallory", "bob@example.org").await;
    world.homeserver.set_reply(ONBIND, Reply::new(200, "{}"));
    world.app.clock.advance(Duration::from_hours(1));
    world.app.deliver().await;
    let mxids: Vec<Value> = world.told().iter().map(|told| json_of(told)["mxid"].clone()).collect();
    assert_eq!(mxids, [json!(world.mxid("bob")), json!(world.mxid("bob"))]);
}

#[tokio::test]
async fn invitations_to_two_rooms_are_each_their_own_request() {
    let world = World::start().await;
    let alice = world.app.account("@alice:hs.example").await;
    let mut wanted =
        [invite(&alice, "bob@example.org").await, invite(&alice, "bob@example.org").await];
    world.bind(&world.app, "bob", "bob@example.org").await;
    world.app.deliver().await;
    let mut tokens = world.tokens();
    tokens.sort();
    wanted.sort();
    assert_eq!(tokens, wanted);
}

#[tokio::test]
async fn put_is_tried_where_post_is_unknown() {
    let world = World::start().await;
    for status in [404, 405] {
        world.homeserver.set_reply(ONBIND, Reply::new(status, "{}"));
        let alice = world.app.account("@alice:hs.example").await;
        let address = format!("bob{status}@example.org");
        invite(&alice, &address).await;
        world.bind(&world.app, "bob", &address).await;
        world.app.deliver().await;
    }
    let methods: Vec<String> = world.told().into_iter().map(|request| request.method).collect();
    assert_eq!(methods, ["POST", "PUT", "POST", "PUT"]);
}

#[tokio::test]
async fn a_homeserver_that_refuses_or_is_away_is_told_again_later() {
    let world = World::start().await;
    let alice = world.app.account("@alice:hs.example").await;
    let token = invite(&alice, "bob@example.org").await;
    world.bind(&world.app, "bob", "bob@example.org").await;
    let troubles =
        [Reply::new(403, "{}"), Reply::new(502, "{}"), Reply::Raw(Vec::new()), Reply::Silence];
    for trouble in troubles {
        world.homeserver.set_reply(ONBIND, trouble);
        world.app.deliver().await;
        world.app.clock.advance(Duration::from_secs(5));
        let before = world.told().len();
        world.app.deliver().await;
        assert_eq!(world.told().len(), before, "it was told again at once");
        world.app.clock.advance(Duration::from_hours(5));
    }
    world.homeserver.set_reply(ONBIND, Reply::new(200, "{}"));
    world.app.deliver().await;
    assert!(world.told().len() >= 5);
    assert_eq!(world.tokens().pop(), Some(token));
    let told = world.told().len();
    world.app.clock.advance(Duration::from_hours(5));
    world.app.deliver().await;
    assert_eq!(world.told().len(), told);
}

#[tokio::test]
async fn what_is_owed_survives_a_restart() {
    let world = World::start().await;
    let alice = world.app.account("@alice:hs.example").await;
    let token = invite(&alice, "bob@example.org").await;
    world.bind(&world.app, "bob", "bob@example.org").await;
    let restarted = world.app.beside(&toml(&world.ca)).await;
    restarted.deliver().await;
    assert_eq!(world.tokens(), [token]);
}

#[tokio::test]
async fn two_nodes_at_once_deliver_each_invitation_once() {
    let world = World::start().await;
    let alice = world.app.account("@alice:hs.example").await;
    let mut wanted = Vec::new();
    for number in 0..10 {
        let address = format!("bob{number}@example.org");
        wanted.push(invite(&alice, &address).await);
        world.bind(&world.app, "bob", &address).await;
    }
    let other = world.app.beside(&toml(&world.ca)).await;
    tokio::join!(world.app.deliver(), other.deliver());
    let mut tokens = world.tokens();
    tokens.sort();
    wanted.sort();
    assert_eq!(tokens, wanted);
}

#[tokio::test]
async fn a_claim_of_a_node_that_died_ends_by_itself() {
    let world = World::start().await;
    let alice = world.app.account("@alice:hs.example").await;
    let token = invite(&alice, "bob@example.org").await;
    world.bind(&world.app, "bob", "bob@example.org").await;
    let now_ms = bindery::clock::Clock::now_ms(&*world.app.clock);
    let claimed = token.clone();
    world
        .app
        .app
        .store
        .write::<_, bindery::store::StoreError>(move |tx| {
            bindery::store::invites::claim(tx, &claimed, now_ms, now_ms + 60_000)
        })
        .await
        .unwrap();
    world.app.deliver().await;
    assert!(world.tokens().is_empty());
    world.app.clock.advance(Duration::from_mins(1));
    world.app.deliver().await;
    assert_eq!(world.tokens(), [token]);
}

#[tokio::test]
async fn after_two_weeks_it_is_given_up_kept_and_can_be_retried() {
    use bindery::store::{
        StoreError,
        invites::{self, Outcome, State},
    };
    let world = World::start().await;
    let alice = world.app.account("@alice:hs.example").await;
    let token = invite(&alice, "bob@example.org").await;
    world.homeserver.set_reply(ONBIND, Reply::new(500, "{}"));
    world.bind(&world.app, "bob", "bob@example.org").await;
    for _ in 0..13 * 6 {
        world.app.deliver().await;
        world.app.clock.advance(Duration::from_hours(4));
    }
    let before = world.told().len();
    world.app.clock.advance(Duration::from_hours(2));
    world.app.deliver().await;
    assert!(world.told().len() > before, "it was given up within 13 days");
    world.app.clock.advance(Duration::from_hours(30));
    world.app.deliver().await;
    let store = &world.app.app.store;
    let wanted = token.clone();
    let kept = store.read::<_, StoreError>(move |tx| invites::find(tx, &wanted)).await.unwrap();
    let kept = kept.unwrap();
    assert!(matches!(kept.state, State::Settled { outcome: Outcome::Failed, .. }), "{kept:?}");
    assert_eq!(kept.last_error.as_deref(), Some("the answer has status 500"));
    world.homeserver.set_reply(ONBIND, Reply::new(200, "{}"));
    let (wanted, now_ms) = (token.clone(), bindery::clock::Clock::now_ms(&*world.app.clock));
    let retried = store.write::<_, StoreError>(move |tx| invites::retry(tx, &wanted, now_ms));
    assert!(retried.await.unwrap());
    world.app.deliver().await;
    assert_eq!(world.tokens().pop(), Some(token));
}

#[tokio::test]
async fn an_invitation_at_the_moment_of_the_bind_is_refused_or_delivered() {
    let world = World::start().await;
    let alice = world.app.account("@alice:hs.example").await;
    for number in 0..5 {
        let address = format!("bob{number}@example.org");
        let mxid = world.mxid("bob");
        let bob = world.app.account(&mxid).await;
        let session = bob.validated(&address, &address).await;
        let mut bind = session.json();
        bind["mxid"] = json!(mxid);
        let invitation = request(&address, "@alice:hs.example");
        let (invited, bound) =
            tokio::join!(alice.post("/store-invite", invitation), bob.post("/3pid/bind", bind));
        bound.ok();
        world.app.deliver().await;
        let delivered = world.tokens().len();
        if invited.status == 200 {
            let token = invited.ok()["token"].as_str().unwrap().to_owned();
            assert_eq!(world.tokens().pop(), Some(token));
        } else {
            invited.refused(400, "M_THREEPID_IN_USE");
        }
        assert_eq!(world.tokens().len(), delivered);
    }
}

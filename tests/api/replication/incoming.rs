//! What neighbours tell is found here.

use std::time::Duration;

use serde_json::{Value, json};

use super::village::{Open, Seat, Village, association, key, removal, signed_by};
use crate::{
    harness::{PUBLIC_KEY, TestApp},
    invite::request,
    onbind,
};

const ALICE: &str = "@alice:hs.example";
const BOB: &str = "@bob:hs.example";

/// A server and a neighbour's seat, from which anything can be sent.
struct Listener {
    app: TestApp,
    here: Seat,
    neighbour: Seat,
    config: String,
    _open: Open,
    village: Village,
}

impl Listener {
    async fn start(more: &str) -> Self {
        let village = Village::new();
        let (here, neighbour) = (village.seat("a.test"), village.seat("b.test"));
        let config = here.config(&[neighbour.believed(more)]);
        let app = TestApp::with(&config).await;
        let open = here.listen(&app);
        Self { app, here, neighbour, config, _open: open, village }
    }

    /// Sends what the neighbour signs, each under its number.
    async fn hear(&self, all: &[(&str, Value)]) {
        let signed = all.iter().map(|(id, one)| ((*id).to_owned(), self.neighbour.signed(one)));
        let answer = self.neighbour.push(&self.here, signed.collect()).await;
        assert_eq!(answer.ok(), json!({ "success": true }));
    }
}

#[tokio::test]
async fn neighbours_find_each_others_people_until_they_unbind() {
    let village = Village::new();
    let (here, there) = (village.seat("a.test"), village.seat("b.test"));
    let one = TestApp::with(&here.config(&[there.neighbour("")])).await;
    let other = TestApp::with(&there.config(&[here.neighbour("domains = ['a.example']")])).await;
    let (_one, _other) = (here.listen(&one), there.listen(&other));
    let (alice, bob) = (one.account(ALICE).await, other.account(BOB).await);
    alice.bound("alice@a.example", ALICE).await;
    bob.bound("bob@b.example", BOB).await;
    one.push().await;
    other.push().await;
    assert_eq!(other.who_is("alice@a.example").await.as_deref(), Some(ALICE));
    assert_eq!(one.who_is("bob@b.example").await.as_deref(), Some(BOB));
    // What a neighbour said is not passed on as if it had been bound here.
    assert_eq!([one.received("b.test").await, other.received("a.test").await], [[1, 0, 0]; 2]);
    let plain = json!({ "algorithm": "none", "pepper": pepper(&one).await,
                        "addresses": ["Bob@b.example email"] });
    let found = alice.post("/lookup", plain).await.ok();
    assert_eq!(found, json!({ "mappings": { "Bob@b.example email": BOB } }));
    let session = alice.validated("alice@a.example", "alice@a.example").await;
    let mut body = session.json();
    body["mxid"] = json!(ALICE);
    body["threepid"] = json!({ "medium": "email", "address": "alice@a.example" });
    alice.post("/3pid/unbind", body).await.ok();
    one.push().await;
    assert_eq!(other.who_is("alice@a.example").await, None);
}

async fn pepper(app: &TestApp) -> String {
    let details = app.account(ALICE).await.get("/hash_details").await.ok();
    details["lookup_pepper"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_repetition_and_what_comes_late_change_nothing() {
    let world = Listener::start("").await;
    let bound = ("5", association("carol@b.example", BOB, 0));
    world.hear(std::slice::from_ref(&bound)).await;
    world.hear(std::slice::from_ref(&bound)).await;
    assert_eq!(world.app.received("b.test").await, [1, 1, 0]);
    world.hear(&[("7", removal("carol@b.example", 10))]).await;
    assert_eq!(world.app.who_is("carol@b.example").await, None);
    // The same again, and one that was made before the removal and is sent after it.
    world.hear(&[bound, ("6", association("carol@b.example", ALICE, 5))]).await;
    world.hear(&[("9", association("carol@b.example", ALICE, 9))]).await;
    assert_eq!(world.app.who_is("carol@b.example").await, None);
    world.hear(&[("10", association("carol@b.example", ALICE, 11))]).await;
    assert_eq!(world.app.who_is("carol@b.example").await.as_deref(), Some(ALICE));
    world.hear(&[("7", removal("carol@b.example", 10))]).await;
    assert_eq!(world.app.who_is("carol@b.example").await.as_deref(), Some(ALICE));
}

#[tokio::test]
async fn a_removal_counts_though_the_clock_of_the_neighbour_was_put_back() {
    let world = Listener::start("").await;
    world.hear(&[("1", association("carol@b.example", BOB, 0))]).await;
    world.hear(&[("2", removal("carol@b.example", -1000))]).await;
    assert_eq!(world.app.who_is("carol@b.example").await, None);
}

#[tokio::test]
async fn numbers_decide_as_numbers_within_one_moment() {
    let world = Listener::start("").await;
    let [old, gone, new] = [
        association("carol@b.example", ALICE, 0),
        removal("carol@b.example", 5),
        association("carol@b.example", BOB, 5),
    ];
    world.hear(&[("10", new), ("9", gone), ("8", old)]).await;
    assert_eq!(world.app.who_is("carol@b.example").await.as_deref(), Some(BOB));
}

#[tokio::test]
async fn what_was_bound_here_goes_before_what_a_neighbour_says() {
    let world = Listener::start("").await;
    world.app.account(ALICE).await.bound("shared@b.example", ALICE).await;
    world.hear(&[("1", association("shared@b.example", BOB, 1_000_000))]).await;
    assert_eq!(world.app.who_is("shared@b.example").await.as_deref(), Some(ALICE));
    // It can't take it away either.
    world.hear(&[("2", removal("shared@b.example", 2_000_000))]).await;
    assert_eq!(world.app.who_is("shared@b.example").await.as_deref(), Some(ALICE));
}

#[tokio::test]
async fn of_several_neighbours_the_one_that_spoke_last_is_believed() {
    let village = Village::new();
    let [here, north, south] = ["a.test", "north.test", "south.test"].map(|n| village.seat(n));
    let app = TestApp::with(&here.config(&[north.believed(""), south.believed("")])).await;
    let _open = here.listen(&app);
    for (seat, id, mxid, after) in [(&north, "1", ALICE, 7), (&south, "1", BOB, 5)] {
        let one = seat.signed(&association("carol@b.example", mxid, after));
        seat.push(&here, json!({ id: one })).await.ok();
    }
    assert_eq!(app.who_is("carol@b.example").await.as_deref(), Some(ALICE));
    let gone = north.signed(&removal("carol@b.example", 9));
    north.push(&here, json!({ "2": gone })).await.ok();
    assert_eq!(app.who_is("carol@b.example").await.as_deref(), Some(BOB));
}

#[tokio::test]
async fn an_association_holds_only_within_its_time() {
    let world = Listener::start("").await;
    let mut early = association("early@b.example", BOB, 0);
    early["not_before"] = json!(early["ts"].as_i64().unwrap() + 60_000);
    let mut late = association("late@b.example", BOB, 0);
    late["not_after"] = late["ts"].clone();
    world.hear(&[("1", early), ("2", late)]).await;
    assert_eq!(world.app.who_is("early@b.example").await, None);
    assert_eq!(world.app.who_is("late@b.example").await, None);
    world.app.clock.advance(Duration::from_mins(1));
    assert_eq!(world.app.who_is("early@b.example").await.as_deref(), Some(BOB));
}

#[tokio::test]
async fn it_is_found_under_the_next_pepper_and_after_a_restart() {
    let world = Listener::start("").await;
    world.hear(&[("1", association("carol@b.example", BOB, 0))]).await;
    world.hear(&[("2", association("dave@b.example", BOB, 0))]).await;
    world.hear(&[("3", removal("dave@b.example", 1))]).await;
    let before = pepper(&world.app).await;
    world.app.clock.advance(Duration::from_hours(24 * 7));
    world.app.background().await;
    assert_ne!(pepper(&world.app).await, before);
    let again = world.app.beside(&world.config).await;
    assert_eq!(again.who_is("carol@b.example").await.as_deref(), Some(BOB));
    assert_eq!(again.who_is("dave@b.example").await, None);
}

#[tokio::test]
async fn who_is_no_neighbour_any_more_is_not_believed_any_more() {
    let world = Listener::start("").await;
    world.hear(&[("1", association("carol@b.example", BOB, 0))]).await;
    let again = world.app.beside(&world.here.config(&[])).await;
    assert_eq!(again.who_is("carol@b.example").await, None);
}

#[tokio::test]
async fn an_address_is_found_in_its_canonical_form() {
    let world = Listener::start("domains = ['b.example']").await;
    world.hear(&[("1", association("Carol@B.Example", BOB, 0))]).await;
    assert_eq!(world.app.who_is("carol@b.example").await.as_deref(), Some(BOB));
}

#[tokio::test]
async fn the_invitations_of_others_are_not_kept() {
    let world = Listener::start("").await;
    let mut one = association("carol@b.example", BOB, 0);
    one["invites"] = json!([{ "address": "secret@b.example", "token": "abc" }]);
    world.hear(&[("1", one)]).await;
    assert_eq!(world.app.who_is("carol@b.example").await.as_deref(), Some(BOB));
    let carol = bindery::matrix::threepid::ThreePid::email("carol@b.example").unwrap();
    let origins = world.app.app.believed_origins();
    let find = move |tx: &mut bindery::store::Tx<'_>| {
        bindery::store::peer_associations::find(tx, &origins, &carol, i64::MAX / 2)
    };
    let found: Result<_, bindery::store::StoreError> = world.app.app.store.read(find).await;
    assert!(found.unwrap().is_none_or(|found| found.signed.is_none()));
}

#[tokio::test]
async fn an_association_is_kept_as_its_neighbour_signed_it() {
    let world = Listener::start("").await;
    let one = association("carol@b.example", BOB, 0);
    world.hear(&[("1", one.clone())]).await;
    let carol = bindery::matrix::threepid::ThreePid::email("carol@b.example").unwrap();
    let (origins, now_ms) = (world.app.app.believed_origins(), one["ts"].as_i64().unwrap());
    let find = move |tx: &mut bindery::store::Tx<'_>| {
        bindery::store::peer_associations::find(tx, &origins, &carol, now_ms)
    };
    let found: Result<_, bindery::store::StoreError> = world.app.app.store.read(find).await;
    let found = found.unwrap().unwrap();
    let signed: Value = serde_json::from_str(&found.signed.unwrap()).unwrap();
    assert_eq!((found.origin.as_str(), found.mxid.as_str()), ("b.test", BOB));
    assert_eq!(signed, signed_by("b.test", &key(), &one));
}

#[tokio::test]
async fn api_v1_answers_what_a_neighbour_signed_as_the_neighbour_signed_it() {
    let village = Village::new();
    let (here, there) = (village.seat("a.test"), village.seat("b.test"));
    let v1 = "[api.v1]\nlookup = true".to_owned();
    let app = TestApp::with(&here.config(&[there.believed(""), v1])).await;
    let _open = here.listen(&app);
    let one = association("carol@b.example", BOB, 0);
    there.push(&here, json!({ "1": there.signed(&one) })).await.ok();
    let v1 = "/_matrix/identity/api/v1";
    let path = format!("{v1}/lookup?medium=email&address=Carol@b.example");
    let answer = app.stranger().get(&path).await.ok();
    assert_eq!(answer, signed_by("b.test", &key(), &one));
    let asked = json!({ "threepids": [["email", "carol@b.example"], ["email", "x@b.example"]] });
    let found = app.stranger().post(&format!("{v1}/bulk_lookup"), asked).await.ok();
    assert_eq!(found, json!({ "threepids": [["email", "carol@b.example", BOB]] }));
}

#[tokio::test]
async fn whoever_a_neighbour_knows_is_not_invited_by_mail() {
    let world = Listener::start("").await;
    world.hear(&[("1", association("carol@b.example", BOB, 0))]).await;
    let alice = world.app.account(ALICE).await;
    let refused = alice.post("/store-invite", request("carol@b.example", ALICE)).await;
    assert_eq!(refused.refused(400, "M_THREEPID_IN_USE")["mxid"], BOB);
    assert_eq!(world.app.mails(), 0);
}

#[tokio::test]
async fn who_binds_at_a_neighbour_gets_the_invitations_that_wait_here() {
    let village = Village::new();
    let (here, there) = (village.seat("a.test"), village.seat("b.test"));
    let hs = crate::homeserver::FakeHomeserver::start(&village.ca, &["127.0.0.1"]).await;
    hs.set_reply(onbind::ONBIND, crate::homeserver::Reply::new(200, "{}"));
    let more = "[federation]\nallow_networks = ['127.0.0.0/8']\ntimeout = '2s'";
    let more = format!("{more}\nca_file = '{}'", village.ca.file().display());
    let app = TestApp::with(&here.config(&[there.believed(""), more])).await;
    let _open = here.listen(&app);
    let alice = app.account(ALICE).await;
    alice.post("/store-invite", request("carol@b.example", ALICE)).await.ok();
    let carol = format!("@carol:{}", hs.name("127.0.0.1"));
    let bound = there.signed(&association("carol@b.example", &carol, 0));
    there.push(&here, json!({ "1": bound })).await.ok();
    app.deliver().await;
    let asked = hs.requests().into_iter().filter(|request| request.target == onbind::ONBIND);
    assert_eq!(asked.count(), 1);
}

#[tokio::test]
async fn a_second_key_of_a_neighbour_verifies_too() {
    let old = bindery::matrix::signing::SigningKey::generate();
    let id = old.id();
    let public = bindery::matrix::signing::encode_base64(&old.public());
    let keys = format!("keys = ['ed25519:1 {PUBLIC_KEY}', '{id} {public}']");
    let world = Listener::start(&keys).await;
    let one = signed_by("b.test", &old, &association("carol@b.example", BOB, 0));
    world.neighbour.push(&world.here, json!({ "1": one })).await.ok();
    assert_eq!(world.app.who_is("carol@b.example").await.as_deref(), Some(BOB));
    drop(world.village);
}

//! What is bound and unbound here is told to neighbours.

use std::time::Duration;

use bindery::matrix::{json::Object, signing::verifies};
use serde_json::{Value, json};

use super::village::{PUSH, Village, key};
use crate::{
    harness::{Caller, TestApp},
    homeserver::{FakeHomeserver, Received, Reply},
};

const ALICE: &str = "@alice:hs.example";
const BOB: &str = "@bob:hs.example";

async fn unbind(caller: &Caller<'_>, address: &str, mxid: &str) {
    let session = caller.validated(address, address).await;
    let mut body = session.json();
    body["mxid"] = json!(mxid);
    body["threepid"] = json!({ "medium": "email", "address": address });
    caller.post("/3pid/unbind", body).await.ok();
}

/// The associations in a request, in the order of the text, and their ids.
pub(super) fn associations(request: &Received) -> Vec<(i64, Object)> {
    let text = std::str::from_utf8(&request.body).unwrap();
    let body: Value = serde_json::from_str(text).unwrap();
    let all = body["sgAssocs"].as_object().unwrap();
    let mut found: Vec<(usize, i64, Object)> = all
        .iter()
        .map(|(id, one)| {
            let place = text.find(&format!("\"{id}\":{{")).unwrap();
            (place, id.parse().unwrap(), one.as_object().unwrap().clone())
        })
        .collect();
    found.sort_by_key(|(place, ..)| *place);
    found.into_iter().map(|(_, id, one)| (id, one)).collect()
}

/// A server whose neighbour, a stand-in, answers as it is told.
pub(super) struct Told {
    pub(super) app: TestApp,
    pub(super) sydent: FakeHomeserver,
    pub(super) config: String,
    _village: Village,
}

impl Told {
    pub(super) async fn start(more: &str) -> Self {
        let village = Village::new();
        let sydent = FakeHomeserver::start(&village.ca, &["127.0.0.1"]).await;
        sydent.set_reply(PUSH, Reply::new(200, r#"{"success":true}"#));
        let here = village.seat("a.test");
        let url = format!("https://{}", sydent.address());
        let there = village.seat("sydent.test").believed(&format!("url = '{url}'\n{more}"));
        let config = here.config(&[there]);
        let app = TestApp::with(&config).await;
        Self { app, sydent, config, _village: village }
    }

    fn told(&self) -> Vec<(i64, Object)> {
        self.sydent.requests().iter().flat_map(associations).collect()
    }
}

#[tokio::test]
async fn a_bind_is_told_as_a_sydent_wants_it() {
    let world = Told::start("key_id = 'ed25519:0'").await;
    let bound = world.app.account(ALICE).await.bound("alice@example.org", ALICE).await;
    world.app.push().await;
    world.app.push().await;
    let requests = world.sydent.requests();
    assert_eq!(requests.len(), 1, "{requests:?}");
    let request = &requests[0];
    assert_eq!((request.method.as_str(), request.target.as_str()), ("POST", PUSH));
    assert_eq!(request.headers["content-type"], "application/json");
    let (id, mut told) = associations(request).remove(0);
    assert_eq!(id, 1);
    assert!(verifies(&told, &"a.test".parse().unwrap(), "ed25519:0", &key().public()));
    told.remove("signatures");
    for (name, value) in &told {
        assert_eq!(*value, bound[name], "{name}");
    }
    assert_eq!(told.len(), 6);
}

#[tokio::test]
async fn an_unbind_and_a_change_of_hands_are_told_in_their_order() {
    let world = Told::start("").await;
    let (alice, bob) = (world.app.account(ALICE).await, world.app.account(BOB).await);
    alice.bound("shared@example.org", ALICE).await;
    world.app.clock.advance(Duration::from_secs(1));
    bob.bound("shared@example.org", BOB).await;
    world.app.clock.advance(Duration::from_secs(1));
    unbind(&bob, "shared@example.org", BOB).await;
    // Nobody had it any more.
    unbind(&bob, "shared@example.org", BOB).await;
    world.app.push().await;
    let told = world.told();
    let ids: Vec<i64> = told.iter().map(|(id, _)| *id).collect();
    assert_eq!(ids, [1, 2, 3, 4]);
    let mxids: Vec<&Value> = told.iter().map(|(_, one)| &one["mxid"]).collect();
    assert_eq!(mxids, [&json!(ALICE), &json!(null), &json!(BOB), &json!(null)]);
    let last = &told[3].1;
    assert_eq!((&last["not_before"], &last["not_after"]), (&Value::Null, &Value::Null));
    assert!(last["ts"].as_i64() > told[2].1["ts"].as_i64());
    assert!(verifies(last, &"a.test".parse().unwrap(), "ed25519:1", &key().public()));
}

#[tokio::test]
async fn more_than_a_hundred_go_in_several_requests_whose_numbers_keep_their_order() {
    let world = Told::start("").await;
    let alice = world.app.account(ALICE).await;
    for number in 0..105 {
        alice.bound(&format!("alice{number}@example.org"), ALICE).await;
    }
    world.app.push().await;
    assert_eq!(world.sydent.requests().len(), 2);
    let ids: Vec<i64> = world.told().iter().map(|(id, _)| *id).collect();
    assert_eq!(ids, (1..=105).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_neighbour_that_is_away_is_told_after_pauses_and_after_a_restart() {
    let world = Told::start("").await;
    world.sydent.set_reply(PUSH, Reply::new(503, "later"));
    world.app.account(ALICE).await.bound("alice@example.org", ALICE).await;
    for (pause, requests) in [(0, 1), (0, 1), (1, 2), (1, 2), (1, 3)] {
        world.app.clock.advance(Duration::from_secs(pause));
        world.app.push().await;
        assert_eq!(world.sydent.requests().len(), requests, "{pause}");
    }
    let again = world.app.beside(&world.config).await;
    world.sydent.set_reply(PUSH, Reply::new(200, "{}"));
    again.push().await;
    assert_eq!(world.sydent.requests().len(), 3);
    world.app.clock.advance(Duration::from_hours(24 * 3));
    again.push().await;
    again.push().await;
    assert_eq!(world.sydent.requests().len(), 4);
    assert_eq!(world.app.metric(&pushes("failed")).await, 3);
    assert_eq!(again.metric(&pushes("taken")).await, 1);
}

fn pushes(outcome: &str) -> String {
    let labels = format!("neighbour=\"sydent.test\",outcome=\"{outcome}\"");
    format!("bindery_replication_pushes_total{{{labels}}}")
}

#[tokio::test]
async fn two_nodes_tell_each_entry_once() {
    let world = Told::start("").await;
    let other = world.app.beside(&world.config).await;
    let alice = world.app.account(ALICE).await;
    for number in 0..20 {
        alice.bound(&format!("alice{number}@example.org"), ALICE).await;
        tokio::join!(world.app.push(), other.push(), world.app.push());
    }
    world.app.push().await;
    let ids: Vec<i64> = world.told().iter().map(|(id, _)| *id).collect();
    assert_eq!(ids, (1..=20).collect::<Vec<_>>());
}

#[tokio::test]
async fn what_was_bound_and_unbound_without_neighbours_is_told_to_the_first_one() {
    let world = Told::start("").await;
    let alone = world.app.beside("limits.enabled = false").await;
    let alice = alone.account(ALICE).await;
    for address in ["early@example.org", "gone@example.org"] {
        alice.bound(address, ALICE).await;
    }
    world.app.push().await;
    world.app.push().await;
    assert_eq!(world.told().len(), 2);
    // Nobody has to be told for a while.
    unbind(&alice, "gone@example.org", ALICE).await;
    alone.account(BOB).await.bound("early@example.org", BOB).await;
    let again = world.app.beside(&world.config).await;
    again.push().await;
    let later: Vec<_> = world.told().into_iter().skip(2).collect();
    let said: Vec<_> = later.iter().map(|(_, one)| (&one["address"], &one["mxid"])).collect();
    assert_eq!(
        said,
        [
            (&json!("early@example.org"), &json!(null)),
            (&json!("early@example.org"), &json!(BOB)),
            (&json!("gone@example.org"), &json!(null)),
        ]
    );
    let once_more = world.app.beside(&world.config).await;
    once_more.push().await;
    assert_eq!(world.told().len(), 5);
}

#[tokio::test]
async fn a_server_without_neighbours_keeps_no_log() {
    let app = TestApp::start().await;
    app.account(ALICE).await.bound("alice@example.org", ALICE).await;
    app.push().await;
    let entries = app.app.store.read(|tx| bindery::store::replication_log::after(tx, 0, 10));
    assert_eq!(entries.await.unwrap().len(), 0);
}

#[tokio::test]
async fn what_all_have_and_nobody_needs_is_forgotten() {
    let world = Told::start("").await;
    let (alice, bob) = (world.app.account(ALICE).await, world.app.account(BOB).await);
    for _ in 0..3 {
        alice.bound("shared@example.org", ALICE).await;
        bob.bound("shared@example.org", BOB).await;
        unbind(&bob, "shared@example.org", BOB).await;
    }
    alice.bound("alice@example.org", ALICE).await;
    world.app.push().await;
    let entries = world.app.app.store.read(|tx| bindery::store::replication_log::after(tx, 0, 99));
    let left: Vec<_> = entries.await.unwrap().into_iter().map(|e| (e.address, e.mxid)).collect();
    let (shared, own) = ("shared@example.org".to_owned(), "alice@example.org".to_owned());
    assert_eq!(left, [(shared, None), (own, Some(ALICE.to_owned()))]);
}

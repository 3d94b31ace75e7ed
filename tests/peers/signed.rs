//! A peer that knows API v1 only: what it signs counts, and nothing else.

use bindery::matrix::{
    json::Object,
    signing::{SigningKey, encode_base64},
};
use serde_json::{Value, json};

use crate::{
    homeserver::{FakeHomeserver, Reply},
    world::World,
};

const BOB: &str = "@bob:b.example";
const V1: &str = "/_matrix/identity/api/v1";
const NOW_MS: i64 = 1_795_417_689_123;

/// What an old server has of `bob@b.test`.
pub(crate) fn association() -> Value {
    json!({ "medium": "email", "address": "bob@b.test", "mxid": BOB, "ts": NOW_MS - 2,
        "not_before": NOW_MS - 1, "not_after": NOW_MS + 1 })
}

pub(crate) fn signed(key: &SigningKey, association: &Value) -> Object {
    let mut object = association.as_object().unwrap().clone();
    key.sign(&"some.name".parse().unwrap(), &mut object).unwrap();
    object
}

/// An old server which serves a key and answers lookups so.
pub(crate) async fn old(
    world: &World,
    domain: &str,
    key: &SigningKey,
    answer: Value,
) -> FakeHomeserver {
    let peer = world.fake(domain).await;
    let served = json!({ "public_key": encode_base64(&key.public()) }).to_string();
    peer.set_reply(&format!("{V1}/pubkey/{}", key.id()), Reply::new(200, served.clone()));
    let escaped = key.id().replace(':', "%3A");
    peer.set_reply(&format!("{V1}/pubkey/{escaped}"), Reply::new(200, served));
    peer.set_reply(&format!("{V1}/lookup"), Reply::new(200, answer.to_string()));
    peer
}

fn lookups(peer: &FakeHomeserver, path: &str) -> usize {
    let starts = format!("{V1}/{path}");
    peer.requests().iter().filter(|request| request.target.starts_with(&starts)).count()
}

#[tokio::test]
async fn a_signed_association_is_believed() {
    let world = World::start().await;
    let key = SigningKey::generate();
    let answer = Value::Object(signed(&key, &association()));
    let b = old(&world, "b.test", &key, answer).await;
    let a = world.bindery("a.test", "").await;
    assert_eq!(a.find(&["bob@b.test email"]).await["bob@b.test email"], BOB);
    assert_eq!((lookups(&b, "lookup"), lookups(&b, "pubkey/")), (1, 1));
    a.find(&["bob@b.test email"]).await;
    assert_eq!(lookups(&b, "lookup"), 1);
    // That it knows no v2 is remembered.
    let v2 = |request: &&crate::homeserver::Received| request.target.contains("/v2/");
    let asked = b.requests().iter().filter(v2).count();
    a.find(&["carol@b.test email"]).await;
    assert_eq!(b.requests().iter().filter(v2).count(), asked);
}

#[tokio::test]
async fn what_is_not_signed_by_the_peer_or_does_not_hold_is_not_believed() {
    let world = World::start().await;
    let key = SigningKey::generate();
    let with = |field: &str, value: Value| {
        let mut association = association();
        association[field] = value;
        association
    };
    let mut changed = signed(&key, &association());
    changed.insert("mxid".to_owned(), json!("@mallory:evil.example"));
    let unknown = SigningKey::generate();
    let same_id = key.to_line().split(' ').nth(1).unwrap().to_owned();
    let forger = format!("ed25519 {same_id} {}", encode_base64(&[7; 32]));
    let forger = SigningKey::from_line(&forger).unwrap();
    for (number, answer) in [
        Value::Object(changed),
        association(),
        Value::Object(signed(&forger, &association())),
        Value::Object(signed(&unknown, &association())),
        Value::Object(signed(&key, &with("not_after", json!(NOW_MS - 1)))),
        Value::Object(signed(&key, &with("not_before", json!(NOW_MS + 1)))),
        Value::Object(signed(&key, &with("not_after", Value::Null))),
        Value::Object(signed(&key, &with("address", json!("other@b.test")))),
        Value::Object(signed(&key, &with("medium", json!("msisdn")))),
        Value::Object(signed(&key, &with("mxid", json!("bob")))),
        json!([]),
        json!({}),
    ]
    .into_iter()
    .enumerate()
    {
        world.serves("b.test", "nowhere.test", 1);
        let b = old(&world, "b.test", &key, answer).await;
        let a = world.bindery(&format!("a{number}.test"), "").await;
        assert!(a.find(&["bob@b.test email"]).await.is_empty(), "{number}");
        assert_eq!(lookups(&b, "lookup"), 1, "{number}");
    }
}

#[tokio::test]
async fn of_many_addresses_those_are_confirmed_that_the_peer_names() {
    let world = World::start().await;
    let key = SigningKey::generate();
    let b = old(&world, "b.test", &key, Value::Object(signed(&key, &association()))).await;
    let named = json!({ "threepids": [
        ["email", "bob@b.test", BOB],
        ["email", "carol@b.test", "@carol:b.example"],
        ["email", "unasked@b.test", BOB],
    ] });
    b.set_reply(&format!("{V1}/bulk_lookup"), Reply::new(200, named.to_string()));
    let a = world.bindery("a.test", "").await;
    let asked = ["bob@b.test email", "carol@b.test email", "x@b.test email", "y@b.test email"];
    let found = a.find(&asked).await;
    // Carol is named, and what is signed is another one's.
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(found["bob@b.test email"], BOB);
    assert_eq!((lookups(&b, "bulk_lookup"), lookups(&b, "lookup")), (1, 2));
}

#[tokio::test]
async fn a_peer_that_knows_v2_is_not_asked_by_v1() {
    let world = World::start().await;
    let b = world.bindery("b.test", "api.v1.lookup = true").await;
    let a = world.bindery("a.test", "").await;
    b.bind("email", "bob@b.test", BOB).await;
    assert_eq!(a.find(&["bob@b.test email", "x@b.test email"]).await.len(), 1);
    assert!(b.seen().iter().all(|seen| !seen.path.starts_with(V1)), "{:?}", b.seen());
    assert!(b.seen().iter().all(|seen| !seen.query.contains("b.test")));
}

//! What API v1 here says of what peers have said: what is remembered, and nothing asked for it.

use std::time::Duration;

use bindery::matrix::signing::SigningKey;
use serde_json::{Value, json};

use crate::{
    signed::{association, old, signed},
    world::{Bindery, World},
};

const BOB: &str = "@bob:b.example";

/// What API v1 of `server` says of `bob@b.test`: the association, and what is found among many.
async fn by_v1(server: &Bindery) -> (Value, Value) {
    let one = server.get("/_matrix/identity/api/v1/lookup?medium=email&address=Bob@b.test").await;
    let asked = json!({ "threepids": [["email", "bob@b.test"], ["email", "x@b.test"]] });
    let mut many = server.post_v1("/bulk_lookup", &asked).await;
    (one, many["threepids"].take())
}

fn nothing() -> (Value, Value) {
    (json!({}), json!([]))
}

#[tokio::test]
async fn what_a_peer_has_signed_is_handed_on_as_it_is_and_never_asked_for() {
    let world = World::start().await;
    let key = SigningKey::generate();
    let theirs = Value::Object(signed(&key, &association()));
    let b = old(&world, "b.test", &key, theirs.clone()).await;
    let a = world.bindery("a.test", "api.v1.lookup = true").await;
    assert_eq!(by_v1(&a).await, nothing());
    assert_eq!((b.requests().len(), world.dns.queries().len()), (0, 0));
    assert_eq!(a.find(&["bob@b.test email"]).await["bob@b.test email"], BOB);
    let asked = b.requests().len();
    assert_eq!(by_v1(&a).await, (theirs, json!([["email", "bob@b.test", BOB]])));
    assert_eq!(b.requests().len(), asked);
    // It holds a millisecond longer.
    world.clock.advance(Duration::from_millis(2));
    assert_eq!(by_v1(&a).await, nothing());
    assert_eq!(b.requests().len(), asked);
}

#[tokio::test]
async fn what_a_peer_has_not_signed_is_not_handed_on() {
    let world = World::start().await;
    let key = SigningKey::generate();
    let mut forged = signed(&key, &association());
    forged.insert("mxid".to_owned(), json!("@mallory:evil.example"));
    let b = old(&world, "b.test", &key, Value::Object(forged)).await;
    let a = world.bindery("a.test", "api.v1.lookup = true").await;
    assert!(a.find(&["bob@b.test email"]).await.is_empty());
    let asked = b.requests().len();
    assert_eq!(by_v1(&a).await, nothing());
    assert_eq!(b.requests().len(), asked);
}

#[tokio::test]
async fn a_mapping_of_a_peer_is_handed_on_where_mappings_are() {
    let world = World::start().await;
    let b = world.bindery("b.test", "").await;
    let a = world.bindery("a.test", "api.v1.lookup = true").await;
    b.bind("email", "bob@b.test", BOB).await;
    assert_eq!(a.find(&["bob@b.test email"]).await["bob@b.test email"], BOB);
    let asked = b.seen().len();
    // Nobody has signed it, and this server doesn't.
    assert_eq!(by_v1(&a).await, (json!({}), json!([["email", "bob@b.test", BOB]])));
    world.clock.advance(Duration::from_hours(1));
    assert_eq!(by_v1(&a).await, nothing());
    assert_eq!(b.seen().len(), asked);
}

#[tokio::test]
async fn what_is_bound_here_goes_before_what_peers_said() {
    const HERE: &str = "@bob:a.example";
    let world = World::start().await;
    let key = SigningKey::generate();
    let _b = old(&world, "b.test", &key, Value::Object(signed(&key, &association()))).await;
    let a = world.bindery("a.test", "api.v1.lookup = true").await;
    assert_eq!(a.find(&["bob@b.test email"]).await["bob@b.test email"], BOB);
    a.bind("email", "bob@b.test", HERE).await;
    let (one, many) = by_v1(&a).await;
    assert_eq!((&one["mxid"], many), (&json!(HERE), json!([["email", "bob@b.test", HERE]])));
}

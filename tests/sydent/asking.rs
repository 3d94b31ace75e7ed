//! A Sydent that is found by DNS and asked about what Bindery doesn't know.

use serde_json::json;

use crate::{server::TERMS, world::World};

/// Has the Sydent know Carol, looks up her and somebody whom nobody knows, and answers what the
/// Sydent was asked for that.
async fn carol_is_found(world: &World) -> Vec<String> {
    let carol = world.mxid("carol");
    world.sydent.bind("carol@people.test", &carol).await;
    let alice = world.person("alice").await;
    let addresses = ["carol@people.test", "nobody@people.test", "dave@elsewhere.test"];
    let known = json!({ "carol@people.test email": carol });
    assert_eq!(alice.find(&addresses).await, known);
    let requests = asked(world);
    // Nobody asks twice.
    assert_eq!(alice.find(&addresses).await, known);
    assert_eq!(asked(world), requests);
    requests
}

/// Has the Sydent know somebody else, and looks her up.
async fn erin_is_found(world: &World) {
    let (erin, alice) = (world.mxid("erin"), world.person("alice").await);
    world.sydent.bind("erin@people.test", &erin).await;
    let found = alice.find(&["erin@people.test"]).await;
    assert_eq!(found, json!({ "erin@people.test email": erin }));
}

fn asked(world: &World) -> Vec<String> {
    world.front.requests().into_iter().map(|request| request.what).collect()
}

#[tokio::test]
async fn a_sydent_is_asked_by_hash_by_a_user_for_whom_bindery_vouches() {
    let world = World::asking(true).await;
    let requests = carol_is_found(&world).await;
    let expected = [
        "POST /_matrix/identity/v2/account/register",
        "GET /_matrix/identity/v2/hash_details",
        "POST /_matrix/identity/v2/lookup",
    ];
    assert_eq!(requests, expected);
    for request in world.front.requests() {
        assert!(!request.text.contains("@people.test"), "{}", request.text);
    }
}

#[tokio::test]
async fn a_sydent_without_v2_is_asked_by_v1_and_its_signatures_are_checked() {
    let world = World::asking(false).await;
    let requests = carol_is_found(&world).await;
    let expected = [
        "POST /_matrix/identity/v2/account/register",
        "GET /_matrix/identity/api/v1/lookup",
        "GET /_matrix/identity/api/v1/lookup",
        "GET /_matrix/identity/api/v1/pubkey/ed25519%3A0",
    ];
    assert_eq!(requests, expected);
    // From then on nothing else is tried.
    erin_is_found(&world).await;
    assert_eq!(asked(&world)[expected.len()..], ["GET /_matrix/identity/api/v1/lookup"]);
}

#[tokio::test]
async fn what_was_altered_since_a_sydent_signed_it_does_not_count() {
    let world = World::asking(false).await;
    carol_is_found(&world).await;
    world.sydent.bind("dave@people.test", &world.mxid("dave")).await;
    world.sydent.forge("@dave:", "@mallory:").await;
    let told = world.sydent.association("dave@people.test").await.unwrap();
    assert_eq!(told["mxid"], world.mxid("mallory"));
    let alice = world.person("alice").await;
    assert_eq!(alice.find(&["dave@people.test"]).await, json!({}));
    erin_is_found(&world).await;
}

#[tokio::test]
async fn what_a_sydent_says_is_nothing_that_bindery_vouches_for() {
    let world = World::asking(true).await;
    carol_is_found(&world).await;
    // Asked by v1, as peers ask, Bindery asks nobody else.
    let lookup = "/lookup?medium=email&address=carol%40people.test";
    assert_eq!(world.bindery.api_v1().get(lookup).await.ok(), json!({}));
}

#[tokio::test]
async fn a_sydent_that_has_forgotten_bindery_meets_it_again() {
    let world = World::asking(true).await;
    let before = carol_is_found(&world).await.len();
    world.sydent.forget_accounts().await;
    erin_is_found(&world).await;
    let expected = [
        "POST /_matrix/identity/v2/lookup",
        "POST /_matrix/identity/v2/account/register",
        "POST /_matrix/identity/v2/lookup",
    ];
    assert_eq!(asked(&world)[before..], expected);
}

#[tokio::test]
async fn the_new_pepper_of_a_sydent_is_taken_up() {
    let world = World::asking(true).await;
    let before = carol_is_found(&world).await.len();
    world.sydent.change_pepper().await;
    erin_is_found(&world).await;
    // It says in its refusal which one to use.
    let lookup = "POST /_matrix/identity/v2/lookup";
    assert_eq!(asked(&world)[before..], [lookup, lookup]);
}

#[tokio::test]
async fn the_terms_of_a_sydent_are_accepted_by_the_operator_and_nobody_else() {
    let world = World::asking(true).await;
    carol_is_found(&world).await;
    world.sydent.introduce_terms().await;
    let (alice, dave) = (world.person("alice").await, world.mxid("dave"));
    world.sydent.bind("dave@people.test", &dave).await;
    assert_eq!(alice.find(&["dave@people.test"]).await, json!({}));

    let shown = world.bindery.command(&["peers", "terms", "people.test"]).await;
    assert!(shown.contains(TERMS), "{shown}");
    world.bindery.command(&["peers", "terms", "people.test", "--accept"]).await;
    erin_is_found(&world).await;
}

#[tokio::test]
async fn the_operator_sees_how_a_sydent_is_found_and_asked() {
    let world = World::asking(true).await;
    let checked = world.bindery.command(&["peers", "check", "people.test"]).await;
    assert!(checked.contains("speaks API v2 and v1"), "{checked}");
    let carol = world.mxid("carol");
    world.sydent.bind("carol@people.test", &carol).await;
    let found = world.bindery.command(&["peers", "lookup", "email", "carol@people.test"]).await;
    assert!(found.contains(&carol), "{found}");
}

#[tokio::test]
async fn a_sydent_that_the_operator_names_is_asked_about_phone_numbers_too() {
    let world = World::forwarding().await;
    let (alice, carol) = (world.person("alice").await, world.mxid("carol"));
    world.sydent.bind_any("msisdn", "447700900001", &carol).await;
    world.sydent.bind("carol@elsewhere.test", &carol).await;
    let texts = ["447700900001 msisdn", "447700900002 msisdn", "carol@elsewhere.test email"];
    let found = alice.find_any(&texts.map(str::to_owned)).await;
    assert_eq!(found, json!({ (texts[0]): carol, (texts[2]): carol }));
}

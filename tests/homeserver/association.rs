//! Binding and unbinding by way of the homeserver.

use serde_json::json;

use crate::world::World;

#[tokio::test]
async fn an_address_that_the_homeserver_had_bound_is_found() {
    let world = World::start().await;
    let (alice, bob) = (world.person("alice").await, world.person("bob").await);
    assert_eq!(bob.find("alice@people.test").await, None);
    alice.own("alice@people.test").await;
    assert_eq!(bob.find("alice@people.test").await.as_deref(), Some("@alice:hs.test"));
}

#[tokio::test]
async fn what_was_begun_outlives_restarts_and_crashes() {
    let world = World::start().await;
    let alice = world.person("alice").await;
    world.bindery.crash().await;
    let session = alice.ask_for_mail("alice@people.test").await;
    world.bindery.restart().await;
    world.open_mailed_link("alice@people.test").await;
    world.bindery.crash().await;
    alice.bind(&session).await.ok();
    world.bindery.crash().await;
    assert_eq!(alice.find("alice@people.test").await.as_deref(), Some("@alice:hs.test"));
}

#[tokio::test]
async fn an_address_that_was_not_proved_is_not_bound() {
    let world = World::start().await;
    let alice = world.person("alice").await;
    let session = alice.ask_for_mail("alice@people.test").await;
    alice.bind(&session).await.refused(400, "M_SESSION_NOT_VALIDATED");
    world.open_mailed_link("alice@people.test").await;
    alice.bind(&session.with_secret("guessed")).await.refused(404, "M_NO_VALID_SESSION");
    assert_eq!(alice.find("alice@people.test").await, None);
}

#[tokio::test]
async fn an_address_that_the_homeserver_had_unbound_is_found_no_more() {
    let world = World::start().await;
    let (alice, bob) = (world.person("alice").await, world.person("bob").await);
    alice.own("alice@people.test").await;
    let unbound = alice.unbind("alice@people.test").await.ok();
    assert_eq!(unbound, json!({ "id_server_unbind_result": "success" }));
    assert_eq!(bob.find("alice@people.test").await, None);
    // Whoever gets the address next can bind it.
    bob.own("alice@people.test").await;
    assert_eq!(alice.find("alice@people.test").await.as_deref(), Some("@bob:hs.test"));
}

#[tokio::test]
async fn nobody_unbinds_the_address_of_another() {
    let world = World::start().await;
    let (alice, bob) = (world.person("alice").await, world.person("bob").await);
    alice.own("alice@people.test").await;
    bob.unbind("alice@people.test").await.ok();
    assert_eq!(bob.find("alice@people.test").await.as_deref(), Some("@alice:hs.test"));
}

#[tokio::test]
async fn who_leaves_the_homeserver_leaves_no_binding_behind() {
    let world = World::start().await;
    let (alice, bob) = (world.person("alice").await, world.person("bob").await);
    alice.own("alice@people.test").await;
    alice.own("alice@work.test").await;
    let left = alice.leave_homeserver().await.ok();
    assert_eq!(left, json!({ "id_server_unbind_result": "success" }));
    assert_eq!(bob.find("alice@people.test").await, None);
    assert_eq!(bob.find("alice@work.test").await, None);
}

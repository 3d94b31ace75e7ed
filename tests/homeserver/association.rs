//! Binding and unbinding by way of the homeserver.

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

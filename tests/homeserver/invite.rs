//! Inviting people by their address, by way of the homeserver.

use crate::world::World;

#[tokio::test]
async fn who_is_behind_an_address_is_invited_like_any_user() {
    let world = World::start().await;
    let (alice, bob) = (world.person("alice").await, world.person("bob").await);
    alice.own("alice@people.test").await;
    let room = bob.open_room("Tea").await;
    bob.invite("alice@people.test", &room).await.ok();
    assert_eq!(alice.inviter(&room).await.as_deref(), Some("@bob:hs.test"));
}

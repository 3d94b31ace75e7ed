//! Who a user of the homeserver is to Bindery.

use serde_json::json;

use crate::world::World;

#[tokio::test]
async fn a_user_of_the_homeserver_gets_an_account() {
    let world = World::start().await;
    let alice = world.person("alice").await;
    let account = alice.identity.get("/account").await.ok();
    assert_eq!(account, json!({ "user_id": "@alice:hs.test" }));
}

#[tokio::test]
async fn a_token_that_the_homeserver_did_not_give_brings_no_account() {
    let world = World::start().await;
    let alice = world.newcomer("alice").await;
    let mut openid_token = alice.openid_token().await;
    openid_token["access_token"] = json!("made-up");
    world.identity().post("/account/register", openid_token).await.refused(401, "M_UNAUTHORIZED");
    // Nor does one that the homeserver gave for other purposes.
    let mut openid_token = alice.openid_token().await;
    openid_token["access_token"] = json!(alice.homeserver.token);
    world.identity().post("/account/register", openid_token).await.refused(401, "M_UNAUTHORIZED");
}

#[tokio::test]
async fn whoever_owes_terms_gets_nothing_by_way_of_the_homeserver() {
    let world = World::with(
        "[terms.privacy]\nversion = '1'\n\
         en = { name = 'Privacy', url = 'https://id.test/privacy-1.en' }\n\
         de = { name = 'Datenschutz', url = 'https://id.test/privacy-1.de' }",
    )
    .await;
    let (alice, bob) = (world.person("alice").await, world.person("bob").await);
    let terms = world.identity().get("/terms").await.ok();
    let agreed = json!({ "user_accepts": [terms["policies"]["privacy"]["en"]["url"]] });
    alice.identity.post("/terms", agreed.clone()).await.ok();
    alice.own("alice@people.test").await;

    let room = bob.open_room("Tea").await;
    bob.identity.get("/account").await.refused(403, "M_TERMS_NOT_SIGNED");
    let session = alice.prove("bob@people.test").await;
    bob.bind(&session).await.refused(403, "M_TERMS_NOT_SIGNED");
    // The homeserver tells nothing of why it can't.
    bob.invite("alice@people.test", &room).await.refused(500, "M_UNKNOWN");
    assert_eq!(alice.inviter(&room).await, None);

    bob.identity.post("/terms", agreed).await.ok();
    bob.bind(&session).await.ok();
    bob.invite("alice@people.test", &room).await.ok();
    assert_eq!(alice.inviter(&room).await.as_deref(), Some("@bob:hs.test"));
}

#[tokio::test]
async fn while_the_homeserver_is_away_it_can_be_tried_again_later() {
    let world = World::start().await;
    let mut alice = world.newcomer("alice").await;
    let openid_token = alice.openid_token().await;
    world.synapse.kill().await;
    let registered = world.identity().post("/account/register", openid_token).await;
    registered.refused(502, "M_UNKNOWN");
    world.synapse.start_again().await;
    alice.introduce().await;
    alice.identity.get("/account").await.ok();
}

//! Phone numbers: the homeserver has its own validated by Bindery (`account_threepid_delegates`),
//! and Bindery's are bound by way of the homeserver.

use serde_json::json;

use crate::world::World;

/// As somebody in Britain types it, in the range that is kept free for films.
const TYPED: &str = "07700 900123";
/// The same as it is known to everyone.
const NUMBER: &str = "447700900123";

#[tokio::test]
async fn a_number_that_was_proved_to_bindery_becomes_the_accounts() {
    let world = World::start().await;
    let alice = world.newcomer("alice").await;
    let asked = alice.ask_homeserver_for_text("GB", TYPED).await;
    assert_eq!(asked.answer["msisdn"], NUMBER);
    assert_eq!(asked.answer["intl_fmt"], "+44 7700 900123");
    assert_eq!(asked.answer["success"], true);

    // Before the code was given back, the homeserver adds nothing.
    alice.add(&asked.session).await.refused(400, "M_THREEPID_AUTH_FAILED");
    let submitted = asked.submit(&world.texted_code(NUMBER)).await.ok();
    assert_eq!(submitted, json!({ "success": true }));
    assert_eq!(alice.add(&asked.session).await.ok(), json!({}));

    let threepids = alice.homeserver.get("/account/3pid").await.ok();
    assert_eq!(threepids["threepids"][0]["medium"], "msisdn", "{threepids}");
    assert_eq!(threepids["threepids"][0]["address"], NUMBER, "{threepids}");
    // It is the homeserver's alone: nobody finds her by it.
    let bob = world.person("bob").await;
    assert_eq!(bob.find_by_phone(NUMBER).await, None);
    let login = alice.log_in_by_phone(NUMBER).await.ok();
    assert_eq!(login["user_id"], "@alice:hs.test");
}

#[tokio::test]
async fn a_guessed_code_brings_no_number() {
    let world = World::start().await;
    let mallory = world.newcomer("mallory").await;
    let asked = mallory.ask_homeserver_for_text("GB", TYPED).await;
    let code = world.texted_code(NUMBER);
    let guess = if code == "123456" { "654321" } else { "123456" };
    // The homeserver tells nothing of why it can't.
    asked.submit(guess).await.refused(400, "M_UNKNOWN");
    mallory.add(&asked.session).await.refused(400, "M_THREEPID_AUTH_FAILED");
    let threepids = mallory.homeserver.get("/account/3pid").await.ok();
    assert_eq!(threepids, json!({ "threepids": [] }));
}

#[tokio::test]
async fn a_number_that_is_none_is_refused_through_the_homeserver() {
    let world = World::start().await;
    let alice = world.newcomer("alice").await;
    let body = json!({
        "country": "GB", "phone_number": "12", "client_secret": "secret", "send_attempt": 1,
    });
    let refused = alice.homeserver.post("/account/3pid/msisdn/requestToken", body).await;
    refused.refused(400, "M_INVALID_ADDRESS");
}

#[tokio::test]
async fn a_number_that_the_homeserver_had_bound_is_found_until_it_is_unbound() {
    let world = World::start().await;
    let (alice, bob) = (world.person("alice").await, world.person("bob").await);
    let session = alice.prove_phone("GB", TYPED, NUMBER).await;
    assert_eq!(alice.bind(&session).await.ok(), json!({}));
    assert_eq!(bob.find_by_phone(NUMBER).await.as_deref(), Some("@alice:hs.test"));
    let unbound = alice.unbind_phone(NUMBER).await.ok();
    assert_eq!(unbound, json!({ "id_server_unbind_result": "success" }));
    assert_eq!(bob.find_by_phone(NUMBER).await, None);
}

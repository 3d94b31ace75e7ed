//! How a peer is spoken to: tokens, peppers, terms, limits.

use std::time::Duration;

use bindery::store::{StoreError, Tx, peer_terms};
use serde_json::json;

use crate::{
    homeserver::Reply,
    world::{V2, World},
};

const BOB: &str = "@bob:b.example";

#[tokio::test]
async fn a_new_pepper_and_a_dead_token_are_renewed() {
    let world = World::start().await;
    let b = world.bindery("b.test", "").await;
    let a = world.bindery("a.test", "").await;
    for address in ["one@b.test", "two@b.test", "three@b.test"] {
        b.bind("email", address, BOB).await;
    }
    let found = async |text: &str| a.find(&[text]).await.remove(text);
    assert_eq!(found("one@b.test email").await.as_deref(), Some(BOB));
    b.database.execute("DELETE FROM access_tokens");
    assert_eq!(found("two@b.test email").await.as_deref(), Some(BOB));
    assert_eq!((b.count("/account/register"), b.count("/hash_details")), (2, 1));
    world.clock.advance(Duration::from_hours(24 * 60));
    bindery::worker::round(&b.app).await;
    assert_eq!(found("three@b.test email").await.as_deref(), Some(BOB));
    // The refusal says the new one.
    assert_eq!((b.count("/account/register"), b.count("/hash_details")), (2, 1));
    assert_eq!(b.count("/v2/lookup"), 5);
}

#[tokio::test]
async fn a_peer_with_terms_is_asked_once_the_operator_has_accepted_them() {
    const URL: &str = "https://id.b.test/terms-1.en";
    let world = World::start().await;
    let terms = format!(
        "[terms.privacy]\nversion = '1'\n[terms.privacy.en]\nname = 'Privacy'\nurl = '{URL}'"
    );
    let b = world.bindery("b.test", &terms).await;
    let a = world.bindery("a.test", "").await;
    b.bind("email", "bob@b.test", BOB).await;
    assert!(a.find(&["bob@b.test email"]).await.is_empty());
    assert_eq!(b.count("/v2/lookup"), 0);
    let (peer, url) = (b.url.clone(), URL.to_owned());
    let accept = move |tx: &mut Tx<'_>| peer_terms::accept(tx, &peer, &[url], 0);
    a.app.store.write::<_, StoreError>(accept).await.unwrap();
    world.clock.advance(Duration::from_secs(30));
    assert_eq!(a.find(&["bob@b.test email"]).await["bob@b.test email"], BOB);
}

#[tokio::test]
async fn a_peer_that_was_asked_too_much_is_left_alone_for_as_long_as_it_says() {
    let world = World::start().await;
    let b = world.fake("b.test").await;
    let register = format!("{V2}/account/register");
    let refusal = json!({ "errcode": "M_LIMIT_EXCEEDED", "retry_after_ms": 120_000 });
    b.set_reply(&register, Reply::new(429, refusal.to_string()));
    let a = world.bindery("a.test", "").await;
    a.find(&["one@b.test email"]).await;
    a.find(&["two@b.test email"]).await;
    assert_eq!(b.requests().len(), 1);
    world.clock.advance(Duration::from_secs(119));
    a.find(&["one@b.test email"]).await;
    assert_eq!(b.requests().len(), 1);
    world.clock.advance(Duration::from_secs(31));
    a.find(&["one@b.test email"]).await;
    assert_eq!(b.requests().len(), 2);
}

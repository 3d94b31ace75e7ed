//! Peers that speak API v2 but not with this server, and what monitoring reads of peers.

use std::time::Duration;

use bindery::store::{StoreError, Tx, peer_terms};
use serde_json::json;

use crate::{
    homeserver::Reply,
    world::{Bindery, V2, World},
};

const BOB: &str = "@bob:b.example";

/// Whether monitoring of `server` reads these lines.
async fn reads(server: &Bindery, lines: &[&str]) {
    let text = server.text("/metrics").await;
    for line in lines {
        assert!(text.lines().any(|found| found == *line), "{line}: {text}");
    }
}

#[tokio::test]
async fn a_peer_that_lets_this_server_in_by_no_other_is_asked_by_v1() {
    let world = World::start().await;
    let members_only = "api.v1.lookup = true\naccounts.homeservers = ['hs.b.example']";
    let b = world.bindery("b.test", members_only).await;
    let a = world.bindery("a.test", "").await;
    for address in ["bob@b.test", "bert@b.test", "bill@b.test"] {
        b.bind("email", address, BOB).await;
    }
    assert_eq!(a.find(&["bob@b.test email"]).await["bob@b.test email"], BOB);
    assert_eq!((b.count("/account/register"), b.count("/api/v1/lookup")), (1, 1));
    // That is remembered for an hour.
    world.clock.advance(Duration::from_mins(59));
    assert_eq!(a.find(&["bert@b.test email"]).await["bert@b.test email"], BOB);
    assert_eq!((b.count("/account/register"), b.count("/api/v1/lookup")), (1, 2));
    world.clock.advance(Duration::from_mins(1));
    assert_eq!(a.find(&["bill@b.test email"]).await["bill@b.test email"], BOB);
    assert_eq!((b.count("/account/register"), b.count("/api/v1/lookup")), (2, 3));
    let lines = [
        "bindery_peer_questions_total{api=\"v2\",outcome=\"refused\"} 2",
        "bindery_peer_questions_total{api=\"v1\",outcome=\"answered\"} 3",
    ];
    reads(&a, &lines).await;
}

#[tokio::test]
async fn a_peer_that_fails_or_wants_a_pause_is_not_asked_by_v1() {
    let world = World::start().await;
    let a = world.bindery("a.test", "").await;
    let limit = json!({ "errcode": "M_LIMIT_EXCEEDED", "retry_after_ms": 5000 }).to_string();
    for (domain, reply) in [
        ("broken.test", Reply::new(500, "{}")),
        ("nonsense.test", Reply::new(200, "<html>")),
        ("busy.test", Reply::new(429, limit)),
    ] {
        let peer = world.fake(domain).await;
        peer.set_reply(&format!("{V2}/account/register"), reply);
        assert!(a.find(&[&format!("x@{domain} email")]).await.is_empty());
        let paths: Vec<_> = peer.requests().into_iter().map(|request| request.target).collect();
        assert_eq!(paths, [format!("{V2}/account/register")]);
    }
}

#[tokio::test]
async fn a_peer_whose_terms_nobody_accepted_is_well_and_asked_as_soon_as_they_are() {
    const URL: &str = "https://id.b.test/terms-1.en";
    let world = World::start().await;
    let terms = format!(
        "api.v1.lookup = true\n[terms.privacy]\nversion = '1'\n[terms.privacy.en]\n\
         name = 'Privacy'\nurl = '{URL}'"
    );
    let b = world.bindery("b.test", &terms).await;
    let a = world.bindery("a.test", "").await;
    b.bind("email", "bob@b.test", BOB).await;
    for number in 0..5 {
        assert!(a.find(&[&format!("x{number}@b.test email")]).await.is_empty());
    }
    // It said so once, and isn't asked in vain again, nor in plain.
    let asked = b.seen().len();
    assert_eq!((b.count("/account/register"), b.count("/v2/terms")), (1, 1));
    assert_eq!((b.count("/v2/lookup"), b.count("/api/v1/lookup")), (0, 0));
    let (peer, url) = (b.url.clone(), URL.to_owned());
    let accept = move |tx: &mut Tx<'_>| peer_terms::accept(tx, &peer, &[url], 0);
    a.app.store.write::<_, StoreError>(accept).await.unwrap();
    assert_eq!(b.seen().len(), asked);
    assert_eq!(a.find(&["bob@b.test email"]).await["bob@b.test email"], BOB);
    let lines = [
        "bindery_peer_questions_total{api=\"v2\",outcome=\"terms\"} 5",
        "bindery_peer_questions_total{api=\"v2\",outcome=\"answered\"} 1",
        "bindery_peer_questions_skipped_total 0",
    ];
    reads(&a, &lines).await;
}

#[tokio::test]
async fn terms_that_are_gone_after_an_hour_need_nobody_to_accept_them() {
    let world = World::start().await;
    let b = world.fake("b.test").await;
    let policies = json!({ "policies": { "privacy": {
        "version": "1", "en": { "name": "Privacy", "url": "https://id.b.test/1" } } } });
    b.set_reply(&format!("{V2}/account/register"), Reply::new(200, r#"{"token":"secret"}"#));
    b.set_reply(&format!("{V2}/terms"), Reply::new(200, policies.to_string()));
    let refusal = Reply::new(403, r#"{"errcode":"M_TERMS_NOT_SIGNED"}"#);
    b.set_reply(&format!("{V2}/hash_details"), refusal);
    let a = world.bindery("a.test", "").await;
    a.find(&["x1@b.test email"]).await;
    let details = json!({ "lookup_pepper": "pepper", "algorithms": ["sha256"] });
    b.set_reply(&format!("{V2}/hash_details"), Reply::new(200, details.to_string()));
    b.set_reply(&format!("{V2}/lookup"), Reply::new(200, r#"{"mappings":{}}"#));
    let lookups = || b.requests().iter().filter(|it| it.target.ends_with("/lookup")).count();
    a.find(&["x2@b.test email"]).await;
    assert_eq!(lookups(), 0);
    world.clock.advance(Duration::from_hours(1));
    a.find(&["x3@b.test email"]).await;
    assert_eq!(lookups(), 1);
}

#[tokio::test]
async fn monitoring_reads_what_became_of_questions_and_how_much_is_remembered() {
    let world = World::start().await;
    let b = world.bindery("b.test", "").await;
    let broken = world.fake("broken.test").await;
    broken.set_reply(&format!("{V2}/account/register"), Reply::new(500, "{}"));
    let a = world.bindery("a.test", "").await;
    b.bind("email", "bob@b.test", BOB).await;
    reads(&a, &["bindery_peer_addresses_total{outcome=\"found\"} 0", "bindery_peers 0"]).await;
    a.find(&["bob@b.test email", "x@b.test email", "x@a.test email"]).await;
    a.find(&["bob@b.test email"]).await;
    for number in 0..4 {
        a.find(&[&format!("x{number}@broken.test email")]).await;
    }
    let lines = [
        "bindery_peer_questions_total{api=\"v2\",outcome=\"answered\"} 1",
        "bindery_peer_questions_total{api=\"v2\",outcome=\"failed\"} 3",
        "bindery_peer_questions_skipped_total 1",
        "bindery_peer_addresses_total{outcome=\"asked\"} 7",
        "bindery_peer_addresses_total{outcome=\"found\"} 1",
        "bindery_peer_addresses_total{outcome=\"remembered\"} 1",
        "bindery_peer_discoveries_total{outcome=\"found\"} 5",
        "bindery_peer_discoveries_total{outcome=\"ourselves\"} 1",
        "bindery_peer_answers 7",
        "bindery_peers 2",
        "bindery_peer_domains 3",
    ];
    reads(&a, &lines).await;
    // Nothing is told of who they are.
    assert!(!a.text("/metrics").await.contains("b.test"));
}

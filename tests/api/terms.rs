//! The terms that people accept before they use the server.

use serde_json::{Value, json};

use crate::harness::{Answer, Caller, Session, TestApp};

const TERMS: &str = "
[limits]
enabled = false
[terms.privacy]
version = '1.2'
en = { name = 'Privacy policy', url = 'https://example.org/privacy-1.2.en' }
fr = { name = 'Politique de confidentialité', url = 'https://example.org/privacy-1.2.fr' }
[terms.conduct]
version = '2.0'
de-AT = { name = 'Verhaltensregeln', url = 'https://example.org/conduct-2.0.de' }
";

const PRIVACY: &str = "https://example.org/privacy-1.2.en";
const PRIVACY_FR: &str = "https://example.org/privacy-1.2.fr";
const CONDUCT: &str = "https://example.org/conduct-2.0.de";

async fn accept(caller: &Caller<'_>, urls: &[&str]) -> Answer {
    caller.post("/terms", json!({ "user_accepts": urls })).await
}

async fn is_gated(caller: &Caller<'_>) -> bool {
    let answer = caller.get("/account").await;
    if answer.status == 200 {
        return false;
    }
    answer.refused(403, "M_TERMS_NOT_SIGNED");
    true
}

#[tokio::test]
async fn anybody_may_read_the_terms() {
    let app = TestApp::with(TERMS).await;
    let expected = json!({ "policies": {
        "privacy": {
            "version": "1.2",
            "en": { "name": "Privacy policy", "url": PRIVACY },
            "fr": { "name": "Politique de confidentialité", "url": PRIVACY_FR },
        },
        "conduct": {
            "version": "2.0",
            "de-AT": { "name": "Verhaltensregeln", "url": CONDUCT },
        },
    } });
    assert_eq!(app.stranger().get("/terms").await.ok(), expected);
}

#[tokio::test]
async fn without_terms_nobody_owes_any() {
    let app = TestApp::start().await;
    assert_eq!(app.stranger().get("/terms").await.ok(), json!({ "policies": {} }));
    let alice = app.account("@alice:hs.example").await;
    assert!(!is_gated(&alice).await);
    assert_eq!(accept(&alice, &[PRIVACY]).await.ok(), json!({}));
}

/// Requests to all endpoints that are gated.
fn gated() -> Vec<(&'static str, &'static str, Value)> {
    let session = json!({ "sid": "s", "client_secret": "c", "token": "t" });
    vec![
        ("GET", "/account", json!({})),
        ("GET", "/hash_details", json!({})),
        ("POST", "/lookup", json!({ "algorithm": "sha256", "pepper": "p", "addresses": [] })),
        (
            "POST",
            "/validate/email/requestToken",
            json!({ "email": "a@example.org", "client_secret": "c", "send_attempt": 1 }),
        ),
        ("POST", "/validate/email/submitToken", session.clone()),
        ("GET", "/3pid/getValidated3pid?sid=s&client_secret=c", json!({})),
        (
            "POST",
            "/3pid/bind",
            json!({ "sid": "s", "client_secret": "c", "mxid": "@alice:hs.example" }),
        ),
        (
            "POST",
            "/store-invite",
            json!({ "medium": "email", "address": "a@example.org", "room_id": "!r:hs.example",
                    "sender": "@alice:hs.example" }),
        ),
        (
            "POST",
            "/sign-ed25519",
            json!({ "mxid": "@alice:hs.example", "token": "t", "private_key": "x" }),
        ),
    ]
}

/// Requests to all endpoints that aren't, logging out last.
fn exempt() -> Vec<(&'static str, &'static str, Value)> {
    let threepid = json!({ "medium": "email", "address": "a@example.org" });
    vec![
        ("GET", "/_matrix/identity/versions", json!({})),
        ("GET", "", json!({})),
        ("POST", "/account/register", json!({})),
        ("GET", "/terms", json!({})),
        ("POST", "/terms", json!({})),
        ("GET", "/pubkey/ed25519:1", json!({})),
        ("GET", "/pubkey/isvalid?public_key=x", json!({})),
        ("GET", "/pubkey/ephemeral/isvalid?public_key=x", json!({})),
        ("GET", "/validate/email/submitToken?sid=s&client_secret=c&token=t", json!({})),
        (
            "POST",
            "/3pid/unbind",
            json!({ "mxid": "@alice:hs.example", "threepid": threepid, "sid": "s",
                    "client_secret": "c" }),
        ),
        ("POST", "/validate/email/confirmToken", json!({})),
        ("GET", "/", json!({})),
        ("GET", "/metrics", json!({})),
        ("GET", "/_matrix/identity/api/v1", json!({})),
        ("GET", "/.well-known/matrix/server", json!({})),
        ("GET", "/.well-known/matrix/client", json!({})),
        ("GET", "/_matrix/federation/v1/openid/userinfo", json!({})),
        ("GET", "/_matrix/identity/api/v1/pubkey/ephemeral/isvalid?public_key=x", json!({})),
        ("GET", "/_matrix/identity/api/v1/pubkey/isvalid?public_key=x", json!({})),
        ("GET", "/_matrix/identity/api/v1/pubkey/ed25519:1", json!({})),
        ("GET", "/_matrix/identity/api/v1/lookup", json!({})),
        ("POST", "/_matrix/identity/api/v1/bulk_lookup", json!({})),
        ("POST", "/_matrix-internal/identity/v1/check_credentials", json!({})),
        ("GET", "/health/live", json!({})),
        ("GET", "/health/ready", json!({})),
        ("POST", "/account/logout", json!({})),
    ]
}

async fn ask(caller: &Caller<'_>, (method, path, body): &(&str, &str, Value)) -> Answer {
    let request = caller.request(method, path);
    crate::harness::answer(if *method == "POST" { request.json(body) } else { request }).await
}

#[tokio::test]
async fn who_owes_terms_can_use_exactly_what_needs_none() {
    let app = TestApp::with(TERMS).await;
    let alice = app.account("@alice:hs.example").await;
    for request in gated() {
        ask(&alice, &request).await.refused(403, "M_TERMS_NOT_SIGNED");
        // Who they are comes first.
        ask(&app.stranger(), &request).await.refused(401, "M_UNAUTHORIZED");
        ask(&app.holder("unknown"), &request).await.refused(401, "M_UNAUTHORIZED");
    }
    for request in exempt() {
        let answer = ask(&alice, &request).await;
        assert!(!answer.body.contains("M_TERMS_NOT_SIGNED"), "{request:?}");
        assert_ne!(answer.status, 403, "{request:?}");
    }
    // Every method of every path is in one of the two lists.
    let routes = include_str!("../../src/http.rs");
    let count = routes.matches("get().to(").count() + routes.matches("post().to(").count();
    // What neighbours push to has a listener of its own, and where passwords are asked about can have
    // one as well; two paths are the homeserver's to answer.
    assert_eq!(gated().len() + exempt().len(), count - 4);
}

#[tokio::test]
async fn who_accepted_the_terms_is_let_in_everywhere() {
    let app = TestApp::with(TERMS).await;
    let alice = app.account("@alice:hs.example").await;
    assert_eq!(accept(&alice, &[PRIVACY, CONDUCT]).await.ok(), json!({}));
    for request in gated() {
        let answer = ask(&alice, &request).await;
        assert!(!answer.body.contains("M_TERMS_NOT_SIGNED"), "{request:?}");
    }
}

#[tokio::test]
async fn a_policy_is_accepted_by_its_text_in_any_language() {
    let app = TestApp::with(TERMS).await;
    let alice = app.account("@alice:hs.example").await;
    accept(&alice, &[PRIVACY_FR, CONDUCT]).await.ok();
    assert!(!is_gated(&alice).await);
}

#[tokio::test]
async fn what_is_accepted_later_is_added_to_what_was_accepted_before() {
    let app = TestApp::with(TERMS).await;
    let alice = app.account("@alice:hs.example").await;
    accept(&alice, &[PRIVACY]).await.ok();
    assert!(is_gated(&alice).await);
    accept(&alice, &[]).await.ok();
    accept(&alice, &[CONDUCT, CONDUCT]).await.ok();
    assert!(!is_gated(&alice).await);
    // Saying it again takes nothing back.
    accept(&alice, &[CONDUCT]).await.ok();
    assert!(!is_gated(&alice).await);
}

#[tokio::test]
async fn urls_of_no_current_policy_are_passed_over() {
    let app = TestApp::with(TERMS).await;
    let alice = app.account("@alice:hs.example").await;
    let almost = format!("{CONDUCT}/");
    let long = format!("https://example.org/{}", "x".repeat(50_000));
    accept(&alice, &["https://example.org/old", "nonsense", "\0", "", &almost, &long]).await.ok();
    assert!(is_gated(&alice).await);
    accept(&alice, &["https://example.org/old", PRIVACY, CONDUCT]).await.ok();
    assert!(!is_gated(&alice).await);
}

#[tokio::test]
async fn a_new_version_has_to_be_accepted_again() {
    let app = TestApp::with(TERMS).await;
    let alice = app.account("@alice:hs.example").await;
    accept(&alice, &[PRIVACY, CONDUCT]).await.ok();
    let newer =
        TERMS.replace("version = '1.2'", "version = '1.3'").replace("privacy-1.2", "privacy-1.3");
    let updated = app.beside(&newer).await;
    let alice = updated.holder(alice.token.as_deref().unwrap());
    assert!(is_gated(&alice).await);
    accept(&alice, &[PRIVACY, CONDUCT]).await.ok();
    assert!(is_gated(&alice).await);
    accept(&alice, &["https://example.org/privacy-1.3.en"]).await.ok();
    assert!(!is_gated(&alice).await);
}

#[tokio::test]
async fn terms_are_accepted_by_a_user_and_not_by_a_token() {
    let app = TestApp::with(TERMS).await;
    let (phone, laptop) =
        (app.account("@alice:hs.example").await, app.account("@alice:hs.example").await);
    let bob = app.account("@bob:hs.example").await;
    accept(&phone, &[PRIVACY, CONDUCT]).await.ok();
    assert!(!is_gated(&laptop).await);
    assert!(is_gated(&bob).await);
    // Logging out forgets the token, not the consent.
    phone.post("/account/logout", json!({})).await.ok();
    assert!(!is_gated(&app.account("@alice:hs.example").await).await);
}

#[tokio::test]
async fn accepting_takes_a_token_and_a_list_of_urls() {
    let app = TestApp::with(TERMS).await;
    accept(&app.stranger(), &[PRIVACY]).await.refused(401, "M_UNAUTHORIZED");
    accept(&app.holder("unknown"), &[PRIVACY]).await.refused(401, "M_UNAUTHORIZED");
    let alice = app.account("@alice:hs.example").await;
    for body in [json!({}), json!({ "user_accepts": null })] {
        alice.post("/terms", body).await.refused(400, "M_MISSING_PARAMS");
    }
    for list in [json!(PRIVACY), json!([1]), json!([null]), json!({ "0": PRIVACY })] {
        let body = json!({ "user_accepts": list });
        alice.post("/terms", body).await.refused(400, "M_INVALID_PARAM");
    }
    assert!(is_gated(&alice).await);
}

#[tokio::test]
async fn a_user_who_accepts_many_times_at_the_same_moment_is_let_in() {
    let policy = |number| {
        let url = format!("https://example.org/{number}");
        let text =
            format!("[terms.p{number}]\nversion = '1'\nen = {{ name = 'P', url = '{url}' }}\n");
        (url, text)
    };
    let (urls, texts): (Vec<String>, Vec<String>) = (0..10).map(policy).unzip();
    let app = TestApp::with(&texts.concat()).await;
    let alice = app.account("@alice:hs.example").await;
    let forward: Vec<&str> = urls.iter().map(String::as_str).collect();
    let backward: Vec<&str> = forward.iter().rev().copied().collect();
    let accepting = (0..10).map(|n| accept(&alice, if n % 2 == 0 { &forward } else { &backward }));
    for answer in futures_util::future::join_all(accepting).await {
        answer.ok();
    }
    assert!(!is_gated(&alice).await);
}

#[tokio::test]
async fn an_address_can_be_unbound_while_terms_are_owed() {
    let app = TestApp::with(TERMS).await;
    let alice = app.account("@alice:hs.example").await;
    accept(&alice, &[PRIVACY, CONDUCT]).await.ok();
    let Session { sid, client_secret } =
        alice.validated("alice@example.org", "alice@example.org").await;
    let newer = TERMS.replace("privacy-1.2", "privacy-1.3");
    let updated = app.beside(&newer).await;
    let alice = updated.holder(alice.token.as_deref().unwrap());
    assert!(is_gated(&alice).await);
    let threepid = json!({ "medium": "email", "address": "alice@example.org" });
    let body = json!({ "mxid": "@alice:hs.example", "threepid": threepid, "sid": sid,
                       "client_secret": client_secret });
    assert_eq!(alice.post("/3pid/unbind", body).await.ok(), json!({}));
}

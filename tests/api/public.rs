//! What anybody may ask.

use serde_json::{Value, json};

use crate::harness::{PUBLIC_KEY, TestApp};

/// A key that signed before; its seed is 32 times the byte 0, its public half has both characters
/// in which the base64 alphabets differ.
const RETIRED: &str = "ed25519 0 AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\n";
const RETIRED_PUBLIC: &str = "O2onvM62pC1io6jQKm8Nc2UyFXcd4kOmOsBIoYtZ2ik";

async fn is_valid(app: &TestApp, key: &str) -> Value {
    app.stranger().get(&format!("/pubkey/isvalid?public_key={key}")).await.ok()
}

fn valid(valid: bool) -> Value {
    json!({ "valid": valid })
}

#[tokio::test]
async fn the_versions_of_the_specification_are_named() {
    let app = TestApp::start().await;
    let answer = app.stranger().get("/_matrix/identity/versions").await.ok();
    let versions = answer["versions"].as_array().unwrap();
    assert_eq!(versions.first(), Some(&json!("r0.3.0")));
    let numbered = (1..=19).map(|minor| json!(format!("v1.{minor}")));
    assert_eq!(versions[1..], numbered.collect::<Vec<_>>());
    assert_eq!(answer.as_object().unwrap().len(), 1);
}

#[tokio::test]
async fn the_ping_of_clients_is_answered() {
    let app = TestApp::start().await;
    assert_eq!(app.stranger().get("/_matrix/identity/v2").await.ok(), json!({}));
    // Whoever sends a token is no worse off, whether or not it is good.
    assert_eq!(app.holder("unknown").get("/_matrix/identity/v2").await.ok(), json!({}));
}

#[tokio::test]
async fn a_key_is_served_by_its_id() {
    let app = TestApp::start().await;
    for path in ["/pubkey/ed25519:1", "/pubkey/ed25519%3A1", "/pubkey/ed25519%3a1"] {
        assert_eq!(app.stranger().get(path).await.ok(), json!({ "public_key": PUBLIC_KEY }));
    }
}

#[tokio::test]
async fn an_unknown_key_is_not_found() {
    let app = TestApp::start().await;
    for id in ["ed25519:0", "ed25519:", "1", "ED25519:1", "ed25519:1%20", "%00", "%FF", "a%2Fb"] {
        app.stranger().get(&format!("/pubkey/{id}")).await.refused(404, "M_NOT_FOUND");
    }
    for path in ["/pubkey", "/pubkey/", "/pubkey/ed25519:1/", "/pubkey/ed25519/1"] {
        let answer = app.stranger().get(path).await;
        let errcode = answer.json()["errcode"].as_str().unwrap().to_owned();
        assert_eq!(answer.status, 404, "{path}");
        assert!(["M_NOT_FOUND", "M_UNRECOGNIZED"].contains(&errcode.as_str()), "{path} {errcode}");
    }
}

#[tokio::test]
async fn a_retired_key_is_served_and_valid_for_ever() {
    let app = TestApp::with_retired_keys(RETIRED).await;
    let retired = app.stranger().get("/pubkey/ed25519:0").await.ok();
    assert_eq!(retired, json!({ "public_key": RETIRED_PUBLIC }));
    assert_eq!(is_valid(&app, RETIRED_PUBLIC).await, valid(true));
    let signing = app.stranger().get("/pubkey/ed25519:1").await.ok();
    assert_eq!(signing, json!({ "public_key": PUBLIC_KEY }));
    assert_eq!(is_valid(&app, PUBLIC_KEY).await, valid(true));
    // It signs nothing new.
    let alice = app.account("@alice:hs.example").await;
    let bound = alice.bound("alice@example.org", "@alice:hs.example").await;
    let signatures = bound["signatures"]["id.example.org"].as_object().unwrap();
    assert_eq!(signatures.keys().collect::<Vec<_>>(), ["ed25519:1"]);
}

#[tokio::test]
async fn a_key_is_valid_in_every_spelling_of_its_base64() {
    // A public key with `+` and `/` in it.
    let (line, public) = key_with_both_special_characters();
    let app = TestApp::with_retired_keys(&line).await;
    for spelling in [
        public.clone(),
        public.replace('+', "%2B").replace('/', "%2F"),
        // A `+` that isn't escaped is a space in a query.
        public.replace('+', "%20"),
        public.replace('+', "-").replace('/', "_"),
        format!("{public}="),
        format!("{public}%3D"),
    ] {
        assert_eq!(is_valid(&app, &spelling).await, valid(true), "{spelling}");
    }
}

fn key_with_both_special_characters() -> (String, String) {
    use bindery::matrix::signing::{SigningKey, encode_base64};
    (0..=u8::MAX)
        .map(|byte| {
            let line = format!("ed25519 retired {}\n", encode_base64(&[byte; 32]));
            let public = encode_base64(&SigningKey::from_line(&line).unwrap().public());
            (line, public)
        })
        .find(|(_, public)| public.contains('+') && public.contains('/'))
        .unwrap()
}

#[tokio::test]
async fn what_is_no_key_of_this_server_is_not_valid() {
    let app = TestApp::start().await;
    for key in [
        RETIRED_PUBLIC,
        "",
        "garbage",
        "%00",
        "%FF%FE",
        "%F0%9F%94%91",
        &PUBLIC_KEY[1..],
        &PUBLIC_KEY.to_lowercase(),
        &format!("{PUBLIC_KEY}AAAA"),
        &format!("{PUBLIC_KEY}{PUBLIC_KEY}"),
        &format!("ed25519:{PUBLIC_KEY}"),
        &"A".repeat(5000),
    ] {
        assert_eq!(is_valid(&app, key).await, valid(false), "{key}");
    }
}

#[tokio::test]
async fn asking_whether_a_key_is_valid_takes_the_key() {
    let app = TestApp::start().await;
    for path in ["/pubkey/isvalid", "/pubkey/isvalid?", "/pubkey/isvalid?key=x"] {
        app.stranger().get(path).await.refused(400, "M_MISSING_PARAMS");
    }
}

#[tokio::test]
async fn the_server_says_that_it_lives_and_is_ready() {
    let app = TestApp::start().await;
    for path in ["/health/live", "/health/ready"] {
        assert_eq!(app.stranger().get(path).await.ok(), json!({ "status": "ok" }));
    }
}

#[tokio::test]
async fn a_server_without_its_database_lives_but_is_not_ready() {
    let app = TestApp::start().await;
    app.database.execute("ALTER TABLE peppers RENAME TO gone");
    app.stranger().get("/health/live").await.ok();
    let refused = app.stranger().get("/health/ready").await;
    assert!(refused.status >= 500, "{}", refused.body);
    let said = refused.refused(refused.status, "M_UNKNOWN");
    assert!(!said["error"].as_str().unwrap().contains("peppers"), "{said}");
}

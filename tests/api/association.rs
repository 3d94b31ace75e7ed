//! Binding, looking up and unbinding.

use serde_json::json;

use crate::harness::{PUBLIC_KEY, START_MS, TestApp};

#[tokio::test]
async fn an_address_is_validated_bound_signed_and_found() {
    let app = TestApp::start().await;
    let (alice, bob) =
        (app.account("@alice:hs.example").await, app.account("@bob:hs.example").await);
    let bound = alice.bound("alice@example.org", "@alice:hs.example").await;
    assert_eq!(bound["address"], "alice@example.org");
    assert_eq!(bound["medium"], "email");
    assert_eq!(bound["mxid"], "@alice:hs.example");
    assert_eq!((&bound["ts"], &bound["not_before"]), (&json!(START_MS), &json!(START_MS)));
    let signed = bound.as_object().unwrap();
    let key = bindery::matrix::signing::decode_base64(PUBLIC_KEY).unwrap().try_into().unwrap();
    let server = "id.example.org".parse().unwrap();
    assert!(bindery::matrix::signing::verifies(signed, &server, "ed25519:1", &key));

    let found = bob.find(&["alice@example.org", "carol@example.org"]).await;
    assert_eq!(found, [Some("@alice:hs.example".to_owned()), None]);
}

//! Binding and unbinding.

use std::time::Duration;

use bindery::matrix::signing::{decode_base64, verifies};
use serde_json::{Value, json};

use crate::harness::{Answer, Caller, PUBLIC_KEY, START_MS, Session, TestApp};

const ALICE: &str = "@alice:hs.example";
const BOB: &str = "@bob:hs.example";
const ADDRESS: &str = "alice@example.org";

/// How long a session can be used.
const DAY: Duration = Duration::from_hours(24);

async fn bind(caller: &Caller<'_>, session: &Session, mxid: &str) -> Answer {
    let mut body = session.json();
    body["mxid"] = json!(mxid);
    caller.post("/3pid/bind", body).await
}

async fn unbind(caller: &Caller<'_>, session: &Session, address: &str, mxid: &str) -> Answer {
    let mut body = session.json();
    body["mxid"] = json!(mxid);
    body["threepid"] = json!({ "medium": "email", "address": address });
    caller.post("/3pid/unbind", body).await
}

fn some(mxid: &str) -> Vec<Option<String>> {
    vec![Some(mxid.to_owned())]
}

#[tokio::test]
async fn an_address_is_validated_bound_signed_and_found() {
    let app = TestApp::start().await;
    let (alice, bob) = (app.account(ALICE).await, app.account(BOB).await);
    let bound = alice.bound(ADDRESS, ALICE).await;
    let mut unsigned = bound.clone();
    unsigned.as_object_mut().unwrap().remove("signatures");
    let century = i64::try_from(DAY.as_millis()).unwrap() * 36_500;
    let expected = json!({
        "address": ADDRESS,
        "medium": "email",
        "mxid": ALICE,
        "ts": START_MS,
        "not_before": START_MS,
        "not_after": START_MS + century,
    });
    assert_eq!(unsigned, expected);
    let found = bob.find(&[ADDRESS, "carol@example.org"]).await;
    assert_eq!(found, [Some(ALICE.to_owned()), None]);
}

#[tokio::test]
async fn an_association_verifies_with_the_key_that_the_server_publishes() {
    let app = TestApp::start().await;
    let alice = app.account(ALICE).await;
    let bound = alice.bound(ADDRESS, ALICE).await;
    let signatures = bound["signatures"].as_object().unwrap();
    assert_eq!(signatures.keys().collect::<Vec<_>>(), ["id.example.org"]);
    let key_ids: Vec<&String> = signatures["id.example.org"].as_object().unwrap().keys().collect();
    assert_eq!(key_ids, ["ed25519:1"]);
    let published = app.stranger().get(&format!("/pubkey/{}", key_ids[0])).await.ok();
    let key = published["public_key"].as_str().unwrap();
    assert_eq!(key, PUBLIC_KEY);
    let key = decode_base64(key).unwrap().try_into().unwrap();
    let server = "id.example.org".parse().unwrap();
    assert!(verifies(bound.as_object().unwrap(), &server, "ed25519:1", &key));
}

#[tokio::test]
async fn a_signature_is_the_one_that_ruma_verifies() {
    let app = TestApp::start().await;
    let bound = app.account(ALICE).await.bound(ADDRESS, ALICE).await;
    let object = serde_json::from_value(bound).unwrap();
    let keys = [("ed25519:1".to_owned(), ruma_common::serde::Base64::parse(PUBLIC_KEY).unwrap())];
    let keys = [("id.example.org".to_owned(), keys.into())].into();
    ruma_signatures::verify_json(&keys, &object).unwrap();
}

#[tokio::test]
async fn binding_needs_a_session_that_was_validated_with_its_secret() {
    let app = TestApp::start().await;
    let alice = app.account(ALICE).await;
    let good = alice.validated(ADDRESS, ADDRESS).await;
    let opened = alice.request_token("other@example.org", "s", 1).await.ok();
    let unvalidated =
        Session { sid: opened["sid"].as_str().unwrap().to_owned(), client_secret: "s".to_owned() };
    bind(&alice, &unvalidated, ALICE).await.refused(400, "M_SESSION_NOT_VALIDATED");
    // An unknown id and a wrong secret can't be told apart.
    let unknown = Session { sid: "unknown".to_owned(), client_secret: good.client_secret.clone() };
    let wrong = Session { sid: good.sid.clone(), client_secret: "wrong".to_owned() };
    let unknown = bind(&alice, &unknown, ALICE).await.refused(404, "M_NO_VALID_SESSION");
    let wrong = bind(&alice, &wrong, ALICE).await.refused(404, "M_NO_VALID_SESSION");
    assert_eq!(unknown, wrong);
    assert_eq!(alice.find(&[ADDRESS, "other@example.org"]).await, [None, None]);
    app.clock.advance(DAY);
    bind(&alice, &good, ALICE).await.refused(400, "M_SESSION_EXPIRED");
    assert_eq!(alice.find(&[ADDRESS]).await, [None]);
}

#[tokio::test]
async fn an_address_can_be_bound_only_to_oneself() {
    let app = TestApp::start().await;
    let alice = app.account(ALICE).await;
    let session = alice.validated(ADDRESS, ADDRESS).await;
    for other in [BOB, "@Alice:hs.example", "@alice:hs.example:8448", "@alice:HS.example"] {
        bind(&alice, &session, other).await.refused(403, "M_UNAUTHORIZED");
    }
    assert_eq!(alice.find(&[ADDRESS]).await, [None]);
    // Whose the session is doesn't matter, as long as the secret is known.
    bind(&app.account(BOB).await, &session, BOB).await.ok();
    assert_eq!(alice.find(&[ADDRESS]).await, some(BOB));
}

#[tokio::test]
async fn binding_takes_a_session_and_a_user_id() {
    let app = TestApp::start().await;
    let alice = app.account(ALICE).await;
    let full = json!({ "sid": "s", "client_secret": "c", "mxid": ALICE });
    for name in ["sid", "client_secret", "mxid"] {
        let mut body = full.clone();
        body[name] = Value::Null;
        alice.post("/3pid/bind", body.clone()).await.refused(400, "M_MISSING_PARAMS");
        body.as_object_mut().unwrap().remove(name);
        alice.post("/3pid/bind", body.clone()).await.refused(400, "M_MISSING_PARAMS");
        for wrong in [json!(1), json!(""), json!([ALICE]), json!("a\0b"), json!("x y")] {
            body[name] = wrong;
            alice.post("/3pid/bind", body.clone()).await.refused(400, "M_INVALID_PARAM");
        }
    }
    app.stranger().post("/3pid/bind", full).await.refused(401, "M_UNAUTHORIZED");
}

#[tokio::test]
async fn a_form_binds_as_json_does() {
    let app = TestApp::start().await;
    let alice = app.account(ALICE).await;
    let session = alice.validated(ADDRESS, ADDRESS).await;
    let form = format!("{}&mxid=%40alice%3Ahs.example", session.query());
    let bound = alice.post_raw("/3pid/bind", "application/x-www-form-urlencoded", &form).await;
    assert_eq!(bound.ok()["mxid"], ALICE);
}

#[tokio::test]
async fn who_binds_an_address_last_has_it() {
    let app = TestApp::start().await;
    let (alice, bob) = (app.account(ALICE).await, app.account(BOB).await);
    alice.bound(ADDRESS, ALICE).await;
    // The name that sorts later had it first, and the other way round.
    bob.bound(ADDRESS, BOB).await;
    assert_eq!(alice.find(&[ADDRESS]).await, some(BOB));
    app.clock.advance(Duration::from_secs(1));
    let again = alice.bound(ADDRESS, ALICE).await;
    assert_eq!(again["ts"], START_MS + 1000);
    assert_eq!(alice.find(&[ADDRESS]).await, some(ALICE));
}

#[tokio::test]
async fn binding_again_refreshes_the_association() {
    let app = TestApp::start().await;
    let alice = app.account(ALICE).await;
    let session = alice.validated(ADDRESS, ADDRESS).await;
    let first = bind(&alice, &session, ALICE).await.ok();
    app.clock.advance(Duration::from_hours(1));
    let second = bind(&alice, &session, ALICE).await.ok();
    for time in ["ts", "not_before", "not_after"] {
        let (first, second) = (first[time].as_i64().unwrap(), second[time].as_i64().unwrap());
        assert_eq!(second - first, 3_600_000, "{time}");
    }
    assert_eq!(alice.find(&[ADDRESS]).await, some(ALICE));
}

#[tokio::test]
async fn a_user_can_have_many_addresses() {
    let app = TestApp::start().await;
    let alice = app.account(ALICE).await;
    alice.bound(ADDRESS, ALICE).await;
    alice.bound("alice@work.example", ALICE).await;
    let found = alice.find(&[ADDRESS, "alice@work.example"]).await;
    assert_eq!(found, [some(ALICE), some(ALICE)].concat());
}

#[tokio::test]
async fn an_address_is_bound_in_its_canonical_form() {
    let app = TestApp::start().await;
    let alice = app.account(ALICE).await;
    let session = alice.validated("Alice.Strauß@Example.ORG", "alice.strauss@example.org").await;
    let bound = bind(&alice, &session, ALICE).await.ok();
    assert_eq!(bound["address"], "alice.strauss@example.org");
    let found = alice.find(&["alice.strauss@example.org", "alice.strauß@example.org"]).await;
    assert_eq!(found, [Some(ALICE.to_owned()), None]);
}

#[tokio::test]
async fn many_who_bind_one_address_at_once_leave_one_of_them_bound() {
    let app = TestApp::start().await;
    let mut sessions = Vec::new();
    for number in 0..6 {
        let mxid = format!("@user{number}:hs.example");
        let user = app.account(&mxid).await;
        let session = user.validated(ADDRESS, ADDRESS).await;
        sessions.push((user, session, mxid));
    }
    let binding = sessions.iter().map(|(user, session, mxid)| bind(user, session, mxid));
    for answer in futures_util::future::join_all(binding).await {
        answer.ok();
    }
    let found = sessions[0].0.find(&[ADDRESS]).await;
    assert!(found[0].as_ref().is_some_and(|mxid| mxid.starts_with("@user")), "{found:?}");
}

// Unbinding.

#[tokio::test]
async fn an_unbound_address_is_found_no_more() {
    let app = TestApp::start().await;
    let alice = app.account(ALICE).await;
    let session = alice.validated(ADDRESS, ADDRESS).await;
    bind(&alice, &session, ALICE).await.ok();
    // The session is proof enough: no access token.
    let done = unbind(&app.stranger(), &session, ADDRESS, ALICE).await;
    assert_eq!(done.ok(), json!({}));
    assert_eq!(alice.find(&[ADDRESS]).await, [None]);
    // Once more is no error, and it can be bound again.
    unbind(&alice, &session, ADDRESS, ALICE).await.ok();
    bind(&alice, &session, ALICE).await.ok();
    assert_eq!(alice.find(&[ADDRESS]).await, some(ALICE));
}

#[tokio::test]
async fn a_token_that_is_unknown_does_not_hinder_unbinding() {
    let app = TestApp::start().await;
    let alice = app.account(ALICE).await;
    let session = alice.validated(ADDRESS, ADDRESS).await;
    bind(&alice, &session, ALICE).await.ok();
    unbind(&app.holder("unknown"), &session, ADDRESS, ALICE).await.ok();
    assert_eq!(alice.find(&[ADDRESS]).await, [None]);
}

#[tokio::test]
async fn an_address_is_unbound_in_whatever_spelling() {
    let app = TestApp::start().await;
    let alice = app.account(ALICE).await;
    let session = alice.validated("strauss@example.org", "strauss@example.org").await;
    for spelling in ["STRAUSS@example.org", "strauß@Example.ORG", "\u{17f}trauss@example.org"] {
        bind(&alice, &session, ALICE).await.ok();
        unbind(&alice, &session, spelling, ALICE).await.ok();
        assert_eq!(alice.find(&["strauss@example.org"]).await, [None], "{spelling}");
    }
}

#[tokio::test]
async fn unbinding_without_proof_is_forbidden() {
    let app = TestApp::start().await;
    let alice = app.account(ALICE).await;
    alice.bound(ADDRESS, ALICE).await;
    let threepid = json!({ "medium": "email", "address": ADDRESS });
    for proof in [json!({}), json!({ "sid": null, "client_secret": "" })] {
        let mut body = proof;
        body["mxid"] = json!(ALICE);
        body["threepid"] = threepid.clone();
        // An access token proves nothing about the address, not even one of the user.
        for caller in [&app.stranger(), &alice] {
            caller.post("/3pid/unbind", body.clone()).await.refused(403, "M_FORBIDDEN");
        }
    }
    assert_eq!(alice.find(&[ADDRESS]).await, some(ALICE));
}

#[tokio::test]
async fn a_session_of_another_address_is_no_proof() {
    let app = TestApp::start().await;
    let (alice, mallory) = (app.account(ALICE).await, app.account("@mallory:hs.example").await);
    alice.bound(ADDRESS, ALICE).await;
    let session = mallory.validated("mallory@example.org", "mallory@example.org").await;
    unbind(&mallory, &session, ADDRESS, ALICE).await.refused(403, "M_FORBIDDEN");
    let mut body = session.json();
    body["mxid"] = json!(ALICE);
    body["threepid"] = json!({ "medium": "msisdn", "address": "447700900001" });
    mallory.post("/3pid/unbind", body).await.refused(403, "M_FORBIDDEN");
    assert_eq!(alice.find(&[ADDRESS]).await, some(ALICE));
}

#[tokio::test]
async fn unbinding_needs_a_session_that_can_be_used() {
    let app = TestApp::start().await;
    let alice = app.account(ALICE).await;
    let good = alice.validated(ADDRESS, ADDRESS).await;
    bind(&alice, &good, ALICE).await.ok();
    let opened = alice.request_token(ADDRESS, "another", 1).await.ok();
    let unvalidated = Session {
        sid: opened["sid"].as_str().unwrap().to_owned(),
        client_secret: "another".to_owned(),
    };
    let unbound = unbind(&alice, &unvalidated, ADDRESS, ALICE).await;
    unbound.refused(400, "M_SESSION_NOT_VALIDATED");
    let wrong = Session { sid: good.sid.clone(), client_secret: "wrong".to_owned() };
    unbind(&alice, &wrong, ADDRESS, ALICE).await.refused(404, "M_NO_VALID_SESSION");
    app.clock.advance(DAY);
    unbind(&alice, &good, ADDRESS, ALICE).await.refused(400, "M_SESSION_EXPIRED");
    assert_eq!(alice.find(&[ADDRESS]).await, some(ALICE));
}

#[tokio::test]
async fn only_the_named_users_association_is_removed() {
    let app = TestApp::start().await;
    let (alice, bob) = (app.account(ALICE).await, app.account(BOB).await);
    let hers = alice.validated(ADDRESS, ADDRESS).await;
    bind(&alice, &hers, ALICE).await.ok();
    for other in [BOB, "@Alice:hs.example", "@alice:elsewhere.example"] {
        assert_eq!(unbind(&alice, &hers, ADDRESS, other).await.ok(), json!({}));
    }
    assert_eq!(alice.find(&[ADDRESS]).await, some(ALICE));
    // It went to somebody else in the meantime.
    bob.bound(ADDRESS, BOB).await;
    unbind(&alice, &hers, ADDRESS, ALICE).await.ok();
    assert_eq!(alice.find(&[ADDRESS]).await, some(BOB));
}

#[tokio::test]
async fn unbinding_takes_a_user_an_address_and_both_parts_of_the_proof() {
    let app = TestApp::start().await;
    let post = async |body: Value| app.stranger().post("/3pid/unbind", body).await;
    let full = json!({
        "mxid": ALICE,
        "threepid": { "medium": "email", "address": ADDRESS },
        "sid": "s",
        "client_secret": "c",
    });
    for name in ["mxid", "threepid", "sid", "client_secret"] {
        let mut body = full.clone();
        body.as_object_mut().unwrap().remove(name);
        post(body.clone()).await.refused(400, "M_MISSING_PARAMS");
        body[name] = Value::Null;
        post(body.clone()).await.refused(400, "M_MISSING_PARAMS");
        body[name] = json!(1);
        post(body).await.refused(400, "M_INVALID_PARAM");
    }
    for name in ["medium", "address"] {
        let mut body = full.clone();
        body["threepid"].as_object_mut().unwrap().remove(name);
        post(body.clone()).await.refused(400, "M_MISSING_PARAMS");
        body["threepid"][name] = json!(1);
        post(body).await.refused(400, "M_INVALID_PARAM");
    }
    for (medium, address, errcode) in [
        ("telex", ADDRESS, "M_UNRECOGNIZED"),
        ("Email", ADDRESS, "M_UNRECOGNIZED"),
        ("email", "nobody", "M_INVALID_EMAIL"),
        ("email", "a\0b@example.org", "M_INVALID_EMAIL"),
        ("msisdn", "+44 7700", "M_INVALID_ADDRESS"),
    ] {
        let mut body = full.clone();
        body["threepid"] = json!({ "medium": medium, "address": address });
        post(body).await.refused(400, errcode);
    }
    let mut body = full;
    body["mxid"] = json!("alice");
    post(body).await.refused(400, "M_INVALID_PARAM");
}

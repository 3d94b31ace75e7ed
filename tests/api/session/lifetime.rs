//! What a session says of itself, how long it lives, and when it is forgotten.

use std::time::Duration;

use serde_json::json;

use super::{ALICE, GET_VALIDATED, SECRET, ask, read, submit, token, unlimited};
use crate::harness::{START_MS, Session, TestApp};

const MILLISECOND: Duration = Duration::from_millis(1);
const DAY: Duration = Duration::from_hours(24);
const ALMOST_A_DAY: Duration = Duration::from_millis(86_399_999);

#[tokio::test]
async fn a_validated_session_tells_the_address_and_the_time_of_validation() {
    let app = TestApp::start().await;
    let alice = app.account("@alice:hs.example").await;
    let session = ask(&alice, "ALICE@Example.ORG", 1).await;
    app.clock.advance(Duration::from_millis(61_001));
    submit(&alice, &session, &token(&app)).await.ok();
    let validated = json!({
        "medium": "email", "address": ALICE, "validated_at": START_MS + 61_001,
    });
    assert_eq!(read(&alice, &session).await.ok(), validated);
    // Neither reading nor validating again changes it.
    app.clock.advance(Duration::from_hours(1));
    submit(&alice, &session, &token(&app)).await.ok();
    app.open(&app.last_mail_to(ALICE).link).await;
    assert_eq!(read(&alice, &session).await.ok(), validated);
}

#[tokio::test]
async fn a_wrong_secret_reads_as_an_unknown_session_whatever_its_state() {
    let app = TestApp::start().await;
    let alice = app.account("@alice:hs.example").await;
    let own = ask(&alice, ALICE, 1).await;
    let wrong_secret = Session { sid: own.sid.clone(), client_secret: "other".to_owned() };
    let unknown = Session { sid: "other".to_owned(), client_secret: SECRET.to_owned() };
    let not_found = read(&alice, &unknown).await;
    not_found.refused(404, "M_NO_VALID_SESSION");
    let assert_unknown = async || {
        let answer = read(&alice, &wrong_secret).await;
        assert_eq!((answer.status, &answer.body), (404, &not_found.body));
    };
    assert_unknown().await;
    submit(&alice, &own, &token(&app)).await.ok();
    assert_unknown().await;
    app.clock.advance(DAY);
    read(&alice, &own).await.refused(400, "M_SESSION_EXPIRED");
    assert_unknown().await;
}

#[tokio::test]
async fn missing_and_malformed_parameters_are_told() {
    let app = TestApp::start().await;
    let alice = app.account("@alice:hs.example").await;
    for (query, errcode) in [
        ("", "M_MISSING_PARAMS"),
        ("?sid=1", "M_MISSING_PARAMS"),
        ("?client_secret=1", "M_MISSING_PARAMS"),
        ("?sid=1&client_secret=a~b", "M_INVALID_PARAM"),
        ("?sid=1&client_secret=", "M_INVALID_PARAM"),
        ("?sid=%00&client_secret=1", "M_INVALID_PARAM"),
    ] {
        alice.get(&format!("{GET_VALIDATED}{query}")).await.refused(400, errcode);
    }
}

#[tokio::test]
async fn expiry_is_told_before_what_is_not_validated() {
    let app = TestApp::start().await;
    let alice = app.account("@alice:hs.example").await;
    let session = ask(&alice, ALICE, 1).await;
    app.clock.advance(ALMOST_A_DAY);
    read(&alice, &session).await.refused(400, "M_SESSION_NOT_VALIDATED");
    app.clock.advance(MILLISECOND);
    read(&alice, &session).await.refused(400, "M_SESSION_EXPIRED");
    submit(&alice, &session, &token(&app)).await.refused(400, "M_SESSION_EXPIRED");
    submit(&alice, &session, "wrong").await.refused(400, "M_SESSION_EXPIRED");
}

#[tokio::test]
async fn asking_for_more_mails_does_not_make_a_session_live_longer() {
    let app = TestApp::start().await;
    let alice = app.account("@alice:hs.example").await;
    let session = ask(&alice, ALICE, 1).await;
    app.clock.advance(ALMOST_A_DAY);
    assert_eq!(ask(&alice, ALICE, 2).await.sid, session.sid);
    let newest = token(&app);
    app.clock.advance(MILLISECOND);
    submit(&alice, &session, &newest).await.refused(400, "M_SESSION_EXPIRED");
    read(&alice, &session).await.refused(400, "M_SESSION_EXPIRED");
    // Nor does it bring it back.
    let renewed = ask(&alice, ALICE, 3).await;
    assert_ne!(renewed.sid, session.sid);
    submit(&alice, &session, &newest).await.refused(400, "M_SESSION_EXPIRED");
}

#[tokio::test]
async fn a_wrong_token_does_not_make_a_session_live_longer() {
    let app = TestApp::start().await;
    let alice = app.account("@alice:hs.example").await;
    let session = ask(&alice, ALICE, 1).await;
    app.clock.advance(ALMOST_A_DAY);
    submit(&alice, &session, "wrong").await.refused(400, "M_TOKEN_INCORRECT");
    app.clock.advance(MILLISECOND);
    submit(&alice, &session, &token(&app)).await.refused(400, "M_SESSION_EXPIRED");
}

#[tokio::test]
async fn the_first_validation_alone_makes_a_session_live_for_another_lifetime() {
    let app = TestApp::start().await;
    let alice = app.account("@alice:hs.example").await;
    let session = ask(&alice, ALICE, 1).await;
    app.clock.advance(ALMOST_A_DAY);
    submit(&alice, &session, &token(&app)).await.ok();
    app.clock.advance(ALMOST_A_DAY);
    submit(&alice, &session, &token(&app)).await.ok();
    read(&alice, &session).await.ok();
    app.clock.advance(MILLISECOND);
    read(&alice, &session).await.refused(400, "M_SESSION_EXPIRED");
}

#[tokio::test]
async fn an_operator_sets_the_lifetime_and_the_mail_tells_it() {
    let app = TestApp::with(&unlimited("[sessions]\nlifetime = '90m'")).await;
    let alice = app.account("@alice:hs.example").await;
    let session = ask(&alice, ALICE, 1).await;
    assert!(app.last_mail_to(ALICE).text.contains("90 minutes"));
    app.clock.advance(Duration::from_mins(90));
    submit(&alice, &session, &token(&app)).await.refused(400, "M_SESSION_EXPIRED");
}

#[tokio::test]
async fn an_expired_session_is_known_as_such_for_a_week_and_then_forgotten() {
    let app = TestApp::start().await;
    let alice = app.account("@alice:hs.example").await;
    let session = ask(&alice, ALICE, 1).await;
    app.clock.advance(DAY * 8);
    app.background().await;
    read(&alice, &session).await.refused(400, "M_SESSION_EXPIRED");
    app.clock.advance(MILLISECOND);
    app.background().await;
    read(&alice, &session).await.refused(404, "M_NO_VALID_SESSION");
    submit(&alice, &session, &token(&app)).await.refused(400, "M_INVALID_PARAM");
    assert_eq!(app.open(&app.last_mail_to(ALICE).link).await.status, 400);
}

#[tokio::test]
async fn what_was_bound_stays_when_its_session_is_forgotten() {
    let app = TestApp::start().await;
    let alice = app.account("@alice:hs.example").await;
    alice.bound(ALICE, "@alice:hs.example").await;
    app.clock.advance(DAY * 30);
    app.background().await;
    assert_eq!(alice.find(&[ALICE]).await, [Some("@alice:hs.example".to_owned())]);
}

//! Submitting the token as an app does.

use std::time::Duration;

use futures_util::future::join_all;
use serde_json::json;

use super::{ALICE, SECRET, SUBMIT_TOKEN, ask, read, session, submit, token, unlimited, wrong};
use crate::harness::TestApp;

#[tokio::test]
async fn the_right_token_validates_as_often_as_it_is_submitted() {
    let app = TestApp::with(&unlimited("[sessions]\nmax_attempts = 2")).await;
    let alice = app.account("@alice:hs.example").await;
    let session = ask(&alice, ALICE, 1).await;
    read(&alice, &session).await.refused(400, "M_SESSION_NOT_VALIDATED");
    for _ in 0..5 {
        let answer = submit(&alice, &session, &token(&app)).await;
        assert_eq!(answer.ok(), json!({ "success": true }));
        read(&alice, &session).await.ok();
    }
}

#[tokio::test]
async fn validating_publishes_nothing() {
    let app = TestApp::start().await;
    let alice = app.account("@alice:hs.example").await;
    let session = ask(&alice, ALICE, 1).await;
    submit(&alice, &session, &token(&app)).await.ok();
    assert_eq!(alice.find(&[ALICE]).await, [None]);
}

#[tokio::test]
async fn a_wrong_token_is_refused_and_the_right_one_still_good() {
    let app = TestApp::start().await;
    let alice = app.account("@alice:hs.example").await;
    let session = ask(&alice, ALICE, 1).await;
    let right = token(&app);
    let too_long = "a".repeat(10_000);
    for guess in [&wrong(&right), "", "1", &right[1..], &format!("{right}A"), &too_long] {
        submit(&alice, &session, guess).await.refused(400, "M_TOKEN_INCORRECT");
        read(&alice, &session).await.refused(400, "M_SESSION_NOT_VALIDATED");
    }
    submit(&alice, &session, &right).await.ok();
    // It doesn't undo what is proved.
    submit(&alice, &session, &wrong(&right)).await.refused(400, "M_TOKEN_INCORRECT");
    read(&alice, &session).await.ok();
}

#[tokio::test]
async fn the_case_of_a_token_matters_and_space_around_it_does_not() {
    let app = TestApp::start().await;
    let alice = app.account("@alice:hs.example").await;
    let session = ask(&alice, ALICE, 1).await;
    let right = token(&app);
    for guess in [right.to_lowercase(), right.to_uppercase()] {
        submit(&alice, &session, &guess).await.refused(400, "M_TOKEN_INCORRECT");
    }
    submit(&alice, &session, &format!(" {right}\r\n")).await.ok();
}

#[tokio::test]
async fn tokens_of_older_mails_stay_good_for_a_while() {
    let app = TestApp::start().await;
    let alice = app.account("@alice:hs.example").await;
    let mut tokens = Vec::new();
    for attempt in 1..=4 {
        ask(&alice, ALICE, attempt).await;
        tokens.push(token(&app));
        app.clock.advance(Duration::from_secs(1));
    }
    let session = ask(&alice, ALICE, 1).await;
    submit(&alice, &session, &tokens[0]).await.refused(400, "M_TOKEN_INCORRECT");
    for good in &tokens[1..] {
        submit(&alice, &session, good).await.ok();
    }
}

#[tokio::test]
async fn the_newest_token_is_good_even_when_the_clock_was_put_back() {
    let app = TestApp::start().await;
    let alice = app.account("@alice:hs.example").await;
    for attempt in 1..=3 {
        ask(&alice, ALICE, attempt).await;
    }
    app.database.execute("UPDATE session_tokens SET created_at = created_at + 3600000");
    let session = ask(&alice, ALICE, 4).await;
    submit(&alice, &session, &token(&app)).await.ok();
}

#[tokio::test]
async fn the_token_of_another_session_is_wrong() {
    let app = TestApp::start().await;
    let alice = app.account("@alice:hs.example").await;
    let own = ask(&alice, ALICE, 1).await;
    ask(&alice, "mallory@example.org", 1).await;
    let foreign = app.last_mail_to("mallory@example.org").token;
    submit(&alice, &own, &foreign).await.refused(400, "M_TOKEN_INCORRECT");
}

#[tokio::test]
async fn a_wrong_secret_answers_as_an_unknown_session_does() {
    let app = TestApp::start().await;
    let alice = app.account("@alice:hs.example").await;
    let session = ask(&alice, ALICE, 1).await;
    let right = token(&app);
    let answer = |sid: String, secret: &'static str| {
        let body = json!({ "sid": sid, "client_secret": secret, "token": right });
        alice.post(SUBMIT_TOKEN, body)
    };
    let wrong_secret = answer(session.sid.clone(), "other").await;
    let unknown = answer("other".to_owned(), SECRET).await;
    wrong_secret.refused(400, "M_INVALID_PARAM");
    assert_eq!(wrong_secret.body, unknown.body);
    assert_eq!(wrong_secret.status, unknown.status);
    // The secret's case is part of it.
    answer(session.sid.clone(), "MONKEYS_are.GREAT").await.refused(400, "M_INVALID_PARAM");
    // None of that counts as a guess of the token.
    submit(&alice, &session, &right).await.ok();
}

#[tokio::test]
async fn missing_and_malformed_fields_are_told() {
    let app = TestApp::start().await;
    let alice = app.account("@alice:hs.example").await;
    let good = json!({ "sid": "1", "client_secret": SECRET, "token": "1" });
    for field in ["sid", "client_secret", "token"] {
        let mut without = good.clone();
        without.as_object_mut().unwrap().remove(field);
        alice.post(SUBMIT_TOKEN, without).await.refused(400, "M_MISSING_PARAMS");
        let mut number = good.clone();
        number[field] = json!(1);
        alice.post(SUBMIT_TOKEN, number).await.refused(400, "M_INVALID_PARAM");
    }
    let too_long = "a".repeat(256);
    for malformed in ["", "a b", "a~b", "a/b", "ä", &too_long] {
        for field in ["sid", "client_secret"] {
            let mut body = good.clone();
            body[field] = json!(malformed);
            alice.post(SUBMIT_TOKEN, body).await.refused(400, "M_INVALID_PARAM");
        }
    }
}

#[tokio::test]
async fn after_too_many_wrong_tokens_a_session_is_dead_for_the_right_one_too() {
    let app = TestApp::with(&unlimited("[sessions]\nmax_attempts = 3")).await;
    let alice = app.account("@alice:hs.example").await;
    let session = ask(&alice, ALICE, 1).await;
    let right = token(&app);
    for _ in 0..3 {
        submit(&alice, &session, &wrong(&right)).await.refused(400, "M_TOKEN_INCORRECT");
    }
    app.clock.advance(Duration::from_hours(1));
    for guess in [&wrong(&right), &right] {
        let answer = submit(&alice, &session, guess).await;
        let refusal = answer.refused(429, "M_LIMIT_EXCEEDED");
        // It is of no use before the session is expired.
        assert_eq!(refusal["retry_after_ms"], 23 * 3_600_000);
        assert_eq!(answer.header("retry-after"), (23 * 3_600).to_string());
    }
    assert_eq!(app.open(&app.last_mail_to(ALICE).link).await.status, 429);
    read(&alice, &session).await.refused(400, "M_SESSION_NOT_VALIDATED");
}

#[tokio::test]
async fn guesses_at_the_same_moment_are_no_more_than_the_cap() {
    let app = TestApp::with(&unlimited("[sessions]\nmax_attempts = 5")).await;
    let alice = app.account("@alice:hs.example").await;
    let session = ask(&alice, ALICE, 1).await;
    let guess = wrong(&token(&app));
    let answers = join_all((0..20).map(|_| submit(&alice, &session, &guess))).await;
    let mut statuses: Vec<_> = answers.iter().map(|answer| answer.status).collect();
    statuses.sort_unstable();
    assert_eq!(statuses, [[400].repeat(5), [429].repeat(15)].concat());
}

#[tokio::test]
async fn right_tokens_at_the_same_moment_count_as_no_guesses() {
    let app = TestApp::with(&unlimited("[sessions]\nmax_attempts = 1")).await;
    let alice = app.account("@alice:hs.example").await;
    let session = ask(&alice, ALICE, 1).await;
    let right = token(&app);
    for answer in join_all((0..20).map(|_| submit(&alice, &session, &right))).await {
        answer.ok();
    }
}

#[tokio::test]
async fn guesses_are_limited_in_time_too() {
    let limits = "[limits]\nsubmit_token_per_session = '2 per 10m'";
    let app = TestApp::with(limits).await;
    let alice = app.account("@alice:hs.example").await;
    let own = ask(&alice, ALICE, 1).await;
    let right = token(&app);
    for _ in 0..2 {
        submit(&alice, &own, &wrong(&right)).await.refused(400, "M_TOKEN_INCORRECT");
    }
    submit(&alice, &own, &right).await.refused(429, "M_LIMIT_EXCEEDED");
    // Another session has a limit of its own.
    let other = session(&alice.request_token(ALICE, "other", 1).await);
    let other = crate::harness::Session { client_secret: "other".to_owned(), ..other };
    submit(&alice, &other, &token(&app)).await.ok();
    app.clock.advance(Duration::from_mins(5));
    submit(&alice, &own, &right).await.ok();
}

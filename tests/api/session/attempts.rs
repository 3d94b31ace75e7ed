//! `send_attempt`: when a mail is sent, and when there is a new session.

use std::time::Duration;

use futures_util::future::join_all;
use serde_json::json;
use tokio::{io::AsyncWriteExt, net::TcpStream};

use super::{
    ALICE, REQUEST_TOKEN, SECRET, ask, read, request, session, submit, token, unlimited, wrong,
};
use crate::{
    harness::TestApp,
    smtp::{Behaviour, Trouble},
};

#[tokio::test]
async fn a_repeated_or_lower_attempt_is_the_same_session_and_sends_nothing() {
    let app = TestApp::start().await;
    let alice = app.account("@alice:hs.example").await;
    let first = ask(&alice, ALICE, 3).await;
    for attempt in [3, 2, 0, -1] {
        assert_eq!(ask(&alice, ALICE, attempt).await.sid, first.sid);
    }
    let mut as_text = request();
    as_text["send_attempt"] = json!("3");
    assert_eq!(session(&alice.post(REQUEST_TOKEN, as_text).await).sid, first.sid);
    assert_eq!(app.mails(), 1);
}

#[tokio::test]
async fn a_higher_attempt_sends_again_for_the_same_session() {
    let app = TestApp::start().await;
    let alice = app.account("@alice:hs.example").await;
    let first = ask(&alice, ALICE, 1).await;
    let older_token = token(&app);
    let second = ask(&alice, ALICE, 5).await;
    assert_eq!(second.sid, first.sid);
    assert_eq!(app.mails(), 2);
    assert_ne!(token(&app), older_token);
    // What lies between was skipped.
    ask(&alice, ALICE, 4).await;
    assert_eq!(app.mails(), 2);
}

#[tokio::test]
async fn the_first_attempt_sends_even_when_it_is_zero() {
    let app = TestApp::start().await;
    let alice = app.account("@alice:hs.example").await;
    let first = ask(&alice, ALICE, 0).await;
    assert_eq!(app.mails(), 1);
    assert_eq!(ask(&alice, ALICE, 0).await.sid, first.sid);
    assert_eq!(app.mails(), 1);
}

#[tokio::test]
async fn an_attempt_whose_mail_failed_sends_when_it_is_made_again() {
    let behaviour = Behaviour {
        trouble: Some(("MAIL", Trouble::Says("451 4.3.0 later"))),
        mails_before_trouble: 1,
        troubles: 2,
        ..Behaviour::default()
    };
    let app = TestApp::with_smtp(&unlimited(""), behaviour).await;
    let alice = app.account("@alice:hs.example").await;
    let first = ask(&alice, ALICE, 1).await;
    for _ in 0..2 {
        let answer = alice.request_token(ALICE, SECRET, 2).await;
        answer.refused(400, "M_EMAIL_SEND_ERROR");
    }
    // The one before was sent, and is not sent again.
    assert_eq!(ask(&alice, ALICE, 1).await.sid, first.sid);
    assert_eq!(app.mails(), 1);
    let second = ask(&alice, ALICE, 2).await;
    assert_eq!((second.sid, app.mails()), (first.sid, 2));
    ask(&alice, ALICE, 2).await;
    assert_eq!(app.mails(), 2);
}

#[tokio::test]
async fn a_first_mail_that_failed_is_sent_when_it_is_asked_for_again() {
    let trouble = Some(("RCPT", Trouble::HangsUp));
    let behaviour = Behaviour { trouble, troubles: 1, ..Behaviour::default() };
    let app = TestApp::with_smtp(&unlimited(""), behaviour).await;
    let alice = app.account("@alice:hs.example").await;
    alice.request_token(ALICE, SECRET, 1).await.refused(400, "M_EMAIL_SEND_ERROR");
    let session = ask(&alice, ALICE, 1).await;
    submit(&alice, &session, &token(&app)).await.ok();
}

#[tokio::test]
async fn requests_at_the_same_moment_send_one_mail_for_one_session() {
    let app = TestApp::start().await;
    let alice = app.account("@alice:hs.example").await;
    let first = ask_often(&alice, 1).await;
    assert_eq!(app.mails(), 1);
    let again = ask_often(&alice, 2).await;
    assert_eq!((again, app.mails()), (first, 2));
}

/// Asks ten times at once; answers the one session.
async fn ask_often(caller: &crate::harness::Caller<'_>, attempt: i64) -> String {
    let asked = join_all((0..10).map(|_| ask(caller, ALICE, attempt))).await;
    let mut sids: Vec<_> = asked.into_iter().map(|session| session.sid).collect();
    sids.sort();
    sids.dedup();
    assert_eq!(sids.len(), 1, "{sids:?}");
    sids.remove(0)
}

#[tokio::test]
async fn who_asks_while_a_mail_is_on_its_way_hears_of_success_only_after_it_has_gone_out() {
    let trouble = Some(("RCPT", Trouble::Silent));
    let behaviour = Behaviour { trouble, troubles: 1, ..Behaviour::default() };
    let app = TestApp::with_smtp(&unlimited(""), behaviour).await;
    let alice = app.account("@alice:hs.example").await;
    let again = async {
        app.smtp.until(|seen| seen.troubles == 1).await;
        let session = ask(&alice, ALICE, 1).await;
        assert_eq!(app.mails(), 1);
        session
    };
    let (failed, session) = tokio::join!(alice.request_token(ALICE, SECRET, 1), again);
    failed.refused(400, "M_EMAIL_SEND_ERROR");
    submit(&alice, &session, &token(&app)).await.ok();
}

#[tokio::test]
async fn spellings_of_one_address_are_one_session() {
    let app = TestApp::start().await;
    let alice = app.account("@alice:hs.example").await;
    let first = ask(&alice, "Strauß@Example.com", 1).await;
    for spelling in ["strauss@example.com", "STRAUẞ@EXAMPLE.COM", "Strauß@Example.com"] {
        assert_eq!(ask(&alice, spelling, 1).await.sid, first.sid);
    }
    assert_eq!(app.mails(), 1);
}

#[tokio::test]
async fn another_address_or_secret_is_another_session() {
    let app = TestApp::start().await;
    let alice = app.account("@alice:hs.example").await;
    let first = ask(&alice, ALICE, 1).await;
    let other_address = ask(&alice, "bob@example.org", 1).await;
    let other_secret = session(&alice.request_token(ALICE, "other", 1).await);
    assert_ne!(first.sid, other_address.sid);
    assert_ne!(first.sid, other_secret.sid);
    assert_eq!(app.mails(), 3);
}

#[tokio::test]
async fn a_validated_session_answers_its_attempts_and_makes_way_for_a_higher_one() {
    let app = TestApp::start().await;
    let alice = app.account("@alice:hs.example").await;
    let first = ask(&alice, ALICE, 1).await;
    submit(&alice, &first, &token(&app)).await.ok();
    app.clock.advance(Duration::from_secs(1));
    assert_eq!(ask(&alice, ALICE, 1).await.sid, first.sid);
    assert_eq!(app.mails(), 1);

    let second = ask(&alice, ALICE, 2).await;
    assert_ne!(second.sid, first.sid);
    assert_eq!(app.mails(), 2);
    read(&alice, &second).await.refused(400, "M_SESSION_NOT_VALIDATED");
    // What was proved stays proved.
    read(&alice, &first).await.ok();
    assert_eq!(ask(&alice, ALICE, 2).await.sid, second.sid);
}

#[tokio::test]
async fn a_dead_session_makes_way_for_a_higher_attempt() {
    let app = TestApp::with(&unlimited("[sessions]\nmax_attempts = 1")).await;
    let alice = app.account("@alice:hs.example").await;
    let first = ask(&alice, ALICE, 1).await;
    submit(&alice, &first, &wrong(&token(&app))).await.refused(400, "M_TOKEN_INCORRECT");
    app.clock.advance(Duration::from_secs(1));
    let second = ask(&alice, ALICE, 2).await;
    assert_ne!(second.sid, first.sid);
    submit(&alice, &second, &token(&app)).await.ok();
    submit(&alice, &first, &token(&app)).await.refused(429, "M_LIMIT_EXCEEDED");
}

#[tokio::test]
async fn after_expiry_the_counter_begins_anew_with_a_new_session() {
    let app = TestApp::start().await;
    let alice = app.account("@alice:hs.example").await;
    let first = ask(&alice, ALICE, 7).await;
    app.clock.advance(Duration::from_hours(24));
    let second = ask(&alice, ALICE, 1).await;
    assert_ne!(second.sid, first.sid);
    assert_eq!(app.mails(), 2);
    submit(&alice, &second, &token(&app)).await.ok();
    submit(&alice, &first, &token(&app)).await.refused(400, "M_SESSION_EXPIRED");
}

#[tokio::test]
async fn a_client_that_went_away_takes_no_mail_with_it() {
    let app = TestApp::start().await;
    let alice = app.account("@alice:hs.example").await;
    let (body, access_token) = (request().to_string(), alice.token.clone().unwrap());
    let head = format!(
        "POST {}{REQUEST_TOKEN} HTTP/1.1\r\nHost: id\r\nAuthorization: Bearer {access_token}\r\n\
         Content-Length: {}\r\n\r\n{body}",
        crate::harness::V2,
        body.len()
    );
    let server = app.base.strip_prefix("http://").unwrap();
    let mut stream = TcpStream::connect(server).await.unwrap();
    stream.write_all(head.as_bytes()).await.unwrap();
    app.smtp.until(|seen| seen.connections == 1).await;
    // With a reset, which can't be mistaken for the end of a request.
    stream.set_zero_linger().unwrap();
    drop(stream);
    app.smtp.until(|seen| seen.mails.len() == 1).await;
    ask(&alice, ALICE, 1).await;
    assert_eq!(app.mails(), 1);
}

//! Mail servers that are slow, unwilling or careful, seen through the API.

use std::time::{Duration, Instant};

use futures_util::future::join_all;

use super::{ALICE, SECRET, ask, submit, token, unlimited};
use crate::{
    harness::TestApp,
    smtp::{Behaviour, Tls, Trouble},
};

/// The time-out that the harness configures, and something for a busy machine.
const BOUND: Duration = Duration::from_secs(12);

async fn troubled(verb: &'static str, trouble: Trouble) -> TestApp {
    let behaviour = Behaviour { trouble: Some((verb, trouble)), ..Behaviour::default() };
    TestApp::with_smtp(&unlimited(""), behaviour).await
}

#[tokio::test]
async fn a_mail_server_that_says_no_or_hangs_up_is_a_send_error() {
    for (verb, trouble) in [
        ("", Trouble::HangsUp),
        ("", Trouble::Says("554 5.3.2 closed")),
        ("EHLO", Trouble::HangsUp),
        ("MAIL", Trouble::Says("452 4.2.2 full")),
        ("RCPT", Trouble::Says("550 5.1.1 no alice@example.org here")),
        ("RCPT", Trouble::Says("451 4.7.1 greylisted")),
        ("RCPT", Trouble::HangsUp),
        ("DATA", Trouble::Says("421 4.3.2 bye")),
        (".", Trouble::Says("554 5.7.1 spam")),
        (".", Trouble::HangsUp),
        ("RCPT", Trouble::Says("nonsense")),
    ] {
        let app = troubled(verb, trouble).await;
        let alice = app.account("@alice:hs.example").await;
        let answer = alice.request_token(ALICE, SECRET, 1).await;
        answer.refused(400, "M_EMAIL_SEND_ERROR");
        assert!(!answer.body.contains(ALICE), "{}", answer.body);
    }
}

#[tokio::test]
async fn a_mail_server_that_can_not_be_reached_is_a_send_error() {
    // It listens only where nobody looks for it.
    let behaviour = Behaviour { listen: "[::1]:0", ..Behaviour::default() };
    let app = TestApp::with_smtp(&unlimited(""), behaviour).await;
    let alice = app.account("@alice:hs.example").await;
    alice.request_token(ALICE, SECRET, 1).await.refused(400, "M_EMAIL_SEND_ERROR");
}

#[tokio::test]
async fn a_mail_server_that_falls_silent_is_given_up() {
    for verb in ["", "RCPT", "."] {
        let app = troubled(verb, Trouble::Silent).await;
        let alice = app.account("@alice:hs.example").await;
        let started = Instant::now();
        alice.request_token(ALICE, SECRET, 1).await.refused(400, "M_EMAIL_SEND_ERROR");
        assert!(started.elapsed() < BOUND, "{:?}", started.elapsed());
    }
}

#[tokio::test]
async fn a_slow_mail_server_holds_up_nobody_else() {
    let app = troubled("MAIL", Trouble::Silent).await;
    let alice = app.account("@alice:hs.example").await;
    let started = Instant::now();
    // More than there are connections to the mail server and to the database.
    let mails = join_all((0..12).map(|number| {
        let alice = &alice;
        async move { alice.request_token(ALICE, &format!("secret.{number}"), 1).await }
    }));
    let others = async {
        app.smtp.until(|seen| seen.connections > 0).await;
        alice.get("/account").await.ok();
        alice.find(&["bob@example.org"]).await;
        started.elapsed()
    };
    let (mails, others) = tokio::join!(mails, others);
    let all = started.elapsed();
    for answer in mails {
        answer.refused(400, "M_EMAIL_SEND_ERROR");
    }
    assert!(others < Duration::from_secs(2), "{others:?}");
    assert!(all < BOUND, "{all:?}");
}

#[tokio::test]
async fn a_mail_goes_through_tls_and_a_login() {
    for tls in [Tls::Starttls, Tls::Implicit] {
        let behaviour = Behaviour {
            tls,
            certificate_for: "127.0.0.1",
            login: Some(("PLAIN", "bindery", "a password")),
            ..Behaviour::default()
        };
        let app = TestApp::with_smtp(&unlimited(""), behaviour).await;
        let alice = app.account("@alice:hs.example").await;
        let session = ask(&alice, ALICE, 1).await;
        submit(&alice, &session, &token(&app)).await.ok();
        let mail = app.smtp.seen().mails.remove(0);
        assert!(mail.in_tls && mail.logged_in);
        // Nothing of the mail or the login was said before.
        let plain = app.smtp.seen().plain_commands;
        assert!(plain.iter().all(|line| ["EHLO", "STAR"].contains(&&line[..4])), "{plain:?}");
    }
}

#[tokio::test]
async fn no_mail_goes_to_a_server_that_shows_a_certificate_for_another() {
    for tls in [Tls::Starttls, Tls::Implicit] {
        let behaviour =
            Behaviour { tls, certificate_for: "mail.evil.example", ..Behaviour::default() };
        let app = TestApp::with_smtp(&unlimited(""), behaviour).await;
        let alice = app.account("@alice:hs.example").await;
        alice.request_token(ALICE, SECRET, 1).await.refused(400, "M_EMAIL_SEND_ERROR");
        assert_eq!(app.mails(), 0);
    }
}

#[tokio::test]
async fn an_address_that_the_mail_server_can_not_write_is_a_send_error() {
    let app = TestApp::start().await;
    let alice = app.account("@alice:hs.example").await;
    let answer = alice.request_token("jürgen@example.org", SECRET, 1).await;
    answer.refused(400, "M_EMAIL_SEND_ERROR");
    let behaviour = Behaviour { smtputf8: true, ..Behaviour::default() };
    let app = TestApp::with_smtp(&unlimited(""), behaviour).await;
    let alice = app.account("@alice:hs.example").await;
    let session = ask(&alice, "Jürgen@example.org", 1).await;
    submit(&alice, &session, &app.last_mail_to("jürgen@example.org").token).await.ok();
}

//! SMTP: security, logins, refusals, time-outs and the reuse of connections.

use std::{num::NonZeroU32, path::PathBuf, time::Duration};

use bindery::{
    config::{self, EmailTransport, SmtpSecurity},
    delivery::{DeliveryError, Fault, Reply, Step},
};
use futures_util::future::join_all;
use tokio::time::{Instant, timeout};

use crate::{
    Door, settings,
    smtp::{Behaviour, SmtpServer, Tls, Trouble},
};

const ALICE: &str = "alice@example.org";

async fn server_with(tls: Tls) -> SmtpServer {
    SmtpServer::start(Behaviour { tls, ..Behaviour::default() }).await
}

async fn troubled(verb: &'static str, trouble: Trouble) -> SmtpServer {
    let trouble = Some((verb, trouble));
    SmtpServer::start(Behaviour { trouble, ..Behaviour::default() }).await
}

/// Settings that trust the server's authority; the directory has to outlive the `Door`'s making.
fn secured(server: &SmtpServer, security: SmtpSecurity) -> (config::Smtp, tempfile::TempDir) {
    let directory = tempfile::tempdir().unwrap();
    let ca_file = directory.path().join("ca.pem");
    std::fs::write(&ca_file, &server.ca).unwrap();
    (config::Smtp { security, ca_file: Some(ca_file), ..settings(server) }, directory)
}

fn reply(outcome: Result<(), DeliveryError>) -> (Step, u16, Option<String>) {
    match outcome {
        Err(DeliveryError::Unsent(Fault::Reply { step, reply: Reply { code, status } })) => {
            (step, code, status)
        }
        other => panic!("expected a refusal for now, got {other:?}"),
    }
}

#[tokio::test]
async fn a_mail_reaches_the_server() {
    let server = server_with(Tls::None).await;
    Door::smtp(settings(&server)).mail(ALICE).await.unwrap();
    let mail = server.seen().mails.remove(0);
    assert_eq!(mail.from, "<noreply@example.org>");
    assert_eq!(mail.to, ["<alice@example.org>"]);
    assert!(!mail.in_tls);
    assert_eq!(server.seen().plain_commands[0], "EHLO id.example.org");
}

#[tokio::test]
async fn a_server_is_reached_by_its_ipv6_address() {
    let behaviour = Behaviour { listen: "[::1]:0", ..Behaviour::default() };
    let server = SmtpServer::start(behaviour).await;
    for host in ["::1", "[::1]"] {
        let settings = config::Smtp { host: host.to_owned(), ..settings(&server) };
        Door::smtp(settings).mail(ALICE).await.unwrap();
    }
    assert_eq!(server.seen().mails.len(), 2);
}

#[tokio::test]
async fn tls_protects_the_whole_dialogue() {
    let server = server_with(Tls::Implicit).await;
    let (settings, _directory) = secured(&server, SmtpSecurity::Tls);
    Door::smtp(settings).mail(ALICE).await.unwrap();
    assert!(server.seen().mails[0].in_tls);
    assert!(server.seen().plain_commands.is_empty());
}

#[tokio::test]
async fn starttls_protects_all_but_the_greetings() {
    let server = server_with(Tls::Starttls).await;
    let (settings, _directory) = secured(&server, SmtpSecurity::Starttls);
    let door = Door::smtp(settings);
    door.mail(ALICE).await.unwrap();
    door.mail("bob@example.org").await.unwrap();
    let seen = server.seen();
    assert!(seen.mails.len() == 2 && seen.mails.iter().all(|mail| mail.in_tls));
    assert_eq!(seen.plain_commands, ["EHLO id.example.org", "STARTTLS"]);
}

#[tokio::test]
async fn without_starttls_nothing_is_sent() {
    let server = server_with(Tls::None).await;
    let (settings, _directory) = secured(&server, SmtpSecurity::Starttls);
    let outcome = Door::smtp(settings).mail(ALICE).await;
    assert!(matches!(outcome, Err(DeliveryError::Unsent(Fault::NoStarttls))), "{outcome:?}");
    assert_eq!(server.seen().plain_commands, ["EHLO id.example.org"]);
}

#[tokio::test]
async fn words_that_came_before_tls_are_not_taken_for_the_servers_own() {
    let injected = Trouble::Says("220 go ahead\r\n250-mail.test\r\n250 AUTH PLAIN");
    let trouble = Some(("STARTTLS", injected));
    let behaviour = Behaviour { tls: Tls::Starttls, trouble, ..Behaviour::default() };
    let server = SmtpServer::start(behaviour).await;
    let (settings, _directory) = secured(&server, SmtpSecurity::Starttls);
    let outcome = Door::smtp(settings).mail(ALICE).await;
    assert!(matches!(outcome, Err(DeliveryError::Unsent(Fault::Broken(Step::Hello)))));
    assert!(server.seen().mails.is_empty());
}

#[tokio::test]
async fn a_certificate_for_another_name_is_refused() {
    for (tls, security) in
        [(Tls::Implicit, SmtpSecurity::Tls), (Tls::Starttls, SmtpSecurity::Starttls)]
    {
        let certificate_for = "other.example";
        let behaviour = Behaviour { tls, certificate_for, ..Behaviour::default() };
        let server = SmtpServer::start(behaviour).await;
        let (settings, _directory) = secured(&server, security);
        let outcome = Door::smtp(settings).mail(ALICE).await;
        assert!(matches!(outcome, Err(DeliveryError::Unsent(Fault::Tls(_)))), "{outcome:?}");
        assert!(server.seen().mails.is_empty());
    }
}

#[tokio::test]
async fn a_certificate_of_an_unknown_authority_is_refused() {
    for (tls, security) in
        [(Tls::Implicit, SmtpSecurity::Tls), (Tls::Starttls, SmtpSecurity::Starttls)]
    {
        let server = server_with(tls).await;
        let outcome = Door::smtp(config::Smtp { security, ..settings(&server) }).mail(ALICE).await;
        assert!(matches!(outcome, Err(DeliveryError::Unsent(Fault::Tls(_)))), "{outcome:?}");
    }
}

#[tokio::test]
async fn a_ca_file_that_holds_no_certificate_is_named() {
    let server = server_with(Tls::None).await;
    let directory = tempfile::tempdir().unwrap();
    let empty = directory.path().join("empty.pem");
    std::fs::write(&empty, "no certificate").unwrap();
    for ca_file in [empty, PathBuf::from("/nowhere/ca.pem")] {
        let (security, path) = (SmtpSecurity::Tls, ca_file.display().to_string());
        let settings = config::Smtp { security, ca_file: Some(ca_file), ..settings(&server) };
        let door = Door::try_to(EmailTransport::Smtp(settings), "noreply@example.org");
        assert!(door.err().unwrap().to_string().starts_with(&path));
    }
}

#[tokio::test]
async fn a_server_that_wants_a_login_gets_it_by_plain_or_login() {
    for mechanism in ["PLAIN", "LOGIN"] {
        let login = Some((mechanism, "mailer", "pässwort"));
        let behaviour = Behaviour { tls: Tls::Implicit, login, ..Behaviour::default() };
        let server = SmtpServer::start(behaviour).await;
        let (settings, _directory) = secured(&server, SmtpSecurity::Tls);
        let login = Some(("mailer".to_owned(), "pässwort".to_owned().into()));
        Door::smtp(config::Smtp { login, ..settings }).mail(ALICE).await.unwrap();
        assert!(server.seen().mails[0].logged_in);
    }
}

#[tokio::test]
async fn a_failed_login_is_told_from_a_refused_recipient() {
    let behaviour = Behaviour { login: Some(("PLAIN", "mailer", "right")), ..Behaviour::default() };
    let server = SmtpServer::start(behaviour).await;
    let login = Some(("mailer".to_owned(), "wrong".to_owned().into()));
    let outcome = Door::smtp(config::Smtp { login, ..settings(&server) }).mail(ALICE).await;
    assert_eq!(reply(outcome), (Step::Login, 535, Some("5.7.8".to_owned())));
}

#[tokio::test]
async fn a_login_that_the_server_does_not_offer_fails() {
    let server = server_with(Tls::None).await;
    let login = Some(("mailer".to_owned(), "secret".to_owned().into()));
    let outcome = Door::smtp(config::Smtp { login, ..settings(&server) }).mail(ALICE).await;
    assert!(matches!(outcome, Err(DeliveryError::Unsent(Fault::NoLogin))));
}

#[tokio::test]
async fn a_recipient_who_is_refused_for_good_is_told_without_the_address() {
    let refusal = Trouble::Says("550-5.1.1 <alice@example.org>\r\n550 5.1.1 is unknown");
    let server = troubled("RCPT", refusal).await;
    let door = Door::smtp(settings(&server));
    let error = door.mail(ALICE).await.unwrap_err();
    assert!(matches!(error, DeliveryError::Refused(_)));
    assert_eq!(
        error.to_string(),
        "the recipient was refused: the mail server answered 550 5.1.1 to RCPT"
    );
    assert!(!format!("{error:?}").contains("alice"));
    server.until(|seen| seen.farewells == 1).await;
}

#[tokio::test]
async fn any_other_refusal_is_one_for_now() {
    for (verb, said, step, code) in [
        ("", "421 4.3.2 too busy", Step::Hello, 421),
        ("EHLO", "554 5.7.1 who are you?", Step::Hello, 554),
        ("MAIL", "451 4.7.1 later", Step::Mail, 451),
        ("MAIL", "550 5.7.1 not from there", Step::Mail, 550),
        ("RCPT", "450 4.2.0 <alice@example.org> is greylisted", Step::Recipient, 450),
        ("DATA", "451 4.3.0 no room", Step::Data, 451),
        (".", "554 5.6.0 not liked", Step::Message, 554),
    ] {
        let server = troubled(verb, Trouble::Says(said)).await;
        let outcome = Door::smtp(settings(&server)).mail(ALICE).await;
        assert_eq!(reply(outcome), (step, code, Some(said[4..9].to_owned())), "{said}");
    }
}

#[tokio::test]
async fn a_server_that_is_not_there_is_unreachable() {
    let server = server_with(Tls::None).await;
    let closed = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = closed.local_addr().unwrap().port();
    drop(closed);
    let outcome = Door::smtp(config::Smtp { port, ..settings(&server) }).mail(ALICE).await;
    assert!(matches!(outcome, Err(DeliveryError::Unsent(Fault::Unreachable(_)))));
}

#[tokio::test]
async fn a_silent_server_costs_the_time_out_and_no_more() {
    for verb in ["", "EHLO", "RCPT", "."] {
        let server = troubled(verb, Trouble::Silent).await;
        let time_out = Duration::from_millis(200);
        let door = Door::smtp(config::Smtp { timeout: time_out, ..settings(&server) });
        let outcome = timeout(Duration::from_secs(10), door.mail(ALICE)).await.unwrap();
        let Err(DeliveryError::Unsent(Fault::TimedOut(after))) = outcome else {
            panic!("{outcome:?}")
        };
        assert_eq!(after, time_out);
    }
}

#[tokio::test]
async fn waiting_for_a_connection_counts_towards_the_time_out() {
    let server = troubled("DATA", Trouble::Silent).await;
    let (timeout, max_connections) = (Duration::from_millis(300), NonZeroU32::MIN);
    let door = Door::smtp(config::Smtp { timeout, max_connections, ..settings(&server) });
    let begun = Instant::now();
    for outcome in join_all((0..8).map(|_| door.mail(ALICE))).await {
        assert!(matches!(outcome, Err(DeliveryError::Unsent(Fault::TimedOut(_)))), "{outcome:?}");
    }
    // One after the other they would take eight times as long.
    assert!(begun.elapsed() < 4 * timeout);
}

#[tokio::test]
async fn connections_are_reused_and_never_more_than_allowed() {
    let server = server_with(Tls::None).await;
    let max_connections = NonZeroU32::new(2).unwrap();
    let door = Door::smtp(config::Smtp { max_connections, ..settings(&server) });
    for outcome in join_all((0..20).map(|_| door.mail(ALICE))).await {
        outcome.unwrap();
    }
    assert_eq!((server.seen().mails.len(), server.seen().connections), (20, 2));
}

#[tokio::test]
async fn a_connection_that_lay_idle_for_long_is_not_used_again() {
    let server = server_with(Tls::None).await;
    let door = Door::smtp(settings(&server));
    door.mail(ALICE).await.unwrap();
    door.clock.advance(Duration::from_secs(29));
    door.mail(ALICE).await.unwrap();
    assert_eq!(server.seen().connections, 1);
    door.clock.advance(Duration::from_secs(30));
    door.mail(ALICE).await.unwrap();
    assert_eq!(server.seen().connections, 2);
}

#[tokio::test]
async fn a_connection_that_the_server_closed_is_replaced() {
    for last_words in ["", "421 4.4.2 idle for too long\r\n"] {
        let behaviour = Behaviour { leaves: Some((2, last_words)), ..Behaviour::default() };
        let server = SmtpServer::start(behaviour).await;
        let door = Door::smtp(settings(&server));
        for _ in 0..6 {
            door.mail(ALICE).await.unwrap();
        }
        assert_eq!((server.seen().mails.len(), server.seen().connections), (6, 3));
    }
}

#[tokio::test]
async fn a_new_connection_that_breaks_is_not_replaced() {
    let server = troubled("RCPT", Trouble::HangsUp).await;
    let outcome = Door::smtp(settings(&server)).mail(ALICE).await;
    assert!(matches!(outcome, Err(DeliveryError::Unsent(Fault::Broken(Step::Recipient)))));
    assert_eq!(server.seen().connections, 1);
}

#[tokio::test]
async fn a_message_that_may_have_been_taken_is_not_sent_again() {
    for trouble in [Trouble::HangsUp, Trouble::Says("421 4.3.0 closing")] {
        let behaviour = Behaviour {
            trouble: Some((".", trouble)),
            mails_before_trouble: 1,
            ..Behaviour::default()
        };
        let server = SmtpServer::start(behaviour).await;
        let door = Door::smtp(settings(&server));
        door.mail(ALICE).await.unwrap();
        assert!(matches!(door.mail(ALICE).await, Err(DeliveryError::Unsent(_))));
        assert_eq!((server.seen().mails.len(), server.seen().connections), (2, 1));
    }
}

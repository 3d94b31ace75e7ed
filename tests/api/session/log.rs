//! What is logged of people's addresses and secrets: nothing.

use std::{
    io::{self, Write},
    sync::{Mutex, Once},
};

use serde_json::json;
use tracing::Level;

use super::{GET_VALIDATED, session, submit, unlimited, wrong};
use crate::{
    harness::TestApp,
    smtp::{Behaviour, Trouble},
};

/// What this process logged at info and above, whichever test made it do so: the server works on
/// threads of its own.
static TEXT: Mutex<Vec<u8>> = Mutex::new(Vec::new());

struct Writer;

impl Write for Writer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        TEXT.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

pub(crate) fn record() {
    static START: Once = Once::new();
    START.call_once(|| {
        let subscriber = tracing_subscriber::fmt()
            .with_ansi(false)
            .with_max_level(Level::INFO)
            .with_writer(|| Writer)
            .finish();
        tracing::subscriber::set_global_default(subscriber).unwrap();
    });
}

pub(crate) fn text() -> String {
    String::from_utf8(TEXT.lock().unwrap().clone()).unwrap()
}

#[tokio::test]
async fn neither_addresses_nor_tokens_nor_secrets_are_logged() {
    record();
    // Said by no other test of this process.
    let (address, secret) = ("unlogged.person@private.example", "unlogged.secret");
    let behaviour = Behaviour {
        trouble: Some(("RCPT", Trouble::Says("550 5.1.1 unlogged.person@private.example? no"))),
        mails_before_trouble: 1,
        ..Behaviour::default()
    };
    let app = TestApp::with_smtp(&unlimited(""), behaviour).await;
    let alice = app.account("@unlogged:hs.example").await;
    let opened = session(&alice.request_token(address, secret, 1).await);
    let opened = crate::harness::Session { client_secret: secret.to_owned(), ..opened };
    let mail = app.last_mail_to(address);
    alice.request_token(address, secret, 2).await.refused(400, "M_EMAIL_SEND_ERROR");
    submit(&alice, &opened, &wrong(&mail.token)).await.refused(400, "M_TOKEN_INCORRECT");
    app.open(&mail.link.replace(&mail.token, "other")).await;
    assert_eq!(app.open(&mail.link).await.status, 200);
    submit(&alice, &opened, &mail.token).await.ok();
    alice.get(&format!("{GET_VALIDATED}?{}", opened.query())).await.ok();
    let mut bind = opened.json();
    bind["mxid"] = json!("@unlogged:hs.example");
    alice.post("/3pid/bind", bind).await.ok();
    assert!(alice.find(&[address]).await[0].is_some());
    app.background().await;

    let log = text();
    for expected in ["/validate/{medium}/submitToken", "a mail was not sent", "550 5.1.1"] {
        assert!(log.contains(expected), "the log was not recorded: {log}");
    }
    let access_token = alice.token.unwrap();
    let secrets = ["unlogged.person", "private.example", secret, &mail.token, &access_token];
    for kept in secrets {
        assert!(!log.contains(kept), "{kept} is in the log");
    }
    let reversed = wrong(&mail.token);
    assert!(!log.contains(&reversed), "a guessed token is in the log");
}

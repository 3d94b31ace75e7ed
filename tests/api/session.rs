//! Validation sessions: asking for a mail, proving the address, reading the proof.

use serde_json::{Value, json};

use crate::harness::{Answer, Caller, Session, TestApp};

mod attempts;
mod lifetime;
mod link;
pub(crate) mod log;
mod mail;
mod next_link;
mod request;
mod submit;

const ALICE: &str = "alice@example.org";
const SECRET: &str = "monkeys_are.GREAT";
const REQUEST_TOKEN: &str = "/validate/email/requestToken";
const SUBMIT_TOKEN: &str = "/validate/email/submitToken";
const GET_VALIDATED: &str = "/3pid/getValidated3pid";

/// A good request for a mail to Alice.
fn request() -> Value {
    json!({ "client_secret": SECRET, "email": ALICE, "send_attempt": 1 })
}

/// Asks for a mail; that must succeed.
async fn ask(caller: &Caller<'_>, email: &str, attempt: i64) -> Session {
    session(&caller.request_token(email, SECRET, attempt).await)
}

/// The session that was answered to a request with [`SECRET`].
fn session(answer: &Answer) -> Session {
    let sid = answer.ok()["sid"].as_str().unwrap().to_owned();
    Session { sid, client_secret: SECRET.to_owned() }
}

/// Submits a token as an app does.
async fn submit(caller: &Caller<'_>, session: &Session, token: &str) -> Answer {
    let mut body = session.json();
    body["token"] = json!(token);
    caller.post(SUBMIT_TOKEN, body).await
}

/// Reads what a session has validated.
async fn read(caller: &Caller<'_>, session: &Session) -> Answer {
    caller.get(&format!("{GET_VALIDATED}?{}", session.query())).await
}

/// The newest token that was mailed to Alice.
fn token(app: &TestApp) -> String {
    app.last_mail_to(ALICE).token
}

/// Half a token with another half: of the right form, and wrong.
fn wrong(token: &str) -> String {
    token.chars().rev().collect()
}

/// More configuration, with the rate limits off.
fn unlimited(toml: &str) -> String {
    format!("[limits]\nenabled = false\n{toml}")
}

//! Phone numbers: validated by a code in a text message, bound, found, unbound.

use serde_json::{Value, json};

use crate::{
    gateway::{Answer as Told, Gateway},
    harness::{Answer, Caller, Session, TestApp, hash},
};

const ALICE: &str = "@alice:hs.example";

/// The number of the specification's examples, which belongs to nobody.
const NUMBER: &str = "447700900001";

const REQUEST_TOKEN: &str = "/validate/msisdn/requestToken";

const SUBMIT_TOKEN: &str = "/validate/msisdn/submitToken";

/// A server that sends its text messages to a gateway that speaks as Twilio does.
async fn start() -> (TestApp, Gateway) {
    let gateway = Gateway::start().await;
    let toml = format!("limits.enabled = false\n{}", gateway.twilio_toml());
    (TestApp::with(&toml).await, gateway)
}

fn request((country, number): (&str, &str), secret: &str, attempt: i64) -> Value {
    json!({
        "country": country, "phone_number": number,
        "client_secret": secret, "send_attempt": attempt,
    })
}

async fn ask(caller: &Caller<'_>, secret: &str, attempt: i64) -> Answer {
    caller.post(REQUEST_TOKEN, request(("GB", "07700 900001"), secret, attempt)).await
}

async fn submit(caller: &Caller<'_>, session: &Session, token: &str) -> Answer {
    let mut body = session.json();
    body["token"] = json!(token);
    caller.post(SUBMIT_TOKEN, body).await
}

/// The code in the newest message.
fn code(gateway: &Gateway) -> String {
    let message = gateway.messages().pop().unwrap();
    let digits = message.text.split(|c: char| !c.is_ascii_digit());
    digits.max_by_key(|digits| digits.len()).unwrap().to_owned()
}

fn session(opened: &Value, secret: &str) -> Session {
    Session { sid: opened["sid"].as_str().unwrap().to_owned(), client_secret: secret.to_owned() }
}

/// A session whose number was validated.
async fn validated(caller: &Caller<'_>, gateway: &Gateway, secret: &str) -> Session {
    let session = session(&ask(caller, secret, 1).await.ok(), secret);
    submit(caller, &session, &code(gateway)).await.ok();
    session
}

#[tokio::test]
async fn a_number_is_understood_however_it_is_typed() {
    let (app, gateway) = start().await;
    let alice = app.account(ALICE).await;
    let forms = [
        ("GB", "07700900001"),
        ("GB", "447700900001"),
        ("GB", "+44 7700 900001"),
        ("US", "+44 (0)7700-900001"),
        ("GB", "0044 7700 900001"),
        ("US", "011 44 7700 900001"),
        ("GB", "０７７００９００００１"),
    ];
    let mut sids = Vec::new();
    for form in forms {
        let mut opened = alice.post(REQUEST_TOKEN, request(form, "secret", 1)).await.ok();
        sids.push(opened["sid"].take());
        let expected = json!({
            "sid": null, "success": true, "msisdn": NUMBER, "intl_fmt": "+44 7700 900001",
        });
        assert_eq!(opened, expected, "{form:?}");
    }
    // They are one number: the same attempt of the same client is one session and one message.
    sids.dedup();
    assert_eq!(sids.len(), 1);
    let messages = gateway.messages();
    assert_eq!(messages.len(), 1);
    assert_eq!((&*messages[0].to, &*messages[0].from), ("+447700900001", "+15005550006"));
    assert!(messages[0].text.contains("id.example.org"), "{:?}", messages[0]);
}

#[tokio::test]
async fn what_is_no_number_is_refused() {
    let (app, gateway) = start().await;
    let alice = app.account(ALICE).await;
    for form in [
        ("GB", "12"),
        ("GB", "not a number"),
        ("GB", ""),
        ("GB", "077009000010770090000107700900001"),
        ("ZZ", "07700900001"),
        ("", "07700900001"),
        ("Germany", "030 123456"),
        ("GB", "07700 900001 ext. 5"),
    ] {
        let refused = alice.post(REQUEST_TOKEN, request(form, "secret", 1)).await;
        refused.refused(400, "M_INVALID_ADDRESS");
    }
    for missing in ["country", "phone_number", "client_secret", "send_attempt"] {
        let mut body = request(("GB", "07700900001"), "secret", 1);
        body.as_object_mut().unwrap().remove(missing);
        alice.post(REQUEST_TOKEN, body).await.refused(400, "M_MISSING_PARAMS");
    }
    let stranger = app.stranger();
    ask(&stranger, "secret", 1).await.refused(401, "M_UNAUTHORIZED");
    assert_eq!(gateway.messages().len(), 0);
}

#[tokio::test]
async fn a_number_is_validated_bound_found_and_unbound() {
    let (app, gateway) = start().await;
    let alice = app.account(ALICE).await;
    let session = session(&ask(&alice, "secret", 1).await.ok(), "secret");
    let read = format!("/3pid/getValidated3pid?{}", session.query());
    alice.get(&read).await.refused(400, "M_SESSION_NOT_VALIDATED");
    // People type codes in groups.
    let code = code(&gateway);
    let spaced = format!(" {} {}\n", &code[..3], &code[3..]);
    assert_eq!(submit(&alice, &session, &spaced).await.ok(), json!({ "success": true }));
    let validated = alice.get(&read).await.ok();
    assert_eq!((&validated["medium"], &validated["address"]), (&json!("msisdn"), &json!(NUMBER)));
    let mut body = session.json();
    body["mxid"] = json!(ALICE);
    let bound = alice.post("/3pid/bind", body).await.ok();
    assert_eq!((&bound["medium"], &bound["address"]), (&json!("msisdn"), &json!(NUMBER)));
    assert!(bound["signatures"]["id.example.org"].is_object(), "{bound}");
    assert_eq!(found(&alice).await, json!(ALICE));
    let mut unbind = session.json();
    unbind["mxid"] = json!(ALICE);
    unbind["threepid"] = json!({ "medium": "msisdn", "address": NUMBER });
    alice.post("/3pid/unbind", unbind).await.ok();
    assert_eq!(found(&alice).await, Value::Null);
}

/// Who is found by the number's hash.
async fn found(caller: &Caller<'_>) -> Value {
    let pepper = caller.get("/hash_details").await.ok()["lookup_pepper"].clone();
    let pepper = pepper.as_str().unwrap();
    let hash = hash(NUMBER, "msisdn", pepper);
    let body = json!({ "algorithm": "sha256", "pepper": pepper, "addresses": [hash] });
    caller.post("/lookup", body).await.ok()["mappings"][hash].clone()
}

#[tokio::test]
async fn a_code_has_six_digits_or_as_many_as_the_operator_wants() {
    let (app, gateway) = start().await;
    ask(&app.account(ALICE).await, "secret", 1).await.ok();
    assert_eq!(code(&gateway).len(), 6);
    let gateway = Gateway::start().await;
    let toml = format!("sessions.code_digits = 8\n{}", gateway.twilio_toml());
    let app = TestApp::with(&toml).await;
    ask(&app.account(ALICE).await, "secret", 1).await.ok();
    assert_eq!(code(&gateway).len(), 8);
}

#[tokio::test]
async fn a_link_with_the_code_validates_as_well() {
    let (app, gateway) = start().await;
    let alice = app.account(ALICE).await;
    let session = session(&ask(&alice, "secret", 1).await.ok(), "secret");
    let path = format!("{}/_matrix/identity/v2{SUBMIT_TOKEN}", app.base);
    let wrong = app.open(&format!("{path}?{}&token=nothing", session.query())).await;
    assert_eq!((wrong.status, wrong.header("content-type")), (400, "text/html; charset=utf-8"));
    let link = format!("{path}?{}&token={}", session.query(), code(&gateway));
    let page = app.open(&link).await;
    assert_eq!(page.status, 200);
    assert!(page.body.contains("Your phone number is confirmed"), "{}", page.body);
    alice.get(&format!("/3pid/getValidated3pid?{}", session.query())).await.ok();
}

#[tokio::test]
async fn guessing_kills_the_session_before_it_gets_anywhere() {
    let (app, gateway) = start().await;
    let alice = app.account(ALICE).await;
    let session = session(&ask(&alice, "secret", 1).await.ok(), "secret");
    let code = code(&gateway);
    let wrong = if code.starts_with('0') { "100000" } else { "000000" };
    for _ in 0..10 {
        submit(&alice, &session, wrong).await.refused(400, "M_TOKEN_INCORRECT");
    }
    submit(&alice, &session, &code).await.refused(429, "M_LIMIT_EXCEEDED");
    // The same client starts again with a higher attempt, in a session of its own.
    let again = ask(&alice, "secret", 2).await.ok();
    assert_ne!(again["sid"], session.sid);
    assert_eq!(gateway.messages().len(), 2);
}

#[tokio::test]
async fn a_code_is_worth_nothing_without_the_secret_of_the_client_that_asked() {
    let (app, gateway) = start().await;
    let alice = app.account(ALICE).await;
    let mine = session(&ask(&alice, "secret", 1).await.ok(), "secret");
    let first = code(&gateway);
    let other = session(&ask(&alice, "another", 1).await.ok(), "another");
    assert_ne!(mine.sid, other.sid);
    let stolen = Session { sid: mine.sid.clone(), client_secret: other.client_secret.clone() };
    submit(&alice, &stolen, &first).await.refused(400, "M_INVALID_PARAM");
    if first != code(&gateway) {
        submit(&alice, &other, &first).await.refused(400, "M_TOKEN_INCORRECT");
    }
}

#[tokio::test]
async fn only_a_higher_attempt_sends_again_and_only_the_last_three_codes_are_good() {
    let (app, gateway) = start().await;
    let alice = app.account(ALICE).await;
    let session = session(&ask(&alice, "secret", 1).await.ok(), "secret");
    let first = code(&gateway);
    ask(&alice, "secret", 1).await.ok();
    ask(&alice, "secret", 0).await.ok();
    assert_eq!(gateway.messages().len(), 1);
    for attempt in 2..=4 {
        app.clock.advance(std::time::Duration::from_secs(1));
        assert_eq!(ask(&alice, "secret", attempt).await.ok()["sid"], session.sid);
    }
    assert_eq!(gateway.messages().len(), 4);
    let later: Vec<_> = gateway.messages().iter().skip(1).map(|m| m.text.clone()).collect();
    if !later.iter().any(|text| text.contains(&first)) {
        submit(&alice, &session, &first).await.refused(400, "M_TOKEN_INCORRECT");
    }
    submit(&alice, &session, &code(&gateway)).await.ok();
}

#[tokio::test]
async fn what_the_provider_refuses_is_told_apart_from_what_it_fails_at() {
    let (app, gateway) = start().await;
    let alice = app.account(ALICE).await;
    gateway.answer_with(Told::twilio_error(400, 21211));
    ask(&alice, "secret", 1).await.refused(400, "M_INVALID_ADDRESS");
    gateway.answer_with(Told::twilio_error(400, 21610));
    ask(&alice, "secret", 1).await.refused(400, "M_DESTINATION_REJECTED");
    gateway.answer_with(Told::Text(503, "down".to_owned()));
    ask(&alice, "secret", 1).await.refused(400, "M_SEND_ERROR");
    gateway.answer_with(Told::HangsUp);
    ask(&alice, "secret", 1).await.refused(400, "M_SEND_ERROR");
    // What was not sent is sent when the same attempt is made again.
    gateway.answer_with(Told::Success);
    let before = gateway.messages().len();
    let session = session(&ask(&alice, "secret", 1).await.ok(), "secret");
    assert_eq!(gateway.messages().len(), before + 1);
    submit(&alice, &session, &code(&gateway)).await.ok();
}

#[tokio::test]
async fn without_a_provider_no_phone_numbers_are_validated_but_they_are_found() {
    let app = TestApp::start().await;
    let alice = app.account(ALICE).await;
    ask(&alice, "secret", 1).await.refused(404, "M_UNRECOGNIZED");
    for path in [REQUEST_TOKEN, SUBMIT_TOKEN] {
        alice.get(path).await.refused(404, "M_UNRECOGNIZED");
        alice.post(path, json!({})).await.refused(404, "M_UNRECOGNIZED");
    }
    assert_eq!(found(&alice).await, Value::Null);
}

#[tokio::test]
async fn two_accounts_can_hold_a_number_one_after_the_other() {
    let (app, gateway) = start().await;
    for mxid in [ALICE, "@bob:hs.example"] {
        let caller = app.account(mxid).await;
        let session = validated(&caller, &gateway, &mxid.replace(['@', ':'], "_")).await;
        let mut body = session.json();
        body["mxid"] = json!(mxid);
        caller.post("/3pid/bind", body).await.ok();
        assert_eq!(found(&caller).await, json!(mxid));
    }
}

//! What a request for a mail must say, and in which forms it may say it.

use serde_json::{Value, json};

use super::{
    ALICE, GET_VALIDATED, REQUEST_TOKEN, SECRET, SUBMIT_TOKEN, request, session, submit, token,
};
use crate::harness::TestApp;

const FORM: &str = "application/x-www-form-urlencoded";
/// As the specification spells it.
const MISSPELT_FORM: &str = "application/x-form-www-urlencoded";

#[tokio::test]
async fn a_session_id_is_a_string_of_the_allowed_characters() {
    let app = TestApp::start().await;
    let answer = app.account("@alice:hs.example").await.post(REQUEST_TOKEN, request()).await.ok();
    let sid = answer["sid"].as_str().unwrap();
    assert!((1..=255).contains(&sid.len()), "{sid}");
    assert!(sid.chars().all(|c| c.is_ascii_alphanumeric() || ".=_-".contains(c)), "{sid}");
}

#[tokio::test]
async fn the_endpoints_want_an_access_token_before_anything_else() {
    let app = TestApp::start().await;
    let stranger = app.stranger();
    for path in [REQUEST_TOKEN, SUBMIT_TOKEN] {
        stranger.post(path, request()).await.refused(401, "M_UNAUTHORIZED");
        stranger.post_raw(path, "text/plain", "{").await.refused(401, "M_UNAUTHORIZED");
    }
    stranger.get(GET_VALIDATED).await.refused(401, "M_UNAUTHORIZED");
    assert_eq!(app.mails(), 0);
}

#[tokio::test]
async fn each_missing_field_is_told() {
    let app = TestApp::start().await;
    let alice = app.account("@alice:hs.example").await;
    for field in ["client_secret", "email", "send_attempt"] {
        let mut without = request();
        without.as_object_mut().unwrap().remove(field);
        let mut null = request();
        null[field] = Value::Null;
        for body in [without, null] {
            let refusal = alice.post(REQUEST_TOKEN, body).await.refused(400, "M_MISSING_PARAMS");
            assert!(refusal["error"].as_str().unwrap().contains(field), "{refusal}");
        }
    }
    assert_eq!(app.mails(), 0);
}

#[tokio::test]
async fn a_client_secret_of_other_characters_or_lengths_is_refused() {
    let app = TestApp::start().await;
    let alice = app.account("@alice:hs.example").await;
    let too_long = "a".repeat(256);
    for text in ["", "a b", "a~b", "a+b", "a/b", "a\n", "ä", &too_long] {
        alice.request_token(ALICE, text, 1).await.refused(400, "M_INVALID_PARAM");
    }
    for other in [json!(1), json!(true), json!(["a"]), json!({ "a": "b" })] {
        let mut body = request();
        body["client_secret"] = other;
        alice.post(REQUEST_TOKEN, body).await.refused(400, "M_INVALID_PARAM");
    }
    assert_eq!(app.mails(), 0);
    for text in ["a", ".=_-", &"a".repeat(255)] {
        alice.request_token(ALICE, text, 1).await.ok();
    }
}

#[tokio::test]
async fn what_is_no_email_address_is_refused() {
    let app = TestApp::start().await;
    let alice = app.account("@alice:hs.example").await;
    let too_long = format!("{}@example.org", "a".repeat(500));
    for text in [
        "",
        "alice",
        "@example.org",
        "alice@",
        "alice@bob@example.org",
        "alice smith@example.org",
        " alice@example.org",
        "alice@example.org\n",
        "alice@exa mple.org",
        "alice@example.org\r\nBcc: bob@example.org",
        "<alice@example.org>",
        "Alice <alice@example.org>",
        "mailto:alice@example.org",
        "alice@example.org,bob@example.org",
        "al\u{0}ice@example.org",
        &too_long,
    ] {
        let refusal = alice.request_token(text, SECRET, 1).await.refused(400, "M_INVALID_EMAIL");
        assert!(!refusal["error"].as_str().unwrap().contains("bob"), "{refusal}");
    }
    for other in [json!(1), json!([ALICE])] {
        let mut body = request();
        body["email"] = other;
        alice.post(REQUEST_TOKEN, body).await.refused(400, "M_INVALID_PARAM");
    }
    assert_eq!(app.mails(), 0);
}

#[tokio::test]
async fn a_send_attempt_is_a_whole_number_or_its_digits_in_a_string() {
    let app = TestApp::start().await;
    let alice = app.account("@alice:hs.example").await;
    for (secret, good) in
        [("a", json!(1)), ("b", json!("1")), ("c", json!(9_007_199_254_740_991_i64))]
    {
        let body = json!({ "client_secret": secret, "email": ALICE, "send_attempt": good });
        alice.post(REQUEST_TOKEN, body).await.ok();
    }
    assert_eq!(app.mails(), 3);
    // Written out, since not all of them are numbers in Rust.
    for bad in [
        "1.5",
        "true",
        "false",
        "\"\"",
        "\"one\"",
        "\"1.5\"",
        "\" 1\"",
        "\"1 \"",
        "\"true\"",
        "[1]",
        "{}",
        "9007199254740992",
        "99999999999999999999",
        "1e300",
        "\"99999999999999999999\"",
    ] {
        let body = format!(r#"{{"client_secret":"d","email":"{ALICE}","send_attempt":{bad}}}"#);
        let answer = alice.post_raw(REQUEST_TOKEN, "application/json", &body).await;
        answer.refused(400, "M_INVALID_PARAM");
    }
    assert_eq!(app.mails(), 3);
}

#[tokio::test]
async fn a_body_that_is_no_json_object_is_refused() {
    let app = TestApp::start().await;
    let alice = app.account("@alice:hs.example").await;
    for body in ["", "{", "email=alice", "{\"email\":}", "{} {}"] {
        let answer = alice.post_raw(REQUEST_TOKEN, "application/json", body).await;
        answer.refused(400, "M_NOT_JSON");
    }
    for body in ["[]", "\"text\"", "1", "null", "true"] {
        let answer = alice.post_raw(REQUEST_TOKEN, "application/json", body).await;
        answer.refused(400, "M_BAD_JSON");
    }
    assert_eq!(app.mails(), 0);
}

#[tokio::test]
async fn json_is_json_whatever_its_content_type_says() {
    let app = TestApp::start().await;
    let alice = app.account("@alice:hs.example").await;
    let types = ["text/plain", "nonsense", "application/json; charset=utf-8", FORM, MISSPELT_FORM];
    for (number, content_type) in types.into_iter().enumerate() {
        let mut body = request();
        body["send_attempt"] = json!(number + 1);
        alice.post_raw(REQUEST_TOKEN, content_type, &format!(" {body}")).await.ok();
    }
    let without = alice.request("POST", REQUEST_TOKEN).body(request().to_string());
    crate::harness::answer(without).await.ok();
    assert_eq!(app.mails(), types.len());
}

#[tokio::test]
async fn forms_are_read_in_both_spellings_of_their_type() {
    let app = TestApp::start().await;
    let alice = app.account("@alice:hs.example").await;
    for (number, content_type) in
        [FORM, MISSPELT_FORM, "Application/X-WWW-Form-Urlencoded; charset=UTF-8"]
            .into_iter()
            .enumerate()
    {
        let secret = format!("form.{number}");
        let form =
            format!("client_secret={secret}&email=al%69ce%40example.org&send_attempt=1&next_link=");
        let opened = alice.post_raw(REQUEST_TOKEN, content_type, &form).await.ok();
        let sid = opened["sid"].as_str().unwrap();
        let form = format!("sid={sid}&client_secret={secret}&token={}", token(&app));
        let done = alice.post_raw(SUBMIT_TOKEN, content_type, &form).await.ok();
        assert_eq!(done, json!({ "success": true }));
    }
    let answer = alice.post_raw(REQUEST_TOKEN, FORM, "email=alice").await;
    answer.refused(400, "M_MISSING_PARAMS");
}

#[tokio::test]
async fn an_empty_next_link_and_unknown_keys_count_for_nothing() {
    let app = TestApp::start().await;
    let alice = app.account("@alice:hs.example").await;
    for (attempt, next_link) in [Value::Null, json!("")].into_iter().enumerate() {
        let mut body = request();
        body["send_attempt"] = json!(attempt + 1);
        body["next_link"] = next_link;
        body["org.example.unknown"] = json!({ "a": [1] });
        alice.post(REQUEST_TOKEN, body).await.ok();
        assert_eq!(app.open(&app.last_mail_to(ALICE).link).await.status, 200);
    }
}

#[tokio::test]
async fn the_mail_goes_to_the_canonical_address_and_not_to_the_typed_one() {
    let app = TestApp::start().await;
    let alice = app.account("@alice:hs.example").await;
    // Each of these would fold to an address that somebody else reads.
    for (typed, canonical) in [
        ("Strauß@Example.com", "strauss@example.com"),
        ("\u{212a}elvin@example.org", "kelvin@example.org"),
        ("ſam@example.org", "sam@example.org"),
        ("ﬁsh@example.org", "fish@example.org"),
        ("ALICE@EXAMPLE.ORG", ALICE),
    ] {
        let session = session(&alice.request_token(typed, SECRET, 1).await);
        let mail = app.last_mail_to(canonical);
        submit(&alice, &session, &mail.token).await.ok();
        let read = super::read(&alice, &session).await.ok();
        assert_eq!(read["address"], canonical);
    }
    for mail in app.smtp.seen().mails {
        let raw = String::from_utf8(mail.raw).unwrap();
        assert!(raw.is_ascii(), "a mail to a typed address: {raw}");
    }
}

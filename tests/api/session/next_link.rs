//! `next_link`: where a person is led to after the link was opened.

use serde_json::{Value, json};

use super::{ALICE, REQUEST_TOKEN, SUBMIT_TOKEN, request, session, token, unlimited};
use crate::{
    harness::{Answer, Caller, TestApp},
    smtp::{Behaviour, Trouble},
};

/// Asks for a mail that leads on to `next_link`.
async fn ask(caller: &Caller<'_>, attempt: i64, next_link: impl Into<Value>) -> Answer {
    let mut body = request();
    body["send_attempt"] = json!(attempt);
    body["next_link"] = next_link.into();
    caller.post(REQUEST_TOKEN, body).await
}

/// Where the newest mail's link leads to.
async fn led_to(app: &TestApp) -> String {
    let answer = app.open(&app.last_mail_to(ALICE).link).await;
    assert_eq!(answer.status, 303, "{answer:?}");
    assert_eq!(answer.header("cache-control"), "no-store");
    assert_eq!(answer.header("referrer-policy"), "no-referrer");
    assert!(answer.body.is_empty(), "{}", answer.body);
    answer.header("location").to_owned()
}

#[tokio::test]
async fn the_link_leads_on_to_exactly_what_was_given() {
    let app = TestApp::start().await;
    let alice = app.account("@alice:hs.example").await;
    for (attempt, next_link) in [
        "https://app.example.org/done?session=1&name=a%20b%2Fc&x=%C3%A9+1#/top",
        "http://localhost:8080/",
        "https://app.example.org/#/hash?sid=5",
    ]
    .into_iter()
    .enumerate()
    {
        // A validated session is not sent again.
        let mut body = request();
        body["client_secret"] = json!(format!("secret.{attempt}"));
        body["next_link"] = json!(next_link);
        alice.post(REQUEST_TOKEN, body).await.ok();
        for _ in 0..2 {
            assert_eq!(led_to(&app).await, next_link);
        }
    }
}

#[tokio::test]
async fn a_next_link_that_is_no_absolute_http_url_is_refused() {
    let app = TestApp::start().await;
    let alice = app.account("@alice:hs.example").await;
    for next_link in [
        "javascript:alert(1)",
        "JavaScript:alert(1)",
        " java\tscript:alert(1)",
        "javascript://app.example.org/%0aalert(1)",
        "data:text/html,<script>alert(1)</script>",
        "file:///etc/passwd",
        "vbscript:x",
        "blob:https://app.example.org/1",
        "ftp://app.example.org/",
        "mailto:bob@example.org",
        "/done",
        "done",
        "//evil.example/",
        "?next=1",
        "app.example.org/done",
        "https://",
        "https:///",
        "https://exa mple.org/",
        "https://app.example.org:99999/",
        "http",
    ] {
        ask(&alice, 1, next_link).await.refused(400, "M_INVALID_PARAM");
    }
    for next_link in [json!(1), json!(true), json!(["https://app.example.org"]), json!({})] {
        ask(&alice, 1, next_link).await.refused(400, "M_INVALID_PARAM");
    }
    assert_eq!(app.mails(), 0);
}

#[tokio::test]
async fn a_line_break_in_a_next_link_adds_no_header() {
    let app = TestApp::start().await;
    let alice = app.account("@alice:hs.example").await;
    ask(&alice, 1, "https://app.example.org/\r\nSet-Cookie: a=b").await.ok();
    let answer = app.open(&app.last_mail_to(ALICE).link).await;
    assert!(!answer.headers.contains_key("set-cookie"));
    assert_eq!(answer.header("location"), "https://app.example.org/Set-Cookie:%20a=b");
}

#[tokio::test]
async fn the_query_of_the_link_can_not_lead_elsewhere() {
    let app = TestApp::start().await;
    let alice = app.account("@alice:hs.example").await;
    super::ask(&alice, ALICE, 1).await;
    let link = app.last_mail_to(ALICE).link;
    let elsewhere = "next_link=https%3A%2F%2Fevil.example%2F&nextLink=https%3A%2F%2Fevil.example";
    let page = app.open(&format!("{link}&{elsewhere}")).await;
    assert_eq!(page.status, 200);
    assert!(!page.body.contains("evil.example"));

    ask(&alice, 2, "https://app.example.org/").await.ok();
    let link = app.last_mail_to(ALICE).link.replace('?', &format!("?{elsewhere}&"));
    assert_eq!(app.open(&link).await.header("location"), "https://app.example.org/");
}

#[tokio::test]
async fn an_operator_says_to_which_hosts_links_may_lead() {
    let hosts = "[sessions]\nnext_link_hosts = ['app.example.org', 'localhost']";
    let app = TestApp::with(&unlimited(hosts)).await;
    let alice = app.account("@alice:hs.example").await;
    for next_link in [
        "https://evil.example/",
        "https://sub.app.example.org/",
        "https://app.example.org.evil.example/",
        "https://notapp.example.org/",
        "https://app.example.org@evil.example/",
        "https://app.example.org:443@evil.example/",
        "https://evil.example/app.example.org",
        "https://evil.example#@app.example.org/",
        "https://evil.example?@app.example.org/",
        "https://evil.example\\@app.example.org/",
        "https:\\\\evil.example/app.example.org",
        "https://127.0.0.1/",
    ] {
        ask(&alice, 1, next_link).await.refused(400, "M_INVALID_PARAM");
    }
    assert_eq!(app.mails(), 0);
    for (number, next_link) in
        ["https://app.example.org/done", "https://APP.example.org:8443/", "http://localhost:8080/"]
            .into_iter()
            .enumerate()
    {
        ask(&alice, i64::try_from(number).unwrap(), next_link).await.ok();
        assert_eq!(app.mails(), number + 1);
    }
    // No next_link at all is always allowed.
    ask(&alice, 9, Value::Null).await.ok();
}

#[tokio::test]
async fn the_next_link_of_the_latest_accepted_request_wins() {
    let behaviour = Behaviour {
        trouble: Some(("RCPT", Trouble::Says("451 4.3.0 later"))),
        mails_before_trouble: 2,
        ..Behaviour::default()
    };
    let app = TestApp::with_smtp(&unlimited(""), behaviour).await;
    let alice = app.account("@alice:hs.example").await;
    ask(&alice, 1, "https://app.example.org/1").await.ok();
    let first_mail = app.last_mail_to(ALICE).link;
    ask(&alice, 2, "https://app.example.org/2").await.ok();
    assert_ne!(app.last_mail_to(ALICE).link, first_mail);
    // Refused, and not sent: neither of them counts.
    ask(&alice, 3, "javascript:alert(1)").await.refused(400, "M_INVALID_PARAM");
    ask(&alice, 3, "https://app.example.org/3").await.refused(400, "M_EMAIL_SEND_ERROR");
    for link in [&first_mail, &app.last_mail_to(ALICE).link] {
        assert_eq!(app.open(link).await.header("location"), "https://app.example.org/2");
    }
}

#[tokio::test]
async fn a_repeated_request_can_change_where_the_link_leads() {
    let app = TestApp::start().await;
    let alice = app.account("@alice:hs.example").await;
    ask(&alice, 1, "https://app.example.org/1").await.ok();
    ask(&alice, 1, "https://app.example.org/2").await.ok();
    assert_eq!(app.mails(), 1);
    assert_eq!(led_to(&app).await, "https://app.example.org/2");
    ask(&alice, 1, Value::Null).await.ok();
    assert_eq!(app.open(&app.last_mail_to(ALICE).link).await.status, 200);
}

#[tokio::test]
async fn a_token_that_an_app_submits_leads_nowhere() {
    let app = TestApp::start().await;
    let alice = app.account("@alice:hs.example").await;
    let opened = session(&ask(&alice, 1, "https://app.example.org/").await);
    let mut body = opened.json();
    body["token"] = json!(token(&app));
    body["next_link"] = json!("https://evil.example/");
    let answer = alice.post(SUBMIT_TOKEN, body).await;
    assert_eq!(answer.ok(), json!({ "success": true }));
    assert!(!answer.headers.contains_key("location"));
}

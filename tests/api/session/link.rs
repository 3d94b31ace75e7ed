//! Opening the mailed link, as a person's browser does.

use std::time::Duration;

use super::{ALICE, SUBMIT_TOKEN, ask, read, token, unlimited, wrong};
use crate::harness::{Answer, TestApp};

/// The path of the mailed link.
const PATH: &str = "/_matrix/identity/v2/validate/email/submitToken";

/// A page for people: not kept, not framed, with nothing loaded into it.
fn assert_page(page: &Answer, status: u16) {
    assert_eq!(page.status, status, "{page:?}");
    assert_eq!(page.header("content-type"), "text/html; charset=utf-8");
    assert_eq!(page.header("cache-control"), "no-store");
    assert_eq!(page.header("referrer-policy"), "no-referrer");
    assert_eq!(page.header("x-content-type-options"), "nosniff");
    let policy = page.header("content-security-policy");
    assert!(policy.contains("default-src 'none'"), "{policy}");
    assert!(policy.contains("frame-ancestors 'none'"), "{policy}");
    assert_eq!(page.header("access-control-allow-origin"), "*");
    assert!(!page.headers.contains_key("location"));
    assert!(page.body.starts_with("<!DOCTYPE html>"), "{}", page.body);
    assert!(page.body.contains("<html lang=\"en\""));
    assert!(!page.body.contains("<script"));
    assert!(!page.body.contains(ALICE), "the address is on the page");
}

#[tokio::test]
async fn the_link_needs_no_access_token_and_shows_a_page() {
    let app = TestApp::start().await;
    let alice = app.account("@alice:hs.example").await;
    let session = ask(&alice, ALICE, 1).await;
    let link = app.last_mail_to(ALICE).link;
    assert!(link.starts_with(&format!("{}{PATH}?", app.base)), "{link}");
    assert_page(&app.open(&link).await, 200);
    read(&alice, &session).await.ok();
}

#[tokio::test]
async fn a_link_that_was_opened_before_still_works() {
    let app = TestApp::start().await;
    let alice = app.account("@alice:hs.example").await;
    let session = ask(&alice, ALICE, 1).await;
    let link = app.last_mail_to(ALICE).link;
    // As a mail scanner does that looks before the person comes.
    for _ in 0..3 {
        assert_page(&app.open(&link).await, 200);
    }
    app.clock.advance(Duration::from_mins(1));
    assert_page(&app.open(&link).await, 200);
    read(&alice, &session).await.ok();
}

#[tokio::test]
async fn credentials_that_are_sent_along_are_ignored_even_when_they_are_bad() {
    let app = TestApp::start().await;
    let alice = app.account("@alice:hs.example").await;
    ask(&alice, ALICE, 1).await;
    let link = app.last_mail_to(ALICE).link;
    let query = link.split_once('?').unwrap().1;
    for value in ["Bearer nonsense", "Basic YTpi", "", "Bearer"] {
        let path = format!("{SUBMIT_TOKEN}?{query}");
        let request = app.stranger().request("GET", &path).header("authorization", value);
        assert_page(&crate::harness::answer(request).await, 200);
    }
    assert_page(&app.open(&format!("{link}&access_token=nonsense")).await, 200);
}

#[tokio::test]
async fn whoever_owes_terms_can_open_the_link_all_the_same() {
    let terms = "[terms.privacy]\nversion = '1'\n\
                 en = { name = 'Privacy', url = 'https://example.org/privacy' }";
    let app = TestApp::with(&unlimited(terms)).await;
    let alice = app.account("@alice:hs.example").await;
    alice.request_token(ALICE, "a", 1).await.refused(403, "M_TERMS_NOT_SIGNED");
    let accepted = serde_json::json!({ "user_accepts": ["https://example.org/privacy"] });
    alice.post("/terms", accepted).await.ok();
    ask(&alice, ALICE, 1).await;
    assert_page(&app.open(&app.last_mail_to(ALICE).link).await, 200);
}

#[tokio::test]
async fn links_that_are_wrong_show_a_page_of_failure_and_lead_nowhere() {
    let app = TestApp::start().await;
    let alice = app.account("@alice:hs.example").await;
    let mut body = super::request();
    body["next_link"] = serde_json::json!("https://app.example.org/done");
    let session = super::session(&alice.post(super::REQUEST_TOKEN, body).await);
    let link = app.last_mail_to(ALICE).link;
    let (right, secret) = (token(&app), &session.client_secret);
    for broken in [
        link.replace(&right, &wrong(&right)),
        link.replace(secret.as_str(), "other"),
        link.replace(&session.sid, "other"),
        link.replace(&session.sid, "%3Cscript%3Ealert(1)%3C/script%3E"),
        link.replace("sid=", "id="),
        link.replace("client_secret=", "secret="),
        link.replace("&token=", "&t="),
        link.split_once('?').unwrap().0.to_owned(),
    ] {
        let page = app.open(&broken).await;
        assert_page(&page, 400);
        assert!(!page.body.contains("alert(1)"));
        assert!(page.body.contains("This link doesn&#39;t work"), "{}", page.body);
    }
    read(&alice, &session).await.refused(400, "M_SESSION_NOT_VALIDATED");
    // What went before was not held against it.
    assert_eq!(app.open(&link).await.status, 303);
}

#[tokio::test]
async fn an_expired_link_says_so() {
    let app = TestApp::start().await;
    let alice = app.account("@alice:hs.example").await;
    ask(&alice, ALICE, 1).await;
    app.clock.advance(Duration::from_hours(24));
    let page = app.open(&app.last_mail_to(ALICE).link).await;
    assert_page(&page, 400);
    assert!(page.body.contains("This link has expired"), "{}", page.body);
}

#[tokio::test]
async fn a_link_that_was_guessed_at_too_often_is_dead_and_says_when_it_can_be_tried_again() {
    let app = TestApp::with(&unlimited("[sessions]\nmax_attempts = 1")).await;
    let alice = app.account("@alice:hs.example").await;
    ask(&alice, ALICE, 1).await;
    let (link, right) = (app.last_mail_to(ALICE).link, token(&app));
    assert_page(&app.open(&link.replace(&right, &wrong(&right))).await, 400);
    let page = app.open(&link).await;
    assert_page(&page, 429);
    assert!(page.body.contains("This link is no longer valid"), "{}", page.body);
    assert_eq!(page.header("retry-after"), (24 * 3_600).to_string());
}

#[tokio::test]
async fn only_get_opens_the_link() {
    let app = TestApp::start().await;
    let alice = app.account("@alice:hs.example").await;
    let session = ask(&alice, ALICE, 1).await;
    let query = session.query() + "&token=" + &token(&app);
    for method in ["HEAD", "PUT", "DELETE", "PATCH"] {
        let path = format!("{SUBMIT_TOKEN}?{query}");
        let answer = crate::harness::answer(app.stranger().request(method, &path)).await;
        assert_eq!((answer.status, answer.header("allow")), (405, "GET, POST"), "{method}");
    }
    // An app's POST takes its fields from the body alone.
    let answer = alice.post(&format!("{SUBMIT_TOKEN}?{query}"), serde_json::json!({})).await;
    answer.refused(400, "M_MISSING_PARAMS");
    read(&alice, &session).await.refused(400, "M_SESSION_NOT_VALIDATED");
}

#[tokio::test]
async fn both_parts_of_the_mail_hold_the_link_and_the_token() {
    let app = TestApp::start().await;
    let alice = app.account("@alice:hs.example").await;
    let session = ask(&alice, ALICE, 1).await;
    let mail = app.last_mail_to(ALICE);
    let link = format!("{}{PATH}?{}&token={}", app.base, session.query(), mail.token);
    assert_eq!(mail.link, link);
    assert!(mail.html.contains(&format!("href=\"{}\"", link.replace('&', "&#38;"))));
    for part in [&mail.text, &mail.html] {
        assert_eq!(part.matches(&mail.token).count() - part.matches("token=").count(), 1);
    }
}

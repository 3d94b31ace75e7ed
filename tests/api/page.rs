//! The page that asks for a click, and the front page.

use serde_json::json;

use crate::harness::{Answer, PUBLIC_KEY, TestApp, answer};

const ALICE: &str = "alice@example.org";

const CONFIRM: &str = "limits.enabled = false\nsessions.confirm_page = true";

/// Clicks the button of a page as a browser does.
async fn click(app: &TestApp, page: &Answer) -> Answer {
    let attribute = |tag: &str, name: &str| {
        let (_, rest) = tag.split_once(&format!("{name}=\"")).unwrap();
        rest.split('"').next().unwrap().replace("&#38;", "&")
    };
    let mut tags = page.body.split('<');
    let action = attribute(tags.find(|tag| tag.starts_with("form")).unwrap(), "action");
    let inputs = tags.filter(|tag| tag.starts_with("input"));
    let fields: Vec<_> =
        inputs.map(|tag| (attribute(tag, "name"), attribute(tag, "value"))).collect();
    let form = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
    let path = action.strip_prefix(&app.base).unwrap();
    app.stranger().post_raw(path, "application/x-www-form-urlencoded", &form).await
}

#[tokio::test]
async fn a_link_asks_for_a_click_and_a_scanner_that_opens_it_confirms_nothing() {
    let app = TestApp::with(CONFIRM).await;
    let alice = app.account("@alice:hs.example").await;
    let opened = alice.request_token(ALICE, "secret", 1).await.ok();
    let link = app.last_mail_to(ALICE).link;
    let read = format!(
        "/3pid/getValidated3pid?sid={}&client_secret=secret",
        opened["sid"].as_str().unwrap()
    );
    let mut page = app.open(&link).await;
    for _ in 0..20 {
        page = app.open(&link).await;
    }
    assert_eq!(page.status, 200);
    assert!(page.body.contains(ALICE), "{}", page.body);
    alice.get(&read).await.refused(400, "M_SESSION_NOT_VALIDATED");
    let confirmed = click(&app, &page).await;
    assert_eq!(confirmed.status, 200, "{}", confirmed.body);
    assert!(confirmed.body.contains("Your e-mail address is confirmed"), "{}", confirmed.body);
    alice.get(&read).await.ok();
    // Both the link and the button say so from now on.
    for page in [app.open(&link).await, click(&app, &page).await] {
        assert_eq!(page.status, 200);
        assert!(page.body.contains("already"), "{}", page.body);
    }
}

#[tokio::test]
async fn the_click_leads_on_to_where_the_app_wants() {
    let app = TestApp::with(CONFIRM).await;
    let alice = app.account("@alice:hs.example").await;
    let body = json!({ "email": ALICE, "client_secret": "secret", "send_attempt": 1,
                       "next_link": "https://app.example/done?x=1" });
    alice.post("/validate/email/requestToken", body).await.ok();
    let page = app.open(&app.last_mail_to(ALICE).link).await;
    assert_eq!(page.status, 200);
    let policy = page.header("content-security-policy");
    let expected = format!("form-action 'self' {} https:; ", app.base);
    assert!(policy.contains(&expected), "{policy}");
    let led = click(&app, &page).await;
    assert_eq!((led.status, led.header("location")), (303, "https://app.example/done?x=1"));
}

#[tokio::test]
async fn no_host_that_a_stranger_chose_becomes_a_rule_of_the_page() {
    let app = TestApp::with(CONFIRM).await;
    let alice = app.account("@alice:hs.example").await;
    let next_link = "https://a;script-src/";
    let body = json!({ "email": ALICE, "client_secret": "secret", "send_attempt": 1,
                       "next_link": next_link });
    alice.post("/validate/email/requestToken", body).await.ok();
    let page = app.open(&app.last_mail_to(ALICE).link).await;
    let policy = page.header("content-security-policy");
    assert!(!policy.contains("script-src"), "{policy}");
}

#[tokio::test]
async fn a_link_that_is_of_no_use_says_so_before_any_click() {
    let app = TestApp::with(CONFIRM).await;
    let alice = app.account("@alice:hs.example").await;
    alice.request_token(ALICE, "secret", 1).await.ok();
    let link = app.last_mail_to(ALICE).link;
    let wrong_secret = app.open(&link.replace("client_secret=secret", "client_secret=other")).await;
    assert_eq!(wrong_secret.status, 400);
    let incomplete = app.open(link.split("&token").next().unwrap()).await;
    assert_eq!(incomplete.status, 400);
    // A wrong token comes out at the click.
    let page = app.open(&link.replace("token=", "token=x")).await;
    assert_eq!((page.status, click(&app, &page).await.status), (200, 400));
    app.clock.advance(std::time::Duration::from_hours(24));
    let expired = app.open(&link).await;
    assert_eq!(expired.status, 400);
    assert!(expired.body.contains("expired"), "{}", expired.body);
    for page in [wrong_secret, incomplete, expired] {
        assert_eq!(page.header("content-type"), "text/html; charset=utf-8");
        assert!(!page.body.contains("<form"), "{}", page.body);
    }
}

#[tokio::test]
async fn a_body_that_is_no_form_of_ours_gets_a_page_of_failure() {
    let app = TestApp::with(CONFIRM).await;
    for body in ["", "sid=1", "{", "[]", "sid=1&client_secret=a&token=%FF"] {
        let path = "/validate/email/confirmToken";
        let page = app.stranger().post_raw(path, "application/x-www-form-urlencoded", body).await;
        assert_eq!(page.status, 400, "{body}");
        assert_eq!(page.header("content-type"), "text/html; charset=utf-8");
    }
}

#[tokio::test]
async fn the_front_page_says_what_this_server_is() {
    let app = TestApp::with(
        "[terms.privacy]\nversion = '1'\n\
         en = { name = 'Privacy policy', url = 'https://example.org/privacy-en' }\n\
         de = { name = 'Datenschutz', url = 'https://example.org/privacy-de' }",
    )
    .await;
    let page = app.stranger().get("/").await;
    assert_eq!((page.status, page.header("content-type")), (200, "text/html; charset=utf-8"));
    let expected = [
        "id.example.org",
        &app.base,
        "ed25519:1",
        PUBLIC_KEY,
        "Privacy policy",
        "https://example.org/privacy-en",
        "default_identity_server",
        "m.identity_server",
    ];
    for text in expected {
        assert!(page.body.contains(text), "{text}: {}", page.body);
    }
    assert!(!page.body.contains("<script"));
    let policy = page.header("content-security-policy");
    assert!(
        policy.contains("default-src 'none'") && policy.contains("form-action 'none'"),
        "{policy}"
    );
    let german = app.stranger().request("GET", "/").header("accept-language", "de");
    let page = answer(german).await;
    assert!(
        page.body.contains("<html lang=\"de\"") && page.body.contains("Datenschutz"),
        "{}",
        page.body
    );
}

//! Whose words people read, and in which language.

use serde_json::{Value, json};

use crate::harness::{Caller, TestApp, answer};

const ALICE: &str = "alice@example.org";

const BRANDS: &str = "limits.enabled = false\n\
    [brands.acme]\nname = 'Acme'\nhomeservers = ['acme.example']\nlocale = 'fr'\n\
    from = 'Acme <hello@acme.example>'\nweb_client = 'https://chat.acme.example/'\n\
    [brands.other]\nname = 'Other'\n";

async fn ask(caller: &Caller<'_>, languages: Option<&str>, more: Value) {
    let mut body = json!({ "email": ALICE, "client_secret": "secret", "send_attempt": 1 });
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let mut request = caller.request("POST", "/validate/email/requestToken").json(&body);
    if let Some(languages) = languages {
        request = request.header("accept-language", languages);
    }
    answer(request).await.ok();
}

/// The language of the newest mail to Alice.
fn language(app: &TestApp) -> String {
    let html = app.last_mail_to(ALICE).html;
    html.split_once("<html lang=\"").unwrap().1.split('"').next().unwrap().to_owned()
}

#[tokio::test]
async fn a_mail_is_in_the_language_that_the_client_asks_for() {
    let cases = [
        (None, json!({}), "en"),
        (Some("de-AT,de;q=0.9,en;q=0.8"), json!({}), "de"),
        (Some("xx, fr;q=0.2, es;q=0.5"), json!({}), "es"),
        (Some("de"), json!({ "locale": "fr" }), "fr"),
        (Some("de"), json!({ "locale": "xx" }), "de"),
        (Some("de"), json!({ "org.matrix.msc4242.locale": "es" }), "es"),
        (Some("de"), json!({ "locale": 7, "brand": [] }), "de"),
        (Some(";;;q=,*"), json!({ "locale": "\0" }), "en"),
    ];
    for (languages, more, expected) in cases {
        let app = TestApp::start().await;
        let caller = app.account("@alice:hs.example").await;
        ask(&caller, languages, more.clone()).await;
        assert_eq!(language(&app), expected, "{languages:?} {more}");
    }
}

#[tokio::test]
async fn the_operator_chooses_the_language_where_nobody_else_does() {
    let app = TestApp::with("limits.enabled = false\nmessages.locale = 'es'").await;
    let caller = app.account("@alice:hs.example").await;
    ask(&caller, None, json!({})).await;
    assert_eq!(language(&app), "es");
}

#[tokio::test]
async fn a_brand_is_chosen_by_the_request_or_by_the_homeserver() {
    let cases = [
        ("@alice:hs.example", json!({}), None, "noreply@example.org"),
        ("@alice:acme.example", json!({}), Some("Acme"), "hello@acme.example"),
        ("@alice:acme.example", json!({ "brand": "other" }), Some("Other"), "noreply@example.org"),
        ("@alice:hs.example", json!({ "brand": "acme" }), Some("Acme"), "hello@acme.example"),
        (
            "@alice:acme.example",
            json!({ "brand": "none-such" }),
            Some("Acme"),
            "hello@acme.example",
        ),
    ];
    for (mxid, more, brand, sender) in cases {
        let app = TestApp::with(BRANDS).await;
        let caller = app.account(mxid).await;
        ask(&caller, None, more.clone()).await;
        let mail = app.last_mail_to(ALICE);
        for name in ["Acme", "Other"] {
            assert_eq!(
                mail.text.contains(name),
                brand == Some(name),
                "{mxid} {more}: {}",
                mail.text
            );
        }
        // The server is named all the same: it is what asks.
        assert!(mail.text.contains("id.example.org"), "{}", mail.text);
        assert_eq!(app.smtp.seen().mails[0].from, format!("<{sender}>"), "{mxid} {more}");
    }
}

#[tokio::test]
async fn the_page_speaks_as_the_mail_does_but_in_the_browsers_language() {
    let app = TestApp::with(BRANDS).await;
    let caller = app.account("@alice:acme.example").await;
    ask(&caller, None, json!({})).await;
    assert_eq!(language(&app), "fr");
    let link = app.last_mail_to(ALICE).link;
    assert!(link.contains("&brand=acme"), "{link}");
    let page = app.open(&link).await;
    assert!(page.body.contains("<html lang=\"fr\"") && page.body.contains("Acme"), "{}", page.body);
    let stranger = app.stranger();
    let request = stranger.request("GET", link.strip_prefix(&app.base).unwrap());
    let page = answer(request.header("accept-language", "de")).await;
    assert!(page.body.contains("<html lang=\"de\""), "{}", page.body);
    assert_eq!(page.header("vary"), "Accept-Language");
}

#[tokio::test]
async fn an_invitation_is_in_the_words_of_the_inviters_brand() {
    let app = TestApp::with(BRANDS).await;
    let caller = app.account("@alice:acme.example").await;
    let mut invite = crate::invite::request(ALICE, "@alice:acme.example");
    // The homeserver's own language is nobody's.
    let request = caller.request("POST", "/store-invite").header("accept-language", "de");
    answer(request.json(&invite)).await.ok();
    assert_eq!(language(&app), "fr");
    let link = app.last_mail_to(ALICE).link;
    assert!(link.starts_with("https://chat.acme.example/#/room/"), "{link}");
    invite["locale"] = json!("es");
    invite["brand"] = json!("other");
    caller.post("/store-invite", invite).await.ok();
    assert_eq!(language(&app), "es");
    assert!(app.last_mail_to(ALICE).link.starts_with("https://app.element.io/#/room/"));
}

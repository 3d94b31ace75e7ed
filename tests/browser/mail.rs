//! The mail, as a mail program with Chromium inside shows it.

use fantoccini::Locator;
use serde_json::json;

use crate::{
    ALICE, PHONE,
    chromium::{Chromium, Scheme},
    everyone::assert_mail_is_for_everyone,
    harness::{Mail, TestApp},
    words::{LANGUAGES, words},
};

/// Lays a mail where Chromium opens it: its URL.
fn laid(app: &TestApp, mail: &Mail) -> String {
    let file = app.database.folder.path().join("mail.html");
    std::fs::write(&file, &mail.html).unwrap();
    format!("file://{}", file.display())
}

/// Looks at a mail in light and dark.
async fn assert_shown(chromium: &Chromium, url: &str, language: &str, name: &str) {
    for scheme in [Scheme::Light, Scheme::Dark] {
        chromium.prefer(scheme).await;
        chromium.requests().await;
        chromium.client.goto(url).await.unwrap();
        let context = format!("{name}, {language}, {scheme:?}");
        assert_mail_is_for_everyone(chromium, language, &context).await;
        assert_eq!(chromium.requests().await, [url], "{context}: something else was loaded");
        assert_eq!(chromium.console().await, [""; 0], "{context}");
        assert_eq!(chromium.run("return document.forms.length").await, 0, "{context}");
    }
}

#[tokio::test]
async fn a_person_reads_the_mail_and_confirms_the_address_with_its_button() {
    let app = TestApp::start().await;
    let alice = app.account("@alice:hs.example").await;
    alice.request_token(ALICE, "secret", 1).await.ok();
    let mail = app.last_mail_to(ALICE);
    let chromium = Chromium::start(PHONE, Scheme::Light).await;
    assert_shown(&chromium, &laid(&app, &mail), "en", "validation").await;
    let button = chromium.client.find(Locator::LinkText("Confirm this address")).await.unwrap();
    let (_, _, width, height) = button.rectangle().await.unwrap();
    assert!(width >= 200.0 && height >= 44.0, "too small for a finger: {width} x {height}");
    button.click().await.unwrap();
    chromium.client.wait().for_url(&mail.link.parse().unwrap()).await.unwrap();
    assert_eq!(chromium.client.title().await.unwrap(), "Your e-mail address is confirmed");
    let links = chromium.run("return document.querySelectorAll('a').length").await;
    assert_eq!(links, json!(0));
}

#[tokio::test]
async fn every_mail_is_for_everyone_in_every_language() {
    let app = TestApp::start().await;
    let alice = app.account("@alice:hs.example").await;
    let chromium = Chromium::start(PHONE, Scheme::Light).await;
    for language in LANGUAGES {
        let body = json!({
            "email": ALICE, "client_secret": language, "send_attempt": 1, "locale": language,
        });
        alice.post("/validate/email/requestToken", body).await.ok();
        let mail = app.last_mail_to(ALICE);
        assert_shown(&chromium, &laid(&app, &mail), language, "validation").await;
        let button = words(language, "validation", "button");
        chromium.client.find(Locator::LinkText(&button)).await.unwrap();

        let body = json!({
            "medium": "email", "address": "bob@example.org", "room_id": "!room:hs.example",
            "sender": "@alice:hs.example", "sender_display_name": "Alice", "room_name": "Tea",
            "locale": language,
        });
        alice.post("/store-invite", body).await.ok();
        let mail = app.last_mail_to("bob@example.org");
        assert_shown(&chromium, &laid(&app, &mail), language, "invitation").await;
        let button = words(language, "invitation", "button");
        chromium.client.find(Locator::LinkText(&button)).await.unwrap();
    }
}

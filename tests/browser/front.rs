//! The front page: what somebody sees who opens the server's address.

use fantoccini::Locator;
use serde_json::json;

use crate::{
    PHONE,
    chromium::{Chromium, Scheme},
    everyone::{assert_is_for_everyone, assert_loads_nothing_else},
    harness::{PUBLIC_KEY, TestApp},
    words::LANGUAGES,
};

const TERMS: &str = "[limits]\nenabled = false\n[terms.privacy]\nversion = '1'\n\
    en = { name = 'Privacy policy', url = 'https://id.example.org/privacy-1.en' }\n\
    de = { name = 'Datenschutz', url = 'https://id.example.org/privacy-1.de' }";

#[tokio::test]
async fn the_front_page_is_for_everyone() {
    let app = TestApp::with(TERMS).await;
    let chromium = Chromium::start(PHONE, Scheme::Light).await;
    let url = format!("{}/", app.base);
    for language in LANGUAGES {
        chromium.speak(language).await;
        for scheme in [Scheme::Light, Scheme::Dark] {
            chromium.prefer(scheme).await;
            chromium.requests().await;
            chromium.client.goto(&url).await.unwrap();
            let context = format!("front page, {language}, {scheme:?}");
            assert_is_for_everyone(&chromium, language, &context).await;
            assert_loads_nothing_else(&chromium, &url, &context).await;
        }
    }
}

#[tokio::test]
async fn the_front_page_says_who_the_server_is() {
    let app = TestApp::with(TERMS).await;
    let chromium = Chromium::start(PHONE, Scheme::Light).await;
    chromium.client.goto(&app.base).await.unwrap();
    let page = chromium.client.find(Locator::Css("main")).await.unwrap().text().await.unwrap();
    for part in ["id.example.org", "ed25519:1", PUBLIC_KEY, &app.base, "Privacy policy"] {
        assert!(page.contains(part), "{part} is not in: {page}");
    }
    let terms = chromium.client.find(Locator::LinkText("Privacy policy")).await.unwrap();
    let url = terms.attr("href").await.unwrap();
    assert_eq!(url.as_deref(), Some("https://id.example.org/privacy-1.en"));

    chromium.speak("de").await;
    chromium.client.refresh().await.unwrap();
    let terms = chromium.client.find(Locator::LinkText("Datenschutz")).await.unwrap();
    let url = terms.attr("href").await.unwrap();
    assert_eq!(url.as_deref(), Some("https://id.example.org/privacy-1.de"));
    assert_eq!(chromium.run("return document.forms.length").await, json!(0));
}

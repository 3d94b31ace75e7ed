//! Programs that open the links of a mail before the person does, to look for malware: with
//! `sessions.confirm_page` they use nothing up.

use fantoccini::{Locator, elements::Element};
use serde_json::{Value, json};

use crate::{
    ALICE, PHONE,
    chromium::{Chromium, Scheme},
    everyone::{assert_is_for_everyone, assert_loads_nothing_else},
    harness::{Caller, TestApp},
    page::serve,
    words::{LANGUAGES, words},
};

/// A server that asks for a click before it confirms.
async fn asking() -> TestApp {
    TestApp::with("sessions.confirm_page = true\nlimits.enabled = false").await
}

/// A session of Alice's, and the link that was mailed for it.
struct Mailed {
    session: String,
    link: String,
}

impl Mailed {
    async fn to(alice: &Caller<'_>, app: &TestApp, next_link: Option<&str>) -> Self {
        let body = json!({
            "email": ALICE, "client_secret": "secret", "send_attempt": 1, "next_link": next_link,
        });
        let opened: Value = alice.post("/validate/email/requestToken", body).await.ok();
        let session = format!("sid={}&client_secret=secret", opened["sid"].as_str().unwrap());
        Self { session, link: app.last_mail_to(ALICE).link }
    }

    /// A scanner opens the link, again and again.
    async fn is_scanned(&self, app: &TestApp) {
        for _ in 0..5 {
            let page = app.open(&self.link).await;
            assert_eq!(page.status, 200, "{page:?}");
        }
    }

    async fn assert_not_validated(&self, alice: &Caller<'_>) {
        let asked = alice.get(&format!("/3pid/getValidated3pid?{}", self.session)).await;
        asked.refused(400, "M_SESSION_NOT_VALIDATED");
    }

    async fn assert_validated(&self, alice: &Caller<'_>) {
        alice.get(&format!("/3pid/getValidated3pid?{}", self.session)).await.ok();
    }
}

/// The one thing on the page that can be clicked.
async fn the_button(chromium: &Chromium) -> Element {
    let buttons = "return document.querySelectorAll('a, button, input:not([type=hidden])').length";
    assert_eq!(chromium.run(buttons).await, json!(1));
    chromium.client.find(Locator::Css("main form button")).await.unwrap()
}

#[tokio::test]
async fn a_person_confirms_by_one_click_what_a_scanner_has_only_seen() {
    let app = asking().await;
    let alice = app.account("@alice:hs.example").await;
    let mailed = Mailed::to(&alice, &app, None).await;
    mailed.is_scanned(&app).await;
    mailed.assert_not_validated(&alice).await;

    let chromium = Chromium::start(PHONE, Scheme::Light).await;
    chromium.client.goto(&mailed.link).await.unwrap();
    mailed.assert_not_validated(&alice).await;
    let button = the_button(&chromium).await;
    let (_, _, width, height) = button.rectangle().await.unwrap();
    assert!(width >= 200.0 && height >= 44.0, "too small for a finger: {width} x {height}");
    button.click().await.unwrap();
    chromium.until_titled("Your e-mail address is confirmed").await;
    assert_is_for_everyone(&chromium, "en", "confirmed by a click").await;
    assert_eq!(chromium.console().await, [""; 0]);
    mailed.assert_validated(&alice).await;

    // The link itself now only says so.
    chromium.client.goto(&mailed.link).await.unwrap();
    chromium.until_titled("Your e-mail address is already confirmed").await;
}

#[tokio::test]
async fn a_person_is_led_back_to_the_app_by_the_click() {
    let (home, _) = serve("Welcome back").await;
    let app = asking().await;
    let alice = app.account("@alice:hs.example").await;
    let next_link = format!("{home}/done?step=2#/top");
    let mailed = Mailed::to(&alice, &app, Some(&next_link)).await;
    mailed.is_scanned(&app).await;

    let chromium = Chromium::start(PHONE, Scheme::Light).await;
    chromium.client.goto(&mailed.link).await.unwrap();
    mailed.assert_not_validated(&alice).await;
    the_button(&chromium).await.click().await.unwrap();
    // Of another origin: Chromium holds redirects against the page's form-action.
    chromium.until_titled("Welcome back").await;
    assert_eq!(chromium.client.current_url().await.unwrap().as_str(), next_link);
    assert_eq!(chromium.console().await, [""; 0]);
    mailed.assert_validated(&alice).await;
}

#[tokio::test]
async fn the_page_with_the_button_is_for_everyone() {
    let app = asking().await;
    let alice = app.account("@alice:hs.example").await;
    let mailed = Mailed::to(&alice, &app, None).await;
    let chromium = Chromium::start(PHONE, Scheme::Light).await;
    for language in LANGUAGES {
        let heading = words(language, "page_email", "confirm");
        chromium.speak(language).await;
        for scheme in [Scheme::Light, Scheme::Dark] {
            chromium.prefer(scheme).await;
            chromium.requests().await;
            chromium.client.goto(&mailed.link).await.unwrap();
            let context = format!("confirm, {language}, {scheme:?}");
            assert_eq!(chromium.client.title().await.unwrap(), heading, "{context}");
            assert_is_for_everyone(&chromium, language, &context).await;
            assert_loads_nothing_else(&chromium, &mailed.link, &context).await;
        }
    }
    mailed.assert_not_validated(&alice).await;
}

#[tokio::test]
async fn where_no_click_is_asked_for_a_person_is_told_what_a_scanner_has_done() {
    let app = TestApp::start().await;
    let alice = app.account("@alice:hs.example").await;
    let mailed = Mailed::to(&alice, &app, None).await;
    mailed.is_scanned(&app).await;
    mailed.assert_validated(&alice).await;
    let chromium = Chromium::start(PHONE, Scheme::Light).await;
    chromium.client.goto(&mailed.link).await.unwrap();
    chromium.until_titled("Your e-mail address is already confirmed").await;
}

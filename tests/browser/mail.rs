//! The mail, as a mail program with Chromium inside shows it.

use fantoccini::Locator;
use serde_json::json;

use crate::{
    ALICE, PHONE,
    chromium::{Chromium, Scheme},
    everyone::assert_mail_is_for_everyone,
    harness::TestApp,
};

#[tokio::test]
async fn a_person_reads_the_mail_and_confirms_the_address_with_its_button() {
    let app = TestApp::start().await;
    let alice = app.account("@alice:hs.example").await;
    alice.request_token(ALICE, "secret", 1).await.ok();
    let mail = app.last_mail_to(ALICE);
    let file = app.database.folder.path().join("mail.html");
    std::fs::write(&file, &mail.html).unwrap();
    let file = format!("file://{}", file.display());

    let chromium = Chromium::start(PHONE, Scheme::Light).await;
    for scheme in [Scheme::Light, Scheme::Dark] {
        chromium.prefer(scheme).await;
        chromium.requests().await;
        chromium.client.goto(&file).await.unwrap();
        assert_mail_is_for_everyone(&chromium, "en", &format!("mail, {scheme:?}")).await;
        assert_eq!(chromium.requests().await, [file.as_str()], "something else was loaded");
        assert_eq!(chromium.console().await, [""; 0]);
    }
    let button = chromium.client.find(Locator::LinkText("Confirm this address")).await.unwrap();
    let (_, _, width, height) = button.rectangle().await.unwrap();
    assert!(width >= 200.0 && height >= 44.0, "too small for a finger: {width} x {height}");
    button.click().await.unwrap();
    chromium.client.wait().for_url(&mail.link.parse().unwrap()).await.unwrap();
    assert_eq!(chromium.client.title().await.unwrap(), "Your e-mail address is confirmed");
    let links = chromium.run("return document.querySelectorAll('a').length").await;
    assert_eq!(links, json!(0));
}

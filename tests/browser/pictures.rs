//! The pictures of the README: light and dark beside each other, on a phone.

use std::path::Path;

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::json;

use crate::{
    ALICE, PHONE,
    chromium::{Chromium, Scheme},
    harness::TestApp,
};

/// In bytes: whoever reads the README loads them all.
const LARGEST: usize = 150 * 1024;

/// Between the two halves, in CSS pixels.
const GAP: u32 = 16;

/// Dots for each CSS pixel; with two, the mail's would be too large.
const SHARPNESS: u32 = 1;

const TERMS: &str = "[limits]\nenabled = false\n[terms.privacy]\nversion = '1'\n\
    en = { name = 'Privacy policy', url = 'https://example.org/privacy' }";

#[tokio::test]
async fn the_pages_and_the_mail_are_pictured_in_light_and_dark() {
    let app = TestApp::with(TERMS).await;
    let asking = app.beside("sessions.confirm_page = true\nlimits.enabled = false").await;
    let alice = asking.account("@alice:hs.example").await;
    alice.request_token(ALICE, "xWh3uY9tBn5cLk2e", 1).await.ok();
    let mail = asking.last_mail_to(ALICE);
    let question = asking.open(&mail.link).await;
    let link = mail.link.replace(&asking.base, &app.base);
    let folder = app.database.folder.path();
    let asked_for = std::env::var_os("BINDERY_PICTURES");
    let pictures = asked_for.as_deref().map_or(folder, Path::new);

    let chromium = Chromium::start(PHONE, Scheme::Light).await;
    for (name, source, height) in [
        ("mail.png", mail.html.clone(), 612),
        ("confirm.png", question.body, 612),
        ("validated.png", app.open(&link).await.body, 440),
        ("front.png", app.open(&format!("{}/", app.base)).await.body, 790),
    ] {
        // Under the name that the server would have.
        let file = folder.join("page.html");
        let known = "https://id.example.org";
        let source = source.replace(&app.base, known).replace(&asking.base, known);
        std::fs::write(&file, source).unwrap();
        let picture = picture(&chromium, &format!("file://{}", file.display()), height).await;
        assert!(picture.starts_with(b"\x89PNG"));
        assert!(picture.len() < LARGEST, "{name} has {} bytes", picture.len());
        std::fs::write(pictures.join(name), picture).unwrap();
    }
}

/// Pictures the upper `height` CSS pixels of `url` in both schemes.
async fn picture(chromium: &Chromium, url: &str, height: u32) -> Vec<u8> {
    chromium.screen(PHONE, height, SHARPNESS).await;
    let mut halves = String::new();
    for scheme in [Scheme::Light, Scheme::Dark] {
        chromium.client.goto(url).await.unwrap();
        chromium.prefer(scheme).await;
        let half = STANDARD.encode(chromium.client.screenshot().await.unwrap());
        halves += &half_of_picture(&half);
    }
    let both = format!(
        "<!DOCTYPE html><meta name=viewport content='width=device-width'>\
         <body style='margin:0; display:flex; gap:{GAP}px'>{halves}"
    );
    chromium.screen(2 * PHONE + GAP, height, SHARPNESS).await;
    // Transparent, for READMEs on a light and on a dark page.
    let nothing = json!({ "color": { "r": 0, "g": 0, "b": 0, "a": 0 } });
    chromium.devtools("Emulation.setDefaultBackgroundColorOverride", nothing).await;
    let both = format!("data:text/html;base64,{}", STANDARD.encode(both));
    chromium.client.goto(&both).await.unwrap();
    let picture = chromium.client.screenshot().await.unwrap();
    chromium.devtools("Emulation.setDefaultBackgroundColorOverride", json!({})).await;
    picture
}

fn half_of_picture(png: &str) -> String {
    format!(
        "<img width={PHONE} style='flex:none; border-radius:12px' src='data:image/png;base64,{png}'>"
    )
}

//! The page that the mailed link opens.

use std::time::Duration;

use fantoccini::Locator;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

use crate::{
    ALICE, PHONE,
    chromium::{Chromium, Scheme},
    everyone::{assert_is_for_everyone, assert_loads_nothing_else},
    harness::{Caller, TestApp},
};

/// Checks the page that `chromium` shows since nothing was asked of it.
async fn assert_page(chromium: &Chromium, link: &str, heading: &str, context: &str) {
    assert_eq!(chromium.client.title().await.unwrap(), heading, "{context}");
    let h1 = chromium.client.find(Locator::Css("main h1")).await.unwrap();
    assert_eq!(h1.text().await.unwrap(), heading, "{context}");
    assert_is_for_everyone(chromium, "en", context).await;
    assert_loads_nothing_else(chromium, link, context).await;
}

/// Opens `link` in light and dark, and expects this heading.
async fn assert_shown(link: &str, heading: &str) {
    let chromium = Chromium::start(PHONE, Scheme::Light).await;
    for scheme in [Scheme::Light, Scheme::Dark] {
        chromium.prefer(scheme).await;
        chromium.requests().await;
        chromium.client.goto(link).await.unwrap();
        assert_page(&chromium, link, heading, &format!("{heading}, {scheme:?}")).await;
        let back = "return getComputedStyle(document.body).backgroundColor";
        let expected = match scheme {
            Scheme::Light => "rgb(241, 243, 245)",
            Scheme::Dark => "rgb(20, 23, 26)",
        };
        assert_eq!(chromium.run(back).await, expected);
    }
}

/// The link of a mail to Alice.
async fn mailed_link(app: &TestApp, caller: &Caller<'_>) -> String {
    caller.request_token(ALICE, "secret", 1).await.ok();
    app.last_mail_to(ALICE).link
}

#[tokio::test]
async fn a_person_is_told_that_the_address_is_confirmed() {
    let app = TestApp::start().await;
    let alice = app.account("@alice:hs.example").await;
    let link = mailed_link(&app, &alice).await;
    assert_shown(&link, "Your e-mail address is confirmed").await;
}

#[tokio::test]
async fn a_person_is_told_that_the_link_has_expired() {
    let app = TestApp::start().await;
    let alice = app.account("@alice:hs.example").await;
    let link = mailed_link(&app, &alice).await;
    app.clock.advance(Duration::from_hours(24));
    assert_shown(&link, "This link has expired").await;
}

#[tokio::test]
async fn a_person_is_told_that_the_link_is_incomplete() {
    let app = TestApp::start().await;
    let alice = app.account("@alice:hs.example").await;
    let link = mailed_link(&app, &alice).await;
    assert_shown(&link[..link.len() - 5], "This link doesn't work").await;
}

#[tokio::test]
async fn a_person_is_led_back_to_the_app() {
    let (home, heads) = serve("Welcome back").await;
    let app = TestApp::start().await;
    let alice = app.account("@alice:hs.example").await;
    let next_link = format!("{home}/done?step=2#/top");
    let body = json!({
        "email": ALICE, "client_secret": "secret", "send_attempt": 1, "next_link": next_link,
    });
    let opened: Value = alice.post("/validate/email/requestToken", body).await.ok();
    let chromium = Chromium::start(PHONE, Scheme::Light).await;
    chromium.client.goto(&app.last_mail_to(ALICE).link).await.unwrap();
    assert_eq!(chromium.client.title().await.unwrap(), "Welcome back");
    assert_eq!(chromium.client.current_url().await.unwrap().as_str(), next_link);
    // The app's server learns nothing of the link.
    let heads = heads.lock().unwrap().join("\n");
    assert!(heads.starts_with("GET /done?step=2 HTTP/1.1\r\n"), "{heads}");
    assert!(!heads.contains(&app.base) && !heads.contains("submitToken"), "{heads}");
    let query = format!("sid={}&client_secret=secret", opened["sid"].as_str().unwrap());
    alice.get(&format!("/3pid/getValidated3pid?{query}")).await.ok();
}

/// A web server whose every page has this title; with the heads of the requests to it.
async fn serve(title: &str) -> (String, std::sync::Arc<std::sync::Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let home = format!("http://{}", listener.local_addr().unwrap());
    let heads = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let page = format!("<!DOCTYPE html><title>{title}</title>");
    let answer = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: {}\r\n\
         Connection: close\r\n\r\n{page}",
        page.len()
    );
    let seen = heads.clone();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut head = vec![0; 4096];
            let length = stream.read(&mut head).await.unwrap_or(0);
            // Chromium opens connections in reserve.
            if length > 0 {
                seen.lock().unwrap().push(String::from_utf8_lossy(&head[..length]).into_owned());
                let _ = stream.write_all(answer.as_bytes()).await;
            }
        }
    });
    (home, heads)
}

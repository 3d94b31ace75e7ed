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
    words::{LANGUAGES, words},
};

/// Opens, in each language, in light and dark, a link that `link` makes, and expects this
/// heading of the catalogue.
async fn assert_shown(section: &str, key: &str, mut link: impl AsyncFnMut() -> String) {
    let chromium = Chromium::start(PHONE, Scheme::Light).await;
    for language in LANGUAGES {
        let heading = words(language, section, key);
        chromium.speak(language).await;
        for scheme in [Scheme::Light, Scheme::Dark] {
            chromium.prefer(scheme).await;
            let link = link().await;
            chromium.requests().await;
            chromium.client.goto(&link).await.unwrap();
            let context = format!("{heading}, {language}, {scheme:?}");
            assert_eq!(chromium.client.title().await.unwrap(), heading, "{context}");
            let h1 = chromium.client.find(Locator::Css("main h1")).await.unwrap();
            assert_eq!(h1.text().await.unwrap(), heading, "{context}");
            assert_is_for_everyone(&chromium, language, &context).await;
            assert_loads_nothing_else(&chromium, &link, &context).await;
            assert_eq!(chromium.run(BACKGROUND).await, background(scheme), "{context}");
            assert_eq!(chromium.run("return document.forms.length").await, 0, "{context}");
        }
    }
}

const BACKGROUND: &str = "return getComputedStyle(document.body).backgroundColor";

fn background(scheme: Scheme) -> &'static str {
    match scheme {
        Scheme::Light => "rgb(241, 243, 245)",
        Scheme::Dark => "rgb(20, 23, 26)",
    }
}

/// Alice's sessions, one after the other.
struct Links<'a> {
    alice: Caller<'a>,
    app: &'a TestApp,
    opened: u32,
}

impl<'a> Links<'a> {
    async fn of(app: &'a TestApp) -> Self {
        Self { alice: app.account("@alice:hs.example").await, app, opened: 0 }
    }

    /// The link of a mail for a new session.
    async fn next(&mut self) -> String {
        self.opened += 1;
        self.alice.request_token(ALICE, &format!("secret-{}", self.opened), 1).await.ok();
        self.app.last_mail_to(ALICE).link
    }
}

#[tokio::test]
async fn a_person_is_told_that_the_address_is_confirmed() {
    let app = TestApp::start().await;
    let mut links = Links::of(&app).await;
    assert_shown("page_email", "validated", async || links.next().await).await;
}

#[tokio::test]
async fn a_person_is_told_that_the_address_was_confirmed_already() {
    let app = TestApp::start().await;
    let link = Links::of(&app).await.next().await;
    app.open(&link).await;
    assert_shown("page_email", "already_validated", async || link.clone()).await;
}

#[tokio::test]
async fn a_person_is_told_that_the_link_has_expired() {
    let app = TestApp::start().await;
    let link = Links::of(&app).await.next().await;
    app.clock.advance(Duration::from_hours(24));
    assert_shown("page", "expired", async || link.clone()).await;
}

#[tokio::test]
async fn a_person_is_told_that_too_many_wrong_codes_were_entered() {
    let app = TestApp::with("sessions.max_attempts = 2\nlimits.enabled = false").await;
    let mut links = Links::of(&app).await;
    let link = links.next().await;
    for _ in 0..2 {
        let wrong = app.open(&link[..link.len() - 5]).await;
        assert_eq!(wrong.status, 400, "{wrong:?}");
    }
    assert_shown("page", "too_many_attempts", async || link.clone()).await;
}

#[tokio::test]
async fn a_person_is_told_that_the_link_is_incomplete() {
    let app = TestApp::start().await;
    let link = Links::of(&app).await.next().await;
    assert_shown("page", "wrong_link", async || link[..link.len() - 5].to_owned()).await;
}

/// Tries what a page must not do; answers what the browser refused.
const INTRUDE: &str = r"
    const done = arguments[arguments.length - 1];
    const refused = new Set();
    document.addEventListener('securitypolicyviolation', ({ effectiveDirective }) => {
        refused.add(effectiveDirective);
        if (refused.size === 6) done([...refused].sort());
    });
    const add = (name, attributes) => {
        const element = Object.assign(document.createElement(name), attributes);
        document.body.append(element);
        return element;
    };
    add('script', { textContent: 'document.title = 1' });
    add('img', { src: '/picture.png' });
    add('iframe', { src: '/health/live' });
    add('base', { href: 'https://example.org/' });
    add('link', { rel: 'stylesheet', href: '/style.css' });
    add('form', { action: 'https://example.org/', method: 'post' }).submit();
    setTimeout(() => done([...refused].sort()), 5000)";

#[tokio::test]
async fn nothing_can_be_made_to_run_in_a_page_or_to_be_loaded_into_it() {
    let app = TestApp::start().await;
    let asking = app.beside("sessions.confirm_page = true\nlimits.enabled = false").await;
    let link = Links::of(&app).await.next().await;
    let question = link.replace(&app.base, &asking.base);
    let chromium = Chromium::start(PHONE, Scheme::Light).await;
    for url in [format!("{}/", app.base), question, link] {
        chromium.client.goto(&url).await.unwrap();
        let refused = chromium.client.execute_async(INTRUDE, Vec::new()).await.unwrap();
        let all = [
            "base-uri",
            "form-action",
            "frame-src",
            "img-src",
            "script-src-elem",
            "style-src-elem",
        ];
        assert_eq!(refused, json!(all), "{url}");
    }
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
pub(crate) async fn serve(title: &str) -> (String, std::sync::Arc<std::sync::Mutex<Vec<String>>>) {
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

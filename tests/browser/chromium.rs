//! A Chromium of a test's own, driven through chromedriver.

use std::{
    io::{Read, Write},
    net::TcpStream,
    process::Stdio,
    time::Duration,
};

use fantoccini::{Client, ClientBuilder, Locator, wd::WebDriverCompatibleCommand};
use hyper_util::client::legacy::connect::HttpConnector;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
};
use url::Url;

/// What mends most of what can go wrong here.
const MEND: &str = "apt-get install --no-install-recommends chromium chromium-driver";

/// The colours that a person prefers.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Scheme {
    Light,
    Dark,
}

pub(crate) struct Chromium {
    pub(crate) client: Client,
    port: u16,
    session: String,
    _driver: Child,
    _profile: TempDir,
}

impl Chromium {
    /// A browser on a screen `width` CSS pixels wide.
    pub(crate) async fn start(width: u32, scheme: Scheme) -> Self {
        let profile = tempfile::tempdir().unwrap();
        let (driver, port) = start_driver().await;
        let client = ClientBuilder::new(HttpConnector::new())
            .capabilities(capabilities(profile.path()))
            .connect(&format!("http://127.0.0.1:{port}"))
            .await
            .unwrap_or_else(|error| panic!("Chromium does not start, try {MEND}: {error}"));
        let session = client.session_id().await.unwrap().unwrap();
        let chromium = Self { client, port, session, _driver: driver, _profile: profile };
        chromium.resize(width, 844).await;
        chromium.prefer(scheme).await;
        chromium
    }

    /// Makes the screen that of a phone with so many CSS pixels.
    pub(crate) async fn resize(&self, width: u32, height: u32) {
        self.screen(width, height, 2).await;
    }

    /// As [`Self::resize`], with so many dots for each CSS pixel.
    pub(crate) async fn screen(&self, width: u32, height: u32, dots: u32) {
        let screen =
            json!({ "width": width, "height": height, "deviceScaleFactor": dots, "mobile": true });
        self.devtools("Emulation.setDeviceMetricsOverride", screen).await;
    }

    pub(crate) async fn prefer(&self, scheme: Scheme) {
        let value = match scheme {
            Scheme::Light => "light",
            Scheme::Dark => "dark",
        };
        let features = json!([{ "name": "prefers-color-scheme", "value": value }]);
        self.devtools("Emulation.setEmulatedMedia", json!({ "features": features })).await;
        let query = format!("return matchMedia('(prefers-color-scheme: {value})').matches");
        assert_eq!(self.run(&query).await, json!(true));
    }

    /// Makes the browser that of a person who reads `language`, and English where there is
    /// nothing else.
    pub(crate) async fn speak(&self, language: &str) {
        let agent = self.run("return navigator.userAgent").await;
        let languages = format!("{language},en");
        let agent = json!({ "userAgent": agent, "acceptLanguage": languages });
        self.devtools("Emulation.setUserAgentOverride", agent).await;
        assert_eq!(self.run("return navigator.languages.join()").await, json!(languages));
    }

    /// Waits for a page with this title.
    pub(crate) async fn until_titled(&self, title: &str) {
        let wanted = format!("/html/head/title[. = \"{title}\"]");
        let found = self.client.wait().for_element(Locator::XPath(&wanted)).await;
        let shown = self.client.title().await.unwrap();
        assert!(found.is_ok(), "{title} has not come, but {shown}");
    }

    /// Runs JavaScript in the page.
    pub(crate) async fn run(&self, script: &str) -> Value {
        self.client.execute(script, Vec::new()).await.unwrap()
    }

    /// What the page, or Chromium about it, wrote to the console since the last time.
    pub(crate) async fn console(&self) -> Vec<String> {
        let lines = self.log("browser").await;
        lines.iter().map(|line| line["message"].as_str().unwrap().to_owned()).collect()
    }

    /// The URLs that were asked for since the last time.
    pub(crate) async fn requests(&self) -> Vec<String> {
        let url = |entry: &Value| {
            let event: Value = serde_json::from_str(entry["message"].as_str()?).ok()?;
            let message = &event["message"];
            (message["method"] == "Network.requestWillBeSent")
                .then(|| message["params"]["request"]["url"].as_str().map(str::to_owned))?
        };
        self.log("performance").await.iter().filter_map(url).collect()
    }

    async fn log(&self, name: &str) -> Vec<Value> {
        let command = Vendor { path: "se/log", body: json!({ "type": name }) };
        let lines = self.client.issue_cmd(command).await.unwrap();
        lines.as_array().unwrap().clone()
    }

    /// Sends a command of the Chrome `DevTools` protocol.
    pub(crate) async fn devtools(&self, command: &str, params: Value) -> Value {
        let body = json!({ "cmd": command, "params": params });
        self.client.issue_cmd(Vendor { path: "goog/cdp/execute", body }).await.unwrap()
    }
}

impl Drop for Chromium {
    fn drop(&mut self) {
        // A failed test ends its runtime, too: so by hand, or Chromium would stay.
        if let Ok(mut driver) = TcpStream::connect(("127.0.0.1", self.port)) {
            let _ = driver.set_read_timeout(Some(Duration::from_secs(10)));
            let session = &self.session;
            let _ = write!(
                driver,
                "DELETE /session/{session} HTTP/1.1\r\nHost: localhost\r\n\
                 Connection: close\r\n\r\n"
            );
            // The answer comes when Chromium has ended.
            let _ = driver.read(&mut [0; 512]);
        }
    }
}

/// Starts chromedriver on a free port, which it chooses itself. It takes the port for IPv4 first and
/// then for IPv6, and ends where another program has got in between: so it is tried some times.
async fn start_driver() -> (Child, u16) {
    let mut said = Vec::new();
    for _ in 0..5 {
        match try_to_start_driver().await {
            Ok(started) => return started,
            Err(lines) => said.push(lines),
        }
    }
    panic!("chromedriver ended at once, each time: {said:#?}")
}

/// What chromedriver has said, where it ended.
async fn try_to_start_driver() -> Result<(Child, u16), Vec<String>> {
    let mut driver = Command::new("chromedriver")
        .arg("--port=0")
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap_or_else(|error| panic!("chromedriver can't be run, try {MEND}: {error}"));
    let mut lines = BufReader::new(driver.stdout.take().unwrap()).lines();
    let port = async {
        let mut said = Vec::new();
        while let Some(line) = lines.next_line().await.unwrap() {
            if let Some((_, port)) = line.split_once("successfully on port ") {
                return Ok(port.trim_end_matches('.').parse().unwrap());
            }
            said.push(line);
        }
        Err(said)
    };
    let port = tokio::time::timeout(Duration::from_mins(1), port).await;
    let port = port.unwrap_or_else(|_| panic!("chromedriver does not start"))?;
    Ok((driver, port))
}

fn capabilities(profile: &std::path::Path) -> serde_json::Map<String, Value> {
    let profile = format!("--user-data-dir={}", profile.display());
    let arguments = [
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--disable-quic",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        "--no-proxy-server",
        "--force-color-profile=srgb",
        "--hide-scrollbars",
        &profile,
    ];
    let capabilities = json!({
        "browserName": "chrome",
        "goog:chromeOptions": { "args": arguments },
        "goog:loggingPrefs": { "browser": "ALL", "performance": "ALL" },
    });
    capabilities.as_object().unwrap().clone()
}

/// A command that only chromedriver has.
#[derive(Debug)]
struct Vendor {
    path: &'static str,
    body: Value,
}

impl WebDriverCompatibleCommand for Vendor {
    fn endpoint(&self, base: &Url, session: Option<&str>) -> Result<Url, url::ParseError> {
        base.join(&format!("session/{}/{}", session.unwrap_or_default(), self.path))
    }

    fn method_and_body(&self, _: &Url) -> (reqwest::Method, Option<String>) {
        (reqwest::Method::POST, Some(self.body.to_string()))
    }
}

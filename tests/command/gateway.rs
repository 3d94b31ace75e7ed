//! In front of a homeserver: the pages about it are tried out, word for word, and what is large goes
//! through without being held.

use std::{fs, path::PathBuf};

use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use crate::{
    homeserver::{FakeHomeserver, Reply},
    process::{Bindery, Home, client, until},
    proxy::{Proxy, block, certificate, is_installed},
};

const LOGIN: &str = include_str!("../../docs/login.md");
const USER_DIRECTORY: &str = include_str!("../../docs/user-directory.md");
const DELEGATION: &str = include_str!("../../docs/delegation.md");

/// A page tried out: Bindery with its configuration, behind a proxy of its snippet, in front of a
/// homeserver.
struct TriedOut {
    homeserver: FakeHomeserver,
    proxy: Proxy,
    _bindery: Bindery,
    _home: Home,
}

impl TriedOut {
    /// With the page's `nginx` or `caddyfile`; `None` where there is no such program.
    async fn start(page: &str, kind: &str, host: &str) -> Option<Self> {
        if !is_installed(kind.trim_end_matches("file")) {
            return None;
        }
        let homeserver = FakeHomeserver::start_plain().await;
        let at = homeserver.address().to_string();
        let config = block(page, "toml").replace("127.0.0.1:8008", &at);
        // A home has a section of that name already.
        let config = config.replace("[server]\nname = \"id.example.org\"\n", "");
        let home = Home::with(&format!("server.name = 'id.example.org'\n{config}"));
        let bindery = home.serve().await;
        let snippet = block(page, kind)
            .replace("127.0.0.1:8008", &at)
            .replace("127.0.0.1:8090", bindery.base.strip_prefix("http://").unwrap())
            .replace("/var/www/html", home.path().to_str().unwrap());
        let (certificate, key) = certificate(host);
        let proxy = match kind {
            "nginx" => Proxy::nginx(&snippet, host, (&certificate, &key)),
            _ => Proxy::caddy(&snippet, host),
        };
        let tried = Self { homeserver, proxy, _bindery: bindery, _home: home };
        until("the proxy", async || tried.request("GET", "/nothing").send().await.ok()).await;
        Some(tried)
    }

    fn request(&self, method: &str, path: &str) -> reqwest::RequestBuilder {
        let _ = client();
        let client = reqwest::Client::builder()
            .no_proxy()
            .tls_danger_accept_invalid_certs(true)
            .build()
            .unwrap();
        client.request(method.parse().unwrap(), format!("{}{path}", self.proxy.base))
    }
}

#[tokio::test]
async fn the_page_about_logins_works_as_it_is_written() {
    for kind in ["nginx", "caddyfile"] {
        let Some(tried) = TriedOut::start(LOGIN, kind, "matrix.example.org").await else {
            continue;
        };
        tried.homeserver.set_password("@alice:example.org", "secret");
        for version in ["r0", "v3"] {
            let path = format!("/_matrix/client/{version}/login");
            let login = json!({ "type": "m.login.password", "password": "secret", "medium": "email",
                                "address": "bob@example.org" });
            // Who pretends to come from elsewhere changes nothing.
            let request = tried.request("POST", &path).header("x-forwarded-for", "203.0.113.9");
            let request = request.header("host", "matrix.example.org").json(&login);
            assert_eq!(request.send().await.unwrap().status(), 403, "{kind}");
            let asked = tried.homeserver.requests().pop().unwrap();
            let body: Value = serde_json::from_slice(&asked.body).unwrap();
            let nobody = body["identifier"]["user"].as_str().unwrap();
            assert!(nobody.starts_with("@_") && nobody.ends_with(":example.org"), "{nobody}");
            assert_eq!(asked.headers["x-forwarded-for"], "127.0.0.1", "{kind}");
            assert_eq!(asked.host(), "matrix.example.org", "{kind}");
            let proto = if kind == "nginx" { "https" } else { "http" };
            assert_eq!(asked.headers["x-forwarded-proto"], proto, "{kind}");
        }
        let login = json!({ "type": "m.login.password", "password": "secret",
                            "identifier": { "type": "m.id.user", "user": "@alice:example.org" } });
        let path = "/_matrix/client/v3/login";
        assert_eq!(tried.request("POST", path).json(&login).send().await.unwrap().status(), 200);
        tried.homeserver.set_reply("/_matrix/client/versions", Reply::new(200, "{}"));
        let versions = tried.request("GET", "/_matrix/client/versions").send().await.unwrap();
        assert_eq!(versions.status(), 200);
        let asked = tried.homeserver.requests().pop().unwrap();
        let via_us = asked.headers.get("via").is_some_and(|via| via.contains("id.example.org"));
        assert!(!via_us, "{kind}: what isn't a login has no need to come here");
    }
}

#[tokio::test]
async fn the_page_about_searches_works_as_it_is_written() {
    for kind in ["nginx", "caddyfile"] {
        let host = "matrix.example.org";
        let Some(tried) = TriedOut::start(USER_DIRECTORY, kind, host).await else { continue };
        let path = "/_matrix/client/v3/user_directory/search";
        let found = json!({ "results": [{ "user_id": "@alice:example.org" }], "limited": false });
        tried.homeserver.set_reply(path, Reply::new(200, found.to_string()));
        let request = tried.request("POST", path).bearer_auth("t");
        let answer = request.json(&json!({ "search_term": "ali" })).send().await.unwrap();
        assert_eq!(answer.json::<Value>().await.unwrap(), found);
        let asked = tried.homeserver.requests().pop().unwrap();
        assert_eq!(asked.headers["authorization"], "Bearer t", "{kind}");
        assert!(asked.headers["via"].contains("id.example.org"), "{kind}");
    }
}

#[tokio::test]
async fn the_page_about_delegation_works_as_it_is_written() {
    for kind in ["nginx", "caddyfile"] {
        let Some(tried) = TriedOut::start(DELEGATION, kind, "example.org").await else { continue };
        let ask = async |document: &str| {
            let path = format!("/.well-known/matrix/{document}");
            let request = tried.request("GET", &path).header("host", "example.org");
            let answer = request.send().await.unwrap();
            let origins = answer.headers().get_all("access-control-allow-origin");
            assert_eq!(origins.iter().collect::<Vec<_>>(), ["*"], "{kind} {document}");
            answer.json::<Value>().await.unwrap()
        };
        assert_eq!(
            ask("client").await,
            json!({
                "m.homeserver": { "base_url": "https://matrix.example.org" },
                "m.identity_server": { "base_url": "https://id.example.org" },
            })
        );
        assert_eq!(ask("server").await, json!({ "m.server": "matrix.example.org:443" }));
    }
}

#[tokio::test]
async fn the_log_keeps_passwords_and_addresses_to_itself() {
    let homeserver = FakeHomeserver::start_plain().await;
    let home = Home::with(&format!(
        "log.filter = 'trace'\n[gateway]\nhomeserver = 'http://{}'\nserver_name = 'example.org'\n\
         refusal_time = '1ms'",
        homeserver.address()
    ));
    let mut bindery = home.serve().await;
    let path = "/_matrix/client/v3/login";
    let url = format!("{}{path}?access_token=hush", bindery.base);
    let login = json!({ "type": "m.login.password", "password": "open sesame", "medium": "email",
                        "address": "someone@private.example" });
    for reply in [None, Some(Reply::Raw(b"nonsense".to_vec()))] {
        if let Some(reply) = reply {
            homeserver.set_reply(path, reply);
        }
        client().post(&url).json(&login).send().await.unwrap();
        client().post(&url).body("open sesame, that is no JSON").send().await.unwrap();
    }
    bindery.signal("TERM");
    bindery.ended().await;
    let said = format!("{}{}", bindery.output(), bindery.log());
    assert!(said.contains("/login"), "{said}");
    assert!(!said.contains("sesame"), "{said}");
    let ours = said.lines().filter(|line| line.contains(" bindery::"));
    for line in ours.filter(|line| !line.contains("TRACE") && !line.contains("DEBUG")) {
        assert!(!line.contains("private.example") && !line.contains("hush"), "{line}");
    }
}

/// The most memory that a process has had, in KiB.
fn peak_memory(bindery: &Bindery) -> u64 {
    let status = PathBuf::from(format!("/proc/{}/status", bindery.pid()));
    let status = fs::read_to_string(status).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

const MEDIA: usize = 300 << 20;

/// Takes one upload, and answers with as much.
async fn mirror(listener: TcpListener) -> usize {
    let (mut stream, _) = listener.accept().await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    let (mut piece, mut length) = (vec![0; 1 << 16], 0);
    while length < MEDIA {
        length += stream.read(&mut piece).await.unwrap();
    }
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {MEDIA}\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    for _ in 0..MEDIA / piece.len() {
        stream.write_all(&piece).await.unwrap();
    }
    length
}

#[tokio::test]
async fn what_is_large_goes_through_without_being_held() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let home = Home::with(&format!(
        "[gateway]\nhomeserver = 'http://{}'\nserver_name = 'example.org'",
        listener.local_addr().unwrap()
    ));
    let bindery = home.serve().await;
    let before = peak_memory(&bindery);
    let mirror = tokio::spawn(mirror(listener));
    let mut stream =
        TcpStream::connect(bindery.base.strip_prefix("http://").unwrap()).await.unwrap();
    let head = format!(
        "PUT /_matrix/client/v3/upload HTTP/1.1\r\nHost: x\r\nContent-Length: {MEDIA}\r\n\
         Connection: close\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let piece = vec![7; 1 << 16];
    for _ in 0..MEDIA / piece.len() {
        stream.write_all(&piece).await.unwrap();
    }
    let (mut answer, mut length) = (vec![0; 1 << 16], 0);
    loop {
        match stream.read(&mut answer).await.unwrap() {
            0 => break,
            read => length += read,
        }
    }
    assert_eq!(mirror.await.unwrap(), MEDIA);
    assert!(length > MEDIA, "only {length} bytes came back");
    let grown = peak_memory(&bindery) - before;
    assert!(grown < 32 << 10, "{grown} KiB were held");
}

//! What the README says is tried out, word for word.

use std::{
    fmt::Write,
    fs,
    net::{IpAddr, Ipv4Addr, TcpListener},
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::{Value, json};

use crate::{
    port::free_port,
    process::{BINDERY, Bindery, Done, Home, Person, bare_command, client, until},
    proxy::{Proxy, certificate, is_installed},
};

/// The host in the README.
const HOST: &str = "id.example.org";

const README: &str = include_str!("../../README.md");

/// A fenced block: what stands after the fence, and the text.
struct Block {
    kind: &'static str,
    text: &'static str,
}

fn blocks() -> Vec<Block> {
    // Fences open and close in turn.
    let fenced = README.split("\n```").skip(1).step_by(2);
    fenced
        .map(|block| block.split_once('\n').unwrap())
        .map(|(kind, text)| Block { kind, text })
        .collect()
}

/// The one block of this kind.
fn block(kind: &str) -> &'static str {
    let mut of_kind = blocks().into_iter().filter(|block| block.kind == kind);
    let found = of_kind.next().unwrap_or_else(|| panic!("the README has no block {kind}"));
    assert!(of_kind.next().is_none(), "the README has two blocks {kind}");
    found.text
}

/// Whether `text` is `expected`, where `…` stands for anything.
fn looks_like(text: &str, expected: &str) -> bool {
    let mut rest = text;
    for (index, piece) in expected.split('…').enumerate() {
        match rest.find(piece) {
            Some(0) => rest = &rest[piece.len()..],
            Some(at) if index > 0 => rest = &rest[at + piece.len()..],
            _ => return false,
        }
    }
    rest.is_empty() || expected.ends_with('…')
}

/// The README's port if nobody else has it, else another one.
fn port() -> u16 {
    TcpListener::bind("127.0.0.1:8090").map_or_else(|_| free_port(), |_| 8090)
}

#[tokio::test]
async fn the_walk_works_as_it_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let port = port();
    let mut command = bare_command(folder.path(), &["serve"]);
    if port != 8090 {
        command.env("BINDERY_SERVER__LISTEN", format!("['127.0.0.1:{port}']"));
        command.env("BINDERY_SERVER__BASE_URL", format!("http://localhost:{port}"));
    }
    let mut server = Bindery::spawn(command);
    server.listens().await;

    // The blocks run in one shell, as one types them; each is followed by what it prints.
    let mark = "~~~ the next block ~~~";
    let (mut script, mut expected) = (String::new(), Vec::new());
    let mut all = blocks().into_iter().peekable();
    while let Some(Block { kind, text }) = all.next() {
        if kind == "sh walk" {
            writeln!(script, "{text}\necho '{mark}'").unwrap();
            expected.push(all.peek().unwrap().text);
        }
    }
    assert!(expected.len() > 4, "the README's walk has only {} steps", expected.len());
    let programs = Path::new(BINDERY).parent().unwrap().display();
    let path = std::env::var("PATH").unwrap();
    let run = Command::new("bash")
        .args([
            "-euo",
            "pipefail",
            "-c",
            &script.replace("localhost:8090", &format!("localhost:{port}")),
        ])
        .current_dir(folder.path())
        .env("PATH", format!("{programs}:{path}"))
        .env_remove("BINDERY_CONFIG")
        .output();
    let said = Done::of(run.unwrap()).ok();
    let answers: Vec<&str> = said.split(mark).map(str::trim).collect();
    for (answer, expected) in answers.iter().zip(&expected) {
        assert!(looks_like(answer, expected.trim()), "{answer}\nis not\n{expected}");
    }
    assert_eq!(answers.len(), expected.len() + 1);
}

/// The README's configuration with its files in `folder`.
fn configuration(folder: &Path) -> String {
    let here = folder.display().to_string();
    fs::write(folder.join("smtp-password"), "secret\n").unwrap();
    block("toml").replace("/var/lib/bindery", &here).replace("/etc/bindery", &here)
}

#[test]
fn the_configuration_is_right() {
    let home = Home::new();
    fs::write(home.path().join("bindery.toml"), configuration(home.path())).unwrap();
    assert_eq!(home.run(&["config", "check"]).ok(), "The configuration is fine.\n");
}

/// Each endpoint of the table, and whether it is there.
fn endpoints() -> Vec<(&'static str, &'static str, bool)> {
    let rows = README.lines().filter_map(|line| line.strip_prefix("| `"));
    let rows = rows.filter_map(|row| row.rsplit_once(" | "));
    rows.flat_map(|(endpoints, mark)| {
        let requests = endpoints.split('`').filter_map(|request| request.split_once(' '));
        requests
            .filter(|(method, _)| matches!(*method, "GET" | "POST"))
            .map(move |(method, path)| (method, path, mark.starts_with('✔')))
    })
    .collect()
}

#[tokio::test]
async fn the_table_of_the_api_says_what_there_is() {
    let home = Home::new();
    let server = home.serve().await;
    let endpoints = endpoints();
    assert!(endpoints.len() > 20, "{endpoints:?}");
    for (method, path, is_there) in endpoints {
        let url =
            format!("{}/_matrix/identity{}", server.base, path.replace("{keyId}", "ed25519:none"));
        let answer = client().request(method.parse().unwrap(), url).send().await.unwrap();
        let body: Value = answer.json().await.unwrap_or_default();
        let unknown = body["errcode"] == "M_UNRECOGNIZED";
        assert_eq!(!unknown, is_there, "{method} {path}: {body}");
    }
}

// The reverse proxies.

/// Where `server` listens, as the README's snippets have it.
fn listens_at(server: &Bindery) -> &str {
    server.base.strip_prefix("http://").unwrap()
}

/// The README's nginx.
fn nginx(server: &Bindery) -> Proxy {
    let snippet = block("nginx").replace("127.0.0.1:8090", listens_at(server));
    let (certificate, key) = certificate(HOST);
    Proxy::nginx(&snippet, HOST, (&certificate, &key))
}

/// The README's Caddy.
fn caddy(server: &Bindery) -> Proxy {
    Proxy::caddy(&block("caddyfile").replace("127.0.0.1:8090", listens_at(server)), HOST)
}

/// A person's client that comes from `from`, and trusts any certificate.
fn client_from(from: IpAddr) -> reqwest::Client {
    let _ = client();
    reqwest::Client::builder()
        .no_proxy()
        .local_address(from)
        .tls_danger_accept_invalid_certs(true)
        .build()
        .unwrap()
}

/// Lets people through and sees that Bindery learns where they come from.
async fn passes_on_whom_it_serves(start: impl FnOnce(&Bindery) -> Proxy) {
    let home = Home::new();
    let mut command = home.command(&["serve"]);
    command.env("BINDERY_LIMITS__ENABLED", "true");
    command.env("BINDERY_LIMITS__REQUEST_TOKEN_PER_CLIENT", "1 per 1h");
    let mut server = Bindery::spawn(command);
    server.listens().await;
    let proxy = start(&server);
    assert!(proxy.folder.path().exists());
    let you = Person { base: proxy.base.clone(), ..Person::of(&home, &server) };
    let from = |last| {
        let client = client_from(IpAddr::V4(Ipv4Addr::new(127, 0, 0, last)));
        Person { client, ..you.clone() }
    };
    let (one, another) = (from(2), from(3));
    until("the proxy", async || {
        (one.get("/_matrix/identity/v2").await.status == 200).then_some(())
    })
    .await;
    one.request_token("one@example.org").await.ok();
    let again = one.request_token("two@example.org").await;
    assert_eq!(again.status, 429, "{again:?}");
    // Who pretends to come from elsewhere is counted all the same.
    let body = json!({ "email": "three@example.org", "client_secret": "x", "send_attempt": 1 });
    let url = format!("{}/_matrix/identity/v2/validate/email/requestToken", one.base);
    let forged = one.client.post(url).header("x-forwarded-for", "203.0.113.9");
    let forged = forged.bearer_auth(&one.token).json(&body).send().await.unwrap();
    assert_eq!(forged.status(), 429);
    let origin = forged.headers().get_all("access-control-allow-origin");
    assert_eq!(origin.iter().collect::<Vec<_>>(), ["*"]);
    another.request_token("four@example.org").await.ok();
    let front = one.get("/").await;
    assert_eq!(front.status, 200, "{front:?}");
    assert!(front.body.contains("<h1"), "{front:?}");
    assert!(!one.get("/health/ready").await.body.contains("ok"), "monitoring is let out");
}

#[tokio::test]
async fn nginx_works_as_it_is_written() {
    if is_installed("nginx") {
        passes_on_whom_it_serves(nginx).await;
    }
}

#[tokio::test]
async fn caddy_works_as_it_is_written() {
    if is_installed("caddy") {
        passes_on_whom_it_serves(caddy).await;
    }
}

#[tokio::test]
async fn without_a_proxy_the_server_speaks_tls_itself() {
    let home = Home::new();
    let (certificate, key) = certificate(HOST);
    fs::write(home.path().join("cert.pem"), certificate).unwrap();
    fs::write(home.path().join("key.pem"), key).unwrap();
    let said = "tls = { certificate = \"cert.pem\", key = \"key.pem\" }";
    assert!(README.contains(said));
    let file: PathBuf = home.path().join("bindery.toml");
    let config = fs::read_to_string(&file).unwrap();
    fs::write(&file, format!("server.{said}\n{config}")).unwrap();
    let server = home.serve().await;
    assert!(server.output().contains("listens on https://127.0.0.1:"), "{}", server.output());
    let base = server.base.replace("http:", "https:");
    let client = client_from(IpAddr::V4(Ipv4Addr::LOCALHOST));
    let you = Person { base, client, ..Person::of(&home, &server) };
    you.get("/_matrix/identity/versions").await.ok();
}

#[test]
fn the_well_known_file_is_json() {
    let well_known: Value = serde_json::from_str(block("json well-known")).unwrap();
    assert_eq!(well_known["m.identity_server"]["base_url"], "https://id.example.org");
}

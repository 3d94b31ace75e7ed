//! What holds for every request: the answers to what is not there, CORS, the order of the checks.

use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::harness::{Answer, Caller, TestApp, V2, answer};

const ALICE: &str = "@alice:hs.example";

/// All paths with their methods.
const PATHS: [(&str, &str); 37] = [
    ("/", "GET"),
    ("/metrics", "GET"),
    ("/health/live", "GET"),
    ("/health/ready", "GET"),
    ("/_matrix/identity/versions", "GET"),
    ("/_matrix/identity/v2", "GET"),
    ("/_matrix/identity/v2/account/register", "POST"),
    ("/_matrix/identity/v2/account", "GET"),
    ("/_matrix/identity/v2/account/logout", "POST"),
    ("/_matrix/identity/v2/terms", "GET, POST"),
    ("/_matrix/identity/v2/pubkey/ephemeral/isvalid", "GET"),
    ("/_matrix/identity/v2/pubkey/isvalid", "GET"),
    ("/_matrix/identity/v2/pubkey/ed25519:1", "GET"),
    ("/_matrix/identity/v2/hash_details", "GET"),
    ("/_matrix/identity/v2/lookup", "POST"),
    ("/_matrix/identity/v2/validate/email/requestToken", "POST"),
    ("/_matrix/identity/v2/validate/email/submitToken", "GET, POST"),
    ("/_matrix/identity/v2/validate/email/confirmToken", "POST"),
    ("/_matrix/identity/v2/3pid/getValidated3pid", "GET"),
    ("/_matrix/identity/v2/3pid/bind", "POST"),
    ("/_matrix/identity/v2/3pid/unbind", "POST"),
    ("/_matrix/identity/v2/store-invite", "POST"),
    ("/_matrix/identity/v2/sign-ed25519", "POST"),
    ("/_matrix/identity/api/v1", "GET"),
    ("/_matrix/identity/api/v1/validate/email/requestToken", "POST"),
    ("/_matrix/identity/api/v1/validate/email/submitToken", "GET, POST"),
    ("/_matrix/identity/api/v1/3pid/getValidated3pid", "GET"),
    ("/_matrix/identity/api/v1/pubkey/ephemeral/isvalid", "GET"),
    ("/_matrix/identity/api/v1/pubkey/isvalid", "GET"),
    ("/_matrix/identity/api/v1/pubkey/ed25519:1", "GET"),
    ("/_matrix/identity/api/v1/lookup", "GET"),
    ("/_matrix/identity/api/v1/bulk_lookup", "POST"),
    ("/.well-known/matrix/client", "GET"),
    ("/.well-known/matrix/server", "GET"),
    ("/_matrix/federation/v1/openid/userinfo", "GET"),
    ("/_matrix-internal/identity/v1/check_credentials", "POST"),
    ("/_matrix/identity/v2/unknown", ""),
];

const METHODS: [&str; 8] = ["GET", "POST", "PUT", "PATCH", "DELETE", "TRACE", "HEAD", "QUERY"];

/// The POST endpoints that read a body, with one that they accept as far as its form goes.
pub(crate) fn bodies() -> Vec<(&'static str, Value)> {
    let session = json!({ "sid": "s", "client_secret": "c", "token": "t", "mxid": ALICE });
    let threepid = json!({ "medium": "email", "address": "a@example.org" });
    vec![
        ("/account/register", json!({ "access_token": "t", "matrix_server_name": "127.0.0.1" })),
        ("/terms", json!({ "user_accepts": [] })),
        ("/lookup", json!({ "algorithm": "sha256", "pepper": "p", "addresses": ["a"] })),
        (
            "/validate/email/requestToken",
            json!({ "email": "a@example.org", "client_secret": "c", "send_attempt": 1,
                    "next_link": "https://example.org/" }),
        ),
        ("/validate/email/submitToken", session.clone()),
        ("/3pid/bind", session.clone()),
        (
            "/3pid/unbind",
            json!({ "sid": "s", "client_secret": "c", "mxid": ALICE, "threepid": threepid }),
        ),
        (
            "/store-invite",
            json!({ "medium": "email", "address": "a@example.org", "room_id": "!r:hs.example",
                    "sender": ALICE, "room_name": "Room", "sender_display_name": "Alice" }),
        ),
        ("/sign-ed25519", json!({ "mxid": ALICE, "token": "t", "private_key": "x" })),
    ]
}

fn has_cors(answer: &Answer) {
    assert_eq!(answer.header("access-control-allow-origin"), "*");
    let methods = "GET, POST, PUT, DELETE, OPTIONS";
    assert_eq!(answer.header("access-control-allow-methods"), methods);
    let headers = "Origin, X-Requested-With, Content-Type, Accept, Authorization";
    assert_eq!(answer.header("access-control-allow-headers"), headers);
    assert_eq!(answer.header("access-control-expose-headers"), "Retry-After");
    assert!(!answer.headers.contains_key("access-control-allow-credentials"));
}

/// Sends bytes as they are; answers all that comes back until the server closes.
pub(crate) async fn raw(app: &TestApp, bytes: &[u8]) -> String {
    let mut stream = connect(app).await;
    stream.write_all(bytes).await.unwrap();
    read_all(&mut stream).await
}

pub(crate) async fn connect(app: &TestApp) -> TcpStream {
    TcpStream::connect(app.base.strip_prefix("http://").unwrap()).await.unwrap()
}

pub(crate) async fn read_all(stream: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    String::from_utf8(answer).unwrap()
}

/// The head of a request.
pub(crate) fn head(caller: &Caller<'_>, method: &str, path: &str, headers: &str) -> String {
    let token = caller.token.as_deref().unwrap_or("none");
    format!(
        "{method} {V2}{path} HTTP/1.1\r\nHost: id.example.org\r\n\
         Authorization: Bearer {token}\r\n{headers}\r\n"
    )
}

#[tokio::test]
async fn any_other_method_is_not_allowed() {
    let toml = "limits.enabled = false\napi.v1 = { validate = true, lookup = true }\n\
                credentials.secret = 'secret'\n\
                well_known = { enabled = true, homeserver_base_url = 'https://matrix.example.org' }";
    let app = TestApp::with(toml).await;
    let alice = app.account(ALICE).await;
    let routes = include_str!("../../src/http.rs");
    let routes = routes.matches("[get().to(").count() + routes.matches("[post().to(").count();
    // The three of validations are there for both versions of the API; what neighbours push to has
    // a listener of its own, and where passwords are asked about can have one as well.
    let routes = routes + 3 - 2;
    assert_eq!(PATHS.len(), routes + 1, "the table lists every path, and an unknown one");
    for (path, allowed) in PATHS {
        for method in METHODS {
            if allowed.split(", ").any(|allowed| allowed == method) {
                continue;
            }
            let refused = answer(alice.request(method, path)).await;
            let status = if allowed.is_empty() { 404 } else { 405 };
            assert_eq!(refused.status, status, "{method} {path}");
            assert_eq!(refused.header("content-type"), "application/json");
            if method == "HEAD" {
                assert_eq!(refused.body, "");
            } else {
                refused.refused(status, "M_UNRECOGNIZED");
            }
            if status == 405 {
                assert_eq!(refused.header("allow"), allowed, "{method} {path}");
            }
            has_cors(&refused);
        }
    }
}

#[tokio::test]
async fn what_is_not_there_is_said_as_json() {
    let app = TestApp::start().await;
    for path in [
        "/_matrix/identity",
        "/_matrix/identity/",
        "/_matrix/identity/v1",
        "/_matrix/identity/v3/account",
        "/_matrix/identity/api/v1/lookup",
        "/_matrix/identity/v2/account/",
        "/_matrix/identity/V2/account",
        "/_matrix/identity/v2/pubkey/ephemeral/isvalid/x",
        "/_matrix/client/versions",
        "/_matrix/%FF",
        "/health",
        "/health/",
    ] {
        let refused = app.stranger().get(path).await;
        refused.refused(404, "M_UNRECOGNIZED");
        has_cors(&refused);
    }
    for path in [
        "/index.html",
        "//_matrix/identity/v2",
        "/_matrix/identity/v2/../versions",
        "/_matrix/identity/v2/%2e%2e/versions",
        "/_matrix%2Fidentity/v2",
        "/_matrix/identity/v2%00",
    ] {
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        let refused = raw(&app, request.as_bytes()).await;
        assert!(refused.starts_with("HTTP/1.1 404"), "{refused}");
        assert!(refused.contains(r#""errcode":"M_UNRECOGNIZED""#), "{refused}");
        assert!(refused.contains("access-control-allow-origin: *"), "{refused}");
    }
}

#[tokio::test]
async fn a_preflight_is_answered_everywhere_without_a_token() {
    let app = TestApp::start().await;
    for (path, _) in PATHS {
        let request = app.stranger().request("OPTIONS", path);
        let request = request
            .header("origin", "https://app.element.io")
            .header("access-control-request-method", "POST")
            .header("access-control-request-headers", "authorization,content-type");
        let preflight = answer(request).await;
        preflight.ok();
        has_cors(&preflight);
    }
}

#[tokio::test]
async fn every_answer_has_the_headers_that_browsers_want() {
    let app = TestApp::with("limits.register_per_client = '1 per 1h'").await;
    let alice = app.account(ALICE).await;
    let session = alice.validated("alice@example.org", "alice@example.org").await;
    let link = app.last_mail_to("alice@example.org").link;
    let register = json!({ "access_token": "t", "matrix_server_name": "127.0.0.1" });
    let registering = [
        app.stranger().post("/account/register", register.clone()).await,
        app.stranger().post("/account/register", register).await,
    ];
    assert_eq!((registering[0].status, registering[1].status), (502, 429));
    let page = app.stranger().get(link.strip_prefix(&app.base).unwrap()).await;
    assert_eq!((page.status, page.header("content-type")), (200, "text/html; charset=utf-8"));
    let failed = app.stranger().get("/validate/email/submitToken").await;
    assert_eq!((failed.status, failed.header("content-type")), (400, "text/html; charset=utf-8"));
    let validated = alice.get(&format!("/3pid/getValidated3pid?{}", session.query())).await;
    validated.ok();
    let large = "x".repeat(70_000);
    let large = alice.post_raw("/terms", "application/json", &large).await;
    assert_eq!(large.status, 413);
    app.database.execute("ALTER TABLE ephemeral_keys RENAME TO gone");
    let broken = alice.get("/pubkey/ephemeral/isvalid?public_key=AAAA").await;
    assert!(broken.status >= 500);
    for answer in registering.iter().chain([&page, &failed, &validated, &large, &broken]) {
        has_cors(answer);
    }
}

#[tokio::test]
async fn no_query_or_header_makes_the_server_fail() {
    let app = TestApp::start().await;
    let alice = app.account(ALICE).await;
    for value in ["%00", "%FF", "a%00b", "%", "%zz", "%F0%9F%94%91", &"x".repeat(8000)] {
        for path in [
            format!("/account?access_token={value}"),
            format!("/pubkey/isvalid?public_key={value}"),
            format!("/pubkey/ephemeral/isvalid?public_key={value}"),
            format!("/3pid/getValidated3pid?sid={value}&client_secret=c"),
            format!("/3pid/getValidated3pid?sid=s&client_secret={value}"),
            format!("/validate/email/submitToken?sid={value}&client_secret=c&token=t"),
            format!("/validate/email/submitToken?sid=s&client_secret={value}&token=t"),
            format!("/validate/email/submitToken?sid=s&client_secret=c&token={value}"),
        ] {
            for caller in [&alice, &app.stranger()] {
                let answer = caller.get(&path).await;
                assert!(answer.status < 500, "{path:.60}: {}", answer.body);
            }
        }
        let request = app.stranger().request("GET", "/account");
        let refused = answer(request.header("authorization", format!("Bearer {value}"))).await;
        refused.refused(401, "M_UNAUTHORIZED");
    }
    let odd = app.stranger().request("GET", "/account");
    let odd = odd.header("authorization", b"Bearer \xff\xfe".as_slice());
    answer(odd).await.refused(401, "M_UNAUTHORIZED");
}

#[tokio::test]
async fn one_connection_carries_many_requests() {
    let app = TestApp::start().await;
    let alice = app.account(ALICE).await;
    let accept = r#"{"user_accepts":[]}"#;
    let length = format!("Content-Length: {}\r\n", accept.len());
    // All at once; each answer has to be framed rightly for the next one to be found.
    let requests = [
        head(&alice, "GET", "/account", ""),
        head(&alice, "HEAD", "/account", ""),
        head(&alice, "POST", "/terms", &length) + accept,
        head(&alice, "POST", "/account", &length) + accept,
        head(&alice, "POST", "/unknown", &length) + accept,
        head(&alice, "OPTIONS", "/terms", &length) + accept,
        head(&app.stranger(), "POST", "/terms", &length) + accept,
        head(&alice, "GET", "/hash_details", ""),
        head(&alice, "GET", "/account", "Connection: close\r\n"),
    ];
    let answers = raw(&app, requests.concat().as_bytes()).await;
    let statuses: Vec<&str> = answers
        .match_indices("HTTP/1.1 ")
        .map(|(at, start)| &answers[at + start.len()..at + start.len() + 3])
        .collect();
    assert_eq!(
        statuses,
        ["200", "405", "200", "405", "404", "200", "401", "200", "200"],
        "{answers}"
    );
}

#[tokio::test]
async fn who_asks_is_looked_at_before_what_is_asked() {
    let app = TestApp::with(
        "limits.enabled = false\n[terms.privacy]\nversion = '1'\n\
         en = { name = 'Privacy', url = 'https://example.org/privacy' }",
    )
    .await;
    let alice = app.account(ALICE).await;
    for (path, _) in bodies() {
        if matches!(path, "/account/register" | "/3pid/unbind") {
            continue;
        }
        for body in ["not json", "[]", "{}", &" ".repeat(3 << 20)] {
            let stranger = app.stranger().post_raw(path, "", body).await;
            stranger.refused(401, "M_UNAUTHORIZED");
            if path != "/terms" {
                alice.post_raw(path, "", body).await.refused(403, "M_TERMS_NOT_SIGNED");
            }
        }
    }
    let path = "/3pid/getValidated3pid";
    app.stranger().get(path).await.refused(401, "M_UNAUTHORIZED");
    alice.get(path).await.refused(403, "M_TERMS_NOT_SIGNED");
    // And before that, whether there is something to ask.
    answer(app.stranger().request("DELETE", path)).await.refused(405, "M_UNRECOGNIZED");
}

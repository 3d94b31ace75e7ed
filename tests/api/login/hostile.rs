//! Logins that nobody's client makes.

use serde_json::json;
use tokio::io::AsyncWriteExt;

use super::{Behind, EMAIL, LOGIN, PASSWORD, by_email, with_identifier};
use crate::edge::{connect, raw, read_all};

fn head(fields: &str) -> String {
    format!("POST {LOGIN} HTTP/1.1\r\nHost: id.example.org\r\n{fields}\r\n")
}

#[tokio::test]
async fn a_login_is_as_large_as_the_operator_lets_it_be() {
    let behind = Behind::with(", max_login_body = 1000", "limits.enabled = false").await;
    behind.alice_owns(EMAIL).await;
    let login = |length: usize| {
        let mut body = by_email(EMAIL, PASSWORD);
        body["x"] = json!("");
        let shorter = body.to_string().len();
        body["x"] = json!("x".repeat(length - shorter));
        body
    };
    assert_eq!(behind.log_in(&login(1000)).await.status, 200);
    let asked = behind.homeserver.requests().len();
    for length in [1001, 100_000, 1_000_000] {
        behind.log_in(&login(length)).await.refused(413, "M_TOO_LARGE");
    }
    // Without a length that could be looked at first.
    let chunk = "x".repeat(600);
    let chunks = format!("258\r\n{chunk}\r\n258\r\n{chunk}\r\n0\r\n\r\n");
    let fields = "Transfer-Encoding: chunked\r\nConnection: close\r\n";
    let refused = raw(&behind.app, (head(fields) + &chunks).as_bytes()).await;
    assert!(refused.starts_with("HTTP/1.1 413"), "{refused}");
    assert!(refused.contains("M_TOO_LARGE"), "{refused}");
    assert_eq!(behind.homeserver.requests().len(), asked);
}

#[tokio::test]
async fn a_login_that_does_not_come_in_time_is_not_waited_for() {
    let behind = Behind::with(", login_body_timeout = '200ms'", "limits.enabled = false").await;
    let mut stream = connect(&behind.app).await;
    let begun = head("Content-Length: 100\r\n") + "{\"type\":";
    stream.write_all(begun.as_bytes()).await.unwrap();
    let refused = read_all(&mut stream).await;
    assert!(refused.starts_with("HTTP/1.1 408"), "{refused}");
    assert!(refused.contains("access-control-allow-origin: *"), "{refused}");
    assert!(behind.homeserver.requests().is_empty());
}

#[tokio::test]
async fn a_login_that_can_be_read_in_two_ways_is_refused() {
    let behind = Behind::with(", login_by_address = true", "limits.enabled = false").await;
    let twice = r#"{"type":"m.login.password","user":"a@b.test","user":"@alice:hs.example"}"#;
    for address in ["a@b.test\r\nX-Evil: 1", "a\0@b.test", "a@b.test\n", "a@\u{85}b.test"] {
        for login in [
            by_email(address, PASSWORD),
            with_identifier(&json!({ "type": "m.id.user", "user": address }), PASSWORD),
            with_identifier(
                &json!({ "type": "m.id.phone", "country": "GB", "phone": address }),
                PASSWORD,
            ),
            json!({ "type": "m.login.password", "password": "x", "user": address }),
        ] {
            behind.log_in(&login).await.refused(400, "M_INVALID_PARAM");
        }
    }
    let refused = behind.app.stranger().post_raw(LOGIN, "application/json", twice).await;
    refused.refused(400, "M_BAD_JSON");
    assert!(behind.homeserver.requests().is_empty());
}

#[tokio::test]
async fn no_request_hides_in_another() {
    let behind = Behind::start().await;
    let hidden = "GET /_matrix/client/v3/hidden HTTP/1.1\r\nHost: x\r\n\r\n";
    let length = hidden.len();
    for fields in [
        format!("Content-Length: {length}\r\nTransfer-Encoding: chunked\r\n"),
        format!("Transfer-Encoding: chunked\r\nContent-Length: {length}\r\n"),
        format!("Content-Length: {length}\r\nContent-Length: 0\r\n"),
        format!("Content-Length: +{length}\r\n"),
        format!("Content-Length: {length}, {length}\r\n"),
        "Transfer-Encoding: identity\r\n".to_owned(),
        "Transfer-Encoding: chunked, identity\r\n".to_owned(),
        "Transfer-Encoding: xchunked\r\n".to_owned(),
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n".to_owned(),
        "Transfer-Encoding : chunked\r\n".to_owned(),
        "X: 1\r\n Transfer-Encoding: chunked\r\n".to_owned(),
    ] {
        let request = head(&format!("{fields}Connection: close\r\n")) + "0\r\n\r\n" + hidden;
        let answered = raw(&behind.app, request.as_bytes()).await;
        assert!(answered.starts_with("HTTP/1.1 400"), "{fields:?}: {answered}");
        assert_eq!(answered.matches("HTTP/1.1 ").count(), 1, "{fields:?}: {answered}");
    }
    assert!(behind.homeserver.requests().is_empty());
}

#[tokio::test]
async fn fields_that_are_named_as_the_connections_own_change_nothing_of_who_asks() {
    let behind = Behind::start().await;
    let body = by_email(EMAIL, PASSWORD).to_string();
    let fields = format!(
        "Content-Length: {}\r\nX-Forwarded-For: 198.51.100.1\r\nUpgrade: h2c\r\n\
         Connection: close, X-Forwarded-For, Via, Content-Length, Host, Upgrade\r\n",
        body.len()
    );
    let answered = raw(&behind.app, (head(&fields) + &body).as_bytes()).await;
    assert!(answered.starts_with("HTTP/1.1 403"), "{answered}");
    let sent = behind.last();
    assert_eq!(sent.headers["x-forwarded-for"], "198.51.100.1");
    assert_eq!(sent.headers["content-length"], sent.body.len().to_string());
    assert!(!sent.headers.contains_key("upgrade"));
}

#[tokio::test]
async fn no_path_leads_out_of_the_client_api() {
    let behind = Behind::start().await;
    for path in [
        "/_matrix/client/../../_synapse/admin/v1/users",
        "/_matrix/client/v3/%2e%2e/%2E%2e/%2e%2e/_synapse/admin/v1/users",
        "/_matrix/client/v3/..",
        "/_matrix/client/./v3/login",
    ] {
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        let answered = raw(&behind.app, request.as_bytes()).await;
        assert!(answered.starts_with("HTTP/1.1 404"), "{path}: {answered}");
    }
    assert!(behind.homeserver.requests().is_empty());
}

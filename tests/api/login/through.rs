//! What goes through as it came, and comes back as it is.

use serde_json::json;

use super::{Behind, EMAIL, LOGIN, PASSWORD, by_email};
use crate::{edge::raw, harness::answer, homeserver::Reply};

#[tokio::test]
async fn the_flows_are_the_homeservers() {
    let behind = Behind::start().await;
    let flows = r#"{"flows":[{"type":"m.login.password"},{"type":"org.example"}]}"#;
    for version in ["r0", "v3", "unstable"] {
        let path = format!("/_matrix/client/{version}/login");
        let headers = "Content-Type: application/json\r\nX-Flow: a\r\nX-Flow: b\r\n\
                       Access-Control-Allow-Origin: *\r\nConnection: X-Hop\r\nX-Hop: 1\r\n";
        behind.homeserver.set_reply(&path, Reply::with(headers, flows));
        let answer = behind.app.stranger().get(&format!("{path}?a=%2F&b='c'")).await;
        assert_eq!((answer.status, &*answer.body), (200, flows));
        let values = |name: &str| answer.headers.get_all(name).iter().collect::<Vec<_>>();
        assert_eq!(values("x-flow"), ["a", "b"]);
        assert_eq!(values("access-control-allow-origin"), ["*"]);
        assert!(values("x-hop").is_empty() && values("access-control-allow-methods").is_empty());
        assert_eq!(behind.last().method, "GET");
        assert!(behind.last().target.starts_with(&format!("{path}?a=%2F&b=")));
    }
}

#[tokio::test]
async fn whoever_asks_is_told_of_as_far_as_it_is_known() {
    let behind = Behind::start().await;
    let ask = async |method: &str, fields: &[(&str, &str)]| {
        let request = behind.app.stranger().request(method, LOGIN);
        let request = fields.iter().fold(request, |r, (name, value)| r.header(*name, *value));
        let request =
            if method == "POST" { request.json(&by_email(EMAIL, PASSWORD)) } else { request };
        answer(request).await;
        behind.last().headers
    };
    let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    for method in ["GET", "POST", "PUT", "DELETE"] {
        let fields = ask(
            method,
            &[
                ("user-agent", "Element/1"),
                ("traceparent", trace),
                ("tracestate", "a=b"),
                ("b3", "0"),
                ("x-request-id", "17"),
                ("origin", "https://app.example"),
                ("accept-language", "de"),
                ("x-forwarded-for", "203.0.113.9, 198.51.100.1"),
                ("x-forwarded-proto", "https"),
                ("x-real-ip", "203.0.113.9"),
                ("forwarded", "for=203.0.113.9"),
                ("connection", "x-secret"),
                ("x-secret", "1"),
                ("te", "trailers"),
                ("host", "matrix.example.org"),
            ],
        )
        .await;
        for (name, value) in [
            ("user-agent", "Element/1"),
            ("traceparent", trace),
            ("tracestate", "a=b"),
            ("b3", "0"),
            ("x-request-id", "17"),
            ("origin", "https://app.example"),
            ("accept-language", "de"),
            ("x-forwarded-for", "198.51.100.1"),
            ("x-forwarded-proto", "https"),
            ("host", "matrix.example.org"),
            ("via", "1.1 id.example.org"),
        ] {
            assert_eq!(fields.get(name).map(String::as_str), Some(value), "{method} {name}");
        }
        for name in ["x-secret", "te", "forwarded", "x-real-ip", "upgrade"] {
            assert!(!fields.contains_key(name), "{method} {name}");
        }
    }
}

#[tokio::test]
async fn preflights_are_the_homeservers_to_answer() {
    let behind = Behind::start().await;
    let headers = "Access-Control-Allow-Origin: *\r\nAccess-Control-Allow-Headers: X-Own\r\n";
    behind.homeserver.set_reply(LOGIN, Reply::Full(204, headers.to_owned(), String::new()));
    let options = answer(behind.app.stranger().request("OPTIONS", LOGIN)).await;
    assert_eq!((options.status, &*options.body), (204, ""));
    assert_eq!(options.header("access-control-allow-headers"), "X-Own");
    assert_eq!(behind.last().method, "OPTIONS");
    // Our own paths are answered here.
    let path = "/_matrix/identity/v2/terms";
    let options = answer(behind.app.stranger().request("OPTIONS", path)).await;
    assert!(options.header("access-control-allow-headers").contains("Authorization"));
}

#[tokio::test]
async fn anything_below_the_client_api_goes_through() {
    let behind = Behind::start().await;
    let path = "/_matrix/client/v1/media/download/hs.example/x";
    let media = "x".repeat(100_000);
    let headers = "Content-Type: image/png\r\nETag: \"a\"\r\n";
    behind.homeserver.set_reply(path, Reply::with(headers, &media));
    let answer = behind.app.stranger().get(path).await;
    assert_eq!((answer.status, answer.body.len()), (200, media.len()));
    assert_eq!((answer.header("etag"), answer.header("content-length")), ("\"a\"", "100000"));
    let unknown = behind.app.stranger().get("/_matrix/client/v9/nothing").await;
    assert_eq!((unknown.status, &*unknown.body), (404, r#"{"errcode":"M_UNRECOGNIZED"}"#));
    // And nothing beside it.
    let asked = behind.homeserver.requests().len();
    behind.app.stranger().get("/_matrix/media/v3/x").await.refused(404, "M_UNRECOGNIZED");
    assert_eq!(behind.homeserver.requests().len(), asked);
}

#[tokio::test]
async fn a_head_has_a_length_and_no_body() {
    let behind = Behind::start().await;
    let reply = "HTTP/1.1 200 OK\r\nContent-Length: 12345\r\nX-Own: 1\r\n\r\n";
    behind.homeserver.set_reply(LOGIN, Reply::Raw(reply.into()));
    let head = answer(behind.app.stranger().request("HEAD", LOGIN)).await;
    assert_eq!((head.status, head.header("content-length")), (200, "12345"));
    assert_eq!((head.header("x-own"), &*head.body), ("1", ""));
}

#[tokio::test]
async fn a_body_comes_through_as_it_was_sent_with_a_length_or_without() {
    let behind = Behind::start().await;
    let path = "/_matrix/client/v3/upload";
    behind.homeserver.set_reply(path, Reply::new(200, "{}"));
    let media: Vec<u8> = (0..3_000_000_u32).map(|n| n.to_le_bytes()[0]).collect();
    let whole = behind.app.stranger().request("PUT", path).body(media.clone());
    assert_eq!(answer(whole).await.status, 200);
    let sent = behind.last();
    assert!(sent.body == media && sent.headers["content-length"] == "3000000");
    let chunks: Vec<String> = ["hello ", "world"]
        .iter()
        .map(|chunk| format!("{:x}\r\n{chunk}\r\n", chunk.len()))
        .collect();
    let request = format!(
        "PUT {path} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\
         Connection: close\r\n\r\n{}0\r\n\r\n",
        chunks.concat()
    );
    let answered = raw(&behind.app, request.as_bytes()).await;
    assert!(answered.starts_with("HTTP/1.1 200"), "{answered}");
    let sent = behind.last();
    assert_eq!(sent.body, b"hello world");
    assert_eq!(sent.headers["transfer-encoding"], "chunked");
}

#[tokio::test]
async fn an_answer_comes_through_piece_by_piece() {
    let behind = Behind::start().await;
    let path = "/_matrix/client/v3/sync";
    let begun = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n";
    behind.homeserver.set_reply(path, Reply::Stalled(begun.into()));
    let mut response = behind.app.stranger().request("GET", path).send().await.unwrap();
    assert_eq!(response.status(), 200);
    // The homeserver has not ended it, and won't.
    let piece = tokio::time::timeout(std::time::Duration::from_secs(20), async {
        response.chunk().await.unwrap().unwrap()
    });
    assert_eq!(&*piece.await.unwrap(), b"hello");
}

#[tokio::test]
async fn a_homeserver_that_is_away_is_said_to_be() {
    let behind = Behind::with(", timeout = '300ms'", "limits.enabled = false").await;
    behind.alice_owns(EMAIL).await;
    behind.homeserver.set_reply(LOGIN, Reply::Silence);
    let known = behind.log_in(&by_email(EMAIL, PASSWORD)).await;
    let unknown = behind.log_in(&by_email("b@example.org", PASSWORD)).await;
    known.refused(504, "M_UNKNOWN");
    assert_eq!((known.status, &known.body), (unknown.status, &unknown.body));
    assert_eq!(known.header("access-control-allow-origin"), "*");
    behind.homeserver.set_reply(LOGIN, Reply::Raw(b"nonsense\r\n\r\n".to_vec()));
    behind.log_in(&by_email(EMAIL, PASSWORD)).await.refused(502, "M_UNKNOWN");
    behind.app.stranger().get(LOGIN).await.refused(502, "M_UNKNOWN");
}

#[tokio::test]
async fn redirects_are_for_the_client_to_follow() {
    let behind = Behind::start().await;
    let path = "/_matrix/client/v3/login/sso/redirect";
    behind.homeserver.set_reply(path, Reply::redirect(302, "https://sso.example/"));
    let redirected = behind.app.stranger().get(path).await;
    assert_eq!((redirected.status, redirected.header("location")), (302, "https://sso.example/"));
}

#[tokio::test]
async fn a_gateway_that_leads_back_here_does_not_go_round_for_ever() {
    let behind = Behind::start().await;
    let looped = behind.app.stranger().request("GET", LOGIN);
    let looped = answer(looped.header("via", "1.1 other, 1.1 id.example.org")).await;
    looped.refused(508, "M_UNKNOWN");
    assert!(behind.homeserver.requests().is_empty());
    let once = behind.app.stranger().request("POST", LOGIN).header("via", "1.1 nginx");
    answer(once.json(&json!({}))).await;
    assert_eq!(behind.last().headers["via"], "1.1 nginx, 1.1 id.example.org");
}

//! What is made of the body of a request, whatever is in it.

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::{
    edge::{bodies, connect, head, raw, read_all},
    harness::{TestApp, answer},
};

const ALICE: &str = "@alice:hs.example";

#[tokio::test]
async fn the_content_type_of_a_body_does_not_matter() {
    let app = TestApp::start().await;
    let alice = app.account(ALICE).await;
    let pepper = alice.get("/hash_details").await.ok()["lookup_pepper"].clone();
    let lookup = json!({ "algorithm": "sha256", "pepper": pepper, "addresses": [] }).to_string();
    for content_type in [
        "application/json; charset=utf-8",
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data",
        "nonsense",
        "",
    ] {
        alice.post_raw("/lookup", content_type, &lookup).await.ok();
        alice.post_raw("/terms", content_type, r#"{"user_accepts":[]}"#).await.ok();
    }
    let none = alice.request("POST", "/lookup").body(lookup);
    answer(none).await.ok();
}

#[tokio::test]
async fn a_body_that_is_no_json_object_is_refused() {
    let app = TestApp::start().await;
    let alice = app.account(ALICE).await;
    for (path, body) in bodies() {
        let whole = body.to_string();
        for text in [
            "",
            " ",
            "{",
            "not json",
            "{'a':1}",
            "{} {}",
            "\u{feff}{}",
            "{\"a\":\"\t\"}",
            &whole[..whole.len() - 1],
        ] {
            alice.post_raw(path, "application/json", text).await.refused(400, "M_NOT_JSON");
        }
        for text in ["[]", "null", "1", "\"text\"", "true", "[[]]"] {
            alice.post_raw(path, "application/json", text).await.refused(400, "M_BAD_JSON");
        }
        let fields = body.as_object().unwrap().values().cloned().collect::<Value>().to_string();
        alice.post_raw(path, "application/json", &fields).await.refused(400, "M_BAD_JSON");
        let name = body.as_object().unwrap().keys().next().unwrap();
        let invalid = [format!("{{\"{name}\":\"").as_bytes(), b"\xff\"}"].concat();
        answer(alice.request("POST", path).body(invalid)).await.refused(400, "M_NOT_JSON");
        // JSON by the letter, but of no meaning.
        for odd in [r#""\ud800""#, "1e999", "-0"] {
            let text = format!("{{\"{name}\":{odd}}}");
            let answer = alice.post_raw(path, "application/json", &text).await;
            assert_eq!(answer.status, 400, "{path} {text}");
            answer.json();
        }
        alice.post(path, json!({})).await.refused(400, "M_MISSING_PARAMS");
    }
}

/// The last value of a name that comes twice counts, or the request is refused; nothing else.
#[tokio::test]
async fn a_name_that_comes_twice_is_no_trouble() {
    let app = TestApp::start().await;
    let alice = app.account(ALICE).await;
    for (path, body) in bodies() {
        let once = body.to_string();
        let twice = format!("{},{}", &once[..once.len() - 1], &once[1..]);
        let answer = alice.post_raw(path, "application/json", &twice).await;
        assert!(answer.status < 500 || path == "/account/register", "{path}: {}", answer.body);
        answer.json();
    }
}

#[tokio::test]
async fn deep_nesting_is_refused_or_ignored() {
    let app = TestApp::start().await;
    let alice = app.account(ALICE).await;
    for (path, body) in bodies() {
        for (open, close) in [("[", "]"), (r#"{"a":"#, "}")] {
            let inner = if open == "[" { "" } else { "1" };
            let nested = open.repeat(10_000) + inner + &close.repeat(10_000);
            let whole = body.to_string();
            for text in [
                nested.clone(),
                format!(r#"{{"unknown":{nested},{}"#, &whole[1..]),
                open.repeat(20_000),
            ] {
                if text.len() > 64 * 1024 && path != "/lookup" {
                    continue;
                }
                let answer = alice.post_raw(path, "application/json", &text).await;
                assert_eq!(answer.status, 400, "{path}: {}", answer.body);
            }
        }
    }
    alice.get("/account").await.ok();
}

/// Every text of `body` replaced in turn.
fn with_each_text_replaced(body: &Value, by: &str) -> Vec<Value> {
    fn replace(value: &Value, by: &str, found: &mut Vec<Value>) {
        if value.is_string() {
            found.push(json!(by));
        }
        for (key, inner) in value.as_object().into_iter().flatten() {
            let mut replaced = Vec::new();
            replace(inner, by, &mut replaced);
            found.extend(replaced.into_iter().map(|new| {
                let mut whole = value.clone();
                whole[key] = new;
                whole
            }));
        }
        for (index, inner) in value.as_array().into_iter().flatten().enumerate() {
            let mut replaced = Vec::new();
            replace(inner, by, &mut replaced);
            found.extend(replaced.into_iter().map(|new| {
                let mut whole = value.clone();
                whole[index] = new;
                whole
            }));
        }
    }
    let mut found = Vec::new();
    replace(body, by, &mut found);
    found
}

#[tokio::test]
async fn no_text_makes_the_server_fail() {
    let app = TestApp::with("lookup.algorithms = ['sha256', 'none']\nlimits.enabled = false").await;
    let alice = app.account(ALICE).await;
    let long = "x".repeat(60_000);
    let texts = ["\0", "a\0b", "\u{ffff}", "\u{202e}", "'; --", "%s%n", "{{1}}", "\r\n", &long];
    for (path, mut body) in bodies() {
        if path == "/lookup" {
            body["pepper"] = alice.get("/hash_details").await.ok()["lookup_pepper"].clone();
            body["algorithm"] = json!("none");
        }
        for text in texts {
            for body in with_each_text_replaced(&body, text) {
                let answer = alice.post(path, body).await;
                // A homeserver that may not be reached is a bad gateway.
                assert!(
                    answer.status < 500 || answer.status == 502,
                    "{path} {text:.9} {}",
                    answer.body
                );
                answer.json();
            }
        }
    }
}

#[tokio::test]
async fn a_body_may_have_64_kibibytes_and_a_lookup_2_mebibytes() {
    let app = TestApp::start().await;
    let alice = app.account(ALICE).await;
    for (path, _) in bodies() {
        let limit = if path == "/lookup" { 2 << 20 } else { 64 << 10 };
        let fitting = "{}".to_owned() + &" ".repeat(limit - 2);
        alice.post_raw(path, "", &fitting).await.refused(400, "M_MISSING_PARAMS");
        let larger = format!("{fitting} ");
        alice.post_raw(path, "", &larger).await.refused(413, "M_TOO_LARGE");
    }
}

#[tokio::test]
async fn a_client_that_is_still_sending_hears_that_it_sends_too_much() {
    let app = TestApp::start().await;
    let alice = app.account(ALICE).await;
    for (path, length) in [("/terms", 1 << 20), ("/terms", 6 << 20), ("/lookup", 6 << 20)] {
        let mut stream = connect(&app).await;
        let headers = format!("Content-Length: {length}\r\nConnection: close\r\n");
        stream.write_all(head(&alice, "POST", path, &headers).as_bytes()).await.unwrap();
        stream.write_all(&vec![b' '; length]).await.unwrap();
        let refused = read_all(&mut stream).await;
        assert!(refused.starts_with("HTTP/1.1 413"), "{path} {length}: {refused}");
        assert!(refused.contains("M_TOO_LARGE"), "{refused}");
    }
}

#[tokio::test]
async fn a_client_that_is_still_sending_hears_that_it_may_not() {
    let app = TestApp::start().await;
    for (path, status) in [("/lookup", 401), ("/unknown", 404), ("/account", 405)] {
        let mut stream = connect(&app).await;
        let headers = format!("Content-Length: {}\r\nConnection: close\r\n", 1 << 20);
        stream.write_all(head(&app.stranger(), "POST", path, &headers).as_bytes()).await.unwrap();
        stream.write_all(&vec![b' '; 1 << 20]).await.unwrap();
        let refused = read_all(&mut stream).await;
        assert!(refused.starts_with(&format!("HTTP/1.1 {status}")), "{path}: {refused}");
    }
}

#[tokio::test]
async fn a_body_in_chunks_is_read_like_any_other() {
    let app = TestApp::start().await;
    let alice = app.account(ALICE).await;
    let headers = "Transfer-Encoding: chunked\r\nConnection: close\r\n";
    let body = "10\r\n{\"user_accepts\":\r\n3\r\n[]}\r\n0\r\n\r\n";
    let done = raw(&app, (head(&alice, "POST", "/terms", headers) + body).as_bytes()).await;
    assert!(done.starts_with("HTTP/1.1 200"), "{done}");
    let chunk = format!("10000\r\n{}\r\n", " ".repeat(0x10000));
    let body = chunk.repeat(3) + "0\r\n\r\n";
    let large = raw(&app, (head(&alice, "POST", "/terms", headers) + &body).as_bytes()).await;
    assert!(large.starts_with("HTTP/1.1 413"), "{large}");
}

#[tokio::test]
async fn a_client_that_asks_before_it_sends_is_told_to_go_on() {
    let app = TestApp::start().await;
    let alice = app.account(ALICE).await;
    let mut stream = connect(&app).await;
    let headers = "Content-Length: 19\r\nExpect: 100-continue\r\nConnection: close\r\n";
    stream.write_all(head(&alice, "POST", "/terms", headers).as_bytes()).await.unwrap();
    let mut go_on = [0; 25];
    stream.read_exact(&mut go_on).await.unwrap();
    assert_eq!(&go_on, b"HTTP/1.1 100 Continue\r\n\r\n");
    stream.write_all(br#"{"user_accepts":[]}"#).await.unwrap();
    let done = read_all(&mut stream).await;
    assert!(done.starts_with("HTTP/1.1 200"), "{done}");
}

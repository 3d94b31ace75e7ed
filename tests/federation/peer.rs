//! What is asked of another identity server, and what is believed of its answers.

use std::time::{Duration, Instant};

use bindery::{
    federation::{FederationError, HashedQuery, OpenIdToken, PeerAddress, PeerError, PeerVersions},
    matrix::signing::encode_base64,
};
use serde_json::{Value, json};

use crate::{FakeHomeserver, World, homeserver::Reply};

const V1: &str = "/_matrix/identity/api/v1";

const V2: &str = "/_matrix/identity/v2";

const TOKEN: &str = "access-token";

/// An identity server below a path, and where it is.
async fn peer(world: &World) -> (FakeHomeserver, PeerAddress) {
    let server = FakeHomeserver::start(&world.ca, &["127.0.0.1"]).await;
    let url = format!("https://{}/prefix/", server.name("127.0.0.1"));
    (server, PeerAddress::of_operator(&url).unwrap())
}

fn set(server: &FakeHomeserver, path: &str, body: &Value) {
    server.set_reply(&format!("/prefix{path}"), Reply::new(200, body.to_string()));
}

fn openid() -> OpenIdToken {
    OpenIdToken {
        access_token: "openid-token".to_owned(),
        matrix_server_name: "id.example".parse().unwrap(),
        expires_in: Duration::from_mins(2),
    }
}

fn hashed(addresses: &[String]) -> HashedQuery<'_> {
    HashedQuery { algorithm: "sha256", pepper: "pepper", addresses }
}

/// The body of the last request.
fn sent(server: &FakeHomeserver) -> Value {
    serde_json::from_slice(&server.requests().last().unwrap().body).unwrap()
}

#[tokio::test]
async fn registering_shows_an_openid_token_and_brings_an_access_token() {
    let world = World::start().await;
    let (server, peer) = peer(&world).await;
    set(&server, "/_matrix/identity/v2/account/register", &json!({ "token": TOKEN }));
    assert_eq!(world.federation.register(&peer, &openid()).await.unwrap(), TOKEN);
    let request = &server.requests()[0];
    assert_eq!(request.method, "POST");
    assert_eq!(request.target, format!("/prefix{V2}/account/register"));
    assert_eq!(request.headers["content-type"], "application/json");
    assert!(!request.headers.contains_key("authorization"));
    let expected = json!({
        "access_token": "openid-token",
        "token_type": "Bearer",
        "matrix_server_name": "id.example",
        "expires_in": 120,
    });
    assert_eq!(sent(&server), expected);
}

#[tokio::test]
async fn a_token_that_no_header_can_hold_is_none() {
    let world = World::start().await;
    let (server, peer) = peer(&world).await;
    for token in ["", "a b", "a\r\nHost: b", "é", &"x".repeat(2000)] {
        set(&server, "/_matrix/identity/v2/account/register", &json!({ "token": token }));
        let error = world.federation.register(&peer, &openid()).await.unwrap_err();
        assert!(matches!(error, PeerError::Federation(FederationError::Malformed)), "{error:?}");
    }
}

#[tokio::test]
async fn hash_details_are_asked_for_with_the_token() {
    let world = World::start().await;
    let (server, peer) = peer(&world).await;
    let path = "/_matrix/identity/v2/hash_details";
    set(&server, path, &json!({ "lookup_pepper": "pepper", "algorithms": ["none", "sha256"] }));
    let details = world.federation.hash_details(&peer, TOKEN).await.unwrap();
    assert_eq!(details.lookup_pepper, "pepper");
    assert_eq!(details.algorithms, ["none", "sha256"]);
    assert_eq!(server.requests()[0].headers["authorization"], format!("Bearer {TOKEN}"));
    for pepper in [String::new(), "x".repeat(2000)] {
        set(&server, path, &json!({ "lookup_pepper": pepper, "algorithms": ["sha256"] }));
        assert!(world.federation.hash_details(&peer, TOKEN).await.is_err());
    }
}

#[tokio::test]
async fn only_mappings_of_what_was_asked_to_user_ids_are_believed() {
    let world = World::start().await;
    let (server, peer) = peer(&world).await;
    let mappings = json!({ "mappings": {
        "one": "@alice:example.org",
        "two": "nobody",
        "three": ["@alice:example.org"],
        "unasked": "@mallory:example.org",
    }});
    set(&server, "/_matrix/identity/v2/lookup", &mappings);
    let addresses = ["one", "two", "three", "four"].map(str::to_owned);
    let found = world.federation.lookup_v2(&peer, TOKEN, hashed(&addresses)).await.unwrap();
    assert_eq!(found.len(), 1);
    assert_eq!(found["one"].as_str(), "@alice:example.org");
    let expected =
        json!({ "algorithm": "sha256", "pepper": "pepper", "addresses": addresses.to_vec() });
    assert_eq!(sent(&server), expected);
    assert_eq!(server.requests()[0].headers["authorization"], format!("Bearer {TOKEN}"));
}

#[tokio::test]
async fn each_refusal_is_told_by_its_kind() {
    let world = World::start().await;
    let (server, peer) = peer(&world).await;
    let error = |errcode: &str| json!({ "errcode": errcode, "error": "no" }).to_string();
    let pepper = json!({
        "errcode": "M_INVALID_PEPPER",
        "error": "no",
        "algorithm": "sha256",
        "lookup_pepper": "new",
    });
    let limit = json!({ "errcode": "M_LIMIT_EXCEEDED", "error": "no", "retry_after_ms": 5000 });
    let limited =
        |seconds: &str| Reply::Full(429, format!("Retry-After: {seconds}\r\n"), String::new());
    for (reply, expected) in [
        (Reply::new(401, error("M_UNAUTHORIZED")), "Unauthorized"),
        (Reply::new(401, ""), "Unauthorized"),
        (Reply::new(403, error("M_TERMS_NOT_SIGNED")), "TermsNotSigned"),
        (Reply::new(403, error("M_FORBIDDEN")), "Refused(403)"),
        (
            Reply::new(400, pepper.to_string()),
            r#"InvalidPepper { lookup_pepper: Some("new"), algorithm: Some("sha256") }"#,
        ),
        (
            Reply::new(400, error("M_INVALID_PEPPER")),
            "InvalidPepper { lookup_pepper: None, algorithm: None }",
        ),
        (Reply::new(429, limit.to_string()), "LimitExceeded { retry_after: 5s }"),
        (limited("7"), "LimitExceeded { retry_after: 7s }"),
        (limited("0"), "LimitExceeded { retry_after: 1s }"),
        (limited("999999999"), "LimitExceeded { retry_after: 3600s }"),
        (Reply::new(429, ""), "LimitExceeded { retry_after: 60s }"),
        (Reply::new(404, error("M_UNRECOGNIZED")), "NoV2"),
        (Reply::new(404, "<html>"), "NoV2"),
        (Reply::new(405, ""), "NoV2"),
        (Reply::new(500, error("M_UNKNOWN")), "Refused(500)"),
        (Reply::new(204, ""), "Federation(Malformed)"),
        (Reply::new(200, "<html>"), "Federation(Malformed)"),
        (Reply::new(200, r#"{"mappings":[]}"#), "Federation(Malformed)"),
    ] {
        server.set_reply(&format!("/prefix{V2}/lookup"), reply);
        let refused = world.federation.lookup_v2(&peer, TOKEN, hashed(&[])).await.unwrap_err();
        assert_eq!(format!("{refused:?}"), expected);
    }
}

#[tokio::test]
async fn a_redirect_is_a_refusal_and_not_followed() {
    let world = World::start().await;
    let (server, peer) = peer(&world).await;
    let (elsewhere, _) = self::peer(&world).await;
    for status in [301, 302, 307, 308] {
        let url = format!("https://{}/", elsewhere.name("127.0.0.1"));
        server.set_reply(&format!("/prefix{V2}/lookup"), Reply::redirect(status, &url));
        let refused = world.federation.lookup_v2(&peer, TOKEN, hashed(&[])).await.unwrap_err();
        assert!(matches!(refused, PeerError::Refused(refused) if refused == status));
    }
    assert_eq!(elsewhere.connections(), 0);
}

#[tokio::test]
async fn an_answer_without_end_is_given_up() {
    let world = World::configured(|config| {
        config.peers.timeout = Duration::from_millis(500);
    })
    .await;
    let (server, peer) = peer(&world).await;
    let head = "HTTP/1.1 200 .\r\nContent-Length: 1000000000\r\n\r\n";
    for (path, limit) in [("lookup", 1024 * 1024), ("hash_details", 64 * 1024)] {
        let path = format!("/prefix{V2}/{path}");
        server.set_reply(&path, Reply::Stalled(format!("{head}{}", " ".repeat(limit + 1)).into()));
    }
    let lookup = async || world.federation.lookup_v2(&peer, TOKEN, hashed(&[])).await.unwrap_err();
    let error = lookup().await;
    assert_eq!(format!("{error:?}"), "Federation(TooLarge { limit: 1048576 })");
    let error = world.federation.hash_details(&peer, TOKEN).await.unwrap_err();
    assert_eq!(format!("{error:?}"), "Federation(TooLarge { limit: 65536 })");
    let start = Instant::now();
    for reply in [Reply::Silence, Reply::Stalled(head.into())] {
        server.set_reply(&format!("/prefix{V2}/lookup"), reply);
        assert_eq!(format!("{:?}", lookup().await), "Federation(TimedOut)");
    }
    // Far from any other time-out, however slow the machine is.
    assert!(start.elapsed() < Duration::from_secs(8), "{:?}", start.elapsed());
}

#[tokio::test]
async fn terms_are_read_and_accepted() {
    let world = World::start().await;
    let (server, peer) = peer(&world).await;
    let privacy = json!({
        "version": "1.2",
        "en": { "name": "Privacy", "url": "https://is.example/en" },
        "fr": { "name": "Vie privée", "url": "https://is.example/fr" },
    });
    set(&server, "/_matrix/identity/v2/terms", &json!({ "policies": { "privacy": privacy } }));
    let terms = world.federation.terms(&peer).await.unwrap();
    assert_eq!((&terms[0].id[..], &terms[0].version[..]), ("privacy", "1.2"));
    let text = |language: &str, name: &str| {
        (language.to_owned(), name.to_owned(), format!("https://is.example/{language}"))
    };
    assert_eq!(terms[0].texts, [text("en", "Privacy"), text("fr", "Vie privée")]);

    let urls = ["https://is.example/en".to_owned()];
    world.federation.accept_terms(&peer, TOKEN, &urls).await.unwrap();
    assert_eq!(sent(&server), json!({ "user_accepts": urls }));
    assert_eq!(server.requests()[1].headers["authorization"], format!("Bearer {TOKEN}"));
    set(&server, "/_matrix/identity/v2/terms", &json!({ "policies": { "privacy": {} } }));
    assert!(world.federation.terms(&peer).await.is_err());
}

#[tokio::test]
async fn an_answer_about_another_address_does_not_count() {
    let world = World::start().await;
    let (server, peer) = peer(&world).await;
    let path = format!("{V1}/lookup");
    let ask = async |address: &str| world.federation.lookup_v1(&peer, "email", address).await;
    set(&server, &path, &json!({}));
    assert_eq!(ask("a+b c@example.org").await.unwrap(), None);
    let expected = format!("/prefix{V1}/lookup?medium=email&address=a%2Bb%20c%40example.org");
    assert_eq!(server.requests()[0].target, expected);

    let association = json!({ "medium": "email", "address": "a@example.org", "mxid": "@a:b" });
    set(&server, &path, &association);
    let found = ask("a@example.org").await.unwrap();
    assert_eq!(found.map(Value::Object), Some(association));
    for other in [
        json!({ "medium": "email", "address": "b@example.org", "mxid": "@a:b" }),
        json!({ "medium": "msisdn", "address": "a@example.org", "mxid": "@a:b" }),
        json!({ "mxid": "@a:b" }),
    ] {
        set(&server, &path, &other);
        let error = ask("a@example.org").await.unwrap_err();
        assert!(matches!(error, PeerError::Federation(FederationError::Malformed)), "{error:?}");
    }
}

#[tokio::test]
async fn of_a_bulk_lookup_only_what_was_asked_is_believed() {
    let world = World::start().await;
    let (server, peer) = peer(&world).await;
    let found = json!({ "threepids": [
        ["email", "a@example.org", "@a:example.org"],
        ["email", "b@example.org", "nobody"],
        ["msisdn", "a@example.org", "@m:example.org"],
        ["email", "c@example.org", "@m:example.org"],
    ]});
    set(&server, &format!("{V1}/bulk_lookup"), &found);
    let asked = ["a@example.org", "b@example.org"].map(|it| ("email".to_owned(), it.to_owned()));
    let found = world.federation.bulk_lookup_v1(&peer, &asked).await.unwrap();
    assert_eq!(found.len(), 1);
    assert_eq!(found[&asked[0]].as_str(), "@a:example.org");
    let expected = json!({
        "threepids": [["email", "a@example.org"], ["email", "b@example.org"]],
    });
    assert_eq!(sent(&server), expected);
}

#[tokio::test]
async fn a_public_key_is_asked_for_by_either_api_and_remembered_for_an_hour() {
    let world = World::start().await;
    let (server, peer) = peer(&world).await;
    let key = [7; 32];
    let ask = async || world.federation.public_key(&peer, "ed25519:0").await;
    assert_eq!(ask().await.unwrap(), None);
    let targets: Vec<_> = server.requests().iter().map(|it| it.target.clone()).collect();
    let path = |api: &str| format!("{api}/pubkey/ed25519%3A0");
    assert_eq!(targets, [V1, V2].map(|api| format!("/prefix{}", path(api))));

    set(&server, &path(V2), &json!({ "public_key": encode_base64(&key) }));
    assert_eq!(ask().await.unwrap(), Some(key));
    set(&server, &path(V1), &json!({ "public_key": encode_base64(&[8; 32]) }));
    world.clock.advance(Duration::from_mins(59));
    assert_eq!(ask().await.unwrap(), Some(key));
    world.clock.advance(Duration::from_mins(1));
    assert_eq!(ask().await.unwrap(), Some([8; 32]));
    assert_eq!(world.federation.public_key(&peer, "ed25519:1").await.unwrap(), None);
    world.clock.advance(Duration::from_hours(1));
    set(&server, &path(V1), &json!({ "public_key": "AAAA" }));
    assert!(ask().await.is_err());
}

#[tokio::test]
async fn the_versions_of_a_peer_are_what_it_answers_to() {
    let world = World::start().await;
    let (server, peer) = peer(&world).await;
    for (v1, v2) in [(false, false), (true, false), (false, true), (true, true)] {
        for (api, speaks) in [(V1, v1), (V2, v2)] {
            let reply = if speaks { Reply::new(200, "{}") } else { Reply::new(404, "<html>") };
            server.set_reply(&format!("/prefix{api}"), reply);
        }
        let versions = world.federation.peer_versions(&peer).await.unwrap();
        assert_eq!(versions, PeerVersions { v1, v2 });
    }
}

#[tokio::test]
async fn the_operators_servers_are_named_by_a_url_that_can_be_asked() {
    for (url, named) in [
        ("https://is.example/", Some("https://is.example")),
        ("https://is.example:443/a/", Some("https://is.example/a")),
        ("http://127.0.0.1:8090", Some("http://127.0.0.1:8090")),
        ("https://is.example/a?b#c", Some("https://is.example/a")),
        ("ftp://is.example", None),
        ("mailto:a@b", None),
        ("is.example", None),
    ] {
        let peer = PeerAddress::of_operator(url).ok();
        assert_eq!(peer.as_ref().map(PeerAddress::as_str), named, "{url}");
    }
}

#[tokio::test]
async fn no_token_and_no_address_is_in_the_log() {
    crate::log::record();
    let world = World::start().await;
    let (server, peer) = peer(&world).await;
    set(&server, "/_matrix/identity/v2/account/register", &json!({ "token": "dropped-token" }));
    world.federation.register(&peer, &openid()).await.unwrap();
    world.federation.hash_details(&peer, "secret-token").await.unwrap_err();
    world.federation.lookup_v1(&peer, "email", "secret@example.org").await.unwrap_err();
    let log = crate::log::text();
    assert!(log.contains("asked a peer"), "the log was not recorded");
    for secret in ["dropped-token", "openid-token", "secret-token", "secret@", "secret%40"] {
        assert!(!log.contains(secret), "{secret}: {log}");
    }
}

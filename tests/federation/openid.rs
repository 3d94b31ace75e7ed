//! Whose an OpenID token is.

use std::{error::Error, time::Duration};

use bindery::federation::{FederationError, OpenIdError};

use crate::{FakeHomeserver, TOKEN, World, homeserver::Reply};

const USERINFO: &str = "/_matrix/federation/v1/openid/userinfo";

/// A homeserver at an IP address: nothing has to be discovered.
async fn homeserver(world: &World) -> (FakeHomeserver, String) {
    let homeserver = FakeHomeserver::start(&world.ca, &["127.0.0.1"]).await;
    let name = homeserver.name("127.0.0.1");
    homeserver.set_user(TOKEN, &format!("@alice:{name}"));
    (homeserver, name)
}

#[tokio::test]
async fn the_homeserver_says_whose_a_token_is() {
    let world = World::start().await;
    let (homeserver, name) = homeserver(&world).await;
    assert_eq!(world.ask(&name).await.unwrap(), format!("@alice:{name}"));
    let request = &homeserver.requests()[0];
    assert_eq!(request.method, "GET");
    assert_eq!(request.target, format!("{USERINFO}?access_token={TOKEN}"));
    assert!(request.body.is_empty());
    assert!(!request.headers.contains_key("authorization"));
    let agent = concat!("Bindery/", env!("CARGO_PKG_VERSION"));
    assert_eq!(request.headers["user-agent"], agent);
}

#[tokio::test]
async fn a_token_of_any_characters_arrives_as_it_is() {
    let world = World::start().await;
    let (homeserver, name) = homeserver(&world).await;
    let token = "a b+c&d=e/f?g#h%20é\r\nHost: elsewhere";
    homeserver.set_user(token, &format!("@odd:{name}"));
    let user = world.federation.openid_user(&name.parse().unwrap(), token).await.unwrap();
    assert_eq!(user.as_str(), format!("@odd:{name}"));
    let target = &homeserver.requests()[0].target;
    assert!(target.ends_with("=a%20b%2Bc%26d%3De%2Ff%3Fg%23h%2520%C3%A9%0D%0AHost%3A%20elsewhere"));
}

#[tokio::test]
async fn the_content_type_of_the_answer_does_not_matter() {
    let world = World::start().await;
    let (homeserver, name) = homeserver(&world).await;
    let body = format!(r#"{{"sub": "@bob:{name}", "more": [1]}}"#);
    homeserver.set_reply(USERINFO, Reply::with("Content-Type: text/html\r\n", &body));
    assert_eq!(world.ask(&name).await.unwrap(), format!("@bob:{name}"));
}

#[tokio::test]
async fn a_client_error_refuses_the_token_whatever_its_body_says() {
    let world = World::start().await;
    let (homeserver, name) = homeserver(&world).await;
    for status in [400, 401, 403, 404, 429] {
        homeserver.set_reply(USERINFO, Reply::new(status, format!(r#"{{"sub":"@a:{name}"}}"#)));
        let error = world.ask(&name).await.unwrap_err();
        assert!(matches!(error, OpenIdError::Refused(refused) if refused == status), "{error}");
    }
}

#[tokio::test]
async fn any_other_status_than_200_names_nobody() {
    let world = World::start().await;
    let (homeserver, name) = homeserver(&world).await;
    for status in [201, 204, 302, 500, 502, 503] {
        homeserver.set_reply(USERINFO, Reply::new(status, format!(r#"{{"sub":"@a:{name}"}}"#)));
        let error = world.ask(&name).await.unwrap_err();
        assert!(
            matches!(error, OpenIdError::Unreachable(FederationError::Status(s)) if s == status),
            "{status}: {error:?}"
        );
    }
}

#[tokio::test]
async fn a_user_of_another_server_is_not_believed() {
    let world = World::start().await;
    world.dns.host("hs.example", &["127.0.0.1"]);
    let homeserver = FakeHomeserver::start(&world.ca, &["hs.example"]).await;
    let name = homeserver.name("hs.example");
    let port = homeserver.address().port();
    for sub in [
        "@alice:other.example".to_owned(),
        "@alice:hs.example".to_owned(),
        format!("@alice:HS.example:{port}"),
        format!("@alice:hs.example.:{port}"),
        format!("@alice:0hs.example:{port}"),
        format!("@alice:hs.example:0{port}"),
        format!("@alice:hs.example:{port} "),
        format!("alice:hs.example:{port}"),
        format!("@alice@hs.example:{port}"),
        "@alice".to_owned(),
        String::new(),
    ] {
        homeserver.set_user(TOKEN, &sub);
        let error = world.ask(&name).await.unwrap_err();
        assert!(matches!(error, OpenIdError::WrongUser), "{sub}: {error:?}");
    }
}

#[tokio::test]
async fn an_answer_without_a_sub_names_nobody() {
    let world = World::start().await;
    let (homeserver, name) = homeserver(&world).await;
    for body in ["", "{}", "[]", "null", "@a:b", r#"{"sub":null}"#, r#"{"sub":["@a:b"]}"#, "{"] {
        homeserver.set_reply(USERINFO, Reply::new(200, body));
        let error = world.ask(&name).await.unwrap_err();
        assert!(
            matches!(error, OpenIdError::Unreachable(FederationError::Malformed)),
            "{body}: {error:?}"
        );
    }
}

#[tokio::test]
async fn a_homeserver_that_does_not_answer_is_given_up() {
    let world = World::with(|federation| federation.timeout = Duration::from_millis(300)).await;
    let (homeserver, name) = homeserver(&world).await;
    homeserver.set_reply(USERINFO, Reply::Silence);
    assert!(matches!(world.ask(&name).await, Err(OpenIdError::TimedOut)));
    // It also may not begin an answer and leave it at that.
    let begun = b"HTTP/1.1 200 .\r\nContent-Length: 10\r\n\r\n{".to_vec();
    homeserver.set_reply(USERINFO, Reply::Stalled(begun));
    assert!(matches!(world.ask(&name).await, Err(OpenIdError::TimedOut)));
}

#[tokio::test]
async fn the_token_is_in_no_error_and_no_log() {
    crate::log::record();
    let world = World::start().await;
    let (homeserver, name) = homeserver(&world).await;
    let mut errors = Vec::new();
    let closed = FakeHomeserver::start(&world.ca, &["127.0.0.1"]).await.name("127.0.0.1");
    errors.push(world.ask(&closed).await.unwrap_err());
    errors.push(world.ask("hs.example").await.unwrap_err());
    for reply in [
        Reply::Raw(b"nonsense".to_vec()),
        Reply::Raw(Vec::new()),
        Reply::redirect(302, &format!("https://{name}/?access_token={TOKEN}")),
        Reply::new(401, TOKEN),
        Reply::new(200, format!(r#"{{"sub":"@{TOKEN}:other.example"}}"#)),
        Reply::new(200, format!(r#"{{"sub":["{TOKEN}"]}}"#)),
    ] {
        homeserver.set_reply(USERINFO, reply);
        errors.push(world.ask(&name).await.unwrap_err());
    }
    for error in &errors {
        assert!(!format!("{error:?}").contains(TOKEN), "{error:?}");
        let mut cause: Option<&dyn Error> = Some(error);
        while let Some(error) = cause {
            assert!(!error.to_string().contains(TOKEN), "{error}");
            cause = error.source();
        }
    }
    let log = crate::log::text();
    assert!(log.contains("asked directly"), "the log was not recorded");
    assert!(!log.contains(TOKEN), "{log}");
}

#[tokio::test]
async fn a_token_too_long_for_a_request_is_an_error_like_others() {
    let world = World::start().await;
    let (_homeserver, name) = homeserver(&world).await;
    let token = "x".repeat(1 << 20);
    let error = world.federation.openid_user(&name.parse().unwrap(), &token).await.unwrap_err();
    assert!(matches!(error, OpenIdError::Unreachable(FederationError::Http(_))), "{error}");
}

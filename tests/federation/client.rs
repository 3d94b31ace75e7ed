//! How requests are made.

use std::{io::Write, process::Command};

use bindery::{
    clock::SystemClock,
    config::Config,
    federation::{Federation, FederationError, OpenIdError, SetupError},
};

use crate::{
    Ca, FakeHomeserver, TOKEN, World,
    homeserver::{Reply, own_loopback},
};

const USERINFO: &str = "/_matrix/federation/v1/openid/userinfo";

/// The longest userinfo that is read.
const LIMIT: usize = 64 * 1024;

/// A homeserver for `hs.example` at 127.0.0.1, which it needs no discovery for.
async fn homeserver(world: &World) -> (FakeHomeserver, String) {
    world.dns.host("hs.example", &["127.0.0.1"]);
    let homeserver = world.homeserver("hs.example", "127.0.0.1:0".parse().unwrap(), "").await;
    let name = homeserver.name("hs.example");
    homeserver.set_user(TOKEN, &format!("@alice:{name}"));
    (homeserver, name)
}

fn is_failed_request(error: &OpenIdError) -> bool {
    matches!(error, OpenIdError::Unreachable(FederationError::Http(_)))
}

#[tokio::test]
async fn a_certificate_for_another_name_is_refused() {
    let world = World::start().await;
    let other = world.homeserver("other.example", "127.0.0.1:0".parse().unwrap(), "").await;
    world.dns.host("hs.example", &["127.0.0.1"]);
    for host in ["hs.example", "127.0.0.1"] {
        let error = world.ask(&other.name(host)).await.unwrap_err();
        assert!(is_failed_request(&error), "{host}: {error:?}");
        assert!(format!("{error:?}").contains("NotValidForName"), "{error:?}");
    }
    assert!(other.requests().is_empty());
}

#[tokio::test]
async fn a_certificate_of_an_unknown_authority_is_refused() {
    let world = World::start().await;
    world.dns.host("hs.example", &["127.0.0.1"]);
    let stranger = FakeHomeserver::start(&Ca::new(), &["hs.example"]).await;
    let error = world.ask(&stranger.name("hs.example")).await.unwrap_err();
    assert!(is_failed_request(&error), "{error:?}");
    assert!(stranger.requests().is_empty());
}

#[tokio::test]
async fn an_answer_as_long_as_allowed_is_read_and_a_longer_one_is_not() {
    let world = World::start().await;
    let (homeserver, name) = homeserver(&world).await;
    let json = format!(r#"{{"sub":"@alice:{name}"}}"#);
    let body = json.clone() + &" ".repeat(LIMIT - json.len());
    let unannounced = |body: &str| Reply::Raw(format!("HTTP/1.1 200 .\r\n\r\n{body}").into());
    let chunked = |body: &str| {
        let length = body.len();
        let head = "HTTP/1.1 200 .\r\nTransfer-Encoding: chunked\r\n\r\n";
        Reply::Raw(format!("{head}{length:x}\r\n{body}\r\n0\r\n\r\n").into())
    };
    let longer = body.clone() + " ";
    for (fits, too_long) in [
        (Reply::new(200, body.as_str()), Reply::new(200, longer.as_str())),
        (unannounced(&body), unannounced(&longer)),
        (chunked(&body), chunked(&longer)),
    ] {
        homeserver.set_reply(USERINFO, fits);
        assert!(world.ask(&name).await.is_ok());
        homeserver.set_reply(USERINFO, too_long);
        let error = world.ask(&name).await.unwrap_err();
        assert!(
            matches!(error, OpenIdError::Unreachable(FederationError::TooLarge { limit: LIMIT })),
            "{error:?}"
        );
    }
}

#[tokio::test]
async fn an_answer_is_not_unpacked() {
    let world = World::start().await;
    let (homeserver, name) = homeserver(&world).await;
    // One stored deflate block would do for an attack, but plain text shows it as well.
    let body = format!(r#"{{"sub":"@alice:{name}"}}"#);
    homeserver.set_reply(USERINFO, Reply::with("Content-Encoding: gzip\r\n", body));
    assert!(world.ask(&name).await.is_ok());
    assert!(!homeserver.requests()[0].headers.contains_key("accept-encoding"));
}

#[tokio::test]
async fn a_redirect_of_a_federation_request_is_not_followed() {
    let world = World::start().await;
    let (homeserver, name) = homeserver(&world).await;
    for status in [301, 302, 303, 307, 308] {
        homeserver.set_reply(USERINFO, Reply::redirect(status, "/elsewhere"));
        assert!(world.ask(&name).await.is_err());
    }
    assert!(homeserver.requests().iter().all(|request| request.target.starts_with(USERINFO)));
    assert_eq!(homeserver.requests().len(), 5);
}

#[tokio::test]
async fn connections_are_kept_and_cookies_are_not() {
    let world = World::start().await;
    let (homeserver, name) = homeserver(&world).await;
    let body = format!(r#"{{"sub":"@alice:{name}"}}"#);
    homeserver.set_reply(USERINFO, Reply::with("Set-Cookie: a=b; Path=/\r\n", body));
    for _ in 0..3 {
        world.ask(&name).await.unwrap();
    }
    assert_eq!((homeserver.requests().len(), homeserver.connections()), (3, 1));
    assert!(homeserver.requests().iter().all(|request| !request.headers.contains_key("cookie")));
}

#[tokio::test]
async fn an_address_where_nobody_listens_leads_to_the_next() {
    let world = World::start().await;
    let (_homeserver, name) = homeserver(&world).await;
    let (nobody, nobody_else) = (own_loopback().to_string(), own_loopback().to_string());
    world.dns.host("hs.example", &[&nobody, &nobody_else, "127.0.0.1"]);
    assert!(world.ask(&name).await.is_ok());
}

#[tokio::test]
async fn a_name_without_an_address_and_a_dead_port_are_errors() {
    let world = World::start().await;
    world.dns.fail("broken.example");
    for name in ["nowhere.example:1", "broken.example:1", "a..b:1", "..", "xn--a"] {
        let error = world.ask(name).await.unwrap_err();
        let OpenIdError::Unreachable(error) = error else { panic!("{name}: {error:?}") };
        let is_fitting =
            matches!(error, FederationError::Dns { .. } | FederationError::Unusable(_));
        assert!(is_fitting, "{name}: {error:?}");
    }
    let (homeserver, name) = homeserver(&world).await;
    let port = homeserver.address();
    drop(homeserver);
    // Once the port is free again nobody listens there.
    while tokio::net::TcpStream::connect(port).await.is_ok() {}
    assert!(is_failed_request(&world.ask(&name).await.unwrap_err()));
}

#[tokio::test]
async fn proxies_of_the_environment_are_not_used() {
    // The environment can't be changed within a process that has threads; another one asks.
    let dead = "http://127.0.0.1:1";
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "openid::the_homeserver_says_whose_a_token_is"])
        .envs(["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"].map(|name| (name, dead)))
        .env_remove("NO_PROXY")
        .env_remove("no_proxy")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
}

#[test]
fn certificates_that_cannot_be_read_stop_the_start() {
    let mut empty = tempfile::NamedTempFile::new().unwrap();
    empty.write_all(b"no certificate\n").unwrap();
    for file in ["/nonexistent/roots.pem".into(), empty.path().to_owned()] {
        let mut config = Config::from_toml("").unwrap();
        config.federation.ca_file = Some(file.clone());
        config.dns.nameservers = vec!["127.0.0.1:53".parse().unwrap()];
        let error = Federation::new(&config, std::sync::Arc::new(SystemClock)).err();
        let Some(SetupError::CaFile { path, .. }) = error else { panic!("{error:?}") };
        assert_eq!(path, file);
    }
}

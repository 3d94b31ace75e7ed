//! How a server name leads to a server, step by step of the specification.

use std::{net::SocketAddr, time::Duration};

use bindery::federation::{FederationError, OpenIdError};

use crate::{
    FakeHomeserver, World,
    homeserver::{Received, Reply, own_loopback},
};

const WELL_KNOWN: &str = "/.well-known/matrix/server";

/// The usual port of federation, on an address of its own.
fn at_8448() -> SocketAddr {
    (own_loopback(), 8448).into()
}

fn ip(server: &FakeHomeserver) -> String {
    server.address().ip().to_string()
}

/// The one request that arrived: its `Host` header and the name of the TLS handshake.
fn asked(server: &FakeHomeserver) -> (String, Option<String>) {
    let requests = server.requests();
    let [Received { sni, .. }] = requests.as_slice() else { panic!("{requests:?}") };
    (requests[0].host().to_owned(), sni.clone())
}

fn as_name(name: &str) -> (String, Option<String>) {
    (name.to_owned(), Some(name.to_owned()))
}

#[tokio::test]
async fn an_ip_literal_is_asked_at_its_port_or_8448() {
    let world = World::start().await;
    let address = at_8448();
    let name = address.ip().to_string();
    let homeserver = world.homeserver(&name, address, &name).await;
    world.ask(&name).await.unwrap();
    // TLS names no IP address; the certificate has to hold it all the same.
    assert_eq!(asked(&homeserver), (name, None));

    let other = world.homeserver("127.0.0.1", "127.0.0.1:0".parse().unwrap(), "").await;
    let name = other.name("127.0.0.1");
    other.set_user(crate::TOKEN, &format!("@alice:{name}"));
    world.ask(&name).await.unwrap();
    assert_eq!(asked(&other), (name, None));
    assert_eq!(world.dns.queries(), [""; 0]);
}

#[tokio::test]
async fn an_explicit_port_needs_nothing_but_addresses() {
    let world = World::start().await;
    let homeserver = FakeHomeserver::start_at_443(&world.ca, &["hs.example"]).await;
    homeserver.set_user(crate::TOKEN, "@alice:hs.example:443");
    homeserver.delegate_to("elsewhere.example");
    world.dns.host("hs.example", &[&ip(&homeserver)]);
    world.dns.service("_matrix-fed._tcp.hs.example", &[(0, 0, 1, "elsewhere.example")]);
    world.ask("hs.example:443").await.unwrap();
    let expected = ("hs.example:443".to_owned(), Some("hs.example".to_owned()));
    assert_eq!(asked(&homeserver), expected);
    let mut queries = world.dns.queries();
    queries.sort();
    assert_eq!(queries, ["A hs.example", "AAAA hs.example"]);
}

#[tokio::test]
async fn an_alias_of_a_name_is_followed_and_does_not_change_the_certificate() {
    let world = World::start().await;
    let homeserver = world.homeserver("hs.example", at_8448(), "hs.example:8448").await;
    world.dns.alias("hs.example", "cdn.example");
    world.dns.host("cdn.example", &[&ip(&homeserver)]);
    world.ask("hs.example:8448").await.unwrap();
    assert_eq!(asked(&homeserver).1.unwrap(), "hs.example");
}

#[tokio::test]
async fn delegation_to_an_ip_address_or_a_port_is_taken_as_it_is() {
    let world = World::start().await;
    let address = at_8448();
    let to = address.ip().to_string();
    let by_ip = world.homeserver(&to, address, "one.example").await;
    let _one = world.well_known("one.example", &to).await;
    world.ask("one.example").await.unwrap();
    assert_eq!(asked(&by_ip), (to, None));

    let by_port =
        world.homeserver("hs.example", "127.0.0.1:0".parse().unwrap(), "two.example").await;
    world.dns.host("hs.example", &["127.0.0.1"]);
    let _two = world.well_known("two.example", &by_port.name("hs.example")).await;
    world.ask("two.example").await.unwrap();
    let expected = (by_port.name("hs.example"), Some("hs.example".to_owned()));
    assert_eq!(asked(&by_port), expected);
    assert!(!world.dns.queries().iter().any(|query| query.starts_with("SRV")));
}

#[tokio::test]
async fn a_delegated_name_is_looked_up_as_a_service_first_by_the_new_name_then_by_the_old() {
    let world = World::start().await;
    let new = world.homeserver("hs.example", (own_loopback(), 0).into(), "example.org").await;
    let old = world.homeserver("hs.example", (own_loopback(), 0).into(), "example.org").await;
    let usual = world.homeserver("hs.example", at_8448(), "example.org").await;
    let origin = world.well_known("example.org", "hs.example").await;
    world.dns.host("new.example", &[&ip(&new)]);
    world.dns.host("old.example", &[&ip(&old)]);
    world.dns.host("hs.example", &[&ip(&usual)]);
    // The delegated name's own well-known document would lead elsewhere, and is not asked for.
    let chained =
        FakeHomeserver::start_at(&world.ca, &["hs.example"], (usual.address().ip(), 443).into())
            .await;
    chained.delegate_to("elsewhere.example:1");

    let services = ["_matrix-fed._tcp.hs.example", "_matrix._tcp.hs.example"];
    world.dns.service(services[0], &[(0, 0, new.address().port(), "new.example")]);
    world.dns.service(services[1], &[(0, 0, old.address().port(), "old.example")]);
    world.ask("example.org").await.unwrap();
    assert_eq!(asked(&new), as_name("hs.example"));

    world.dns.service(services[0], &[]);
    world.ask("example.org").await.unwrap();
    assert_eq!(asked(&old), as_name("hs.example"));

    world.dns.service(services[1], &[]);
    world.ask("example.org").await.unwrap();
    assert_eq!(asked(&usual), as_name("hs.example"));

    assert_eq!(new.requests().len(), 1);
    assert_eq!(chained.connections(), 0);
    assert_eq!(asked(&origin), as_name("example.org"));
}

#[tokio::test]
async fn without_a_well_known_document_the_name_itself_is_looked_up_as_a_service() {
    let world = World::start().await;
    let new = world.homeserver("example.org", (own_loopback(), 0).into(), "example.org").await;
    let old = world.homeserver("example.org", (own_loopback(), 0).into(), "example.org").await;
    let usual = world.homeserver("example.org", at_8448(), "example.org").await;
    world.dns.host("new.example", &[&ip(&new)]);
    world.dns.host("old.example", &[&ip(&old)]);
    world.dns.host("example.org", &[&ip(&usual)]);

    let services = ["_matrix-fed._tcp.example.org", "_matrix._tcp.example.org"];
    world.dns.service(services[0], &[(0, 0, new.address().port(), "new.example")]);
    world.dns.service(services[1], &[(0, 0, old.address().port(), "old.example")]);
    for (service, homeserver) in [(Some(0), &new), (Some(1), &old), (None, &usual)] {
        world.ask("example.org").await.unwrap();
        assert_eq!(asked(homeserver), as_name("example.org"));
        if let Some(service) = service {
            world.dns.service(services[service], &[]);
        }
    }
}

#[tokio::test]
async fn a_certificate_for_the_target_of_a_service_is_not_enough() {
    let world = World::start().await;
    let homeserver =
        world.homeserver("target.example", "127.0.0.1:0".parse().unwrap(), "example.org").await;
    world.dns.host("target.example", &["127.0.0.1"]);
    let target = (0, 0, homeserver.address().port(), "target.example");
    world.dns.service("_matrix-fed._tcp.example.org", &[target]);
    let error = world.ask("example.org").await.unwrap_err();
    assert!(format!("{error:?}").contains("NotValidForName"), "{error:?}");
    assert!(homeserver.requests().is_empty());
}

#[tokio::test]
async fn a_target_that_fails_leads_to_the_next_in_order() {
    let world = World::start().await;
    let addresses: [SocketAddr; 2] = [(own_loopback(), 0).into(), (own_loopback(), 0).into()];
    let first = world.homeserver("example.org", addresses[0], "example.org").await;
    let second = world.homeserver("example.org", addresses[1], "example.org").await;
    world.dns.host("first.example", &[&ip(&first)]);
    world.dns.host("second.example", &[&ip(&second)]);
    world.dns.host("dead.example", &[&own_loopback().to_string()]);
    world.dns.alias("alias.example", "second.example");
    world.dns.service(
        "_matrix-fed._tcp.example.org",
        &[
            (40, 0, second.address().port(), "second.example"),
            (30, 0, first.address().port(), "first.example"),
            (20, 0, 9, "dead.example"),
            (10, 0, 9, "nowhere.example"),
            // RFC 2782 forbids an alias as target.
            (5, 0, second.address().port(), "alias.example"),
            (0, 0, 9, "."),
        ],
    );
    world.ask("example.org").await.unwrap();
    assert_eq!((first.requests().len(), second.connections()), (1, 0));
}

#[tokio::test]
async fn a_service_at_the_root_is_decidedly_not_offered() {
    let world = World::start().await;
    let usual = world.homeserver("example.org", at_8448(), "example.org").await;
    world.dns.host("example.org", &[&ip(&usual)]);
    world.dns.service("_matrix-fed._tcp.example.org", &[(0, 0, 0, ".")]);
    let error = world.ask("example.org").await.unwrap_err();
    assert!(matches!(error, OpenIdError::Unreachable(FederationError::NotOffered(_))), "{error:?}");
    assert_eq!(usual.connections(), 0);
}

#[tokio::test]
async fn a_service_lookup_that_fails_counts_as_no_such_service() {
    let world = World::start().await;
    let usual = world.homeserver("example.org", at_8448(), "example.org").await;
    world.dns.host("example.org", &[&ip(&usual)]);
    world.dns.fail("_matrix-fed._tcp.example.org");
    world.dns.fail("_matrix._tcp.example.org");
    world.ask("example.org").await.unwrap();
}

#[tokio::test]
async fn up_to_five_redirects_lead_to_the_well_known_document() {
    let world = World::start().await;
    let homeserver = world.homeserver("hs.example", at_8448(), "example.org").await;
    world.dns.host("hs.example", &[&ip(&homeserver)]);
    let origin = world.well_known("example.org", "unused.example").await;
    let other = FakeHomeserver::start(&world.ca, &["www.example.org"]).await;
    world.dns.host("www.example.org", &["127.0.0.1"]);
    origin.set_reply(WELL_KNOWN, Reply::redirect(301, "/1?a=%2F#b"));
    origin.set_reply("/1", Reply::redirect(302, "2"));
    origin.set_reply("/2", Reply::redirect(303, "https://example.org/3"));
    let elsewhere = format!("https://{}/4", other.name("www.example.org"));
    origin.set_reply("/3", Reply::redirect(307, &elsewhere));
    other.set_reply("/4", Reply::redirect(308, "//example.org:443/5"));
    origin.set_reply("/5", Reply::new(200, r#"{"m.server":"hs.example:8448"}"#));

    world.ask("example.org").await.unwrap();
    assert_eq!(homeserver.requests().len(), 1);
    let targets: Vec<_> = origin.requests().into_iter().map(|request| request.target).collect();
    assert_eq!(targets, [WELL_KNOWN, "/1?a=%2F", "/2", "/3", "/5"]);
    assert_eq!(other.requests()[0].host(), other.name("www.example.org"));
}

#[tokio::test]
async fn redirects_that_do_not_end_or_leave_https_count_as_no_document() {
    let world = World::start().await;
    let usual = world.homeserver("example.org", at_8448(), "example.org").await;
    let well_known = (usual.address().ip(), 443).into();
    let origin = FakeHomeserver::start_at(&world.ca, &["example.org"], well_known).await;
    world.dns.host("example.org", &[&ip(&usual)]);
    let document = Reply::new(200, r#"{"m.server":"wrong.example:1"}"#);
    for step in 1..=5 {
        origin.set_reply(&format!("/{step}"), Reply::redirect(302, &format!("/{}", step + 1)));
    }
    origin.set_reply("/6", document.clone());
    origin.set_reply("/ok", document);
    for location in [
        "/1",
        WELL_KNOWN,
        "http://example.org/ok",
        "http://example.org:443/ok",
        "https://user@example.org/ok",
        "https://:pw@example.org/ok",
        "ftp://example.org/ok",
        "https://nowhere.example/ok",
        "data:application/json,{}",
        "https://[::1]/ok",
        "https://example.org:0/ok",
    ] {
        origin.set_reply(WELL_KNOWN, Reply::redirect(302, location));
        assert!(world.ask("example.org").await.is_ok(), "{location}");
        world.clock.advance(Duration::from_hours(1));
    }
    assert_eq!(usual.requests().len(), 11);
}

#[tokio::test]
async fn a_document_that_names_no_server_counts_as_none() {
    let world = World::start().await;
    let usual = world.homeserver("example.org", at_8448(), "example.org").await;
    let well_known = (usual.address().ip(), 443).into();
    let origin = FakeHomeserver::start_at(&world.ca, &["example.org"], well_known).await;
    world.dns.host("example.org", &[&ip(&usual)]);
    let good = r#"{"m.server":"wrong.example:1"}"#;
    let too_long = format!("{good:<51201}");
    let mut replies = vec![
        Reply::new(404, good),
        Reply::new(500, good),
        Reply::new(201, good),
        Reply::new(200, too_long.as_str()),
        Reply::Raw(format!("HTTP/1.1 200 .\r\n\r\n{too_long}").into()),
        Reply::Raw(b"nonsense".to_vec()),
    ];
    let bodies = [
        "",
        "{}",
        "[]",
        "<html>",
        r#"{"m.server":null}"#,
        r#"{"m.server":""}"#,
        r#"{"m.server":8448}"#,
        r#"{"m.server":"https://wrong.example"}"#,
        r#"{"m.server":"wrong.example/path"}"#,
        r#"{"m.server":"wrong example"}"#,
        r#"{"m.server":"wrong.example:99999"}"#,
        r#"{"m.server":"user@wrong.example"}"#,
        r#"{"m.server":"wrong.example:1""#,
    ];
    replies.extend(bodies.map(|body| Reply::new(200, body)));
    for reply in replies {
        let so_far = origin.requests().len();
        origin.set_reply(WELL_KNOWN, reply);
        assert!(world.ask("example.org").await.is_ok());
        assert_eq!(origin.requests().len(), so_far + 1);
        world.clock.advance(Duration::from_hours(1));
    }
}

#[tokio::test]
async fn the_content_type_of_a_document_does_not_matter() {
    let world = World::start().await;
    let homeserver = world.homeserver("hs.example", at_8448(), "example.org").await;
    world.dns.host("hs.example", &[&ip(&homeserver)]);
    let origin = world.well_known("example.org", "").await;
    let document = r#"{"m.server":"hs.example:8448"}"#;
    origin.set_reply(WELL_KNOWN, Reply::with("Content-Type: text/html\r\n", document));
    world.ask("example.org").await.unwrap();
}

#[tokio::test]
async fn a_document_is_remembered_as_long_as_its_headers_say_but_no_longer_than_two_days() {
    let world = World::start().await;
    let homeserver = world.homeserver("hs.example", at_8448(), "example.org").await;
    world.dns.host("hs.example", &[&ip(&homeserver)]);
    let origin = world.well_known("example.org", "").await;
    let second = Duration::from_secs(1);
    for (headers, lifetime) in [
        ("", Duration::from_hours(24)),
        ("Cache-Control: max-age=3600\r\n", Duration::from_hours(1)),
        ("Cache-Control: max-age=864000\r\n", Duration::from_hours(48)),
        ("Cache-Control: no-store\r\n", Duration::from_mins(1)),
    ] {
        let so_far = origin.requests().len();
        let document = r#"{"m.server":"hs.example:8448"}"#;
        origin.set_reply(WELL_KNOWN, Reply::with(headers, document));
        world.ask("example.org").await.unwrap();
        world.clock.advance(lifetime.saturating_sub(second));
        world.ask("EXAMPLE.org").await.unwrap_err();
        assert_eq!(origin.requests().len(), so_far + 1, "{headers}");
        world.clock.advance(second);
    }
}

#[tokio::test]
async fn a_missing_document_is_asked_for_again_at_growing_intervals_up_to_an_hour() {
    let world = World::start().await;
    let usual = world.homeserver("example.org", at_8448(), "example.org").await;
    let well_known = (usual.address().ip(), 443).into();
    let origin = FakeHomeserver::start_at(&world.ca, &["example.org"], well_known).await;
    world.dns.host("example.org", &[&ip(&usual)]);
    let second = Duration::from_secs(1);
    world.ask("example.org").await.unwrap();
    for (asked, minutes) in (1..).zip([1, 2, 4, 8, 16, 32, 60, 60]) {
        world.clock.advance(Duration::from_mins(minutes).saturating_sub(second));
        world.ask("example.org").await.unwrap();
        assert_eq!(origin.requests().len(), asked, "before {minutes} minutes");
        world.clock.advance(second);
        world.ask("example.org").await.unwrap();
        assert_eq!(origin.requests().len(), asked + 1, "after {minutes} minutes");
    }
    // Once it is there the intervals begin anew.
    world.clock.advance(Duration::from_hours(1));
    origin.delegate_to("example.org:8448");
    world.ask("example.org").await.unwrap();
    origin.set_reply(WELL_KNOWN, Reply::new(404, ""));
    world.clock.advance(Duration::from_hours(24));
    world.ask("example.org").await.unwrap();
    let asked = origin.requests().len();
    world.clock.advance(Duration::from_mins(1));
    world.ask("example.org").await.unwrap();
    assert_eq!(origin.requests().len(), asked + 1);
}

#[tokio::test]
async fn many_questions_at_once_fetch_the_document_once() {
    let world = World::start().await;
    let homeserver = world.homeserver("hs.example", at_8448(), "example.org").await;
    world.dns.host("hs.example", &[&ip(&homeserver)]);
    let origin = world.well_known("example.org", "hs.example:8448").await;
    let asked = futures_util::future::join_all((0..8).map(|_| world.ask("example.org"))).await;
    assert!(asked.iter().all(Result::is_ok), "{asked:?}");
    assert_eq!(origin.requests().len(), 1);
    assert_eq!(homeserver.requests().len(), 8);
}

#[tokio::test]
async fn a_host_that_is_silent_on_443_can_be_found_all_the_same() {
    let world = World::with(|federation| federation.timeout = Duration::from_secs(1)).await;
    let usual = world.homeserver("example.org", at_8448(), "example.org").await;
    let well_known = (usual.address().ip(), 443).into();
    let origin = FakeHomeserver::start_at(&world.ca, &["example.org"], well_known).await;
    origin.set_reply(WELL_KNOWN, Reply::Silence);
    world.dns.host("example.org", &[&ip(&usual)]);
    world.ask("example.org").await.unwrap();
    assert_eq!(origin.requests().len(), 1);
}

#[tokio::test]
async fn the_log_tells_each_step() {
    crate::log::record();
    let world = World::start().await;
    let usual = world.homeserver("hs.example", at_8448(), "example.org").await;
    world.dns.host("hs.example", &[&ip(&usual)]);
    let _origin = world.well_known("example.org", "hs.example").await;
    world.ask("example.org").await.unwrap();
    let text = crate::log::text();
    let mut rest = text.as_str();
    for step in ["well-known", "_matrix-fed._tcp", "_matrix._tcp", "asked directly"] {
        let found = rest.find(step);
        rest = &rest[found.unwrap_or_else(|| panic!("no {step}: {text}"))..];
    }
}

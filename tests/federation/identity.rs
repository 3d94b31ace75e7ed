//! How a domain leads to its identity server.

use std::time::{Duration, Instant};

use bindery::federation::{Discovered, FederationError, FoundBy, PeerAddress};

use crate::{
    FakeHomeserver, World,
    homeserver::{Reply, own_loopback},
};

const WELL_KNOWN: &str = "/.well-known/matrix/client";

const SERVICE: &str = "_matrix-identity._tcp.example.org";

impl World {
    /// The base URLs of the identity servers of `domain`, and how they were found.
    async fn found(&self, domain: &str) -> Result<(Vec<String>, Option<FoundBy>), FederationError> {
        Ok(match self.federation.identity_server(domain).await? {
            Discovered::Nothing => (Vec::new(), None),
            Discovered::Ourselves => (vec!["ourselves".to_owned()], None),
            Discovered::At(peers, by) => {
                (peers.iter().map(ToString::to_string).collect(), Some(by))
            }
        })
    }

    /// Only the base URLs.
    async fn peers(&self, domain: &str) -> Vec<String> {
        self.found(domain).await.unwrap().0
    }

    /// What answers on port 443 for `host`, with this document for clients.
    async fn documented(&self, host: &str, reply: Reply) -> FakeHomeserver {
        let server = FakeHomeserver::start_at_443(&self.ca, &[host]).await;
        server.set_reply(WELL_KNOWN, reply);
        self.dns.host(host, &[&server.address().ip().to_string()]);
        server
    }

    /// How often DNS was asked for the service of example.org.
    fn service_queries(&self) -> usize {
        self.dns.queries().iter().filter(|query| **query == format!("SRV {SERVICE}")).count()
    }
}

fn document(base_url: &str) -> Reply {
    Reply::new(200, format!(r#"{{"m.identity_server":{{"base_url":"{base_url}"}}}}"#))
}

#[tokio::test]
async fn targets_come_in_the_order_of_their_priorities() {
    let world = World::start().await;
    world.dns.service(
        SERVICE,
        &[
            (30, 0, 8090, "third.example"),
            (10, 1, 443, "first.example"),
            (20, 9, 8448, "second.example"),
        ],
    );
    let (peers, by) = world.found("example.org").await.unwrap();
    let expected =
        ["https://first.example", "https://second.example:8448", "https://third.example:8090"];
    assert_eq!((peers, by), (expected.map(str::to_owned).to_vec(), Some(FoundBy::Service)));
}

#[tokio::test]
async fn targets_of_one_priority_are_drawn_anew_each_time_though_they_are_remembered() {
    let world = World::start().await;
    world.dns.service(SERVICE, &[(1, 1, 443, "a.example"), (1, 1, 443, "b.example")]);
    let mut firsts = std::collections::BTreeSet::new();
    // One chance in 2^63 that this fails for no reason.
    for _ in 0..64 {
        firsts.extend(world.peers("example.org").await.into_iter().take(1));
    }
    assert_eq!(firsts.len(), 2, "{firsts:?}");
    assert_eq!(world.service_queries(), 1);
}

#[tokio::test]
async fn certificate_and_host_are_those_of_the_target() {
    let world = World::start().await;
    let server = FakeHomeserver::start(&world.ca, &["is.example"]).await;
    let wrong = FakeHomeserver::start(&world.ca, &["example.org"]).await;
    world.dns.host("is.example", &["127.0.0.1"]);
    let ports = [wrong.address().port(), server.address().port()];
    world.dns.service(SERVICE, &[(1, 0, ports[0], "is.example"), (2, 0, ports[1], "is.example")]);
    let Discovered::At(peers, _) = world.federation.identity_server("example.org").await.unwrap()
    else {
        panic!("nothing was found")
    };
    let refused = world.federation.terms(&peers[0]).await.unwrap_err();
    assert!(format!("{refused:?}").contains("NotValidForName"), "{refused:?}");
    server.set_reply("/_matrix/identity/v2/terms", Reply::new(200, r#"{"policies":{}}"#));
    assert_eq!(world.federation.terms(&peers[1]).await.unwrap(), []);
    let request = &server.requests()[0];
    assert_eq!(request.host(), server.name("is.example"));
    assert_eq!(request.sni.as_deref(), Some("is.example"));
    assert!(wrong.requests().is_empty());
}

#[tokio::test]
async fn targets_that_are_aliases_and_ports_that_are_none_are_passed_over() {
    let world = World::start().await;
    world.dns.alias("alias.example", "is.example");
    world.dns.host("is.example", &["127.0.0.1"]);
    world.dns.service(
        SERVICE,
        &[
            (1, 0, 443, "alias.example"),
            (2, 0, 0, "is.example"),
            (3, 0, 443, "is.example"),
            (4, 0, 443, "."),
        ],
    );
    assert_eq!(world.peers("example.org").await, ["https://is.example"]);
}

#[tokio::test]
async fn a_domain_in_any_form_is_asked_as_dns_knows_it() {
    let world = World::start().await;
    let service = "_matrix-identity._tcp.xn--bcher-kva.example";
    world.dns.service(service, &[(0, 0, 443, "is.example")]);
    for domain in ["bücher.example", "BÜCHER.Example", "xn--bcher-kva.EXAMPLE", "bücher.example."]
    {
        assert_eq!(world.peers(domain).await, ["https://is.example"], "{domain}");
    }
    let queries = world.dns.queries();
    assert_eq!(queries.iter().filter(|query| query.starts_with("SRV")).count(), 1, "{queries:?}");
}

#[tokio::test]
async fn what_is_no_domain_is_never_asked() {
    let world = World::start().await;
    for domain in ["", ".", "127.0.0.1", "[::1]", "[127.0.0.1]", "0x7f.1", "a b", "a/b", "a@b:1"] {
        assert_eq!(world.peers(domain).await, [""; 0], "{domain}");
    }
    assert_eq!(world.peers(&"a".repeat(300)).await, [""; 0]);
    assert_eq!(world.dns.queries(), [""; 0]);
}

#[tokio::test]
async fn without_service_records_the_document_for_clients_names_the_server() {
    let world = World::start().await;
    let server = world.documented("example.org", document("https://is.example/prefix/")).await;
    let (peers, by) = world.found("example.org").await.unwrap();
    assert_eq!((&peers[0][..], by), ("https://is.example/prefix", Some(FoundBy::WellKnown)));
    assert_eq!(server.requests()[0].host(), "example.org");
    // An hour later it is asked again.
    world.clock.advance(Duration::from_mins(59));
    world.peers("example.org").await;
    assert_eq!(server.requests().len(), 1);
    world.clock.advance(Duration::from_mins(1));
    world.peers("example.org").await;
    assert_eq!(server.requests().len(), 2);
}

#[tokio::test]
async fn a_document_that_names_nothing_usable_is_none() {
    let world = World::start().await;
    for (number, reply) in [
        document("http://is.example"),
        document("https://user@is.example"),
        document("https://:password@is.example"),
        document("is.example"),
        document(""),
        Reply::new(200, r#"{"m.homeserver":{"base_url":"https://hs.example"}}"#),
        Reply::new(200, r#"{"m.identity_server":"https://is.example"}"#),
        Reply::new(200, "<html>"),
        Reply::new(404, "{}"),
    ]
    .into_iter()
    .enumerate()
    {
        let domain = format!("d{number}.example");
        let server = world.documented(&domain, reply).await;
        assert_eq!(world.peers(&domain).await, [""; 0]);
        assert_eq!(server.requests().len(), 1);
    }
}

#[tokio::test]
async fn a_service_at_the_root_means_that_there_is_none_whatever_the_document_says() {
    let world = World::start().await;
    let server = world.documented("example.org", document("https://is.example")).await;
    world.dns.service(SERVICE, &[(0, 0, 0, ".")]);
    assert_eq!(world.peers("example.org").await, [""; 0]);
    assert_eq!(server.connections(), 0);
}

#[tokio::test]
async fn a_domain_that_points_to_this_server_is_never_asked() {
    let world = World::configured(|config| {
        config.server.aliases = vec!["old.example:8443".parse().unwrap()];
    })
    .await;
    for (number, (host, port)) in
        [("ID.example", 8090), ("id.example", 443), ("old.example", 8443)].into_iter().enumerate()
    {
        let domain = format!("d{number}.example");
        let service = format!("_matrix-identity._tcp.{domain}");
        // Not even where others are named beside it.
        world.dns.service(&service, &[(0, 0, 443, "other.example"), (1, 0, port, host)]);
        assert_eq!(world.peers(&domain).await, ["ourselves"], "{host}:{port}");
    }
    let _server = world.documented("example.org", document("https://id.example:8090/")).await;
    assert_eq!(world.peers("example.org").await, ["ourselves"]);
    world.dns.service("_matrix-identity._tcp.else.example", &[(0, 0, 443, "old.example")]);
    assert_eq!(world.peers("else.example").await, ["https://old.example"]);
}

#[tokio::test]
async fn service_records_hold_as_long_as_they_say_within_bounds() {
    for (ttl, held) in [(0, 60), (59, 60), (300, 300), (86_400, 86_400), (700_000, 86_400)] {
        let world = World::start().await;
        world.dns.service(SERVICE, &[(0, 0, 443, "old.example")]);
        world.dns.keep(SERVICE, ttl);
        world.peers("example.org").await;
        world.dns.service(SERVICE, &[(0, 0, 443, "new.example")]);
        world.clock.advance(Duration::from_secs(held - 1));
        assert_eq!(world.peers("example.org").await, ["https://old.example"], "{ttl}");
        world.clock.advance(Duration::from_secs(1));
        assert_eq!(world.peers("example.org").await, ["https://new.example"], "{ttl}");
    }
}

#[tokio::test]
async fn that_there_is_none_holds_for_five_minutes() {
    let world = World::start().await;
    assert_eq!(world.peers("example.org").await, [""; 0]);
    world.dns.service(SERVICE, &[(0, 0, 443, "is.example")]);
    world.clock.advance(Duration::from_secs(299));
    assert_eq!(world.peers("example.org").await, [""; 0]);
    assert_eq!(world.service_queries(), 1);
    world.clock.advance(Duration::from_secs(1));
    assert_eq!(world.peers("example.org").await, ["https://is.example"]);
}

#[tokio::test]
async fn after_failures_a_domain_is_left_alone_longer_each_time() {
    let world = World::start().await;
    world.dns.fail(SERVICE);
    let mut asked = 0;
    for pause in [1, 2, 4, 8, 16, 32, 60, 60] {
        let failed = world.found("example.org").await.unwrap_err();
        assert!(matches!(failed, FederationError::Dns { .. }), "{failed:?}");
        assert!(world.service_queries() > asked);
        asked = world.service_queries();
        world.clock.advance(Duration::from_secs(pause * 60 - 1));
        let failed = world.found("example.org").await.unwrap_err();
        assert!(matches!(failed, FederationError::AskedTooSoon), "{failed:?}");
        assert_eq!(world.service_queries(), asked);
        world.clock.advance(Duration::from_secs(1));
    }
}

#[tokio::test]
async fn a_web_server_in_trouble_is_a_failure_and_not_an_answer() {
    let world = World::start().await;
    let server = world.documented("example.org", Reply::new(503, "")).await;
    let failed = world.found("example.org").await.unwrap_err();
    assert!(matches!(failed, FederationError::Status(503)), "{failed:?}");
    server.set_reply(WELL_KNOWN, document("https://is.example"));
    world.clock.advance(Duration::from_mins(1));
    assert_eq!(world.peers("example.org").await, ["https://is.example"]);
}

#[tokio::test]
async fn many_questions_at_once_about_a_domain_are_one() {
    let world = World::start().await;
    let server = world.documented("example.org", document("https://is.example")).await;
    let asked = (0..50).map(|_| world.peers("example.org"));
    for peers in futures_util::future::join_all(asked).await {
        assert_eq!(peers, ["https://is.example"]);
    }
    assert_eq!((world.service_queries(), server.requests().len()), (1, 1));
}

#[tokio::test]
async fn a_redirect_of_the_document_is_followed_but_not_to_where_nobody_may_be_led() {
    let world = World::with(|federation| {
        federation.deny_networks = vec!["127.0.0.1/32".parse().unwrap()];
    })
    .await;
    let secret = FakeHomeserver::start(&world.ca, &["127.0.0.1"]).await;
    let url = |host: &str| format!("https://{host}{WELL_KNOWN}");
    let _there = world.documented("there.example", document("https://is.example")).await;
    let _good = world.documented("a.example", Reply::redirect(302, &url("there.example"))).await;
    assert_eq!(world.peers("a.example").await, ["https://is.example"]);

    let inward = Reply::redirect(302, &url(&secret.name("127.0.0.1")));
    let _bad = world.documented("b.example", inward).await;
    assert_eq!(world.peers("b.example").await, [""; 0]);
    let plain = Reply::redirect(302, "http://there.example/");
    let _plain = world.documented("c.example", plain).await;
    let refused = world.found("c.example").await.unwrap_err();
    assert!(matches!(refused, FederationError::Unusable(_)), "{refused:?}");
    let _circle = world.documented("d.example", Reply::redirect(302, &url("d.example"))).await;
    let refused = world.found("d.example").await.unwrap_err();
    assert!(matches!(refused, FederationError::Redirects), "{refused:?}");
    assert_eq!(secret.connections(), 0);
}

#[tokio::test]
async fn a_target_where_nobody_may_be_led_is_not_connected_to() {
    let world = World::with(|federation| {
        federation.deny_networks = vec!["127.0.0.1/32".parse().unwrap()];
    })
    .await;
    let secret = FakeHomeserver::start(&world.ca, &["is.example"]).await;
    world.dns.host("is.example", &["127.0.0.1"]);
    world.dns.service(SERVICE, &[(0, 0, secret.address().port(), "is.example")]);
    let Discovered::At(peers, _) = world.federation.identity_server("example.org").await.unwrap()
    else {
        panic!("nothing was found")
    };
    let refused = world.federation.terms(&peers[0]).await.unwrap_err();
    assert!(format!("{refused:?}").contains("AddressRefused"), "{refused:?}");
    assert_eq!(secret.connections(), 0);
    // The operator may know better.
    let own = FakeHomeserver::start(&world.ca, &["127.0.0.1"]).await;
    own.set_reply("/_matrix/identity/v2/terms", Reply::new(200, r#"{"policies":{}}"#));
    let url = format!("https://{}/", own.name("127.0.0.1"));
    let peer = PeerAddress::of_operator(&url).unwrap();
    assert_eq!(world.federation.terms(&peer).await.unwrap(), []);
}

#[tokio::test]
async fn a_document_without_end_is_given_up() {
    let world = World::configured(|config| {
        config.peers.timeout = Duration::from_millis(500);
    })
    .await;
    let head = "HTTP/1.1 200 .\r\nContent-Length: 1000000000\r\n\r\n";
    let endless = format!("{head}{}", " ".repeat(51 * 1024));
    let _huge = world.documented("a.example", Reply::Stalled(endless.into())).await;
    let failed = world.found("a.example").await.unwrap_err();
    assert!(matches!(failed, FederationError::TooLarge { .. }), "{failed:?}");

    let start = Instant::now();
    let _slow = world.documented("b.example", Reply::Stalled(head.into())).await;
    let _silent = world.documented("c.example", Reply::Silence).await;
    for domain in ["b.example", "c.example"] {
        let failed = world.found(domain).await.unwrap_err();
        assert!(matches!(failed, FederationError::TimedOut), "{failed:?}");
        let failed = world.found(domain).await.unwrap_err();
        assert!(matches!(failed, FederationError::AskedTooSoon), "{failed:?}");
    }
    // Far from any other time-out, however slow the machine is.
    assert!(start.elapsed() < Duration::from_secs(8), "{:?}", start.elapsed());
}

#[tokio::test]
async fn who_gives_up_waiting_leaves_a_failure_behind() {
    let world = World::start().await;
    let _silent = world.documented("example.org", Reply::Silence).await;
    let waited = tokio::time::timeout(Duration::from_millis(300), world.found("example.org")).await;
    assert!(waited.is_err());
    let failed = world.found("example.org").await.unwrap_err();
    assert!(matches!(failed, FederationError::AskedTooSoon), "{failed:?}");
}

#[tokio::test]
async fn an_answer_too_long_for_udp_is_asked_for_by_tcp() {
    let world = World::start().await;
    let hosts: Vec<String> =
        (0..100).map(|number| format!("{}{number}.example", "x".repeat(40))).collect();
    let targets: Vec<_> =
        hosts.iter().zip(0..).map(|(host, priority)| (priority, 0, 443, host.as_str())).collect();
    world.dns.service(SERVICE, &targets);
    let peers = world.peers("example.org").await;
    assert_eq!(peers[0], format!("https://{}", hosts[0]));
    assert_eq!(peers.len(), 8);
    assert_eq!(world.dns.queries_by_tcp(), [format!("SRV {SERVICE}")]);
}

#[tokio::test]
async fn with_dnssec_an_answer_that_nothing_vouches_for_is_a_failure() {
    let world = World::configured(|config| config.dns.dnssec = true).await;
    let _server = world.documented("example.org", document("https://is.example")).await;
    world.dns.service(SERVICE, &[(0, 0, 443, "is.example")]);
    // The root is signed, and the fake server has no signature of it.
    let failed = world.found("example.org").await.unwrap_err();
    assert!(matches!(failed, FederationError::Dns { .. }), "{failed:?}");
    let own_address = own_loopback().to_string();
    world.dns.host("hs.example", &[&own_address]);
    assert!(world.ask("hs.example:1").await.is_err());
}

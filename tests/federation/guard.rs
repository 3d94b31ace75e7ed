//! Where strangers can't make the server connect to.

use bindery::federation::{FederationError, OpenIdError};

use crate::{
    FakeHomeserver, World,
    homeserver::{Reply, own_loopback},
};

fn is_refused(error: &OpenIdError) -> bool {
    matches!(error, OpenIdError::Unreachable(FederationError::AddressRefused(_)))
}

/// A world without exceptions, and a homeserver on 127.0.0.1 that must not be reached.
async fn forbidden() -> (World, FakeHomeserver) {
    let world = World::with(|federation| federation.allow_networks.clear()).await;
    let homeserver = FakeHomeserver::start(&world.ca, &["hs.example", "127.0.0.1"]).await;
    (world, homeserver)
}

#[tokio::test]
async fn a_name_with_an_address_in_a_special_range_is_not_connected_to() {
    let (world, homeserver) = forbidden().await;
    let name = homeserver.name("hs.example");
    for address in [
        "127.0.0.1",
        "0.0.0.0",
        "10.0.0.1",
        "169.254.169.254",
        "100.64.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "::ffff:127.0.0.1",
        "::ffff:0.0.0.0",
        "::127.0.0.1",
        "64:ff9b::127.0.0.1",
        "2002:7f00:1::",
        "fe80::1",
        "fd00::1",
    ] {
        world.dns.host("hs.example", &[address]);
        let error = world.ask(&name).await.unwrap_err();
        assert!(is_refused(&error), "{address}: {error:?}");
    }
    assert_eq!(homeserver.connections(), 0);
}

#[tokio::test]
async fn an_alias_of_such_a_name_is_not_connected_to_either() {
    let (world, homeserver) = forbidden().await;
    world.dns.host("inside.example", &["127.0.0.1"]);
    world.dns.alias("hs.example", "inside.example");
    assert!(is_refused(&world.ask(&homeserver.name("hs.example")).await.unwrap_err()));
    assert!(is_refused(&world.ask(&homeserver.name("localhost")).await.unwrap_err()));
    assert_eq!(homeserver.connections(), 0);
}

#[tokio::test]
async fn an_address_in_the_name_itself_is_checked_in_every_spelling() {
    let (world, homeserver) = forbidden().await;
    for host in [
        "127.0.0.1",
        "0.0.0.0",
        "[::1]",
        "[::]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "2130706433",
        "0x7f000001",
        "0x7f.1",
        "127.1",
        "127.0.1",
        "017700000001",
        "0177.0.0.1",
        "0",
        "0.0.0.0.",
        "127.0.0.1.",
    ] {
        let error = world.ask(&homeserver.name(host)).await.unwrap_err();
        assert!(is_refused(&error), "{host}: {error:?}");
        // Without a port its well-known document would be asked for first.
        assert!(world.ask(host).await.is_err(), "{host}");
    }
    assert_eq!(homeserver.connections(), 0);
}

#[tokio::test]
async fn of_several_addresses_the_refused_ones_are_left_out() {
    let inside = own_loopback();
    let world = World::with(|federation| {
        federation.deny_networks = vec![ipnet::IpNet::from(std::net::IpAddr::from(inside))];
    })
    .await;
    let outside = world.homeserver("hs.example", "127.0.0.1:0".parse().unwrap(), "").await;
    let name = outside.name("hs.example");
    outside.set_user(crate::TOKEN, &format!("@alice:{name}"));
    let port = outside.address().port();
    let inside = world.homeserver("hs.example", (inside, port).into(), &name).await;
    world.dns.host("hs.example", &[&inside.address().ip().to_string(), "127.0.0.1"]);
    assert!(world.ask(&name).await.is_ok());
    assert_eq!((outside.connections(), inside.connections()), (1, 0));
}

#[tokio::test]
async fn a_name_that_changes_its_address_after_the_check_gains_nothing() {
    let inside = own_loopback();
    let world = World::with(|federation| {
        federation.deny_networks = vec![ipnet::IpNet::from(std::net::IpAddr::from(inside))];
    })
    .await;
    let outside = world.homeserver("hs.example", (own_loopback(), 0).into(), "").await;
    let name = outside.name("hs.example");
    outside.set_user(crate::TOKEN, &format!("@alice:{name}"));
    let port = outside.address().port();
    let inside = world.homeserver("hs.example", (inside, port).into(), &name).await;
    let addresses = [&outside, &inside].map(|server| server.address().ip().to_string());
    world.dns.host_in_turn("hs.example", &[&[&addresses[0]], &[&addresses[1]]]);

    assert!(world.ask(&name).await.is_ok());
    let asked = world.dns.queries();
    assert_eq!(asked.iter().filter(|query| *query == "A hs.example").count(), 1, "{asked:?}");
    // The next request asks anew and checks anew, although a connection is still open.
    assert!(is_refused(&world.ask(&name).await.unwrap_err()));
    assert_eq!((outside.requests().len(), inside.connections()), (1, 0));
}

#[tokio::test]
async fn delegation_does_not_lead_inside() {
    let inside = own_loopback();
    let world = World::with(|federation| {
        federation.deny_networks = vec![ipnet::IpNet::from(std::net::IpAddr::from(inside))];
    })
    .await;
    let target = inside.to_string();
    let hidden = FakeHomeserver::start_at(&world.ca, &[&target], (inside, 443).into()).await;
    hidden.delegate_to("elsewhere.example");
    world.dns.host("inside.example", &[&target]);

    // By the well-known document ...
    for delegated in [format!("{target}:443"), "inside.example:443".to_owned()] {
        let host = format!("{}.example", world.dns.queries().len());
        let _server = world.well_known(&host, &delegated).await;
        let error = world.ask(&host).await.unwrap_err();
        assert!(is_refused(&error), "{delegated}: {error:?}");
    }
    // ... by a redirect of it ...
    let server = world.well_known("redirect.example", "").await;
    for location in [format!("https://{target}/"), "https://inside.example/".to_owned()] {
        server.set_reply("/.well-known/matrix/server", Reply::redirect(302, &location));
        assert!(world.ask("redirect.example").await.is_err());
        world.clock.advance(std::time::Duration::from_hours(1));
    }
    assert_eq!(server.requests().len(), 2);
    // ... and by a service record.
    world.dns.service("_matrix-fed._tcp.srv.example", &[(0, 0, 443, "inside.example")]);
    assert!(is_refused(&world.ask("srv.example").await.unwrap_err()));

    assert_eq!(hidden.connections(), 0);
}

#[tokio::test]
async fn port_0_is_not_taken_for_the_usual_port() {
    let world = World::start().await;
    let server = FakeHomeserver::start_at_443(&world.ca, &["hs.example"]).await;
    world.dns.host("hs.example", &[&server.address().ip().to_string()]);
    world.dns.service("_matrix-fed._tcp.srv.example", &[(0, 0, 0, "hs.example")]);
    for name in ["hs.example:0", "hs.example:00000", "srv.example"] {
        let error = world.ask(name).await.unwrap_err();
        assert!(
            matches!(error, OpenIdError::Unreachable(FederationError::Unusable(_))),
            "{name}: {error:?}"
        );
    }
    assert_eq!(server.connections(), 0);
}

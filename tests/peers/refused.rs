//! What is not believed, and what is not followed.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::{
    homeserver::{FakeHomeserver, Reply, own_loopback},
    world::{V2, World},
};

const BOB: &str = "@bob:b.example";

fn path(end: &str) -> String {
    format!("{V2}{end}")
}

/// A peer that lets everybody in and answers lookups so.
async fn answering(world: &World, domain: &str, reply: Reply) -> FakeHomeserver {
    let peer = world.fake(domain).await;
    peer.set_reply(&path("/account/register"), Reply::new(200, r#"{"token":"secret"}"#));
    let details = json!({ "lookup_pepper": "pepper", "algorithms": ["sha256"] });
    peer.set_reply(&path("/hash_details"), Reply::new(200, details.to_string()));
    peer.set_reply(&path("/lookup"), reply);
    peer
}

fn lookups(peer: &FakeHomeserver) -> usize {
    peer.requests().iter().filter(|request| request.target.ends_with("/lookup")).count()
}

#[tokio::test]
async fn a_server_whose_domain_leads_to_itself_is_not_asked() {
    let world = World::start().await;
    let a = world.bindery("a.test", "").await;
    world.serves("own.test", "id.a.test", a.port);
    assert!(a.find(&["x@a.test email", "x@own.test email"]).await.is_empty());
    assert_eq!(a.seen().len(), 0);
}

#[tokio::test]
async fn a_question_does_not_go_round_in_circles() {
    let world = World::start().await;
    let b = world.bindery("b.test", "").await;
    let a = world.bindery("a.test", &format!("peers.forward = ['{}']", b.url)).await;
    // Whose domain A serves is asked at B, and whose domain B serves at A.
    world.serves("of-a.test", "id.b.test", b.port);
    world.serves("of-b.test", "id.a.test", a.port);
    assert!(a.find(&["x@of-a.test email", "x@of-b.test email"]).await.is_empty());
    assert!(b.find(&["y@of-a.test email", "y@of-b.test email"]).await.is_empty());
    let counts = [&a, &b].map(|server| (server.count("/v2/lookup"), server.looked_up()));
    assert_eq!(counts, [(1, 1), (2, 3)]);
    // Even in plain, what a peer asks is not sent on.
    assert!(a.find_as("@_bindery:id.b.test", &["z@of-a.test email"]).await.is_empty());
    let invite = json!({ "medium": "email", "address": "z@of-a.test", "room_id": "!r:hs.example",
        "sender": "@_bindery:id.b.test" });
    assert_eq!(a.post("@_bindery:id.b.test", "/store-invite", &invite).await.0, 200);
    assert_eq!(b.looked_up(), 3);
}

#[tokio::test]
async fn an_answer_about_another_address_is_none() {
    let world = World::start().await;
    let hash = |address| crate::world::threepid("email", address).lookup_hash("pepper");
    let hash = |address| bindery::matrix::threepid::encode_hash(&hash(address));
    let other = json!({ "mappings": { hash("other@evil.test"): BOB, hash("x@b.test"): BOB } });
    let evil = answering(&world, "evil.test", Reply::new(200, other.to_string())).await;
    let b = world.bindery("b.test", "").await;
    let a = world.bindery("a.test", "").await;
    let asked = ["x@evil.test email", "x@b.test email"];
    assert!(a.find(&asked).await.is_empty());
    assert!(a.find(&["other@b.test email"]).await.is_empty());
    // And it was asked about its own domain only.
    let request = evil.requests().pop().unwrap();
    let body: serde_json::Value = serde_json::from_slice(&request.body).unwrap();
    assert_eq!(body["addresses"], json!([hash("x@evil.test")]));
    assert_eq!((lookups(&evil), b.looked_up()), (1, 2));
}

#[tokio::test]
async fn what_is_no_user_id_is_nobody() {
    let world = World::start().await;
    let hash = crate::world::threepid("email", "x@evil.test").lookup_hash("pepper");
    let hash = bindery::matrix::threepid::encode_hash(&hash);
    let wrong = json!({ "mappings": { hash: "<script>" } });
    let _evil = answering(&world, "evil.test", Reply::new(200, wrong.to_string())).await;
    let a = world.bindery("a.test", "").await;
    assert!(a.find(&["x@evil.test email"]).await.is_empty());
}

#[tokio::test]
async fn a_peer_that_hangs_costs_its_time_out_and_is_then_left_alone() {
    let world = World::start().await;
    let slow = world.fake("slow.test").await;
    slow.set_reply(&path("/account/register"), Reply::Silence);
    let b = world.bindery("b.test", "").await;
    b.bind("email", "bob@b.test", BOB).await;
    let a = world.bindery("a.test", "peers.timeout = '600ms'").await;
    let asked = |number: usize| format!("x{number}@slow.test email");
    for number in 0..3 {
        let began = Instant::now();
        let found = a.find(&[&asked(number), "bob@b.test email"]).await;
        assert_eq!(found["bob@b.test email"], BOB);
        assert!(began.elapsed() < Duration::from_millis(1500), "{:?}", began.elapsed());
    }
    let connections = slow.connections();
    assert_eq!((slow.requests().len(), connections), (3, 3));
    // An address that was in doubt is not asked for again at once, and after the third failure none.
    a.find(&[&asked(0)]).await;
    a.find(&[&asked(9)]).await;
    assert_eq!(slow.connections(), connections);
    world.clock.advance(Duration::from_secs(30));
    a.find(&[&asked(0)]).await;
    assert_eq!(slow.connections(), connections + 1);
    a.find(&[&asked(1)]).await;
    assert_eq!(slow.connections(), connections + 1);
}

#[tokio::test]
async fn a_peer_that_answers_a_gigabyte_is_not_heard_to_the_end() {
    let world = World::start().await;
    let mut body = b"HTTP/1.1 200 .\r\nContent-Length: 1073741824\r\n\r\n{\"mappings\":{".to_vec();
    body.resize(4 << 20, b' ');
    let evil = answering(&world, "evil.test", Reply::Stalled(body)).await;
    let a = world.bindery("a.test", "peers.timeout = '20s'").await;
    let began = Instant::now();
    assert!(a.find(&["x@evil.test email"]).await.is_empty());
    // It was the length and not the time that ended it.
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    assert_eq!(lookups(&evil), 1);
}

#[tokio::test]
async fn a_redirect_to_this_machine_is_not_followed() {
    let world = World::start().await;
    let inside = (own_loopback(), 0).into();
    let inside = FakeHomeserver::start_at(&world.ca, &["inside.test"], inside).await;
    let ip = inside.address().ip().to_string();
    world.dns.host("inside.test", &[&ip]);
    let location = |host: &str| format!("https://{}{V2}/lookup", inside.name(host));
    for (domain, host) in [("one.test", "inside.test"), ("two.test", ip.as_str())] {
        let peer = answering(&world, domain, Reply::redirect(307, &location(host))).await;
        peer.set_reply(&path("/hash_details"), Reply::redirect(302, &location(host)));
        let a = world.bindery(&format!("a.{domain}"), "").await;
        assert!(a.find(&[&format!("x@{domain} email")]).await.is_empty());
        assert!(!peer.requests().is_empty());
    }
    // A record that leads there is not followed either.
    world.dns.service(
        "_matrix-identity._tcp.three.test",
        &[(0, 0, inside.address().port(), "inside.test")],
    );
    let a = world.bindery("a.test", "").await;
    assert!(a.find(&["x@three.test email"]).await.is_empty());
    assert_eq!(inside.connections(), 0);
}

//! A real program among peers that lie, hang, flood and lead elsewhere.

use std::collections::HashMap;

use bindery::{
    clock::{Clock, SystemClock},
    matrix::{
        signing::{SigningKey, encode_base64},
        threepid::{ThreePid, encode_hash},
    },
};
use serde_json::{Value, json};

use crate::{
    homeserver::{FakeHomeserver, Reply, own_loopback},
    peers_together::{LOOKUP, REGISTER, World, find},
};

const BOB: &str = "@bob:b.test";
const V1_LOOKUP: &str = "/_matrix/identity/api/v1/lookup";
const PEPPER: &str = "pepper";

/// The identity server of a domain, which does as it is told.
async fn fake(world: &World, domain: &str) -> FakeHomeserver {
    let host = format!("is.{domain}");
    let fake = FakeHomeserver::start(&world.ca, &[&host]).await;
    world.dns.host(&host, &["127.0.0.1"]);
    let service = format!("_matrix-identity._tcp.{domain}");
    world.dns.service(&service, &[(0, 0, fake.address().port(), &host)]);
    fake
}

/// One that lets everybody in and answers lookups so.
async fn answering(world: &World, domain: &str, reply: Reply) -> FakeHomeserver {
    let peer = fake(world, domain).await;
    peer.set_reply(REGISTER, Reply::new(200, r#"{"token":"secret"}"#));
    let details = json!({ "lookup_pepper": PEPPER, "algorithms": ["sha256"] });
    peer.set_reply("/_matrix/identity/v2/hash_details", Reply::new(200, details.to_string()));
    peer.set_reply(LOOKUP, reply);
    peer
}

/// One that knows API v1 only, serves the public half of `served`, and answers with the association
/// of `x@` the domain as `signer` signed it, which holds until `not_after`.
async fn old(
    world: &World,
    domain: &str,
    (served, signer): (&SigningKey, &SigningKey),
    not_after: i64,
) -> FakeHomeserver {
    let peer = fake(world, domain).await;
    let association = json!({ "medium": "email", "address": format!("x@{domain}"), "mxid": BOB,
        "ts": 1, "not_before": 1, "not_after": not_after });
    let mut association = association.as_object().unwrap().clone();
    signer.sign(&"some.name".parse().unwrap(), &mut association).unwrap();
    let key = json!({ "public_key": encode_base64(&served.public()) }).to_string();
    for id in [served.id().clone(), served.id().replace(':', "%3A")] {
        let path = format!("/_matrix/identity/api/v1/pubkey/{id}");
        peer.set_reply(&path, Reply::new(200, key.clone()));
    }
    peer.set_reply(V1_LOOKUP, Reply::new(200, Value::Object(association).to_string()));
    peer
}

fn asked(peer: &FakeHomeserver, path: &str) -> usize {
    peer.requests().iter().filter(|request| request.target.starts_with(path)).count()
}

#[tokio::test]
async fn of_peers_that_lie_hang_flood_and_lead_elsewhere_none_is_believed_or_followed() {
    let world = World::start().await;
    let a = world.serve("is.a.test", "peers.timeout = '6s'").await;
    let b = world.serve("is.b.test", &format!("peers.forward = ['{}']", a.url)).await;
    world.service("b.test", &b);
    // One's own, and one that goes round in a circle: B would ask A in turn.
    world.service("own.test", &a);
    world.service("round.test", &b);
    b.bind("bob@b.test", BOB).await;

    let key = SigningKey::generate();
    let name = key.to_line().split(' ').nth(1).unwrap().to_owned();
    let another = format!("ed25519 {name} {}", encode_base64(&[7; 32]));
    let another = SigningKey::from_line(&another).unwrap();
    let now_ms = SystemClock.now_ms();
    // What the same server signs for ever is believed, or the two beside it would show nothing.
    let honest = old(&world, "honest.test", (&key, &key), now_ms + 3_600_000).await;
    let forged = old(&world, "forged.test", (&key, &another), now_ms + 3_600_000).await;
    let expired = old(&world, "expired.test", (&key, &key), now_ms - 1).await;

    let hash = |email| encode_hash(&ThreePid::email(email).unwrap().lookup_hash(PEPPER));
    let others = json!({ "mappings": { hash("y@other.test"): BOB, hash("bob@b.test"): BOB } });
    let other = answering(&world, "other.test", Reply::new(200, others.to_string())).await;
    let mut flood = b"HTTP/1.1 200 .\r\nContent-Length: 1073741824\r\n\r\n{\"mappings\":{".to_vec();
    flood.resize(4 << 20, b' ');
    let huge = answering(&world, "huge.test", Reply::Stalled(flood)).await;
    let hangs = answering(&world, "hangs.test", Reply::Silence).await;
    let inside = FakeHomeserver::start_at(&world.ca, &["127.0.0.1"], (own_loopback(), 0).into());
    let inside = inside.await;
    let location = format!("https://{}{LOOKUP}", inside.address());
    let moved = answering(&world, "moved.test", Reply::redirect(307, &location)).await;

    let alice = a.person("@alice:a.test");
    let bad = ["forged", "expired", "other", "huge", "hangs", "moved", "own"];
    let emails: Vec<String> = bad.iter().map(|name| format!("x@{name}.test")).collect();
    let mut emails: Vec<&str> = emails.iter().map(String::as_str).collect();
    emails.extend(["x@honest.test", "bob@b.test"]);
    let believed = ["x@honest.test email", "bob@b.test email"];
    let believed: HashMap<_, _> =
        believed.iter().map(|text| ((*text).to_owned(), BOB.to_owned())).collect();
    assert_eq!(find(&alice, &emails).await, believed, "{}", a.process.log());

    for old in [&honest, &forged, &expired] {
        assert_eq!(asked(old, V1_LOOKUP), 1);
    }
    for peer in [&other, &huge, &hangs, &moved] {
        assert_eq!(asked(peer, LOOKUP), 1);
    }
    assert_eq!(inside.connections(), 0);
    assert_eq!(b.count([REGISTER, LOOKUP]).await, [1, 1]);
    // Alice alone has asked A.
    assert_eq!(a.count([REGISTER, LOOKUP]).await, [0, 1]);

    assert!(find(&alice, &["x@round.test"]).await.is_empty());
    assert_eq!(b.count([REGISTER, LOOKUP]).await, [1, 2]);
    assert_eq!(a.count([REGISTER, LOOKUP]).await, [0, 2]);
}

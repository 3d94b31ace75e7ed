//! Where addresses are found, and what those who are asked see of it.

use std::time::Duration;

use serde_json::json;

use crate::{
    homeserver::{FakeHomeserver, Reply},
    world::{ALICE, World},
};

const BOB: &str = "@bob:b.example";
const CAROL: &str = "@carol:c.example";
const DORA: &str = "@dora:d.example";

#[tokio::test]
async fn an_address_is_found_at_its_own_domain_and_what_has_none_at_the_forward_servers() {
    let world = World::start().await;
    let (b, c) = (world.bindery("b.test", "").await, world.bindery("c.test", "").await);
    let d = world.bindery("d.test", "").await;
    let a = world.bindery("a.test", &format!("peers.forward = ['{}']", d.url)).await;
    b.bind("email", "bob@b.test", BOB).await;
    c.bind("email", "carol@c.test", CAROL).await;
    c.bind("badge", "007@c.test", CAROL).await;
    for (medium, address) in
        [("email", "dora@elsewhere.test"), ("msisdn", "447700900001"), ("badge", "007")]
    {
        d.bind(medium, address, DORA).await;
    }
    let asked = [
        "Bob@B.test email",
        "carol@c.test email",
        "007@c.test badge",
        "dora@elsewhere.test email",
        "447700900001 msisdn",
        "007 badge",
        "nobody@b.test email",
    ];
    let expected = [BOB, CAROL, CAROL, DORA, DORA, DORA];
    let expected = asked.iter().zip(expected).map(|(text, mxid)| ((*text).into(), mxid.into()));
    let expected = expected.collect();
    assert_eq!(a.find(&asked).await, expected);
    // Each was asked once, about no more than its own, and D about what the others didn't know.
    let counts = [&b, &c, &d].map(|peer| (peer.count("/v2/lookup"), peer.looked_up()));
    assert_eq!(counts, [(1, 2), (1, 2), (1, 4)]);
    assert_eq!([&b, &c, &d].map(|peer| peer.count("/account/register")), [1, 1, 1]);
    // For a while that is known without asking, by hash as well.
    assert_eq!(a.find(&asked).await, expected);
    assert_eq!(a.find_hashed(ALICE, "bob@b.test").await.as_deref(), Some(BOB));
    assert_eq!([&b, &c, &d].map(|peer| peer.count("/v2/lookup")), [1, 1, 1]);
    // Others see nothing of it.
    assert_eq!(a.find_hashed("@_bindery:id.b.test", "bob@b.test").await, None);
}

#[tokio::test]
async fn a_peer_learns_no_address_that_it_does_not_know() {
    let world = World::start().await;
    let (b, d) = (world.bindery("b.test", "").await, world.bindery("d.test", "").await);
    let a = world.bindery("a.test", &format!("peers.forward = ['{}']", d.url)).await;
    assert!(a.find(&["secret@b.test email", "447700900999 msisdn"]).await.is_empty());
    let invite = json!({ "medium": "email", "address": "guarded@b.test", "room_id": "!r:hs.example",
        "sender": ALICE });
    assert_eq!(a.post(ALICE, "/store-invite", &invite).await.0, 200);
    let seen = format!("{:?} {:?}", b.seen(), d.seen());
    assert!(b.looked_up() == 2 && d.looked_up() == 3, "{seen}");
    for word in ["secret", "guarded", "447700900999", "7700900999"] {
        assert!(!seen.contains(word), "{seen}");
    }
}

#[tokio::test]
async fn one_question_is_in_flight_for_an_address() {
    let world = World::start().await;
    let b = world.bindery("b.test", "").await;
    let a = world.bindery("a.test", "").await;
    b.bind("email", "bob@b.test", BOB).await;
    let find = || a.find(&["bob@b.test email"]);
    let found = tokio::join!(find(), find(), find(), find());
    for found in [found.0, found.1, found.2, found.3] {
        assert_eq!(found["bob@b.test email"], BOB);
    }
    assert_eq!((b.count("/v2/lookup"), b.count("/account/register")), (1, 1));
}

#[tokio::test]
async fn answers_are_believed_for_an_hour_and_that_nobody_is_known_for_five_minutes() {
    let world = World::start().await;
    let b = world.bindery("b.test", "").await;
    let a = world.bindery("a.test", "").await;
    b.bind("email", "bob@b.test", BOB).await;
    let asked = ["bob@b.test email", "late@b.test email"];
    assert_eq!(a.find(&asked).await.len(), 1);
    b.bind("email", "late@b.test", BOB).await;
    world.clock.advance(Duration::from_mins(4));
    assert_eq!(a.find(&asked).await.len(), 1);
    world.clock.advance(Duration::from_mins(1));
    assert_eq!(a.find(&asked).await.len(), 2);
    assert_eq!(b.looked_up(), 3);
    world.clock.advance(Duration::from_hours(1));
    assert_eq!(a.find(&asked).await.len(), 2);
    assert_eq!(b.looked_up(), 5);
}

#[tokio::test]
async fn what_is_bound_here_is_asked_of_nobody() {
    let world = World::start().await;
    let b = world.bindery("b.test", "").await;
    let a = world.bindery("a.test", "").await;
    a.bind("email", "bob@b.test", BOB).await;
    b.bind("email", "bob@b.test", CAROL).await;
    assert_eq!(a.find(&["bob@b.test email"]).await["bob@b.test email"], BOB);
    let invite = json!({ "medium": "email", "address": "bob@b.test", "room_id": "!r:hs.example",
        "sender": ALICE });
    let (status, refusal) = a.post(ALICE, "/store-invite", &invite).await;
    assert_eq!((status, &refusal["mxid"]), (400, &json!(BOB)));
    assert_eq!(b.seen().len(), 0);
}

#[tokio::test]
async fn who_is_known_elsewhere_is_not_invited_by_address() {
    let world = World::start().await;
    let b = world.bindery("b.test", "").await;
    let a = world.bindery("a.test", "").await;
    b.bind("email", "bob@b.test", BOB).await;
    b.bind("badge", "007@b.test", CAROL).await;
    for (medium, address, mxid) in [("email", "Bob@b.test", BOB), ("badge", "007@b.test", CAROL)] {
        let invite = json!({ "medium": medium, "address": address, "room_id": "!r:hs.example",
            "sender": ALICE });
        let (status, refusal) = a.post(ALICE, "/store-invite", &invite).await;
        assert_eq!((status, &refusal["errcode"]), (400, &json!("M_THREEPID_IN_USE")));
        assert_eq!(refusal["mxid"], mxid);
    }
    let invite = json!({ "medium": "badge", "address": "008@b.test", "room_id": "!r:hs.example",
        "sender": ALICE });
    let (status, refusal) = a.post(ALICE, "/store-invite", &invite).await;
    assert_eq!((status, &refusal["errcode"]), (400, &json!("M_UNRECOGNIZED")));
}

#[tokio::test]
async fn who_binds_elsewhere_after_the_invitation_gets_it_all_the_same() {
    const ONBIND: &str = "/_matrix/federation/v1/3pid/onbind";
    let world = World::start().await;
    let b = world.bindery("b.test", "").await;
    let a = world.bindery("a.test", "").await;
    world.dns.host("hs.test", &["127.0.0.1"]);
    let homeserver = FakeHomeserver::start(&world.ca, &["hs.test"]).await;
    homeserver.set_reply(ONBIND, Reply::new(200, "{}"));
    let invite = json!({ "medium": "email", "address": "bob@b.test", "room_id": "!r:hs.example",
        "sender": ALICE });
    let (status, stored) = a.post(ALICE, "/store-invite", &invite).await;
    assert_eq!(status, 200, "{stored}");
    let mxid = format!("@bob:{}", homeserver.name("hs.test"));
    b.bind("email", "bob@b.test", &mxid).await;
    let round = async || {
        bindery::worker::round(&a.app).await;
        bindery::worker::deliver(&a.app).await;
    };
    world.clock.advance(Duration::from_hours(6) - Duration::from_millis(1));
    round().await;
    assert_eq!((b.looked_up(), homeserver.requests().len()), (1, 0));
    world.clock.advance(Duration::from_millis(1));
    round().await;
    assert_eq!(b.looked_up(), 2);
    let told = homeserver.requests().pop().unwrap();
    let told: serde_json::Value = serde_json::from_slice(&told.body).unwrap();
    assert_eq!(told["mxid"], mxid);
    assert_eq!(told["invites"][0]["signed"]["token"], stored["token"]);
    world.clock.advance(Duration::from_hours(6));
    round().await;
    assert_eq!((b.looked_up(), homeserver.requests().len()), (2, 1));
}

//! The pepper of hashed lookups: it stays until it is old, and everything is found under the next.

use std::time::Duration;

use bindery::{
    matrix::threepid::ThreePid,
    service,
    store::{
        StoreError, Tx,
        associations::{self, Association},
        peppers,
    },
};
use serde_json::json;

use crate::harness::{Caller, START_MS, Session, TestApp};

const ALICE: &str = "@alice:hs.example";

const WEEK: Duration = Duration::from_hours(7 * 24);

/// Sessions that outlive several peppers.
const LONG_SESSIONS: &str = "limits.enabled = false\nsessions.lifetime = '52w'";

async fn pepper(caller: &Caller<'_>) -> String {
    caller.get("/hash_details").await.ok()["lookup_pepper"].as_str().unwrap().to_owned()
}

async fn is_refused(caller: &Caller<'_>, pepper: &str) -> bool {
    let body = json!({ "algorithm": "sha256", "pepper": pepper, "addresses": [] });
    let answer = caller.post("/lookup", body).await;
    if answer.status == 200 {
        return false;
    }
    answer.refused(400, "M_INVALID_PEPPER");
    true
}

/// How many peppers there have been.
async fn count(app: &TestApp) -> i64 {
    app.app.store.read(peppers::current).await.unwrap().unwrap().id
}

fn association(address: &str) -> Association {
    Association {
        threepid: ThreePid::email(address).unwrap(),
        mxid: ALICE.parse().unwrap(),
        ts: START_MS,
        not_before: START_MS,
        not_after: i64::MAX,
    }
}

/// Binds without the validation that takes a mail.
fn bind(tx: &mut Tx<'_>, address: &str) -> Result<(), StoreError> {
    let pepper = peppers::hold_current(tx)?.unwrap();
    associations::bind(tx, &association(address), &pepper)
}

#[tokio::test]
async fn the_pepper_stays_over_a_restart() {
    let app = TestApp::start().await;
    let alice = app.account(ALICE).await;
    alice.bound("alice@example.org", ALICE).await;
    let before = pepper(&alice).await;
    let again = app.beside("limits.enabled = false").await;
    let alice = again.holder(alice.token.as_deref().unwrap());
    assert_eq!(pepper(&alice).await, before);
    assert_eq!(alice.find(&["alice@example.org"]).await, [Some(ALICE.to_owned())]);
}

#[tokio::test]
async fn two_servers_have_two_peppers() {
    let (one, other) = (TestApp::start().await, TestApp::start().await);
    let (alice, bob) = (one.account(ALICE).await, other.account(ALICE).await);
    assert_ne!(pepper(&alice).await, pepper(&bob).await);
}

#[tokio::test]
async fn an_old_pepper_is_replaced_and_everything_found_under_the_new_one() {
    let app = TestApp::start().await;
    let alice = app.account(ALICE).await;
    alice.bound("alice@example.org", ALICE).await;
    let first = pepper(&alice).await;
    app.clock.advance(WEEK.saturating_sub(Duration::from_millis(1)));
    app.background().await;
    assert_eq!(pepper(&alice).await, first);
    app.clock.advance(Duration::from_millis(1));
    app.background().await;
    let second = pepper(&alice).await;
    assert_ne!(second, first);
    assert!(second.bytes().all(|b| b.is_ascii_alphanumeric()), "{second}");
    assert!(is_refused(&alice, &first).await);
    assert_eq!(alice.find(&["alice@example.org"]).await, [Some(ALICE.to_owned())]);
    // Its age counts from when it was made.
    app.background().await;
    assert_eq!(pepper(&alice).await, second);
    app.clock.advance(WEEK);
    app.background().await;
    assert_ne!(pepper(&alice).await, second);
}

#[tokio::test]
async fn thousands_of_associations_are_found_under_the_new_pepper() {
    let app = TestApp::start().await;
    let alice = app.account(ALICE).await;
    // More than are hashed at a time, with addresses on both sides of the seam.
    let addresses: Vec<String> = (0..2001).map(|n| format!("user{n}@example.org")).collect();
    let bound = addresses.clone();
    let work = move |tx: &mut Tx<'_>| {
        let phone = ThreePid::msisdn("447700900001").unwrap();
        let pepper = peppers::hold_current(tx)?.unwrap();
        associations::bind(tx, &Association { threepid: phone, ..association("a@b") }, &pepper)?;
        bound.iter().try_for_each(|address| bind(tx, address))
    };
    app.app.store.write(work).await.unwrap();
    app.clock.advance(WEEK);
    app.background().await;
    assert_eq!(count(&app).await, 2);
    let addresses: Vec<&str> = addresses.iter().map(String::as_str).collect();
    let found = alice.find(&addresses).await;
    assert_eq!(found.iter().flatten().count(), addresses.len());
    let pepper = pepper(&alice).await;
    let phone = crate::harness::hash("447700900001", "msisdn", &pepper);
    let body = json!({ "algorithm": "sha256", "pepper": pepper, "addresses": [phone] });
    let found = alice.post("/lookup", body).await.ok();
    assert_eq!(found, json!({ "mappings": { phone: ALICE } }));
}

#[tokio::test]
async fn an_unbound_address_stays_unknown_under_the_new_pepper() {
    let app = TestApp::with(LONG_SESSIONS).await;
    let alice = app.account(ALICE).await;
    let session = alice.validated("alice@example.org", "alice@example.org").await;
    bind_by(&alice, &session).await;
    unbind_by(&alice, &session, "alice@example.org").await;
    app.clock.advance(WEEK);
    app.background().await;
    assert_eq!(alice.find(&["alice@example.org"]).await, [None]);
    bind_by(&alice, &session).await;
    assert_eq!(alice.find(&["alice@example.org"]).await, [Some(ALICE.to_owned())]);
}

async fn bind_by(alice: &Caller<'_>, session: &Session) {
    let mut body = session.json();
    body["mxid"] = json!(ALICE);
    alice.post("/3pid/bind", body).await.ok();
}

async fn unbind_by(alice: &Caller<'_>, session: &Session, address: &str) {
    let mut body = session.json();
    body["mxid"] = json!(ALICE);
    body["threepid"] = json!({ "medium": "email", "address": address });
    alice.post("/3pid/unbind", body).await.ok();
}

#[tokio::test]
async fn a_pepper_that_never_rotates_stays() {
    let app = TestApp::with("limits.enabled = false\nlookup.pepper_rotation = 'never'").await;
    let alice = app.account(ALICE).await;
    let first = pepper(&alice).await;
    app.clock.advance(WEEK * 1000);
    app.background().await;
    assert_eq!(pepper(&alice).await, first);
}

#[tokio::test]
async fn another_node_refuses_the_old_pepper_at_once() {
    let one = TestApp::start().await;
    let other = one.beside("limits.enabled = false").await;
    let here = one.account(ALICE).await;
    let there = other.holder(here.token.as_deref().unwrap());
    here.bound("alice@example.org", ALICE).await;
    let first = pepper(&there).await;
    assert_eq!(pepper(&here).await, first);
    one.clock.advance(WEEK);
    one.background().await;
    assert!(is_refused(&there, &first).await);
    assert_eq!(pepper(&there).await, pepper(&here).await);
    assert_eq!(there.find(&["alice@example.org"]).await, [Some(ALICE.to_owned())]);
}

#[tokio::test]
async fn of_several_nodes_one_replaces_the_pepper() {
    let one = TestApp::start().await;
    let other = one.beside("limits.enabled = false").await;
    for round in 1..=5 {
        assert_eq!(count(&one).await, round);
        one.clock.advance(WEEK);
        let rotations = [&one, &other, &one, &other].map(|node| service::pepper::rotate(&node.app));
        let done = futures_util::future::try_join_all(rotations).await.unwrap();
        assert_eq!(done.iter().filter(|done| **done).count(), 1);
    }
}

#[tokio::test]
async fn what_is_bound_while_the_pepper_changes_is_found_after_it() {
    let one = TestApp::with(LONG_SESSIONS).await;
    let other = one.beside(LONG_SESSIONS).await;
    let here = one.account(ALICE).await;
    let there = other.holder(here.token.as_deref().unwrap());
    let addresses: Vec<String> = (0..12).map(|n| format!("user{n}@example.org")).collect();
    let mut sessions = Vec::new();
    for address in &addresses {
        sessions.push(here.validated(address, address).await);
    }
    let addresses: Vec<&str> = addresses.iter().map(String::as_str).collect();
    for _ in 0..5 {
        one.clock.advance(WEEK);
        let binding = sessions.iter().enumerate().map(|(number, session)| {
            bind_by(if number % 2 == 0 { &here } else { &there }, session)
        });
        let binding = futures_util::future::join_all(binding);
        tokio::join!(one.background(), binding, other.background());
        let found = here.find(&addresses).await;
        assert!(found.iter().all(Option::is_some), "{found:?}");
        one.database.execute("DELETE FROM associations");
    }
}

#[tokio::test]
async fn unbinding_does_not_hinder_the_change_of_the_pepper() {
    let app = TestApp::with(LONG_SESSIONS).await;
    let alice = app.account(ALICE).await;
    let addresses: Vec<String> = (0..12).map(|n| format!("user{n}@example.org")).collect();
    let mut sessions = Vec::new();
    for address in &addresses {
        sessions.push(alice.validated(address, address).await);
    }
    // These keep the change busy for a while.
    let others = (0..1500).map(|n| format!("v{n}@example.org")).collect::<Vec<_>>();
    let work = move |tx: &mut Tx<'_>| others.iter().try_for_each(|address| bind(tx, address));
    app.app.store.write(work).await.unwrap();
    let addresses: Vec<&str> = addresses.iter().map(String::as_str).collect();
    for round in 1..=5 {
        let binding = sessions.iter().map(|session| bind_by(&alice, session));
        futures_util::future::join_all(binding).await;
        app.clock.advance(WEEK);
        let unbinding = async {
            for (session, address) in sessions.iter().zip(&addresses) {
                unbind_by(&alice, session, address).await;
            }
        };
        tokio::join!(app.background(), unbinding);
        assert_eq!(count(&app).await, round + 1);
        assert_eq!(alice.find(&addresses).await, vec![None; addresses.len()]);
    }
}

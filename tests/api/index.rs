//! The index of lookups and what else is kept in memory: it answers as the database would, and the
//! database answers where it can't be sure.

use std::time::{Duration, Instant};

use bindery::store::StoreError;
use serde_json::json;

use crate::harness::{Caller, START_MS, Session, TestApp};

const ALICE: &str = "@alice:hs.example";
const BOB: &str = "@bob:hs.example";
const ADDRESS: &str = "alice@example.org";

async fn bind(caller: &Caller<'_>, session: &Session, mxid: &str) {
    let mut body = session.json();
    body["mxid"] = json!(mxid);
    caller.post("/3pid/bind", body).await.ok();
}

async fn unbind(caller: &Caller<'_>, session: &Session, mxid: &str) {
    let mut body = session.json();
    body["mxid"] = json!(mxid);
    body["threepid"] = json!({ "medium": "email", "address": ADDRESS });
    caller.post("/3pid/unbind", body).await.ok();
}

/// Asks until the answer is `expected`, and how long that took.
async fn wait_until_found(caller: &Caller<'_>, expected: Option<&str>) -> Duration {
    let began = Instant::now();
    loop {
        let [found] = caller.find(&[ADDRESS]).await.try_into().unwrap();
        if found.as_deref() == expected {
            return began.elapsed();
        }
        assert!(began.elapsed() < Duration::from_secs(20), "{found:?}");
    }
}

/// What the database says of hashes is gone; what is in memory isn't.
fn forget_hashes(app: &TestApp) {
    app.database.execute("DELETE FROM lookup_hashes");
}

#[tokio::test]
async fn a_lookup_is_answered_from_memory() {
    let app = TestApp::start().await;
    let alice = app.account(ALICE).await;
    alice.bound(ADDRESS, ALICE).await;
    forget_hashes(&app);
    assert_eq!(alice.find(&[ADDRESS, "bob@example.org"]).await, [Some(ALICE.to_owned()), None]);
}

#[tokio::test]
async fn without_an_index_the_database_answers() {
    let app = TestApp::with("limits.enabled = false\nlookup.index = false").await;
    let alice = app.account(ALICE).await;
    alice.bound(ADDRESS, ALICE).await;
    assert_eq!(alice.find(&[ADDRESS]).await, [Some(ALICE.to_owned())]);
    forget_hashes(&app);
    assert_eq!(alice.find(&[ADDRESS]).await, [None]);
}

#[tokio::test]
async fn whoever_binds_and_unbinds_sees_it_at_once() {
    let app = TestApp::start().await;
    let (alice, bob) = (app.account(ALICE).await, app.account(BOB).await);
    let session = alice.validated(ADDRESS, ADDRESS).await;
    for _ in 0..20 {
        bind(&alice, &session, ALICE).await;
        assert_eq!(alice.find(&[ADDRESS]).await, [Some(ALICE.to_owned())]);
        bind(&bob, &session, BOB).await;
        assert_eq!(alice.find(&[ADDRESS]).await, [Some(BOB.to_owned())]);
        unbind(&bob, &session, BOB).await;
        assert_eq!(alice.find(&[ADDRESS]).await, [None]);
    }
}

#[tokio::test]
async fn many_who_bind_at_once_see_their_own_binds_at_once() {
    let app = TestApp::start().await;
    let alice = app.account(ALICE).await;
    let mut sessions = Vec::new();
    for number in 0..16 {
        let address = format!("user{number}@example.org");
        sessions.push((alice.validated(&address, &address).await, address));
    }
    let binding = sessions.iter().map(async |(session, address)| {
        bind(&alice, session, ALICE).await;
        assert_eq!(alice.find(&[address]).await, [Some(ALICE.to_owned())]);
    });
    futures_util::future::join_all(binding).await;
}

#[tokio::test]
async fn another_node_sees_a_bind_within_a_second() {
    let one = TestApp::start().await;
    let other = one.beside("limits.enabled = false").await;
    let here = one.account(ALICE).await;
    let there = other.holder(here.token.as_deref().unwrap());
    let session = here.validated(ADDRESS, ADDRESS).await;
    for _ in 0..3 {
        bind(&here, &session, ALICE).await;
        let took = wait_until_found(&there, Some(ALICE)).await;
        tracing::info!(?took, "bound");
        unbind(&here, &session, ALICE).await;
        let took = wait_until_found(&there, None).await;
        tracing::info!(?took, "unbound");
    }
}

#[tokio::test]
async fn a_node_that_hears_nothing_asks_the_database_after_a_second() {
    let one = TestApp::start().await;
    let other = one.beside("limits.enabled = false").await;
    let here = one.account(ALICE).await;
    let there = other.holder(here.token.as_deref().unwrap());
    let session = here.validated(ADDRESS, ADDRESS).await;
    other.cut_off();
    bind(&here, &session, ALICE).await;
    one.clock.advance(Duration::from_millis(1001));
    assert_eq!(there.find(&[ADDRESS]).await, [Some(ALICE.to_owned())]);
    unbind(&here, &session, ALICE).await;
    assert_eq!(there.find(&[ADDRESS]).await, [None]);
    bind(&here, &session, ALICE).await;
    // Once it has caught up, memory answers again.
    other.settle().await;
    forget_hashes(&one);
    assert_eq!(there.find(&[ADDRESS]).await, [Some(ALICE.to_owned())]);
}

#[tokio::test]
async fn memory_is_believed_however_many_wait_for_the_database() {
    let app = TestApp::start().await;
    // More than there are connections for.
    let waiting = (0..12).map(|_| {
        app.app.store.read(|_| {
            std::thread::sleep(Duration::from_millis(700));
            Ok::<_, StoreError>(())
        })
    });
    let waiting = futures_util::future::join_all(waiting);
    let looking = async {
        tokio::time::sleep(Duration::from_millis(1800)).await;
        app.app.freshness.holds()
    };
    let (_, is_believed) = tokio::join!(waiting, looking);
    assert!(is_believed);
}

#[tokio::test]
async fn whatever_changes_the_database_is_noticed() {
    let app = TestApp::start().await;
    let alice = app.account(ALICE).await;
    alice.bound(ADDRESS, ALICE).await;
    app.database.execute("UPDATE associations SET mxid = '@carol:hs.example'");
    app.settle().await;
    assert_eq!(alice.find(&[ADDRESS]).await, [Some("@carol:hs.example".to_owned())]);
    app.database.execute("DELETE FROM associations");
    app.settle().await;
    assert_eq!(alice.find(&[ADDRESS]).await, [None]);
}

#[tokio::test]
async fn a_server_whose_index_is_made_anew_is_there_meanwhile() {
    let app = TestApp::start().await;
    let alice = app.account(ALICE).await;
    alice.bound(ADDRESS, ALICE).await;
    // Nobody makes it any more.
    app.cut_off();
    alice.get("/health/ready").await.ok();
    app.database.execute(if app.database.is_postgres() {
        "INSERT INTO lookup_changes (kind, medium, address) VALUES ('all', '', '')"
    } else {
        "INSERT INTO lookup_changes SELECT max(id) + 1, 'all', '', '', 0, 0 FROM lookup_changes"
    });
    app.settle().await;
    assert_eq!(gauge(&app, "bindery_lookup_index_entries").await, "0");
    alice.get("/health/ready").await.ok();
    assert_eq!(alice.find(&[ADDRESS]).await, [Some(ALICE.to_owned())]);
}

#[tokio::test]
async fn changes_of_the_server_that_a_database_was_copied_from_are_none_here() {
    let app = TestApp::start().await;
    if !app.database.is_postgres() {
        return;
    }
    let alice = app.account(ALICE).await;
    alice.bound(ADDRESS, ALICE).await;
    // As in a copy that was made just after a large directory was copied, of a server that has seen
    // more transactions.
    app.database.execute(
        "INSERT INTO lookup_changes (kind, medium, address, xid) VALUES ('all', '', '', 1::bigint << 50)",
    );
    for _ in 0..2 {
        app.settle().await;
        assert_eq!(gauge(&app, "bindery_lookup_index_entries").await, "1");
    }
    alice.get("/health/ready").await.ok();
}

#[tokio::test]
async fn an_association_that_ends_is_found_until_then() {
    let app = TestApp::start().await;
    let alice = app.account(ALICE).await;
    alice.bound(ADDRESS, ALICE).await;
    let end = START_MS + 5000;
    app.database.execute(&format!("UPDATE associations SET not_after = {end}"));
    app.settle().await;
    assert_eq!(alice.find(&[ADDRESS]).await, [Some(ALICE.to_owned())]);
    app.clock.advance(Duration::from_millis(4999));
    app.settle().await;
    assert_eq!(alice.find(&[ADDRESS]).await, [Some(ALICE.to_owned())]);
    app.clock.advance(Duration::from_millis(1));
    app.settle().await;
    assert_eq!(alice.find(&[ADDRESS]).await, [None]);
}

#[tokio::test]
async fn an_index_that_would_be_too_large_is_switched_off() {
    let app = TestApp::start().await;
    let alice = app.account(ALICE).await;
    alice.bound(ADDRESS, ALICE).await;
    let small = app.beside("limits.enabled = false\nlookup.index_memory = '1KiB'").await;
    let there = small.holder(alice.token.as_deref().unwrap());
    there.get("/health/ready").await.ok();
    assert_eq!(there.find(&[ADDRESS]).await, [Some(ALICE.to_owned())]);
    assert_eq!(gauge(&small, "bindery_lookup_index_bytes").await, "0");
    forget_hashes(&app);
    assert_eq!(there.find(&[ADDRESS]).await, [None]);
    assert_eq!(alice.find(&[ADDRESS]).await, [Some(ALICE.to_owned())]);
}

async fn gauge(app: &TestApp, name: &str) -> String {
    let text = app.stranger().get("/metrics").await.body;
    let line = text.lines().find_map(|line| line.strip_prefix(&format!("{name} ")));
    line.unwrap_or_else(|| panic!("no {name}: {text}")).to_owned()
}

#[tokio::test]
async fn monitoring_sees_the_index() {
    let app = TestApp::start().await;
    let alice = app.account(ALICE).await;
    alice.bound(ADDRESS, ALICE).await;
    app.settle().await;
    assert_eq!(gauge(&app, "bindery_lookup_index_entries").await, "1");
    assert_eq!(gauge(&app, "bindery_lookup_index_fresh").await, "1");
    assert_ne!(gauge(&app, "bindery_lookup_index_bytes").await, "0");
    let age: f64 = gauge(&app, "bindery_lookup_index_age_seconds").await.parse().unwrap();
    assert!(age < 1.0, "{age}");
}

#[tokio::test]
async fn an_access_token_is_remembered_until_it_is_given_back() {
    let one = TestApp::start().await;
    let other = one.beside("limits.enabled = false").await;
    for _ in 0..10 {
        let here = one.account(ALICE).await;
        let there = other.holder(here.token.as_deref().unwrap());
        for caller in [&here, &there] {
            caller.get("/account").await.ok();
        }
        here.post("/account/logout", json!({})).await.ok();
        here.get("/account").await.refused(401, "M_UNAUTHORIZED");
        other.settle().await;
        there.get("/account").await.refused(401, "M_UNAUTHORIZED");
    }
}

#[tokio::test]
async fn a_token_that_is_removed_from_the_database_is_good_no_more() {
    let app = TestApp::start().await;
    let alice = app.account(ALICE).await;
    alice.get("/account").await.ok();
    app.database.execute("DELETE FROM access_tokens");
    app.settle().await;
    alice.get("/account").await.refused(401, "M_UNAUTHORIZED");
}

//! While the pepper is replaced lookups go on, whatever is interrupted is taken up again, and the
//! index agrees with the database whatever is done to it.

use std::time::Duration;

use bindery::{
    matrix::threepid::ThreePid,
    store::{
        StoreError, Tx,
        associations::{self, Association},
        peppers,
    },
};
use serde_json::json;

use crate::harness::{Caller, START_MS, TestApp, hash};

const ALICE: &str = "@alice:hs.example";
const WITHOUT_INDEX: &str = "limits.enabled = false\nlookup.index = false";

async fn pepper(caller: &Caller<'_>) -> String {
    caller.get("/hash_details").await.ok()["lookup_pepper"].as_str().unwrap().to_owned()
}

/// Whether a lookup with `pepper` is answered, or refused because of it.
async fn is_accepted(caller: &Caller<'_>, pepper: &str) -> bool {
    let hashes = [hash("a@example.org", "email", pepper)];
    let body = json!({ "algorithm": "sha256", "pepper": pepper, "addresses": hashes });
    let answer = caller.post("/lookup", body).await;
    if answer.status == 200 {
        return true;
    }
    answer.refused(400, "M_INVALID_PEPPER");
    false
}

fn association(address: &str, mxid: &str) -> Association {
    Association {
        threepid: ThreePid::email(address).unwrap(),
        mxid: mxid.parse().unwrap(),
        ts: START_MS,
        not_before: START_MS,
        not_after: i64::MAX,
    }
}

async fn bind_all(app: &TestApp, addresses: &[&str]) {
    let addresses: Vec<String> = addresses.iter().copied().map(str::to_owned).collect();
    let work = move |tx: &mut Tx<'_>| {
        let peppers = peppers::hold_current(tx)?.unwrap();
        let mut all = addresses.iter().map(|address| association(address, ALICE));
        all.try_for_each(|association| associations::bind(tx, &association, &peppers))
    };
    app.app.store.write(work).await.unwrap();
    app.settle().await;
}

async fn write<T: Send + 'static>(
    app: &TestApp,
    work: impl FnOnce(&mut Tx<'_>) -> Result<T, StoreError> + Send + 'static,
) -> T {
    app.app.store.write(work).await.unwrap()
}

/// Begins to make hashes with another pepper, and stops in the middle.
async fn begin(app: &TestApp) {
    assert!(write(app, |tx| peppers::begin(tx, i64::MAX, "next", START_MS)).await);
    // The first step finds the first kind of associations.
    assert!(write(app, |tx| peppers::hash_some(tx, 2)).await);
    assert!(write(app, |tx| peppers::hash_some(tx, 2)).await);
    app.settle().await;
}

const ADDRESSES: [&str; 6] = ["a", "b", "c", "d", "e", "f"];

fn addresses() -> Vec<String> {
    ADDRESSES.iter().map(|name| format!("{name}@example.org")).collect()
}

#[tokio::test]
async fn a_replacement_that_was_interrupted_goes_on_on_another_node() {
    let one = TestApp::start().await;
    let other = one.beside("limits.enabled = false").await;
    let without = one.beside(WITHOUT_INDEX).await;
    let here = one.account(ALICE).await;
    let token = here.token.as_deref().unwrap();
    let (there, at_database) = (other.holder(token), without.holder(token));
    let all = addresses();
    let all: Vec<&str> = all.iter().map(String::as_str).collect();
    bind_all(&one, &all[..5]).await;
    let first = pepper(&here).await;
    begin(&one).await;
    // Behind what is hashed already, and before what isn't.
    bind_all(&one, &["a0@example.org", "f@example.org"]).await;
    for caller in [&here, &there, &at_database] {
        assert_eq!(pepper(caller).await, first);
        assert!(is_accepted(caller, &first).await);
        assert!(!is_accepted(caller, "next").await);
    }
    one.cut_off();
    other.settle().await;
    other.background().await;
    for caller in [&there, &at_database] {
        assert_eq!(pepper(caller).await, "next");
        assert!(!is_accepted(caller, &first).await);
        assert!(caller.find(&all).await.iter().all(Option::is_some));
        assert!(caller.find(&["a0@example.org"]).await[0].is_some());
    }
    // Nothing is left of the former one.
    assert!(!write(&other, |tx| peppers::forget_some(tx, 1000)).await);
}

#[tokio::test]
async fn from_the_announcement_on_every_node_changes_the_pepper_at_the_same_moment() {
    let one = TestApp::start().await;
    let other = one.beside("limits.enabled = false").await;
    let here = one.account(ALICE).await;
    let there = other.holder(here.token.as_deref().unwrap());
    bind_all(&one, &["a@example.org"]).await;
    let first = pepper(&here).await;
    begin(&one).await;
    while write(&one, |tx| peppers::hash_some(tx, 1000)).await {}
    write(&one, peppers::announce).await;
    for node in [&one, &other] {
        node.settle().await;
    }
    for caller in [&here, &there] {
        assert!(is_accepted(caller, &first).await);
        assert_eq!(caller.find(&["a@example.org"]).await, [Some(ALICE.to_owned())]);
    }
    for node in [&one, &other] {
        node.cut_off();
    }
    assert!(write(&one, |tx| peppers::switch(tx, START_MS)).await);
    // Nobody has told them.
    for caller in [&here, &there] {
        assert!(!is_accepted(caller, &first).await);
        assert!(is_accepted(caller, "next").await);
        assert_eq!(caller.find(&["a@example.org"]).await, [Some(ALICE.to_owned())]);
    }
}

#[tokio::test]
async fn lookups_and_binds_go_on_while_the_pepper_is_replaced() {
    let app = TestApp::with("limits.enabled = false\nsessions.lifetime = '52w'").await;
    let alice = app.account(ALICE).await;
    let all: Vec<String> = (0..3000).map(|n| format!("user{n:04}@example.org")).collect();
    let all: Vec<&str> = all.iter().map(String::as_str).collect();
    bind_all(&app, &all).await;
    let session = alice.validated("late@example.org", "late@example.org").await;
    let first = pepper(&alice).await;
    app.clock.advance(Duration::from_hours(7 * 24));
    app.settle().await;
    let asking = async {
        let mut body = session.json();
        body["mxid"] = json!(ALICE);
        while is_accepted(&alice, &first).await {
            alice.post("/3pid/bind", body.clone()).await.ok();
        }
        // From now on it is refused for good.
        assert!(!is_accepted(&alice, &first).await);
    };
    tokio::join!(app.background(), asking);
    assert_ne!(pepper(&alice).await, first);
    let found = alice.find(&[all[0], all[1500], all[2999], "late@example.org"]).await;
    assert!(found.iter().all(Option::is_some), "{found:?}");
}

/// Numbers that are as good as random and the same each time.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, end: u64) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % end
    }
}

/// Does something to one of the addresses.
fn something(numbers: &mut Numbers) -> impl FnOnce(&mut Tx<'_>) -> Result<(), StoreError> + use<> {
    let address = format!("{}@example.org", ADDRESSES[usize::try_from(numbers.below(6)).unwrap()]);
    let mxid = format!("@user{}:hs{}.example", numbers.below(3), numbers.below(3));
    let (kind, days) = (numbers.below(5), i64::try_from(numbers.below(4)).unwrap());
    move |tx| {
        let day_ms = 24 * 60 * 60 * 1000;
        let mut association = association(&address, &mxid);
        match kind {
            0 => association.not_after = START_MS + days * day_ms,
            1 => association.not_before = START_MS + days * day_ms,
            2 | 3 => {}
            _ => {
                return associations::unbind(tx, &association.threepid, &association.mxid)
                    .map(drop);
            }
        }
        let peppers = peppers::hold_current(tx)?.unwrap();
        associations::bind(tx, &association, &peppers)
    }
}

#[tokio::test]
async fn the_index_agrees_with_the_database_whatever_is_done() {
    let with = TestApp::start().await;
    let without = with.beside(WITHOUT_INDEX).await;
    let here = with.account(ALICE).await;
    let there = without.holder(here.token.as_deref().unwrap());
    let all = addresses();
    let all: Vec<&str> = all.iter().map(String::as_str).collect();
    let mut numbers = Numbers(7);
    for round in 0..60 {
        for _ in 0..=numbers.below(3) {
            write(&with, something(&mut numbers)).await;
        }
        if numbers.below(8) == 0 {
            with.clock.advance(Duration::from_hours(20));
        }
        if round == 30 {
            with.clock.advance(Duration::from_hours(7 * 24));
            with.background().await;
        }
        with.settle().await;
        assert_eq!(here.find(&all).await, there.find(&all).await, "round {round}");
    }
}

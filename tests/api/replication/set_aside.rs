//! What a neighbour refuses for good, and what comes after it.

use std::time::Duration;

use bindery::store::{StoreError, Tx, replication_refusals as refusals};
use serde_json::{Value, json};

use super::outgoing::Told;
use crate::{
    harness::{PUBLIC_KEY, TestApp},
    homeserver::Reply,
    replication::village::PUSH,
};

const ALICE: &str = "@alice:hs.example";
const NEIGHBOUR: &str = "sydent.test";

impl Told {
    async fn bind(&self, names: &[&str]) {
        let alice = self.app.account(ALICE).await;
        for name in names {
            alice.bound(&format!("{name}@example.org"), ALICE).await;
        }
    }

    /// Lets the neighbour refuse whatever it is told, and name these numbers.
    fn refuses(&self, ids: &Value) {
        let refusal = json!({ "errcode": "M_VERIFICATION_FAILED", "error": "no",
            "failed_ids": ids });
        self.sydent.set_reply(PUSH, Reply::new(400, refusal.to_string()));
    }

    fn takes(&self) {
        self.sydent.set_reply(PUSH, Reply::new(200, r#"{"success":true}"#));
    }

    /// Tells what is due after the longest pause, so often.
    async fn tries(&self, times: usize) {
        for _ in 0..times {
            self.app.clock.advance(Duration::from_mins(10));
            self.app.push().await;
        }
    }

    /// The numbers in each request so far.
    fn numbers(&self) -> Vec<Vec<i64>> {
        let numbers = |request| {
            let all = super::outgoing::associations(request);
            all.into_iter().map(|(id, _)| id).collect()
        };
        self.sydent.requests().iter().map(numbers).collect()
    }

    /// The numbers in the last request.
    fn last(&self) -> Vec<i64> {
        self.numbers().pop().unwrap()
    }
}

async fn change(
    app: &TestApp,
    work: impl FnOnce(&mut Tx<'_>, i64) -> Result<bool, StoreError> + Send + 'static,
) -> bool {
    let now_ms = app.app.clock.now_ms();
    app.app.store.write::<_, StoreError>(move |tx| work(tx, now_ms)).await.unwrap()
}

async fn retry(app: &TestApp, id: i64) -> bool {
    change(app, move |tx, now_ms| refusals::retry(tx, NEIGHBOUR, id, now_ms)).await
}

async fn skip(app: &TestApp, id: i64) -> bool {
    change(app, move |tx, now_ms| refusals::skip(tx, NEIGHBOUR, id, now_ms)).await
}

/// The numbers that are set aside.
async fn set_aside(app: &TestApp) -> Vec<i64> {
    let all =
        app.app.store.read::<_, StoreError>(|tx| refusals::list(tx, NEIGHBOUR)).await.unwrap();
    all.iter().filter(|one| one.set_aside_at.is_some()).map(|one| one.entry.id).collect()
}

const COUNT: &str = "bindery_replication_set_aside_total{neighbour=\"sydent.test\"}";

#[tokio::test]
async fn what_a_neighbour_refuses_eight_times_is_set_aside_and_the_others_go_on() {
    let world = Told::start("").await;
    world.bind(&["a", "b", "c"]).await;
    // Both forms of numbers occur.
    world.refuses(&json!(["2", 99]));
    world.tries(7).await;
    assert_eq!(world.numbers(), vec![vec![1, 2, 3]; 7]);
    assert_eq!((set_aside(&world.app).await, world.app.metric(COUNT).await), (vec![], 0));
    world.tries(1).await;
    // Told without it at once, and then again as long as the neighbour refuses.
    assert_eq!(world.numbers()[7..], [vec![1, 2, 3], vec![1, 3]]);
    assert_eq!((set_aside(&world.app).await, world.app.metric(COUNT).await), (vec![2], 1));
    world.takes();
    world.tries(1).await;
    assert_eq!(world.last(), [1, 3]);
    world.bind(&["d"]).await;
    world.tries(3).await;
    assert_eq!(world.last(), [4]);
    let requests = world.numbers().len();
    // After a restart it is still aside.
    let again = world.app.beside(&world.config).await;
    again.push().await;
    assert_eq!((world.numbers().len(), set_aside(&again).await), (requests, vec![2]));
    // Until the operator wants it told.
    assert!(retry(&again, 2).await && !retry(&again, 2).await && !retry(&again, 1).await);
    again.push().await;
    assert_eq!((world.last(), set_aside(&again).await), (vec![2], vec![]));
    world.bind(&["e"]).await;
    again.push().await;
    assert_eq!(world.last(), [5]);
}

#[tokio::test]
async fn a_neighbour_that_refuses_all_has_another_fault_and_nothing_is_passed_over() {
    let world = Told::start("").await;
    world.bind(&["a", "b"]).await;
    world.refuses(&json!(["1", "2"]));
    world.tries(20).await;
    assert_eq!(set_aside(&world.app).await, [0; 0]);
    world.takes();
    world.tries(1).await;
    assert_eq!(world.last(), [1, 2]);
}

#[tokio::test]
async fn the_last_of_the_log_can_be_set_aside() {
    let world = Told::start("").await;
    world.bind(&["a", "b"]).await;
    world.refuses(&json!(["2"]));
    world.tries(8).await;
    world.takes();
    world.tries(1).await;
    assert_eq!(world.last(), [1]);
    let requests = world.numbers().len();
    world.tries(2).await;
    assert_eq!(world.numbers().len(), requests);
    let neighbour = world.app.app.told_neighbours().next().unwrap();
    let next = bindery::service::push::time_to_next(&world.app.app, neighbour).await.unwrap();
    assert_eq!(next, None);
}

#[tokio::test]
async fn what_is_told_again_keeps_the_order_of_each_address() {
    let world = Told::start("").await;
    world.bind(&["a", "b"]).await;
    world.refuses(&json!(["1"]));
    world.tries(8).await;
    // Somebody else has it meanwhile, which is told: number 1 would undo that.
    let bob = world.app.account("@bob:hs.example").await;
    bob.bound("a@example.org", "@bob:hs.example").await;
    world.takes();
    world.tries(1).await;
    assert_eq!(world.last(), [2, 3, 4]);
    assert!(!retry(&world.app, 1).await);
    // The log needs it no more.
    assert_eq!(set_aside(&world.app).await, [0; 0]);
}

#[tokio::test]
async fn nor_is_told_again_what_another_neighbour_still_has_to_hear() {
    let keys = format!("keys = ['ed25519:1 {PUBLIC_KEY}']\n");
    let away = "[[peers.replicate]]\nname = 'away.test'\nurl = 'https://127.0.0.1:9'\n";
    let world = Told::start(&format!("{keys}{away}{keys}")).await;
    world.bind(&["a", "b"]).await;
    world.refuses(&json!(["1"]));
    world.tries(8).await;
    assert!(retry(&world.app, 1).await && skip(&world.app, 1).await);
    let account = world.app.account("@bob:hs.example").await;
    account.bound("a@example.org", "@bob:hs.example").await;
    world.takes();
    world.tries(1).await;
    assert_eq!((world.last(), set_aside(&world.app).await), (vec![2, 3, 4], vec![1]));
    assert!(!retry(&world.app, 1).await);
}

#[tokio::test]
async fn what_comes_before_an_unnamed_fault_is_told_and_the_operator_skips_it() {
    let world = Told::start("").await;
    world.bind(&["a", "b", "c", "d"]).await;
    world.sydent.set_reply(PUSH, Reply::new(500, "boom"));
    world.tries(3).await;
    assert_eq!(world.numbers(), vec![vec![1, 2, 3, 4]; 3]);
    // It goes on carefully: one, two, and so on.
    world.tries(1).await;
    assert_eq!(world.last(), [1]);
    world.takes();
    world.tries(1).await;
    assert_eq!(world.numbers()[4..], [vec![1], vec![2, 3], vec![4]]);
    world.bind(&["e", "f"]).await;
    world.sydent.set_reply(PUSH, Reply::new(500, "boom"));
    world.tries(4).await;
    assert_eq!(world.last(), [5]);
    assert!(skip(&world.app, 5).await && !skip(&world.app, 5).await && !skip(&world.app, 4).await);
    world.takes();
    world.tries(1).await;
    assert_eq!((world.last(), set_aside(&world.app).await), (vec![6], vec![5]));
    // Before it was told anything at all, too.
    let fresh = Told::start("").await;
    fresh.bind(&["a"]).await;
    assert!(skip(&fresh.app, 1).await);
    fresh.tries(2).await;
    assert_eq!(fresh.numbers().len(), 0);
}

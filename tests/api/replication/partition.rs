//! A neighbour that was away for long, and very many associations.

use std::{collections::BTreeMap, time::Instant};

use bindery::{
    matrix::threepid::ThreePid,
    store::{
        StoreError, Tx,
        associations::{self, Association},
        peppers, replication_log,
    },
};

use super::village::Village;
use crate::harness::{START_MS, TestApp};

const ALICE: &str = "@alice:hs.example";

const BOUND: usize = 10_000;
const UNBOUND: usize = 1000;

fn address(number: usize) -> String {
    format!("user{number}@a.example")
}

/// Binds and tells the log, without the validation that takes a mail.
fn bind(tx: &mut Tx<'_>, number: usize) -> Result<(), StoreError> {
    let pepper = peppers::hold_current(tx)?.unwrap();
    let threepid = ThreePid::email(&address(number)).unwrap();
    let association = Association::new(threepid, ALICE.parse().unwrap(), START_MS);
    associations::bind(tx, &association, &pepper)?;
    replication_log::append_bound(tx, &association, None)
}

fn unbind(tx: &mut Tx<'_>, number: usize) -> Result<(), StoreError> {
    let threepid = ThreePid::email(&address(number)).unwrap();
    assert!(associations::unbind(tx, &threepid, &ALICE.parse().unwrap())?);
    replication_log::append_unbound(tx, &threepid, START_MS + 1)
}

async fn in_one(app: &TestApp, work: fn(&mut Tx<'_>, usize) -> Result<(), StoreError>, to: usize) {
    let all = move |tx: &mut Tx<'_>| (0..to).try_for_each(|number| work(tx, number));
    app.app.store.write(all).await.unwrap();
}

/// Who is found behind each address.
async fn known(app: &TestApp) -> BTreeMap<String, Option<String>> {
    let addresses: Vec<String> = (0..BOUND).map(address).collect();
    let asked: Vec<&str> = addresses.iter().map(String::as_str).collect();
    let found = app.account("@somebody:hs.example").await.find(&asked).await;
    addresses.into_iter().zip(found).collect()
}

#[expect(clippy::print_stdout, reason = "how long it takes is part of what it shows")]
#[tokio::test]
async fn after_days_and_a_restart_both_know_the_same() {
    let village = Village::new();
    let (here, there) = (village.seat("a.test"), village.seat("b.test"));
    let config = here.config(&[there.neighbour("")]);
    let one = TestApp::with(&config).await;
    let other_config = there.config(&[here.neighbour("")]);
    let other = TestApp::with(&other_config).await;
    let open = there.listen(&other);
    in_one(&one, bind, 10).await;
    one.push().await;
    open.close().await;
    in_one(&one, bind, BOUND).await;
    // It gets as far as it gets, and falls over.
    let open = there.listen(&other);
    tokio::select! {
        () = one.push() => panic!("that was too fast to be interrupted"),
        () = until(&other, 1000) => {}
    }
    drop(open);
    in_one(&one, unbind, UNBOUND).await;
    let again = one.beside(&config).await;
    drop(one);
    again.clock.advance(std::time::Duration::from_hours(24 * 3));
    let back = other.beside(&other_config).await;
    let _open = there.listen(&back);
    let started = Instant::now();
    again.push().await;
    let (took, requests) = (started.elapsed(), again.metric(PUSHES).await);
    println!("caught up by {requests} requests within {took:?}");
    assert_eq!(known(&again).await, known(&back).await);
    let bound = known(&back).await.into_values().flatten().count();
    assert_eq!(bound, BOUND - UNBOUND);
    assert!(requests <= 110, "{requests}");
}

const PUSHES: &str = "bindery_replication_pushes_total{neighbour=\"b.test\",outcome=\"taken\"}";

/// Until so many associations have come.
async fn until(app: &TestApp, count: i64) {
    while app.received("a.test").await[0] < count {
        tokio::task::yield_now().await;
    }
}

//! PostgreSQL goes away and comes back.
//!
//! The server of `TEST_DATABASE_URL` is left alone: the tests here stop and freeze one of their
//! own, from the programs on this machine.
#![cfg(feature = "postgres")]

use std::time::{Duration, Instant};

use diesel::{Connection, PgConnection, RunQueryDsl, connection::SimpleConnection};
use serde_json::Value;

use crate::{
    cluster::Cluster,
    process::{Home, Person, addresses, until},
};

/// The longest that anybody may wait for an answer while the database is away.
const BOUND: Duration = Duration::from_secs(15);

/// Each request that needs the database is told, in time, to come back later: all of them, once
/// what is in memory isn't believed any more.
async fn all_are_put_off(you: &Person, bind: &Value) {
    until("that memory is not believed any more", async || {
        let details = you.get("/_matrix/identity/v2/hash_details").await;
        details.is_unavailable().then_some(())
    })
    .await;
    let asked = Instant::now();
    let (bound, read, ready, live) = tokio::join!(
        you.bind(bind),
        you.get("/_matrix/identity/v2/hash_details"),
        you.get("/health/ready"),
        you.get("/health/live"),
    );
    assert!(asked.elapsed() < BOUND, "{:?}", asked.elapsed());
    for refused in [bound, read, ready] {
        assert!(refused.is_unavailable(), "{refused:?}");
    }
    live.ok();
}

/// Waits until the server says that it is ready; then everything has to work at once.
async fn serves_again(you: &Person, bind: &Value, emails: &[String]) {
    until("a server that is ready", async || {
        (you.get("/health/ready").await.status == 200).then_some(())
    })
    .await;
    you.bind(bind).await.ok();
    assert_eq!(you.find(emails).await, emails);
}

#[tokio::test]
async fn while_postgresql_is_away_clients_are_put_off_and_then_served_by_the_same_process() {
    let Some(mut cluster) = Cluster::new() else { return };
    cluster.start().await;
    let home = Home::new();
    home.use_database(&cluster.url());
    let server = home.serve().await;
    let you = Person::of(&home, &server);
    let emails = addresses(3);
    let bodies = you.validated(&home, &emails).await;
    serves_again(&you, &bodies[0], &emails[..1]).await;

    cluster.crash().await;
    let crashed = Instant::now();
    while crashed.elapsed() < Duration::from_secs(10) {
        all_are_put_off(&you, &bodies[1]).await;
    }
    cluster.start().await;
    serves_again(&you, &bodies[1], &emails[..2]).await;

    // It takes connections and says nothing more: neither an answer nor an end.
    cluster.signal_all("STOP");
    all_are_put_off(&you, &bodies[2]).await;
    cluster.signal_all("CONT");
    serves_again(&you, &bodies[2], &emails).await;
}

#[tokio::test]
async fn background_work_that_hangs_does_not_keep_the_server_from_stopping() {
    let home = Home::new();
    if !home.database.is_postgres() {
        return; // On SQLite the start would have to wait as well.
    }
    home.serve().await.kill().await;
    let mut locking = PgConnection::establish(&home.database.url).unwrap();
    locking.batch_execute("BEGIN; LOCK TABLE sessions IN EXCLUSIVE MODE").unwrap();
    // It looks for expired sessions as soon as it has started.
    let mut server = home.serve().await;
    let waiting = "SELECT 1 FROM pg_locks WHERE NOT granted AND relation = 'sessions'::regclass";
    until("work that waits", async || {
        (diesel::sql_query(waiting).execute(&mut locking) == Ok(1)).then_some(())
    })
    .await;
    let asked = Instant::now();
    server.signal("TERM");
    assert!(server.ended().await.success());
    assert!(asked.elapsed() < Duration::from_secs(10), "{:?}", asked.elapsed());
}

//! Several PostgreSQL servers, of which one follows another: it takes over, or answers lookups.
#![cfg(feature = "postgres")]

use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use serde_json::Value;

use crate::{
    cluster::Cluster,
    process::{Bindery, Home, Person, addresses, until},
};

/// The longest that anybody may wait for an answer while no database takes writes.
const BOUND: Duration = Duration::from_secs(15);

/// A server and one that follows it; `None` where the tests are about SQLite.
async fn two() -> Option<(Cluster, Cluster)> {
    let mut primary = Cluster::new()?;
    primary.start().await;
    let standby = primary.standby().await;
    Some((primary, standby))
}

/// Binds what `bodies` say, each until that is answered, and puts down whose turn it was.
async fn bind_all(you: &Person, bodies: &[(String, Value)], bound: &Mutex<Vec<String>>) {
    for (email, body) in bodies {
        loop {
            let asked = Instant::now();
            let answer = you.bind(body).await;
            assert!(asked.elapsed() < BOUND, "{:?}", asked.elapsed());
            if answer.status == 200 {
                break;
            }
            assert!(answer.is_unavailable(), "{answer:?}");
        }
        bound.lock().unwrap().push(email.clone());
    }
}

#[tokio::test]
async fn a_standby_takes_over_from_a_server_that_dies_and_no_answered_bind_is_lost() {
    let Some((mut primary, standby)) = two().await else { return };
    primary.execute("ALTER SYSTEM SET synchronous_standby_names = '*'");
    primary.execute("SELECT pg_reload_conf()");
    until("a commit that waits for the standby", async || {
        primary.is_true("EXISTS (SELECT 1 FROM pg_stat_replication WHERE sync_state = 'sync')")
    })
    .await;
    let home = Home::new();
    // The first one takes no writes yet.
    let hosts = format!("{},{}", standby.address(), primary.address());
    home.use_database(&format!("postgres://bindery:hunter2@{hosts}/postgres"));
    let server = home.serve().await;
    assert!(server.output().contains(&format!("postgres://bindery@{hosts}/postgres")));
    let you = Person::of(&home, &server);
    let emails = addresses(60);
    let bodies = you.validated(&home, &emails).await;
    let bodies: Vec<(String, Value)> = emails.iter().cloned().zip(bodies).collect();
    let bound = Arc::new(Mutex::new(Vec::new()));

    let binding = join_all(bodies.chunks(15).map(|bodies| bind_all(&you, bodies, &bound)));
    let failing_over = async {
        until("some binds", async || (bound.lock().unwrap().len() >= 12).then_some(())).await;
        primary.kill().await;
        let before = bound.lock().unwrap().clone();
        standby.promote();
        before
    };
    let (_, before) = tokio::join!(binding, failing_over);

    assert!(before.len() < emails.len(), "it died too late");
    assert_eq!(you.find(&before).await, before);
    assert_eq!(you.find(&emails).await, emails);
    assert!(!format!("{}{}", server.output(), server.log()).contains("hunter2"));
}

/// A home whose lookups are answered by `standby`, and its servers.
async fn nodes(primary: &Cluster, standby: &Cluster) -> (Home, [Bindery; 2]) {
    // What is in memory would need no database.
    let toml = format!("lookup.index = false\ndatabase.replica_urls = ['{}']\n", standby.url());
    let home = Home::with(&toml);
    home.use_database(&primary.url());
    let nodes = [home.serve().await, home.serve().await];
    (home, nodes)
}

/// Waits until the last that `node` says of its replica is that it answers lookups, or that it
/// doesn't.
async fn replica_answers(node: &Bindery, answers: bool) {
    until(&format!("that it is {answers} that the replica answers"), async || {
        let log = node.log();
        let mut said = log.lines().rev().filter(|line| line.contains("the replica is"));
        (said.next()?.contains("up to date") == answers).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_replica_answers_lookups_as_long_as_it_has_what_it_must_have() {
    let Some((primary, mut standby)) = two().await else { return };
    let (home, nodes) = nodes(&primary, &standby).await;
    let you = Person::of(&home, &nodes[0]);
    let at_other = you.at(&nodes[1]);
    let emails = addresses(2);
    let bodies = you.validated(&home, &emails).await;
    for node in &nodes {
        replica_answers(node, true).await;
    }
    you.bind(&bodies[0]).await.ok();
    assert_eq!(you.find(&emails).await, emails[..1]);
    let asked = "(SELECT sum(idx_scan) > 0 FROM pg_stat_user_indexes \
                 WHERE relname = 'lookup_hashes')";
    until("a lookup at the standby", async || {
        at_other.find(&emails).await;
        standby.is_true(asked)
    })
    .await;

    // It goes on answering, but nothing new reaches it.
    standby.execute("SELECT pg_wal_replay_pause()");
    until("a standby that pauses", async || {
        standby.is_true("pg_get_wal_replay_pause_state() = 'paused'")
    })
    .await;
    you.bind(&bodies[1]).await.ok();
    assert_eq!(you.find(&emails).await, emails);
    until("the bind at the other node", async || {
        (at_other.find(&emails).await == emails).then_some(())
    })
    .await;
    // Lookups pass it over before that is said.
    replica_answers(&nodes[1], false).await;
    standby.execute("SELECT pg_wal_replay_resume()");
    replica_answers(&nodes[1], true).await;

    standby.kill().await;
    for person in [&you, &at_other] {
        assert_eq!(person.find(&emails).await, emails);
    }
}

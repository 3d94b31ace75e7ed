//! How the server starts, and when it refuses to.

use std::{fs, net::TcpListener};

use futures_util::future::join_all;

use crate::{
    commands::mode,
    process::{Bindery, Home, Person, addresses, until},
};

#[tokio::test]
async fn the_first_start_makes_key_and_database_and_says_where_they_are() {
    let home = Home::new();
    let server = home.serve().await;
    // The greeting's last line.
    crate::process::until("the greeting", async || {
        server.output().contains("bindery account token").then_some(())
    })
    .await;
    let said = server.output();
    assert!(said.contains(&format!("listens on {} as localhost:8090.", server.base)), "{said}");
    for word in ["bindery-data/signing.key", "bindery-data/mail", "curl http"] {
        assert!(said.contains(word), "{word} isn't in\n{said}");
    }
    assert_eq!(mode(&home, "bindery-data"), 0o700);
    assert_eq!(mode(&home, "bindery-data/signing.key"), 0o600);
    assert_eq!(mode(&home, "bindery-data/mail"), 0o700);
    if home.database.is_postgres() {
        assert!(said.contains("Database:     postgres://"), "{said}");
    } else {
        for file in ["bindery.db", "bindery.db-wal", "bindery.db-shm"] {
            assert!(said.contains("bindery.db"), "{said}");
            assert_eq!(mode(&home, file), 0o600, "{file}");
        }
    }
    let versions = Person::of(&home, &server).get("/_matrix/identity/versions").await.ok();
    assert!(versions["versions"].as_array().is_some_and(|all| !all.is_empty()));
}

#[tokio::test]
async fn the_key_stays_the_same_over_a_restart_and_a_retired_one_is_still_served() {
    let home = Home::new();
    let published = async |server: &Bindery, id: &str| {
        let path = format!("/_matrix/identity/v2/pubkey/{id}");
        Person::of(&home, server).get(&path).await.ok()["public_key"].clone()
    };
    let mut server = home.serve().await;
    let id = home.run(&["keys", "list"]).ok().trim_end().to_owned();
    let key = published(&server, &id).await;
    server.kill().await;
    home.run(&["keys", "make"]).ok();
    let server = home.serve().await;
    let now = home.run(&["keys", "list"]).ok().lines().next().unwrap().to_owned();
    assert_eq!(published(&server, &id).await, key);
    assert_ne!(published(&server, &now).await, key);
}

#[tokio::test]
async fn a_lost_key_file_is_an_error_and_not_made_anew() {
    let home = Home::new();
    home.serve().await.kill().await;
    fs::remove_file(home.path().join("bindery-data/signing.key")).unwrap();
    let refused = home.run(&["serve"]).failed(1);
    assert!(refused.contains("there is no key file bindery-data/signing.key"), "{refused}");
    assert!(refused.contains("from a backup"), "{refused}");
    assert!(!home.path().join("bindery-data/signing.key").exists());
}

#[test]
fn a_database_of_a_newer_version_is_refused() {
    let home = Home::new();
    home.run(&["migrate"]).ok();
    home.database.execute("INSERT INTO __diesel_schema_migrations (version) VALUES ('29990101')");
    for command in ["serve", "migrate"] {
        let refused = home.run(&[command]).failed(1);
        assert!(refused.contains("written by a newer Bindery"), "{refused}");
        assert!(refused.contains("29990101"), "{refused}");
        assert_eq!(refused.lines().count(), 1, "{refused}");
    }
}

#[test]
fn an_address_that_is_taken_is_named_before_anything_is_touched() {
    let home = Home::new();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let mut command = home.command(&["serve"]);
    command.env("BINDERY_SERVER__LISTEN", format!("['{address}']"));
    let refused = crate::process::Done::of(command.output().unwrap()).failed(1);
    assert!(refused.contains(&address), "{refused}");
    assert!(refused.contains("another program, perhaps another Bindery"), "{refused}");
    assert!(!home.path().join("bindery-data").exists());
}

#[test]
fn a_database_that_is_not_there_is_named_in_one_line_without_its_password() {
    let home = Home::new();
    let mut command = home.command(&["serve"]);
    command.env("BINDERY_DATABASE__URL", "postgres://bindery:hush@127.0.0.1:1/bindery");
    let refused = crate::process::Done::of(command.output().unwrap()).failed(1);
    assert!(refused.contains("`database.url`"), "{refused}");
    assert!(refused.contains("127.0.0.1"), "{refused}");
    assert!(!refused.contains("hush"), "{refused}");
    assert_eq!(refused.lines().count(), 1, "{refused}");
}

/// The nodes of a cluster on PostgreSQL; on SQLite, a new server that starts before the old one
/// has ended.
#[tokio::test]
async fn servers_that_start_at_once_on_an_empty_database_all_come_up_and_share_it() {
    let home = Home::new();
    home.run(&["keys", "make"]).ok();
    let starting = (0..4).map(|_| home.serve());
    let nodes = join_all(starting).await;
    let first = Person::of(&home, &nodes[0]);
    let emails = addresses(8);
    let bodies = first.validated(&home, &emails).await;
    let people: Vec<Person> = nodes.iter().map(|node| first.at(node)).collect();
    let binds = bodies.iter().zip(people.iter().cycle()).map(|(body, person)| person.bind(body));
    for bound in join_all(binds).await {
        bound.ok();
    }
    // What one has bound the others know within a second.
    for person in &people {
        until("all are found", async || (person.find(&emails).await == emails).then_some(())).await;
    }
}

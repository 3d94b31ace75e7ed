//! Which servers are believed, and what happens when they are away.

use std::time::Instant;

use bindery::{directory::DirectoryError, matrix::threepid::ThreePid};
use tokio::net::TcpListener;

use crate::{
    authority::Ca,
    slapd::{SUFFIX, person},
    world::{Door, World, everybody},
};

/// What comes of a question.
async fn outcome(door: &Door) -> Result<usize, DirectoryError> {
    let alice = ThreePid::email("alice@example.org").unwrap();
    door.directory().find(&[alice]).await.map(|found| found.len())
}

#[tokio::test]
async fn tls_begins_at_once_or_by_starttls() {
    let world = World::start().await;
    assert_eq!(outcome(&world.door("")).await.unwrap(), 1);
    let starttls = world.door_by(&[world.ldap()], "", "starttls = true");
    assert_eq!(outcome(&starttls).await.unwrap(), 1);
    assert!(starttls.login("@alice:example.org", "alice's password").await.is_some());
    let plain = world.door_by(&[world.ldap()], "", "");
    assert_eq!(outcome(&plain).await.unwrap(), 1);
}

#[tokio::test]
async fn a_server_of_another_authority_is_refused() {
    let mut world = World::start().await;
    world.ca = Ca::new();
    let starttls = world.door_by(&[world.ldap()], "", "starttls = true");
    for door in [world.door(""), starttls] {
        let error = outcome(&door).await.unwrap_err();
        assert!(matches!(error, DirectoryError::Unreachable(_)), "{error}");
        assert!(error.to_string().contains("invalid peer certificate"), "{error}");
        assert!(error.to_string().contains("ca_file"), "{error}");
    }
}

#[tokio::test]
async fn a_server_of_another_name_is_refused() {
    let world = World::start().await;
    let by_address = format!("ldaps://127.0.0.1:{}", world.slapd.ldaps_port);
    let error = outcome(&world.door_by(&[by_address], "", "")).await.unwrap_err();
    assert!(error.to_string().contains("not valid for name"), "{error}");
}

#[tokio::test]
async fn what_the_server_refuses_is_said_with_a_remedy() {
    let world = World::start().await;
    let wrong = [
        ("bind_password = \"the service's own\"", "bind_password = 'wrong'", "bind_dn"),
        ("ou=people", "ou=nowhere", "base_dn"),
    ];
    for (right, wrong, remedy) in wrong {
        let settings = world.settings(&[world.ldaps()], "").replace(right, wrong);
        let door = Door::with(&settings);
        let error = outcome(&door).await.unwrap_err();
        assert!(matches!(error, DirectoryError::Refused(_)), "{error}");
        assert!(error.to_string().contains(remedy), "{error}");
        assert!(!error.to_string().contains("alice"), "{error}");
    }
}

#[tokio::test]
async fn where_a_server_is_away_the_next_one_is_asked() {
    let world = World::start().await;
    // Nobody listens there.
    let away = format!("ldaps://localhost:{}", crate::process::free_port());
    let door = world.door_by(&[away, world.ldaps()], "", "");
    assert_eq!(outcome(&door).await.unwrap(), 1);
    // Somebody listens and says nothing.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let silent = format!("ldaps://localhost:{}", listener.local_addr().unwrap().port());
    let door = world.door_by(&[silent, world.ldaps()], "timeout = '3s'", "");
    assert_eq!(outcome(&door).await.unwrap(), 1);
    // From now on the one that answers is asked first.
    let start = Instant::now();
    assert!(door.login("@alice:example.org", "alice's password").await.is_some());
    assert!(start.elapsed().as_millis() < 900, "{:?}", start.elapsed());
}

#[tokio::test]
async fn a_silent_server_costs_no_more_than_the_deadline() {
    let world = World::start().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    for (url, starttls) in [("ldaps", false), ("ldap", true), ("ldap", false)] {
        let url = format!("{url}://localhost:{port}");
        let starttls = format!("starttls = {starttls}");
        let door = world.door_by(&[url], "timeout = '200ms'", &starttls);
        let start = Instant::now();
        let error = outcome(&door).await.unwrap_err();
        assert!(matches!(error, DirectoryError::TimedOut), "{error}");
        assert!(start.elapsed().as_secs() < 2, "{:?}", start.elapsed());
    }
}

#[tokio::test]
async fn a_server_that_comes_back_is_asked_again() {
    let mut world = World::start().await;
    let door = world.door("");
    assert_eq!(outcome(&door).await.unwrap(), 1);
    world.slapd.stop().await;
    let error = outcome(&door).await.unwrap_err();
    assert!(matches!(error, DirectoryError::Unreachable(_)), "{error}");
    world.slapd.run().await;
    assert_eq!(outcome(&door).await.unwrap(), 1);
    // A restart between two questions is not even noticed.
    world.slapd.stop().await;
    world.slapd.run().await;
    assert_eq!(outcome(&door).await.unwrap(), 1);
}

#[tokio::test]
async fn references_to_other_servers_are_not_followed() {
    let elsewhere = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = elsewhere.local_addr().unwrap().port();
    let reference = format!(
        "dn: ou=abroad,ou=people,{SUFFIX}\nobjectClass: referral\nobjectClass: extensibleObject\n\
         ou: abroad\nref: ldap://127.0.0.1:{port}/{SUFFIX}\n\n"
    );
    let world = World::with(&[everybody(), reference].concat()).await;
    let door = world.door("");
    assert_eq!(outcome(&door).await.unwrap(), 1);
    assert_eq!(door.everybody().await.0.len(), 2);
    let visitor = tokio::time::timeout(std::time::Duration::ZERO, elsewhere.accept()).await;
    assert!(visitor.is_err(), "somebody came");
    let settings = world.settings(&[world.ldaps()], "").replace("ou=people", "ou=abroad,ou=people");
    let error = outcome(&Door::with(&settings)).await.unwrap_err();
    assert!(error.to_string().contains("urls"), "{error}");
}

#[tokio::test]
async fn questions_at_once_share_few_connections() {
    let people: String = (0..40)
        .map(|i| person(&format!("p{i}"), &[("mail", format!("p{i}@example.org").as_str())]))
        .collect();
    let world = World::with(&people).await;
    let door = world.door_by(&[world.ldaps()], "timeout = '20s'\nmax_connections = 2", "");
    let emails: Vec<_> = (0..40).map(|i| format!("p{i}@example.org")).collect();
    let owners = futures_util::future::join_all(emails.iter().map(|email| door.owner(email))).await;
    assert!(owners.iter().all(Option::is_some));
    assert!(world.slapd.connections() <= 2, "{}", world.slapd.connections());
}

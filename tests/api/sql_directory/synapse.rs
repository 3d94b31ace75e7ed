//! Synapse's database, as far as it is read.

use std::time::Duration;

use super::{Directory, copy, example, find, find_hashed, login, someone};
use crate::{database::TestDatabase, harness::START_MS};

/// The columns that Synapse 1.163 has of them.
const SCHEMA: &str = "CREATE TABLE users (name text UNIQUE, password_hash text, \
     is_guest smallint NOT NULL DEFAULT 0, appservice_id text, user_type text, \
     deactivated smallint NOT NULL DEFAULT 0, locked boolean NOT NULL DEFAULT FALSE); \
     CREATE TABLE profiles (user_id text NOT NULL UNIQUE, displayname text, avatar_url text, \
     full_user_id text); \
     CREATE TABLE user_threepids (user_id text NOT NULL, medium text NOT NULL, \
     address text NOT NULL, validated_at bigint NOT NULL, added_at bigint NOT NULL);";

fn synapse() -> Directory {
    let (_, settings) = example("homeserver");
    let synapse = Directory::made(TestDatabase::new(), SCHEMA, &settings);
    Directory { settings: synapse.settings.replace("search = false", "search = true"), ..synapse }
}

impl Directory {
    fn add_user(&self, localpart: &str, column: &str, value: &str) {
        self.database.execute(&format!(
            "INSERT INTO users (name, {column}) VALUES ('@{localpart}:hs.example', {value}); \
             INSERT INTO profiles VALUES ('{localpart}', 'The {localpart}', 'mxc://hs.example/a', \
             '@{localpart}:hs.example')"
        ));
        self.add_address(localpart, &format!("{localpart}@example.org"), 0);
    }

    fn add_address(&self, localpart: &str, email: &str, added_at: i64) {
        self.database.execute(&format!(
            "INSERT INTO user_threepids VALUES \
             ('@{localpart}:hs.example', 'email', '{email}', {added_at}, {added_at})"
        ));
    }
}

#[tokio::test]
async fn users_are_found_by_the_addresses_that_they_have_at_their_homeserver() {
    let synapse = synapse();
    let others = [
        ("gone", "deactivated", "1"),
        ("locked", "locked", "TRUE"),
        ("guest", "is_guest", "1"),
        ("bridged", "appservice_id", "'irc'"),
        ("help", "user_type", "'support'"),
    ];
    synapse.add_user("Alice", "user_type", "NULL");
    synapse.add_user("bot", "user_type", "'bot'");
    for (localpart, column, value) in others {
        synapse.add_user(localpart, column, value);
    }
    synapse.database.execute(
        "INSERT INTO user_threepids VALUES ('@Alice:hs.example', 'msisdn', '441632960001', 0, 0)",
    );
    let app = synapse.server("").await;
    let mut asked = vec!["441632960001 msisdn".to_owned()];
    let emails = ["Alice", "bot"].into_iter().chain(others.map(|(localpart, ..)| localpart));
    asked.extend(emails.map(|localpart| format!("{}@example.org email", localpart.to_lowercase())));
    // As Synapse keeps them.
    synapse.database.execute("UPDATE user_threepids SET address = lower(address)");
    let asked: Vec<&str> = asked.iter().map(String::as_str).collect();
    let alice = || someone("@Alice:hs.example");
    let mut all = vec![alice(), alice(), someone("@bot:hs.example")];
    all.resize(asked.len(), None);
    assert_eq!(find(&app, &asked).await, all);
    copy(&app, "homeserver").await;
    assert_eq!(find_hashed(&app, &asked).await, all);

    let found = app.app.directories.search("THE", 10).await;
    let names: Vec<_> = found.people.iter().map(|person| person.mxid.as_str()).collect();
    assert_eq!(names, ["@Alice:hs.example", "@bot:hs.example"]);
    assert_eq!(found.people[0].avatar_url.as_deref(), Some("mxc://hs.example/a"));
    let found = app.app.directories.search("hs.example", 10).await;
    assert_eq!(found.people.len(), 0, "all of them are of that server");
    assert!(login(&app, "@Alice:hs.example", "x").await.is_none());
}

#[tokio::test]
async fn new_addresses_are_copied_soon_and_who_is_deactivated_is_gone_with_the_next_copy() {
    let synapse = synapse();
    synapse.add_user("alice", "user_type", "NULL");
    synapse.add_user("bob", "user_type", "NULL");
    let app = synapse.server("").await;
    copy(&app, "homeserver").await;
    let asked = ["alice@example.org email", "new@example.org email", "bob@example.org email"];
    let (alice, bob) = (someone("@alice:hs.example"), someone("@bob:hs.example"));
    assert_eq!(find_hashed(&app, &asked).await, [alice.clone(), None, bob.clone()]);

    synapse.add_address("alice", "new@example.org", START_MS + 1000);
    app.clock.advance(Duration::from_secs(301));
    copy(&app, "homeserver").await;
    assert_eq!(find_hashed(&app, &asked).await, [alice.clone(), alice.clone(), bob]);

    // What Synapse does with the addresses of who is deactivated, and what it may leave behind.
    synapse.database.execute("UPDATE users SET deactivated = 1");
    synapse.database.execute("DELETE FROM user_threepids WHERE address LIKE 'alice%'");
    app.clock.advance(Duration::from_hours(1));
    copy(&app, "homeserver").await;
    assert_eq!(find_hashed(&app, &asked).await, [None, None, None]);
}

//! Copies for lookups by hash.

use std::{fmt::Write, time::Duration};

use crate::harness::START_MS;

use super::{Directory, LONG_AGO_S, copy, find_hashed, someone};

#[tokio::test]
async fn a_copy_answers_hashes_and_follows_what_changes_and_who_leaves() {
    let members = Directory::of_members();
    members.add("alice", "Alice@Example.org", "0211 123456", "", LONG_AGO_S);
    members.add("bob", "bob@example.org", "+44 1632 960001", "", LONG_AGO_S);
    let app = members.server("").await;
    let asked = [
        "alice@example.org email",
        "49211123456 msisdn",
        "bob@example.org email",
        "441632960001 msisdn",
        "carol@example.org email",
    ];
    assert_eq!(find_hashed(&app, &asked).await, [None, None, None, None, None]);
    copy(&app, "members").await;
    let (alice, bob) = (someone("@alice:example.org"), someone("@bob:example.org"));
    let all = [alice.clone(), alice.clone(), bob.clone(), bob.clone(), None];
    assert_eq!(find_hashed(&app, &asked).await, all);

    // What has changed is seen with the next look at changes.
    let now = members.at(START_MS / 1000 + 60);
    members.database.execute(&format!(
        "UPDATE people SET phone = '', changed_at = {now} WHERE login = 'alice'; \
         UPDATE people SET active = false, changed_at = {now} WHERE login = 'bob'"
    ));
    members.add("carol", "carol@example.org", "", "", START_MS / 1000 + 60);
    app.clock.advance(Duration::from_secs(301));
    copy(&app, "members").await;
    let carol = someone("@carol:example.org");
    let changed = [alice.clone(), None, None, None, carol.clone()];
    assert_eq!(find_hashed(&app, &asked).await, changed);

    // Who is gone without a trace is seen with the next whole copy.
    members.database.execute("DELETE FROM people WHERE login = 'alice'");
    app.clock.advance(Duration::from_secs(301));
    copy(&app, "members").await;
    assert_eq!(find_hashed(&app, &asked).await, changed);
    app.clock.advance(Duration::from_hours(1));
    copy(&app, "members").await;
    assert_eq!(find_hashed(&app, &asked).await, [None, None, None, None, carol]);
}

#[tokio::test]
async fn a_copy_of_many_pages_holds_everybody_with_all_addresses() {
    let members = Directory::of_members();
    // More rows than a page has, in which one person has several.
    let mut rows = String::new();
    for number in 0..1700 {
        write!(rows, "('p{number:05}', {number}), ").unwrap();
    }
    members.database.execute(&format!(
        "CREATE TABLE numbers (login text, number bigint); \
         INSERT INTO numbers VALUES {}; \
         INSERT INTO people (login, email) SELECT login, login || '@example.org' FROM numbers; \
         CREATE TABLE phones AS SELECT login, '+4416329' || (60000 + number) AS phone FROM numbers \
         UNION ALL SELECT login, '+4416328' || (60000 + number) FROM numbers",
        rows.trim_end_matches(", ")
    ));
    let start = members.settings.find("people = ").unwrap();
    let end = members.settings.find("changes = ").unwrap();
    let people = "people = \"SELECT login AS uid, email, phones.phone AS msisdn FROM people \
                  JOIN phones USING (login) WHERE login > :after ORDER BY login LIMIT :limit\"\n";
    let settings = [&members.settings[..start], people, &members.settings[end..]].concat();
    let members = Directory { settings, ..members };
    let app = members.server("").await;
    copy(&app, "members").await;
    let asked: Vec<String> = (0..1700)
        .flat_map(|n| {
            [
                format!("p{n:05}@example.org email"),
                format!("4416329{} msisdn", 60000 + n),
                format!("4416328{} msisdn", 60000 + n),
            ]
        })
        .collect();
    let asked: Vec<&str> = asked.iter().map(String::as_str).collect();
    let found = find_hashed(&app, &asked).await;
    for (index, mxid) in found.iter().enumerate() {
        assert_eq!(*mxid, Some(format!("@p{:05}:example.org", index / 3)), "{}", asked[index]);
    }
}

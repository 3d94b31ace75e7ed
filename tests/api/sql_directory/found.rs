//! Who has an address, and who is called so.

use std::time::{Duration, Instant};

use bindery::matrix::id::UserId;

use super::{Directory, LONG_AGO_S, find, refused, someone};

/// Inputs that would be more than values, were they ever put into a query.
const INJECTIONS: &[&str] = &[
    "' OR '1'='1",
    "' OR 1=1 --",
    "'; DROP TABLE people; --",
    "') OR ('1'='1",
    "\\' OR 1=1 --",
    "%",
    "_",
    "*",
    "alice%",
    "$1",
    "?1",
    ":uid",
    "' UNION SELECT login FROM people --",
    "alice'--",
    "alice\u{0}",
    "\u{2019} OR 1=1",
];

#[tokio::test]
async fn people_are_found_by_each_of_their_addresses_in_any_spelling() {
    let members = Directory::of_members();
    members.add("Alice", "Alice@Example.org", "+441632960001", "", LONG_AGO_S);
    members.add("bob", "bob@example.org", "", "", LONG_AGO_S);
    let app = members.server("").await;
    let alice = || someone("@alice:example.org");
    let asked = [
        "alice@example.org email",
        "ALICE@EXAMPLE.ORG email",
        "441632960001 msisdn",
        "bob@example.org email",
        "carol@example.org email",
        "441632960002 msisdn",
        // An address of another medium is another address.
        "441632960001 email",
    ];
    let bob = someone("@bob:example.org");
    assert_eq!(find(&app, &asked).await, [alice(), alice(), alice(), bob, None, None, None]);
    // More than are asked for at once.
    let many: Vec<String> = (0..2100).map(|n| format!("nobody{n}@example.org email")).collect();
    let mut many: Vec<&str> = many.iter().map(String::as_str).collect();
    many.push(asked[0]);
    let found = find(&app, &many).await;
    assert_eq!((found.iter().flatten().count(), found.last().unwrap().clone()), (1, alice()));
}

#[tokio::test]
async fn an_address_of_two_people_is_nobodys_and_one_who_has_left_has_none() {
    let members = Directory::of_members();
    members.add("alice", "family@example.org", "", "", LONG_AGO_S);
    members.add("bob", "FAMILY@example.org", "", "", LONG_AGO_S);
    members.add("carol", "carol@example.org", "", "", LONG_AGO_S);
    // Nobody is called so on Matrix.
    members.add("dave & eve", "dave@example.org", "", "", LONG_AGO_S);
    let app = members.server("").await;
    let asked = ["family@example.org email", "carol@example.org email", "dave@example.org email"];
    assert_eq!(find(&app, &asked).await, [None, someone("@carol:example.org"), None]);
    members.database.execute("UPDATE people SET active = false WHERE login = 'carol'");
    assert_eq!(find(&app, &asked).await, [None, None, None]);
}

#[tokio::test]
async fn what_looks_like_sql_is_a_value_and_matches_nobody() {
    let members = Directory::of_members();
    let hash = "$2b$04$6CLMFT2hLe65n1.WmUrVv.YjZQSqRpp6fjJmKFV6MZJXi6NTEXDc.";
    members.add("alice", "alice@example.org", "+441632960001", hash, LONG_AGO_S);
    let app = members.server("").await;
    for text in INJECTIONS {
        // Where an address may hold it, it comes as far as the query.
        let local: String = text.chars().filter(|c| !c.is_whitespace()).collect();
        let asked = [
            format!("{local}@example.org email"),
            format!("{text}@example.org email"),
            format!("{text} msisdn"),
        ];
        let asked: Vec<&str> = asked.iter().map(String::as_str).collect();
        assert_eq!(find(&app, &asked).await, [None, None, None], "{text}");
        let mxid = format!("@{text}:example.org");
        if mxid.parse::<UserId>().is_ok() {
            assert!(refused(&app, &mxid, "Tr0ub4dor&3 é").await, "{text}");
        }
        let found = app.app.directories.search(text, 10).await;
        assert_eq!(found.people.len(), 0, "{text}");
    }
    // The table is still there, and so are the tests' means to find somebody in it.
    assert_eq!(find(&app, &["alice@example.org email"]).await, [someone("@alice:example.org")]);
    assert_eq!(app.app.directories.search("The ALI", 10).await.people.len(), 1);
}

#[tokio::test]
async fn a_search_finds_names_and_says_whether_there_are_more() {
    let members = Directory::of_members();
    for number in 0..5 {
        members.add(&format!("a{number}"), "", "", "", LONG_AGO_S);
    }
    members.add("100%", "", "", "", LONG_AGO_S);
    members.database.execute("UPDATE people SET name = '50%_off' WHERE login = 'a4'");
    let app = members.server("").await;
    let found = app.app.directories.search("the a", 2).await;
    let names: Vec<_> = found.people.iter().map(|p| p.display_name.clone().unwrap()).collect();
    assert_eq!((names, found.limited), (vec!["The a0".to_owned(), "The a1".to_owned()], true));
    let found = app.app.directories.search("the a", 4).await;
    assert_eq!((found.people.len(), found.limited), (4, false));
    let found = app.app.directories.search("0%_O", 4).await;
    assert_eq!(found.people[0].mxid.as_str(), "@a4:example.org");
}

#[tokio::test]
async fn a_database_that_is_away_is_an_answer_less_and_is_asked_again() {
    let members = Directory::of_members();
    members.add("alice", "alice@example.org", "", "", LONG_AGO_S);
    let away = if members.database.is_postgres() {
        "url = 'postgres://nobody@127.0.0.1:9/nothing'".to_owned()
    } else {
        "url = 'sqlite:/nowhere/people.db'".to_owned()
    };
    let more = format!(
        "[[directories]]\nname = 'away'\ntype = 'sql'\nmxid = '@{{uid}}:example.org'\n\
         timeout = '200ms'\n[directories.sql]\n{away}\n\
         find = \"SELECT login AS uid FROM people WHERE email = :address\"\n\
         login = \"SELECT password_hash FROM people WHERE login = :uid\""
    );
    let app = members.server(&more).await;
    for _ in 0..5 {
        assert_eq!(find(&app, &["alice@example.org email"]).await, [someone("@alice:example.org")]);
    }
    let metrics = app.stranger().get("/metrics").await.body;
    let failing = metrics.lines().find(|line| line.contains("away") && line.contains("failing"));
    assert!(failing.unwrap().ends_with(" 1"), "{metrics}");
}

/// The same directory under another name, with another `find` and no other queries.
fn with_find(members: &Directory, name: &str, find: &str) -> String {
    let (head, _) = members.settings.split_once("find = ").unwrap();
    format!("{}find = \"{find}\"\n", head.replace("members", name))
}

#[tokio::test]
async fn a_query_that_would_write_does_not() {
    let members = Directory::of_members();
    if !members.database.is_postgres() {
        // There no query can: a `SELECT` of SQLite has no means to.
        return;
    }
    members.add("alice", "alice@example.org", "", "", LONG_AGO_S);
    members.database.execute(
        "CREATE FUNCTION leave(who text) RETURNS text LANGUAGE sql AS \
         'DELETE FROM people WHERE email = who RETURNING login'",
    );
    let writer = with_find(&members, "writer", "SELECT leave(:address) AS uid");
    let app = members.server(&writer).await;
    for _ in 0..2 {
        assert_eq!(
            find(&app, &["alice@example.org email", "bob@example.org email"]).await,
            [someone("@alice:example.org"), None]
        );
    }
}

#[tokio::test]
async fn a_query_that_takes_too_long_is_cancelled_and_gives_its_connection_back() {
    let members = Directory::of_members();
    if !members.database.is_postgres() {
        // SQLite has no time-outs; a query there can't be stopped from outside.
        return;
    }
    members.add("alice", "alice@example.org", "", "", LONG_AGO_S);
    let slow = "SELECT login AS uid FROM people WHERE email = :address AND pg_sleep( \
                CASE WHEN :address LIKE 'alice%' THEN 60 ELSE 0 END) IS NOT NULL";
    members.add("bob", "bob@example.org", "", "", LONG_AGO_S);
    let slow = with_find(&members, "slow", slow)
        .replace("[directories.sql]", "timeout = '500ms'\nmax_connections = 1\n[directories.sql]");
    let members = Directory { settings: slow, ..members };
    let app = members.server("").await;
    let began = Instant::now();
    assert_eq!(find(&app, &["alice@example.org email"]).await, [None]);
    assert_eq!(find(&app, &["bob@example.org email"]).await, [someone("@bob:example.org")]);
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
}

//! The queries of a directory, which are tried out at the start.

use std::fs;

use serde_json::json;

use crate::{
    database::TestDatabase,
    process::{Home, Person, until},
};

/// A directory's settings but for its queries.
fn directory(url: &str) -> String {
    format!(
        "[[directories]]\nname = 'members'\ntype = 'sql'\nmxid = '@{{uid}}:example.org'\n\
         timeout = '500ms'\n[directories.sql]\nurl = '{url}'\n"
    )
}

const FIND: &str = "find = \"SELECT login AS uid FROM people WHERE email = :address\"\n";

/// A database with a table of people.
fn people() -> TestDatabase {
    let database = TestDatabase::new();
    database.execute(
        "CREATE TABLE people (login text, email text, hash text, number bigint); \
         INSERT INTO people VALUES ('alice', 'alice@example.org', '', 1)",
    );
    database
}

#[tokio::test]
async fn a_query_that_the_database_refuses_ends_the_start_with_its_place_and_is_never_run() {
    let people = people();
    for (queries, line, key, problem) in [
        (
            "find = \"SELECT login AS uid FROM persons WHERE email = :address\"",
            0,
            "find",
            "persons",
        ),
        ("find = \"SELECT login FROM people WHERE email = :address\"", 0, "find", "uid or mxid"),
        (
            "find = \"SELEKT login AS uid FROM people WHERE a = :address\"",
            0,
            "find",
            "syntax error",
        ),
        ("find = \"DELETE FROM people WHERE email <> :address\"", 0, "find", ""),
        (
            "find = \"INSERT INTO people (login) VALUES (:address) RETURNING login AS uid\"",
            0,
            "find",
            "",
        ),
        (
            &format!("{FIND}login = \"SELECT hash FROM people WHERE login = :uid\""),
            1,
            "login",
            "password_hash",
        ),
        (
            &format!(
                "{FIND}\npeople = \"SELECT login AS uid FROM people WHERE x > :after LIMIT :limit\""
            ),
            2,
            "people",
            "x",
        ),
    ] {
        let home = Home::with(&format!("{}{queries}\n", directory(&people.url)));
        let config = fs::read_to_string(home.path().join("bindery.toml")).unwrap();
        let first = config.lines().position(|text| text.starts_with("find = ")).unwrap() + 1;
        let place = format!("bindery.toml:{}: directories[0].sql.{key}: ", first + line);
        let said = home.run(&["serve"]).failed(1);
        let (_, after) = said.split_once(&place).unwrap_or_else(|| panic!("{place}\n{said}"));
        assert!(after.contains(problem), "{problem}\n{said}");
    }
    let home = Home::with(&format!("{}{FIND}", directory(&people.url)));
    home.serve().await;
}

#[tokio::test]
async fn a_database_that_is_away_is_reported_at_the_start_and_when_it_is_back() {
    let people = people();
    let (url, back) = if people.is_postgres() {
        // A port that nobody listens at yet.
        (away(&people.url), None)
    } else {
        let file = people.url.strip_prefix("sqlite:").unwrap();
        let away = format!("{file}.away");
        fs::rename(file, &away).unwrap();
        (people.url.clone(), Some((away, file.to_owned())))
    };
    let home =
        Home::with(&format!("lookup.algorithms = ['sha256', 'none']\n{}{FIND}", directory(&url)));
    let server = home.serve().await;
    let you = Person::of(&home, &server);
    until("the report", async || {
        server.log().contains("its queries could not be tried out").then_some(())
    })
    .await;
    let password = url.parse::<url::Url>().unwrap().password().map(str::to_owned);
    assert!(password.is_none_or(|password| !server.log().contains(&password)), "{}", server.log());
    assert_eq!(find(&you, "alice@example.org").await, None);
    let logged = async |words: &str| {
        until(words, async || server.log().contains(words).then_some(())).await;
    };
    logged("the directory fails").await;
    if let Some((away, file)) = back {
        fs::rename(away, file).unwrap();
        let found = until("somebody", async || find(&you, "alice@example.org").await).await;
        assert_eq!(found, "@alice:example.org");
        logged("the directory answers again").await;
    }
}

/// The same URL at a port where nobody listens.
fn away(url: &str) -> String {
    let (before, after) = url.rsplit_once(':').unwrap();
    let (_, rest) = after.split_once('/').unwrap();
    format!("{before}:9/{rest}")
}

/// Whose an address is, asked in plain.
async fn find(you: &Person, email: &str) -> Option<String> {
    let details = you.get("/_matrix/identity/v2/hash_details").await.ok();
    let asked = format!("{email} email");
    let body = json!({
        "algorithm": "none",
        "pepper": details["lookup_pepper"],
        "addresses": [asked],
    });
    let found = you.post("/lookup", &body).await.ok();
    found["mappings"][&asked].as_str().map(str::to_owned)
}

//! Directories in databases: the examples of `docs/directories-sql.md`, run.

mod copied;
mod examples;
mod found;
mod login;
mod synapse;

use bindery::{
    directory::Checked,
    service::{self, directory::copy::Outcome},
};
use secrecy::SecretString;
use serde_json::json;

use crate::{
    database::TestDatabase,
    harness::{TestApp, answer, hash},
};

/// The clock of the database, and the one here, when tests begin: in seconds.
const LONG_AGO_S: i64 = 1_700_000_000;

/// A directory in a database of its own.
struct Directory {
    database: TestDatabase,
    /// Its part of the configuration.
    settings: String,
}

impl Directory {
    /// The example of this name in the documentation, empty; `None` where it is of another database
    /// than the tests run on this time.
    fn of_example(name: &str) -> Option<Self> {
        let (schema, settings) = example(name);
        let database = TestDatabase::new();
        if settings.contains("\"postgres:") != database.is_postgres() {
            return None;
        }
        Some(Self::made(database, &schema, &settings))
    }

    /// The table of people, on either database.
    fn of_members() -> Self {
        let (mut schema, mut settings) = example("members");
        let database = TestDatabase::new();
        if !database.is_postgres() {
            schema = schema.replace("timestamptz NOT NULL DEFAULT now()", "bigint");
            settings = settings
                .replace("to_timestamp(:since / 1000.0)", ":since / 1000")
                .replace("LIKE :pattern", "LIKE :pattern ESCAPE '\\\\'");
        }
        Self::made(database, &schema, &settings)
    }

    fn made(database: TestDatabase, schema: &str, settings: &str) -> Self {
        database.execute(schema);
        let is_url = |line: &&str| line.starts_with("url = ");
        let url = settings.lines().find(is_url).unwrap();
        let settings = settings.replace(url, &format!("url = '{}'", database.url));
        Self { database, settings }
    }

    /// Adds somebody to the table of people, who has changed at this second.
    fn add(&self, login: &str, email: &str, phone: &str, hash: &str, changed_at: i64) {
        let at = self.at(changed_at);
        self.database.execute(&format!(
            "INSERT INTO people (login, name, email, phone, password_hash, changed_at) \
             VALUES ('{login}', 'The {login}', '{email}', '{phone}', '{hash}', {at})"
        ));
    }

    /// A second as the column `changed_at` has it.
    fn at(&self, second: i64) -> String {
        if self.database.is_postgres() {
            format!("to_timestamp({second})")
        } else {
            second.to_string()
        }
    }

    /// A server with this directory, and more settings of it, which may be another's as well.
    async fn server(&self, more: &str) -> TestApp {
        let settings = &self.settings;
        TestApp::with(&format!(
            "limits.enabled = false\nlookup.algorithms = ['sha256', 'none']\ncredentials.secret = 'shared'\n{settings}\n{more}"
        ))
        .await
    }
}

/// Schema and settings of an example in the documentation.
fn example(name: &str) -> (String, String) {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/directories-sql.md");
    let page = std::fs::read_to_string(page).unwrap();
    let of_name = format!("name = \"{name}\"");
    let mut schema = "";
    for block in page.split("```").skip(1).step_by(2) {
        let (language, text) = block.split_once('\n').unwrap();
        match language {
            "sql" => schema = text,
            "toml" if text.contains(&of_name) => return (schema.to_owned(), text.to_owned()),
            _ => {}
        }
    }
    panic!("no example is called {name}");
}

/// Whose the addresses are (`alice@example.org email`), asked in plain.
async fn find(app: &TestApp, addresses: &[&str]) -> Vec<Option<String>> {
    let caller = app.account("@asker:hs.example").await;
    let pepper = caller.get("/hash_details").await.ok()["lookup_pepper"].clone();
    let body = json!({ "algorithm": "none", "pepper": pepper, "addresses": addresses });
    let found = caller.post("/lookup", body).await.ok();
    let mxid = |address: &&str| found["mappings"][*address].as_str().map(str::to_owned);
    addresses.iter().map(mxid).collect()
}

/// As [`find`], asked by hash.
async fn find_hashed(app: &TestApp, addresses: &[&str]) -> Vec<Option<String>> {
    let caller = app.account("@asker:hs.example").await;
    let pepper = caller.get("/hash_details").await.ok()["lookup_pepper"].clone();
    let of_text = |address: &&str| {
        let (address, medium) = address.split_once(' ').unwrap();
        hash(address, medium, pepper.as_str().unwrap())
    };
    let hashes: Vec<String> = addresses.iter().map(of_text).collect();
    let body = json!({ "algorithm": "sha256", "pepper": pepper, "addresses": hashes });
    let found = caller.post("/lookup", body).await.ok();
    hashes.iter().map(|hash| found["mappings"][hash].as_str().map(str::to_owned)).collect()
}

/// What somebody is called, and their addresses, if the password is right.
async fn login(app: &TestApp, mxid: &str, password: &str) -> Option<(String, Vec<String>)> {
    let body = json!({ "user": { "id": mxid, "password": password } });
    let path = "/_matrix-internal/identity/v1/check_credentials";
    let request = app.stranger().request("POST", path).json(&body);
    let auth = answer(request.bearer_auth("shared")).await.ok()["auth"].clone();
    if auth["success"] == false {
        return None;
    }
    let addresses = auth["profile"]["three_pids"].as_array().unwrap().iter();
    let addresses = addresses.map(|one| one["address"].as_str().unwrap().to_owned()).collect();
    Some((auth["profile"]["display_name"].as_str().unwrap().to_owned(), addresses))
}

/// Whether the directories refuse a password: asked of them themselves, since at the front door
/// nobody is listened to any more after a few wrong ones.
async fn refused(app: &TestApp, mxid: &str, password: &str) -> bool {
    let password = SecretString::from(password);
    let checked = app.app.directories.check_password(&mxid.parse().unwrap(), &password).await;
    !matches!(checked, Checked::Right(_))
}

/// Copies the directory if that is due.
async fn copy(app: &TestApp, name: &str) {
    let directory = app.app.directories.get(name).unwrap();
    let copied = service::directory::copy::copy_if_due(&app.app, directory).await.unwrap();
    assert!(!matches!(copied, Outcome::Failed(_)), "{copied:?}");
}

#[expect(clippy::unnecessary_wraps, reason = "it is compared with what was found")]
fn someone(mxid: &str) -> Option<String> {
    Some(mxid.to_owned())
}

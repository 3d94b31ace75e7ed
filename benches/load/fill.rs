//! Writes many associations at once into the database of a server that stands still, by other ways
//! than the server's own, which would take hours. `benches/load/run` calls it; it is no part of the
//! program.
//!
//! `fill COUNT SESSIONS TARGET`, where `TARGET` is one of
//! - `sqlite:FILE`: Bindery's database, after its first start;
//! - `psql`: the same on PostgreSQL, as a script for psql on the standard output;
//! - `sydent:FILE`: Sydent's, likewise;
//! - `known:FILE`: what the reference reads, a line for each hash and user id.
//!
//! Whose addresses these are, the pepper, and the access token of Sydent's user are the same in
//! `benches/load/work.py`.

use std::{
    error::Error,
    fs::File,
    io::{self, BufWriter, Write},
};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use bindery::clock::{Clock, SystemClock};
use diesel::{
    Connection, QueryableByName, RunQueryDsl, SqliteConnection, connection::SimpleConnection,
    sql_query, sql_types::Text,
};
use sha2::{Digest, Sha256};

type Done = Result<(), Box<dyn Error>>;

const USAGE: &str = "usage: fill COUNT SESSIONS sqlite:FILE|psql|sydent:FILE|known:FILE";

const PEPPER: &str = "loadloadloadloadloadloadloadload";
const SECRET: &str = "load-secret";
const TOKEN: &str = "load-token";
const USER: &str = "@load:example.org";

/// Rows in one statement, and in one transaction.
const ROWS: usize = 500;
const COMMIT: usize = 200_000;

/// In the order of their numbers the addresses are sorted.
fn address(number: u32) -> String {
    format!("user{number:08}@example.org")
}

fn mxid(number: u32) -> String {
    format!("@user{number:08}:example.org")
}

/// The hash of each address, in the order of the hashes.
fn hashes(count: u32) -> Vec<([u8; 32], u32)> {
    let hash = |number| {
        let text = format!("{} email {PEPPER}", address(number));
        (Sha256::digest(text.as_bytes()).into(), number)
    };
    let mut hashes: Vec<_> = (0..count).map(hash).collect();
    hashes.sort_unstable();
    hashes
}

fn hex(bytes: &[u8]) -> String {
    let digit = |nibble: u8| char::from_digit(nibble.into(), 16).unwrap_or_default();
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

/// Makes a row of each of Bindery's tables, as text; the fields say how one is written.
struct Rows {
    now: i64,
    blob: fn(&[u8]) -> String,
    separator: &'static str,
    quote: &'static str,
}

impl Rows {
    fn of(&self, values: &[String]) -> String {
        values.join(self.separator)
    }

    fn text(&self, text: &str) -> String {
        format!("{}{text}{}", self.quote, self.quote)
    }

    fn association(&self, number: u32) -> String {
        let now = self.now.to_string();
        let texts = ["email", &address(number), &mxid(number)].map(|text| self.text(text));
        let [medium, address, mxid] = texts;
        self.of(&[medium, address, mxid, now.clone(), now, (self.now * 2).to_string()])
    }

    fn hash(&self, (hash, number): &([u8; 32], u32)) -> String {
        let [medium, address] = ["email", &address(*number)].map(|text| self.text(text));
        // The first pepper's number is 1.
        self.of(&["1".to_owned(), (self.blob)(hash), medium, address])
    }

    /// One that is validated, to bind with; each for an address of its own.
    fn session(&self, number: u32) -> String {
        let (sid, address) = (format!("load{number}"), format!("bind{number}@example.org"));
        let [sid, medium, address] = [&sid, "email", &address].map(|text| self.text(text));
        let (now, secret) = (self.now.to_string(), (self.blob)(&Sha256::digest(SECRET)));
        let zero = || "0".to_owned();
        self.of(&[sid, medium, address, secret, zero(), zero(), now.clone(), now])
    }
}

const ASSOCIATION: &str = "associations (medium, address, mxid, ts, not_before, not_after)";
const HASH: &str = "lookup_hashes (pepper_id, hash, medium, address)";
const SESSION: &str = "sessions (sid, medium, address, client_secret_hash, sending_until, \
                       wrong_attempts, validated_at, modified_at)";

#[derive(QueryableByName)]
struct Part {
    #[diesel(sql_type = Text)]
    kind: String,
    #[diesel(sql_type = Text)]
    name: String,
    #[diesel(sql_type = Text)]
    sql: String,
}

/// Inserts `rows` into a SQLite table; its indexes are made anew afterwards, which is quicker, and
/// its triggers stand still.
fn insert(conn: &mut SqliteConnection, table: &str, rows: impl Iterator<Item = String>) -> Done {
    let name = table.split(' ').next().unwrap_or(table);
    let parts: Vec<Part> = sql_query(format!(
        "SELECT type AS kind, name, sql FROM sqlite_schema
         WHERE type IN ('index', 'trigger') AND tbl_name = '{name}' AND sql IS NOT NULL"
    ))
    .load(conn)?;
    for part in &parts {
        conn.batch_execute(&format!("DROP {} {}", part.kind, part.name))?;
    }
    let mut rows = rows.peekable();
    while rows.peek().is_some() {
        conn.batch_execute("BEGIN")?;
        for _ in 0..COMMIT / ROWS {
            let some: Vec<String> = rows.by_ref().take(ROWS).collect();
            if !some.is_empty() {
                let values = some.join("),(");
                conn.batch_execute(&format!("INSERT INTO {table} VALUES ({values})"))?;
            }
        }
        conn.batch_execute("COMMIT")?;
    }
    for part in &parts {
        conn.batch_execute(&part.sql)?;
    }
    Ok(())
}

/// Nothing of it has to outlive a power cut.
fn open_sqlite(file: &str) -> Result<SqliteConnection, Box<dyn Error>> {
    let mut conn = SqliteConnection::establish(file)?;
    conn.batch_execute(
        "PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA cache_size = -500000;
         PRAGMA foreign_keys = OFF",
    )?;
    Ok(conn)
}

fn fill_sqlite(file: &str, count: u32, sessions: u32) -> Done {
    let mut conn = open_sqlite(file)?;
    let rows = Rows {
        now: SystemClock.now_ms(),
        blob: |bytes| format!("x'{}'", hex(bytes)),
        separator: ",",
        quote: "'",
    };
    conn.batch_execute(&format!("UPDATE peppers SET pepper = '{PEPPER}'"))?;
    insert(&mut conn, ASSOCIATION, (0..count).map(|number| rows.association(number)))?;
    let hashes = hashes(count);
    insert(&mut conn, HASH, hashes.iter().map(|hash| rows.hash(hash)))?;
    insert(&mut conn, SESSION, (0..sessions).map(|number| rows.session(number)))?;
    conn.batch_execute("ANALYZE; PRAGMA journal_mode = WAL")?;
    Ok(())
}

/// Foreign keys would be looked at row by row.
fn print_postgres(count: u32, sessions: u32) -> Done {
    let rows = Rows {
        now: SystemClock.now_ms(),
        blob: |bytes| format!("\\\\x{}", hex(bytes)),
        separator: "\t",
        quote: "",
    };
    let mut script = BufWriter::new(io::stdout().lock());
    writeln!(script, "\\set ON_ERROR_STOP on")?;
    writeln!(script, "SET session_replication_role = replica;")?;
    writeln!(script, "UPDATE peppers SET pepper = '{PEPPER}';")?;
    let associations = (0..count).map(|number| rows.association(number));
    print_copy(&mut script, ASSOCIATION, associations)?;
    let hashes = hashes(count);
    print_copy(&mut script, HASH, hashes.iter().map(|hash| rows.hash(hash)))?;
    print_copy(&mut script, SESSION, (0..sessions).map(|number| rows.session(number)))?;
    writeln!(script, "VACUUM ANALYZE;\nCHECKPOINT;")?;
    Ok(script.flush()?)
}

fn print_copy(
    script: &mut impl Write,
    table: &str,
    rows: impl Iterator<Item = String>,
) -> io::Result<()> {
    writeln!(script, "COPY {table} FROM stdin;")?;
    for row in rows {
        writeln!(script, "{row}")?;
    }
    writeln!(script, "\\.")
}

/// As a neighbour's associations, which is where Sydent looks; without its signature, so that the
/// rows are short.
fn fill_sydent(file: &str, count: u32) -> Done {
    let mut conn = open_sqlite(file)?;
    let now = SystemClock.now_ms();
    let row = |(hash, number): &([u8; 32], u32)| {
        let (address, mxid) = (address(*number), mxid(*number));
        let hash = URL_SAFE_NO_PAD.encode(hash);
        let until = now * 2;
        format!(
            "'email','{address}','{mxid}',{now},{now},{until},'load.example.org',{number},'{{}}',\
             '{hash}'"
        )
    };
    conn.batch_execute(&format!(
        "INSERT OR REPLACE INTO hashing_metadata (id, lookup_pepper) VALUES (0, '{PEPPER}');
         INSERT OR IGNORE INTO accounts (user_id, created_ts) VALUES ('{USER}', {now});
         INSERT OR IGNORE INTO tokens (token, user_id) VALUES ('{TOKEN}', '{USER}')"
    ))?;
    let table = "global_threepid_associations (medium, address, mxid, ts, notBefore, notAfter, \
                 originServer, originId, sgAssoc, lookup_hash)";
    insert(&mut conn, table, hashes(count).iter().map(row))?;
    conn.batch_execute("ANALYZE; PRAGMA journal_mode = DELETE")?;
    Ok(())
}

fn write_known(file: &str, count: u32) -> Done {
    let mut file = BufWriter::new(File::create(file)?);
    for (hash, number) in hashes(count) {
        writeln!(file, "{} {}", URL_SAFE_NO_PAD.encode(hash), mxid(number))?;
    }
    Ok(file.flush()?)
}

fn main() -> Done {
    let mut arguments = std::env::args().skip(1);
    let (Some(count), Some(sessions), Some(target)) =
        (arguments.next(), arguments.next(), arguments.next())
    else {
        return Err(USAGE.into());
    };
    let (count, sessions) = (count.parse()?, sessions.parse()?);
    match target.split_once(':') {
        Some(("sqlite", file)) => fill_sqlite(file, count, sessions),
        Some(("sydent", file)) => fill_sydent(file, count),
        Some(("known", file)) => write_known(file, count),
        None if target == "psql" => print_postgres(count, sessions),
        _ => Err(USAGE.into()),
    }
}

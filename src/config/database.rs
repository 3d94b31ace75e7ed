//! `[database]`: where the data lies.

use std::{num::NonZeroU32, path::PathBuf};

use secrecy::{ExposeSecret, SecretString};

use super::{ReplicaUrl, Section, count};

/// Where the data lies.
#[derive(Debug, Clone)]
pub struct Database {
    /// `sqlite:path` or `postgres://user@host/db`; may hold a password.
    pub url: SecretString,
    /// The most connections that are open at once.
    pub max_connections: NonZeroU32,
    /// PostgreSQL servers that follow the one of `url`, each `postgres://user@host/db`.
    pub replica_urls: Vec<SecretString>,
}

/// The database that a URL stands for.
#[derive(Debug, Clone)]
pub enum DatabaseKind {
    /// SQLite, in this file.
    Sqlite(PathBuf),
    /// PostgreSQL, by this URL.
    Postgres(SecretString),
}

impl DatabaseKind {
    /// The database of `sqlite:path`, `sqlite://path`, `postgres://…` or `postgresql://…`.
    pub(super) fn of(url: &str) -> Option<Self> {
        if let Some(path) = url.strip_prefix("sqlite:") {
            Some(Self::Sqlite(path.strip_prefix("//").unwrap_or(path).into()))
        } else if is_postgres(url) {
            Some(Self::Postgres(SecretString::from(url)))
        } else {
            None
        }
    }
}

impl Database {
    /// The database that the URL stands for; a URL without a scheme, which no configuration file
    /// can have, is the path of an SQLite file.
    #[must_use]
    pub fn kind(&self) -> DatabaseKind {
        let url = self.url.expose_secret();
        DatabaseKind::of(url).unwrap_or_else(|| DatabaseKind::Sqlite(url.into()))
    }

    /// Where the data lies, for people to read: without a password, and without parameters, which
    /// may hold one.
    #[must_use]
    pub fn shown(&self) -> String {
        match self.kind() {
            DatabaseKind::Sqlite(path) => path.display().to_string(),
            DatabaseKind::Postgres(url) => without_password(url.expose_secret()),
        }
    }
}

/// Several hosts may stand in it, which no other kind of URL has.
fn without_password(url: &str) -> String {
    let url = url.split('?').next().unwrap_or_default();
    let (scheme, rest) = url.split_once("://").unwrap_or(("postgres", url));
    // The last one: whatever stands before it could be part of a password.
    let Some((login, place)) = rest.rsplit_once('@') else { return url.to_owned() };
    let user = login.split(':').next().unwrap_or_default();
    format!("{scheme}://{user}@{place}")
}

pub(super) fn is_postgres(url: &str) -> bool {
    url.starts_with("postgres://") || url.starts_with("postgresql://")
}

/// `[database]`
pub(super) fn read_database(s: &mut Section<'_, '_>) -> Database {
    let url = s.secret("url");
    if let Some(url) = &url
        && let Err((message, remedy)) = usable(url, cfg!(feature = "postgres"))
    {
        s.fault(&["url", "url_file"], message, remedy);
    } else if url.as_ref().is_some_and(|url| !takes_writes(url.expose_secret())) {
        let message = "its target_session_attrs may choose a server that takes no writes";
        let remedy = "leave it out: of several hosts the one that takes writes is used";
        s.fault(&["url", "url_file"], message, remedy);
    }
    let replica_urls: Vec<ReplicaUrl> = s.list("replica_urls", Vec::new());
    let database = Database {
        url: url.unwrap_or_else(|| SecretString::from("sqlite:bindery-data/bindery.db")),
        max_connections: s.get("max_connections", count(8)),
        replica_urls: replica_urls.into_iter().map(|ReplicaUrl(url)| url).collect(),
    };
    if !database.replica_urls.is_empty() && !is_postgres(database.url.expose_secret()) {
        let remedy = "remove it, or name the server that they follow as database.url";
        s.fault(
            &["replica_urls"],
            "replicas follow a PostgreSQL, and database.url is none",
            remedy,
        );
    }
    database
}

/// What is wrong with a database URL, and the remedy; neither shows the URL.
pub(super) fn usable(
    url: &SecretString,
    with_postgres: bool,
) -> Result<(), (&'static str, &'static str)> {
    match DatabaseKind::of(url.expose_secret()) {
        None => Err((
            "names no database that Bindery knows",
            "write sqlite:path/to/bindery.db or postgres://user@host/database",
        )),
        Some(DatabaseKind::Postgres(_)) if !with_postgres => Err((
            "this build has no PostgreSQL",
            "build it with --features postgres, or use sqlite:path/to/bindery.db",
        )),
        Some(DatabaseKind::Sqlite(path)) if path.as_os_str().is_empty() => {
            Err(("has no path", "write sqlite:path/to/bindery.db"))
        }
        // Each connection would have a database of its own.
        Some(DatabaseKind::Sqlite(path)) if path.as_os_str() == ":memory:" => Err((
            "has to be a file: several connections share it",
            "write sqlite:path/to/bindery.db",
        )),
        Some(_) => Ok(()),
    }
}

/// By what it says of the servers
/// ([PostgreSQL](https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-CONNECT-TARGET-SESSION-ATTRS)).
fn takes_writes(url: &str) -> bool {
    let parameters = url.split_once('?').map_or("", |(_, parameters)| parameters);
    let mut wanted =
        parameters.split('&').filter_map(|one| one.strip_prefix("target_session_attrs="));
    wanted.all(|wanted| matches!(wanted, "read-write" | "primary"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_build_without_postgres_says_how_to_have_it() {
        let url = SecretString::from("postgres://bindery:secret@db.example/bindery");
        let (message, remedy) = usable(&url, false).unwrap_err();
        assert_eq!(message, "this build has no PostgreSQL");
        assert!(remedy.contains("--features postgres"), "{remedy}");
        assert!(usable(&url, true).is_ok());
    }

    #[test]
    fn of_a_url_everything_is_shown_but_the_password_and_what_may_hold_one() {
        for (url, shown) in [
            ("postgres://me@host/db", "postgres://me@host/db"),
            ("postgres://me:secret@host:5432/db", "postgres://me@host:5432/db"),
            ("postgres://me:secret@one:1,two:2,[::3]:3/db", "postgres://me@one:1,two:2,[::3]:3/db"),
            ("postgres://me:sec@ret@host/db?password=secret", "postgres://me@host/db"),
            ("postgres://me:sec/ret@host/db", "postgres://me@host/db"),
            ("postgresql:///db?host=/run&password=secret", "postgresql:///db"),
        ] {
            assert_eq!(without_password(url), shown);
        }
    }
}

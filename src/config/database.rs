//! `[database]`: where the data lies.

use std::{num::NonZeroU32, path::PathBuf};

use secrecy::{ExposeSecret, SecretString};

/// Where the data lies.
#[derive(Debug, Clone)]
pub struct Database {
    /// `sqlite:path` or `postgres://user@host/db`; may hold a password.
    pub url: SecretString,
    /// The most connections that are open at once.
    pub max_connections: NonZeroU32,
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
        } else if url.starts_with("postgres://") || url.starts_with("postgresql://") {
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
}

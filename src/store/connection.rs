//! Connections to either database, and transactions on them.

use std::{
    fs::{DirBuilder, OpenOptions},
    io::ErrorKind,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::Path,
    time::Duration,
};

use diesel::{
    connection::{AnsiTransactionManager, SimpleConnection, TransactionManager},
    prelude::*,
    r2d2::{ManageConnection, R2D2Connection},
};
#[cfg(feature = "postgres")]
use secrecy::ExposeSecret;
use secrecy::SecretString;

use super::{Access, StoreError};
use crate::{config::DatabaseKind, matrix::threepid::ThreePid};

/// A connection to either database.
#[cfg(feature = "postgres")]
#[derive(diesel::MultiConnection)]
pub(super) enum AnyConnection {
    /// To a SQLite file.
    Sqlite(SqliteConnection),
    /// To a PostgreSQL server.
    Postgres(PgConnection),
}

/// A connection to the database.
#[cfg(not(feature = "postgres"))]
#[derive(diesel::MultiConnection)]
pub(super) enum AnyConnection {
    /// To a SQLite file.
    Sqlite(SqliteConnection),
}

/// An open transaction. Only [`super::Store::read`] and [`super::Store::write`] make one.
pub struct Tx<'a>(pub(super) &'a mut AnyConnection);

/// Runs one diesel query text on whichever database is open, for the clauses that diesel offers
/// only on a concrete backend: `ON CONFLICT`, `RETURNING`, batch inserts.
macro_rules! on_backend {
    ($tx:expr, $conn:ident => $query:expr) => {
        match &mut *$tx.0 {
            $crate::store::connection::AnyConnection::Sqlite($conn) => $query,
            #[cfg(feature = "postgres")]
            $crate::store::connection::AnyConnection::Postgres($conn) => $query,
        }
    };
}
pub(super) use on_backend;

impl Tx<'_> {
    /// Keeps every other holder of [`Self::lock_peppers_for_change`] out until the transaction
    /// ends, on this node and on others.
    ///
    /// SQLite needs no lock: it has one writer, and readers see one state.
    pub(super) fn lock_peppers(&mut self) -> Result<(), StoreError> {
        self.advisory_lock("SELECT pg_advisory_xact_lock_shared(7305808869229537380)")
    }

    /// Waits until nobody else holds a lock on the peppers, and keeps all others out.
    pub(super) fn lock_peppers_for_change(&mut self) -> Result<(), StoreError> {
        self.advisory_lock("SELECT pg_advisory_xact_lock(7305808869229537380)")
    }

    /// Makes all who bind `threepid` or invite it wait for each other until the transaction ends:
    /// an invitation must not slip past a bind that happens at the same moment.
    pub(super) fn lock_threepid(&mut self, threepid: &ThreePid) -> Result<(), StoreError> {
        self.lock(&threepid.lookup_hash("lock"))
    }

    /// Keeps every other holder of a lock on the same `hash` out until the transaction ends.
    pub(super) fn lock(&mut self, hash: &[u8]) -> Result<(), StoreError> {
        let key = i64::from_be_bytes(hash.first_chunk().copied().unwrap_or_default());
        self.advisory_lock(&format!("SELECT pg_advisory_xact_lock({key})"))
    }

    #[cfg(feature = "postgres")]
    fn advisory_lock(&mut self, statement: &str) -> Result<(), StoreError> {
        if let AnyConnection::Postgres(conn) = &mut *self.0 {
            conn.batch_execute(statement)?;
        }
        Ok(())
    }

    #[cfg(not(feature = "postgres"))]
    #[expect(clippy::unused_self, clippy::unnecessary_wraps, reason = "SQLite needs no lock")]
    fn advisory_lock(&mut self, _: &str) -> Result<(), StoreError> {
        Ok(())
    }
}

/// Runs `work` in one transaction on `conn`.
pub(super) fn in_transaction<T, E: From<StoreError>>(
    conn: &mut AnyConnection,
    access: Access,
    work: impl FnOnce(&mut Tx<'_>) -> Result<T, E>,
) -> Result<T, E> {
    begin(conn, access).map_err(StoreError::from)?;
    match work(&mut Tx(conn)) {
        Ok(value) => {
            commit(conn).map_err(StoreError::from)?;
            Ok(value)
        }
        Err(refused) => {
            rollback(conn).map_err(StoreError::from)?;
            Err(refused)
        }
    }
}

/// Begins a transaction, or a savepoint within the one that is open.
pub(super) fn begin(conn: &mut AnyConnection, access: Access) -> QueryResult<()> {
    match conn {
        AnyConnection::Sqlite(conn) => match access {
            Access::Read | Access::ReadFirst | Access::ReadRecent => {
                AnsiTransactionManager::begin_transaction_sql(conn, "BEGIN")
            }
            // Takes the write lock at once: a later upgrade could fail with "database is locked".
            Access::Write => AnsiTransactionManager::begin_transaction_sql(conn, "BEGIN IMMEDIATE"),
        },
        #[cfg(feature = "postgres")]
        AnyConnection::Postgres(conn) => AnsiTransactionManager::begin_transaction_sql(
            conn,
            match access {
                Access::Read | Access::ReadFirst | Access::ReadRecent => {
                    "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
                }
                Access::Write => "BEGIN",
            },
        ),
    }
}

/// Begins a savepoint within the open transaction.
pub(super) fn savepoint(conn: &mut AnyConnection) -> QueryResult<()> {
    match conn {
        AnyConnection::Sqlite(conn) => AnsiTransactionManager::begin_transaction(conn),
        #[cfg(feature = "postgres")]
        AnyConnection::Postgres(conn) => AnsiTransactionManager::begin_transaction(conn),
    }
}

/// Commits what was begun last.
pub(super) fn commit(conn: &mut AnyConnection) -> QueryResult<()> {
    match conn {
        AnyConnection::Sqlite(conn) => AnsiTransactionManager::commit_transaction(conn),
        #[cfg(feature = "postgres")]
        AnyConnection::Postgres(conn) => AnsiTransactionManager::commit_transaction(conn),
    }
}

/// Rolls back what was begun last.
pub(super) fn rollback(conn: &mut AnyConnection) -> QueryResult<()> {
    match conn {
        AnyConnection::Sqlite(conn) => AnsiTransactionManager::rollback_transaction(conn),
        #[cfg(feature = "postgres")]
        AnyConnection::Postgres(conn) => AnsiTransactionManager::rollback_transaction(conn),
    }
}

/// Makes connections for the pool and for the writer.
#[derive(Clone)]
pub(super) struct Manager {
    kind: DatabaseKind,
    /// Whether the server has to take writes: one that follows another does not.
    #[cfg(feature = "postgres")]
    takes_writes: bool,
}

/// How long a connection waits for another program's lock on the SQLite file.
const BUSY_WAIT: Duration = Duration::from_secs(30);

impl Manager {
    pub(super) fn new(kind: DatabaseKind) -> Self {
        Self {
            kind,
            #[cfg(feature = "postgres")]
            takes_writes: true,
        }
    }

    /// For a PostgreSQL that follows another.
    pub(super) fn of_replica(url: SecretString) -> Self {
        Self {
            kind: DatabaseKind::Postgres(url),
            #[cfg(feature = "postgres")]
            takes_writes: false,
        }
    }

    /// Makes a connection.
    ///
    /// # Errors
    /// When the file can't be opened or the server can't be reached.
    pub(super) fn connect_now(&self) -> ConnectionResult<AnyConnection> {
        match &self.kind {
            DatabaseKind::Sqlite(path) => connect_sqlite(path).map(AnyConnection::Sqlite),
            #[cfg(feature = "postgres")]
            DatabaseKind::Postgres(url) => {
                let mut conn = PgConnection::establish(&with_parameters(
                    url.expose_secret(),
                    self.takes_writes,
                ))?;
                // A node that loses its database must notice; an idle transaction must not hold
                // the others up.
                conn.batch_execute(
                    "SET statement_timeout = '30s'; \
                     SET idle_in_transaction_session_timeout = '30s'",
                )
                .map_err(ConnectionError::CouldntSetupConfiguration)?;
                Ok(AnyConnection::Postgres(conn))
            }
            #[cfg(not(feature = "postgres"))]
            DatabaseKind::Postgres(_) => Err(ConnectionError::BadConnection(
                "this build has no PostgreSQL: build it with `--features postgres`".to_owned(),
            )),
        }
    }
}

impl Manager {
    /// Makes a connection for reading whole tables: as slowly as that takes, and without keeping
    /// them in memory.
    pub(super) fn connect_to_scan(&self) -> Result<AnyConnection, StoreError> {
        let mut conn = self.connect_now()?;
        match &mut conn {
            AnyConnection::Sqlite(conn) => {
                conn.batch_execute("PRAGMA mmap_size = 0; PRAGMA cache_size = -2048")?;
            }
            #[cfg(feature = "postgres")]
            AnyConnection::Postgres(conn) => conn.batch_execute("SET statement_timeout = 0")?,
        }
        Ok(conn)
    }
}

/// What libpq is told beside the URL, which goes first: without it a server that is gone without
/// a word is waited for until the kernel gives up, which takes minutes. In seconds, and
/// `tcp_user_timeout` in milliseconds
/// ([PostgreSQL](https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-PARAMKEYWORDS)).
#[cfg(feature = "postgres")]
const PARAMETERS: [(&str, &str); 5] = [
    ("connect_timeout", "5"),
    ("tcp_user_timeout", "30000"),
    ("keepalives_idle", "10"),
    ("keepalives_interval", "5"),
    ("keepalives_count", "3"),
];

/// The same where another server takes over from one that is gone: the sooner, the better. Of
/// several hosts, each of which may be the one, that is wanted which takes writes.
#[cfg(feature = "postgres")]
const PARAMETERS_OF_SEVERAL: [(&str, &str); 6] = [
    ("connect_timeout", "2"),
    ("tcp_user_timeout", "5000"),
    ("keepalives_idle", "2"),
    ("keepalives_interval", "1"),
    ("keepalives_count", "3"),
    ("target_session_attrs", "read-write"),
];

#[cfg(feature = "postgres")]
fn with_parameters(url: &str, takes_writes: bool) -> String {
    let hosts = url.split(['?', '#']).next().unwrap_or_default();
    let parameters = match takes_writes {
        true if hosts.contains(',') => &PARAMETERS_OF_SEVERAL[..],
        true => &PARAMETERS[..],
        false => PARAMETERS_OF_SEVERAL.split_last().map_or(&[][..], |(_, times)| times),
    };
    let missing = parameters.iter().filter(|(name, _)| !url.contains(&format!("{name}=")));
    missing.fold(url.to_owned(), |url, (name, value)| {
        let separator = if url.contains('?') { '&' } else { '?' };
        format!("{url}{separator}{name}={value}")
    })
}

/// How far PostgreSQL's log is written, in bytes; everything that was committed before the question
/// stands before that.
pub(super) fn written_up_to(conn: &mut AnyConnection) -> Option<i64> {
    log_place(conn, "pg_current_wal_insert_lsn()", "NOT pg_is_in_recovery()")
}

/// How far a PostgreSQL that follows another has done so; `None` for one that follows none, such as
/// one that has taken over.
pub(super) fn followed_up_to(conn: &mut AnyConnection) -> Option<i64> {
    log_place(conn, "pg_last_wal_replay_lsn()", "pg_is_in_recovery()")
}

#[cfg(feature = "postgres")]
fn log_place(conn: &mut AnyConnection, place: &str, condition: &str) -> Option<i64> {
    use diesel::{
        dsl::sql,
        sql_types::{BigInt, Nullable},
    };
    let AnyConnection::Postgres(conn) = conn else { return None };
    let place = format!("CASE WHEN {condition} THEN ({place} - '0/0'::pg_lsn)::bigint END");
    diesel::select(sql::<Nullable<BigInt>>(&place)).get_result(conn).ok()?
}

#[cfg(not(feature = "postgres"))]
fn log_place(_: &mut AnyConnection, _: &str, _: &str) -> Option<i64> {
    None
}

fn connect_sqlite(path: &Path) -> ConnectionResult<SqliteConnection> {
    let mut conn = SqliteConnection::establish(&path.to_string_lossy())?;
    // busy_timeout comes first: switching to WAL takes a lock, too.
    conn.batch_execute(&format!("PRAGMA busy_timeout = {}", BUSY_WAIT.as_millis()))
        .map_err(ConnectionError::CouldntSetupConfiguration)?;
    switch_to_wal(&mut conn).map_err(ConnectionError::CouldntSetupConfiguration)?;
    conn.batch_execute(
        "PRAGMA synchronous = FULL;
         PRAGMA foreign_keys = ON;
         PRAGMA cache_size = -16384;
         PRAGMA mmap_size = 268435456;",
    )
    .map_err(ConnectionError::CouldntSetupConfiguration)?;
    Ok(conn)
}

/// Switches to the write-ahead log. Of several programs that do so with a new file at once, all but
/// one are told that it is locked, without having waited for `busy_timeout`: waiting could be a
/// deadlock, for all SQLite knows ([SQLite](https://www.sqlite.org/c3ref/busy_handler.html)).
fn switch_to_wal(conn: &mut SqliteConnection) -> QueryResult<()> {
    let mut left = BUSY_WAIT;
    loop {
        match conn.batch_execute("PRAGMA journal_mode = WAL") {
            Err(error) if error.to_string().contains("locked") && !left.is_zero() => {
                let pause = Duration::from_millis(20);
                std::thread::sleep(pause);
                left = left.saturating_sub(pause);
            }
            switched => return switched,
        }
    }
}

/// Makes the SQLite file and the folder that it lies in, where they are missing, for their owner
/// only. SQLite gives the files that it puts beside it the same permissions.
pub(super) fn make_file(path: &Path) -> Result<(), StoreError> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let made = folder
        .map_or(Ok(()), |folder| DirBuilder::new().recursive(true).mode(0o700).create(folder));
    // An empty file is an empty database.
    let made = made.and_then(|()| {
        match OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
            made => made.map(drop),
        }
    });
    made.map_err(|cause| StoreError::File(path.display().to_string(), cause))
}

impl ManageConnection for Manager {
    type Connection = AnyConnection;
    type Error = diesel::r2d2::Error;

    fn connect(&self) -> Result<AnyConnection, Self::Error> {
        self.connect_now().map_err(diesel::r2d2::Error::ConnectionError)
    }

    fn is_valid(&self, conn: &mut AnyConnection) -> Result<(), Self::Error> {
        match conn {
            #[cfg(feature = "postgres")]
            AnyConnection::Postgres(conn) if self.takes_writes => still_takes_writes(conn),
            conn => conn.ping(),
        }
        .map_err(diesel::r2d2::Error::QueryError)
    }

    fn has_broken(&self, conn: &mut AnyConnection) -> bool {
        std::thread::panicking() || conn.is_broken()
    }
}

/// A server that took writes may have become one that follows another: then a connection to it is
/// as good as broken.
#[cfg(feature = "postgres")]
fn still_takes_writes(conn: &mut PgConnection) -> QueryResult<()> {
    use diesel::{
        dsl::sql,
        result::{DatabaseErrorKind::ReadOnlyTransaction, Error},
        sql_types::Bool,
    };
    if diesel::select(sql::<Bool>("pg_is_in_recovery()")).get_result(conn)? {
        let message = Box::new("the server follows another one now".to_owned());
        return Err(Error::DatabaseError(ReadOnlyTransaction, message));
    }
    Ok(())
}

/// The pool retries by itself; whoever waits for a connection reports what went wrong.
#[derive(Debug)]
pub(super) struct QuietErrors;

impl diesel::r2d2::HandleError<diesel::r2d2::Error> for QuietErrors {
    fn handle_error(&self, error: diesel::r2d2::Error) {
        tracing::debug!(%error, "the pool could not make a connection");
    }
}

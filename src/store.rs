//! The database: one query text for SQLite and PostgreSQL.
//!
//! All access is in a transaction: [`Store::read`] and [`Store::write`] run a closure in one. The
//! closure isn't async, so nothing can wait for the network while the database is held.

pub mod accounts;
pub mod allowances;
pub mod associations;
pub mod changes;
mod connection;
pub mod directory_people;
pub mod directory_syncs;
pub mod hashes;
pub mod invites;
mod migrations;
pub mod notices;
pub mod openid_tokens;
pub mod peer_associations;
pub mod peer_terms;
pub mod peppers;
pub mod quarantine;
mod replicas;
pub mod replication_log;
pub mod replication_refusals;
mod schema;
pub mod sessions;
pub mod sms_counts;
pub mod standing;
mod writer;
pub mod wrong_passwords;

use std::{sync::Arc, time::Duration};

use diesel::r2d2::{Pool, PooledConnection};

pub use self::connection::Tx;
use self::{
    connection::{Manager, in_transaction},
    replicas::Replicas,
    writer::Writer,
};
use crate::config::{Database, DatabaseKind};

/// Why the database didn't do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// It refused a query or couldn't carry it out.
    #[error("the database refused the query")]
    Query(#[from] diesel::result::Error),
    /// No connection was free, or none could be made, in time.
    #[error("no database connection could be had in time")]
    Pool(#[from] diesel::r2d2::PoolError),
    /// It can't be opened.
    #[error("the database can't be opened")]
    Open(#[from] diesel::ConnectionError),
    /// The database file can't be made.
    #[error("the file {0} can't be made")]
    File(String, #[source] std::io::Error),
    /// A migration failed.
    #[error("a migration failed: {0}")]
    Migration(Box<dyn std::error::Error + Send + Sync>),
    /// The schema is from the future.
    #[error(
        "the database was written by a newer Bindery (it holds the migration {0}, which this \
         version doesn't know): start the newer version"
    )]
    TooNew(String),
    /// The transaction that the work was part of wasn't committed.
    #[error("the transaction wasn't committed: {0}")]
    Commit(String),
    /// It took too long to answer.
    #[error("the database didn't answer in time")]
    TimedOut,
    /// There is no pepper: the database wasn't set up by this program.
    #[error("the database holds no pepper")]
    NoPepper,
    /// The thread that did the work ended before it was done.
    #[error("the database's thread stopped")]
    Stopped,
}

impl StoreError {
    /// Whether the same request may succeed a little later: the database is away, full or busy,
    /// rather than the query wrong.
    #[must_use]
    pub fn is_passing(&self) -> bool {
        use diesel::result::{DatabaseErrorKind as Kind, Error};
        match self {
            Self::Query(Error::DatabaseError(kind, _)) => !matches!(
                kind,
                Kind::UniqueViolation
                    | Kind::ForeignKeyViolation
                    | Kind::NotNullViolation
                    | Kind::CheckViolation
            ),
            Self::Query(Error::BrokenTransactionManager | Error::RollbackErrorOnCommit { .. })
            | Self::Pool(_)
            | Self::Commit(_)
            | Self::TimedOut => true,
            _ => false,
        }
    }
}

/// How long work waits for a free connection.
const POOL_WAIT: Duration = Duration::from_secs(5);

/// How long it waits while there is no connection at all: the database is away.
const AWAY_WAIT: Duration = Duration::from_secs(1);

/// How many connections are kept for those who go first.
const FIRST: u32 = 2;

/// How long reading may take. Each request reads first, so a database that is there and silent
/// keeps nobody waiting longer.
const READ_TIME: Duration = Duration::from_secs(10);

/// How long writing through the pool may take. A commit waits for a standby that has to confirm it
/// and is away, for ever if need be.
const WRITE_TIME: Duration = Duration::from_secs(30);

/// The open database. Clones share it.
#[derive(Clone)]
pub struct Store {
    manager: Manager,
    pool: Pool<Manager>,
    /// For those who go first.
    first: Pool<Manager>,
    /// SQLite has one writer at a time; PostgreSQL writes through the pool.
    writer: Option<Writer>,
    replicas: Option<Arc<Replicas>>,
}

impl Store {
    /// Opens the database and brings its schema up to date.
    ///
    /// # Errors
    /// When it can't be reached, a migration fails, or its schema is newer than this program.
    pub fn open(database: &Database) -> Result<Self, StoreError> {
        let kind = database.kind();
        if let DatabaseKind::Sqlite(path) = &kind {
            connection::make_file(path)?;
        }
        let manager = Manager::new(kind.clone());
        migrations::run(&mut manager.connect_now()?)?;
        let writer =
            matches!(kind, DatabaseKind::Sqlite(_)).then(|| Writer::start(manager.clone()));
        let pool = pool_of(&manager, database.max_connections.get())?;
        let first = pool_of(&manager, FIRST)?;
        let replicas = (!database.replica_urls.is_empty()).then(|| {
            let replicas = database.replica_urls.iter().cloned().map(Manager::of_replica);
            Replicas::watch(&manager, replicas, database.max_connections.get())
        });
        let (writer, replicas) = (writer.transpose()?, replicas.transpose()?);
        Ok(Self { manager, pool, first, writer, replicas })
    }

    /// Runs `work` in one transaction; commits on `Ok`, rolls back on `Err`.
    ///
    /// # Errors
    /// Those of `work`, and those of the database as [`StoreError`]; on PostgreSQL after 30 seconds
    /// in any case, and then it isn't known whether the work was committed.
    pub async fn write<T, E>(
        &self,
        work: impl FnOnce(&mut Tx<'_>) -> Result<T, E> + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        if let Some(writer) = &self.writer {
            return writer.write(work).await;
        }
        self.in_pool(Access::Write, WRITE_TIME, work).await
    }

    /// Runs `work`, which only reads, on one unchanging state of the database.
    ///
    /// # Errors
    /// Those of `work`, and those of the database as [`StoreError`]; after 10 seconds in any case.
    pub async fn read<T, E>(
        &self,
        work: impl FnOnce(&mut Tx<'_>) -> Result<T, E> + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        self.in_pool(Access::Read, READ_TIME, work).await
    }

    /// As [`Self::read`], through connections that nobody else uses: what tells whether memory may be
    /// believed must not wait behind all those who read because it may not.
    ///
    /// # Errors
    /// As those of [`Self::read`].
    pub async fn read_first<T, E>(
        &self,
        work: impl FnOnce(&mut Tx<'_>) -> Result<T, E> + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        self.in_pool(Access::ReadFirst, READ_TIME, work).await
    }

    /// Runs `work`, which reads whole tables, on one unchanging state of the database, however long
    /// it takes, through a connection and a thread of its own, which lets all others go first.
    ///
    /// # Errors
    /// Those of `work`, and those of the database as [`StoreError`].
    pub async fn scan<T, E>(
        &self,
        work: impl FnOnce(&mut Tx<'_>) -> Result<T, E> + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        let manager = self.manager.clone();
        let scan = move || {
            let_others_go_first();
            let mut conn = manager.connect_to_scan()?;
            in_transaction(&mut conn, Access::Read, work)
        };
        let scan = || std::thread::spawn(scan).join();
        let done = tokio::task::spawn_blocking(scan).await.map_err(|_| StoreError::Stopped)?;
        done.map_err(|_| StoreError::Stopped)?
    }

    /// As [`Self::read`], but the state may be one of up to a second ago, though never one from
    /// before something that this node wrote: a replica answers where one can.
    ///
    /// # Errors
    /// As those of [`Self::read`].
    pub async fn read_recent<T, E>(
        &self,
        work: impl FnOnce(&mut Tx<'_>) -> Result<T, E> + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        self.in_pool(Access::ReadRecent, READ_TIME, work).await
    }

    /// Waits for `time` at most.
    async fn in_pool<T, E>(
        &self,
        access: Access,
        time: Duration,
        work: impl FnOnce(&mut Tx<'_>) -> Result<T, E> + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        let pool = if let Access::ReadFirst = access { &self.first } else { &self.pool };
        let (pool, replicas) = (pool.clone(), self.replicas.clone());
        let done = tokio::task::spawn_blocking(move || {
            let replica = match (&replicas, access) {
                (Some(replicas), Access::ReadRecent) => replicas.connection(),
                _ => None,
            };
            let mut conn = replica.map_or_else(|| connection_of(&pool), Ok)?;
            let done = in_transaction(&mut conn, access, work)?;
            if let (Some(replicas), Access::Write) = (&replicas, access) {
                replicas.note_write(connection::written_up_to(&mut conn));
            }
            Ok(done)
        });
        let Ok(done) = tokio::time::timeout(time, done).await else {
            return Err(StoreError::TimedOut.into());
        };
        done.map_err(|_| StoreError::Stopped)?
    }
}

/// Threads that this one begins do the same.
fn let_others_go_first() {
    // Elsewhere that would be the whole process: a thread has its own value on Linux only (nice(2)).
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::process::setpriority_process(None, 10) {
        tracing::debug!(%error, "the thread has the priority of others");
    }
}

fn pool_of(manager: &Manager, max_connections: u32) -> Result<Pool<Manager>, StoreError> {
    Ok(Pool::builder()
        .max_size(max_connections)
        // Connections are made for those who wait, none ahead: a thread that is still at it when the
        // program ends crashes in what OpenSSL has torn down by then.
        .min_idle(Some(0))
        .connection_timeout(POOL_WAIT)
        .error_handler(Box::new(connection::QuietErrors))
        .build(manager.clone())?)
}

fn connection_of(pool: &Pool<Manager>) -> Result<PooledConnection<Manager>, StoreError> {
    match pool.get_timeout(AWAY_WAIT) {
        // All are busy.
        Err(_) if pool.state().connections > 0 => Ok(pool.get_timeout(POOL_WAIT)?),
        done => Ok(done?),
    }
}

/// What a transaction is for.
#[derive(Clone, Copy)]
enum Access {
    Read,
    ReadFirst,
    ReadRecent,
    Write,
}

//! The schema: brought forward at start, never backward.

use diesel::migration::{Migration, MigrationSource, MigrationVersion};
use diesel::{backend::Backend, sqlite::Sqlite};
#[cfg(feature = "postgres")]
use diesel::{connection::SimpleConnection, pg::Pg};
use diesel_migrations::{EmbeddedMigrations, MigrationHarness, embed_migrations};

use super::{StoreError, connection::AnyConnection};

const SQLITE: EmbeddedMigrations = embed_migrations!("migrations/sqlite");
#[cfg(feature = "postgres")]
const POSTGRES: EmbeddedMigrations = embed_migrations!("migrations/postgres");

/// Runs what is missing.
///
/// # Errors
/// When a migration fails or the schema holds one that this program doesn't know.
pub(super) fn run(conn: &mut AnyConnection) -> Result<(), StoreError> {
    match conn {
        // The write lock from the beginning: of several programs that start at once one migrates,
        // the others wait and find it done.
        AnyConnection::Sqlite(conn) => {
            conn.immediate_transaction(|conn| forward::<Sqlite>(conn, SQLITE))
        }
        #[cfg(feature = "postgres")]
        AnyConnection::Postgres(conn) => {
            // The same by a lock that is nobody else's; a session that ends loses it, so a crash
            // leaves none behind. However long it takes: a large table is changed slowly.
            conn.batch_execute(
                "SET statement_timeout = 0; SELECT pg_advisory_lock(7305808869229537379)",
            )?;
            let done = forward::<Pg>(conn, POSTGRES);
            conn.batch_execute("SELECT pg_advisory_unlock(7305808869229537379)")?;
            done
        }
    }
}

fn forward<DB: Backend>(
    conn: &mut impl MigrationHarness<DB>,
    known: EmbeddedMigrations,
) -> Result<(), StoreError> {
    let migrations: Vec<Box<dyn Migration<DB>>> =
        known.migrations().map_err(StoreError::Migration)?;
    let versions: Vec<MigrationVersion<'static>> =
        migrations.iter().map(|m| m.name().version().as_owned()).collect();
    let applied = conn.applied_migrations().map_err(StoreError::Migration)?;
    if let Some(unknown) = applied.iter().find(|version| !versions.contains(version)) {
        return Err(StoreError::TooNew(unknown.to_string()));
    }
    conn.run_pending_migrations(known).map(drop).map_err(StoreError::Migration)
}

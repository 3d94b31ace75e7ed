//! How far each directory is copied, and by which node.

use diesel::prelude::*;
use sha2::{Digest, Sha256};

use super::{StoreError, Tx, connection::on_backend, schema::directory_syncs};

/// How far a directory is copied. Times are milliseconds since the Unix epoch.
#[derive(Debug, Clone, Default, Queryable, Selectable, Insertable, AsChangeset)]
#[diesel(table_name = directory_syncs, treat_none_as_null = true)]
pub struct Sync {
    /// The directory's name.
    pub directory: String,
    /// What stands for the settings that the copy was made with.
    pub settings: String,
    /// The copy that is believed; 0: none yet.
    pub generation: i64,
    /// The last one that was begun.
    pub last_generation: i64,
    /// How many addresses the copy holds.
    pub addresses: i64,
    /// When the last whole copy was begun that is complete.
    pub full_at: Option<i64>,
    /// When the last copy of what has changed was begun that is complete.
    pub changes_at: Option<i64>,
    /// What is being copied: a word of the service's.
    pub run: Option<String>,
    /// Since when.
    pub run_began_at: Option<i64>,
    /// Where it goes on; `None`: at the beginning.
    pub run_cursor: Option<String>,
    /// How often in a row copying has failed.
    pub attempts: i32,
    /// Until when nobody tries again.
    pub retry_at: i64,
    /// Why it failed last.
    pub last_error: Option<String>,
    /// The node that copies.
    pub node: String,
    /// Until when the others leave that to it.
    pub node_until: i64,
}

/// How far `directory` is copied.
pub fn find(tx: &mut Tx<'_>, directory: &str) -> Result<Option<Sync>, StoreError> {
    Ok(directory_syncs::table
        .find(directory)
        .select(Sync::as_select())
        .first(&mut *tx.0)
        .optional()?)
}

/// As [`find`], held until the end of the transaction: no other node looks at it meanwhile.
pub fn hold(tx: &mut Tx<'_>, directory: &str) -> Result<Sync, StoreError> {
    tx.lock(&Sha256::digest(format!("copy of {directory}")))?;
    let fresh = || Sync { directory: directory.to_owned(), ..Sync::default() };
    Ok(find(tx, directory)?.unwrap_or_else(fresh))
}

/// Stores how far a directory is copied, which is held.
pub fn put(tx: &mut Tx<'_>, sync: &Sync) -> Result<(), StoreError> {
    on_backend!(tx, conn => diesel::insert_into(directory_syncs::table)
        .values(sync)
        .on_conflict(directory_syncs::directory)
        .do_update()
        .set(sync)
        .execute(conn))?;
    Ok(())
}

/// The directories of which there are copies, or have been.
pub fn names(tx: &mut Tx<'_>) -> Result<Vec<String>, StoreError> {
    Ok(directory_syncs::table
        .order(directory_syncs::directory)
        .select(directory_syncs::directory)
        .load(&mut *tx.0)?)
}

/// Forgets that there was a copy of `directory`.
pub(super) fn remove(tx: &mut Tx<'_>, directory: &str) -> Result<(), StoreError> {
    diesel::delete(directory_syncs::table.find(directory)).execute(&mut *tx.0)?;
    Ok(())
}

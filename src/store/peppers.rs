//! The pepper of hashed lookups and its replacement.

use diesel::prelude::*;

use super::{StoreError, Tx, associations, directory_people, peer_associations, schema::peppers};
use crate::matrix::medium::Medium;

/// A pepper; the one with the highest id is current.
#[derive(Debug, Clone, Queryable)]
pub struct Pepper {
    /// Counted upward.
    pub id: i64,
    /// The text that is hashed with each address.
    pub pepper: String,
    /// When it came into use, in milliseconds since the Unix epoch.
    pub created_at: i64,
}

/// The current pepper; `None` before the first one was made.
pub fn current(tx: &mut Tx<'_>) -> Result<Option<Pepper>, StoreError> {
    Ok(peppers::table
        .order(peppers::id.desc())
        .select((peppers::id, peppers::pepper, peppers::created_at))
        .first(&mut *tx.0)
        .optional()?)
}

/// The current pepper, held until the end of the transaction: for those who add hashes.
pub fn hold_current(tx: &mut Tx<'_>) -> Result<Option<Pepper>, StoreError> {
    tx.lock_peppers()?;
    current(tx)
}

/// How many 3PIDs are hashed at a time.
const BATCH: i64 = 1000;

/// Replaces the pepper by `fresh` if there is none or it is older than `before_ms`, with the
/// hashes of all associations; answers whether it did. Of several nodes that try at once, one does.
pub fn replace_older(
    tx: &mut Tx<'_>,
    before_ms: i64,
    fresh: &str,
    now_ms: i64,
) -> Result<bool, StoreError> {
    tx.lock_peppers_for_change()?;
    let old = current(tx)?;
    if old.as_ref().is_some_and(|old| old.created_at > before_ms) {
        return Ok(false);
    }
    let new = Pepper {
        id: old.as_ref().map_or(1, |old| old.id + 1),
        pepper: fresh.to_owned(),
        created_at: now_ms,
    };
    diesel::insert_into(peppers::table)
        .values((
            peppers::id.eq(new.id),
            peppers::pepper.eq(&new.pepper),
            peppers::created_at.eq(new.created_at),
        ))
        .execute(&mut *tx.0)?;
    let mut medium = associations::medium_after(tx, "")?;
    while let Some(current) = medium {
        hash_all(tx, &new, &current)?;
        medium = associations::medium_after(tx, current.as_str())?;
    }
    peer_associations::hash_all(tx, &new, BATCH)?;
    directory_people::hash_all(tx, &new, BATCH)?;
    // The old hashes go with their pepper, by foreign key.
    diesel::delete(peppers::table.filter(peppers::id.lt(new.id))).execute(&mut *tx.0)?;
    Ok(true)
}

/// Stores the hashes of all bound 3PIDs of `medium` under `pepper`.
fn hash_all(tx: &mut Tx<'_>, pepper: &Pepper, medium: &Medium) -> Result<(), StoreError> {
    let mut batch = associations::threepids_after(tx, medium, "", BATCH)?;
    while let Some(last) = batch.last() {
        let after = last.address().to_owned();
        associations::add_hashes(tx, pepper, &batch)?;
        batch = associations::threepids_after(tx, medium, &after, BATCH)?;
    }
    Ok(())
}

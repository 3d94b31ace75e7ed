//! What neighbours sent and can't be believed, kept for the operator.

use diesel::{dsl::max, prelude::*};
use sha2::{Digest, Sha256};

use super::{StoreError, Tx, connection::on_backend, schema::quarantine};

/// What a neighbour sent and can't be believed.
#[derive(Debug, Clone, Queryable, Selectable)]
#[diesel(table_name = quarantine)]
pub struct Quarantined {
    /// Counted upward.
    pub id: i64,
    /// The neighbour's name.
    pub origin: String,
    /// The neighbour's number for it, as it was sent.
    pub origin_id: String,
    /// When it came, in milliseconds since the Unix epoch.
    pub received_at: i64,
    /// Why it isn't believed.
    pub reason: String,
    /// What was sent, cut off where it is very long.
    pub body: String,
}

/// How many are kept: the newest ones.
const KEPT: i64 = 10_000;

/// Keeps what `origin` sent, in place of what it had sent under the same number.
pub fn add(
    tx: &mut Tx<'_>,
    origin: &str,
    (origin_id, reason, body): (&str, &str, &str),
    now_ms: i64,
) -> Result<(), StoreError> {
    tx.lock(&Sha256::digest("quarantine"))?;
    let last: Option<i64> = quarantine::table.select(max(quarantine::id)).first(&mut *tx.0)?;
    let id = last.unwrap_or(0) + 1;
    let facts = (
        quarantine::received_at.eq(now_ms),
        quarantine::reason.eq(reason),
        quarantine::body.eq(body),
    );
    on_backend!(tx, conn => diesel::insert_into(quarantine::table)
        .values((
            quarantine::id.eq(id),
            quarantine::origin.eq(origin),
            quarantine::origin_id.eq(origin_id),
            facts,
        ))
        .on_conflict((quarantine::origin, quarantine::origin_id))
        .do_update()
        .set(facts)
        .execute(conn))?;
    diesel::delete(quarantine::table.filter(quarantine::id.le(id - KEPT))).execute(&mut *tx.0)?;
    Ok(())
}

/// Forgets what `origin` had sent under this number, since it has sent it again, and well.
pub fn release(tx: &mut Tx<'_>, origin: &str, origin_id: &str) -> Result<(), StoreError> {
    let sent = quarantine::table
        .filter(quarantine::origin.eq(origin))
        .filter(quarantine::origin_id.eq(origin_id));
    diesel::delete(sent).execute(&mut *tx.0)?;
    Ok(())
}

/// All of it, the oldest first.
pub fn list(tx: &mut Tx<'_>) -> Result<Vec<Quarantined>, StoreError> {
    Ok(quarantine::table.order(quarantine::id).select(Quarantined::as_select()).load(&mut *tx.0)?)
}

/// The one with this id.
pub fn find(tx: &mut Tx<'_>, id: i64) -> Result<Option<Quarantined>, StoreError> {
    Ok(quarantine::table.find(id).select(Quarantined::as_select()).first(&mut *tx.0).optional()?)
}

/// Forgets the one with this id, or all; answers how many.
pub fn drop(tx: &mut Tx<'_>, id: Option<i64>) -> Result<usize, StoreError> {
    Ok(match id {
        Some(id) => diesel::delete(quarantine::table.find(id)).execute(&mut *tx.0)?,
        None => diesel::delete(quarantine::table).execute(&mut *tx.0)?,
    })
}

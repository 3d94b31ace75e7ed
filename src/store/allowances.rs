//! How much is left of the limits that all nodes share: a generic cell rate algorithm (ITU-T I.371)
//! for each key, whose one number is the time at which all of it is there again.

use std::time::Duration;

use diesel::{dsl::case_when, prelude::*, query_dsl::methods::FilterDsl, sql_query};
use sha2::{Digest, Sha256};

use super::{StoreError, Tx, connection::on_backend, schema::allowances};
use crate::{clock::millis, config::Rate, rate_limit::Exceeded};

/// How much the clocks of two nodes may differ, in milliseconds. A time further ahead than a spent
/// allowance takes was written by a clock that was wrong, or under another rate.
const CLOCKS_DIFFER: i64 = 60 * 60 * 1000;

/// What somebody may have of a limit.
#[derive(Debug, Clone)]
pub struct Allowance {
    key: Vec<u8>,
    /// How long one takes to come back, in milliseconds.
    one_ms: i64,
    /// How long all of it takes to come back, in milliseconds.
    all_ms: i64,
}

impl Allowance {
    /// What `whom` may have of the limit `name`. One comes back after a whole number of
    /// milliseconds, rounded up.
    #[must_use]
    pub fn new(name: &str, whom: &str, rate: Rate) -> Self {
        let count = i64::from(rate.count.get());
        let one_ms = millis(rate.per).max(1).saturating_add(count - 1) / count;
        Self {
            // No name has a space in it.
            key: Sha256::digest(format!("{name} {whom}")).to_vec(),
            one_ms,
            all_ms: one_ms.saturating_mul(count),
        }
    }
}

/// Takes one of an allowance. Of several nodes that do so at once none goes beyond it.
///
/// # Errors
/// The outer one is the database's; the inner one says that nothing is left, and nothing is taken
/// then.
pub fn take(
    tx: &mut Tx<'_>,
    allowance: &Allowance,
    now_ms: i64,
) -> Result<Result<(), Exceeded>, StoreError> {
    let Allowance { key, one_ms, all_ms } = allowance;
    // As long as all of it is there again by then, there is one left.
    let latest = now_ms.saturating_add(all_ms - one_ms);
    let wrong = now_ms.saturating_add(*all_ms).saturating_add(CLOCKS_DIFFER);
    let full_at = allowances::full_at;
    let is_partly_spent = full_at.between(now_ms, latest);
    let taken = on_backend!(tx, conn => diesel::insert_into(allowances::table)
        .values((allowances::key.eq(key), full_at.eq(now_ms.saturating_add(*one_ms))))
        .on_conflict(allowances::key)
        .do_update()
        .set(full_at.eq(case_when(is_partly_spent, full_at).otherwise(now_ms) + one_ms))
        .filter(full_at.le(latest).or(full_at.gt(wrong)))
        .execute(conn))?;
    if taken == 1 {
        return Ok(Ok(()));
    }
    let full_at: i64 = allowances::table.find(key).select(full_at).first(&mut *tx.0)?;
    let retry_after = Duration::from_millis(full_at.saturating_sub(latest).unsigned_abs());
    Ok(Err(Exceeded { retry_after }))
}

/// Forgets up to `max` allowances of which all is there again; answers how many.
pub fn remove_full(tx: &mut Tx<'_>, now_ms: i64, max: i64) -> Result<usize, StoreError> {
    // Asked twice: one that is taken from meanwhile stays.
    let removed = sql_query(format!(
        "DELETE FROM allowances WHERE full_at <= {now_ms} AND key IN \
         (SELECT key FROM allowances WHERE full_at <= {now_ms} LIMIT {max})"
    ))
    .execute(&mut *tx.0)?;
    Ok(removed)
}

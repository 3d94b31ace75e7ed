//! Entries of the log that a neighbour refuses: told again for a while, then set aside, so that those
//! after them go on.

use diesel::{dsl::max, prelude::*};

use super::{
    StoreError, Tx,
    connection::on_backend,
    replication_log::{self, Cursor, Entry},
    schema::{
        replication_cursors as cursors, replication_log as log, replication_refusals as refusals,
    },
};

/// An entry that a neighbour refuses.
#[derive(Debug, Clone, Queryable)]
pub struct Refusal {
    /// The entry.
    pub entry: Entry,
    /// How often the neighbour took others and refused this one.
    pub tries: i32,
    /// What the neighbour said.
    pub reason: String,
    /// Since when it is set aside, in milliseconds since the Unix epoch; `None` while it is told again.
    pub set_aside_at: Option<i64>,
}

/// What `cursor`'s neighbour is told next, at most `count`, in order: what it is told again, and what
/// comes after its place and isn't set aside.
pub fn next(tx: &mut Tx<'_>, cursor: &Cursor, count: i64) -> Result<Vec<Entry>, StoreError> {
    let Cursor { peer, last_id, .. } = cursor;
    let mut entries: Vec<Entry> = log::table
        .inner_join(refusals::table)
        .filter(refusals::peer.eq(peer))
        .filter(refusals::set_aside_at.is_null())
        .filter(refusals::entry_id.le(last_id))
        .order(log::id)
        .limit(count)
        .select(Entry::as_select())
        .load(&mut *tx.0)?;
    let rest = count - i64::try_from(entries.len()).unwrap_or(count);
    entries.extend(after(tx, (peer, *last_id), rest)?);
    Ok(entries)
}

/// The entries after `last_id`, at most `count`, in order, without what is set aside for `peer`.
fn after(
    tx: &mut Tx<'_>,
    (peer, last_id): (&str, i64),
    count: i64,
) -> Result<Vec<Entry>, StoreError> {
    let set_aside = refusals::table
        .filter(refusals::peer.eq(peer))
        .filter(refusals::set_aside_at.is_not_null())
        .filter(refusals::entry_id.gt(last_id))
        .select(refusals::entry_id);
    Ok(log::table
        .filter(log::id.gt(last_id))
        .filter(log::id.ne_all(set_aside))
        .order(log::id)
        .limit(count)
        .select(Entry::as_select())
        .load(&mut *tx.0)?)
}

/// Whether `peer` is told entries again that it has refused.
pub fn are_tried(tx: &mut Tx<'_>, peer: &str) -> Result<bool, StoreError> {
    let tried = refusals::table
        .filter(refusals::peer.eq(peer))
        .filter(refusals::set_aside_at.is_null())
        .select(refusals::entry_id)
        .first::<i64>(&mut *tx.0)
        .optional()?;
    Ok(tried.is_some())
}

/// Remembers that `peer` refuses the entries `ids` for `reason`. It counts as a try of each if it
/// took others: else something may be wrong with all that is told it, and will be put right.
pub fn refuse(
    tx: &mut Tx<'_>,
    peer: &str,
    ids: &[i64],
    (reason, is_try): (&str, bool),
) -> Result<(), StoreError> {
    for id in ids {
        on_backend!(tx, conn => diesel::insert_into(refusals::table)
            .values((
                refusals::peer.eq(peer),
                refusals::entry_id.eq(id),
                refusals::tries.eq(i32::from(is_try)),
                refusals::reason.eq(reason),
                refusals::set_aside_at.eq(None::<i64>),
            ))
            .on_conflict((refusals::peer, refusals::entry_id))
            .do_update()
            .set((
                refusals::tries.eq(refusals::tries + i32::from(is_try)),
                refusals::reason.eq(reason),
            ))
            .execute(conn))?;
    }
    Ok(())
}

/// Sets aside what `peer` has refused `tries` times or more; answers which entries.
pub fn set_aside(
    tx: &mut Tx<'_>,
    peer: &str,
    tries: i32,
    now_ms: i64,
) -> Result<Vec<i64>, StoreError> {
    let due = refusals::table
        .filter(refusals::peer.eq(peer))
        .filter(refusals::set_aside_at.is_null())
        .filter(refusals::tries.ge(tries));
    let ids: Vec<i64> =
        due.select(refusals::entry_id).order(refusals::entry_id).load(&mut *tx.0)?;
    if !ids.is_empty() {
        diesel::update(due).set(refusals::set_aside_at.eq(now_ms)).execute(&mut *tx.0)?;
        replication_log::make_due(tx, peer, now_ms)?;
        pass_over(tx, peer)?;
    }
    Ok(ids)
}

/// Forgets that `peer` refused `told`, since it has taken it.
pub(super) fn forget(tx: &mut Tx<'_>, peer: &str, told: &[Entry]) -> Result<(), StoreError> {
    let ids = told.iter().map(|entry| entry.id);
    diesel::delete(refusals::table.filter(refusals::peer.eq(peer)))
        .filter(refusals::entry_id.eq_any(ids))
        .execute(&mut *tx.0)?;
    Ok(())
}

/// Moves the place of `peer` over what is set aside right after it, so that nothing waits where
/// nothing is to be told.
pub(super) fn pass_over(tx: &mut Tx<'_>, peer: &str) -> Result<(), StoreError> {
    let place = cursors::table.find(peer);
    let Some(last_id) = place.select(cursors::last_id).first::<i64>(&mut *tx.0).optional()? else {
        return Ok(());
    };
    let next = after(tx, (peer, last_id), 1)?.first().map_or(i64::MAX, |entry| entry.id);
    let passed: Option<i64> = refusals::table
        .filter(refusals::peer.eq(peer))
        .filter(refusals::set_aside_at.is_not_null())
        .filter(refusals::entry_id.gt(last_id))
        .filter(refusals::entry_id.lt(next))
        .select(max(refusals::entry_id))
        .first(&mut *tx.0)?;
    if let Some(passed) = passed {
        diesel::update(place).set(cursors::last_id.eq(passed)).execute(&mut *tx.0)?;
    }
    Ok(())
}

/// All that `peer` refuses, in the order of the log.
pub fn list(tx: &mut Tx<'_>, peer: &str) -> Result<Vec<Refusal>, StoreError> {
    Ok(log::table
        .inner_join(refusals::table)
        .filter(refusals::peer.eq(peer))
        .order(log::id)
        .select((Entry::as_select(), refusals::tries, refusals::reason, refusals::set_aside_at))
        .load(&mut *tx.0)?)
}

/// How many entries are set aside for `peer`.
pub fn count_set_aside(tx: &mut Tx<'_>, peer: &str) -> Result<i64, StoreError> {
    Ok(refusals::table
        .filter(refusals::peer.eq(peer))
        .filter(refusals::set_aside_at.is_not_null())
        .count()
        .get_result(&mut *tx.0)?)
}

/// Sets the entry `id` aside for `peer`, as the operator wants it; answers whether it was to be told.
pub fn skip(tx: &mut Tx<'_>, peer: &str, id: i64, now_ms: i64) -> Result<bool, StoreError> {
    let cursor = replication_log::cursor(tx, peer)?.unwrap_or_else(|| Cursor::new(peer.to_owned()));
    let is_known = log::table
        .find(id)
        .filter(log::id.gt(cursor.last_id))
        .select(log::id)
        .first::<i64>(&mut *tx.0)
        .optional()?
        .is_some();
    let of_peer = refusals::table.find((peer, id)).filter(refusals::set_aside_at.is_null());
    if diesel::update(of_peer).set(refusals::set_aside_at.eq(now_ms)).execute(&mut *tx.0)? == 0 {
        if !is_known || is_set_aside(tx, peer, id)? {
            return Ok(false);
        }
        refuse(tx, peer, &[id], ("the operator skipped it", false))?;
        let added = refusals::table.find((peer, id));
        diesel::update(added).set(refusals::set_aside_at.eq(now_ms)).execute(&mut *tx.0)?;
    }
    replication_log::make_due(tx, peer, now_ms)?;
    pass_over(tx, peer)?;
    Ok(true)
}

/// Has `peer` told again what was set aside, unless it was told something newer of the same 3PID;
/// answers whether it is.
pub fn retry(tx: &mut Tx<'_>, peer: &str, id: i64, now_ms: i64) -> Result<bool, StoreError> {
    if !is_set_aside(tx, peer, id)? || is_overtaken(tx, peer, id)? {
        return Ok(false);
    }
    let of_peer = refusals::table.find((peer, id));
    diesel::update(of_peer)
        .set((refusals::set_aside_at.eq(None::<i64>), refusals::tries.eq(0)))
        .execute(&mut *tx.0)?;
    replication_log::make_due(tx, peer, now_ms)?;
    Ok(true)
}

fn is_set_aside(tx: &mut Tx<'_>, peer: &str, id: i64) -> Result<bool, StoreError> {
    let of_peer = refusals::table.find((peer, id)).filter(refusals::set_aside_at.is_not_null());
    Ok(of_peer.count().get_result::<i64>(&mut *tx.0)? > 0)
}

/// Whether `peer` was told something newer of the same 3PID than the entry `id`.
fn is_overtaken(tx: &mut Tx<'_>, peer: &str, id: i64) -> Result<bool, StoreError> {
    let entry: Entry = log::table.find(id).select(Entry::as_select()).first(&mut *tx.0)?;
    let told = replication_log::cursor(tx, peer)?.map_or(0, |cursor| cursor.last_id);
    let not_told = refusals::table.filter(refusals::peer.eq(peer)).select(refusals::entry_id);
    let newer = log::table
        .filter(log::medium.eq(entry.medium))
        .filter(log::address.eq(entry.address))
        .filter(log::id.gt(id))
        .filter(log::id.le(told))
        .filter(log::id.ne_all(not_told));
    Ok(newer.count().get_result::<i64>(&mut *tx.0)? > 0)
}

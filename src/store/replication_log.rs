//! What neighbours are told of binds and unbinds, in order, and how far each of them was told.

use diesel::{dsl::sql, prelude::*, sql_types::Bool};

use super::{
    StoreError, Tx,
    associations::{self, Association},
    connection::on_backend,
    replication_refusals,
    schema::{replication_cursors, replication_log, replication_sequence},
};
use crate::matrix::{medium::Medium, threepid::ThreePid};

/// What neighbours are told.
#[derive(Debug, Clone, Queryable, Selectable, Insertable)]
#[diesel(table_name = replication_log)]
pub struct Entry {
    /// Counted upward for ever.
    pub id: i64,
    /// The medium of the 3PID.
    pub medium: String,
    /// The address of the 3PID.
    pub address: String,
    /// Whose it is; `None` where it is nobody's any more.
    pub mxid: Option<String>,
    /// When it was bound or unbound, in milliseconds since the Unix epoch.
    pub ts: i64,
    /// From when on the association holds, in milliseconds since the Unix epoch.
    pub not_before: Option<i64>,
    /// Until when it holds, in milliseconds since the Unix epoch.
    pub not_after: Option<i64>,
}

/// How far a neighbour was told.
#[derive(Debug, Clone, Queryable, Selectable)]
#[diesel(table_name = replication_cursors)]
pub struct Cursor {
    /// The neighbour's name.
    pub peer: String,
    /// The last entry that it took.
    pub last_id: i64,
    /// When it is told next, or until when somebody is telling it.
    pub due_at: i64,
    /// How often in a row that has failed.
    pub attempts: i32,
    /// Why it failed last.
    pub last_error: Option<String>,
}

impl Cursor {
    /// That of a neighbour who has been told nothing.
    #[must_use]
    pub fn new(peer: String) -> Self {
        Self { peer, last_id: 0, due_at: 0, attempts: 0, last_error: None }
    }
}

/// Appends that `association` was made, after `before` had the 3PID: a neighbour that keeps what
/// it knows has to forget that first.
pub fn append_bound(
    tx: &mut Tx<'_>,
    association: &Association,
    before: Option<&str>,
) -> Result<(), StoreError> {
    let Association { threepid, mxid, ts, .. } = association;
    if before.is_some_and(|before| before != mxid.as_str()) {
        append_unbound(tx, threepid, *ts)?;
    }
    let entry = Entry {
        id: next_id(tx)?,
        medium: threepid.medium().to_string(),
        address: threepid.address().to_owned(),
        mxid: Some(mxid.to_string()),
        ts: *ts,
        not_before: Some(association.not_before),
        not_after: Some(association.not_after),
    };
    insert(tx, &entry)
}

/// Appends that nobody has `threepid` since `now_ms`, in milliseconds since the Unix epoch.
pub fn append_unbound(tx: &mut Tx<'_>, threepid: &ThreePid, now_ms: i64) -> Result<(), StoreError> {
    let entry = Entry {
        id: next_id(tx)?,
        medium: threepid.medium().to_string(),
        address: threepid.address().to_owned(),
        mxid: None,
        ts: now_ms,
        not_before: None,
        not_after: None,
    };
    insert(tx, &entry)
}

fn insert(tx: &mut Tx<'_>, entry: &Entry) -> Result<(), StoreError> {
    diesel::insert_into(replication_log::table).values(entry).execute(&mut *tx.0)?;
    Ok(())
}

/// The next id, held until the end of the transaction: whoever wants one waits, so that nobody
/// sees an entry before all lower ones are there.
fn next_id(tx: &mut Tx<'_>) -> Result<i64, StoreError> {
    Ok(on_backend!(tx, conn => diesel::update(replication_sequence::table)
        .set(replication_sequence::last.eq(replication_sequence::last + 1))
        .returning(replication_sequence::last)
        .get_result(conn))?)
}

/// Keeps everybody from writing into the log until the end of the transaction.
fn hold(tx: &mut Tx<'_>) -> Result<(), StoreError> {
    diesel::update(replication_sequence::table)
        .set(replication_sequence::last.eq(replication_sequence::last + 0))
        .execute(&mut *tx.0)?;
    Ok(())
}

/// Appends what was bound while nobody had to be told: of `count` associations of `medium` whose
/// addresses come after `address` those that the log doesn't end with. Answers the last address,
/// or `None` where there were none.
pub fn append_missing(
    tx: &mut Tx<'_>,
    medium: &Medium,
    address: &str,
    count: i64,
) -> Result<Option<String>, StoreError> {
    hold(tx)?;
    let bound = associations::after(tx, medium, address, count)?;
    for association in &bound {
        let told: Option<Option<String>> = replication_log::table
            .filter(replication_log::medium.eq(medium.as_str()))
            .filter(replication_log::address.eq(association.threepid.address()))
            .order(replication_log::id.desc())
            .select(replication_log::mxid)
            .first(&mut *tx.0)
            .optional()?;
        let told = told.flatten();
        if told.as_deref() != Some(association.mxid.as_str()) {
            append_bound(tx, association, told.as_deref())?;
        }
    }
    Ok(bound.last().map(|association| association.threepid.address().to_owned()))
}

/// Whether no later entry is about the same 3PID.
const IS_NEWEST: &str = "NOT EXISTS (SELECT 1 FROM replication_log AS newer \
     WHERE newer.medium = replication_log.medium AND newer.address = replication_log.address \
     AND newer.id > replication_log.id)";

/// Whether nobody has the entry's 3PID.
const IS_UNBOUND: &str = "NOT EXISTS (SELECT 1 FROM associations \
     WHERE associations.medium = replication_log.medium \
     AND associations.address = replication_log.address)";

/// Appends what was unbound while nobody had to be told: up to `count` 3PIDs; answers how many
/// there were.
pub fn append_missing_removals(
    tx: &mut Tx<'_>,
    count: i64,
    now_ms: i64,
) -> Result<usize, StoreError> {
    hold(tx)?;
    let gone: Vec<(String, String)> = replication_log::table
        .filter(replication_log::mxid.is_not_null())
        .filter(sql::<Bool>(IS_NEWEST))
        .filter(sql::<Bool>(IS_UNBOUND))
        .order(replication_log::id)
        .limit(count)
        .select((replication_log::medium, replication_log::address))
        .load(&mut *tx.0)?;
    for (medium, address) in &gone {
        let threepid = ThreePid::canonical(Medium::named(medium), address.clone());
        append_unbound(tx, &threepid, now_ms)?;
    }
    Ok(gone.len())
}

/// The entries after `id`, at most `count`, in order.
pub fn after(tx: &mut Tx<'_>, id: i64, count: i64) -> Result<Vec<Entry>, StoreError> {
    Ok(replication_log::table
        .filter(replication_log::id.gt(id))
        .order(replication_log::id)
        .limit(count)
        .select(Entry::as_select())
        .load(&mut *tx.0)?)
}

/// The last id that was given away.
pub fn last_id(tx: &mut Tx<'_>) -> Result<i64, StoreError> {
    Ok(replication_sequence::table.select(replication_sequence::last).first(&mut *tx.0)?)
}

/// How far `peer` was told; `None` before it was told anything.
pub fn cursor(tx: &mut Tx<'_>, peer: &str) -> Result<Option<Cursor>, StoreError> {
    Ok(replication_cursors::table
        .find(peer)
        .select(Cursor::as_select())
        .first(&mut *tx.0)
        .optional()?)
}

/// Claims to tell `peer` what comes after `last_id`, until `until_ms`; answers whether it was
/// still due at `now_ms`. Nobody else does it before then, and after a crash somebody does.
pub fn claim(
    tx: &mut Tx<'_>,
    (peer, last_id): (&str, i64),
    now_ms: i64,
    until_ms: i64,
) -> Result<bool, StoreError> {
    begin(tx, peer)?;
    let still_due = replication_cursors::table
        .find(peer)
        .filter(replication_cursors::last_id.eq(last_id))
        .filter(replication_cursors::due_at.le(now_ms));
    let claimed = diesel::update(still_due)
        .set((
            replication_cursors::due_at.eq(until_ms),
            replication_cursors::attempts.eq(replication_cursors::attempts + 1),
        ))
        .execute(&mut *tx.0)?;
    Ok(claimed == 1)
}

/// Moves `peer` on from `last_id` to the end of `told`, and makes it due again at `now_ms`. What
/// these entries replace is forgotten where all of `peers` have it.
pub fn advance(
    tx: &mut Tx<'_>,
    (peer, last_id): (&str, i64),
    told: &[Entry],
    (peers, now_ms): (&[String], i64),
) -> Result<(), StoreError> {
    // What is told again comes before the place.
    let Some(last) = told.last().map(|entry| entry.id.max(last_id)) else { return Ok(()) };
    let before =
        replication_cursors::table.find(peer).filter(replication_cursors::last_id.eq(last_id));
    diesel::update(before)
        .set((
            replication_cursors::last_id.eq(last),
            replication_cursors::due_at.eq(now_ms),
            replication_cursors::attempts.eq(0),
            replication_cursors::last_error.eq(None::<&str>),
        ))
        .execute(&mut *tx.0)?;
    replication_refusals::forget(tx, peer, told)?;
    replication_refusals::pass_over(tx, peer)?;
    let places: Vec<i64> = replication_cursors::table
        .filter(replication_cursors::peer.eq_any(peers))
        .select(replication_cursors::last_id)
        .load(&mut *tx.0)?;
    let Some(all_have) = places.iter().min().filter(|_| places.len() == peers.len()) else {
        return Ok(());
    };
    told.iter().try_for_each(|entry| forget_replaced_by(tx, entry, *all_have))
}

/// Forgets what the log says before `entry` of the same 3PID, up to the id `all_have`. A removal
/// that nothing replaces stays: who comes back after years has to hear of it.
fn forget_replaced_by(tx: &mut Tx<'_>, entry: &Entry, all_have: i64) -> Result<(), StoreError> {
    let replaced = replication_log::table
        .filter(replication_log::medium.eq(&entry.medium))
        .filter(replication_log::address.eq(&entry.address))
        .filter(replication_log::id.lt(entry.id))
        .filter(replication_log::id.le(all_have));
    diesel::delete(replaced).execute(&mut *tx.0)?;
    Ok(())
}

/// Gives `peer` a place before all entries, if it has none.
fn begin(tx: &mut Tx<'_>, peer: &str) -> Result<(), StoreError> {
    on_backend!(tx, conn => diesel::insert_into(replication_cursors::table)
        .values((
            replication_cursors::peer.eq(peer),
            replication_cursors::last_id.eq(0),
            replication_cursors::due_at.eq(0),
            replication_cursors::attempts.eq(0),
        ))
        .on_conflict_do_nothing()
        .execute(conn))?;
    Ok(())
}

/// Makes `peer` due at `now_ms`, whatever failed before.
pub(super) fn make_due(tx: &mut Tx<'_>, peer: &str, now_ms: i64) -> Result<(), StoreError> {
    begin(tx, peer)?;
    diesel::update(replication_cursors::table.find(peer))
        .set((replication_cursors::due_at.eq(now_ms), replication_cursors::attempts.eq(0)))
        .execute(&mut *tx.0)?;
    Ok(())
}

/// Tells `peer` again at `due_ms`, for `error`.
pub fn postpone(
    tx: &mut Tx<'_>,
    (peer, last_id): (&str, i64),
    due_ms: i64,
    error: &str,
) -> Result<(), StoreError> {
    let told =
        replication_cursors::table.find(peer).filter(replication_cursors::last_id.eq(last_id));
    diesel::update(told)
        .set((
            replication_cursors::due_at.eq(due_ms),
            replication_cursors::last_error.eq(Some(error)),
        ))
        .execute(&mut *tx.0)?;
    Ok(())
}

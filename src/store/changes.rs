//! What changed lately of that which servers keep in memory. Triggers write it down in the
//! transaction that makes the change; what is true now is asked of the tables themselves, so that
//! neither the order nor the repetition of changes matters.

#[cfg(feature = "postgres")]
use diesel::{
    dsl::{not, sql},
    sql_types::{BigInt, Bool, Text},
};
use diesel::{prelude::*, sql_query};

use super::{StoreError, Tx, connection::AnyConnection, schema::lookup_changes};
use crate::{
    matrix::{medium::Medium, threepid::ThreePid},
    secret::SecretHash,
};

/// Something that changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Somebody else may be found by this 3PID now.
    Threepid(ThreePid),
    /// This access token may be good no more.
    Token(SecretHash),
    /// Whoever accepted terms may owe them again.
    Terms,
    /// Anything, for all that is known.
    Everything,
}

/// How far changes were read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Position {
    /// Which start of which server it was: another one may count differently.
    server: String,
    /// On SQLite the highest id that was seen. On PostgreSQL the snapshot, which tells exactly the
    /// transactions that were seen, since ids and transactions are not committed in their order.
    seen: String,
}

/// Where changes are read from now on.
pub fn position(tx: &mut Tx<'_>) -> Result<Position, StoreError> {
    match &mut *tx.0 {
        AnyConnection::Sqlite(conn) => {
            let last: Option<i64> =
                lookup_changes::table.select(diesel::dsl::max(lookup_changes::id)).first(conn)?;
            Ok(Position { server: String::new(), seen: last.unwrap_or(0).to_string() })
        }
        #[cfg(feature = "postgres")]
        AnyConnection::Postgres(conn) => {
            let (server, seen) = diesel::select((
                sql::<Text>("pg_postmaster_start_time()::text"),
                sql::<Text>("pg_current_snapshot()::text"),
            ))
            .first(conn)?;
            Ok(Position { server, seen })
        }
    }
}

/// What changed since `before`, and where to go on; `None` where that can't be told: the server is
/// another one, or there are more than `most` changes.
pub fn since(
    tx: &mut Tx<'_>,
    before: &Position,
    most: usize,
) -> Result<Option<(Vec<Change>, Position)>, StoreError> {
    let now = position(tx)?;
    if now.server != before.server {
        return Ok(None);
    }
    if now == *before {
        return Ok(Some((Vec::new(), now)));
    }
    let rows = rows_since(tx, &before.seen, i64::try_from(most).unwrap_or(i64::MAX - 1) + 1)?;
    if rows.len() > most {
        return Ok(None);
    }
    Ok(Some((rows.into_iter().map(change).collect(), now)))
}

/// Kind, medium and address.
type Row = (String, String, String);

fn rows_since(tx: &mut Tx<'_>, seen: &str, most: i64) -> Result<Vec<Row>, StoreError> {
    let columns = (lookup_changes::kind, lookup_changes::medium, lookup_changes::address);
    match &mut *tx.0 {
        AnyConnection::Sqlite(conn) => Ok(lookup_changes::table
            .filter(lookup_changes::id.gt(seen.parse::<i64>().unwrap_or(0)))
            .order(lookup_changes::id)
            .limit(most)
            .select(columns)
            .load(conn)?),
        #[cfg(feature = "postgres")]
        AnyConnection::Postgres(conn) => {
            // Those of transactions that were under way then, or began later.
            let first = sql::<BigInt>("pg_snapshot_xmin(")
                .bind::<Text, _>(seen)
                .sql("::pg_snapshot)::text::bigint");
            let was_seen = sql::<Bool>("pg_visible_in_snapshot(xid::text::xid8, ")
                .bind::<Text, _>(seen)
                .sql("::pg_snapshot)");
            // What came with a copy of another server's database may name transactions of that one,
            // which are yet to come here: such a change was never missed.
            let end = sql::<BigInt>("pg_snapshot_xmax(pg_current_snapshot())::text::bigint");
            Ok(lookup_changes::table
                .filter(lookup_changes::xid.ge(first))
                .filter(lookup_changes::xid.lt(end))
                .filter(not(was_seen))
                .limit(most)
                .select(columns)
                .load(conn)?)
        }
    }
}

fn change((kind, medium, address): Row) -> Change {
    match kind.as_str() {
        "threepid" => Change::Threepid(ThreePid::canonical(Medium::named(&medium), address)),
        "token" => match bytes(&address) {
            Some(hash) => Change::Token(hash),
            None => Change::Terms,
        },
        "terms" => Change::Terms,
        _ => Change::Everything,
    }
}

/// Reads hexadecimal digits.
fn bytes(digits: &str) -> Option<Vec<u8>> {
    let (pairs, []) = digits.as_bytes().as_chunks::<2>() else { return None };
    let byte = |pair: &[u8; 2]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    pairs.iter().map(byte).collect()
}

/// How many changes are forgotten at a time.
const BATCH: usize = 5000;

/// Forgets some of the changes that are older than an hour by the database's clock; answers whether
/// there may be more of them.
pub fn forget_old(tx: &mut Tx<'_>) -> Result<bool, StoreError> {
    let hour_ago = match &*tx.0 {
        AnyConnection::Sqlite(_) => "(CAST(strftime('%s', 'now') AS INTEGER) - 3600) * 1000",
        #[cfg(feature = "postgres")]
        AnyConnection::Postgres(_) => "(extract(epoch FROM clock_timestamp()) - 3600) * 1000",
    };
    // The oldest are looked at, and no others. Ids go on from the highest one.
    let forgotten = sql_query(format!(
        "DELETE FROM lookup_changes WHERE id IN (SELECT id FROM \
         (SELECT id, changed_at FROM lookup_changes ORDER BY id LIMIT {BATCH}) AS oldest \
         WHERE changed_at < {hour_ago}) AND id < (SELECT max(id) FROM lookup_changes)"
    ))
    .execute(&mut *tx.0)?;
    Ok(forgotten + 1 >= BATCH)
}

//! Who stands behind 3PIDs, by all that is stored: what the index of lookups is made of.

use std::collections::HashMap;

use diesel::{connection::DefaultLoadingMode, prelude::*};

use super::{
    StoreError, Tx,
    connection::AnyConnection,
    directory_people,
    schema::{associations, directory_associations, directory_syncs, peer_associations},
};
use crate::matrix::threepid::ThreePid;

/// That a 3PID is somebody's, for a time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// Whose it is.
    pub mxid: String,
    /// From when on, in milliseconds since the Unix epoch.
    pub not_before: i64,
    /// Until when, in milliseconds since the Unix epoch.
    pub not_after: i64,
}

/// All that is said of a 3PID.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Standing {
    /// What was bound here.
    pub own: Option<Held>,
    /// What copies of directories say.
    pub in_directory: Option<String>,
    /// What neighbours say.
    pub theirs: Vec<Held>,
}

/// Who is believed beside what was bound here.
#[derive(Debug, Clone)]
pub struct Sources {
    /// Neighbours.
    pub origins: Vec<String>,
    /// Directories of which there are copies.
    pub directories: Vec<String>,
}

/// Tells `$tell` of each row that a query finds, none of which is kept in memory.
macro_rules! each_row {
    ($tx:expr, $query:expr, $tell:expr) => {{
        let mut tell = $tell;
        match &mut *$tx.0 {
            AnyConnection::Sqlite(conn) => {
                for row in $query.load_iter::<_, DefaultLoadingMode>(conn)? {
                    tell(row?);
                }
            }
            #[cfg(feature = "postgres")]
            AnyConnection::Postgres(conn) => {
                for row in $query.load_iter::<_, diesel::pg::PgRowByRowLoadingMode>(conn)? {
                    tell(row?);
                }
            }
        }
        Ok(())
    }};
}

/// Goes through everything that was bound here, in any order.
pub fn each_association(
    tx: &mut Tx<'_>,
    mut tell: impl FnMut(String, String, Held),
) -> Result<(), StoreError> {
    let query = associations::table.select((
        associations::medium,
        associations::address,
        (associations::mxid, associations::not_before, associations::not_after),
    ));
    each_row!(tx, query, |(medium, address, facts): (String, String, (String, i64, i64))| {
        tell(medium, address, held(facts));
    })
}

/// Goes through everything that the neighbours `origins` say, in any order.
pub fn each_of_neighbours(
    tx: &mut Tx<'_>,
    origins: &[String],
    mut tell: impl FnMut(String, String, Held),
) -> Result<(), StoreError> {
    let query = peer_associations::table
        .filter(peer_associations::origin.eq_any(origins))
        .filter(peer_associations::mxid.is_not_null())
        .select((
            peer_associations::medium,
            peer_associations::address,
            (
                peer_associations::mxid.assume_not_null(),
                peer_associations::not_before.assume_not_null(),
                peer_associations::not_after.assume_not_null(),
            ),
        ));
    each_row!(tx, query, |(medium, address, facts): (String, String, (String, i64, i64))| {
        tell(medium, address, held(facts));
    })
}

/// Goes through everything that is in the believed copies of `directories`, in any order. Whoever
/// is in a directory is so for ever, as far as that says.
pub fn each_in_directories(
    tx: &mut Tx<'_>,
    directories: &[String],
    mut tell: impl FnMut(String, String, Held),
) -> Result<(), StoreError> {
    let is_believed = directory_syncs::directory
        .eq(directory_associations::directory)
        .and(directory_syncs::generation.eq(directory_associations::generation));
    let query = directory_associations::table
        .inner_join(directory_syncs::table.on(is_believed))
        .filter(directory_associations::directory.eq_any(directories))
        .select((
            directory_associations::medium,
            directory_associations::address,
            directory_associations::mxid,
        ));
    each_row!(tx, query, |(medium, address, mxid): (String, String, String)| {
        tell(medium, address, Held { mxid, not_before: 0, not_after: i64::MAX });
    })
}

fn held((mxid, not_before, not_after): (String, i64, i64)) -> Held {
    Held { mxid, not_before, not_after }
}

/// How many 3PIDs are asked for in one query.
const AT_ONCE: usize = 500;

/// What is said of each of `threepids`, as far as it was bound here or `sources` say it.
pub fn of(
    tx: &mut Tx<'_>,
    sources: &Sources,
    threepids: &[ThreePid],
) -> Result<HashMap<ThreePid, Standing>, StoreError> {
    let mut standings: HashMap<ThreePid, Standing> =
        threepids.iter().map(|threepid| (threepid.clone(), Standing::default())).collect();
    let mut by_medium: HashMap<&str, Vec<&ThreePid>> = HashMap::new();
    for threepid in threepids {
        by_medium.entry(threepid.medium().as_str()).or_default().push(threepid);
    }
    for (medium, threepids) in by_medium {
        for some in threepids.chunks(AT_ONCE) {
            for (address, facts) in own_of(tx, medium, some)? {
                if let Some(standing) = standing(&mut standings, some, address) {
                    standing.own = Some(facts);
                }
            }
            for (address, facts) in theirs_of(tx, &sources.origins, medium, some)? {
                if let Some(standing) = standing(&mut standings, some, address) {
                    standing.theirs.push(facts);
                }
            }
            let owners =
                directory_people::owners(tx, &sources.directories, medium, addresses(some))?;
            for (address, mxid) in owners {
                if let Some(standing) = standing(&mut standings, some, address) {
                    standing.in_directory = Some(mxid);
                }
            }
        }
    }
    Ok(standings)
}

fn standing<'a>(
    standings: &'a mut HashMap<ThreePid, Standing>,
    some: &[&ThreePid],
    address: String,
) -> Option<&'a mut Standing> {
    let medium = some.first()?.medium().clone();
    standings.get_mut(&ThreePid::canonical(medium, address))
}

fn own_of(
    tx: &mut Tx<'_>,
    medium: &str,
    threepids: &[&ThreePid],
) -> Result<Vec<(String, Held)>, StoreError> {
    let columns = (
        associations::address,
        (associations::mxid, associations::not_before, associations::not_after),
    );
    let rows: Vec<(String, (String, i64, i64))> = match threepids {
        // One statement that is prepared once.
        [only] => {
            associations::table.find((medium, only.address())).select(columns).load(&mut *tx.0)?
        }
        _ => associations::table
            .filter(associations::medium.eq(medium))
            .filter(associations::address.eq_any(addresses(threepids)))
            .select(columns)
            .load(&mut *tx.0)?,
    };
    Ok(rows.into_iter().map(|(address, facts)| (address, held(facts))).collect())
}

fn theirs_of(
    tx: &mut Tx<'_>,
    origins: &[String],
    medium: &str,
    threepids: &[&ThreePid],
) -> Result<Vec<(String, Held)>, StoreError> {
    if origins.is_empty() {
        return Ok(Vec::new());
    }
    let rows: Vec<(String, (String, i64, i64))> = peer_associations::table
        .filter(peer_associations::medium.eq(medium))
        .filter(peer_associations::address.eq_any(addresses(threepids)))
        .filter(peer_associations::origin.eq_any(origins))
        .filter(peer_associations::mxid.is_not_null())
        .select((
            peer_associations::address,
            (
                peer_associations::mxid.assume_not_null(),
                peer_associations::not_before.assume_not_null(),
                peer_associations::not_after.assume_not_null(),
            ),
        ))
        .load(&mut *tx.0)?;
    Ok(rows.into_iter().map(|(address, facts)| (address, held(facts))).collect())
}

fn addresses<'a>(threepids: &[&'a ThreePid]) -> Vec<&'a str> {
    threepids.iter().map(|threepid| threepid.address()).collect()
}

/// About how many 3PIDs are bound, as far as that is known without counting them.
pub fn expected(tx: &mut Tx<'_>) -> Result<usize, StoreError> {
    use diesel::{
        dsl::sql,
        sql_types::{BigInt, Bool},
    };
    let count: Option<i64> = match &mut *tx.0 {
        AnyConnection::Sqlite(conn) => {
            let is_analysed = "EXISTS (SELECT 1 FROM sqlite_schema WHERE name = 'sqlite_stat1')";
            if !diesel::select(sql::<Bool>(is_analysed)).first::<bool>(conn)? {
                return Ok(0);
            }
            // The first number of the statistics is that of the rows.
            let rows = "(SELECT coalesce(max(CAST(stat AS INTEGER)), 0) FROM sqlite_stat1 \
                        WHERE tbl = 'associations')";
            diesel::select(sql::<BigInt>(rows)).first(conn).optional()?
        }
        #[cfg(feature = "postgres")]
        AnyConnection::Postgres(conn) => {
            let rows = "coalesce((SELECT reltuples::bigint FROM pg_class \
                        WHERE oid = 'associations'::regclass), 0)";
            diesel::select(sql::<BigInt>(rows)).first(conn).optional()?
        }
    };
    Ok(count.and_then(|count| usize::try_from(count).ok()).unwrap_or(0))
}

//! Associations of 3PIDs with user ids, and the hashes under which they are looked up.

use std::time::Duration;

use diesel::prelude::*;
use serde_json::Value;

use super::{
    StoreError, Tx,
    connection::{AnyConnection, on_backend},
    peppers::{Pepper, Peppers},
    schema::{associations, lookup_hashes},
};
use crate::{
    clock::millis,
    matrix::{
        id::UserId,
        json::Object,
        medium::Medium,
        threepid::{LookupHash, ThreePid},
    },
};

/// The fact that a 3PID belongs to a user, as it is signed.
#[derive(Debug, Clone)]
pub struct Association {
    /// The 3PID.
    pub threepid: ThreePid,
    /// Whose it is.
    pub mxid: UserId,
    /// When it was bound, in milliseconds since the Unix epoch.
    pub ts: i64,
    /// From when on it holds, in milliseconds since the Unix epoch.
    pub not_before: i64,
    /// Until when it holds, in milliseconds since the Unix epoch.
    pub not_after: i64,
}

/// How long an association holds: a hundred years, as other identity servers have it.
const VALIDITY: Duration = Duration::from_hours(100 * 365 * 24);

impl Association {
    /// An association that is made at `now_ms`, in milliseconds since the Unix epoch.
    #[must_use]
    pub fn new(threepid: ThreePid, mxid: UserId, now_ms: i64) -> Self {
        let not_after = now_ms + millis(VALIDITY);
        Self { threepid, mxid, ts: now_ms, not_before: now_ms, not_after }
    }

    /// What is signed
    /// ([spec](https://spec.matrix.org/v1.19/identity-service-api/#post_matrixidentityv23pidbind)).
    #[must_use]
    pub fn to_json(&self) -> Object {
        Object::from_iter([
            ("address".to_owned(), Value::from(self.threepid.address())),
            ("medium".to_owned(), Value::from(self.threepid.medium().as_str())),
            ("mxid".to_owned(), Value::from(self.mxid.as_str())),
            ("not_before".to_owned(), Value::from(self.not_before)),
            ("not_after".to_owned(), Value::from(self.not_after)),
            ("ts".to_owned(), Value::from(self.ts)),
        ])
    }
}

/// Whom `threepid` is bound to, held until the end of the transaction: nobody binds it meanwhile.
pub fn hold_mxid_of(tx: &mut Tx<'_>, threepid: &ThreePid) -> Result<Option<String>, StoreError> {
    tx.lock_threepid(threepid)?;
    Ok(associations::table
        .find((threepid.medium().as_str(), threepid.address()))
        .select(associations::mxid)
        .first(&mut *tx.0)
        .optional()?)
}

/// The association of `threepid` that holds at `now_ms`, if there is one.
pub fn find(
    tx: &mut Tx<'_>,
    threepid: &ThreePid,
    now_ms: i64,
) -> Result<Option<Association>, StoreError> {
    let facts: Option<(String, i64, i64, i64)> = associations::table
        .find((threepid.medium().as_str(), threepid.address()))
        .filter(associations::not_before.le(now_ms))
        .filter(associations::not_after.gt(now_ms))
        .select((
            associations::mxid,
            associations::ts,
            associations::not_before,
            associations::not_after,
        ))
        .first(&mut *tx.0)
        .optional()?;
    Ok(facts.and_then(|(mxid, ts, not_before, not_after)| {
        let (threepid, mxid) = (threepid.clone(), mxid.parse().ok()?);
        Some(Association { threepid, mxid, ts, not_before, not_after })
    }))
}

/// Stores an association in place of the one that the 3PID had, and its hashes under `peppers`.
pub fn bind(
    tx: &mut Tx<'_>,
    association: &Association,
    peppers: &Peppers,
) -> Result<(), StoreError> {
    let threepid = &association.threepid;
    tx.lock_threepid(threepid)?;
    let facts = (
        associations::mxid.eq(association.mxid.as_str()),
        associations::ts.eq(association.ts),
        associations::not_before.eq(association.not_before),
        associations::not_after.eq(association.not_after),
    );
    on_backend!(tx, conn => diesel::insert_into(associations::table)
        .values((
            associations::medium.eq(threepid.medium().as_str()),
            associations::address.eq(threepid.address()),
            facts,
        ))
        .on_conflict((associations::medium, associations::address))
        .do_update()
        .set(facts)
        .execute(conn))?;
    peppers.all().try_for_each(|pepper| add_hashes(tx, pepper, std::slice::from_ref(threepid)))
}

/// Stores the hashes of `threepids` under `pepper`; those that are there stay.
pub fn add_hashes(
    tx: &mut Tx<'_>,
    pepper: &Pepper,
    threepids: &[ThreePid],
) -> Result<(), StoreError> {
    let hash = |threepid: &ThreePid| threepid.lookup_hash(&pepper.pepper);
    let mut hashed: Vec<_> = threepids.iter().map(|threepid| (hash(threepid), threepid)).collect();
    // Neighbours in the table come one after another.
    hashed.sort_unstable_by_key(|(hash, _)| *hash);
    let rows: Vec<_> = hashed
        .iter()
        .map(|(hash, threepid)| {
            (
                lookup_hashes::pepper_id.eq(pepper.id),
                lookup_hashes::hash.eq(hash.as_slice()),
                lookup_hashes::medium.eq(threepid.medium().as_str()),
                lookup_hashes::address.eq(threepid.address()),
            )
        })
        .collect();
    if rows.is_empty() {
        return Ok(());
    }
    on_backend!(tx, conn => diesel::insert_into(lookup_hashes::table)
        .values(rows)
        .on_conflict_do_nothing()
        .execute(conn))?;
    Ok(())
}

/// Removes the association of `threepid` if it is with `mxid`; answers whether it was.
pub fn unbind(tx: &mut Tx<'_>, threepid: &ThreePid, mxid: &UserId) -> Result<bool, StoreError> {
    let held = associations::table
        .find((threepid.medium().as_str(), threepid.address()))
        .filter(associations::mxid.eq(mxid.as_str()));
    // Its hashes go with it, by foreign key.
    Ok(diesel::delete(held).execute(&mut *tx.0)? == 1)
}

/// The most hashes in one query: below SQLite's limit on bound values.
pub(super) const HASHES_PER_QUERY: usize = 1000;

/// Which of `hashes`, made with the pepper `pepper_id`, stand for somebody at `now_ms`, and for
/// whom.
pub fn mxids_of_hashes(
    tx: &mut Tx<'_>,
    pepper_id: i64,
    hashes: &[LookupHash],
    now_ms: i64,
) -> Result<Vec<(LookupHash, String)>, StoreError> {
    let mut found = Vec::new();
    for chunk in hashes.chunks(HASHES_PER_QUERY) {
        let wanted: Vec<&[u8]> = chunk.iter().map(<[u8; 32]>::as_slice).collect();
        let of_association = associations::medium
            .eq(lookup_hashes::medium)
            .and(associations::address.eq(lookup_hashes::address));
        let rows: Vec<(Vec<u8>, String)> = lookup_hashes::table
            .inner_join(associations::table.on(of_association))
            .filter(lookup_hashes::pepper_id.eq(pepper_id))
            .filter(lookup_hashes::hash.eq_any(wanted))
            .filter(associations::not_before.le(now_ms))
            .filter(associations::not_after.gt(now_ms))
            .select((lookup_hashes::hash, associations::mxid))
            .load(&mut *tx.0)?;
        found.extend(
            rows.into_iter().filter_map(|(hash, mxid)| Some((hash.try_into().ok()?, mxid))),
        );
    }
    Ok(found)
}

/// Up to `count` bound 3PIDs of `medium`, those whose addresses come after `address`, in order.
/// They stay bound until the end of the transaction: a hash of one that went away in between could
/// not be stored.
pub(super) fn threepids_to_hash(
    tx: &mut Tx<'_>,
    medium: &Medium,
    address: &str,
    count: i64,
) -> Result<Vec<ThreePid>, StoreError> {
    // One medium at a time: a condition on both columns would read the table from its beginning.
    let query = associations::table
        .filter(associations::medium.eq(medium.as_str()))
        .filter(associations::address.gt(address))
        .order(associations::address)
        .limit(count)
        .select(associations::address);
    let addresses: Vec<String> = match &mut *tx.0 {
        AnyConnection::Sqlite(conn) => query.load(conn)?,
        #[cfg(feature = "postgres")]
        AnyConnection::Postgres(conn) => query.for_key_share().load(conn)?,
    };
    let threepid = |address| ThreePid::canonical(medium.clone(), address);
    Ok(addresses.into_iter().map(threepid).collect())
}

/// Up to `count` associations of `medium`, those whose addresses come after `address`, in order.
pub fn after(
    tx: &mut Tx<'_>,
    medium: &Medium,
    address: &str,
    count: i64,
) -> Result<Vec<Association>, StoreError> {
    let rows: Vec<(String, String, i64, i64, i64)> = associations::table
        .filter(associations::medium.eq(medium.as_str()))
        .filter(associations::address.gt(address))
        .order(associations::address)
        .limit(count)
        .select((
            associations::address,
            associations::mxid,
            associations::ts,
            associations::not_before,
            associations::not_after,
        ))
        .load(&mut *tx.0)?;
    let association = |(address, mxid, ts, not_before, not_after): (_, String, _, _, _)| {
        let threepid = ThreePid::canonical(medium.clone(), address);
        // None else are stored.
        let mxid = mxid.parse().ok()?;
        Some(Association { threepid, mxid, ts, not_before, not_after })
    };
    Ok(rows.into_iter().filter_map(association).collect())
}

/// The first of the mediums of which 3PIDs are bound whose name comes after `name`.
pub fn medium_after(tx: &mut Tx<'_>, name: &str) -> Result<Option<Medium>, StoreError> {
    let name: Option<String> = associations::table
        .filter(associations::medium.gt(name))
        .order(associations::medium)
        .select(associations::medium)
        .first(&mut *tx.0)
        .optional()?;
    Ok(name.map(|name| Medium::named(&name)))
}

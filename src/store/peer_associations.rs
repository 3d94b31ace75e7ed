//! Associations that neighbours have made, and the hashes under which they are looked up.

use diesel::prelude::*;
use sha2::{Digest, Sha256};

use super::{
    StoreError, Tx,
    associations::HASHES_PER_QUERY,
    connection::on_backend,
    peppers::{Pepper, Peppers},
    schema::{peer_associations, peer_hashes},
};
use crate::matrix::{
    id::UserId,
    medium::Medium,
    threepid::{LookupHash, ThreePid},
};

/// What a neighbour says of a 3PID.
#[derive(Debug, Clone)]
pub struct News {
    /// The neighbour's number for it.
    pub origin_id: i64,
    /// The 3PID.
    pub threepid: ThreePid,
    /// When it was bound or unbound, in milliseconds since the Unix epoch.
    pub ts: i64,
    /// To whom it is bound; `None` where it is nobody's any more.
    pub bound: Option<Bound>,
}

/// To whom a neighbour has bound a 3PID.
#[derive(Debug, Clone)]
pub struct Bound {
    /// Who it is.
    pub mxid: UserId,
    /// From when on it holds, in milliseconds since the Unix epoch.
    pub not_before: i64,
    /// Until when it holds, in milliseconds since the Unix epoch.
    pub not_after: i64,
    /// All of it as the neighbour signed it, as JSON; `None` where it signed more than that.
    pub signed: Option<String>,
}

/// An association that a neighbour made, as it is found.
#[derive(Debug, Clone)]
pub struct PeerAssociation {
    /// The neighbour's name.
    pub origin: String,
    /// To whom the 3PID is bound.
    pub mxid: String,
    /// All of it as the neighbour signed it, as JSON; `None` where it signed more than that.
    pub signed: Option<String>,
}

/// Makes all who take news from `origin` wait for each other until the transaction ends, and all
/// who bind one of `threepids` or invite it: an invitation must not slip past the news.
pub fn hold<'a>(
    tx: &mut Tx<'_>,
    origin: &str,
    threepids: impl Iterator<Item = &'a ThreePid>,
) -> Result<(), StoreError> {
    tx.lock(&Sha256::digest(format!("replication from {origin}")))?;
    let mut threepids: Vec<&ThreePid> = threepids.collect();
    // Everybody in one order, so that nobody waits in a circle.
    threepids.sort_by_key(|threepid| (threepid.medium().as_str(), threepid.address()));
    threepids.into_iter().try_for_each(|threepid| tx.lock_threepid(threepid))
}

/// Takes what `origin` says, unless it has said something newer of the same 3PID; answers whether
/// it was news.
pub fn take(
    tx: &mut Tx<'_>,
    origin: &str,
    news: &News,
    peppers: &Peppers,
) -> Result<bool, StoreError> {
    let (medium, address) = (news.threepid.medium().as_str(), news.threepid.address());
    let known: Option<(i64, i64)> = peer_associations::table
        .find((origin, medium, address))
        .select((peer_associations::ts, peer_associations::origin_id))
        .first(&mut *tx.0)
        .optional()?;
    if known.is_some_and(|known| !is_newer(news, known)) {
        return Ok(false);
    }
    let bound = news.bound.as_ref();
    let facts = (
        peer_associations::origin_id.eq(news.origin_id),
        peer_associations::mxid.eq(bound.map(|bound| bound.mxid.as_str())),
        peer_associations::ts.eq(news.ts),
        peer_associations::not_before.eq(bound.map(|bound| bound.not_before)),
        peer_associations::not_after.eq(bound.map(|bound| bound.not_after)),
        peer_associations::signed.eq(bound.and_then(|bound| bound.signed.as_deref())),
    );
    on_backend!(tx, conn => diesel::insert_into(peer_associations::table)
        .values((
            peer_associations::origin.eq(origin),
            peer_associations::medium.eq(medium),
            peer_associations::address.eq(address),
            facts,
        ))
        .on_conflict((
            peer_associations::origin,
            peer_associations::medium,
            peer_associations::address,
        ))
        .do_update()
        .set(facts)
        .execute(conn))?;
    if bound.is_some() {
        let threepid = std::slice::from_ref(&news.threepid);
        peppers.all().try_for_each(|pepper| add_hashes(tx, pepper, origin, threepid))?;
    } else {
        forget_hashes(tx, origin, &news.threepid)?;
    }
    Ok(true)
}

/// Whether `news` is to replace what has this time and this number. The time decides before the
/// number, since numbers begin anew where a neighbour's database does; but a removal is believed by
/// either, since clocks are put back as well.
fn is_newer(news: &News, known: (i64, i64)) -> bool {
    let by_number = news.bound.is_none() && news.origin_id > known.1;
    by_number || (news.ts, news.origin_id) > known
}

/// Stores the hashes of what `origin` has bound under `pepper`; those that are there stay.
pub(super) fn add_hashes(
    tx: &mut Tx<'_>,
    pepper: &Pepper,
    origin: &str,
    threepids: &[ThreePid],
) -> Result<(), StoreError> {
    let rows: Vec<_> = threepids
        .iter()
        .map(|threepid| {
            (
                peer_hashes::pepper_id.eq(pepper.id),
                peer_hashes::hash.eq(threepid.lookup_hash(&pepper.pepper).to_vec()),
                peer_hashes::origin.eq(origin),
                peer_hashes::medium.eq(threepid.medium().as_str()),
                peer_hashes::address.eq(threepid.address()),
            )
        })
        .collect();
    if rows.is_empty() {
        return Ok(());
    }
    on_backend!(tx, conn => diesel::insert_into(peer_hashes::table)
        .values(rows)
        .on_conflict_do_nothing()
        .execute(conn))?;
    Ok(())
}

fn forget_hashes(tx: &mut Tx<'_>, origin: &str, threepid: &ThreePid) -> Result<(), StoreError> {
    let hashes = peer_hashes::table
        .filter(peer_hashes::origin.eq(origin))
        .filter(peer_hashes::medium.eq(threepid.medium().as_str()))
        .filter(peer_hashes::address.eq(threepid.address()));
    diesel::delete(hashes).execute(&mut *tx.0)?;
    Ok(())
}

/// The first kind of associations, origin and medium, after this one.
pub(super) fn kind_after(
    tx: &mut Tx<'_>,
    origin: &str,
    medium: &str,
) -> Result<Option<(String, String)>, StoreError> {
    use peer_associations as table;
    let same_origin = table::origin.eq(origin).and(table::medium.gt(medium));
    let columns = (table::origin, table::medium);
    let ordered = table::table.order(columns).select(columns);
    let mut kind: Option<(String, String)> =
        ordered.filter(same_origin).first(&mut *tx.0).optional()?;
    if kind.is_none() {
        kind = ordered.filter(table::origin.gt(origin)).first(&mut *tx.0).optional()?;
    }
    Ok(kind)
}

/// Up to `count` 3PIDs of `medium` that `origin` has bound, those whose addresses come after
/// `address`, in order.
pub(super) fn threepids_to_hash(
    tx: &mut Tx<'_>,
    (origin, medium): (&str, &Medium),
    address: &str,
    count: i64,
) -> Result<Vec<ThreePid>, StoreError> {
    let addresses: Vec<String> = peer_associations::table
        .filter(peer_associations::origin.eq(origin))
        .filter(peer_associations::medium.eq(medium.as_str()))
        .filter(peer_associations::address.gt(address))
        .filter(peer_associations::mxid.is_not_null())
        .order(peer_associations::address)
        .limit(count)
        .select(peer_associations::address)
        .load(&mut *tx.0)?;
    let threepid = |address| ThreePid::canonical(medium.clone(), address);
    Ok(addresses.into_iter().map(threepid).collect())
}

/// Which of `hashes`, made with the pepper `pepper_id`, stand for somebody at `now_ms` by what
/// `origins` say, and for whom. Where several speak of one 3PID, who spoke last comes last.
pub fn mxids_of_hashes(
    tx: &mut Tx<'_>,
    (origins, pepper_id): (&[String], i64),
    hashes: &[LookupHash],
    now_ms: i64,
) -> Result<Vec<(LookupHash, String)>, StoreError> {
    let mut found = Vec::new();
    for chunk in hashes.chunks(HASHES_PER_QUERY) {
        let wanted: Vec<&[u8]> = chunk.iter().map(<[u8; 32]>::as_slice).collect();
        let of_association = peer_associations::origin
            .eq(peer_hashes::origin)
            .and(peer_associations::medium.eq(peer_hashes::medium))
            .and(peer_associations::address.eq(peer_hashes::address));
        let rows: Vec<(Vec<u8>, Option<String>)> = peer_hashes::table
            .inner_join(peer_associations::table.on(of_association))
            .filter(peer_hashes::pepper_id.eq(pepper_id))
            .filter(peer_hashes::hash.eq_any(wanted))
            .filter(peer_associations::origin.eq_any(origins))
            .filter(peer_associations::not_before.le(now_ms))
            .filter(peer_associations::not_after.gt(now_ms))
            .order((peer_associations::ts, peer_associations::origin))
            .select((peer_hashes::hash, peer_associations::mxid))
            .load(&mut *tx.0)?;
        found.extend(
            rows.into_iter().filter_map(|(hash, mxid)| Some((hash.try_into().ok()?, mxid?))),
        );
    }
    Ok(found)
}

/// What the one of `origins` that spoke last says of `threepid`, as far as it holds at `now_ms`.
pub fn find(
    tx: &mut Tx<'_>,
    origins: &[String],
    threepid: &ThreePid,
    now_ms: i64,
) -> Result<Option<PeerAssociation>, StoreError> {
    let row: Option<(String, Option<String>, Option<String>)> = peer_associations::table
        .filter(peer_associations::medium.eq(threepid.medium().as_str()))
        .filter(peer_associations::address.eq(threepid.address()))
        .filter(peer_associations::origin.eq_any(origins))
        .filter(peer_associations::not_before.le(now_ms))
        .filter(peer_associations::not_after.gt(now_ms))
        .order((peer_associations::ts.desc(), peer_associations::origin.desc()))
        .select((peer_associations::origin, peer_associations::mxid, peer_associations::signed))
        .first(&mut *tx.0)
        .optional()?;
    let found = |(origin, mxid, signed): (String, Option<String>, _)| {
        Some(PeerAssociation { origin, mxid: mxid?, signed })
    };
    Ok(row.and_then(found))
}

//! The terms of other identity servers that the operator accepted.

use diesel::prelude::*;

use super::{StoreError, Tx, connection::on_backend, schema::peer_terms};

/// Adds to what the operator accepted of the peer with this base URL.
pub fn accept(tx: &mut Tx<'_>, peer: &str, urls: &[String], now_ms: i64) -> Result<(), StoreError> {
    for url in urls {
        on_backend!(tx, conn => diesel::insert_into(peer_terms::table)
            .values((
                peer_terms::peer.eq(peer),
                peer_terms::url.eq(url),
                peer_terms::accepted_at.eq(now_ms),
            ))
            .on_conflict_do_nothing()
            .execute(conn))?;
    }
    Ok(())
}

/// The URLs that the operator accepted of the peer with this base URL.
pub fn accepted(tx: &mut Tx<'_>, peer: &str) -> Result<Vec<String>, StoreError> {
    let of_peer = peer_terms::table.filter(peer_terms::peer.eq(peer)).order(peer_terms::url);
    Ok(of_peer.select(peer_terms::url).load(&mut *tx.0)?)
}

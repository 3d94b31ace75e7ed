//! OpenID tokens of this server's own user, stored hashed.

use diesel::prelude::*;

use super::{StoreError, Tx, schema::openid_tokens};
use crate::secret::SecretHash;

/// Stores a token that was made for `peer` and holds until `expires_at`.
pub fn add(
    tx: &mut Tx<'_>,
    token_hash: &SecretHash,
    peer: &str,
    expires_at: i64,
) -> Result<(), StoreError> {
    diesel::insert_into(openid_tokens::table)
        .values((
            openid_tokens::token_hash.eq(token_hash),
            openid_tokens::peer.eq(peer),
            openid_tokens::expires_at.eq(expires_at),
        ))
        .execute(&mut *tx.0)?;
    Ok(())
}

/// Whether there is such a token, expired or not.
pub fn is_known(tx: &mut Tx<'_>, token_hash: &SecretHash) -> Result<bool, StoreError> {
    let found = openid_tokens::table.find(token_hash).select(openid_tokens::expires_at);
    Ok(found.first::<i64>(&mut *tx.0).optional()?.is_some())
}

/// Forgets a token; answers whether there was one that still held. Of several who ask at once only
/// one hears that.
pub fn take(tx: &mut Tx<'_>, token_hash: &SecretHash, now_ms: i64) -> Result<bool, StoreError> {
    let held = openid_tokens::table.find(token_hash).filter(openid_tokens::expires_at.gt(now_ms));
    Ok(diesel::delete(held).execute(&mut *tx.0)? == 1)
}

/// Forgets the tokens that have expired.
pub fn remove_expired(tx: &mut Tx<'_>, now_ms: i64) -> Result<usize, StoreError> {
    let expired = openid_tokens::table.filter(openid_tokens::expires_at.le(now_ms));
    Ok(diesel::delete(expired).execute(&mut *tx.0)?)
}

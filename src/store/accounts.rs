//! Access tokens, stored hashed, and the terms that people accepted.

use diesel::prelude::*;

use super::{
    StoreError, Tx,
    connection::on_backend,
    schema::{accepted_terms, access_tokens},
};
use crate::{matrix::id::UserId, secret::SecretHash};

/// Stores an access token of `mxid`.
pub fn add_token(
    tx: &mut Tx<'_>,
    mxid: &UserId,
    token_hash: &SecretHash,
    now_ms: i64,
) -> Result<(), StoreError> {
    diesel::insert_into(access_tokens::table)
        .values((
            access_tokens::token_hash.eq(token_hash),
            access_tokens::mxid.eq(mxid.as_str()),
            access_tokens::created_at.eq(now_ms),
        ))
        .execute(&mut *tx.0)?;
    Ok(())
}

/// Whose access token it is, if it is one.
pub fn mxid_of_token(
    tx: &mut Tx<'_>,
    token_hash: &SecretHash,
) -> Result<Option<UserId>, StoreError> {
    let mxid: Option<String> = access_tokens::table
        .find(token_hash)
        .select(access_tokens::mxid)
        .first(&mut *tx.0)
        .optional()?;
    Ok(mxid.and_then(|mxid| mxid.parse().ok()))
}

/// Forgets an access token; answers whether there was one.
pub fn remove_token(tx: &mut Tx<'_>, token_hash: &SecretHash) -> Result<bool, StoreError> {
    Ok(diesel::delete(access_tokens::table.find(token_hash)).execute(&mut *tx.0)? == 1)
}

/// Forgets all access tokens of `mxid`; answers how many there were.
pub fn remove_tokens_of(tx: &mut Tx<'_>, mxid: &UserId) -> Result<usize, StoreError> {
    let of_user = access_tokens::table.filter(access_tokens::mxid.eq(mxid.as_str()));
    Ok(diesel::delete(of_user).execute(&mut *tx.0)?)
}

/// An account as the operator sees it.
#[derive(Debug, Queryable)]
pub struct Account {
    /// Whose it is.
    pub mxid: String,
    /// How many access tokens it has.
    pub tokens: i64,
    /// When the newest of them was made, in milliseconds since the Unix epoch.
    pub newest_token_at: Option<i64>,
}

/// All accounts that have an access token, by user id.
pub fn list(tx: &mut Tx<'_>) -> Result<Vec<Account>, StoreError> {
    use diesel::dsl::{count, max};
    Ok(access_tokens::table
        .group_by(access_tokens::mxid)
        .select((
            access_tokens::mxid,
            count(access_tokens::token_hash),
            max(access_tokens::created_at),
        ))
        .order(access_tokens::mxid)
        .load(&mut *tx.0)?)
}

/// Adds to the policies that `mxid` accepted, each by the URL of one of its texts.
pub fn accept_terms(
    tx: &mut Tx<'_>,
    mxid: &UserId,
    urls: &[String],
    now_ms: i64,
) -> Result<(), StoreError> {
    for url in urls {
        on_backend!(tx, conn => diesel::insert_into(accepted_terms::table)
            .values((
                accepted_terms::mxid.eq(mxid.as_str()),
                accepted_terms::url.eq(url),
                accepted_terms::accepted_at.eq(now_ms),
            ))
            .on_conflict_do_nothing()
            .execute(conn))?;
    }
    Ok(())
}

/// The URLs that `mxid` accepted.
pub fn accepted_terms(tx: &mut Tx<'_>, mxid: &UserId) -> Result<Vec<String>, StoreError> {
    Ok(accepted_terms::table
        .filter(accepted_terms::mxid.eq(mxid.as_str()))
        .select(accepted_terms::url)
        .load(&mut *tx.0)?)
}

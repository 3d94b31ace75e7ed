//! The hashes of 3PIDs: of those that were bound here, of those of neighbours, and of those in copies
//! of directories.

use diesel::{dsl::exists, prelude::*};

use super::{
    StoreError, Tx,
    schema::{directory_hashes, lookup_hashes, peer_hashes},
};
use crate::{index, matrix::threepid::LookupHash};

/// Whether hashes of several 3PIDs, made with the pepper `pepper_id`, begin as `hash` does, so that
/// the index can't tell them apart.
pub fn is_shared(tx: &mut Tx<'_>, pepper_id: i64, hash: &LookupHash) -> Result<bool, StoreError> {
    let (first, last) = index::tag_range(hash);
    macro_rules! others {
        ($table:ident) => {
            exists(
                $table::table
                    .filter($table::pepper_id.eq(pepper_id))
                    .filter($table::hash.between(first.as_slice(), last.as_slice()))
                    .filter($table::hash.ne(hash.as_slice())),
            )
        };
    }
    let others = others!(lookup_hashes).or(others!(peer_hashes)).or(others!(directory_hashes));
    Ok(diesel::select(others).get_result(&mut *tx.0)?)
}

/// Removes about `count` of the hashes that were made with the pepper `pepper_id`; answers whether
/// there may be more.
pub(super) fn forget_some(tx: &mut Tx<'_>, pepper_id: i64, count: i64) -> Result<bool, StoreError> {
    macro_rules! forget_some {
        ($table:ident) => {{
            let of_pepper = $table::table.filter($table::pepper_id.eq(pepper_id));
            let last: Option<Vec<u8>> = of_pepper
                .order($table::hash)
                .select($table::hash)
                .offset(count)
                .first(&mut *tx.0)
                .optional()?;
            match &last {
                Some(last) => {
                    diesel::delete(of_pepper.filter($table::hash.le(last))).execute(&mut *tx.0)?
                }
                None => diesel::delete(of_pepper).execute(&mut *tx.0)?,
            };
            last.is_some()
        }};
    }
    Ok(forget_some!(lookup_hashes) || forget_some!(peer_hashes) || forget_some!(directory_hashes))
}

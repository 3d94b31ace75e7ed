//! How many wrong passwords in a row were tried as which users.

use diesel::prelude::*;
use sha2::{Digest, Sha256};

use super::{StoreError, Tx, connection::on_backend, schema::wrong_passwords};
use crate::matrix::id::UserId;

/// The wrong passwords of a user.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Queryable, Selectable)]
#[diesel(table_name = wrong_passwords)]
pub struct Wrong {
    /// How many there were since the last right one.
    pub in_a_row: i32,
    /// When the last one was tried, in milliseconds since the Unix epoch.
    pub last_at: i64,
    /// Until when nobody gets in as the user, in milliseconds since the Unix epoch.
    pub locked_until: i64,
}

/// The wrong passwords of `user`. Everybody else who wants to know or change them waits until the
/// transaction ends.
pub fn hold(tx: &mut Tx<'_>, user: &UserId) -> Result<Wrong, StoreError> {
    tx.lock(&Sha256::digest(format!("wrong passwords {user}")))?;
    let known = wrong_passwords::table.find(user.as_str()).select(Wrong::as_select());
    Ok(known.first(&mut *tx.0).optional()?.unwrap_or_default())
}

/// Stores the wrong passwords of `user`, whom the transaction holds.
pub fn set(tx: &mut Tx<'_>, user: &UserId, wrong: &Wrong) -> Result<(), StoreError> {
    let facts = (
        wrong_passwords::in_a_row.eq(wrong.in_a_row),
        wrong_passwords::last_at.eq(wrong.last_at),
        wrong_passwords::locked_until.eq(wrong.locked_until),
    );
    on_backend!(tx, conn => diesel::insert_into(wrong_passwords::table)
        .values((wrong_passwords::mxid.eq(user.as_str()), facts))
        .on_conflict(wrong_passwords::mxid)
        .do_update()
        .set(facts)
        .execute(conn))?;
    Ok(())
}

/// Forgets the wrong passwords of `user`, whom the transaction holds.
pub fn forget(tx: &mut Tx<'_>, user: &UserId) -> Result<(), StoreError> {
    diesel::delete(wrong_passwords::table.find(user.as_str())).execute(&mut *tx.0)?;
    Ok(())
}

/// Forgets the users as whom nobody has tried a wrong one since `before_ms`, in milliseconds since
/// the Unix epoch; answers how many.
pub fn remove_older(tx: &mut Tx<'_>, before_ms: i64) -> Result<usize, StoreError> {
    let old = wrong_passwords::table.filter(wrong_passwords::last_at.le(before_ms));
    Ok(diesel::delete(old).execute(&mut *tx.0)?)
}

//! How many text messages were sent on each day, and how many may be.

use diesel::prelude::*;

use super::{StoreError, Tx, connection::on_backend, schema::sms_counts};

/// Stands in the table for all countries together.
const ALL: &str = "";

/// How many text messages a day may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DayLimits {
    /// To the country of the message; `None` for as many as are asked for.
    pub country: Option<i64>,
    /// To all countries; `None` for as many as are asked for.
    pub total: Option<i64>,
}

/// Why a day has no room for one more.
#[derive(Debug, thiserror::Error)]
pub enum DayFull {
    /// The country has had all of its messages.
    #[error("the country had all text messages of the day")]
    Country,
    /// All of the budget is spent.
    #[error("the budget of the day is spent")]
    Total,
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Counts one message to `country`, and answers the new total of the day. Of several nodes that
/// count at once none goes beyond the limits.
///
/// # Errors
/// When the day is full. The transaction must be rolled back then, which takes all of it back.
pub fn take(tx: &mut Tx<'_>, day: i64, country: &str, limits: DayLimits) -> Result<i64, DayFull> {
    // Everybody counts the country first, so that nobody waits in a circle.
    if !increment(tx, day, country, limits.country)? {
        return Err(DayFull::Country);
    }
    if !increment(tx, day, ALL, limits.total)? {
        return Err(DayFull::Total);
    }
    Ok(total(tx, day)?)
}

/// Answers whether there was room.
fn increment(
    tx: &mut Tx<'_>,
    day: i64,
    country: &str,
    max: Option<i64>,
) -> Result<bool, StoreError> {
    let max = max.unwrap_or(i64::MAX);
    on_backend!(tx, conn => diesel::insert_into(sms_counts::table)
        .values((
            sms_counts::day.eq(day),
            sms_counts::country.eq(country),
            sms_counts::count.eq(0),
        ))
        .on_conflict_do_nothing()
        .execute(conn))?;
    let with_room = sms_counts::table.find((day, country)).filter(sms_counts::count.lt(max));
    let counted = diesel::update(with_room)
        .set(sms_counts::count.eq(sms_counts::count + 1))
        .execute(&mut *tx.0)?;
    Ok(counted == 1)
}

/// Takes back what [`take`] counted; answers the new total of the day.
pub fn give_back(tx: &mut Tx<'_>, day: i64, country: &str) -> Result<i64, StoreError> {
    for country in [country, ALL] {
        let counted = sms_counts::table.find((day, country)).filter(sms_counts::count.gt(0));
        diesel::update(counted)
            .set(sms_counts::count.eq(sms_counts::count - 1))
            .execute(&mut *tx.0)?;
    }
    total(tx, day)
}

/// How many messages were sent on `day`.
pub fn total(tx: &mut Tx<'_>, day: i64) -> Result<i64, StoreError> {
    let row = sms_counts::table.find((day, ALL)).select(sms_counts::count);
    Ok(row.first(&mut *tx.0).optional()?.unwrap_or(0))
}

/// Forgets the days before `day`; answers how many counts.
pub fn remove_before(tx: &mut Tx<'_>, day: i64) -> Result<usize, StoreError> {
    let old = sms_counts::table.filter(sms_counts::day.lt(day));
    Ok(diesel::delete(old).execute(&mut *tx.0)?)
}

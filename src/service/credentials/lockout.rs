//! Who has tried too many wrong passwords, and is kept from trying for a while, at whichever node.

use std::time::Duration;

use crate::{
    app::App,
    clock::millis,
    matrix::id::UserId,
    store::{
        StoreError,
        wrong_passwords::{self, Wrong},
    },
};

/// So many wrong passwords in a row cost nothing: people mistype.
const FREE: i32 = 5;

/// How long nobody gets in as a user at first; doubled with each wrong password after that.
const FIRST_PAUSE: Duration = Duration::from_secs(30);

/// The longest that nobody gets in as a user.
const LONGEST_PAUSE: Duration = Duration::from_hours(1);

/// After so long without an attempt everything is forgotten.
const FORGOTTEN_AFTER: Duration = Duration::from_hours(24);

/// The right to try one password.
pub(super) struct Trial<'a> {
    app: &'a App,
    user: &'a UserId,
    is_locked_out: bool,
}

/// Lets one password of `user` be tried; `None` while they are locked out. It counts as a wrong one
/// until it is known to be right, so that many attempts at once are as many.
///
/// # Errors
/// When the database fails.
pub(super) async fn admit<'a>(
    app: &'a App,
    user: &'a UserId,
) -> Result<Option<Trial<'a>>, StoreError> {
    let (tried, now_ms) = (user.clone(), app.clock.now_ms());
    let counted = app.store.write(move |tx| {
        let counted = one_more(wrong_passwords::hold(tx, &tried)?, now_ms);
        if let Some(wrong) = &counted {
            wrong_passwords::set(tx, &tried, wrong)?;
        }
        Ok::<_, StoreError>(counted)
    });
    let trial = |wrong: Wrong| Trial { app, user, is_locked_out: wrong.in_a_row >= FREE };
    Ok(counted.await?.map(trial))
}

/// What is stored when one more is tried; `None` while none may be.
fn one_more(before: Wrong, now_ms: i64) -> Option<Wrong> {
    // A time that is as far ahead was written by a clock that was wrong.
    let is_forgotten = now_ms.abs_diff(before.last_at) >= millis(FORGOTTEN_AFTER).unsigned_abs();
    let before = if is_forgotten { Wrong::default() } else { before };
    if now_ms < before.locked_until {
        return None;
    }
    let in_a_row = before.in_a_row.saturating_add(1);
    let pause = (in_a_row >= FREE).then(|| {
        let doublings = (in_a_row - FREE).unsigned_abs().min(16);
        FIRST_PAUSE.saturating_mul(1 << doublings).min(LONGEST_PAUSE)
    });
    let locked_until = pause.map_or(0, |pause| now_ms.saturating_add(millis(pause)));
    Some(Wrong { in_a_row, last_at: now_ms, locked_until })
}

impl Trial<'_> {
    /// It was right: everything is forgotten.
    ///
    /// # Errors
    /// When the database fails.
    pub(super) async fn was_right(self) -> Result<(), StoreError> {
        let user = self.user.clone();
        let forgotten = self.app.store.write(move |tx| {
            wrong_passwords::hold(tx, &user)?;
            wrong_passwords::forget(tx, &user)
        });
        forgotten.await
    }

    /// Nobody could tell: the attempt doesn't count.
    ///
    /// # Errors
    /// When the database fails.
    pub(super) async fn was_unanswered(self) -> Result<(), StoreError> {
        let user = self.user.clone();
        let taken_back = self.app.store.write(move |tx| {
            let wrong = wrong_passwords::hold(tx, &user)?;
            let in_a_row = wrong.in_a_row.saturating_sub(1).max(0);
            wrong_passwords::set(tx, &user, &Wrong { in_a_row, locked_until: 0, ..wrong })
        });
        taken_back.await
    }

    /// It was wrong: answers whether the user is locked out from now on.
    pub(super) fn was_wrong(self) -> bool {
        self.is_locked_out
    }
}

/// Forgets the wrong passwords of users as whom nobody has tried one for long; answers how many
/// users.
///
/// # Errors
/// When the database fails.
pub async fn forget_old(app: &App) -> Result<usize, StoreError> {
    let before_ms = app.clock.now_ms() - millis(FORGOTTEN_AFTER);
    app.store.write(move |tx| wrong_passwords::remove_older(tx, before_ms)).await
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_700_000_000_000;
    const DAY: i64 = 24 * 60 * 60 * 1000;

    #[test]
    fn the_fifth_wrong_password_locks_out_and_each_more_twice_as_long() {
        let mut now = NOW;
        let mut wrong = Wrong::default();
        for _ in 0..4 {
            wrong = one_more(wrong, now).unwrap();
            assert_eq!(wrong.locked_until, 0);
        }
        for seconds in [30, 60, 120, 240, 480, 960, 1920, 3600, 3600] {
            wrong = one_more(wrong, now).unwrap();
            now += seconds * 1000;
            assert_eq!(wrong.locked_until, now);
            assert_eq!(one_more(wrong, now - 1), None, "{seconds}");
        }
    }

    #[test]
    fn a_day_of_rest_makes_everything_good_and_so_does_a_clock_that_was_wrong() {
        let wrong = Wrong { in_a_row: 9, last_at: NOW, locked_until: NOW + 480_000 };
        let first = |now| Some(Wrong { in_a_row: 1, last_at: now, locked_until: 0 });
        assert_eq!(one_more(wrong, NOW + DAY), first(NOW + DAY));
        assert_eq!(one_more(wrong, NOW + DAY - 1).map(|wrong| wrong.in_a_row), Some(10));
        assert_eq!(one_more(wrong, NOW - DAY), first(NOW - DAY));
        // Clocks of two nodes that differ a little.
        assert_eq!(one_more(wrong, NOW - 60_000), None);
    }
}

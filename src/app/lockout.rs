//! Who has tried too many wrong passwords, and is kept from trying for a while.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use moka::sync::Cache;

use crate::{
    clock::{SharedClock, millis},
    matrix::id::UserId,
};

/// So many wrong passwords in a row cost nothing: people mistype.
const FREE: u32 = 5;

/// How long nobody gets in as a user at first; doubled with each wrong password after that.
const FIRST_PAUSE: Duration = Duration::from_secs(30);

/// The longest that nobody gets in as a user.
const LONGEST_PAUSE: Duration = Duration::from_hours(1);

/// After so long without an attempt everything is forgotten.
const FORGOTTEN_AFTER: Duration = Duration::from_hours(24);

/// The most users who are remembered.
const MAX_USERS: u64 = 100_000;

/// The wrong passwords of all users.
pub struct Lockouts {
    users: Cache<UserId, Arc<Mutex<Wrong>>>,
    clock: SharedClock,
}

#[derive(Debug, Default)]
struct Wrong {
    in_a_row: u32,
    last_ms: i64,
    locked_until: i64,
}

impl Lockouts {
    /// Nobody has tried yet.
    #[must_use]
    pub fn new(clock: SharedClock) -> Self {
        Self { users: Cache::new(MAX_USERS), clock }
    }

    /// The right to try one password; `None` while the user is locked out. It counts as a wrong one
    /// until it is known to be right, so that many attempts at once are as many.
    #[must_use]
    pub fn admits(&self, user: &UserId) -> Option<Trial> {
        let now_ms = self.clock.now_ms();
        let wrong = self.users.get_with_by_ref(user, Arc::default);
        let mut held = lock(&wrong);
        if now_ms < held.locked_until {
            return None;
        }
        if now_ms >= held.last_ms.saturating_add(millis(FORGOTTEN_AFTER)) {
            *held = Wrong::default();
        }
        held.in_a_row = held.in_a_row.saturating_add(1);
        held.last_ms = now_ms;
        if let Some(doublings) = held.in_a_row.checked_sub(FREE) {
            let pause = FIRST_PAUSE.saturating_mul(1 << doublings.min(16)).min(LONGEST_PAUSE);
            held.locked_until = now_ms.saturating_add(millis(pause));
        }
        drop(held);
        Some(Trial(wrong))
    }
}

/// The right to try one password.
pub struct Trial(Arc<Mutex<Wrong>>);

impl Trial {
    /// It was right: everything is forgotten.
    pub fn was_right(self) {
        *lock(&self.0) = Wrong::default();
    }

    /// Nobody could tell: the attempt doesn't count.
    pub fn was_unanswered(self) {
        let mut held = lock(&self.0);
        held.in_a_row = held.in_a_row.saturating_sub(1);
        held.locked_until = 0;
    }

    /// It was wrong: answers whether the user is locked out from now on.
    #[must_use]
    pub fn was_wrong(self) -> bool {
        lock(&self.0).in_a_row >= FREE
    }
}

fn lock(wrong: &Mutex<Wrong>) -> MutexGuard<'_, Wrong> {
    wrong.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;

    fn lockouts() -> (Lockouts, Arc<ManualClock>, UserId) {
        let clock = Arc::new(ManualClock::at(1_700_000_000_000));
        (Lockouts::new(clock.clone()), clock, "@a:hs.example".parse().unwrap())
    }

    fn wrong(lockouts: &Lockouts, user: &UserId) -> bool {
        lockouts.admits(user).is_some_and(|trial| !trial.was_wrong())
    }

    #[test]
    fn the_fifth_wrong_password_locks_out_and_each_more_twice_as_long() {
        let (lockouts, clock, user) = lockouts();
        for _ in 0..4 {
            assert!(wrong(&lockouts, &user));
        }
        for seconds in [30, 60, 120, 240, 480, 960, 1920, 3600, 3600] {
            assert!(lockouts.admits(&user).unwrap().was_wrong(), "{seconds}");
            clock.advance(Duration::from_millis(seconds * 1000 - 1));
            assert!(lockouts.admits(&user).is_none(), "{seconds}");
            clock.advance(Duration::from_millis(1));
        }
        assert!(wrong(&lockouts, &"@b:hs.example".parse().unwrap()));
    }

    #[test]
    fn a_right_password_and_a_day_of_rest_make_everything_good() {
        let (lockouts, clock, user) = lockouts();
        for _ in 0..4 {
            assert!(wrong(&lockouts, &user));
        }
        lockouts.admits(&user).unwrap().was_right();
        for _ in 0..4 {
            assert!(wrong(&lockouts, &user));
        }
        clock.advance(Duration::from_hours(24));
        assert!(wrong(&lockouts, &user));
    }

    #[test]
    fn what_nobody_could_tell_does_not_count() {
        let (lockouts, _, user) = lockouts();
        for _ in 0..20 {
            lockouts.admits(&user).unwrap().was_unanswered();
        }
        assert!(wrong(&lockouts, &user));
    }
}

//! For how long what is in memory may be taken for what is in the database.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use crate::clock::SharedClock;

/// For how long memory is believed after it was last compared with the database. Whoever changes
/// something that must be seen everywhere at once waits for longer than that.
pub const BELIEVED_FOR: Duration = Duration::from_secs(1);

/// A moment, by two clocks: one that never goes back, and one that doesn't stand still while the
/// machine sleeps.
#[derive(Debug, Clone, Copy)]
pub struct Moment {
    instant: Instant,
    now_ms: i64,
}

impl Moment {
    /// How long ago it was, by the clock that moved more.
    #[must_use]
    pub fn age(&self, clock: &SharedClock) -> Duration {
        // However the clock was turned.
        let by_clock = Duration::from_millis(self.now_ms.abs_diff(clock.now_ms()));
        self.instant.elapsed().max(by_clock)
    }
}

/// When memory was last known to agree with the database.
pub struct Freshness {
    known: Mutex<Known>,
    clock: SharedClock,
}

#[derive(Default)]
struct Known {
    /// By when memory agreed with the database; `None`: never, or that is in doubt.
    proved: Option<Moment>,
    /// When that was in doubt the last time.
    doubted: Option<Instant>,
}

impl Freshness {
    /// Never yet.
    #[must_use]
    pub fn new(clock: SharedClock) -> Self {
        Self { known: Mutex::default(), clock }
    }

    /// Now.
    #[must_use]
    pub fn moment(&self) -> Moment {
        Moment { instant: Instant::now(), now_ms: self.clock.now_ms() }
    }

    /// All that had changed by `moment` is in memory. That says nothing of what was in doubt only
    /// afterwards.
    pub fn prove(&self, moment: Moment) {
        let mut known = self.known();
        if known.doubted.is_none_or(|doubted| doubted < moment.instant) {
            known.proved = Some(moment);
        }
    }

    /// Something may not be in memory that should be.
    pub fn doubt(&self) {
        *self.known() = Known { proved: None, doubted: Some(Instant::now()) };
    }

    /// How long ago memory was known to be right; `None`: it never was, or is in doubt.
    #[must_use]
    pub fn age(&self) -> Option<Duration> {
        let proved = self.known().proved;
        proved.map(|moment| moment.age(&self.clock))
    }

    /// Whether what is in memory may be told.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.age().is_some_and(|age| age <= BELIEVED_FOR)
    }

    fn known(&self) -> std::sync::MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::clock::ManualClock;

    #[test]
    fn memory_is_believed_for_a_second() {
        let clock = Arc::new(ManualClock::at(1_700_000_000_000));
        let freshness = Freshness::new(clock.clone());
        assert!(!freshness.holds());
        freshness.prove(freshness.moment());
        assert!(freshness.holds());
        freshness.doubt();
        assert!(!freshness.holds());
        freshness.prove(freshness.moment());
        clock.advance(BELIEVED_FOR + Duration::from_millis(1));
        assert!(!freshness.holds());
        assert!(freshness.age().unwrap() > BELIEVED_FOR);
    }

    #[test]
    fn what_was_known_before_a_doubt_does_not_dispel_it() {
        let freshness = Freshness::new(Arc::new(ManualClock::at(1_700_000_000_000)));
        let before = freshness.moment();
        freshness.doubt();
        freshness.prove(before);
        assert!(!freshness.holds());
        freshness.prove(freshness.moment());
        assert!(freshness.holds());
    }
}

//! Whether somebody outside is worth asking: who fails is left alone for a while.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use crate::clock::{SharedClock, millis};

/// After so many failures in a row somebody is left alone.
const FAILURES: u32 = 3;

/// For how long at first; doubled with each failure after that.
const FIRST_PAUSE: Duration = Duration::from_secs(30);

/// For how long at the most, also where they themselves ask for it.
const LONGEST_PAUSE: Duration = Duration::from_hours(1);

/// The way to somebody outside, closed while they fail.
pub struct Gate {
    breaker: Mutex<Breaker>,
    clock: SharedClock,
}

impl Gate {
    /// Open.
    #[must_use]
    pub fn new(clock: SharedClock) -> Self {
        Self { breaker: Mutex::default(), clock }
    }

    /// The right to ask once, unless they are left alone now.
    #[must_use]
    pub fn admits(&self) -> Option<Attempt<'_>> {
        let is_admitted = self.breaker().admits(self.clock.now_ms());
        // Made only where it is had: dropping one gives it back.
        is_admitted.then(|| Attempt { gate: self, is_told: false })
    }

    fn breaker(&self) -> MutexGuard<'_, Breaker> {
        self.breaker.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The right to ask somebody once. Dropped without a word, it says nothing of them.
pub struct Attempt<'a> {
    gate: &'a Gate,
    is_told: bool,
}

impl Attempt<'_> {
    /// They answered.
    pub fn succeeded(mut self) {
        self.is_told = true;
        self.gate.breaker().succeeded();
    }

    /// They didn't answer, or not as they should.
    pub fn failed(mut self) {
        self.is_told = true;
        self.gate.breaker().failed(self.gate.clock.now_ms());
    }

    /// They want to be left alone for a while.
    pub fn rests(mut self, pause: Duration) {
        self.is_told = true;
        self.gate.breaker().rests(self.gate.clock.now_ms(), pause);
    }
}

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        if !self.is_told {
            self.gate.breaker().abandoned();
        }
    }
}

/// A circuit breaker. Times are milliseconds since the Unix epoch.
#[derive(Debug)]
struct Breaker {
    failures: u32,
    rests_until: i64,
    /// One question is finding out whether they work again.
    is_probed: bool,
}

impl Default for Breaker {
    fn default() -> Self {
        Self { failures: 0, rests_until: i64::MIN, is_probed: false }
    }
}

impl Breaker {
    /// Whether they may be asked now. After a pause one question finds out, and the others wait
    /// for what comes of it.
    fn admits(&mut self, now_ms: i64) -> bool {
        if now_ms < self.rests_until || self.is_probed {
            return false;
        }
        self.is_probed = self.failures >= FAILURES;
        true
    }

    /// They answered.
    fn succeeded(&mut self) {
        *self = Self::default();
    }

    /// They didn't answer, or not as they should.
    fn failed(&mut self, now_ms: i64) {
        self.is_probed = false;
        self.failures = self.failures.saturating_add(1);
        if let Some(doublings) = self.failures.checked_sub(FAILURES) {
            let pause = FIRST_PAUSE.saturating_mul(1 << doublings.min(16)).min(LONGEST_PAUSE);
            self.rests_until = now_ms.saturating_add(millis(pause));
        }
    }

    /// They want to be left alone for a while, which is an answer.
    fn rests(&mut self, now_ms: i64, pause: Duration) {
        let rests_until = now_ms.saturating_add(millis(pause.min(LONGEST_PAUSE)));
        *self = Self { rests_until, ..Self::default() };
    }

    /// The question was given up; that says nothing of them.
    fn abandoned(&mut self) {
        self.is_probed = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed(times: u32, now_ms: i64) -> Breaker {
        let mut breaker = Breaker::default();
        for _ in 0..times {
            breaker.failed(now_ms);
        }
        breaker
    }

    #[test]
    fn a_peer_is_left_alone_after_the_third_failure_in_a_row() {
        assert!(failed(2, 0).admits(0));
        assert!(!failed(3, 0).admits(0));
        let mut breaker = failed(2, 0);
        breaker.succeeded();
        breaker.failed(0);
        assert!(breaker.admits(0));
    }

    #[test]
    fn after_the_pause_one_question_finds_out() {
        let mut breaker = failed(3, 0);
        assert!(!breaker.admits(29_999));
        assert!(breaker.admits(30_000));
        assert!(!breaker.admits(30_000));
        breaker.abandoned();
        assert!(breaker.admits(30_000));
        breaker.succeeded();
        assert!(breaker.admits(30_000) && breaker.admits(30_000));
    }

    #[test]
    fn pauses_double_up_to_an_hour() {
        for (times, seconds) in [(3, 30), (4, 60), (5, 120), (9, 1920), (10, 3600), (99, 3600)] {
            assert!(!failed(times, 0).admits(seconds * 1000 - 1), "{times}");
            assert!(failed(times, 0).admits(seconds * 1000), "{times}");
        }
    }

    #[test]
    fn a_peer_that_wants_to_be_left_alone_is() {
        let mut breaker = failed(2, 0);
        breaker.rests(0, Duration::from_secs(5));
        assert!(!breaker.admits(4999));
        assert!(breaker.admits(5000) && breaker.admits(5000));
        breaker.rests(5000, Duration::from_hours(1000));
        assert!(breaker.admits(5000 + 3_600_000));
    }
}

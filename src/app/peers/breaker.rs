//! Whether a peer is worth asking: one that fails is left alone for a while.

use std::time::Duration;

use crate::clock::millis;

/// After so many failures in a row a peer is left alone.
const FAILURES: u32 = 3;

/// For how long at first; doubled with each failure after that.
const FIRST_PAUSE: Duration = Duration::from_secs(30);

/// For how long at the most, also where the peer itself asks for it.
const LONGEST_PAUSE: Duration = Duration::from_hours(1);

/// A circuit breaker. Times are milliseconds since the Unix epoch.
#[derive(Debug)]
pub(super) struct Breaker {
    failures: u32,
    rests_until: i64,
    /// Somebody is finding out whether the peer works again.
    is_probed: bool,
}

impl Default for Breaker {
    fn default() -> Self {
        Self { failures: 0, rests_until: i64::MIN, is_probed: false }
    }
}

impl Breaker {
    /// Whether the peer may be asked now. After a pause one question finds out, and the others wait
    /// for what comes of it.
    pub(super) fn admits(&mut self, now_ms: i64) -> bool {
        if now_ms < self.rests_until || self.is_probed {
            return false;
        }
        self.is_probed = self.failures >= FAILURES;
        true
    }

    /// The peer answered.
    pub(super) fn succeeded(&mut self) {
        *self = Self::default();
    }

    /// The peer didn't answer, or not as one.
    pub(super) fn failed(&mut self, now_ms: i64) {
        self.is_probed = false;
        self.failures = self.failures.saturating_add(1);
        if let Some(doublings) = self.failures.checked_sub(FAILURES) {
            let pause = FIRST_PAUSE.saturating_mul(1 << doublings.min(16)).min(LONGEST_PAUSE);
            self.rests_until = now_ms.saturating_add(millis(pause));
        }
    }

    /// The peer wants to be left alone for a while, which is an answer.
    pub(super) fn rests(&mut self, now_ms: i64, pause: Duration) {
        let rests_until = now_ms.saturating_add(millis(pause.min(LONGEST_PAUSE)));
        *self = Self { rests_until, ..Self::default() };
    }

    /// The question was given up; that says nothing of the peer.
    pub(super) fn abandoned(&mut self) {
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

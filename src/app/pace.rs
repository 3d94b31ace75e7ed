//! How long refusals of logins take, whoever is refused.

use std::{sync::Mutex, time::Duration};

use crate::clock::{SharedClock, millis};

/// For how long all refusals take as long as one that took longer than usual.
const REMEMBERED: Duration = Duration::from_mins(10);

/// The longest that a refusal is held because another one took as long.
const LONGEST: Duration = Duration::from_secs(10);

/// When refusals are given: at a multiple of a step that doesn't depend on who is refused. Under load
/// a homeserver takes more than a step to compare a password, but no longer than before for a user
/// that it doesn't have; so where one refusal took more steps, those after it take as many.
pub struct Pace {
    clock: SharedClock,
    slowest: Mutex<Slowest>,
}

#[derive(Clone, Copy)]
struct Slowest {
    held: Duration,
    until_ms: i64,
}

impl Pace {
    /// A pace that no refusal has slowed down yet.
    #[must_use]
    pub fn new(clock: SharedClock) -> Self {
        Self { clock, slowest: Mutex::new(Slowest { held: Duration::ZERO, until_ms: 0 }) }
    }

    /// How long after the login a refusal is given that is ready `after` it.
    #[must_use]
    pub fn held(&self, after: Duration, step: Duration) -> Duration {
        let steps = after.as_nanos() / step.as_nanos().max(1) + 1;
        let steps = u32::try_from(steps).unwrap_or(u32::MAX);
        let own = step.saturating_mul(steps);
        let now_ms = self.clock.now_ms();
        // Whoever held it last only copied two numbers, and can't have left them half written.
        let mut slowest = self.slowest.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if now_ms >= slowest.until_ms || own >= slowest.held {
            let until_ms = now_ms.saturating_add(millis(REMEMBERED));
            *slowest = Slowest { held: own.min(LONGEST.max(step)), until_ms };
        }
        own.max(slowest.held)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::clock::ManualClock;

    const STEP: Duration = Duration::from_secs(1);

    fn seconds(number: u64) -> Duration {
        Duration::from_secs(number)
    }

    #[test]
    fn a_refusal_is_given_at_the_next_step() {
        let pace = Pace::new(Arc::new(ManualClock::at(0)));
        for after in [0, 1, 300, 999] {
            assert_eq!(pace.held(Duration::from_millis(after), STEP), seconds(1));
        }
    }

    #[test]
    fn those_after_a_slow_one_take_as_long_for_a_while() {
        let clock = Arc::new(ManualClock::at(0));
        let pace = Pace::new(clock.clone());
        assert_eq!(pace.held(Duration::from_millis(2500), STEP), seconds(3));
        assert_eq!(pace.held(Duration::from_millis(10), STEP), seconds(3));
        clock.advance(Duration::from_mins(9));
        assert_eq!(pace.held(Duration::from_millis(1500), STEP), seconds(3));
        clock.advance(Duration::from_mins(1));
        assert_eq!(pace.held(Duration::from_millis(10), STEP), seconds(1));
    }

    #[test]
    fn one_that_took_very_long_keeps_nobody_else_for_so_long() {
        let pace = Pace::new(Arc::new(ManualClock::at(0)));
        assert_eq!(pace.held(seconds(60), STEP), seconds(61));
        assert_eq!(pace.held(Duration::ZERO, STEP), seconds(10));
    }
}

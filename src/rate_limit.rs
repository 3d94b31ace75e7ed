//! How much one source may ask for: a generic cell rate algorithm (ITU-T I.371) for each key.

use std::{
    hash::{BuildHasher, Hash, RandomState},
    num::NonZeroU32,
    time::Duration,
};

use governor::{
    Quota,
    clock::{Clock as GovernorClock, Reference},
    middleware::NoOpMiddleware,
    nanos::Nanos,
    state::keyed::DashMapStateStore,
};

use crate::clock::SharedClock;

/// The [`crate::clock::Clock`] as the limiter reads it.
#[derive(Clone)]
struct LimiterClock(SharedClock);

impl GovernorClock for LimiterClock {
    type Instant = Nanos;

    fn now(&self) -> Nanos {
        let millis = u64::try_from(self.0.now_ms()).unwrap_or(0);
        Duration::from_millis(millis).into()
    }
}

/// A limit on each of many keys. Holds 8 bytes of each key, so that neither long keys nor
/// addresses stay in memory.
pub struct RateLimit {
    limiter:
        governor::RateLimiter<u64, DashMapStateStore<u64>, LimiterClock, NoOpMiddleware<Nanos>>,
    hasher: RandomState,
    clock: LimiterClock,
    count: NonZeroU32,
}

/// The limit is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exceeded {
    /// When the same request may succeed.
    pub retry_after: Duration,
}

impl RateLimit {
    /// Allows `count` at once, and then as many again, spread evenly, in each `per`.
    #[must_use]
    pub fn new(count: NonZeroU32, per: Duration, clock: SharedClock) -> Self {
        let clock = LimiterClock(clock);
        let quota = Quota::with_period((per / count.get()).max(Duration::from_nanos(1)))
            .unwrap_or_else(|| Quota::per_second(count))
            .allow_burst(count);
        Self {
            limiter: governor::RateLimiter::dashmap_with_clock(quota, clock.clone()),
            hasher: RandomState::new(),
            clock,
            count,
        }
    }

    /// Takes `amount` of what `key` may have.
    ///
    /// # Errors
    /// When that much isn't left; nothing is taken then.
    pub fn take(&self, key: impl Hash, amount: u32) -> Result<(), Exceeded> {
        // More than there ever is can only be had as all there is.
        let Some(amount) = NonZeroU32::new(amount.min(self.count.get())) else { return Ok(()) };
        match self.limiter.check_key_n(&self.hasher.hash_one(key), amount) {
            Ok(Ok(())) | Err(_) => Ok(()),
            Ok(Err(not_until)) => {
                let wait = not_until.earliest_possible().duration_since(self.clock.now());
                Err(Exceeded { retry_after: wait.into() })
            }
        }
    }

    /// Forgets the keys that have all of their allowance again.
    pub fn forget_idle(&self) {
        self.limiter.retain_recent();
        self.limiter.shrink_to_fit();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::clock::ManualClock;

    fn two_a_minute() -> (RateLimit, Arc<ManualClock>) {
        let clock = Arc::new(ManualClock::at(1_700_000_000_000));
        let limit =
            RateLimit::new(NonZeroU32::new(2).unwrap(), Duration::from_mins(1), clock.clone());
        (limit, clock)
    }

    #[test]
    fn a_key_gets_its_count_at_once_and_then_one_by_one() {
        let (limit, clock) = two_a_minute();
        assert_eq!((limit.take("a", 1), limit.take("a", 1)), (Ok(()), Ok(())));
        assert_eq!(limit.take("a", 1), Err(Exceeded { retry_after: Duration::from_secs(30) }));
        clock.advance(Duration::from_secs(30));
        assert_eq!(limit.take("a", 1), Ok(()));
        assert!(limit.take("a", 1).is_err());
    }

    #[test]
    fn keys_do_not_share_their_allowance() {
        let (limit, _) = two_a_minute();
        assert_eq!((limit.take("a", 2), limit.take("b", 2)), (Ok(()), Ok(())));
    }

    #[test]
    fn a_refusal_takes_nothing() {
        let (limit, _) = two_a_minute();
        assert_eq!(limit.take("a", 1), Ok(()));
        assert!(limit.take("a", 2).is_err());
        assert_eq!(limit.take("a", 1), Ok(()));
    }

    #[test]
    fn idle_keys_are_forgotten() {
        let (limit, clock) = two_a_minute();
        for key in 0..1000 {
            limit.take(key, 1).unwrap();
        }
        clock.advance(Duration::from_secs(61));
        limit.take("recent", 1).unwrap();
        limit.forget_idle();
        assert_eq!(limit.limiter.len(), 1);
    }
}

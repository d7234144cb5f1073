//! How long to wait before something that failed is tried again.

use std::time::Duration;

/// Delays that double from `first` up to `most`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// After the first failure.
    pub first: Duration,
    /// The longest.
    pub most: Duration,
}

impl Backoff {
    /// The delay after the `failures`-th failure in a row, counted from 1; 0 for none.
    pub fn delay(&self, failures: u32) -> Duration {
        let Some(doublings) = failures.checked_sub(1) else { return Duration::ZERO };
        let factor = 1u32.checked_shl(doublings).filter(|_| doublings < 31);
        factor.and_then(|factor| self.first.checked_mul(factor)).map_or(self.most, |d| d.min(self.most))
    }

    /// The same, spread over its upper half by `chance` in 0..1, so that those who failed together do not
    /// come back together.
    pub fn jittered(&self, failures: u32, chance: f64) -> Duration {
        let delay = self.delay(failures);
        let chance = if chance.is_finite() { chance.clamp(0.0, 1.0) } else { 1.0 };
        // Of very long delays a product is rounded, upwards too.
        (delay / 2 + (delay / 2).mul_f64(chance)).min(delay)
    }
}

/// Whether starting a revision again is worth it: the first failure is forgiven, further ones in a row back
/// off, a success clears the slate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Starts {
    failures: u32,
    not_before: Duration,
}

/// How starts back off: 1, 2, 4 … 60 seconds after the second, third, fourth … failure.
pub const START_BACKOFF: Backoff = Backoff { first: Duration::from_secs(1), most: Duration::from_secs(60) };

impl Starts {
    /// A start failed.
    pub fn failed(&mut self, now: Duration) {
        self.failures = self.failures.saturating_add(1);
        self.not_before = now.saturating_add(START_BACKOFF.delay(self.failures - 1));
    }

    /// A start succeeded.
    pub fn succeeded(&mut self) {
        *self = Self::default();
    }

    /// How long until the next start may be tried; zero: now.
    pub fn wait(&self, now: Duration) -> Duration {
        self.not_before.saturating_sub(now)
    }

    /// Failures in a row.
    pub fn failures(&self) -> u32 {
        self.failures
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn grows_and_is_bounded(first in 1u64..10_000, most in 1u64..1_000_000, failures in 0u32..100) {
            let backoff =
                Backoff { first: Duration::from_millis(first), most: Duration::from_millis(most) };
            prop_assert!(backoff.delay(failures) <= backoff.most);
            prop_assert!(backoff.delay(failures) <= backoff.delay(failures + 1));
        }

        #[test]
        fn jitter_stays_in_the_upper_half(failures in 1u32..40, chance in 0.0f64..1.0) {
            let full = START_BACKOFF.delay(failures);
            let drawn = START_BACKOFF.jittered(failures, chance);
            prop_assert!(drawn <= full && drawn >= full / 2);
        }
    }

    #[test]
    fn the_first_failure_is_forgiven() {
        let mut starts = Starts::default();
        let now = Duration::from_secs(100);
        starts.failed(now);
        assert_eq!(starts.wait(now), Duration::ZERO);
        starts.failed(now);
        assert_eq!(starts.wait(now), Duration::from_secs(1));
        starts.failed(now);
        assert_eq!(starts.wait(now + Duration::from_millis(500)), Duration::from_millis(1500));
        starts.succeeded();
        assert_eq!((starts.wait(now), starts.failures()), (Duration::ZERO, 0));
    }
}

//! Who is let in: rates by token bucket, counts by bound.

use std::time::Duration;

/// A token bucket: `rate` tokens per second flow in, `burst` fit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TokenBucket {
    rate: f64,
    burst: f64,
    tokens: f64,
    at: Duration,
}

impl TokenBucket {
    /// A full bucket.
    pub fn new(rate: f64, burst: f64, now: Duration) -> Self {
        let (rate, burst) = (sane(rate), sane(burst).max(1.0));
        Self { rate, burst, tokens: burst, at: now }
    }

    /// A full bucket that holds what one second brings, and one token at least.
    pub fn per_second(rate: f64, now: Duration) -> Self {
        Self::new(rate, rate, now)
    }

    /// The tokens per second that flow in.
    pub fn rate(&self) -> f64 {
        self.rate
    }

    /// Takes a token.
    ///
    /// # Errors
    /// How long until there is one, where there is none.
    pub fn take(&mut self, now: Duration) -> Result<(), Duration> {
        self.refill(now);
        if self.tokens >= 1.0 {
            self.tokens -= 1.0;
            return Ok(());
        }
        if self.rate <= 0.0 {
            return Err(Duration::MAX);
        }
        let seconds = (1.0 - self.tokens) / self.rate;
        Err(Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX))
    }

    fn refill(&mut self, now: Duration) {
        // A clock that steps back brings nothing; it must not take anything away either.
        let passed = now.saturating_sub(self.at);
        self.at = self.at.max(now);
        self.tokens = (self.tokens + passed.as_secs_f64() * self.rate).min(self.burst);
    }
}

fn sane(value: f64) -> f64 {
    if value.is_finite() { value.max(0.0) } else { 0.0 }
}

/// Whether one more fits beside `there` where `most` are allowed.
pub fn fits(there: u32, most: Option<u32>) -> bool {
    most.is_none_or(|most| there < most)
}

/// Whether `more` fits beside `there` where `most` is allowed.
pub fn fits_bytes(there: u64, more: u64, most: Option<u64>) -> bool {
    most.is_none_or(|most| there.saturating_add(more) <= most)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn never_more_than_burst_and_rate(
            rate in 0.5f64..500.0,
            burst in 1.0f64..100.0,
            gaps in prop::collection::vec(0u64..200, 1..300),
        ) {
            let mut bucket = TokenBucket::new(rate, burst, Duration::ZERO);
            let (mut now, mut taken) = (Duration::ZERO, 0u32);
            for gap in gaps {
                now += Duration::from_millis(gap);
                if bucket.take(now).is_ok() {
                    taken += 1;
                }
                let most = burst + rate * now.as_secs_f64();
                prop_assert!(f64::from(taken) <= most + 1e-6, "{taken} taken, {most} allowed");
            }
        }

        #[test]
        fn the_wait_it_names_is_enough(rate in 0.5f64..500.0, taken in 1u32..50) {
            let mut bucket = TokenBucket::per_second(rate, Duration::ZERO);
            let mut now = Duration::ZERO;
            for _ in 0..taken {
                if let Err(wait) = bucket.take(now) {
                    now += wait + Duration::from_micros(1);
                    prop_assert!(bucket.take(now).is_ok());
                }
            }
        }
    }

    #[test]
    fn a_clock_that_steps_back_changes_nothing() {
        let mut bucket = TokenBucket::new(1.0, 1.0, Duration::from_secs(10));
        assert!(bucket.take(Duration::from_secs(10)).is_ok());
        assert!(bucket.take(Duration::from_secs(5)).is_err());
        assert!(bucket.take(Duration::from_secs(11)).is_ok());
    }

    #[test]
    fn a_rate_of_nothing_lets_nobody_in_after_the_first() {
        let mut bucket = TokenBucket::per_second(0.0, Duration::ZERO);
        assert!(bucket.take(Duration::ZERO).is_ok());
        assert_eq!(bucket.take(Duration::from_secs(1_000_000)), Err(Duration::MAX));
    }

    #[test]
    fn bounds() {
        assert!(fits(7, None) && fits(7, Some(8)) && !fits(8, Some(8)));
        assert!(fits_bytes(1, 2, Some(3)) && !fits_bytes(1, 3, Some(3)) && fits_bytes(u64::MAX, 1, None));
    }
}

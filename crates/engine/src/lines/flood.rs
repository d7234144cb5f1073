//! Lines that come too fast.

use std::time::Duration;
use xebec_core::rules::admission::TokenBucket;

/// Once lines come too fast, nothing is kept for so long: dropping one here and one there would leave a log
/// that nobody can read, full of notes about what is missing.
const PAUSE: Duration = Duration::from_secs(1);

/// Holds lines to a rate.
pub(super) struct Flood {
    bucket: TokenBucket,
    /// Lines not kept since it began.
    dropped: u64,
    /// Nothing is kept until then.
    until: Option<Duration>,
}

/// What becomes of a line.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// It is kept; so many before it were not.
    Kept { dropped_before: u64 },
    /// It is the first of a flood.
    FloodBegins,
    /// It is one of a flood.
    Dropped,
}

impl Flood {
    /// `rate` lines per second for long; bursts of twice as many pass.
    pub(super) fn new(rate: u32, now: Duration) -> Self {
        let rate = f64::from(rate);
        Self { bucket: TokenBucket::new(rate, rate * 2.0, now), dropped: 0, until: None }
    }

    /// What becomes of a line that comes now.
    pub(super) fn fate(&mut self, now: Duration) -> Fate {
        if self.until.is_some_and(|until| now < until) {
            self.dropped += 1;
            return Fate::Dropped;
        }
        if self.bucket.take(now).is_err() {
            self.until = Some(now + PAUSE);
            self.dropped += 1;
            return if self.dropped == 1 { Fate::FloodBegins } else { Fate::Dropped };
        }
        self.until = None;
        Fate::Kept { dropped_before: std::mem::take(&mut self.dropped) }
    }
}

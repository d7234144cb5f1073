//! What time it is.

use jiff::Timestamp;
use std::{
    sync::OnceLock,
    time::{Duration, Instant},
};

/// What time it is. Tests set it by hand.
pub trait Clock: Send + Sync {
    /// Now, for people, records and whatever shall happen at a certain time. It may jump in both directions.
    fn now(&self) -> Timestamp;

    /// Since some fixed moment: what leases and waits are measured by. It never jumps.
    fn steady(&self) -> Duration {
        static BEGAN: OnceLock<Instant> = OnceLock::new();
        BEGAN.get_or_init(Instant::now).elapsed()
    }
}

/// The machine's clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }
}

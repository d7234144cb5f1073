//! What time it is.

use jiff::Timestamp;

/// What time it is. Tests set it by hand.
pub trait Clock: Send + Sync {
    /// Now, for people and records.
    fn now(&self) -> Timestamp;
}

/// The machine's clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }
}

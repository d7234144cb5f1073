//! A clock that goes with the machine's, and can be set forward.

use jiff::{SignedDuration, Timestamp};
use std::{
    sync::Mutex,
    time::{Duration, Instant},
};
use xebec_core::ports::clock::Clock;

pub struct TestClock {
    began: Instant,
    at: Timestamp,
    ahead: Mutex<Duration>,
}

impl Default for TestClock {
    fn default() -> Self {
        Self { began: Instant::now(), at: "2026-01-02T03:04:05Z".parse().unwrap(), ahead: Mutex::default() }
    }
}

impl TestClock {
    pub fn advance(&self, by: Duration) {
        *self.ahead.lock().unwrap() += by;
    }
}

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        self.at + SignedDuration::try_from(self.steady()).unwrap()
    }

    fn steady(&self) -> Duration {
        self.began.elapsed() + *self.ahead.lock().unwrap()
    }
}

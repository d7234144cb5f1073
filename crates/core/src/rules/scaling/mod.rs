//! How many instances a revision should have: one pure function over what was seen in two windows.
//!
//! `wish = ceil(load / (target × proportion))`, never below what holds the calls that are there, kept for the
//! window of scaling down, within the bounds.

mod load;

pub use load::Load;

use crate::policy::{Metric, Scaling};
use std::{collections::VecDeque, time::Duration};

/// The window that decides in quiet times.
pub const STABLE_WINDOW: Duration = Duration::from_secs(60);
/// The window that decides when load rises quickly.
pub const PANIC_WINDOW: Duration = Duration::from_secs(6);
/// Load that wants so many times the instances that are there is a reason to panic.
const PANIC_FACTOR: u32 = 2;
/// Averages come from sums of small numbers; this much above a whole one is still that one.
const TOLERANCE: f64 = 0.01;

/// What bounds the decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// At least so many.
    pub min: u32,
    /// At most so many.
    pub max: u32,
}

/// Decides how many instances there should be. It remembers whether it panics, and what it wished of late.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scaler {
    panic_until: Option<Duration>,
    peak: u32,
    /// Wishes within the window of scaling down, by the second: each is lower than those before it, which it
    /// would outlive otherwise.
    wishes: VecDeque<(u64, u32)>,
}

impl Scaler {
    /// How many instances of `slots` slots there should be, `there` being there now. While load rises quickly
    /// the short window decides and nothing is taken away.
    pub fn desired(
        &mut self,
        now: Duration,
        scaling: &Scaling,
        slots: u32,
        load: &mut Load,
        there: u32,
        bounds: Bounds,
    ) -> u32 {
        // Calls that began and have not ended count, however long ago they began.
        let held = load.calls().div_ceil(slots.max(1));
        let wish = self.wish(now, scaling, slots, load, there).max(held);
        let kept = self.keep(now, wish, scaling.down_window_seconds);
        kept.clamp(bounds.min.min(bounds.max), bounds.max)
    }

    /// Whether the short window decides.
    pub fn panics(&self) -> bool {
        self.panic_until.is_some()
    }

    fn wish(&mut self, now: Duration, scaling: &Scaling, slots: u32, load: &mut Load, there: u32) -> u32 {
        let stable = wanted(scaling, slots, load, now, STABLE_WINDOW);
        let panic = wanted(scaling, slots, load, now, PANIC_WINDOW);
        // What waits in a queue is no average that lags behind: there is nothing to panic about.
        let may_panic = scaling.metric != Metric::Queue;
        if may_panic && panic >= there.max(1).saturating_mul(PANIC_FACTOR) {
            self.panic_until = Some(now + STABLE_WINDOW);
        }
        match self.panic_until {
            Some(until) if now < until => {
                self.peak = self.peak.max(panic).max(stable);
                self.peak
            }
            _ => {
                (self.panic_until, self.peak) = (None, 0);
                stable
            }
        }
    }

    /// The highest wish of the last `window`, this one included. Windows end with whole seconds: so there is
    /// one to remember for each at most.
    fn keep(&mut self, now: Duration, wish: u32, window: u32) -> u32 {
        if window == 0 {
            self.wishes.clear();
            return wish;
        }
        let now = now.as_secs();
        while self.wishes.front().is_some_and(|(at, _)| now.saturating_sub(*at) > window.into()) {
            self.wishes.pop_front();
        }
        while self.wishes.back().is_some_and(|(_, older)| *older <= wish) {
            self.wishes.pop_back();
        }
        if self.wishes.back().is_none_or(|(at, _)| *at < now) {
            self.wishes.push_back((now, wish));
        }
        self.wishes.front().map_or(wish, |(_, highest)| *highest)
    }
}

fn wanted(scaling: &Scaling, slots: u32, load: &mut Load, now: Duration, window: Duration) -> u32 {
    let there = match scaling.metric {
        Metric::Concurrency => load.concurrency(now, window),
        Metric::Rate => load.rate(now, window),
        Metric::Cpu => load.level(now, window),
        Metric::Queue => load.last_level(now),
    };
    let instances = there / per_instance(scaling, slots);
    (instances - TOLERANCE).ceil().clamp(0.0, f64::from(u32::MAX)) as u32
}

/// How much of the metric one instance should have.
pub fn per_instance(scaling: &Scaling, slots: u32) -> f64 {
    let (slots, least) = (f64::from(slots.max(1)), f64::MIN_POSITIVE);
    let target = scaling.target.unwrap_or(slots);
    match scaling.metric {
        // An instance with one slot is not half used while it serves one call, and none serves more than it has.
        Metric::Concurrency => (target.min(slots) * scaling.proportion).max(1.0),
        Metric::Queue => (target * scaling.proportion).max(1.0),
        Metric::Rate | Metric::Cpu => (target * scaling.proportion).max(least),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const CONCURRENCY: Scaling =
        Scaling { metric: Metric::Concurrency, target: None, proportion: 0.7, down_window_seconds: 0 };

    fn at(ms: u64) -> Duration {
        Duration::from_secs(1_000) + Duration::from_millis(ms)
    }

    fn steady(calls: u32, for_ms: u64) -> Load {
        let mut load = Load::default();
        (0..calls).for_each(|_| load.arrive(at(0)));
        load.concurrency(at(for_ms), STABLE_WINDOW);
        load
    }

    proptest! {
        #[test]
        fn averages_lie_between_least_and_most(
            steps in prop::collection::vec((0u64..5_000, any::<bool>()), 1..200),
        ) {
            let (mut load, mut now, mut most) = (Load::default(), 0, 0);
            for (gap, arrive) in steps {
                now += gap;
                if arrive { load.arrive(at(now)) } else { load.leave(at(now)) }
                most = most.max(load.calls());
                for window in [STABLE_WINDOW, PANIC_WINDOW] {
                    let average = load.concurrency(at(now), window);
                    prop_assert!((0.0..=f64::from(most) * 1.001).contains(&average), "{average} of {most}");
                }
            }
        }

        #[test]
        fn respects_its_bounds(calls in 0u32..500, slots in 1u32..100, min in 0u32..10, more in 0u32..20) {
            let mut load = steady(calls, 90_000);
            let bounds = Bounds { min, max: min + more };
            let desired =
                Scaler::default().desired(at(90_000), &CONCURRENCY, slots, &mut load, 1, bounds);
            prop_assert!(desired >= bounds.min && desired <= bounds.max);
        }

        #[test]
        fn steady_load_is_measured_exactly(calls in 0u32..100, ms in 200u64..200_000) {
            let mut load = steady(calls, ms);
            for window in [STABLE_WINDOW, PANIC_WINDOW] {
                let seen = load.concurrency(at(ms), window);
                prop_assert!((seen - f64::from(calls)).abs() <= 0.02 * f64::from(calls) + 1e-6, "{seen}");
            }
        }
    }

    #[test]
    fn one_caller_wants_one_instance_and_ten_want_ten() {
        let bounds = Bounds { min: 0, max: 100 };
        for (calls, slots, wanted) in [(0, 1, 0), (1, 1, 1), (10, 1, 10), (70, 100, 1), (71, 100, 2)] {
            let mut load = steady(calls, 90_000);
            let desired = Scaler::default().desired(at(90_000), &CONCURRENCY, slots, &mut load, 100, bounds);
            assert_eq!(desired, wanted, "{calls} calls, {slots} slots");
        }
    }

    #[test]
    fn panics_when_load_jumps_and_calms_down_after() {
        let bounds = Bounds { min: 0, max: 100 };
        let (mut load, mut scaler) = (steady(1, 120_000), Scaler::default());
        assert_eq!(scaler.desired(at(120_000), &CONCURRENCY, 1, &mut load, 1, bounds), 1);
        (0..19).for_each(|_| load.arrive(at(120_000)));
        let jumped = scaler.desired(at(126_000), &CONCURRENCY, 1, &mut load, 1, bounds);
        assert!(jumped >= 17 && scaler.panics(), "{jumped}");
        (0..20).for_each(|_| load.leave(at(126_000)));
        assert_eq!(scaler.desired(at(150_000), &CONCURRENCY, 1, &mut load, 20, bounds), jumped);
        assert_eq!(scaler.desired(at(300_000), &CONCURRENCY, 1, &mut load, 20, bounds), 0);
        assert!(!scaler.panics());
    }

    #[test]
    fn rates_count_arrivals() {
        let (mut load, bounds) = (Load::default(), Bounds { min: 0, max: 100 });
        for ms in (0..60_000).step_by(20) {
            load.arrive(at(ms));
            load.leave(at(ms + 1));
        }
        let scaling = Scaling { target: Some(10.0), ..Scaling::by(Metric::Rate) };
        assert_eq!(Scaler::default().desired(at(60_000), &scaling, 1, &mut load, 5, bounds), 5);
    }
}

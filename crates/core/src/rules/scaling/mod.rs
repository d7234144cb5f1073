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

    #[derive(Clone, Copy, Debug)]
    enum Happens {
        Arrive,
        Leave,
        Measured(f64),
    }

    impl Happens {
        fn happen(self, load: &mut Load, now: Duration) {
            match self {
                Self::Arrive => load.arrive(now),
                Self::Leave => load.leave(now),
                Self::Measured(value) => load.measured(now, value),
            }
        }

        fn times(self, factor: u32) -> Self {
            match self {
                Self::Measured(value) => Self::Measured(value * f64::from(factor)),
                call => call,
            }
        }
    }

    fn any_event() -> impl Strategy<Value = Happens> {
        prop_oneof![
            3 => Just(Happens::Arrive),
            2 => Just(Happens::Leave),
            2 => (0.0f64..20_000.0).prop_map(Happens::Measured),
        ]
    }

    fn any_scaling() -> impl Strategy<Value = Scaling> {
        let parts = (0..Metric::ALL.len(), prop::option::of(1.0f64..2_000.0), 0.01f64..=1.0);
        parts.prop_map(|(metric, target, proportion)| {
            let metric = Metric::ALL[metric];
            let target = if metric.has_own_target() { target } else { Some(target.unwrap_or(100.0)) };
            Scaling { target, proportion, ..Scaling::by(metric) }
        })
    }

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
        fn wishes_lie_within_bounds_and_hold_what_is_there(
            steps in prop::collection::vec((0u64..4_000, any_event()), 1..120),
            scaling in any_scaling(),
            slots in 1u32..20,
            min in 0u32..5,
            more in 0u32..40,
        ) {
            let (mut load, mut scaler, mut now, mut there) = (Load::default(), Scaler::default(), 0, 0);
            let bounds = Bounds { min, max: min + more };
            for (gap, event) in steps {
                now += gap;
                event.happen(&mut load, at(now));
                let desired = scaler.desired(at(now), &scaling, slots, &mut load, there, bounds);
                prop_assert!(desired >= bounds.min && desired <= bounds.max, "{desired}");
                let held = load.calls().div_ceil(slots).min(bounds.max);
                prop_assert!(desired >= held, "{desired} for {} calls", load.calls());
                there = desired;
            }
        }

        #[test]
        fn more_load_never_wants_less(
            steps in prop::collection::vec((0u64..4_000, any_event()), 1..120),
            scaling in any_scaling(),
            slots in 1u32..20,
            factor in 1u32..4,
            there in 0u32..10,
        ) {
            let (mut light, mut heavy) = (Load::default(), Load::default());
            let (mut of_light, mut of_heavy) = (Scaler::default(), Scaler::default());
            let bounds = Bounds { min: 0, max: 1_000 };
            let mut now = 0;
            for (gap, event) in steps {
                now += gap;
                event.happen(&mut light, at(now));
                (0..factor).for_each(|_| event.times(factor).happen(&mut heavy, at(now)));
                let less = of_light.desired(at(now), &scaling, slots, &mut light, there, bounds);
                let more = of_heavy.desired(at(now), &scaling, slots, &mut heavy, there, bounds);
                prop_assert!(more >= less, "{more} for {factor} times the load of {less}");
            }
        }

        #[test]
        fn nothing_is_taken_away_within_the_window(
            steps in prop::collection::vec((0u64..4_000, any_event()), 1..120),
            scaling in any_scaling(),
            window in 1u32..=300,
            slots in 1u32..20,
        ) {
            let keeping = Scaling { down_window_seconds: window, ..scaling };
            let (mut keeper, mut scaler) = (Scaler::default(), Scaler::default());
            let (mut load, mut now) = (Load::default(), 0);
            let bounds = Bounds { min: 0, max: 50 };
            let mut wishes: Vec<(u64, u32)> = Vec::new();
            for (gap, event) in steps {
                now += gap;
                event.happen(&mut load, at(now));
                wishes.push((now, scaler.desired(at(now), &scaling, slots, &mut load, 1, bounds)));
                let kept = keeper.desired(at(now), &keeping, slots, &mut load, 1, bounds);
                let highest = |within: u64| {
                    let since = now.saturating_sub(within * 1_000);
                    wishes.iter().filter(|(at, _)| *at >= since).map(|(_, wish)| *wish).max().unwrap_or(0)
                };
                // Windows end with whole seconds.
                prop_assert!(kept >= highest(window.into()), "{kept} of {wishes:?}");
                prop_assert!(kept <= highest(u64::from(window) + 1), "{kept} of {wishes:?}");
                prop_assert!(keeper.wishes.len() <= window as usize + 1);
            }
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

    #[test]
    fn each_metric_has_its_measure() {
        let wish = |scaling: Scaling, slots, load: &mut Load| {
            let bounds = Bounds { min: 0, max: 100 };
            Scaler::default().desired(at(60_000), &scaling, slots, load, 100, bounds)
        };
        let mut measured = Load::default();
        (0..60).for_each(|second| measured.measured(at(second * 1_000), 900.0));
        let cpu = Scaling { target: Some(500.0), ..Scaling::by(Metric::Cpu) };
        assert_eq!(wish(cpu, 10, &mut measured), 2, "900 thousandths of a core, 500 each");
        assert_eq!(wish(Scaling { proportion: 0.5, ..cpu }, 10, &mut measured), 4);
        let queue = Scaling::by(Metric::Queue);
        assert_eq!(wish(queue, 100, &mut measured), 9, "900 messages, 100 slots each");
        assert_eq!(wish(Scaling { target: Some(10.0), ..queue }, 100, &mut measured), 90);
        let mut calls = steady(40, 60_000);
        let capacity = Scaling { target: Some(10.0), proportion: 1.0, ..Scaling::default() };
        assert_eq!(wish(capacity, 100, &mut calls), 4, "40 calls, 10 each");
        assert_eq!(wish(capacity, 5, &mut calls), 8, "no instance takes more than its slots");
        let rate = Scaling { target: Some(1e6), ..Scaling::by(Metric::Rate) };
        assert_eq!(wish(rate, 1, &mut calls), 40, "calls that began and go on need their slots");
    }

    #[test]
    fn what_was_measured_long_ago_counts_no_more() {
        let (bounds, queue) = (Bounds { min: 0, max: 100 }, Scaling::by(Metric::Queue));
        let mut load = Load::default();
        load.measured(at(0), 50.0);
        let mut desired = |ms| Scaler::default().desired(at(ms), &queue, 1, &mut load, 1, bounds);
        assert_eq!(desired(14_000), 50);
        assert_eq!(desired(15_000), 0);
    }

    #[test]
    fn the_window_of_scaling_down_ends() {
        let bounds = Bounds { min: 0, max: 100 };
        let queue = Scaling { down_window_seconds: 120, ..Scaling::by(Metric::Queue) };
        let (mut load, mut scaler) = (Load::default(), Scaler::default());
        let mut tell = |ms, waiting| {
            load.measured(at(ms), waiting);
            scaler.desired(at(ms), &queue, 1, &mut load, 1, bounds)
        };
        assert_eq!(tell(0, 7.0), 7);
        assert_eq!(tell(60_000, 3.0), 7);
        assert_eq!(tell(120_000, 0.0), 7);
        assert_eq!(tell(122_000, 0.0), 3);
        assert_eq!(tell(182_000, 0.0), 0);
    }
}

//! How many instances a revision should have: one pure function over what was seen in two windows.

use crate::policy::Scaling;
use std::time::Duration;

/// The window that decides in quiet times.
pub const STABLE_WINDOW: Duration = Duration::from_secs(60);
/// The window that decides when load rises quickly.
pub const PANIC_WINDOW: Duration = Duration::from_secs(6);
/// Load that wants so many times the instances that are there is a reason to panic.
const PANIC_FACTOR: u32 = 2;
/// Averages come from sums of small numbers; this much above a whole one is still that one.
const TOLERANCE: f64 = 0.01;

const SECONDS: usize = 60;

/// What a revision was asked for lately, second by second.
#[derive(Clone, Debug)]
pub struct Load {
    seconds: [Second; SECONDS],
    /// The second that is being written.
    head: u64,
    /// Calls that are there since `since`.
    calls: u32,
    since: Duration,
    first: Option<Duration>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Second {
    /// Calls in flight and waiting, times the seconds that they were.
    busy: f32,
    arrivals: u32,
}

impl Default for Load {
    fn default() -> Self {
        Self { seconds: [Second::default(); SECONDS], head: 0, calls: 0, since: Duration::ZERO, first: None }
    }
}

impl Load {
    /// A call arrived.
    pub fn arrive(&mut self, now: Duration) {
        self.advance(now);
        self.calls = self.calls.saturating_add(1);
        self.seconds[(self.head % SECONDS as u64) as usize].arrivals += 1;
    }

    /// A call ended, or whoever waited gave up.
    pub fn leave(&mut self, now: Duration) {
        self.advance(now);
        self.calls = self.calls.saturating_sub(1);
    }

    /// Calls in flight and waiting.
    pub fn calls(&self) -> u32 {
        self.calls
    }

    /// Calls in flight and waiting, on average over the last `window`.
    pub fn concurrency(&mut self, now: Duration, window: Duration) -> f64 {
        self.over(now, window, |second| f64::from(second.busy))
    }

    /// Calls that arrived per second, on average over the last `window`.
    pub fn rate(&mut self, now: Duration, window: Duration) -> f64 {
        self.over(now, window, |second| f64::from(second.arrivals))
    }

    fn over(&mut self, now: Duration, window: Duration, of: impl Fn(&Second) -> f64) -> f64 {
        self.advance(now);
        let Some(first) = self.first else { return 0.0 };
        let whole = window.as_secs().clamp(1, SECONDS as u64 - 1);
        let sum: f64 = (self.head.saturating_sub(whole)..=self.head)
            .map(|at| of(&self.seconds[(at % SECONDS as u64) as usize]))
            .sum();
        let span = whole as f64 + f64::from(now.subsec_nanos()) / 1e9;
        // What began just now is judged by the time that it is there, but not by its first blink.
        let there = now.saturating_sub(first).as_secs_f64().max(0.1);
        sum / span.min(there)
    }

    fn advance(&mut self, now: Duration) {
        if self.first.is_none() {
            self.first = Some(now);
            self.since = now;
            self.head = now.as_secs();
            return;
        }
        while self.head < now.as_secs() {
            let end = Duration::from_secs(self.head + 1);
            self.add_busy(end);
            if now.as_secs() - self.head > SECONDS as u64 {
                // Long quiet or long busy: all seconds look the same, skip to the last ones.
                self.head = now.as_secs() - SECONDS as u64;
                self.since = Duration::from_secs(self.head + 1);
            }
            self.head += 1;
            self.seconds[(self.head % SECONDS as u64) as usize] = Second::default();
        }
        self.add_busy(now);
    }

    fn add_busy(&mut self, until: Duration) {
        let passed = until.saturating_sub(self.since);
        self.since = self.since.max(until);
        if self.calls > 0 {
            self.seconds[(self.head % SECONDS as u64) as usize].busy +=
                (f64::from(self.calls) * passed.as_secs_f64()) as f32;
        }
    }
}

/// What bounds the decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// At least so many.
    pub min: u32,
    /// At most so many.
    pub max: u32,
}

/// Decides how many instances there should be. It remembers only whether it panics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Scaler {
    panic_until: Option<Duration>,
    peak: u32,
}

impl Scaler {
    /// How many instances there should be, `there` being there now. While load rises quickly the short
    /// window decides and nothing is taken away.
    pub fn desired(
        &mut self,
        now: Duration,
        scaling: &Scaling,
        slots: u32,
        load: &mut Load,
        there: u32,
        bounds: Bounds,
    ) -> u32 {
        let stable = wanted(scaling, slots, load, now, STABLE_WINDOW);
        let panic = wanted(scaling, slots, load, now, PANIC_WINDOW);
        if panic >= there.max(1).saturating_mul(PANIC_FACTOR) {
            self.panic_until = Some(now + STABLE_WINDOW);
        }
        let desired = match self.panic_until {
            Some(until) if now < until => {
                self.peak = self.peak.max(panic).max(stable);
                self.peak
            }
            _ => {
                *self = Self::default();
                stable
            }
        };
        desired.clamp(bounds.min.min(bounds.max), bounds.max)
    }

    /// Whether the short window decides.
    pub fn panics(&self) -> bool {
        self.panic_until.is_some()
    }
}

fn wanted(scaling: &Scaling, slots: u32, load: &mut Load, now: Duration, window: Duration) -> u32 {
    let instances = match scaling {
        // An instance with one slot is not half used while it serves one call.
        Scaling::Concurrency { target } => {
            load.concurrency(now, window) / (f64::from(slots) * target).max(1.0)
        }
        Scaling::Rate { target } => load.rate(now, window) / target.max(f64::MIN_POSITIVE),
    };
    (instances - TOLERANCE).ceil().clamp(0.0, f64::from(u32::MAX)) as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const CONCURRENCY: Scaling = Scaling::Concurrency { target: 0.7 };

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
        let scaling = Scaling::Rate { target: 10.0 };
        assert_eq!(Scaler::default().desired(at(60_000), &scaling, 1, &mut load, 5, bounds), 5);
    }
}

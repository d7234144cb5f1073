//! What a revision was asked for lately, and what was measured of it.

use std::{collections::VecDeque, time::Duration};

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
    /// When the last call left.
    left: Duration,
    level: Level,
}

#[derive(Clone, Copy, Debug, Default)]
struct Second {
    /// Calls in flight and waiting, times the seconds that they were.
    busy: f32,
    arrivals: u32,
}

impl Default for Load {
    fn default() -> Self {
        Self {
            seconds: [Second::default(); SECONDS],
            head: 0,
            calls: 0,
            since: Duration::ZERO,
            first: None,
            left: Duration::ZERO,
            level: Level::default(),
        }
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
        self.left = now;
    }

    /// For how long there was no call.
    pub fn quiet(&self, now: Duration) -> Duration {
        if self.calls > 0 { Duration::ZERO } else { now.saturating_sub(self.left) }
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

    /// Something that calls do not tell was measured: processor time, or what waits in a queue.
    pub fn measured(&mut self, now: Duration, value: f64) {
        self.level.note(now, value);
    }

    /// Something else is measured from now on.
    pub fn measure_anew(&mut self) {
        self.level = Level::default();
    }

    /// What was measured, on average over the last `window`.
    pub fn level(&self, now: Duration, window: Duration) -> f64 {
        self.level.average(now, window)
    }

    /// What was measured last; nothing, if that is long ago.
    pub fn last_level(&self, now: Duration) -> f64 {
        self.level.last(now)
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

/// A measurement counts for so long: whoever measures may be slow, or gone.
const STALE: Duration = Duration::from_secs(15);

/// Measurements of one figure, at most one a second, those of the last minute.
#[derive(Clone, Debug, Default)]
struct Level(VecDeque<(Duration, f64)>);

impl Level {
    fn note(&mut self, now: Duration, value: f64) {
        if !value.is_finite() || self.0.back().is_some_and(|(at, _)| *at > now) {
            return;
        }
        if self.0.back().is_some_and(|(at, _)| at.as_secs() == now.as_secs()) {
            self.0.pop_back();
        }
        self.0.push_back((now, value.max(0.0)));
        let oldest = now.saturating_sub(Duration::from_secs(SECONDS as u64));
        while self.0.front().is_some_and(|(at, _)| *at < oldest) {
            self.0.pop_front();
        }
    }

    fn last(&self, now: Duration) -> f64 {
        let last = self.0.back().filter(|(at, _)| now.saturating_sub(*at) < STALE);
        last.map_or(0.0, |(_, value)| *value)
    }

    fn average(&self, now: Duration, window: Duration) -> f64 {
        let since = now.saturating_sub(window);
        let (mut sum, mut count) = (0.0, 0u32);
        for (_, value) in self.0.iter().rev().take_while(|(at, _)| *at >= since) {
            sum += value;
            count += 1;
        }
        // Where nothing was measured within a short window, what was measured just before still holds.
        if count == 0 { self.last(now) } else { sum / f64::from(count) }
    }
}

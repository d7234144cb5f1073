//! Durations counted by buckets, and how Prometheus reads them.

use std::{
    fmt::{Display, Write as _},
    time::Duration,
};

/// Upper edges of buckets in seconds, as Prometheus' own clients have them.
const CLIENT_EDGES: [f64; 11] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// One with the buckets of Prometheus' own clients.
pub type ClientHistogram = Histogram<{ CLIENT_EDGES.len() }>;

/// How long things took.
#[derive(Clone, Copy, Debug)]
pub struct Histogram<const N: usize> {
    edges: &'static [f64; N],
    /// Each counted once; what is past the last edge only in `count`.
    buckets: [u64; N],
    count: u64,
    sum: Duration,
}

impl<const N: usize> Histogram<N> {
    /// Nothing was counted yet. The upper edges of the buckets are seconds, in ascending order.
    pub const fn new(edges: &'static [f64; N]) -> Self {
        Self { edges, buckets: [0; N], count: 0, sum: Duration::ZERO }
    }

    /// Counts one.
    pub fn observe(&mut self, took: Duration) {
        let seconds = took.as_secs_f64();
        if let Some(bucket) = self.edges.iter().position(|edge| seconds <= *edge) {
            self.buckets[bucket] += 1;
        }
        self.count += 1;
        self.sum = self.sum.saturating_add(took);
    }

    /// How many were counted.
    pub const fn count(&self) -> u64 {
        self.count
    }

    /// Appends its series in Prometheus' text format. `labels` are what all of them have, at least one.
    pub fn write(&self, out: &mut String, name: &str, labels: impl Display) {
        let mut below = 0;
        // Writing to a string cannot fail.
        for (edge, count) in self.edges.iter().zip(self.buckets) {
            below += count;
            let _ = writeln!(out, "{name}_bucket{{{labels},le=\"{edge}\"}} {below}");
        }
        let _ = writeln!(out, "{name}_bucket{{{labels},le=\"+Inf\"}} {}", self.count);
        let _ = writeln!(out, "{name}_sum{{{labels}}} {}", self.sum.as_secs_f64());
        let _ = writeln!(out, "{name}_count{{{labels}}} {}", self.count);
    }
}

impl Default for ClientHistogram {
    fn default() -> Self {
        Self::new(&CLIENT_EDGES)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_cumulative() {
        let mut histogram = ClientHistogram::default();
        [20, 60_000].into_iter().for_each(|millis| histogram.observe(Duration::from_millis(millis)));
        let mut out = String::new();
        histogram.write(&mut out, "x", "a=\"b\"");
        for line in [
            "x_bucket{a=\"b\",le=\"0.01\"} 0",
            "x_bucket{a=\"b\",le=\"0.025\"} 1",
            "x_bucket{a=\"b\",le=\"10\"} 1",
            "x_bucket{a=\"b\",le=\"+Inf\"} 2",
            "x_sum{a=\"b\"} 60.02",
            "x_count{a=\"b\"} 2",
        ] {
            assert!(out.lines().any(|written| written == line), "{line}\nis not in\n{out}");
        }
    }
}

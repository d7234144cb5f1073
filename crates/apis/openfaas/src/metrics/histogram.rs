//! A histogram of seconds, with the buckets of Prometheus' clients.

use super::text::sample;

/// Upper bounds of the buckets, in seconds.
const BUCKETS: [f64; 11] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// A histogram of seconds.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Histogram {
    /// Each counted once; what is past the last bound only in `count`.
    buckets: [u64; BUCKETS.len()],
    count: u64,
    seconds: f64,
}

impl Histogram {
    pub(super) fn add(&mut self, seconds: f64) {
        if let Some(bucket) = BUCKETS.iter().position(|bound| seconds <= *bound) {
            self.buckets[bucket] += 1;
        }
        self.count += 1;
        self.seconds += seconds;
    }

    pub(super) fn count(&self) -> u64 {
        self.count
    }

    pub(super) fn write(&self, out: &mut String, name: &str, labels: &str) {
        let bucket = format!("{name}_bucket");
        let mut below = 0;
        for (bound, count) in BUCKETS.iter().zip(self.buckets) {
            below += count;
            sample(out, &bucket, format_args!("{labels},le=\"{bound}\""), below);
        }
        sample(out, &bucket, format_args!("{labels},le=\"+Inf\""), self.count);
        sample(out, &format!("{name}_sum"), labels, self.seconds);
        sample(out, &format!("{name}_count"), labels, self.count);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_cumulative() {
        let mut histogram = Histogram::default();
        [0.02, 60.0].into_iter().for_each(|seconds| histogram.add(seconds));
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

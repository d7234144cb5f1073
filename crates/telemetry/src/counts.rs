//! What was exported and what was dropped: counted for `/metrics`, and said in the log now and then.

use parking_lot::Mutex;
use std::{
    fmt::Write as _,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::{Duration, Instant},
};

/// How often the log says that something was dropped.
const EVERY: Duration = Duration::from_secs(60);

/// What is exported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Signal {
    Spans,
    Metrics,
}

/// Why something was dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reason {
    /// Too many waited already.
    Full,
    /// The collector did not take it in time, or could not be reached.
    Late,
    /// The collector would not have it.
    Refused,
}

const SIGNALS: [(Signal, &str); 2] = [(Signal::Spans, "spans"), (Signal::Metrics, "metrics")];
const REASONS: [(Reason, &str); 3] =
    [(Reason::Full, "queue_full"), (Reason::Late, "late"), (Reason::Refused, "refused")];

#[derive(Default)]
struct Count {
    exported: AtomicU64,
    dropped: [AtomicU64; REASONS.len()],
    said: Mutex<Said>,
}

/// What the log was told last.
#[derive(Default)]
struct Said {
    at: Option<Instant>,
    dropped: u64,
}

/// What was exported and what was dropped.
#[derive(Default)]
pub(crate) struct Counts([Count; SIGNALS.len()]);

impl Counts {
    pub(crate) fn exported(&self, signal: Signal, count: u64) {
        self.0[signal as usize].exported.fetch_add(count, Relaxed);
    }

    pub(crate) fn dropped(&self, signal: Signal, reason: Reason, count: u64) {
        self.0[signal as usize].dropped[reason as usize].fetch_add(count, Relaxed);
    }

    /// Says in the log what was dropped since it last did, once a minute at most.
    pub(crate) fn say(&self, signal: Signal, why: &str, now: Instant) {
        if let Some(dropped) = self.unsaid(signal, now) {
            let what = SIGNALS[signal as usize].1;
            tracing::warn!(dropped, why, "{what} were dropped instead of being exported");
        }
    }

    fn unsaid(&self, signal: Signal, now: Instant) -> Option<u64> {
        let count = &self.0[signal as usize];
        let dropped: u64 = count.dropped.iter().map(|count| count.load(Relaxed)).sum();
        let mut said = count.said.lock();
        let due = said.at.is_none_or(|at| now.saturating_duration_since(at) >= EVERY);
        if dropped == said.dropped || !due {
            return None;
        }
        let unsaid = dropped - said.dropped;
        *said = Said { at: Some(now), dropped };
        Some(unsaid)
    }

    /// Appends all series, in Prometheus' text format.
    pub(crate) fn write(&self, out: &mut String) {
        // Writing to a string cannot fail.
        let name = "xebec_telemetry_exported_total";
        let _ = write!(
            out,
            "# HELP {name} Spans and points of metrics that a collector took.\n# TYPE {name} counter\n"
        );
        for ((_, signal), count) in SIGNALS.iter().zip(&self.0) {
            let _ = writeln!(out, "{name}{{signal=\"{signal}\"}} {}", count.exported.load(Relaxed));
        }
        let name = "xebec_telemetry_dropped_total";
        let _ = write!(out, "# HELP {name} Those that were dropped, by why.\n# TYPE {name} counter\n");
        for ((_, signal), count) in SIGNALS.iter().zip(&self.0) {
            for ((_, reason), dropped) in REASONS.iter().zip(&count.dropped) {
                let dropped = dropped.load(Relaxed);
                let _ = writeln!(out, "{name}{{signal=\"{signal}\",reason=\"{reason}\"}} {dropped}");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_in_order() {
        assert!(SIGNALS.iter().enumerate().all(|(at, (signal, _))| *signal as usize == at));
        assert!(REASONS.iter().enumerate().all(|(at, (reason, _))| *reason as usize == at));
    }

    #[test]
    fn the_log_is_told_once_a_minute() {
        let (counts, start) = (Counts::default(), Instant::now());
        let after = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(counts.unsaid(Signal::Spans, start), None, "nothing was dropped");
        counts.dropped(Signal::Spans, Reason::Full, 3);
        assert_eq!(counts.unsaid(Signal::Spans, after(1)), Some(3));
        counts.dropped(Signal::Spans, Reason::Late, 2);
        counts.dropped(Signal::Spans, Reason::Refused, 2);
        assert_eq!(counts.unsaid(Signal::Spans, after(60)), None);
        assert_eq!(counts.unsaid(Signal::Spans, after(61)), Some(4));
        assert_eq!(counts.unsaid(Signal::Spans, after(300)), None);
        assert_eq!(counts.unsaid(Signal::Metrics, after(300)), None);
    }

    #[test]
    fn all_is_shown() {
        let counts = Counts::default();
        counts.exported(Signal::Metrics, 5);
        counts.dropped(Signal::Spans, Reason::Full, 2);
        let mut out = String::new();
        counts.write(&mut out);
        assert!(out.contains("xebec_telemetry_exported_total{signal=\"metrics\"} 5\n"), "{out}");
        assert!(
            out.contains("xebec_telemetry_dropped_total{signal=\"spans\",reason=\"queue_full\"} 2\n"),
            "{out}"
        );
    }
}

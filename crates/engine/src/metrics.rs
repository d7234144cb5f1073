//! `xebec_*` in Prometheus' text format. Written by hand: it is a page of text, and series come and go with
//! the functions that are in use.

use crate::{active::Active, engine::Engine};
use std::{
    fmt::Write as _,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};
use xebec_core::{
    FunctionKey, Outcome,
    limits::Clock,
    outcome::{FunctionFault, PlatformFault},
};

/// Every outcome, by name; their places are those in [`place`].
const OUTCOMES: [Outcome; 16] = [
    Outcome::Success,
    Outcome::ApplicationError,
    Outcome::FunctionError(FunctionFault::Timeout(Clock::Run)),
    Outcome::FunctionError(FunctionFault::Crash),
    Outcome::FunctionError(FunctionFault::OutOfMemory),
    Outcome::FunctionError(FunctionFault::FailedInit),
    Outcome::FunctionError(FunctionFault::BadResponse),
    Outcome::PlatformError(PlatformFault::NotFound),
    Outcome::PlatformError(PlatformFault::Forbidden),
    Outcome::PlatformError(PlatformFault::Overloaded),
    Outcome::PlatformError(PlatformFault::Unavailable),
    Outcome::PlatformError(PlatformFault::TooLarge),
    Outcome::PlatformError(PlatformFault::Cancelled),
    Outcome::PlatformError(PlatformFault::BadRequest),
    Outcome::PlatformError(PlatformFault::Internal),
    Outcome::PlatformError(PlatformFault::Loop),
];

fn place(outcome: &Outcome) -> usize {
    match outcome {
        Outcome::Success => 0,
        Outcome::ApplicationError => 1,
        Outcome::FunctionError(fault) => match fault {
            FunctionFault::Timeout(_) => 2,
            FunctionFault::Crash => 3,
            FunctionFault::OutOfMemory => 4,
            FunctionFault::FailedInit => 5,
            FunctionFault::BadResponse => 6,
        },
        Outcome::PlatformError(fault) => match fault {
            PlatformFault::NotFound => 7,
            PlatformFault::Forbidden => 8,
            PlatformFault::Overloaded => 9,
            PlatformFault::Unavailable => 10,
            PlatformFault::TooLarge => 11,
            PlatformFault::Cancelled => 12,
            PlatformFault::BadRequest => 13,
            PlatformFault::Internal => 14,
            PlatformFault::Loop => 15,
        },
    }
}

/// Upper edges of the buckets of durations, in microseconds.
const EDGES: [u64; 14] = [
    100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 1_000_000, 5_000_000,
    30_000_000,
];

/// A histogram of durations.
#[derive(Default)]
pub(crate) struct Histogram {
    buckets: [AtomicU64; EDGES.len() + 1],
    sum_micros: AtomicU64,
}

impl Histogram {
    /// Adds one.
    pub(crate) fn observe(&self, duration: Duration) {
        let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        let bucket = EDGES.partition_point(|edge| *edge < micros);
        self.buckets[bucket].fetch_add(1, Relaxed);
        self.sum_micros.fetch_add(micros, Relaxed);
    }

    fn write(&self, out: &mut String, name: &str, labels: &str) {
        let comma = if labels.is_empty() { "" } else { "," };
        let mut count = 0;
        for (at, bucket) in self.buckets.iter().enumerate() {
            count += bucket.load(Relaxed);
            let edge =
                EDGES.get(at).map_or_else(|| "+Inf".to_owned(), |edge| (*edge as f64 / 1e6).to_string());
            line(out, format_args!("{name}_bucket{{{labels}{comma}le=\"{edge}\"}} {count}"));
        }
        let sum = self.sum_micros.load(Relaxed) as f64 / 1e6;
        let labels = if labels.is_empty() { String::new() } else { format!("{{{labels}}}") };
        line(out, format_args!("{name}_sum{labels} {sum}"));
        line(out, format_args!("{name}_count{labels} {count}"));
    }
}

/// The series of one function.
#[derive(Default)]
pub(crate) struct Series {
    outcomes: [AtomicU64; OUTCOMES.len()],
    durations: Histogram,
    pub(crate) cold_starts: Histogram,
    pub(crate) failed_starts: AtomicU64,
}

impl Series {
    /// A call ended.
    pub(crate) fn ended(&self, outcome: &Outcome, took: Duration) {
        self.outcomes[place(outcome)].fetch_add(1, Relaxed);
        self.durations.observe(took);
    }
}

/// What is counted over all functions.
#[derive(Default)]
pub(crate) struct Totals {
    /// Calls of functions that do not exist: they get no series of their own, or anyone could make them.
    pub(crate) not_found: AtomicU64,
    pub(crate) blanks_used: AtomicU64,
}

fn line(out: &mut String, text: std::fmt::Arguments<'_>) {
    // Writing to a string cannot fail.
    let _ = out.write_fmt(text);
    out.push('\n');
}

fn head(out: &mut String, name: &str, kind: &str, help: &str) {
    line(out, format_args!("# HELP {name} {help}\n# TYPE {name} {kind}"));
}

fn labels(key: &FunctionKey) -> String {
    let escape = |text: &str| text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
    format!(
        "tenant=\"{}\",door=\"{}\",function=\"{}\"",
        escape(key.tenant.as_str()),
        escape(&key.door),
        escape(&key.name)
    )
}

type Gauge = fn(&xebec_core::function::Live) -> u32;

impl Engine {
    /// Appends `xebec_*` and the process's memory in Prometheus' text format.
    pub fn metrics(&self, out: &mut String) {
        let active: Vec<(String, Arc<Active>)> =
            // Another function may have the name of one that was removed and still drains.
            self.shared
                .keeper
                .in_use()
                .into_iter()
                .filter(|active| !active.is_removed())
                .map(|active| (labels(&active.key), active))
                .collect();
        self.write_calls(out, &active);
        write_gauges(out, &active);
        write_scaling(out, &active);
        write_usage(out, &active);
        self.write_totals(out);
    }

    fn write_calls(&self, out: &mut String, active: &[(String, Arc<Active>)]) {
        let name = "xebec_invocations_total";
        head(out, name, "counter", "Calls that ended, by outcome.");
        for (labels, active) in active {
            for (outcome, count) in OUTCOMES.iter().zip(&active.series.outcomes) {
                let count = count.load(Relaxed);
                if count > 0 {
                    line(out, format_args!("{name}{{{labels},outcome=\"{}\"}} {count}", outcome.name()));
                }
            }
        }
        let unknown = self.shared.totals.not_found.load(Relaxed);
        line(
            out,
            format_args!("{name}{{tenant=\"\",door=\"\",function=\"\",outcome=\"not_found\"}} {unknown}"),
        );
        let name = "xebec_invocation_duration_seconds";
        head(out, name, "histogram", "From a call's arrival to the end of its answer.");
        active.iter().for_each(|(labels, active)| active.series.durations.write(out, name, labels));
        let name = "xebec_cold_start_seconds";
        head(out, name, "histogram", "From asking for an instance until it takes calls.");
        active.iter().for_each(|(labels, active)| active.series.cold_starts.write(out, name, labels));
        let name = "xebec_failed_starts_total";
        head(out, name, "counter", "Instances that did not come to take calls.");
        for (labels, active) in active {
            let count = active.series.failed_starts.load(Relaxed);
            line(out, format_args!("{name}{{{labels}}} {count}"));
        }
    }

    fn write_totals(&self, out: &mut String) {
        let totals: [(&str, &str, &str, u64); 7] = [
            ("xebec_functions", "gauge", "Functions deployed.", self.functions.len() as u64),
            (
                "xebec_records_dropped_total",
                "counter",
                "Records of calls that were not kept.",
                self.shared.recorder.dropped(),
            ),
            (
                "xebec_kept_requests_dropped_total",
                "counter",
                "Requests that were to be kept for a replay, and for which there was no room.",
                self.shared.recorder.requests_dropped(),
            ),
            (
                "xebec_kept_answers_dropped_total",
                "counter",
                "Answers that were to be kept with their records, and for which there was no room.",
                self.shared.recorder.answers_dropped(),
            ),
            (
                "xebec_log_lines_dropped_total",
                "counter",
                "Lines that were not kept.",
                self.shared.logs.dropped(),
            ),
            (
                "xebec_blanks_used_total",
                "counter",
                "Starts that took a blank.",
                self.shared.totals.blanks_used.load(Relaxed),
            ),
            ("process_resident_memory_bytes", "gauge", "Resident memory.", resident_bytes().unwrap_or(0)),
        ];
        for (name, kind, help, value) in totals {
            if name == "process_resident_memory_bytes" && value == 0 {
                // This system does not tell.
                continue;
            }
            head(out, name, kind, help);
            line(out, format_args!("{name} {value}"));
        }
        let name = "xebec_blanks";
        head(out, name, "gauge", "Blanks ready.");
        for (environment, count) in self.shared.blanks.counts() {
            line(out, format_args!("{name}{{environment=\"{environment}\"}} {count}"));
        }
    }
}

fn write_gauges(out: &mut String, active: &[(String, Arc<Active>)]) {
    let gauges: [(&str, &str, Gauge); 5] = [
        ("xebec_in_flight", "Calls in flight.", |live| live.in_flight),
        ("xebec_waiting", "Callers waiting for a slot.", |live| live.waiting),
        ("xebec_instances", "Instances that take calls.", |live| live.ready),
        ("xebec_instances_starting", "Instances being started.", |live| live.starting),
        ("xebec_instances_desired", "Instances that the scaler wants.", |live| live.desired),
    ];
    let states: Vec<_> = active
        .iter()
        .map(|(labels, active)| {
            let mut live = xebec_core::function::Live::default();
            active.add_to(&mut live);
            (labels, live)
        })
        .collect();
    for (name, help, gauge) in gauges {
        head(out, name, "gauge", help);
        for (labels, live) in &states {
            line(out, format_args!("{name}{{{labels}}} {}", gauge(live)));
        }
    }
}

/// What functions are scaled by.
fn write_scaling(out: &mut String, active: &[(String, Arc<Active>)]) {
    let scaled: Vec<_> =
        active.iter().filter_map(|(labels, active)| Some((labels, active.scaled_by()?))).collect();
    let name = "xebec_scaling_load";
    head(out, name, "gauge", "What a function is scaled by: how much of its metric there is.");
    for (labels, by) in &scaled {
        line(out, format_args!("{name}{{{labels},metric=\"{}\"}} {}", by.metric.name(), by.load));
    }
    let name = "xebec_scaling_target";
    head(out, name, "gauge", "How much of its metric one instance of a function should have.");
    for (labels, by) in &scaled {
        line(out, format_args!("{name}{{{labels},metric=\"{}\"}} {}", by.metric.name(), by.target));
    }
}

/// What instances use, as it was last measured.
fn write_usage(out: &mut String, active: &[(String, Arc<Active>)]) {
    let name = "xebec_cpu_seconds_total";
    head(out, name, "counter", "Processor time that a function's instances used.");
    for (labels, active) in active {
        line(out, format_args!("{name}{{{labels}}} {}", active.meter.last().cpu_seconds));
    }
    let name = "xebec_memory_bytes";
    head(out, name, "gauge", "Memory that a function's instances hold.");
    for (labels, active) in active {
        line(out, format_args!("{name}{{{labels}}} {}", active.meter.last().memory_bytes));
    }
}

#[cfg(target_os = "linux")]
fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

#[cfg(not(target_os = "linux"))]
fn resident_bytes() -> Option<u64> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_outcome_has_its_place() {
        for (at, outcome) in OUTCOMES.iter().enumerate() {
            assert_eq!(place(outcome), at, "{outcome}");
        }
    }

    #[test]
    fn histograms_are_cumulative() {
        let histogram = Histogram::default();
        for micros in [50, 100, 101, 40_000_000] {
            histogram.observe(Duration::from_micros(micros));
        }
        let mut out = String::new();
        histogram.write(&mut out, "x", "a=\"b\"");
        assert!(out.contains("x_bucket{a=\"b\",le=\"0.0001\"} 2\n"), "{out}");
        assert!(out.contains("x_bucket{a=\"b\",le=\"0.00025\"} 3\n"), "{out}");
        assert!(out.contains("x_bucket{a=\"b\",le=\"+Inf\"} 4\n"), "{out}");
        assert!(out.contains("x_count{a=\"b\"} 4\n"), "{out}");
    }
}

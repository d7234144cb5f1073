//! What was measured, counted and told.

use comfy_table::{ContentArrangement, Table, presets::UTF8_FULL_CONDENSED};
use hdrhistogram::Histogram;
use serde::Serialize;
use std::{collections::BTreeMap, time::Duration};

/// Longer ones are counted as this long.
const LONGEST: Duration = Duration::from_secs(3600);

/// Latencies, to three digits.
#[derive(Clone)]
pub(crate) struct Latencies(Histogram<u64>);

impl Latencies {
    pub(crate) fn new() -> Self {
        let nanoseconds = u64::try_from(LONGEST.as_nanos()).unwrap_or(u64::MAX);
        // The bounds are constants that the crate takes.
        #[allow(clippy::expect_used)]
        Self(Histogram::new_with_bounds(1, nanoseconds, 3).expect("constant bounds"))
    }

    pub(crate) fn record(&mut self, latency: Duration) {
        self.0.saturating_record(u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX));
    }

    pub(crate) fn merge(&mut self, other: &Self) {
        // Both have the same bounds, so this cannot fail.
        let _ = self.0.add(&other.0);
    }

    /// The latency that `percent` of all did not pass.
    pub(crate) fn at(&self, percent: f64) -> Duration {
        Duration::from_nanos(self.0.value_at_percentile(percent))
    }

    pub(crate) fn len(&self) -> u64 {
        self.0.len()
    }

    fn summary(&self) -> Summary {
        let micros = |percent| self.at(percent).as_secs_f64() * 1e6;
        Summary {
            min: if self.0.is_empty() { 0.0 } else { self.0.min() as f64 / 1e3 },
            mean: self.0.mean() / 1e3,
            p50: micros(50.0),
            p90: micros(90.0),
            p99: micros(99.0),
            p999: micros(99.9),
            max: self.0.max() as f64 / 1e3,
        }
    }
}

/// Latencies in microseconds.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Summary {
    pub(crate) min: f64,
    pub(crate) mean: f64,
    pub(crate) p50: f64,
    pub(crate) p90: f64,
    pub(crate) p99: f64,
    pub(crate) p999: f64,
    pub(crate) max: f64,
}

/// What one connection saw, or all of them together.
#[derive(Clone)]
pub(crate) struct Tally {
    /// From when a call was to start to the last byte of its answer.
    pub(crate) latencies: Latencies,
    /// From when it was sent; the same in a closed loop.
    pub(crate) service: Latencies,
    pub(crate) statuses: BTreeMap<u16, u64>,
    pub(crate) errors: BTreeMap<String, u64>,
    pub(crate) bytes: u64,
}

impl Tally {
    pub(crate) fn new() -> Self {
        Self {
            latencies: Latencies::new(),
            service: Latencies::new(),
            statuses: BTreeMap::new(),
            errors: BTreeMap::new(),
            bytes: 0,
        }
    }

    pub(crate) fn answered(&mut self, status: u16, bytes: u64, latency: Duration, service: Duration) {
        self.latencies.record(latency);
        self.service.record(service);
        *self.statuses.entry(status).or_default() += 1;
        self.bytes += bytes;
    }

    pub(crate) fn failed(&mut self, error: String) {
        *self.errors.entry(error).or_default() += 1;
    }

    pub(crate) fn merge(&mut self, other: &Self) {
        self.latencies.merge(&other.latencies);
        self.service.merge(&other.service);
        for (status, count) in &other.statuses {
            *self.statuses.entry(*status).or_default() += count;
        }
        for (error, count) in &other.errors {
            *self.errors.entry(error.clone()).or_default() += count;
        }
        self.bytes += other.bytes;
    }

    /// Calls that did not end with a 2xx.
    pub(crate) fn bad(&self) -> u64 {
        let statuses: u64 =
            self.statuses.iter().filter(|(status, _)| !(200..300).contains(*status)).map(|(_, n)| n).sum();
        statuses + self.errors.values().sum::<u64>()
    }
}

/// The result of a load.
#[derive(Serialize)]
pub(crate) struct Report {
    pub(crate) url: String,
    pub(crate) connections: usize,
    /// Calls per second that were scheduled, in an open loop.
    pub(crate) scheduled_rate: Option<f64>,
    pub(crate) seconds: f64,
    pub(crate) calls: u64,
    /// Answers per second.
    pub(crate) rate: f64,
    pub(crate) megabytes: f64,
    pub(crate) latency_us: Summary,
    /// Without the wait for a connection, in an open loop.
    pub(crate) service_us: Option<Summary>,
    pub(crate) statuses: BTreeMap<u16, u64>,
    pub(crate) errors: BTreeMap<String, u64>,
    /// Calls that were scheduled and never sent, because the server was too slow for too long.
    pub(crate) not_sent: u64,
}

impl Report {
    pub(crate) fn new(
        url: String,
        connections: usize,
        scheduled_rate: Option<f64>,
        taken: Duration,
        tally: &Tally,
        not_sent: u64,
    ) -> Self {
        let seconds = taken.as_secs_f64();
        let calls = tally.latencies.len();
        Self {
            url,
            connections,
            scheduled_rate,
            seconds,
            calls,
            rate: calls as f64 / seconds,
            megabytes: tally.bytes as f64 / 1e6,
            latency_us: tally.latencies.summary(),
            service_us: scheduled_rate.map(|_| tally.service.summary()),
            statuses: tally.statuses.clone(),
            errors: tally.errors.clone(),
            not_sent,
        }
    }

    /// For people.
    pub(crate) fn print(&self) {
        let loop_kind = match self.scheduled_rate {
            Some(rate) => format!("open loop, {rate} calls/s scheduled"),
            None => "closed loop".to_owned(),
        };
        println!("{}: {loop_kind}, {} connections, {:.1} s", self.url, self.connections, self.seconds);
        println!("{} answers, {:.0}/s, {:.1} MB", self.calls, self.rate, self.megabytes);
        let mut table = Table::new();
        table.load_style(UTF8_FULL_CONDENSED).set_content_arrangement(ContentArrangement::Disabled);
        table.set_header(["", "min", "mean", "p50", "p90", "p99", "p99.9", "max"]);
        table.add_row(row("latency", &self.latency_us));
        if let Some(service) = &self.service_us {
            table.add_row(row("service", service));
        }
        println!("{table}");
        for (status, count) in &self.statuses {
            println!("status {status}: {count}");
        }
        for (error, count) in &self.errors {
            println!("error: {error}: {count}");
        }
        if self.not_sent > 0 {
            println!("never sent: {} (the server fell behind the schedule)", self.not_sent);
        }
    }
}

fn row(name: &str, summary: &Summary) -> Vec<String> {
    let values =
        [summary.min, summary.mean, summary.p50, summary.p90, summary.p99, summary.p999, summary.max];
    std::iter::once(name.to_owned()).chain(values.map(human)).collect()
}

/// Microseconds, in a unit that reads well.
pub(crate) fn human(micros: f64) -> String {
    if micros < 1_000.0 {
        format!("{micros:.1} µs")
    } else if micros < 1_000_000.0 {
        format!("{:.2} ms", micros / 1e3)
    } else {
        format!("{:.2} s", micros / 1e6)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_and_merging() {
        let mut first = Tally::new();
        let mut second = Tally::new();
        for millis in 1..=100 {
            let tally = if millis % 2 == 0 { &mut first } else { &mut second };
            let latency = Duration::from_millis(millis);
            tally.answered(if millis == 100 { 500 } else { 200 }, 10, latency, latency);
        }
        second.failed("refused".into());
        first.merge(&second);
        assert_eq!(first.latencies.len(), 100);
        let p50 = first.latencies.at(50.0).as_secs_f64();
        assert!((0.0499..0.0502).contains(&p50), "{p50}");
        assert_eq!((first.bytes, first.bad()), (1000, 2));
        let report = Report::new("u".into(), 1, None, Duration::from_secs(2), &first, 0);
        assert!((report.rate - 50.0).abs() < 1e-9);
        assert!(serde_json::to_string(&report).unwrap().contains("\"p999\""));
    }

    #[test]
    fn units() {
        assert_eq!(human(12.34), "12.3 µs");
        assert_eq!(human(12_340.0), "12.34 ms");
        assert_eq!(human(12_340_000.0), "12.34 s");
    }
}

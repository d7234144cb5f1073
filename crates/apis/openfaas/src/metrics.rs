//! The series of OpenFaaS' gateway, as its dashboards and alert rules read them.
//!
//! Series exist for functions that were called and are still there; those that nobody called for
//! [`KEPT_IDLE`] go, so that a scrape stays small however many functions are deployed.

use std::{
    collections::{BTreeMap, HashMap},
    fmt::Write as _,
    sync::{
        Arc, Mutex, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};
use xebec_core::names::Address;

/// How long the series of a function are kept after its last call.
const KEPT_IDLE: Duration = Duration::from_secs(3600);

/// Upper bounds of the histogram's buckets, in seconds.
const BUCKETS: [f64; 11] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// What a call is labelled with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CallLabels<'a> {
    /// The function's name.
    pub(crate) name: &'a str,
    /// Its namespace.
    pub(crate) namespace: &'a str,
}

/// All series of the door.
#[derive(Debug)]
pub(crate) struct Metrics {
    functions: RwLock<HashMap<Address, Arc<Series>>>,
    born: Instant,
}

/// The series of one function.
#[derive(Debug)]
pub(crate) struct Series {
    function_name: String,
    started: AtomicU64,
    /// When it was last called, in milliseconds since the metrics were made.
    last_call: AtomicU64,
    /// By status code. Held for a few additions, never across an await.
    codes: Mutex<BTreeMap<u16, Histogram>>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Histogram {
    /// Calls by bucket, each counted once; those past the last bound only in `count`.
    buckets: [u64; BUCKETS.len()],
    count: u64,
    seconds: f64,
}

/// A call that was counted as started, and is counted as ended when this is finished.
#[derive(Debug)]
pub(crate) struct Running {
    series: Arc<Series>,
    since: Instant,
}

impl Metrics {
    pub(crate) fn new() -> Self {
        Self { functions: RwLock::default(), born: Instant::now() }
    }

    /// Counts a call as started.
    pub(crate) fn start(&self, address: &Address, labels: CallLabels<'_>, now: Instant) -> Running {
        let known = self.functions.read().unwrap_or_else(PoisonError::into_inner).get(address).cloned();
        let series = known.unwrap_or_else(|| self.add(address, labels));
        series.started.fetch_add(1, Ordering::Relaxed);
        series.last_call.store(self.millis(now), Ordering::Relaxed);
        Running { series, since: now }
    }

    #[cold]
    fn add(&self, address: &Address, labels: CallLabels<'_>) -> Arc<Series> {
        let mut functions = self.functions.write().unwrap_or_else(PoisonError::into_inner);
        let fresh = || {
            Arc::new(Series {
                function_name: format!("{}.{}", labels.name, labels.namespace),
                started: AtomicU64::new(0),
                last_call: AtomicU64::new(0),
                codes: Mutex::default(),
            })
        };
        functions.entry(address.clone()).or_insert_with(fresh).clone()
    }

    /// Appends all series in Prometheus' text format. `instances` says how many there are of the function at
    /// an address, `None`: it is gone.
    pub(crate) fn write(&self, out: &mut String, instances: impl Fn(&Address) -> Option<u32>) {
        let now = self.millis(Instant::now());
        let mut rows = Vec::new();
        self.functions.write().unwrap_or_else(PoisonError::into_inner).retain(|address, series| {
            let idle = now.saturating_sub(series.last_call.load(Ordering::Relaxed));
            let count = if u128::from(idle) > KEPT_IDLE.as_millis() { None } else { instances(address) };
            rows.extend(count.map(|count| (series.clone(), count)));
            count.is_some()
        });
        rows.sort_by(|(a, _), (b, _)| a.function_name.cmp(&b.function_name));
        write_rows(out, &rows);
    }

    fn millis(&self, now: Instant) -> u64 {
        u64::try_from(now.saturating_duration_since(self.born).as_millis()).unwrap_or(u64::MAX)
    }
}

impl Running {
    /// Counts the call as ended with a status.
    pub(crate) fn finish(self, code: u16) {
        let seconds = self.since.elapsed().as_secs_f64();
        self.series
            .codes
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .entry(code)
            .or_default()
            .add(seconds);
    }
}

impl Histogram {
    fn add(&mut self, seconds: f64) {
        if let Some(bucket) = BUCKETS.iter().position(|bound| seconds <= *bound) {
            self.buckets[bucket] += 1;
        }
        self.count += 1;
        self.seconds += seconds;
    }
}

// Writing to a `String` cannot fail, so the results of `write!` carry nothing.
fn write_rows(out: &mut String, rows: &[(Arc<Series>, u32)]) {
    let codes: Vec<(&str, BTreeMap<u16, Histogram>)> = rows
        .iter()
        .map(|(series, _)| {
            let codes = series.codes.lock().unwrap_or_else(PoisonError::into_inner).clone();
            (series.function_name.as_str(), codes)
        })
        .collect();
    family(out, "gateway_functions_seconds", "histogram", "Seconds from a call to the end of its answer.");
    for (function, code, histogram) in each(&codes) {
        let labels = format!("function_name=\"{function}\",code=\"{code}\"");
        let mut below = 0;
        for (bound, count) in BUCKETS.iter().zip(histogram.buckets) {
            below += count;
            let _ = writeln!(out, "gateway_functions_seconds_bucket{{{labels},le=\"{bound}\"}} {below}");
        }
        let Histogram { count, seconds, .. } = histogram;
        let _ = writeln!(out, "gateway_functions_seconds_bucket{{{labels},le=\"+Inf\"}} {count}");
        let _ = writeln!(out, "gateway_functions_seconds_sum{{{labels}}} {seconds}");
        let _ = writeln!(out, "gateway_functions_seconds_count{{{labels}}} {count}");
    }
    family(out, "gateway_function_invocation_total", "counter", "Calls that ended.");
    for (function, code, histogram) in each(&codes) {
        let count = histogram.count;
        let _ = writeln!(
            out,
            "gateway_function_invocation_total{{function_name=\"{function}\",code=\"{code}\"}} {count}"
        );
    }
    family(out, "gateway_function_invocation_started", "counter", "Calls that were begun.");
    for (series, _) in rows {
        let (function, count) = (&series.function_name, series.started.load(Ordering::Relaxed));
        let _ = writeln!(out, "gateway_function_invocation_started{{function_name=\"{function}\"}} {count}");
    }
    family(out, "gateway_service_count", "gauge", "Instances of a function.");
    for (series, count) in rows {
        let function = &series.function_name;
        let _ = writeln!(out, "gateway_service_count{{function_name=\"{function}\"}} {count}");
    }
}

fn each<'a>(
    codes: &'a [(&'a str, BTreeMap<u16, Histogram>)],
) -> impl Iterator<Item = (&'a str, u16, Histogram)> + 'a {
    codes
        .iter()
        .flat_map(|(function, codes)| codes.iter().map(|(code, histogram)| (*function, *code, *histogram)))
}

fn family(out: &mut String, name: &str, kind: &str, help: &str) {
    let _ = write!(out, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
}

#[cfg(test)]
mod tests {
    use super::*;
    use xebec_core::Tenant;

    fn address(name: &str) -> Address {
        Address::new("function", &Tenant::default(), name)
    }

    fn call(metrics: &Metrics, name: &str, code: u16) {
        let labels = CallLabels { name, namespace: "openfaas-fn" };
        metrics.start(&address(name), labels, Instant::now()).finish(code);
    }

    #[test]
    fn writes_what_dashboards_read() {
        let metrics = Metrics::new();
        call(&metrics, "env", 200);
        call(&metrics, "env", 200);
        call(&metrics, "env", 500);
        let _running = metrics.start(
            &address("env"),
            CallLabels { name: "env", namespace: "openfaas-fn" },
            Instant::now(),
        );
        let mut out = String::new();
        metrics.write(&mut out, |_| Some(3));
        for line in [
            "gateway_function_invocation_total{function_name=\"env.openfaas-fn\",code=\"200\"} 2",
            "gateway_function_invocation_total{function_name=\"env.openfaas-fn\",code=\"500\"} 1",
            "gateway_function_invocation_started{function_name=\"env.openfaas-fn\"} 4",
            "gateway_service_count{function_name=\"env.openfaas-fn\"} 3",
            "gateway_functions_seconds_bucket{function_name=\"env.openfaas-fn\",code=\"200\",le=\"+Inf\"} 2",
            "gateway_functions_seconds_count{function_name=\"env.openfaas-fn\",code=\"200\"} 2",
            "# TYPE gateway_functions_seconds histogram",
        ] {
            assert!(out.lines().any(|written| written == line), "{line}\nis not in\n{out}");
        }
    }

    #[test]
    fn buckets_are_cumulative() {
        let metrics = Metrics::new();
        let running = metrics.start(
            &address("env"),
            CallLabels { name: "env", namespace: "openfaas-fn" },
            Instant::now(),
        );
        running.series.codes.lock().unwrap().entry(200).or_default().add(0.02);
        running.series.codes.lock().unwrap().entry(200).or_default().add(60.0);
        let mut out = String::new();
        metrics.write(&mut out, |_| Some(1));
        for (bound, count) in [("0.01", 0), ("0.025", 1), ("10", 1), ("+Inf", 2)] {
            let wanted = format!("code=\"200\",le=\"{bound}\"}} {count}");
            assert!(out.lines().any(|line| line.ends_with(&wanted)), "{wanted}\nis not in\n{out}");
        }
    }

    #[test]
    fn series_go_with_their_function() {
        let metrics = Metrics::new();
        call(&metrics, "gone", 200);
        call(&metrics, "here", 200);
        let mut out = String::new();
        metrics.write(&mut out, |address| (address.name == "here").then_some(1));
        assert!(out.contains("here.openfaas-fn") && !out.contains("gone.openfaas-fn"), "{out}");
        assert_eq!(metrics.functions.read().unwrap().len(), 1);
    }
}

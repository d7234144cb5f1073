//! The series of OpenFaaS' gateway and queue worker, as its dashboards and alert rules read them.
//!
//! Series exist for functions that were called and are still there; those that nobody called for
//! [`KEPT_IDLE`] go, so that a scrape stays small however many functions are deployed.

mod queues;
mod requests;
mod text;
pub(crate) mod usage;

use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc, Mutex, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};
use text::Row;
use xebec_core::{function::FunctionView, histogram::ClientHistogram, names::Address, policy::Metric};

/// How long the series of a function are kept after its last call.
const KEPT_IDLE: Duration = Duration::from_secs(3600);

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
    /// Requests to the server itself.
    pub(crate) requests: requests::Requests,
    /// Calls that were accepted to be made later.
    pub(crate) queues: queues::Queues,
}

/// The series of one function.
#[derive(Debug)]
pub(crate) struct Series {
    function_name: String,
    started: AtomicU64,
    /// When it was last called, in milliseconds since the metrics were made.
    last_call: AtomicU64,
    /// By status code. Held for a few additions, never across an await.
    codes: Mutex<BTreeMap<u16, ClientHistogram>>,
}

/// A call that was counted as started, and is counted as ended when this is finished.
#[derive(Debug)]
pub(crate) struct Running {
    series: Arc<Series>,
    since: Instant,
    _queue: Option<queues::InFlight>,
}

/// What is told of a function beside what was counted.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Figures {
    in_flight: u32,
    instances: u32,
    ready: u32,
    least: u32,
    /// What it is scaled by, and how much of it one instance takes.
    target: Option<(&'static str, f64)>,
}

impl Figures {
    pub(crate) fn of(view: &FunctionView) -> Self {
        let (live, policy) = (&view.live, &view.function.policy);
        let kind = match policy.scaling.metric {
            Metric::Concurrency => "capacity",
            Metric::Rate => "rps",
            Metric::Cpu => "cpu",
            Metric::Queue => "queue",
        };
        Self {
            in_flight: live.in_flight + live.waiting,
            instances: live.ready + live.starting,
            ready: live.ready,
            least: policy.min_instances,
            target: policy.scaling.target.map(|target| (kind, target)),
        }
    }
}

impl Metrics {
    pub(crate) fn new() -> Self {
        Self {
            functions: RwLock::default(),
            born: Instant::now(),
            requests: requests::Requests::default(),
            queues: queues::Queues::default(),
        }
    }

    /// Counts a call as started.
    pub(crate) fn start(&self, address: &Address, labels: CallLabels<'_>, now: Instant) -> Running {
        let known = self.functions.read().unwrap_or_else(PoisonError::into_inner).get(address).cloned();
        let series = known.unwrap_or_else(|| self.add(address, labels));
        series.started.fetch_add(1, Ordering::Relaxed);
        series.last_call.store(self.millis(now), Ordering::Relaxed);
        Running { series, since: now, _queue: None }
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

    /// How many calls of each function were answered with 200.
    pub(crate) fn successes(&self) -> Vec<(Address, u64)> {
        let functions = self.functions.read().unwrap_or_else(PoisonError::into_inner);
        let count = |series: &Series| {
            let codes = series.codes.lock().unwrap_or_else(PoisonError::into_inner);
            codes.get(&200).map_or(0, ClientHistogram::count)
        };
        functions.iter().map(|(address, series)| (address.clone(), count(series))).collect()
    }

    /// Appends what was counted. `figures` says how the function at an address is doing, `None`: it is gone.
    pub(crate) fn write(&self, out: &mut String, figures: impl Fn(&Address) -> Option<Figures>) {
        let now = self.millis(Instant::now());
        let mut kept = Vec::new();
        self.functions.write().unwrap_or_else(PoisonError::into_inner).retain(|address, series| {
            let idle = now.saturating_sub(series.last_call.load(Ordering::Relaxed));
            let figures = if u128::from(idle) > KEPT_IDLE.as_millis() { None } else { figures(address) };
            kept.extend(figures.map(|figures| (series.clone(), figures)));
            figures.is_some()
        });
        kept.sort_by(|(a, _), (b, _)| a.function_name.cmp(&b.function_name));
        let rows: Vec<_> = kept.iter().map(|(series, figures)| series.row(*figures)).collect();
        text::functions(out, &rows);
        self.requests.write(out);
    }

    fn millis(&self, now: Instant) -> u64 {
        u64::try_from(now.saturating_duration_since(self.born).as_millis()).unwrap_or(u64::MAX)
    }
}

impl Series {
    fn row(&self, figures: Figures) -> Row<'_> {
        Row {
            function_name: &self.function_name,
            codes: self.codes.lock().unwrap_or_else(PoisonError::into_inner).clone(),
            started: self.started.load(Ordering::Relaxed),
            figures,
        }
    }
}

impl Running {
    /// The same, of a call that a queue had accepted.
    pub(crate) fn of_queue(self, queue: queues::InFlight) -> Self {
        Self { _queue: Some(queue), ..self }
    }

    /// Counts the call as ended with a status.
    pub(crate) fn finish(self, code: u16) {
        let took = self.since.elapsed();
        self.series
            .codes
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .entry(code)
            .or_default()
            .observe(took);
    }
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
        let labels = CallLabels { name: "env", namespace: "openfaas-fn" };
        let _running = metrics.start(&address("env"), labels, Instant::now());
        let mut out = String::new();
        let figures = Figures { in_flight: 1, instances: 3, ready: 2, least: 1, target: Some(("rps", 45.5)) };
        metrics.write(&mut out, |_| Some(figures));
        for line in [
            "gateway_function_invocation_total{function_name=\"env.openfaas-fn\",code=\"200\"} 2",
            "gateway_function_invocation_total{function_name=\"env.openfaas-fn\",code=\"500\"} 1",
            "gateway_function_invocation_started{function_name=\"env.openfaas-fn\"} 4",
            "gateway_function_invocation_inflight{function_name=\"env.openfaas-fn\"} 1",
            "gateway_service_count{function_name=\"env.openfaas-fn\"} 3",
            "gateway_service_ready_count{function_name=\"env.openfaas-fn\"} 2",
            "gateway_service_min{function_name=\"env.openfaas-fn\"} 1",
            "gateway_service_target_load{function_name=\"env.openfaas-fn\",scaling_type=\"rps\"} 45.5",
            "gateway_functions_seconds_bucket{function_name=\"env.openfaas-fn\",code=\"200\",le=\"+Inf\"} 2",
            "gateway_functions_seconds_count{function_name=\"env.openfaas-fn\",code=\"200\"} 2",
            "# TYPE gateway_functions_seconds histogram",
        ] {
            assert!(out.lines().any(|written| written == line), "{line}\nis not in\n{out}");
        }
    }

    #[test]
    fn series_go_with_their_function() {
        let metrics = Metrics::new();
        call(&metrics, "gone", 200);
        call(&metrics, "here", 200);
        let mut out = String::new();
        metrics.write(&mut out, |address| (address.name == "here").then(Figures::default));
        assert!(out.contains("here.openfaas-fn") && !out.contains("gone.openfaas-fn"), "{out}");
        assert_eq!(metrics.functions.read().unwrap().len(), 1);
    }
}

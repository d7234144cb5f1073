//! How long requests took, by method, route and status: `http.server.request.duration` of OpenTelemetry, under
//! the name that Prometheus has for it. Only kept where metrics are exported.

use crate::account::template;
use parking_lot::Mutex;
use std::{
    collections::BTreeMap,
    fmt::Write as _,
    sync::Arc,
    time::{Duration, Instant},
};
use xebec_core::histogram::Histogram;

const NAME: &str = "http_server_request_duration_seconds";

/// Upper edges of the buckets in seconds, as the conventions have them.
const EDGES: [f64; 14] = [0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0];

/// Functions may answer with any status; past so many series, statuses are told by their class only.
const MOST_SERIES: usize = 1000;

/// What has a series of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key {
    pub(crate) route: &'static str,
    pub(crate) method: &'static str,
    pub(crate) scheme: &'static str,
    /// 0: the client went away before there was one.
    pub(crate) status: u16,
}

/// How long requests took.
#[derive(Default)]
pub(crate) struct Durations(Mutex<BTreeMap<Key, Histogram<{ EDGES.len() }>>>);

impl Durations {
    fn observe(&self, mut key: Key, took: Duration) {
        let mut all = self.0.lock();
        if all.len() >= MOST_SERIES && !all.contains_key(&key) {
            key.status = key.status / 100 * 100;
        }
        all.entry(key).or_insert_with(|| Histogram::new(&EDGES)).observe(took);
    }

    /// Appends all series.
    pub(crate) fn write(&self, out: &mut String) {
        let all = self.0.lock().clone();
        // Writing to a string cannot fail.
        let _ = write!(
            out,
            "# HELP {NAME} From a request's head to the end of its answer.\n# TYPE {NAME} histogram\n"
        );
        for (key, histogram) in all {
            histogram.write(out, NAME, labels(&key));
        }
    }
}

fn labels(key: &Key) -> String {
    let Key { route, method, scheme, status } = key;
    let (route, code) = (template(route), if *status == 0 { String::new() } else { status.to_string() });
    let error = if *status >= 500 { code.as_str() } else { "" };
    format!(
        "http_request_method=\"{method}\",http_route=\"{route}\",url_scheme=\"{scheme}\",\
         http_response_status_code=\"{code}\",error_type=\"{error}\""
    )
}

/// A request whose duration is measured, until this is dropped.
pub(crate) struct Timed {
    durations: Arc<Durations>,
    began: Instant,
    key: Key,
}

impl Timed {
    pub(crate) fn begin(durations: Arc<Durations>, key: Key) -> Self {
        Self { durations, began: Instant::now(), key }
    }

    pub(crate) fn set_status(&mut self, status: u16) {
        self.key.status = status;
    }
}

impl Drop for Timed {
    fn drop(&mut self) {
        self.durations.observe(self.key, self.began.elapsed());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(status: u16) -> Key {
        Key { route: "/function/", method: "GET", scheme: "http", status }
    }

    #[test]
    fn buckets_are_cumulative() {
        let durations = Durations::default();
        for millis in [5, 6, 20_000] {
            durations.observe(key(503), Duration::from_millis(millis));
        }
        let mut out = String::new();
        durations.write(&mut out);
        let labels = "http_request_method=\"GET\",http_route=\"/function/{*path}\",url_scheme=\"http\",\
                      http_response_status_code=\"503\",error_type=\"503\"";
        for (edge, count) in [("0.005", 1), ("0.01", 2), ("10", 2), ("+Inf", 3)] {
            assert!(out.contains(&format!("{NAME}_bucket{{{labels},le=\"{edge}\"}} {count}\n")), "{out}");
        }
        assert!(out.contains(&format!("{NAME}_sum{{{labels}}} 20.011\n")), "{out}");
        assert!(out.contains(&format!("{NAME}_count{{{labels}}} 3\n")), "{out}");
    }

    #[test]
    fn series_are_bounded() {
        let durations = Durations::default();
        for round in 0..3 {
            for status in 100..1000 {
                let method = ["GET", "POST", "PUT"][round];
                durations.observe(Key { method, ..key(status) }, Duration::ZERO);
            }
        }
        assert!(durations.0.lock().len() < MOST_SERIES + 3 * 9);
    }
}

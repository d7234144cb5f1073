//! The watchdogs' series, as Prometheus reads them.

use http::{Method, StatusCode};
use std::{
    collections::BTreeMap,
    fmt::Write as _,
    sync::{Mutex, PoisonError},
    time::Duration,
};
use xebec_core::histogram::ClientHistogram;

/// Series by status and method. Methods that are not of the standard share one, so there is an end to them.
#[derive(Default)]
pub(crate) struct Metrics(Mutex<BTreeMap<(u16, &'static str), ClientHistogram>>);

impl Metrics {
    /// Counts a call that has ended.
    pub(crate) fn observe(&self, method: &Method, status: StatusCode, taken: Duration) {
        let mut series = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        series.entry((status.as_u16(), label(method))).or_default().observe(taken);
    }

    /// Everything, with the calls that there are now.
    pub(crate) fn text(&self, in_flight: u32) -> String {
        let series = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut text = String::with_capacity(512 + series.len() * 1024);
        text.push_str(
            "# HELP http_requests_total Calls that have ended.\n# TYPE http_requests_total counter\n",
        );
        for ((code, method), histogram) in &series {
            let labels = format_args!("code=\"{code}\",method=\"{method}\"");
            let _ = writeln!(text, "http_requests_total{{{labels}}} {}", histogram.count());
        }
        text.push_str(
            "# HELP http_request_duration_seconds How long calls took.\n\
             # TYPE http_request_duration_seconds histogram\n",
        );
        for ((code, method), histogram) in &series {
            let labels = format_args!("code=\"{code}\",method=\"{method}\"");
            histogram.write(&mut text, "http_request_duration_seconds", labels);
        }
        let _ = write!(
            text,
            "# HELP http_requests_in_flight Calls that there are now.\n\
             # TYPE http_requests_in_flight gauge\nhttp_requests_in_flight {in_flight}\n"
        );
        text
    }
}

fn label(method: &Method) -> &'static str {
    match *method {
        Method::GET => "get",
        Method::POST => "post",
        Method::PUT => "put",
        Method::PATCH => "patch",
        Method::DELETE => "delete",
        Method::HEAD => "head",
        Method::OPTIONS => "options",
        Method::CONNECT => "connect",
        Method::TRACE => "trace",
        _ => "unknown",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_add_up() {
        let metrics = Metrics::default();
        for millis in [1, 7, 60_000] {
            metrics.observe(&Method::POST, StatusCode::OK, Duration::from_millis(millis));
        }
        metrics.observe(&"BREW".parse().unwrap(), StatusCode::IM_A_TEAPOT, Duration::ZERO);
        let text = metrics.text(2);
        for line in [
            "http_requests_total{code=\"200\",method=\"post\"} 3",
            "http_requests_total{code=\"418\",method=\"unknown\"} 1",
            "http_request_duration_seconds_bucket{code=\"200\",method=\"post\",le=\"0.005\"} 1",
            "http_request_duration_seconds_bucket{code=\"200\",method=\"post\",le=\"0.01\"} 2",
            "http_request_duration_seconds_bucket{code=\"200\",method=\"post\",le=\"10\"} 2",
            "http_request_duration_seconds_bucket{code=\"200\",method=\"post\",le=\"+Inf\"} 3",
            "http_request_duration_seconds_count{code=\"200\",method=\"post\"} 3",
            "http_requests_in_flight 2",
        ] {
            assert!(text.lines().any(|written| written == line), "{line} is not in\n{text}");
        }
    }
}

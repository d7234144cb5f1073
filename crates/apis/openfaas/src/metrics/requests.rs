//! Requests to the server itself: management, and accepting calls that are made later. Calls have series of
//! their own.

use super::text::{family, sample};
use http::{Method, StatusCode};
use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};
use xebec_core::histogram::ClientHistogram;

/// Requests by method, path and status. The paths are those of routes, so there are few.
#[derive(Debug, Default)]
pub(crate) struct Requests(Mutex<BTreeMap<(&'static str, &'static str, u16), ClientHistogram>>);

impl Requests {
    /// Counts a request as answered.
    pub(crate) fn answered(&self, method: &Method, path: &str, status: StatusCode, took: Duration) {
        let key = (known_method(method), route(path), status.as_u16());
        let mut requests = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        requests.entry(key).or_default().observe(took);
    }

    pub(super) fn write(&self, out: &mut String) {
        let requests = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let rows: Vec<(String, ClientHistogram)> = requests
            .into_iter()
            .map(|((method, path, status), histogram)| {
                (format!("method=\"{method}\",path=\"{path}\",status=\"{status}\""), histogram)
            })
            .collect();
        let name = "http_request_duration_seconds";
        family(out, name, "histogram", "Seconds that a request to the server itself took.");
        rows.iter().for_each(|(labels, histogram)| histogram.write(out, name, labels));
        let name = "http_requests_total";
        family(out, name, "counter", "Requests to the server itself.");
        rows.iter().for_each(|(labels, histogram)| sample(out, name, labels, histogram.count()));
    }
}

fn known_method(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::DELETE => "DELETE",
        Method::HEAD => "HEAD",
        _ => "other",
    }
}

/// The route that a path leads to: paths themselves have names in them, of which there is no end.
fn route(path: &str) -> &'static str {
    const ROUTES: [&str; 11] = [
        "/system/functions",
        "/system/function",
        "/system/scale-function",
        "/system/secrets",
        "/system/logs",
        "/system/namespaces",
        "/system/namespace",
        "/system/info",
        "/system/alert",
        "/system/telemetry",
        "/async-function",
    ];
    let leads_to =
        |route: &&str| path.strip_prefix(*route).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    ROUTES.into_iter().find(leads_to).unwrap_or("/system")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_counted_by_route() {
        for (path, route_of_it) in [
            ("/system/functions", "/system/functions"),
            ("/system/functions/", "/system/functions"),
            ("/system/function/env", "/system/function"),
            ("/system/namespace/a", "/system/namespace"),
            ("/async-function/a/b", "/async-function"),
            ("/system/nothing", "/system"),
            ("/system/functionsandmore", "/system"),
        ] {
            assert_eq!(route(path), route_of_it, "{path}");
        }
        let (requests, mut out) = (Requests::default(), String::new());
        requests.answered(&Method::PUT, "/system/functions", StatusCode::ACCEPTED, Duration::from_millis(7));
        requests.write(&mut out);
        let line = "http_requests_total{method=\"PUT\",path=\"/system/functions\",status=\"202\"} 1";
        assert!(out.lines().any(|written| written == line), "{out}");
    }
}

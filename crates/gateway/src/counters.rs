//! The gateway's own series, in Prometheus' text format.

use crate::{state::Register, table::DoorTable};
use http::StatusCode;
use std::{
    fmt::Write as _,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
};

const CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];

/// Requests by door and status class; the last row counts what the gateway answered itself.
pub(crate) struct Counters(Vec<[AtomicU64; CLASSES.len()]>);

impl Counters {
    pub(crate) fn new(doors: usize) -> Self {
        Self((0..=doors).map(|_| Default::default()).collect())
    }

    /// Counts an answer of that door, or of the gateway.
    pub(crate) fn count(&self, door: Option<usize>, status: StatusCode) {
        let row = door.unwrap_or(self.0.len() - 1);
        let class = usize::from(status.as_u16() / 100).clamp(1, CLASSES.len()) - 1;
        self.0[row][class].fetch_add(1, Relaxed);
    }

    /// Appends all own series.
    pub(crate) fn write(&self, out: &mut String, table: &DoorTable, register: &Register) {
        out.push_str("# HELP xebec_http_requests_total Requests answered, by door and class of status.\n");
        out.push_str("# TYPE xebec_http_requests_total counter\n");
        let names = table.doors().iter().map(|door| door.name()).chain(["gateway"]);
        for (row, name) in self.0.iter().zip(names) {
            for (count, class) in row.iter().zip(CLASSES) {
                let count = count.load(Relaxed);
                if count > 0 {
                    // Writing to a string cannot fail.
                    let _ = writeln!(
                        out,
                        "xebec_http_requests_total{{door=\"{name}\",class=\"{class}\"}} {count}"
                    );
                }
            }
        }
        let single = [
            ("xebec_http_connections", "gauge", "Connections open now.", register.len() as u64),
            (
                "xebec_http_in_flight",
                "gauge",
                "Requests under way now, tunnels included.",
                register.in_flight(),
            ),
            (
                "xebec_http_connections_refused_total",
                "counter",
                "Connections turned away because there were too many.",
                register.refused(),
            ),
        ];
        for (name, kind, help, value) in single {
            let _ = write!(out, "# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}\n");
        }
    }
}

//! The series in Prometheus' text format. Writing to a `String` cannot fail, so the results of `write!` carry
//! nothing.

use super::Figures;
use std::{
    collections::BTreeMap,
    fmt::{Display, Write as _},
};
use xebec_core::histogram::ClientHistogram;

/// One function's row.
pub(super) struct Row<'a> {
    pub(super) function_name: &'a str,
    pub(super) codes: BTreeMap<u16, ClientHistogram>,
    pub(super) started: u64,
    pub(super) figures: Figures,
}

/// What a family of gauges takes from a row.
type Gauge = fn(&Figures) -> u32;

pub(super) fn family(out: &mut String, name: &str, kind: &str, help: &str) {
    let _ = write!(out, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
}

pub(super) fn sample(out: &mut String, name: &str, labels: impl Display, value: impl Display) {
    let _ = writeln!(out, "{name}{{{labels}}} {value}");
}

pub(super) fn functions(out: &mut String, rows: &[Row<'_>]) {
    let name = "gateway_functions_seconds";
    family(out, name, "histogram", "Seconds from a call to the end of its answer.");
    for (labels, histogram) in by_code(rows) {
        histogram.write(out, name, &labels);
    }
    let name = "gateway_function_invocation_total";
    family(out, name, "counter", "Calls that ended.");
    for (labels, histogram) in by_code(rows) {
        sample(out, name, labels, histogram.count());
    }
    let name = "gateway_function_invocation_started";
    family(out, name, "counter", "Calls that were begun.");
    for row in rows {
        sample(out, name, format_args!("function_name=\"{}\"", row.function_name), row.started);
    }
    let gauges: [(&str, &str, Gauge); 4] = [
        ("gateway_function_invocation_inflight", "Calls in flight.", |figures| figures.in_flight),
        ("gateway_service_count", "Instances of a function.", |figures| figures.instances),
        ("gateway_service_ready_count", "Instances that take calls.", |figures| figures.ready),
        ("gateway_service_min", "Instances at least.", |figures| figures.least),
    ];
    for (name, help, gauge) in gauges {
        family(out, name, "gauge", help);
        for row in rows {
            let labels = format_args!("function_name=\"{}\"", row.function_name);
            sample(out, name, labels, gauge(&row.figures));
        }
    }
    let name = "gateway_service_target_load";
    family(out, name, "gauge", "What one instance takes of what a function is scaled by.");
    for row in rows {
        if let Some((kind, target)) = row.figures.target {
            let function = row.function_name;
            sample(out, name, format_args!("function_name=\"{function}\",scaling_type=\"{kind}\""), target);
        }
    }
}

fn by_code<'a>(rows: &'a [Row<'_>]) -> impl Iterator<Item = (String, &'a ClientHistogram)> {
    rows.iter().flat_map(|row| {
        let labels = |code: &u16| format!("function_name=\"{}\",code=\"{code}\"", row.function_name);
        row.codes.iter().map(move |(code, histogram)| (labels(code), histogram))
    })
}

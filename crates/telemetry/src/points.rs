//! Metrics as OTLP has them: cumulative, each series with the moment at which it began to count.

use crate::{
    conventions,
    exposition::{self, Distribution, Family, Kind, Labels},
    spans::{pair, scope, text},
};
use opentelemetry_proto::tonic::{
    collector::metrics::v1::ExportMetricsServiceRequest,
    common::v1::{KeyValue, any_value},
    metrics::v1::{
        AggregationTemporality, Gauge, Histogram, HistogramDataPoint, Metric, NumberDataPoint,
        ResourceMetrics, ScopeMetrics, Sum, metric::Data, number_data_point,
    },
    resource::v1::Resource,
};
use std::{
    collections::HashMap,
    hash::{DefaultHasher, Hash as _, Hasher as _},
};

/// Points in one message, at most: collectors limit its size.
const MOST_POINTS: usize = 5000;

/// A message, and how many points are in it.
pub(crate) type Counted = (ExportMetricsServiceRequest, u64);

/// Turns what `/metrics` shows into messages, and remembers since when each series counts.
pub(crate) struct Points {
    resource: Resource,
    /// When what is shown for the first time began to count: at the last look.
    before: u64,
    series: HashMap<u64, Seen>,
}

struct Seen {
    since: u64,
    last: f64,
    /// Whether it was there at this look.
    current: bool,
}

impl Points {
    /// `began`: when the server was started, in nanoseconds since 1970.
    pub(crate) fn new(resource: Resource, began: u64) -> Self {
        Self { resource, before: began, series: HashMap::new() }
    }

    /// The messages that tell of `shown` as of `now`.
    pub(crate) fn messages(&mut self, shown: &str, now: u64) -> Vec<Counted> {
        let mut families = exposition::read(shown);
        conventions::apply(&mut families);
        let mut messages = Vec::new();
        let mut metrics: Vec<Metric> = Vec::new();
        let mut points = 0;
        for family in families {
            for part in parts(family) {
                let size = part.values.len() + part.distributions.len();
                if points + size > MOST_POINTS && points > 0 {
                    messages.push(self.message(std::mem::take(&mut metrics), points));
                    points = 0;
                }
                points += size;
                metrics.push(self.metric(part, now));
            }
        }
        if points > 0 {
            messages.push(self.message(metrics, points));
        }
        // A series that went away begins anew when it comes back.
        self.series.retain(|_, seen| std::mem::take(&mut seen.current));
        self.before = now;
        messages
    }

    fn message(&self, metrics: Vec<Metric>, points: usize) -> Counted {
        let scope_metrics = ScopeMetrics { scope: Some(scope()), metrics, schema_url: String::new() };
        let message = ExportMetricsServiceRequest {
            resource_metrics: vec![ResourceMetrics {
                resource: Some(self.resource.clone()),
                scope_metrics: vec![scope_metrics],
                schema_url: String::new(),
            }],
        };
        (message, points as u64)
    }

    fn metric(&mut self, family: Family, now: u64) -> Metric {
        let Family { name, help, kind, values, distributions } = family;
        let cumulative = AggregationTemporality::Cumulative.into();
        let data = match kind {
            Kind::Histogram => {
                let points =
                    distributions.into_iter().map(|(labels, of)| self.distribution(&name, labels, of, now));
                Data::Histogram(Histogram {
                    data_points: points.collect(),
                    aggregation_temporality: cumulative,
                })
            }
            Kind::Counter => {
                let points = values.into_iter().map(|(labels, value)| {
                    let since = self.since(&name, &labels, value);
                    number(labels, value, since, now)
                });
                Data::Sum(Sum {
                    data_points: points.collect(),
                    aggregation_temporality: cumulative,
                    is_monotonic: true,
                })
            }
            Kind::Gauge => {
                let points = values.into_iter().map(|(labels, value)| number(labels, value, 0, now));
                Data::Gauge(Gauge { data_points: points.collect() })
            }
        };
        Metric {
            unit: unit(&name).to_owned(),
            name,
            description: help,
            data: Some(data),
            ..Metric::default()
        }
    }

    fn distribution(&mut self, name: &str, labels: Labels, of: Distribution, now: u64) -> HistogramDataPoint {
        let since = self.since(name, &labels, of.count as f64);
        let mut below = 0;
        let mut counts = Vec::with_capacity(of.buckets.len());
        for (_, upto) in &of.buckets {
            counts.push(upto.saturating_sub(below));
            below = below.max(*upto);
        }
        let edges = of.buckets.iter().map(|(edge, _)| *edge).filter(|edge| edge.is_finite());
        HistogramDataPoint {
            attributes: attributes(labels),
            start_time_unix_nano: since,
            time_unix_nano: now,
            // What the buckets say: while it is written, the two may differ.
            count: counts.iter().sum(),
            sum: Some(of.sum),
            explicit_bounds: edges.collect(),
            bucket_counts: counts,
            ..HistogramDataPoint::default()
        }
    }

    /// Since when a series counts that now stands at `value`. One that fell begins anew.
    fn since(&mut self, name: &str, labels: &Labels, value: f64) -> u64 {
        let mut hasher = DefaultHasher::new();
        (name, labels).hash(&mut hasher);
        let before = self.before;
        let fresh = Seen { since: before, last: value, current: true };
        let seen = self.series.entry(hasher.finish()).or_insert(fresh);
        if value < seen.last {
            seen.since = before;
        }
        seen.last = value;
        seen.current = true;
        seen.since
    }
}

/// A family in parts that fit a message.
fn parts(mut family: Family) -> Vec<Family> {
    let mut parts = Vec::new();
    while family.values.len().max(family.distributions.len()) > MOST_POINTS {
        let values = family.values.split_off(MOST_POINTS.min(family.values.len()));
        let distributions = family.distributions.split_off(MOST_POINTS.min(family.distributions.len()));
        let rest = Family {
            name: family.name.clone(),
            help: family.help.clone(),
            kind: family.kind,
            values,
            distributions,
        };
        parts.push(std::mem::replace(&mut family, rest));
    }
    if !(family.values.is_empty() && family.distributions.is_empty()) {
        parts.push(family);
    }
    parts
}

fn number(labels: Labels, value: f64, since: u64, now: u64) -> NumberDataPoint {
    NumberDataPoint {
        attributes: attributes(labels),
        start_time_unix_nano: since,
        time_unix_nano: now,
        value: Some(number_data_point::Value::AsDouble(value)),
        ..NumberDataPoint::default()
    }
}

/// Labels as attributes. An empty one is none.
fn attributes(labels: Labels) -> Vec<KeyValue> {
    let labels = labels.into_iter().filter(|(_, value)| !value.is_empty());
    labels
        .map(|(name, value)| match value.parse::<i64>() {
            Ok(code) if name == "http.response.status_code" => pair(name, any_value::Value::IntValue(code)),
            _ => text(name, value),
        })
        .collect()
}

fn unit(name: &str) -> &'static str {
    let base = name.strip_suffix("_total").unwrap_or(name);
    match base {
        _ if base.ends_with("_seconds") || base.ends_with("duration") => "s",
        _ if base.ends_with("_bytes") => "By",
        _ => "1",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn points() -> Points {
        Points::new(Resource::default(), 100)
    }

    fn metrics(message: &Counted) -> &[Metric] {
        &message.0.resource_metrics[0].scope_metrics[0].metrics
    }

    fn sum(message: &Counted, at: usize) -> &Sum {
        match &metrics(message)[at].data {
            Some(Data::Sum(sum)) => sum,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn histograms_are_not_cumulative_over_their_buckets() {
        let shown = "# HELP h_seconds How long.\n# TYPE h_seconds histogram\nh_seconds_bucket{le=\"0.1\"} 2\n\
                     h_seconds_bucket{le=\"1\"} 2\nh_seconds_bucket{le=\"+Inf\"} 5\nh_seconds_sum 9.5\nh_seconds_count 5\n";
        let messages = points().messages(shown, 200);
        assert_eq!(messages[0].1, 1);
        let metric = &metrics(&messages[0])[0];
        assert_eq!((&*metric.name, &*metric.unit, &*metric.description), ("h_seconds", "s", "How long."));
        let Some(Data::Histogram(histogram)) = &metric.data else { panic!("{metric:?}") };
        let point = &histogram.data_points[0];
        assert_eq!((point.start_time_unix_nano, point.time_unix_nano), (100, 200));
        assert_eq!((&*point.explicit_bounds, &*point.bucket_counts), (&[0.1, 1.0][..], &[2, 0, 3][..]));
        assert_eq!((point.count, point.sum), (5, Some(9.5)));
    }

    #[test]
    fn each_series_says_since_when_it_counts() {
        let shown = |a: u32, b: Option<u32>| {
            let b = b.map(|b| format!("c_total{{f=\"b\"}} {b}\n")).unwrap_or_default();
            format!("# TYPE c_total counter\nc_total{{f=\"a\"}} {a}\n{b}")
        };
        let mut points = points();
        let mut since = |a, b, now| {
            let messages = points.messages(&shown(a, b), now);
            let all = &sum(&messages[0], 0).data_points;
            all.iter().map(|point| point.start_time_unix_nano).collect::<Vec<_>>()
        };
        assert_eq!(since(1, None, 200), [100]);
        assert_eq!(since(2, Some(1), 300), [100, 200], "the second came since the last look");
        assert_eq!(since(1, Some(1), 400), [300, 200], "the first began anew");
        assert_eq!(since(2, None, 500), [300]);
        assert_eq!(since(3, Some(1), 600), [300, 500], "the second came back");
    }

    #[test]
    fn large_ones_are_parted() {
        let lines: String = (0..12_000).map(|n| format!("c_total{{f=\"{n}\"}} 1\n")).collect();
        let messages =
            points().messages(&format!("# TYPE c_total counter\n{lines}# TYPE g gauge\ng 1\n"), 200);
        let sizes: Vec<u64> = messages.iter().map(|(_, points)| *points).collect();
        assert_eq!(sizes.iter().sum::<u64>(), 12_001);
        assert!(sizes.iter().all(|size| *size <= MOST_POINTS as u64), "{sizes:?}");
        assert!(sum(&messages[2], 0).is_monotonic);
    }

    #[test]
    fn statuses_are_numbers_and_empty_labels_none() {
        let shown = "# TYPE http_server_request_duration_seconds histogram\n\
            http_server_request_duration_seconds_bucket{http_response_status_code=\"200\",error_type=\"\",le=\"+Inf\"} 1\n";
        let messages = points().messages(shown, 200);
        let metric = &metrics(&messages[0])[0];
        assert_eq!((&*metric.name, &*metric.unit), ("http.server.request.duration", "s"));
        let Some(Data::Histogram(histogram)) = &metric.data else { panic!("{metric:?}") };
        let expected = pair("http.response.status_code", any_value::Value::IntValue(200));
        assert_eq!(histogram.data_points[0].attributes, [expected]);
    }
}

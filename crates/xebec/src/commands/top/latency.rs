//! Latencies out of the histograms in `/metrics`.

use std::{collections::HashMap, time::Duration};

/// Of each function, by (door, name): upper edges in seconds, and calls up to there since the server started.
pub(super) type Histograms = HashMap<(String, String), Vec<(f64, u64)>>;

const SERIES: &str = "xebec_invocation_duration_seconds_bucket{";

/// Reads the histograms of one tenant's functions out of Prometheus' text format.
pub(super) fn read(metrics: &str, tenant: &str) -> Histograms {
    let mut found = Histograms::new();
    for line in metrics.lines() {
        let Some(rest) = line.strip_prefix(SERIES) else { continue };
        let Some((labels, value)) = rest.rsplit_once("} ") else { continue };
        let of = |name: &str| label(labels, name);
        let (Some(door), Some(function), Some(edge)) = (of("door"), of("function"), of("le")) else {
            continue;
        };
        if of("tenant") != Some(tenant) {
            continue;
        }
        let edge = if edge == "+Inf" { Some(f64::INFINITY) } else { edge.parse().ok() };
        if let (Some(edge), Ok(count)) = (edge, value.trim().parse()) {
            found.entry((door.to_owned(), function.to_owned())).or_default().push((edge, count));
        }
    }
    found
}

/// A label's value. Names that would be escaped are none of ours.
fn label<'l>(labels: &'l str, name: &str) -> Option<&'l str> {
    labels.split("\",").find_map(|pair| {
        let (key, value) = pair.split_once("=\"")?;
        (key == name).then(|| value.trim_end_matches('"'))
    })
}

/// Which share of the calls that ended between two moments took at most how long; spread evenly within a
/// bucket. `None` where there were none.
pub(super) fn quantile(
    before: Option<&Vec<(f64, u64)>>,
    after: &[(f64, u64)],
    share: f64,
) -> Option<Duration> {
    // A server that was started again counts from nothing.
    let total_before = before.and_then(|before| before.last()).map_or(0, |(_, count)| *count);
    let before = before.filter(|before| {
        before.len() == after.len() && after.last().is_some_and(|(_, count)| *count >= total_before)
    });
    let since = |at: usize| {
        let earlier = before.map_or(0, |before| before[at].1);
        after[at].1.saturating_sub(earlier)
    };
    let total = since(after.len().checked_sub(1)?);
    if total == 0 {
        return None;
    }
    let rank = share * total as f64;
    let at = (0..after.len()).find(|at| since(*at) as f64 >= rank)?;
    let (low, below) = if at == 0 { (0.0, 0) } else { (after[at - 1].0, since(at - 1)) };
    let high = after[at].0;
    if !high.is_finite() {
        return Some(Duration::from_secs_f64(low));
    }
    let inside = (since(at) - below).max(1) as f64;
    Some(Duration::from_secs_f64(low + (high - low) * (rank - below as f64) / inside))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
# TYPE xebec_invocation_duration_seconds histogram
xebec_invocation_duration_seconds_bucket{tenant=\"default\",door=\"native\",function=\"a\",le=\"0.001\"} 90
xebec_invocation_duration_seconds_bucket{tenant=\"default\",door=\"native\",function=\"a\",le=\"0.01\"} 100
xebec_invocation_duration_seconds_bucket{tenant=\"default\",door=\"native\",function=\"a\",le=\"+Inf\"} 100
xebec_invocation_duration_seconds_bucket{tenant=\"other\",door=\"native\",function=\"a\",le=\"+Inf\"} 7
xebec_invocation_duration_seconds_count{tenant=\"default\",door=\"native\",function=\"a\"} 100
";

    #[test]
    fn reads_one_tenants_buckets() {
        let read = read(TEXT, "default");
        assert_eq!(read.len(), 1);
        let buckets = &read[&("native".to_owned(), "a".to_owned())];
        assert_eq!(buckets[..2], [(0.001, 90), (0.01, 100)]);
        assert!(buckets[2].0.is_infinite());
    }

    #[test]
    fn latencies_are_those_since_then() {
        let after = [(0.001, 90), (0.01, 100), (f64::INFINITY, 100)];
        assert_eq!(quantile(None, &after, 0.45), Some(Duration::from_micros(500)));
        let before = vec![(0.001, 90), (0.01, 90), (f64::INFINITY, 90)];
        let median = quantile(Some(&before), &after, 0.5).unwrap();
        assert!((0.0054..0.0056).contains(&median.as_secs_f64()), "{median:?}");
        assert_eq!(quantile(Some(&after.to_vec()), &after, 0.5), None, "none ended");
        let restarted = vec![(0.001, 900), (0.01, 900), (f64::INFINITY, 900)];
        assert!(quantile(Some(&restarted), &after, 0.99).is_some());
    }

    #[test]
    fn past_the_last_edge_it_is_at_least_that() {
        let after = [(0.001, 0), (f64::INFINITY, 5)];
        assert_eq!(quantile(None, &after, 0.99), Some(Duration::from_millis(1)));
    }
}

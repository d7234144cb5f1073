//! What is counted, in Prometheus' text format.

use crate::shared::Shared;
use jiff::Timestamp;
use parking_lot::Mutex;
use std::{
    collections::BTreeMap,
    fmt::Write as _,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};
use tokio::time::sleep;
use xebec_core::{
    Outcome,
    message::{Lane, Target},
    ports::queue::LaneStats,
    rules::retry::Death,
};

/// How old what is shown of the queue may be.
const FRESH: Duration = Duration::from_secs(5);

/// Lanes that have series of their own; the others are added up.
const MOST_LANES: usize = 1000;

/// What is counted.
#[derive(Default)]
pub(crate) struct Metrics {
    accepted: AtomicU64,
    attempts: Mutex<BTreeMap<&'static str, u64>>,
    deaths: Mutex<BTreeMap<Death, u64>>,
    delivered: AtomicU64,
    failed: AtomicU64,
    lost: AtomicU64,
    halved: AtomicU64,
    stats: Mutex<Vec<LaneStats>>,
}

impl Metrics {
    pub(crate) fn accepted(&self) {
        self.accepted.fetch_add(1, Relaxed);
    }

    pub(crate) fn attempt(&self, outcome: &Outcome) {
        *self.attempts.lock().entry(outcome.name()).or_default() += 1;
    }

    pub(crate) fn dead(&self, death: Death) {
        *self.deaths.lock().entry(death).or_default() += 1;
    }

    /// A result has arrived, or finally has not.
    pub(crate) fn result(&self, delivered: bool) {
        let count = if delivered { &self.delivered } else { &self.failed };
        count.fetch_add(1, Relaxed);
    }

    pub(crate) fn lost(&self) {
        self.lost.fetch_add(1, Relaxed);
    }

    pub(crate) fn halved(&self) {
        self.halved.fetch_add(1, Relaxed);
    }

    /// What the queue said last.
    pub(crate) fn queues(&self) -> Vec<LaneStats> {
        self.stats.lock().clone()
    }

    /// Appends all series.
    pub(crate) fn write(&self, out: &mut String, now: Timestamp, running: usize) {
        write_lanes(out, &self.stats.lock(), now);
        for (name, help, count) in [
            ("xebec_messages_accepted_total", "Calls accepted to be made later.", &self.accepted),
            ("xebec_message_claims_lost_total", "Messages whose claim ran out.", &self.lost),
            ("xebec_message_batches_halved_total", "Batches that failed and were halved.", &self.halved),
        ] {
            head(out, name, "counter", help);
            line(out, format_args!("{name} {}", count.load(Relaxed)));
        }
        let name = "xebec_messages_in_flight";
        head(out, name, "gauge", "Messages that run here.");
        line(out, format_args!("{name} {running}"));
        let name = "xebec_message_attempts_total";
        head(out, name, "counter", "Attempts that ended, by outcome.");
        for (outcome, count) in &*self.attempts.lock() {
            line(out, format_args!("{name}{{outcome=\"{outcome}\"}} {count}"));
        }
        let name = "xebec_dead_letters_total";
        head(out, name, "counter", "Messages that became dead letters, by why.");
        for (death, count) in &*self.deaths.lock() {
            line(out, format_args!("{name}{{death=\"{death}\"}} {count}"));
        }
        let name = "xebec_results_total";
        head(out, name, "counter", "Results that arrived where they went, or finally did not.");
        line(out, format_args!("{name}{{result=\"delivered\"}} {}", self.delivered.load(Relaxed)));
        line(out, format_args!("{name}{{result=\"failed\"}} {}", self.failed.load(Relaxed)));
    }
}

/// Looks at the queue, for ever.
pub(crate) async fn refresh(shared: &Shared) {
    loop {
        match shared.queue.stats(None).await {
            Ok(stats) => *shared.metrics.stats.lock() = stats,
            Err(error) => tracing::debug!(%error, "the queue does not say what is in it"),
        }
        sleep(FRESH).await;
    }
}

fn line(out: &mut String, text: std::fmt::Arguments<'_>) {
    // Writing to a string cannot fail.
    let _ = out.write_fmt(text);
    out.push('\n');
}

fn head(out: &mut String, name: &str, kind: &str, help: &str) {
    line(out, format_args!("# HELP {name} {help}\n# TYPE {name} {kind}"));
}

fn labels(lane: &Lane) -> String {
    let escape = |text: &str| text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
    // Senders choose where results go: hosts have no series of their own.
    let function = match &lane.target {
        Target::Function(key) => escape(&key.name),
        Target::Host(_) => String::new(),
        Target::Consumer => "*".to_owned(),
    };
    let (tenant, queue) = (escape(lane.tenant.as_str()), escape(&lane.queue));
    format!("tenant=\"{tenant}\",queue=\"{queue}\",function=\"{function}\"")
}

#[derive(Default)]
struct Sums {
    waiting: u64,
    delayed: u64,
    running: u64,
    dead: u64,
    oldest: Option<Timestamp>,
}

fn write_lanes(out: &mut String, stats: &[LaneStats], now: Timestamp) {
    let mut series: BTreeMap<String, Sums> = BTreeMap::new();
    for stats in stats {
        let mut labels = labels(&stats.lane);
        if series.len() >= MOST_LANES && !series.contains_key(&labels) {
            labels = "tenant=\"\",queue=\"\",function=\"\"".to_owned();
        }
        let sums = series.entry(labels).or_default();
        sums.waiting += stats.waiting.saturating_sub(stats.delayed);
        sums.delayed += stats.delayed;
        sums.running += stats.running;
        sums.dead += stats.dead;
        sums.oldest = match (sums.oldest, stats.oldest_due) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        };
    }
    let name = "xebec_queue_messages";
    head(out, name, "gauge", "Messages in the queue, by state.");
    for (labels, sums) in &series {
        for (state, count) in [
            ("waiting", sums.waiting),
            ("delayed", sums.delayed),
            ("running", sums.running),
            ("dead", sums.dead),
        ] {
            line(out, format_args!("{name}{{{labels},state=\"{state}\"}} {count}"));
        }
    }
    let name = "xebec_queue_oldest_seconds";
    head(out, name, "gauge", "For how long the oldest message that could run has waited.");
    for (labels, sums) in &series {
        let age = sums.oldest.map_or(0.0, |due| now.duration_since(due).as_secs_f64().max(0.0));
        line(out, format_args!("{name}{{{labels}}} {age}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use xebec_core::{FunctionKey, Tenant};

    fn stats(lane: Lane, waiting: u64, due: &str) -> LaneStats {
        let oldest_due = Some(due.parse().unwrap());
        LaneStats { lane, waiting, delayed: 1, running: 2, dead: 3, oldest_due, paused: false }
    }

    #[test]
    fn adds_up_hosts_and_bounds_lanes() {
        let tenant = Tenant::new("t\"1");
        let host = |name: &str| Lane {
            tenant: tenant.clone(),
            queue: "results".into(),
            target: Target::Host(name.into()),
        };
        let now = "2026-01-01T00:01:00Z".parse().unwrap();
        let mut all =
            vec![stats(host("a"), 5, "2026-01-01T00:00:30Z"), stats(host("b"), 6, "2026-01-01T00:00:00Z")];
        let mut out = String::new();
        write_lanes(&mut out, &all, now);
        let labels = r#"{tenant="t\"1",queue="results",function="""#;
        assert!(out.contains(&format!("xebec_queue_messages{labels},state=\"waiting\"}} 9\n")), "{out}");
        assert!(out.contains(&format!("xebec_queue_messages{labels},state=\"dead\"}} 6\n")), "{out}");
        assert!(out.contains(&format!("xebec_queue_oldest_seconds{labels}}} 60\n")), "{out}");
        for name in 0..2000 {
            let key = FunctionKey::new(&tenant, "native", &format!("f{name}"));
            all.push(stats(Lane::function("default", &key), 2, "2026-01-01T00:00:00Z"));
        }
        out.clear();
        write_lanes(&mut out, &all, now);
        assert!(out.lines().count() <= 5 * (MOST_LANES + 1) + 4);
        assert!(out.contains("{tenant=\"\",queue=\"\",function=\"\",state=\"waiting\"} 1001\n"), "{out}");
    }

    #[test]
    fn counts() {
        let metrics = Metrics::default();
        metrics.accepted();
        metrics.attempt(&Outcome::Success);
        metrics.attempt(&Outcome::Success);
        metrics.dead(Death::Expired);
        metrics.result(true);
        let mut out = String::new();
        metrics.write(&mut out, Timestamp::UNIX_EPOCH, 4);
        for expected in [
            "xebec_messages_accepted_total 1\n",
            "xebec_message_attempts_total{outcome=\"success\"} 2\n",
            "xebec_dead_letters_total{death=\"expired\"} 1\n",
            "xebec_results_total{result=\"delivered\"} 1\n",
            "xebec_messages_in_flight 4\n",
        ] {
            assert!(out.contains(expected), "{out}");
        }
    }
}

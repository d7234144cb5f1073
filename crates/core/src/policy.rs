//! Policy: what may change without a new revision.

use crate::{
    error::Error,
    message::{DEFAULT_QUEUE, Destinations, Guarantee},
    rules::retry::Retry,
    schedule::Schedule,
};
use compact_str::CompactString;
use serde::{Deserialize, Serialize};

/// How a function is scaled, queued for and reached. Mutable; no running code can observe it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(default)]
pub struct Policy {
    /// Instances kept even when idle.
    pub min_instances: u32,
    /// Instances at most.
    pub max_instances: u32,
    /// Callers that may wait for a slot while no more instances can be started for them; the next is
    /// refused at once.
    pub queue: u32,
    /// Calls in flight at most, over all instances; `None`: what the instances hold.
    pub max_in_flight: Option<u32>,
    /// Calls per second at most (token bucket, burst of one second); `None`: unlimited.
    pub max_rate: Option<f64>,
    /// What the scaler looks at.
    pub scaling: Scaling,
    /// Seconds an idle instance is kept; `None`: learnt from when calls arrive.
    pub keep_alive_seconds: Option<u64>,
    /// Who may call it.
    pub visibility: Visibility,
    /// How calls that outlive their caller are made.
    pub delivery: Delivery,
    /// When it is called by itself.
    pub schedules: Vec<Schedule>,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            min_instances: 0,
            max_instances: 16,
            queue: 1000,
            max_in_flight: None,
            max_rate: None,
            scaling: Scaling::default(),
            keep_alive_seconds: None,
            visibility: Visibility::Public,
            delivery: Delivery::default(),
            schedules: Vec::new(),
        }
    }
}

/// How calls of a function that outlive their caller are made.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Delivery {
    /// The queue of messages whose sender named none.
    pub queue: CompactString,
    /// Queues of its tenant whose messages without a target it takes.
    pub consumes: Vec<CompactString>,
    /// Messages, or batches, that run at a time in each of its lanes.
    pub concurrency: u32,
    /// What is tried again.
    pub retry: Retry,
    /// How often a message may run.
    pub guarantee: Guarantee,
    /// Milliseconds after which a message that has not begun is a dead letter; `None`: never.
    pub expiry_ms: Option<u64>,
    /// Whether it takes several messages at once.
    pub batch: Option<Batch>,
    /// Where results go.
    pub destinations: Destinations,
    /// What finally failed is kept, to be looked at and sent again; else its record is all that is left of it.
    pub dead_letters: bool,
}

impl Default for Delivery {
    fn default() -> Self {
        Self {
            queue: DEFAULT_QUEUE.into(),
            consumes: Vec::new(),
            concurrency: 16,
            retry: Retry::default(),
            guarantee: Guarantee::AtLeastOnce,
            expiry_ms: None,
            batch: None,
            destinations: Destinations::default(),
            dead_letters: true,
        }
    }
}

/// How a function takes several messages at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Batch {
    /// Messages at most, 1 to 10,000.
    pub size: u32,
    /// How long the first may wait for more, in milliseconds.
    pub wait_ms: u64,
}

/// What the scaler looks at, and what it aims for: so many instances that each has at most `proportion` of
/// `target`, by [`crate::rules::scaling`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(from = "StoredScaling")]
pub struct Scaling {
    /// What is measured.
    pub metric: Metric,
    /// How much of it one instance takes; `None`: what its slots hold, for metrics that count calls.
    pub target: Option<f64>,
    /// The share of the target to aim for, above 0 to 1: the rest is room for what comes while instances start.
    pub proportion: f64,
    /// Seconds for which the highest wish of late keeps instances; 0: none is kept for its sake.
    pub down_window_seconds: u32,
}

/// The longest [`Scaling::down_window_seconds`].
pub const MAX_DOWN_WINDOW_SECONDS: u32 = 300;

/// What is measured to scale a function.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Metric {
    /// Calls in flight and waiting.
    #[default]
    Concurrency,
    /// Calls that begin per second.
    Rate,
    /// Processor time, in thousandths of a core.
    Cpu,
    /// Messages that wait for the function in its queues, and could begin.
    Queue,
}

impl Metric {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Concurrency, Self::Rate, Self::Cpu, Self::Queue];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Concurrency => "concurrency",
            Self::Rate => "rate",
            Self::Cpu => "cpu",
            Self::Queue => "queue",
        }
    }

    /// The share of a target that is aimed for where nobody says otherwise.
    pub fn usual_proportion(self) -> f64 {
        match self {
            Self::Concurrency => 0.7,
            Self::Rate | Self::Cpu | Self::Queue => 1.0,
        }
    }

    /// Whether a target can be left out: an instance's slots say what it takes.
    pub fn has_own_target(self) -> bool {
        matches!(self, Self::Concurrency | Self::Queue)
    }
}

impl Default for Scaling {
    fn default() -> Self {
        Self::by(Metric::default())
    }
}

impl Scaling {
    /// By a metric, as it is where nobody says more.
    pub fn by(metric: Metric) -> Self {
        Self { metric, target: None, proportion: metric.usual_proportion(), down_window_seconds: 0 }
    }

    /// Checks what it says.
    ///
    /// # Errors
    /// `XB1004`.
    pub fn check(&self) -> Result<(), Error> {
        let Self { metric, target, proportion, down_window_seconds } = *self;
        let name = metric.name();
        let fault = match target {
            None if !metric.has_own_target() => {
                format!("scaling by {name} needs a target: how much of it one instance takes")
            }
            Some(target) if !(target > 0.0 && target <= MAX_TARGET) => {
                format!("the scaling target is {target}: it is above 0 and at most {MAX_TARGET}")
            }
            Some(target) if metric.has_own_target() && target < 1.0 => format!(
                "the scaling target is {target}: for {name} one instance takes 1 or more; a share of it is the \
                 proportion"
            ),
            _ if !(proportion > 0.0 && proportion <= 1.0) => {
                format!("the scaling proportion is {proportion}: it is above 0 and at most 1")
            }
            _ if down_window_seconds > MAX_DOWN_WINDOW_SECONDS => format!(
                "the window for scaling down is {down_window_seconds} s: it is at most \
                 {MAX_DOWN_WINDOW_SECONDS} s"
            ),
            _ => return Ok(()),
        };
        Err(Error::invalid("XB1004", fault))
    }
}

/// The highest [`Scaling::target`].
const MAX_TARGET: f64 = 1e9;

/// How it is stored: since there is a proportion it is written; before, the target of concurrency was one.
#[derive(Deserialize)]
struct StoredScaling {
    #[serde(default)]
    metric: Metric,
    #[serde(default)]
    target: Option<f64>,
    proportion: Option<f64>,
    #[serde(default)]
    down_window_seconds: u32,
}

impl From<StoredScaling> for Scaling {
    fn from(stored: StoredScaling) -> Self {
        let StoredScaling { metric, target, proportion, down_window_seconds } = stored;
        let (target, proportion) = match (metric, target, proportion) {
            (_, target, Some(proportion)) => (target, proportion),
            (Metric::Concurrency, Some(share), None) => (None, share),
            (_, target, None) => (target, metric.usual_proportion()),
        };
        Self { metric, target, proportion, down_window_seconds }
    }
}

/// Who may call a function.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Visibility {
    /// Everyone who reaches the listener.
    #[default]
    Public,
    /// Whoever has a credential that may invoke in its tenant.
    Authenticated,
}

/// What one tenant may use in all.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TenantQuota {
    /// Calls in flight.
    pub max_in_flight: Option<u32>,
    /// Calls per second.
    pub max_rate: Option<f64>,
    /// Memory of all instances, in bytes, by their limits.
    pub max_memory_bytes: Option<u64>,
    /// Functions.
    pub max_functions: Option<u32>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_was_stored_before_means_what_it_meant() {
        let read = |stored| serde_json::from_value::<Scaling>(stored).unwrap();
        let share = Scaling { proportion: 0.5, ..Scaling::default() };
        assert_eq!(read(json!({ "metric": "concurrency", "target": 0.5 })), share);
        let rate = Scaling { metric: Metric::Rate, target: Some(10.0), proportion: 1.0, ..share };
        assert_eq!(read(json!({ "metric": "rate", "target": 10.0 })), rate);
        assert_eq!(read(json!({})), Scaling::default());
    }

    #[test]
    fn what_is_stored_is_read_back() {
        for metric in Metric::ALL {
            for target in [None, Some(1.0), Some(45.5)] {
                let scaling = Scaling { metric, target, proportion: 0.9, down_window_seconds: 60 };
                let stored = serde_json::to_value(scaling).unwrap();
                assert_eq!(stored["metric"], metric.name());
                assert_eq!(serde_json::from_value::<Scaling>(stored).unwrap(), scaling);
            }
        }
    }

    #[test]
    fn wrong_values_are_named() {
        let refused = |scaling: Scaling| scaling.check().unwrap_err().message;
        let (default, rate) = (Scaling::default(), Metric::Rate);
        assert!(refused(Scaling { metric: rate, ..default }).contains("needs a target"));
        for target in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            let wrong = Scaling { metric: rate, target: Some(target), ..default };
            assert!(refused(wrong).contains("above 0"), "{target}");
        }
        assert!(refused(Scaling { target: Some(0.7), ..default }).contains("proportion"));
        for proportion in [0.0, 1.01, f64::NAN] {
            assert!(refused(Scaling { proportion, ..default }).contains("proportion is"), "{proportion}");
        }
        assert!(refused(Scaling { down_window_seconds: 301, ..default }).contains("at most 300 s"));
        assert!(
            Scaling { metric: rate, target: Some(0.2), down_window_seconds: 300, ..default }.check().is_ok()
        );
    }
}

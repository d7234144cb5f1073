//! The series of OpenFaaS' queue worker. What waits is not counted here: the queue knows.

use super::text::{family, sample};
use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

/// Queues that have series of their own; what goes into others is added up. Callers do not name queues, but
/// those who deploy do.
const MOST: usize = 1000;

/// What happened to calls that were accepted to be made later, by queue.
#[derive(Debug, Default)]
pub(crate) struct Queues(Mutex<BTreeMap<String, Arc<Counts>>>);

#[derive(Debug, Default)]
struct Counts {
    submitted: AtomicU64,
    processed: AtomicU64,
    in_flight: AtomicU64,
}

/// A call of a queue that runs. Dropped, it has run.
#[derive(Debug)]
pub(crate) struct InFlight(Arc<Counts>);

impl Queues {
    /// A call was accepted.
    pub(crate) fn submitted(&self, queue: &str) {
        self.of(queue).submitted.fetch_add(1, Relaxed);
    }

    /// A call begins to run.
    pub(crate) fn begins(&self, queue: &str) -> InFlight {
        let counts = self.of(queue);
        counts.in_flight.fetch_add(1, Relaxed);
        InFlight(counts)
    }

    fn of(&self, queue: &str) -> Arc<Counts> {
        let mut queues = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(counts) = queues.get(queue) {
            return counts.clone();
        }
        let name = if queues.len() < MOST { queue } else { "" };
        queues.entry(name.to_owned()).or_default().clone()
    }

    /// Appends the series; `waiting` is how many messages wait, by queue.
    pub(crate) fn write(&self, out: &mut String, mut waiting: BTreeMap<String, u64>) {
        let counted: Vec<_> = self
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .iter()
            .map(|(name, counts)| (name.clone(), counts.clone()))
            .collect();
        // Where nothing waits, that is told, too.
        for (queue, _) in &counted {
            waiting.entry(queue.clone()).or_default();
        }
        let name = "queue_worker_pending_messages";
        family(out, name, "gauge", "Calls that wait to be made.");
        for (queue, waiting) in waiting {
            sample(out, name, format_args!("queue_name=\"{queue}\""), waiting);
        }
        type Count = fn(&Counts) -> &AtomicU64;
        let families: [(&str, &str, &str, Count); 3] = [
            (
                "queue_worker_messages_submitted_total",
                "counter",
                "Calls accepted to be made later.",
                |counts| &counts.submitted,
            ),
            ("queue_worker_messages_processed_total", "counter", "Attempts to make them.", |counts| {
                &counts.processed
            }),
            ("queue_worker_function_invocation_inflight", "gauge", "Those that run now.", |counts| {
                &counts.in_flight
            }),
        ];
        for (name, kind, help, count) in families {
            family(out, name, kind, help);
            for (queue, counts) in &counted {
                sample(out, name, format_args!("queue_name=\"{queue}\""), count(counts).load(Relaxed));
            }
        }
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Relaxed);
        self.0.processed.fetch_add(1, Relaxed);
    }
}

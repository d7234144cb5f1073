//! The open loop: calls start on schedule, whatever the answers do.
//!
//! A call's latency counts from when it was scheduled. So a server that stalls is charged for every call that
//! should have been made meanwhile, not just for the one that hung (no coordinated omission). A thread keeps
//! the schedule, since the runtime's timers are only good to a millisecond.

use super::{Plan, connection::Connection, target::Target};
use crate::report::Tally;
use futures_util::future::join_all;
use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::sync::Semaphore;

/// How long calls that are late may still be sent after the end.
const DRAIN: Duration = Duration::from_secs(10);

struct Schedule {
    start: Instant,
    rate: f64,
    /// One permit for each call that is due.
    due: Semaphore,
    next: AtomicU64,
}

impl Schedule {
    fn at(&self, call: u64) -> Instant {
        self.start + Duration::from_secs_f64(call as f64 / self.rate)
    }

    /// The next call's time, once it is due; `None` when there are no more.
    async fn take(&self) -> Option<Instant> {
        self.due.acquire().await.ok()?.forget();
        Some(self.at(self.next.fetch_add(1, Ordering::Relaxed)))
    }
}

/// Runs the plan; returns how many scheduled calls were never sent, too.
pub(crate) async fn run(target: &Target, plan: Plan, rate: f64) -> (Tally, u64) {
    let calls = (rate * plan.measure.as_secs_f64()).ceil() as u64;
    let schedule = Arc::new(Schedule {
        start: Instant::now() + Duration::from_millis(20),
        rate,
        due: Semaphore::new(0),
        next: AtomicU64::new(0),
    });
    let pacer = {
        let schedule = schedule.clone();
        std::thread::spawn(move || pace(&schedule, calls))
    };
    let give_up = schedule.start + plan.measure + DRAIN;
    let tasks = (0..plan.connections).map(|_| {
        let (schedule, target) = (schedule.clone(), target.clone());
        tokio::spawn(async move { connection(&schedule, &target, plan.timeout, calls, give_up).await })
    });
    let mut all = Tally::new();
    for tally in join_all(tasks).await.into_iter().flatten() {
        all.merge(&tally);
    }
    // It has ended by now, or ends with the schedule's last call.
    let _ = pacer.join();
    (all, calls.saturating_sub(schedule.next.load(Ordering::Relaxed)))
}

/// Lets each call go when its time has come.
fn pace(schedule: &Schedule, calls: u64) {
    let mut call = 0;
    while call < calls && !schedule.due.is_closed() {
        let now = Instant::now();
        let first = call;
        while call < calls && schedule.at(call) <= now {
            call += 1;
        }
        if call > first {
            schedule.due.add_permits(usize::try_from(call - first).unwrap_or(1));
        }
        std::thread::sleep(schedule.at(call).saturating_duration_since(Instant::now()));
    }
}

async fn connection(
    schedule: &Schedule,
    target: &Target,
    timeout: Duration,
    calls: u64,
    give_up: Instant,
) -> Tally {
    let mut tally = Tally::new();
    let mut connection = Connection::new(target, timeout);
    while schedule.next.load(Ordering::Relaxed) < calls && Instant::now() < give_up {
        let taken = tokio::time::timeout_at(give_up.into(), schedule.take()).await;
        let Ok(Some(scheduled)) = taken else { break };
        let sent = Instant::now();
        match connection.call().await {
            Ok(answer) => {
                let ended = Instant::now();
                tally.answered(answer.status, answer.bytes, ended - scheduled, ended - sent);
            }
            Err(error) => tally.failed(error),
        }
        if schedule.next.load(Ordering::Relaxed) >= calls {
            schedule.due.close();
        }
    }
    tally
}

//! What functions use: measured every few seconds while there are instances, when someone asks, and every
//! second where scaling depends on it. Never on the way of a call.

use crate::{
    active::Active,
    pool::{Instance, Pool},
    shared::Shared,
};
use futures_util::{StreamExt as _, stream};
use parking_lot::Mutex;
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};
use tokio::time::timeout;
use xebec_core::{function::FunctionUsage, policy::Metric, ports::instance::Usage};

/// How often all functions are measured.
pub(crate) const MEASURE_EVERY: Duration = Duration::from_secs(10);

/// What was measured so lately is not measured again.
pub(crate) const FRESH: Duration = Duration::from_secs(1);

/// Instances of a function that are asked at a time.
const AT_A_TIME: usize = 16;

/// How long a driver may take over one instance.
const PATIENCE: Duration = Duration::from_secs(3);

/// Less time than this says nothing of a rate.
const LEAST_SPAN: Duration = Duration::from_millis(100);

/// What a function used so far.
#[derive(Default)]
pub(crate) struct Meter {
    cpu_nanoseconds: AtomicU64,
    last: Mutex<FunctionUsage>,
    /// When it was measured. Held while it is.
    measured: tokio::sync::Mutex<Option<Duration>>,
}

impl Meter {
    /// As it was last measured.
    pub(crate) fn last(&self) -> FunctionUsage {
        *self.last.lock()
    }
}

/// What one instance used when it was last asked.
pub(crate) struct Measured {
    at: Duration,
    cpu: Duration,
}

impl Measured {
    /// An instance that was made now.
    pub(crate) fn nothing(now: Duration) -> Self {
        Self { at: now, cpu: Duration::ZERO }
    }

    /// Takes over what it used by now. Returns what that was since the last time, and how much of a core.
    fn note(&mut self, now: Duration, usage: Usage) -> (Duration, f64) {
        let used = usage.cpu.saturating_sub(self.cpu);
        let span = now.saturating_sub(self.at).max(LEAST_SPAN);
        *self = Self { at: now, cpu: usage.cpu.max(self.cpu) };
        (used, used.as_secs_f64() / span.as_secs_f64())
    }
}

impl Active {
    /// Measures what its instances use, unless that was done within `fresh`.
    pub(crate) async fn measure(&self, shared: &Shared, fresh: Duration) {
        let mut measured = self.meter.measured.lock().await;
        // Where there was nothing, what has started meanwhile shall be seen.
        let held = self.meter.last().memory_bytes > 0;
        if held && measured.is_some_and(|at| shared.now().saturating_sub(at) < fresh) {
            return;
        }
        let mut sum = FunctionUsage::default();
        for pool in self.pools().iter() {
            let (cores, memory_bytes) = self.measure_pool(shared, pool).await;
            sum.cpu_millis += cores * 1000.0;
            sum.memory_bytes += memory_bytes;
        }
        sum.cpu_seconds = self.meter.cpu_nanoseconds.load(Relaxed) as f64 / 1e9;
        *self.meter.last.lock() = sum;
        *measured = Some(shared.now());
    }

    async fn measure_pool(&self, shared: &Shared, pool: &Arc<Pool>) -> (f64, u64) {
        let asked = stream::iter(pool.instances())
            .map(|instance| async move { self.measure_instance(shared, &instance).await });
        let told: Vec<_> = asked.buffer_unordered(AT_A_TIME).filter_map(std::future::ready).collect().await;
        let cores = told.iter().map(|(cores, _)| cores).sum();
        pool.note_cpu(cores);
        (cores, told.iter().map(|(_, bytes)| bytes).sum())
    }

    /// Measures one instance: how many cores it used since the last time, and the memory that it holds.
    pub(crate) async fn measure_instance(&self, shared: &Shared, instance: &Instance) -> Option<(f64, u64)> {
        let usage = timeout(PATIENCE, instance.io.get()?.usage()).await.ok().flatten()?;
        let (used, cores) = instance.measured.lock().note(shared.now(), usage);
        let nanoseconds = u64::try_from(used.as_nanos()).unwrap_or(u64::MAX);
        self.meter.cpu_nanoseconds.fetch_add(nanoseconds, Relaxed);
        Some((cores, usage.memory_bytes))
    }

    /// Whether scaling depends on what its instances use.
    fn scales_by_cpu(&self) -> bool {
        self.pools().iter().any(|pool| pool.scales_by(Metric::Cpu))
    }
}

/// Keeps one round of measuring from beginning before the last one ended.
#[derive(Default)]
pub(crate) struct Rounds(AtomicBool);

impl Rounds {
    /// Measures all functions of `active`, behind the caller, unless the last round still goes on.
    pub(crate) fn measure(shared: &Arc<Shared>, active: Vec<Arc<Active>>) {
        if active.is_empty() || shared.rounds.0.swap(true, Relaxed) {
            return;
        }
        let shared = shared.clone();
        tokio::spawn(async move {
            let _round = Round(&shared.rounds);
            for active in active {
                active.measure(&shared, FRESH).await;
            }
        });
    }

    /// Measures those functions of `active` whose scaling depends on it, behind the caller.
    pub(crate) fn measure_scaled(shared: &Arc<Shared>, active: &[Arc<Active>]) {
        for active in active.iter().filter(|active| active.scales_by_cpu()) {
            // One that is being measured is not waited for.
            if active.meter.measured.try_lock().is_err() {
                continue;
            }
            let (shared, active) = (shared.clone(), active.clone());
            // A tick may come a little early.
            tokio::spawn(async move { active.measure(&shared, FRESH / 2).await });
        }
    }
}

/// A round that goes on.
struct Round<'a>(&'a Rounds);

impl Drop for Round<'_> {
    fn drop(&mut self) {
        self.0.0.store(false, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_what_was_used_since_the_last_look() {
        let second = Duration::from_secs;
        let mut measured = Measured::nothing(second(10));
        let mut note = |now, cpu| measured.note(now, Usage { cpu, memory_bytes: 1 });
        assert_eq!(note(second(12), second(1)), (second(1), 0.5));
        assert_eq!(note(second(13), second(3)), (second(2), 2.0));
        assert_eq!(note(second(14), second(2)), (Duration::ZERO, 0.0), "it never falls");
        assert_eq!(note(second(15), second(4)), (second(1), 1.0));
        let (used, cores) = note(second(15), second(5));
        assert_eq!((used, cores), (second(1), 10.0), "no rate of an instant");
    }
}

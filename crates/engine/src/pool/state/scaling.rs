//! How many instances a pool wants, and which of them it can do without.

use super::{Number, Order, State};
use std::time::Duration;
use xebec_core::{
    policy::{Metric, Policy},
    rules::scaling::{Bounds, PANIC_WINDOW, STABLE_WINDOW, per_instance},
};

/// A draining revision's instances are kept so long: it may still be called by name.
const DRAIN_KEEP: Duration = Duration::from_secs(10);

/// The scaler looks again after so long.
const SCALE_EVERY: Duration = Duration::from_secs(1);

/// What a pool is scaled by.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ScaledBy {
    pub(crate) metric: Metric,
    /// How much of it there is now.
    pub(crate) load: f64,
    /// How much of it one instance should have.
    pub(crate) target: f64,
}

impl State {
    /// What policy and whoever asked by hand want, whatever the load.
    pub(super) fn floor(&self, now: Duration) -> u32 {
        if self.drains {
            return 0;
        }
        let asked = self.asked.filter(|(_, until)| now < *until).map_or(0, |(count, _)| count);
        self.policy.min_instances.max(asked).min(self.policy.max_instances)
    }

    pub(super) fn wanted(&self, now: Duration) -> u32 {
        // What was asked for lately is no reason to start anything once nobody is there.
        let anybody = self.load.calls() > 0 || self.has_backlog(now);
        let desired = if self.drains || !anybody { 0 } else { self.desired };
        self.floor(now).max(desired)
    }

    /// Messages wait that it is scaled by.
    fn has_backlog(&self, now: Duration) -> bool {
        self.policy.scaling.metric == Metric::Queue && self.load.last_level(now) > 0.0
    }

    /// Another policy from now on.
    pub(in crate::pool) fn take_policy(&mut self, policy: Policy) {
        if policy.scaling.metric != self.policy.scaling.metric {
            self.load.measure_anew();
        }
        self.policy = policy;
    }

    /// So much processor time is used, in thousandths of a core.
    pub(in crate::pool) fn note_cpu(&mut self, millis: f64, now: Duration) {
        if self.policy.scaling.metric == Metric::Cpu {
            self.load.measured(now, millis);
        }
    }

    /// So many messages wait. More instances than messages can run at a time would have nothing to do.
    pub(in crate::pool) fn note_backlog(&mut self, waiting: u64, now: Duration) {
        if self.policy.scaling.metric == Metric::Queue {
            let each = per_instance(&self.policy.scaling, self.slots);
            let most = f64::from(self.policy.delivery.concurrency) * each;
            self.load.measured(now, (waiting as f64).min(most));
        }
    }

    /// What it is scaled by.
    pub(in crate::pool) fn scaled_by(&mut self, now: Duration) -> ScaledBy {
        let metric = self.policy.scaling.metric;
        let load = match metric {
            Metric::Concurrency => self.load.concurrency(now, PANIC_WINDOW),
            Metric::Rate => self.load.rate(now, PANIC_WINDOW),
            Metric::Cpu => self.load.level(now, PANIC_WINDOW),
            Metric::Queue => self.load.last_level(now),
        };
        ScaledBy { metric, load, target: per_instance(&self.policy.scaling, self.slots) }
    }

    fn scale(&mut self, now: Duration) {
        let bounds = Bounds { min: self.floor(now), max: self.policy.max_instances };
        self.scaled = now;
        self.desired =
            self.scaler.desired(now, &self.policy.scaling, self.slots, &mut self.load, self.ready, bounds);
    }

    /// Scales if that was not done for a second.
    pub(in crate::pool) fn scale_if_due(&mut self, now: Duration) -> Vec<Order> {
        if now.saturating_sub(self.scaled) < SCALE_EVERY {
            return Vec::new();
        }
        self.scale(now);
        // Who waited was served by others meanwhile. Short starts are let be: callers that come one after the
        // other would have one begun and given up for each of them.
        self.cancel_surplus(self.floor(now).max(self.desired), SCALE_EVERY, now);
        self.order_starts(now)
    }

    /// Someone wants `count` instances by hand: kept for a while, then scaling goes on from there. Returns
    /// those that are too many and idle.
    pub(in crate::pool) fn ask_for(&mut self, count: u32, now: Duration) -> Vec<Number> {
        self.asked = Some((count, now + STABLE_WINDOW));
        self.desired = 0;
        let surplus = self.ready.saturating_sub(self.floor(now)) as usize;
        self.idle_ones(now, |_| true).into_iter().take(surplus).collect()
    }

    /// Idle instances to be retired now: kept for as long as the policy says, or as was `learnt`; or more
    /// than the load asks for, and than one, and idle for the whole stable window.
    pub(in crate::pool) fn expired(&mut self, learnt: Duration, now: Duration) -> Vec<Number> {
        let keep_alive = self.policy.keep_alive_seconds.map_or(learnt, Duration::from_secs);
        let keep = if self.drains { keep_alive.min(DRAIN_KEEP) } else { keep_alive };
        let spare = self.ready.saturating_sub(self.kept(keep, now)) as usize;
        let surplus = self.ready.saturating_sub(self.floor(now).max(self.desired).max(1)) as usize;
        let mut taken = 0;
        let mut expired = self.idle_ones(now, |idle| {
            let too_many = taken < surplus && idle >= keep.min(STABLE_WINDOW);
            taken += usize::from(too_many);
            too_many || idle >= keep
        });
        expired.truncate(spare);
        expired
    }

    /// Instances that are kept however long they are idle: what the policy says; and what the scaler wants, as
    /// long as calls or messages come at all, and within the window of scaling down.
    fn kept(&self, keep: Duration, now: Duration) -> u32 {
        let in_use = self.load.quiet(now) < keep || self.has_backlog(now);
        let wants = !self.drains && (in_use || self.policy.scaling.down_window_seconds > 0);
        self.floor(now).max(if wants { self.desired } else { 0 })
    }

    /// Idle instances, the longest idle first.
    pub(in crate::pool) fn idle_ones(
        &self,
        now: Duration,
        mut which: impl FnMut(Duration) -> bool,
    ) -> Vec<Number> {
        let idle = |number: &Number| {
            let entry = self.entries.get(number)?;
            (entry.busy == 0).then_some((entry.idle_since, *number))
        };
        let mut idle: Vec<(Duration, Number)> = self.idle.iter().filter_map(idle).collect();
        idle.sort_unstable();
        idle.retain(|(since, _)| which(now.saturating_sub(*since)));
        idle.into_iter().map(|(_, number)| number).collect()
    }

    /// Whether it must be looked after every second.
    pub(in crate::pool) fn needs_care(&self, now: Duration) -> bool {
        let there = self.ready + self.starting;
        self.starting > 0
            || self.busy > 0
            || !self.waiters.is_empty()
            || there != self.floor(now)
            || self.asked.is_some_and(|(_, until)| now < until)
    }
}

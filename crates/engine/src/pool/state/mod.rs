//! What a pool knows, and its every decision. Nothing here waits; the pool holds it under one short lock.
//!
//! What always holds: an instance is in `idle` exactly while it is ready and has a free slot; nobody waits
//! while a slot is free; ready and starting instances together are never more than the policy allows.

mod scaling;

pub(crate) use scaling::ScaledBy;

use super::{Serving, instance::Instance};
use bytes::Bytes;
use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::Duration,
};
use tokio::sync::oneshot;
use xebec_core::{
    InvocationId,
    policy::Policy,
    rules::{
        backoff::Starts,
        scaling::{Load, Scaler},
    },
};

/// The number of an instance within its pool; never used twice.
pub(crate) type Number = u64;

/// What a waiter gets.
pub(super) enum Grant {
    /// A slot of this instance, counted as busy already.
    Slot { instance: Arc<Instance>, cold: bool },
    /// The start that it waited for failed.
    Failed(Arc<Failure>),
}

/// A start that failed.
#[derive(Clone, Debug)]
pub(crate) struct Failure {
    /// Why, in a sentence without a full stop.
    pub(crate) message: String,
    /// What the function said about it.
    pub(crate) output: Bytes,
    /// It took too long.
    pub(crate) late: bool,
    /// The last lines that the instance printed.
    pub(crate) tail: Vec<String>,
    /// The platform is at fault or a quota is used up, not the function.
    pub(crate) overloaded: bool,
    /// When it may be worth trying again.
    pub(crate) retry_after: Option<Duration>,
}

/// A call that waits for a slot.
struct Waiter {
    ticket: u64,
    call: InvocationId,
    grant: oneshot::Sender<Grant>,
}

/// An instance as the pool sees it.
struct Entry {
    phase: Phase,
    free: u32,
    busy: u32,
    /// Since when it is idle; of a start: since when it is under way.
    idle_since: Duration,
}

enum Phase {
    /// Dropping `cancel` gives the start up.
    Starting {
        for_waiters: bool,
        _cancel: oneshot::Sender<()>,
    },
    Ready(Arc<Instance>),
    /// It gets no more calls; those in flight go on.
    Retired(Arc<Instance>),
}

/// A start to be made.
pub(super) struct Order {
    pub(super) number: Number,
    pub(super) cancelled: oneshot::Receiver<()>,
}

/// What there is in a pool.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Count {
    pub(crate) ready: u32,
    pub(crate) starting: u32,
    pub(crate) waiting: u32,
    pub(crate) busy: u32,
    /// What the scaler wants.
    pub(crate) desired: u32,
}

pub(super) struct State {
    pub(super) policy: Policy,
    pub(super) drains: bool,
    /// It was dropped from its function.
    pub(super) closed: bool,
    /// Slots that an instance has, as its limits say.
    slots: u32,
    entries: BTreeMap<Number, Entry>,
    idle: Vec<Number>,
    waiters: VecDeque<Waiter>,
    next: u64,
    ready: u32,
    starting: u32,
    busy: u32,
    load: Load,
    scaler: Scaler,
    scaled: Duration,
    desired: u32,
    /// What someone asked for by hand, and until when.
    asked: Option<(u32, Duration)>,
    pub(super) starts: Starts,
    last_failure: Option<Arc<Failure>>,
}

impl State {
    pub(super) fn new(serving: Serving, slots: u32) -> Self {
        Self {
            policy: serving.policy.unwrap_or_default(),
            drains: serving.drains,
            closed: false,
            slots: slots.max(1),
            entries: BTreeMap::new(),
            idle: Vec::new(),
            waiters: VecDeque::new(),
            next: 0,
            ready: 0,
            starting: 0,
            busy: 0,
            load: Load::default(),
            scaler: Scaler::default(),
            scaled: Duration::ZERO,
            desired: 0,
            asked: None,
            starts: Starts::default(),
            last_failure: None,
        }
    }

    pub(super) fn count(&self) -> Count {
        let waiting = u32::try_from(self.waiters.len()).unwrap_or(u32::MAX);
        Count {
            ready: self.ready,
            starting: self.starting,
            waiting,
            busy: self.busy,
            desired: self.desired.max(self.policy.min_instances),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty() && self.waiters.is_empty()
    }

    // === Callers ===

    /// A call arrives: a slot of the instance that was used last, if one is free.
    pub(super) fn arrive(&mut self, now: Duration) -> Option<Arc<Instance>> {
        self.load.arrive(now);
        self.take_idle()
    }

    fn take_idle(&mut self) -> Option<Arc<Instance>> {
        let number = self.next_idle()?;
        let entry = self.entries.get_mut(&number)?;
        entry.free -= 1;
        entry.busy += 1;
        self.busy += 1;
        let instance = match &entry.phase {
            Phase::Ready(instance) => Some(instance.clone()),
            _ => None,
        };
        if entry.free == 0 {
            self.unlist(number);
        }
        instance
    }

    /// The instance for the next call: the one that was used last. Where instances have several slots, the least
    /// busy of those that the scaler wants, the oldest first: what it wants is of use to calls, and what is more
    /// than that becomes idle, and goes.
    fn next_idle(&self) -> Option<Number> {
        let last = *self.idle.last()?;
        if self.slots == 1 || self.idle.len() == 1 {
            return Some(last);
        }
        let ready = self.entries.iter().filter(|(_, entry)| matches!(entry.phase, Phase::Ready(_)));
        let wanted = ready.take(self.desired.max(1) as usize).filter(|(_, entry)| entry.free > 0);
        Some(wanted.min_by_key(|(_, entry)| entry.busy).map_or(last, |(number, _)| *number))
    }

    fn unlist(&mut self, number: Number) {
        if self.idle.last() == Some(&number) {
            self.idle.pop();
        } else {
            self.idle.retain(|other| *other != number);
        }
    }

    /// Whether one more may wait. Those whom an instance is, or can be, started for are not in anyone's way.
    pub(super) fn has_room(&self) -> bool {
        let startable = self.policy.max_instances.saturating_sub(self.ready) as usize * self.slots as usize;
        self.waiters.len() < startable.saturating_add(self.policy.queue as usize)
    }

    /// Why waiting is in vain: nothing runs, nothing starts, and the last start failed just now.
    pub(super) fn hopeless(&self, now: Duration) -> Option<Arc<Failure>> {
        let wait = self.starts.wait(now);
        if self.ready > 0 || self.starting > 0 || wait.is_zero() {
            return None;
        }
        let last = self.last_failure.as_ref()?;
        Some(Arc::new(Failure { retry_after: Some(wait), ..Failure::clone(last) }))
    }

    /// Whoever arrived waits, last in line.
    pub(super) fn wait(&mut self, call: InvocationId) -> (u64, oneshot::Receiver<Grant>) {
        let (grant, receiver) = oneshot::channel();
        self.next += 1;
        self.waiters.push_back(Waiter { ticket: self.next, call, grant });
        (self.next, receiver)
    }

    /// Whoever arrived goes without having had a slot.
    pub(super) fn leave(&mut self, now: Duration) {
        self.load.leave(now);
    }

    /// A waiter gives up. False: it was given something already.
    pub(super) fn give_up(&mut self, ticket: u64, now: Duration) -> bool {
        let Ok(at) = self.waiters.binary_search_by_key(&ticket, |waiter| waiter.ticket) else { return false };
        self.waiters.remove(at);
        self.load.leave(now);
        // Its need goes with it, and what the scaler made of its waiting.
        self.cancel_surplus(self.floor(now), Duration::ZERO, now);
        true
    }

    /// Hands free slots of an instance to whoever waits, first come first served; keeps the rest.
    fn hand_out(&mut self, number: Number, cold: bool, now: Duration) {
        let Some(entry) = self.entries.get_mut(&number) else { return };
        let Phase::Ready(instance) = &entry.phase else { return };
        while entry.free > 0 {
            let Some(waiter) = self.waiters.pop_front() else { break };
            // A waiter takes itself out of the line before it drops its end, so this cannot fail; if it did,
            // the slot would simply stay free.
            if waiter.grant.send(Grant::Slot { instance: instance.clone(), cold }).is_ok() {
                entry.free -= 1;
                entry.busy += 1;
                self.busy += 1;
            }
        }
        if entry.busy == 0 {
            entry.idle_since = now;
        }
        let listed = self.idle.contains(&number);
        if entry.free > 0 && !listed {
            self.idle.push(number);
        } else if entry.free == 0 && listed {
            self.unlist(number);
        }
    }

    // === Instances ===

    /// A slot came back; the call is over.
    pub(super) fn freed(&mut self, number: Number, now: Duration) -> Option<Arc<Instance>> {
        self.load.leave(now);
        let entry = self.entries.get_mut(&number)?;
        if entry.busy > 0 {
            entry.busy -= 1;
            self.busy -= 1;
        }
        match &entry.phase {
            Phase::Retired(instance) => Some(instance.clone()),
            _ => {
                entry.free += 1;
                self.hand_out(number, false, now);
                None
            }
        }
    }

    /// A slot was used up; the call is over. The instance gets no more.
    pub(super) fn used_up(&mut self, number: Number, now: Duration) -> Option<Arc<Instance>> {
        self.load.leave(now);
        if let Some(entry) = self.entries.get_mut(&number)
            && entry.busy > 0
        {
            entry.busy -= 1;
            self.busy -= 1;
        }
        self.retire(number)
    }

    /// The instance has `count` slots more.
    pub(super) fn announced(&mut self, number: Number, count: u32, now: Duration) {
        if let Some(entry) = self.entries.get_mut(&number) {
            entry.free = entry.free.saturating_add(count);
            self.hand_out(number, false, now);
        }
    }

    /// The instance gets no more calls. Returns it, for its keeper to be told.
    pub(super) fn retire(&mut self, number: Number) -> Option<Arc<Instance>> {
        let entry = self.entries.get_mut(&number)?;
        let instance = match &entry.phase {
            // A start that breaks before it is through is found out when it is.
            Phase::Starting { .. } => return None,
            Phase::Retired(instance) => return Some(instance.clone()),
            Phase::Ready(instance) => instance.clone(),
        };
        entry.phase = Phase::Retired(instance.clone());
        entry.free = 0;
        self.ready -= 1;
        self.unlist(number);
        Some(instance)
    }

    /// The instance is gone.
    pub(super) fn gone(&mut self, number: Number) {
        self.retire(number);
        if let Some(entry) = self.entries.remove(&number) {
            self.busy -= entry.busy;
        }
    }

    /// Calls in flight on an instance.
    pub(super) fn busy_on(&self, number: Number) -> u32 {
        self.entries.get(&number).map_or(0, |entry| entry.busy)
    }

    /// Instances that take calls, or have some in flight.
    pub(super) fn instances(&self) -> Vec<Arc<Instance>> {
        let there = self.entries.values().filter_map(|entry| match &entry.phase {
            Phase::Ready(instance) | Phase::Retired(instance) => Some(instance.clone()),
            Phase::Starting { .. } => None,
        });
        there.collect()
    }

    /// All instances that take calls.
    pub(super) fn ready_numbers(&self) -> Vec<Number> {
        let ready =
            |(number, entry): (&Number, &Entry)| matches!(entry.phase, Phase::Ready(_)).then_some(*number);
        self.entries.iter().filter_map(ready).collect()
    }

    // === Starts ===

    /// A start is through. False: it was given up meanwhile.
    pub(super) fn started(&mut self, number: Number, instance: Arc<Instance>, now: Duration) -> bool {
        let Some(entry) = self.entries.get_mut(&number) else { return false };
        entry.phase = Phase::Ready(instance);
        entry.idle_since = now;
        self.starting -= 1;
        self.ready += 1;
        self.starts.succeeded();
        self.last_failure = None;
        self.hand_out(number, true, now);
        true
    }

    /// The first of those who are told when this start fails.
    pub(super) fn waits_for(&self, number: Number) -> Option<InvocationId> {
        if self.ready > 0 || !self.entries.contains_key(&number) {
            return None;
        }
        let promised = (self.starting as usize).saturating_sub(1) * self.slots as usize;
        let first = self.waiters.front().filter(|_| self.waiters.len() > promised)?;
        Some(first.call)
    }

    /// A start failed. Those whom it was for are told; so are all, if nothing else will serve them.
    pub(super) fn start_failed(
        &mut self,
        number: Number,
        failure: Arc<Failure>,
        now: Duration,
    ) -> Vec<Order> {
        if self.entries.remove(&number).is_none() {
            return Vec::new();
        }
        self.starting -= 1;
        self.starts.failed(now);
        self.last_failure = Some(failure.clone());
        if self.ready > 0 {
            // Whoever waits is served by those that run.
            return self.order_starts(now);
        }
        let promised = self.starting as usize * self.slots as usize;
        let for_it = self.waiters.len().saturating_sub(promised).min(self.slots as usize);
        self.refuse(for_it, &failure, now);
        let orders = self.order_starts(now);
        if self.starting == 0 {
            self.refuse(usize::MAX, &failure, now);
        }
        orders
    }

    /// Tells the first `count` waiters that it failed.
    pub(super) fn refuse(&mut self, count: usize, failure: &Arc<Failure>, now: Duration) {
        for _ in 0..count.min(self.waiters.len()) {
            if let Some(waiter) = self.waiters.pop_front() {
                self.load.leave(now);
                // Whoever does not listen any more needs no answer.
                let _ = waiter.grant.send(Grant::Failed(failure.clone()));
            }
        }
    }

    /// An order could not be carried out, through no fault of the function's.
    pub(super) fn withdrawn(&mut self, number: Number) {
        if self.entries.remove(&number).is_some() {
            self.starting -= 1;
        }
    }

    /// Orders the starts that are wanted now: for those who wait beyond what is starting, and up to what
    /// policy, scaler and whoever asked by hand want.
    pub(super) fn order_starts(&mut self, now: Duration) -> Vec<Order> {
        let there = self.ready + self.starting;
        let room = self.policy.max_instances.saturating_sub(there);
        let promised = self.starting as usize * self.slots as usize;
        let unserved = self.waiters.len().saturating_sub(promised).div_ceil(self.slots as usize);
        let for_waiters = u32::try_from(unserved).unwrap_or(u32::MAX);
        let for_floor = self.wanted(now).saturating_sub(there);
        let count = for_waiters.max(for_floor).min(room);
        if count == 0 || !self.starts.wait(now).is_zero() {
            return Vec::new();
        }
        (0..count).map(|at| self.order(at < for_waiters, now)).collect()
    }

    fn order(&mut self, for_waiters: bool, now: Duration) -> Order {
        let (cancel, cancelled) = oneshot::channel();
        self.next += 1;
        let number = self.next;
        let phase = Phase::Starting { for_waiters, _cancel: cancel };
        self.entries.insert(number, Entry { phase, free: 0, busy: 0, idle_since: now });
        self.starting += 1;
        Order { number, cancelled }
    }

    /// Gives up starts that nobody waits for any more and that are as old as `age`, the newest first, above
    /// `floor` instances.
    fn cancel_surplus(&mut self, floor: u32, age: Duration, now: Duration) {
        while self.starting > 0
            && self.waiters.len() <= (self.starting as usize - 1) * self.slots as usize
            && self.ready + self.starting > floor
        {
            let old_enough = |entry: &Entry| now.saturating_sub(entry.idle_since) >= age;
            let newest = self.entries.iter().rev().find_map(|(number, entry)| {
                let of_waiters = matches!(entry.phase, Phase::Starting { for_waiters: true, .. });
                (of_waiters && old_enough(entry)).then_some(*number)
            });
            let Some(number) = newest else { return };
            self.entries.remove(&number);
            self.starting -= 1;
        }
    }

    /// Gives up every start.
    pub(super) fn cancel_starts(&mut self) {
        self.entries.retain(|_, entry| !matches!(entry.phase, Phase::Starting { .. }));
        self.starting = 0;
    }
}

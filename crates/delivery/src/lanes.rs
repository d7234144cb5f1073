//! How the queue serves whom: kept as the functions' policies say.

use crate::shared::Shared;
use compact_str::CompactString;
use futures_util::{StreamExt as _, stream::BoxStream};
use parking_lot::Mutex;
use std::{
    collections::{BTreeSet, HashMap, HashSet},
    sync::Arc,
    time::Duration,
};
use tokio::{
    sync::Notify,
    time::{Instant, MissedTickBehavior, interval_at},
};
use xebec_core::{
    FunctionKey, Tenant,
    function::FunctionView,
    message::{Lane, Target},
    policy::{Delivery, Metric},
    ports::{
        control::{Event, Happening},
        queue::{BatchRules, LaneRules, Queue},
    },
};

/// How often all functions are looked at, whatever was told of them: who listens too slowly misses something.
const LOOK_AGAIN: Duration = Duration::from_secs(300);

/// The most messages in a batch.
const MAX_BATCH: u32 = 10_000;

/// The rules of a lane that nobody takes from.
const CLOSED: LaneRules = LaneRules { concurrency: 0, batch: None };

/// What a policy says of the function's lanes.
fn rules(policy: &Delivery) -> LaneRules {
    let batch = policy.batch.map(|batch| BatchRules {
        size: batch.size.clamp(1, MAX_BATCH),
        wait: Duration::from_millis(batch.wait_ms),
    });
    LaneRules { concurrency: policy.concurrency, batch }
}

/// How the queue serves whom.
pub(crate) struct Lanes {
    tenant_claims: u32,
    state: Mutex<State>,
    /// There is a function that is scaled by what waits for it.
    scaled: Notify,
}

#[derive(Default)]
struct State {
    tenants: HashSet<Tenant>,
    /// Of functions' lanes, by queue: those whose rules are not the default ones.
    functions: HashMap<FunctionKey, HashMap<CompactString, LaneRules>>,
    /// Who takes from which queues.
    consumers: HashMap<(Tenant, CompactString), BTreeSet<FunctionKey>>,
    /// The same, by function, and with which rules.
    consuming: HashMap<FunctionKey, (LaneRules, Vec<CompactString>)>,
    /// Functions that are scaled by what waits for them.
    scaled: HashSet<FunctionKey>,
}

impl Lanes {
    pub(crate) fn new(tenant_claims: u32) -> Self {
        Self { tenant_claims, state: Mutex::default(), scaled: Notify::new() }
    }

    /// Who takes the messages of a queue that have no target.
    pub(crate) fn consumer(&self, lane: &Lane) -> Option<FunctionKey> {
        let state = self.state.lock();
        let takers = state.consumers.get(&(lane.tenant.clone(), lane.queue.clone()))?;
        takers.first().cloned()
    }

    /// Functions that are scaled by what waits for them, as soon as there are any.
    pub(crate) async fn scaled_by_queue(&self) -> HashSet<FunctionKey> {
        loop {
            let scaled = self.state.lock().scaled.clone();
            if !scaled.is_empty() {
                return scaled;
            }
            self.scaled.notified().await;
        }
    }

    /// Sees that a lane of a function is served as its policy says.
    pub(crate) fn ensure(&self, queue: &dyn Queue, lane: &Lane, policy: &Delivery) {
        let Target::Function(key) = &lane.target else { return };
        let rules = rules(policy);
        let mut state = self.state.lock();
        if !state.tenants.contains(&lane.tenant) {
            state.tenants.insert(lane.tenant.clone());
            queue.limit(&lane.tenant, Some(self.tenant_claims));
        }
        let known = state.functions.get(key).and_then(|lanes| lanes.get(&lane.queue)).copied();
        if known.unwrap_or_default() == rules {
            return;
        }
        if rules == LaneRules::default() {
            if let Some(lanes) = state.functions.get_mut(key) {
                lanes.remove(&lane.queue);
            }
        } else {
            state.functions.entry(key.clone()).or_default().insert(lane.queue.clone(), rules);
        }
        queue.configure(lane, rules);
    }

    /// Sees that the lane of a result is served as it shall be.
    pub(crate) fn prepare(&self, shared: &Shared, lane: &Lane) {
        if let Target::Function(key) = &lane.target
            && let Some(function) = shared.control.peek(key)
        {
            self.ensure(&*shared.queue, lane, &function.policy.delivery);
        }
    }

    /// A function is there, or has changed.
    fn deployed(&self, queue: &dyn Queue, view: &FunctionView) {
        let (key, policy) = (&view.function.key, &view.function.policy.delivery);
        let others: Vec<CompactString> = {
            let state = self.state.lock();
            state.functions.get(key).map(|lanes| lanes.keys().cloned().collect()).unwrap_or_default()
        };
        for name in others.iter().chain([&policy.queue]) {
            self.ensure(queue, &Lane::function(name, key), policy);
        }
        self.consume(queue, key, rules(policy), &policy.consumes);
        if view.function.policy.scaling.metric == Metric::Queue {
            self.state.lock().scaled.insert(key.clone());
            self.scaled.notify_one();
        } else {
            self.state.lock().scaled.remove(key);
        }
    }

    /// A function is gone.
    fn removed(&self, queue: &dyn Queue, key: &FunctionKey) {
        let lanes = {
            let mut state = self.state.lock();
            state.scaled.remove(key);
            state.functions.remove(key).unwrap_or_default()
        };
        for name in lanes.keys() {
            queue.configure(&Lane::function(name, key), LaneRules::default());
        }
        self.consume(queue, key, CLOSED, &[]);
    }

    /// A function takes from these queues, and from no others.
    fn consume(&self, queue: &dyn Queue, key: &FunctionKey, rules: LaneRules, queues: &[CompactString]) {
        let mut state = self.state.lock();
        let before = state.consuming.get(key);
        if before.map_or(queues.is_empty(), |(known, names)| *known == rules && names == queues) {
            return;
        }
        let before = before.map(|(_, names)| names.clone()).unwrap_or_default();
        if queues.is_empty() {
            state.consuming.remove(key);
        } else {
            state.consuming.insert(key.clone(), (rules, queues.to_vec()));
        }
        for name in &before {
            if let Some(takers) = state.consumers.get_mut(&(key.tenant.clone(), name.clone())) {
                takers.remove(key);
            }
        }
        for name in queues {
            state.consumers.entry((key.tenant.clone(), name.clone())).or_default().insert(key.clone());
        }
        let names: BTreeSet<_> = before.iter().chain(queues).collect();
        for name in names {
            state.serve(queue, &key.tenant, name);
        }
    }

    /// Functions that are known here.
    fn known(&self) -> Vec<FunctionKey> {
        let state = self.state.lock();
        let keys = state.functions.keys().chain(state.consuming.keys()).chain(&state.scaled);
        let keys: BTreeSet<_> = keys.cloned().collect();
        keys.into_iter().collect()
    }
}

impl State {
    /// Opens or closes a queue for messages without a target.
    fn serve(&mut self, queue: &dyn Queue, tenant: &Tenant, name: &CompactString) {
        let place = (tenant.clone(), name.clone());
        let takers = self.consumers.get(&place);
        let rules = match takers.and_then(BTreeSet::first) {
            Some(taker) => self.consuming.get(taker).map_or(CLOSED, |(rules, _)| *rules),
            None => CLOSED,
        };
        if let Some(takers) = takers.filter(|takers| takers.len() > 1) {
            let names: Vec<_> = takers.iter().map(ToString::to_string).collect();
            tracing::warn!(%tenant, queue = %name, takers = names.join(", "), "more than one function consumes a queue, the first gets all");
        }
        if takers.is_some_and(BTreeSet::is_empty) {
            self.consumers.remove(&place);
        }
        let lane = Lane { tenant: tenant.clone(), queue: name.clone(), target: Target::Consumer };
        queue.configure(&lane, rules);
    }
}

/// Looks at all functions, and at all that waits.
pub(crate) async fn look(shared: &Shared) {
    let queue = &*shared.queue;
    let views = shared.control.functions(None, None);
    for view in &views {
        shared.lanes.deployed(queue, view);
    }
    for key in shared.lanes.known() {
        if shared.control.peek(&key).is_none() {
            shared.lanes.removed(queue, &key);
        }
    }
    drop(views);
    // Senders may have named queues of their own.
    match shared.queue.stats(None).await {
        Ok(stats) => stats.iter().for_each(|stats| shared.lanes.prepare(shared, &stats.lane)),
        Err(error) => tracing::warn!(%error, "cannot see which lanes there are"),
    }
}

/// Follows what happens to functions, for ever.
pub(crate) async fn follow(shared: &Shared, events: BoxStream<'static, Arc<Event>>) {
    let mut events = events.fuse();
    let mut ticks = interval_at(Instant::now() + LOOK_AGAIN, LOOK_AGAIN);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            Some(event) = events.next() => {
                if !matches!(event.what, Happening::Deployed { .. } | Happening::Changed | Happening::Removed) {
                    continue;
                }
                match shared.control.function(&event.function) {
                    Some(view) => shared.lanes.deployed(&*shared.queue, &view),
                    None => shared.lanes.removed(&*shared.queue, &event.function),
                }
            }
            _ = ticks.tick() => look(shared).await,
        }
    }
}

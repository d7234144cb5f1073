//! Pools: the instances of one revision and the callers waiting for a slot.

mod again;
mod instance;
mod life;
mod state;

pub(crate) use instance::{Instance, Lease};
pub(crate) use state::{Count, Failure, ScaledBy};

use crate::{
    active::Active,
    memory::{MemoryBound, Reservation, Whose},
    shared::Shared,
};
use again::Again;
use bytes::Bytes;
use parking_lot::Mutex;
use state::{Grant, Number, Order, State};
use std::{
    sync::{Arc, Weak, atomic::Ordering},
    time::Duration,
};
use tokio::{
    sync::oneshot,
    time::{Instant, timeout},
};
use xebec_contracts::Contract;
use xebec_core::{
    FunctionKey, InvocationId,
    environment::Environment,
    policy::{Metric, Policy},
    ports::driver::{Driver, OpenSecret},
    revision::Revision,
    trace::TraceContext,
};

/// How a revision is to be served.
pub(crate) struct Serving {
    /// `None`: as before.
    pub(crate) policy: Option<Policy>,
    /// It has no traffic any more.
    pub(crate) drains: bool,
}

/// What a pool is made of.
pub(crate) struct PoolParts {
    pub(crate) shared: Arc<Shared>,
    pub(crate) key: FunctionKey,
    pub(crate) revision: Arc<Revision>,
    pub(crate) environment: Arc<Environment>,
    pub(crate) contract: Arc<dyn Contract>,
    pub(crate) driver: Arc<dyn Driver>,
    pub(crate) secrets: Vec<OpenSecret>,
    pub(crate) active: Weak<Active>,
    pub(crate) serving: Serving,
}

/// The instances of one revision and the callers waiting for a slot.
pub(crate) struct Pool {
    pub(crate) revision: Arc<Revision>,
    key: FunctionKey,
    shared: Arc<Shared>,
    environment: Arc<Environment>,
    contract: Arc<dyn Contract>,
    driver: Arc<dyn Driver>,
    secrets: Vec<OpenSecret>,
    active: Weak<Active>,
    again: Again,
    state: Mutex<State>,
}

/// Why there is no slot.
#[derive(Debug)]
pub(crate) enum NoSlot {
    /// As many wait as may.
    Full(u32),
    /// None came in time.
    Late(Duration),
    /// The start that it needed failed.
    Failed(Arc<Failure>),
    /// The pool drained and was dropped: there is, or can be, a new one.
    Closed,
}

impl Pool {
    pub(crate) fn new(parts: PoolParts) -> Arc<Self> {
        let slots = parts.revision.spec.limits.concurrency;
        Arc::new(Self {
            revision: parts.revision,
            key: parts.key,
            shared: parts.shared,
            environment: parts.environment,
            contract: parts.contract,
            driver: parts.driver,
            secrets: parts.secrets,
            active: parts.active,
            again: Again::default(),
            state: Mutex::new(State::new(parts.serving, slots)),
        })
    }

    /// A slot: at once if one is free, else first come first served, until `until` at most. What is started for
    /// it is below `trace`.
    pub(crate) async fn acquire(
        self: &Arc<Self>,
        call: InvocationId,
        until: Option<Instant>,
        trace: Option<TraceContext>,
    ) -> Result<Lease, NoSlot> {
        let now = self.shared.now();
        let (waiting, orders, cold) = {
            let mut state = self.state.lock();
            if state.closed {
                return Err(NoSlot::Closed);
            }
            if let Some(instance) = state.arrive(now) {
                let orders = state.scale_if_due(now);
                drop(state);
                self.start_below(orders, trace);
                return Ok(Lease::new(instance, false));
            }
            if let Some(failure) = state.hopeless(now) {
                state.leave(now);
                return Err(NoSlot::Failed(failure));
            }
            if !state.has_room() {
                state.leave(now);
                return Err(NoSlot::Full(state.policy.queue));
            }
            let (ticket, receiver) = state.wait(call);
            let mut orders = state.order_starts(now);
            orders.extend(state.scale_if_due(now));
            let cold = state.count().ready == 0;
            (Waiting { pool: self, ticket, receiver }, orders, cold)
        };
        self.start_below(orders, trace);
        waiting.slot(self.patience(until, cold)).await
    }

    /// How long a caller may wait from now on. The wait clock is for slots; whoever waits for a start is
    /// held by the start clock, whose end is a failure that says why.
    fn patience(&self, until: Option<Instant>, cold: bool) -> Duration {
        let clocks = &self.revision.spec.limits.clocks;
        let own = if cold {
            clocks.wait.max(clocks.start.saturating_add(Duration::from_secs(1)))
        } else {
            clocks.wait
        };
        until.map_or(own, |until| own.min(until.saturating_duration_since(Instant::now())))
    }

    /// The function's name.
    pub(crate) fn name(&self) -> &str {
        &self.key.name
    }

    // === What instances report ===

    fn freed(&self, number: Number) {
        let retired = self.state.lock().freed(number, self.shared.now());
        if let Some(instance) = retired {
            instance.wake.notify_one();
        }
    }

    fn used_up(self: &Arc<Self>, number: Number) {
        let now = self.shared.now();
        let (retired, orders) = {
            let mut state = self.state.lock();
            (state.used_up(number, now), state.order_starts(now))
        };
        if let Some(instance) = retired {
            instance.wake.notify_one();
        }
        self.start(orders);
    }

    fn announced(&self, number: Number, count: u32) {
        self.state.lock().announced(number, count, self.shared.now());
    }

    /// An instance gets no more calls, and ends when it has answered those that it has.
    pub(crate) fn retire(self: &Arc<Self>, number: Number) {
        let (retired, orders) = {
            let mut state = self.state.lock();
            (state.retire(number), state.order_starts(self.shared.now()))
        };
        if let Some(instance) = retired {
            instance.wake.notify_one();
        }
        self.start(orders);
    }

    fn started(self: &Arc<Self>, instance: &Arc<Instance>, took: Duration) -> bool {
        let taken = self.state.lock().started(instance.number, instance.clone(), self.shared.now());
        if taken && let Some(active) = self.active.upgrade() {
            active.series.cold_starts.observe(took);
        }
        taken
    }

    fn start_failed(self: &Arc<Self>, number: Number, failure: Failure) {
        if let Some(active) = self.active.upgrade() {
            active.series.failed_starts.fetch_add(1, Ordering::Relaxed);
        }
        let orders = self.state.lock().start_failed(number, Arc::new(failure), self.shared.now());
        self.start(orders);
    }

    /// The first of those who are told when this start fails.
    fn waits_for(&self, number: Number) -> Option<InvocationId> {
        self.state.lock().waits_for(number)
    }

    fn gone(self: &Arc<Self>, number: Number) {
        let orders = {
            let mut state = self.state.lock();
            state.gone(number);
            state.order_starts(self.shared.now())
        };
        self.start(orders);
    }

    fn busy_on(&self, number: Number) -> u32 {
        self.state.lock().busy_on(number)
    }

    // === Starting ===

    /// Starts what is wanted and not there.
    pub(crate) fn start_what_is_wanted(self: &Arc<Self>) {
        let orders = self.state.lock().order_starts(self.shared.now());
        self.start(orders);
    }

    fn start(self: &Arc<Self>, orders: Vec<Order>) {
        self.start_below(orders, None);
    }

    fn start_below(self: &Arc<Self>, orders: Vec<Order>, trace: Option<TraceContext>) {
        if orders.is_empty() {
            return;
        }
        if let Some(active) = self.active.upgrade() {
            self.shared.keeper.wake(&active);
        }
        // Slots also come back while the runtime is being taken down; nothing is started any more then.
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        for order in orders {
            match self.reserve() {
                Ok(memory) => drop(runtime.spawn(life::live(self.clone(), order, memory, trace))),
                Err(bound) => self.starve(order, &bound),
            }
        }
    }

    /// Memory that an instance may use.
    fn memory_bytes(&self) -> u64 {
        let assumed = self.shared.options.assumed_memory_bytes;
        self.revision.spec.limits.memory_bytes.unwrap_or(assumed)
    }

    /// Sets an instance's memory aside; or the bound that is in the way.
    fn reserve(&self) -> Result<Reservation, Arc<MemoryBound>> {
        let tenant = self.active.upgrade().and_then(|active| active.tenant.clone());
        self.shared.tenants.reserve(tenant.as_deref(), self.memory_bytes())
    }

    /// There is no memory for an ordered start: it waits until some is given back. Where callers depend on
    /// it, the longest idle instance of those within the bound makes room; where there is none, they are told
    /// now.
    fn starve(self: &Arc<Self>, order: Order, bound: &MemoryBound) {
        self.state.lock().withdrawn(order.number);
        bound.wait(Arc::downgrade(self));
        let nothing_serves = |count: Count| count.waiting > 0 && count.ready == 0 && count.starting == 0;
        let tenant = (bound.whose == Whose::Tenant).then_some(&self.key.tenant);
        let could_fit = self.memory_bytes() <= bound.most;
        if !nothing_serves(self.count()) || could_fit && self.shared.keeper.retire_longest_idle(tenant) {
            return;
        }
        let mut state = self.state.lock();
        if nothing_serves(state.count()) {
            let failure = Failure {
                message: bound.refusal(self.memory_bytes()),
                output: Bytes::new(),
                late: false,
                tail: Vec::new(),
                overloaded: true,
                retry_after: Some(Duration::from_secs(1)),
            };
            state.refuse(usize::MAX, &Arc::new(failure), self.shared.now());
        }
    }

    // === What the engine wants ===

    /// Takes over policy and traffic.
    pub(crate) fn serve(self: &Arc<Self>, serving: Serving) {
        let now = self.shared.now();
        let (expired, orders) = {
            let mut state = self.state.lock();
            if let Some(policy) = serving.policy {
                state.take_policy(policy);
            }
            let begins = serving.drains && !state.drains;
            state.drains = serving.drains;
            let expired = if begins { state.idle_ones(now, |_| true) } else { Vec::new() };
            (expired, state.order_starts(now))
        };
        expired.into_iter().for_each(|number| self.retire(number));
        self.start(orders);
        if let Some(active) = self.active.upgrade() {
            self.shared.keeper.wake(&active);
        }
    }

    /// Wants `count` instances now.
    pub(crate) fn scale_to(self: &Arc<Self>, count: u32) {
        let surplus = self.state.lock().ask_for(count, self.shared.now());
        surplus.into_iter().for_each(|number| self.retire(number));
        self.start_what_is_wanted();
        if let Some(active) = self.active.upgrade() {
            self.shared.keeper.wake(&active);
        }
    }

    /// Looks after it; `learnt` is how long to keep idle instances where the policy does not say. False: it
    /// can do without until it is called.
    pub(crate) fn tend(self: &Arc<Self>, learnt: Duration) -> bool {
        let now = self.shared.now();
        let (expired, mut orders) = {
            let mut state = self.state.lock();
            let orders = state.scale_if_due(now);
            (state.expired(learnt, now), orders)
        };
        expired.into_iter().for_each(|number| self.retire(number));
        let needs_care = {
            let mut state = self.state.lock();
            orders.extend(state.order_starts(now));
            state.needs_care(now)
        };
        self.start(orders);
        needs_care
    }

    /// Instances that take calls, or have some in flight.
    pub(crate) fn instances(&self) -> Vec<Arc<Instance>> {
        self.state.lock().instances()
    }

    /// Whether it is scaled by a metric.
    pub(crate) fn scales_by(&self, metric: Metric) -> bool {
        self.state.lock().policy.scaling.metric == metric
    }

    /// So many cores are used by its instances.
    pub(crate) fn note_cpu(&self, cores: f64) {
        self.state.lock().note_cpu(cores * 1000.0, self.shared.now());
    }

    /// So many messages wait for it and could begin.
    pub(crate) fn note_backlog(self: &Arc<Self>, waiting: u64) {
        let now = self.shared.now();
        let orders = {
            let mut state = self.state.lock();
            state.note_backlog(waiting, now);
            state.scale_if_due(now)
        };
        self.start(orders);
    }

    /// What the scaler saw last, by the metric that it goes by.
    pub(crate) fn scaled_by(&self) -> ScaledBy {
        self.state.lock().scaled_by(self.shared.now())
    }

    /// Since when its longest idle instance is idle.
    pub(crate) fn longest_idle(&self) -> Option<(Duration, Number)> {
        let now = self.shared.now();
        let state = self.state.lock();
        let mut longest = None;
        let numbers = state.idle_ones(now, |idle| {
            longest.get_or_insert(idle);
            true
        });
        Some((longest?, *numbers.first()?))
    }

    /// Gives up all starts and retires all instances, for good.
    pub(crate) fn stop(self: &Arc<Self>) {
        let numbers = {
            let mut state = self.state.lock();
            state.drains = true;
            state.policy.max_instances = 0;
            state.cancel_starts();
            let failure = Failure {
                message: "the server is stopping".to_owned(),
                output: Bytes::new(),
                late: false,
                tail: Vec::new(),
                overloaded: true,
                retry_after: None,
            };
            state.refuse(usize::MAX, &Arc::new(failure), self.shared.now());
            state.ready_numbers()
        };
        numbers.into_iter().for_each(|number| self.retire(number));
    }

    /// What there is in it.
    pub(crate) fn count(&self) -> Count {
        self.state.lock().count()
    }

    /// Nothing runs, starts or waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.state.lock().is_empty()
    }

    /// Closes it if it has no traffic and nothing is left in it. Whoever still holds it asks for a new one.
    pub(crate) fn close_if_drained(&self) -> bool {
        let mut state = self.state.lock();
        state.closed |= state.drains && state.is_empty();
        state.closed
    }
}

/// A caller waiting for a slot. Dropped, it leaves the line, or gives back what it was given meanwhile.
struct Waiting<'a> {
    pool: &'a Arc<Pool>,
    ticket: u64,
    receiver: oneshot::Receiver<Grant>,
}

impl Waiting<'_> {
    async fn slot(mut self, patience: Duration) -> Result<Lease, NoSlot> {
        match timeout(patience, &mut self.receiver).await {
            Ok(Ok(Grant::Slot { instance, cold })) => Ok(Lease::new(instance, cold)),
            Ok(Ok(Grant::Failed(failure))) => Err(NoSlot::Failed(failure)),
            Ok(Err(_)) | Err(_) => Err(NoSlot::Late(patience)),
        }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let now = self.pool.shared.now();
        if self.pool.state.lock().give_up(self.ticket, now) {
            return;
        }
        if let Ok(Grant::Slot { instance, cold }) = self.receiver.try_recv() {
            drop(Lease::new(instance, cold));
        }
    }
}

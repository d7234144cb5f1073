//! What a function has while it is in use: pools, counters, series. Made at the first call, dropped when it
//! was not called for long.

use crate::{
    functions::{Deployed, Standing},
    metrics::Series,
    pool::{Pool, ScaledBy, Serving},
    shared::Shared,
    tenants::TenantUse,
    usage::Meter,
};
use arc_swap::ArcSwap;
use parking_lot::Mutex;
use std::{
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
    },
    time::Duration,
};
use xebec_core::{
    Digest, FunctionKey,
    function::{Function, Live},
    policy::Policy,
    rules::{admission::TokenBucket, keep_alive::Gaps},
};

/// What a function has while it is in use.
pub(crate) struct Active {
    pub(crate) key: FunctionKey,
    standing: Weak<Standing>,
    pub(crate) series: Series,
    pub(crate) meter: Meter,
    pub(crate) in_flight: AtomicU32,
    pub(crate) tenant: Option<Arc<TenantUse>>,
    /// The bucket of [`Policy::max_rate`].
    pub(crate) bucket: Mutex<Option<TokenBucket>>,
    /// A handful at most: the revisions with traffic, and those that drain.
    pools: ArcSwap<Vec<Arc<Pool>>>,
    /// Held while a pool is made, so that one is made once, and for the function as it is then.
    pub(crate) opening: tokio::sync::Mutex<()>,
    /// Microseconds since the epoch when the last call ended.
    last_end: AtomicU64,
    /// The keeper looks after it every second.
    pub(crate) awake: AtomicBool,
    /// Its function was removed.
    removed: AtomicBool,
    /// It was dropped: whoever still holds it must take the new one.
    forgotten: AtomicBool,
}

impl Active {
    pub(crate) fn new(shared: &Shared, deployed: &Deployed) -> Self {
        let key = &deployed.function.key;
        let now = shared.now();
        Self {
            key: key.clone(),
            standing: Arc::downgrade(&deployed.standing),
            series: Series::default(),
            meter: Meter::default(),
            in_flight: AtomicU32::new(0),
            tenant: shared.tenants.of(&key.tenant, now),
            bucket: Mutex::default(),
            pools: ArcSwap::default(),
            opening: tokio::sync::Mutex::default(),
            last_end: AtomicU64::new(micros(now)),
            awake: AtomicBool::new(false),
            removed: AtomicBool::new(false),
            forgotten: AtomicBool::new(false),
        }
    }

    /// A call comes in. False: this was dropped meanwhile, the call belongs to a new one.
    pub(crate) fn enter(&self, deployed: &Deployed, now: Duration) -> bool {
        let before = self.in_flight.fetch_add(1, Ordering::SeqCst);
        if self.forgotten.load(Ordering::SeqCst) {
            self.in_flight.fetch_sub(1, Ordering::SeqCst);
            return false;
        }
        let called_before = deployed.standing.invocations.fetch_add(1, Ordering::Relaxed) > 0;
        if before == 0 && called_before {
            let gap = now.saturating_sub(Duration::from_micros(self.last_end.load(Ordering::Relaxed)));
            // What follows at once says nothing about how long to keep an idle instance.
            if gap >= Duration::from_millis(500) {
                deployed.standing.gaps.lock().get_or_insert_with(Box::<Gaps>::default).note(gap);
            }
        }
        true
    }

    /// A call is over.
    pub(crate) fn leave(&self, now: Duration) {
        self.last_end.store(micros(now), Ordering::Relaxed);
        self.in_flight.fetch_sub(1, Ordering::SeqCst);
    }

    /// The pool of a revision.
    pub(crate) fn pool(&self, revision: &Digest) -> Option<Arc<Pool>> {
        self.pools.load().iter().find(|pool| pool.revision.digest == *revision).cloned()
    }

    /// All pools.
    pub(crate) fn pools(&self) -> Arc<Vec<Arc<Pool>>> {
        self.pools.load_full()
    }

    /// Adds a pool. The caller holds [`Active::opening`].
    pub(crate) fn add(&self, pool: Arc<Pool>) {
        let mut pools = Vec::clone(&self.pools.load());
        pools.push(pool);
        self.pools.store(Arc::new(pools));
    }

    /// Drops pools that drained. The caller holds [`Active::opening`].
    pub(crate) fn drop_drained(&self) {
        let pools = self.pools.load();
        let left: Vec<_> = pools.iter().filter(|pool| !pool.close_if_drained()).cloned().collect();
        if left.len() < pools.len() {
            self.pools.store(Arc::new(left));
        }
    }

    /// Takes over policy and traffic of a function that was changed; `None`: it was removed. The caller
    /// holds [`Active::opening`].
    pub(crate) fn follow(&self, function: Option<&Function>) {
        for pool in self.pools.load().iter() {
            pool.serve(serving(function, &pool.revision.digest));
        }
        let mut bucket = self.bucket.lock();
        let rate = function.and_then(|function| function.policy.max_rate);
        if bucket.as_ref().map(TokenBucket::rate) != rate {
            *bucket = None;
        }
        self.removed.store(function.is_none(), Ordering::Relaxed);
    }

    /// Looks after its pools. False: they can do without until it is called.
    pub(crate) fn tend(&self, shared: &Shared) -> bool {
        let bounds = &shared.options.keep_alive;
        let learnt = match self.standing.upgrade() {
            Some(standing) => standing.gaps.lock().as_ref().map_or(bounds.unknown, |g| g.keep_alive(bounds)),
            None => Duration::ZERO,
        };
        let mut needs_care = false;
        for pool in self.pools.load().iter() {
            needs_care |= pool.tend(learnt);
        }
        // Whoever holds it makes a pool just now; drained ones go next time.
        if let Ok(_opening) = self.opening.try_lock() {
            self.drop_drained();
        }
        needs_care
    }

    /// Whether its series and all can go.
    pub(crate) fn forget_if_unused(&self, now: Duration, after: Duration) -> bool {
        let idle = now.saturating_sub(Duration::from_micros(self.last_end.load(Ordering::Relaxed)));
        let after = if self.is_removed() { Duration::ZERO } else { after };
        if idle < after
            || self.awake.load(Ordering::SeqCst)
            || !self.pools.load().iter().all(|p| p.is_empty())
        {
            return false;
        }
        self.forgotten.store(true, Ordering::SeqCst);
        if self.in_flight.load(Ordering::SeqCst) > 0 {
            self.forgotten.store(false, Ordering::SeqCst);
            return false;
        }
        true
    }

    /// Whether its function was removed.
    pub(crate) fn is_removed(&self) -> bool {
        self.removed.load(Ordering::Relaxed)
    }

    /// Adds how its pools are doing.
    pub(crate) fn add_to(&self, live: &mut Live) {
        live.in_flight += self.in_flight.load(Ordering::Relaxed);
        for pool in self.pools.load().iter() {
            let count = pool.count();
            live.ready += count.ready;
            live.starting += count.starting;
            live.waiting += count.waiting;
            live.desired += count.desired;
        }
        live.in_flight = live.in_flight.saturating_sub(live.waiting);
    }

    /// What its pools are scaled by, all together.
    pub(crate) fn scaled_by(&self) -> Option<ScaledBy> {
        let pools = self.pools.load();
        let all = pools.iter().map(|pool| pool.scaled_by());
        all.reduce(|sum, pool| ScaledBy { load: sum.load + pool.load, ..pool })
    }

    /// Takes from the bucket of the policy's rate.
    pub(crate) fn take_rate(&self, policy: &Policy, now: Duration) -> Result<(), Duration> {
        let Some(rate) = policy.max_rate else { return Ok(()) };
        self.bucket.lock().get_or_insert_with(|| TokenBucket::per_second(rate, now)).take(now)
    }
}

/// How a revision of a function is to be served: policy, and whether it drains.
pub(crate) fn serving(function: Option<&Function>, revision: &Digest) -> Serving {
    match function {
        Some(function) => Serving {
            policy: Some(function.policy.clone()),
            drains: !function.traffic.shares().iter().any(|share| share.revision == *revision),
        },
        None => Serving { policy: None, drains: true },
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

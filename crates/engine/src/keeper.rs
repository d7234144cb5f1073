//! Looks after what is alive: scaling, keep-alive, series that nobody needs any more. While nothing is alive
//! it sleeps.

use crate::{
    active::Active,
    functions::Standing,
    pool::Pool,
    shared::Shared,
    usage::{MEASURE_EVERY, Rounds},
};
use parking_lot::Mutex;
use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};
use tokio::{sync::Notify, time::Instant};
use xebec_core::Tenant;

/// How often pools with instances are looked after; their own events come on top.
const TICK: Duration = Duration::from_secs(1);

/// How often functions are checked for having been idle for long.
const FORGET_EVERY: Duration = Duration::from_secs(30);

/// Looks after what is alive.
#[derive(Default)]
pub(crate) struct Keeper {
    inner: Mutex<Inner>,
    news: Notify,
}

#[derive(Default)]
struct Inner {
    /// Functions in use.
    watched: Vec<Arc<Standing>>,
    /// Those of them whose pools need care.
    awake: Vec<Arc<Active>>,
}

impl Keeper {
    /// A function comes into use.
    pub(crate) fn watch(&self, standing: Arc<Standing>) {
        self.inner.lock().watched.push(standing);
        self.news.notify_one();
    }

    /// A function's pools need care.
    pub(crate) fn wake(&self, active: &Arc<Active>) {
        if !active.awake.swap(true, Ordering::SeqCst) {
            self.inner.lock().awake.push(active.clone());
            self.news.notify_one();
        }
    }

    /// Functions in use, sorted by key.
    pub(crate) fn in_use(&self) -> Vec<Arc<Active>> {
        let mut found: Vec<Arc<Active>> =
            self.inner.lock().watched.iter().filter_map(|standing| standing.active.load_full()).collect();
        found.sort_unstable_by(|a, b| a.key.cmp(&b.key));
        found
    }

    /// Retires the longest idle instance, of a tenant if one is named. False: there is none.
    pub(crate) fn retire_longest_idle(&self, tenant: Option<&Tenant>) -> bool {
        let pools: Vec<Arc<Pool>> = self
            .in_use()
            .into_iter()
            .filter(|active| tenant.is_none_or(|tenant| active.key.tenant == *tenant))
            .flat_map(|active| active.pools().iter().cloned().collect::<Vec<_>>())
            .collect();
        let longest = pools
            .iter()
            .filter_map(|pool| pool.longest_idle().map(|(idle, number)| (idle, number, pool)))
            .max_by_key(|(idle, ..)| *idle);
        let Some((_, number, pool)) = longest else { return false };
        pool.retire(number);
        true
    }

    fn tend(&self, shared: &Arc<Shared>) {
        let awake = std::mem::take(&mut self.inner.lock().awake);
        // What is measured now is known at the next tick.
        Rounds::measure_scaled(shared, &awake);
        let mut still = Vec::with_capacity(awake.len());
        for active in awake {
            // Cleared first: what happens while it is tended wakes it again.
            active.awake.store(false, Ordering::SeqCst);
            if active.tend(shared) && !active.awake.swap(true, Ordering::SeqCst) {
                still.push(active);
            }
        }
        self.inner.lock().awake.append(&mut still);
    }

    fn forget(&self, shared: &Shared) {
        let now = shared.now();
        self.inner.lock().watched.retain(|standing| {
            let Some(active) = standing.active.load_full() else { return false };
            let forget = active.forget_if_unused(now, shared.options.forget_after);
            if forget {
                standing.active.store(None);
            }
            !forget
        });
    }

    /// For how long to sleep; `None`: until there is news.
    fn pause(&self) -> Option<Duration> {
        let inner = self.inner.lock();
        if !inner.awake.is_empty() {
            Some(TICK)
        } else if !inner.watched.is_empty() {
            Some(FORGET_EVERY)
        } else {
            None
        }
    }
}

/// Looks after what is alive, for ever.
pub(crate) async fn keep(shared: Arc<Shared>) {
    let keeper = &shared.keeper;
    let (mut forgot, mut measured) = (Instant::now(), Instant::now());
    loop {
        match keeper.pause() {
            None => keeper.news.notified().await,
            Some(TICK) => tokio::time::sleep(TICK).await,
            Some(pause) => {
                tokio::select! {
                    () = tokio::time::sleep(pause) => {}
                    () = keeper.news.notified() => {}
                }
                if keeper.pause() == Some(TICK) {
                    tokio::time::sleep(TICK).await;
                }
            }
        }
        keeper.tend(&shared);
        if measured.elapsed() >= MEASURE_EVERY {
            measured = Instant::now();
            let with_instances = |active: &Arc<Active>| active.pools().iter().any(|pool| !pool.is_empty());
            Rounds::measure(&shared, keeper.in_use().into_iter().filter(with_instances).collect());
        }
        if forgot.elapsed() >= FORGET_EVERY {
            forgot = Instant::now();
            keeper.forget(&shared);
        }
    }
}

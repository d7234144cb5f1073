//! Who is let in: what the function's policy and the tenant's quota allow. Whoever is not is told at once.

use crate::{active::Active, functions::Deployed, shared::Shared};
use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};
use xebec_core::rules::admission::fits;

/// A call that was let in: it counts against every bound until it is dropped.
pub(crate) struct Admitted {
    pub(crate) shared: Arc<Shared>,
    pub(crate) active: Arc<Active>,
}

/// Why a call was not let in.
pub(crate) struct Refused {
    pub(crate) message: String,
    pub(crate) retry_after: Option<Duration>,
}

/// Counts the call in. Whoever counts in counts out, let in or not.
pub(crate) fn enter(shared: &Arc<Shared>, deployed: &Deployed, now: Duration) -> Admitted {
    loop {
        let active = active(shared, deployed);
        if active.enter(deployed, now) {
            if let Some(tenant) = &active.tenant {
                tenant.in_flight.fetch_add(1, Ordering::Relaxed);
            }
            return Admitted { shared: shared.clone(), active };
        }
        // It was dropped between our look and our step: the next look finds none and makes one.
        std::hint::spin_loop();
    }
}

/// What a function has while it is in use; made where there is none.
pub(crate) fn active(shared: &Shared, deployed: &Deployed) -> Arc<Active> {
    if let Some(active) = &*deployed.standing.active.load() {
        return active.clone();
    }
    let fresh = Arc::new(Active::new(shared, deployed));
    let nothing: Option<Arc<Active>> = None;
    match &*deployed.standing.active.compare_and_swap(&nothing, Some(fresh.clone())) {
        Some(other) => other.clone(),
        None => {
            shared.keeper.watch(deployed.standing.clone());
            fresh
        }
    }
}

impl Admitted {
    /// Checks the call against policy and quota.
    pub(crate) fn check(&self, deployed: &Deployed, now: Duration) -> Result<(), Refused> {
        let policy = &deployed.function.policy;
        // The call itself is counted already.
        let beside = self.active.in_flight.load(Ordering::Relaxed).saturating_sub(1);
        if !fits(beside, policy.max_in_flight) {
            return Err(Refused {
                message: format!("the function has {beside} calls in flight, as many as it may have"),
                retry_after: Some(Duration::from_secs(1)),
            });
        }
        self.active.take_rate(policy, now).map_err(|wait| Refused {
            message: "the function is called more often than it may be".to_owned(),
            retry_after: Some(wait),
        })?;
        let Some(tenant) = &self.active.tenant else { return Ok(()) };
        let beside = tenant.in_flight.load(Ordering::Relaxed).saturating_sub(1);
        if !fits(beside, tenant.quota.max_in_flight) {
            return Err(Refused {
                message: format!("the tenant has {beside} calls in flight, as many as it may have"),
                retry_after: Some(Duration::from_secs(1)),
            });
        }
        if let Some(bucket) = &tenant.bucket {
            bucket.lock().take(now).map_err(|wait| Refused {
                message: "the tenant calls functions more often than it may".to_owned(),
                retry_after: Some(wait),
            })?;
        }
        Ok(())
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        if let Some(tenant) = &self.active.tenant {
            tenant.in_flight.fetch_sub(1, Ordering::Relaxed);
        }
        self.active.leave(self.shared.now());
    }
}

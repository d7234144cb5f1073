//! What each tenant uses of its quota. Where no tenant has one, nothing is counted.

use crate::{
    memory::{MemoryBound, Reservation, Whose},
    options::EngineOptions,
};
use parking_lot::{Mutex, RwLock};
use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, atomic::AtomicU32},
    time::Duration,
};
use xebec_core::{Tenant, policy::TenantQuota, rules::admission::TokenBucket};

/// What tenants use.
pub(crate) struct Tenants {
    default: TenantQuota,
    quotas: BTreeMap<Tenant, TenantQuota>,
    uses: RwLock<HashMap<Tenant, Arc<TenantUse>>>,
    /// What all tenants together may use.
    memory: Option<Arc<MemoryBound>>,
}

/// What one tenant uses.
pub(crate) struct TenantUse {
    pub(crate) quota: TenantQuota,
    pub(crate) in_flight: AtomicU32,
    pub(crate) bucket: Option<Mutex<TokenBucket>>,
    memory: Option<Arc<MemoryBound>>,
}

impl Tenants {
    pub(crate) fn new(options: &EngineOptions) -> Self {
        Self {
            default: options.default_quota.clone(),
            quotas: options.quotas.clone(),
            uses: RwLock::default(),
            memory: options.max_memory_bytes.map(|most| MemoryBound::new(Whose::Server, most)),
        }
    }

    /// Sets memory aside for an instance of a tenant; or the bound that it would pass.
    pub(crate) fn reserve(
        &self,
        tenant: Option<&TenantUse>,
        bytes: u64,
    ) -> Result<Reservation, Arc<MemoryBound>> {
        let mut reservation = Reservation { bytes, held: Vec::new() };
        let bounds = tenant.and_then(|tenant| tenant.memory.as_ref()).into_iter().chain(&self.memory);
        for bound in bounds {
            // What was held already is given back where the next bound is in the way.
            if !bound.take(bytes) {
                return Err(bound.clone());
            }
            reservation.held.push(bound.clone());
        }
        Ok(reservation)
    }

    /// The quota of a tenant.
    pub(crate) fn quota(&self, tenant: &Tenant) -> &TenantQuota {
        self.quotas.get(tenant).unwrap_or(&self.default)
    }

    /// What a tenant uses; `None` where it has no quota.
    pub(crate) fn of(&self, tenant: &Tenant, now: Duration) -> Option<Arc<TenantUse>> {
        let quota = self.quota(tenant);
        if *quota == TenantQuota::default() {
            return None;
        }
        if let Some(found) = self.uses.read().get(tenant) {
            return Some(found.clone());
        }
        let mut uses = self.uses.write();
        let made = uses.entry(tenant.clone()).or_insert_with(|| {
            Arc::new(TenantUse {
                quota: quota.clone(),
                in_flight: AtomicU32::new(0),
                bucket: quota.max_rate.map(|rate| Mutex::new(TokenBucket::per_second(rate, now))),
                memory: quota.max_memory_bytes.map(|most| MemoryBound::new(Whose::Tenant, most)),
            })
        });
        Some(made.clone())
    }
}

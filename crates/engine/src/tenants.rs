//! What each tenant uses of its quota. Where no tenant has one, nothing is counted.

use crate::{options::EngineOptions, pool::Pool};
use parking_lot::{Mutex, RwLock};
use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Weak, atomic::AtomicU32},
    time::Duration,
};
use xebec_core::{
    Tenant,
    policy::TenantQuota,
    rules::admission::{TokenBucket, fits_bytes},
};

/// What tenants use.
pub(crate) struct Tenants {
    default: TenantQuota,
    quotas: BTreeMap<Tenant, TenantQuota>,
    uses: RwLock<HashMap<Tenant, Arc<TenantUse>>>,
}

/// What one tenant uses.
pub(crate) struct TenantUse {
    pub(crate) quota: TenantQuota,
    pub(crate) in_flight: AtomicU32,
    pub(crate) bucket: Option<Mutex<TokenBucket>>,
    memory: Mutex<Memory>,
}

#[derive(Default)]
struct Memory {
    bytes: u64,
    /// Pools that would start an instance if there were memory.
    hungry: Vec<Weak<Pool>>,
}

impl Tenants {
    pub(crate) fn new(options: &EngineOptions) -> Self {
        Self {
            default: options.default_quota.clone(),
            quotas: options.quotas.clone(),
            uses: RwLock::default(),
        }
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
                memory: Mutex::default(),
            })
        });
        Some(made.clone())
    }
}

impl TenantUse {
    /// Sets memory aside for an instance; `None` where the quota is used up.
    pub(crate) fn reserve(self: &Arc<Self>, bytes: u64) -> Option<Reservation> {
        let mut memory = self.memory.lock();
        if !fits_bytes(memory.bytes, bytes, self.quota.max_memory_bytes) {
            return None;
        }
        memory.bytes += bytes;
        Some(Reservation { tenant: Some(self.clone()), bytes })
    }

    /// Has a pool asked again when memory is given back.
    pub(crate) fn wait_for_memory(&self, pool: Weak<Pool>) {
        let mut memory = self.memory.lock();
        memory.hungry.retain(|other| other.strong_count() > 0 && !other.ptr_eq(&pool));
        memory.hungry.push(pool);
    }
}

/// Memory set aside for an instance; given back when dropped.
pub(crate) struct Reservation {
    tenant: Option<Arc<TenantUse>>,
    bytes: u64,
}

impl Reservation {
    /// What a tenant without a quota gets.
    pub(crate) fn unlimited() -> Self {
        Self { tenant: None, bytes: 0 }
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        let Some(tenant) = self.tenant.take() else { return };
        let hungry = {
            let mut memory = tenant.memory.lock();
            memory.bytes = memory.bytes.saturating_sub(self.bytes);
            std::mem::take(&mut memory.hungry)
        };
        for pool in hungry.iter().filter_map(Weak::upgrade) {
            pool.start_what_is_wanted();
        }
    }
}

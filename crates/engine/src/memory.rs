//! Memory set aside for instances, by their limits: within what a tenant, and the server, may use.

use crate::pool::Pool;
use parking_lot::Mutex;
use std::sync::{Arc, Weak};
use xebec_core::rules::admission::fits_bytes;

/// Whose memory is bounded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Whose {
    Tenant,
    Server,
}

/// How much memory instances may have.
pub(crate) struct MemoryBound {
    pub(crate) whose: Whose,
    pub(crate) most: u64,
    held: Mutex<Held>,
}

#[derive(Default)]
struct Held {
    bytes: u64,
    /// Pools that would start an instance if there were memory.
    hungry: Vec<Weak<Pool>>,
}

impl MemoryBound {
    pub(crate) fn new(whose: Whose, most: u64) -> Arc<Self> {
        Arc::new(Self { whose, most, held: Mutex::default() })
    }

    /// False where there is not so much left.
    pub(crate) fn take(&self, bytes: u64) -> bool {
        let mut held = self.held.lock();
        let fits = fits_bytes(held.bytes, bytes, Some(self.most));
        if fits {
            held.bytes += bytes;
        }
        fits
    }

    fn give_back(&self, bytes: u64) -> Vec<Weak<Pool>> {
        let mut held = self.held.lock();
        held.bytes = held.bytes.saturating_sub(bytes);
        std::mem::take(&mut held.hungry)
    }

    /// Has a pool asked again when memory is given back.
    pub(crate) fn wait(&self, pool: Weak<Pool>) {
        let mut held = self.held.lock();
        held.hungry.retain(|other| other.strong_count() > 0 && !other.ptr_eq(&pool));
        held.hungry.push(pool);
    }

    /// Why an instance that needs `bytes` does not start, for people.
    pub(crate) fn refusal(&self, bytes: u64) -> String {
        let (whose, most) = match self.whose {
            Whose::Tenant => ("the tenant's memory quota", self.most),
            Whose::Server => ("the server's memory for instances", self.most),
        };
        if bytes > most {
            format!("an instance may use {bytes} bytes of memory, more than {whose}, which is {most} bytes")
        } else {
            format!("{whose} is used up by other instances")
        }
    }
}

/// Memory set aside for an instance; given back when dropped.
pub(crate) struct Reservation {
    pub(crate) bytes: u64,
    pub(crate) held: Vec<Arc<MemoryBound>>,
}

impl Drop for Reservation {
    fn drop(&mut self) {
        for bound in self.held.drain(..) {
            let hungry = bound.give_back(self.bytes);
            hungry.iter().filter_map(Weak::upgrade).for_each(|pool| pool.start_what_is_wanted());
        }
    }
}

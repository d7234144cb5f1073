//! What the host keeps of one running guest, and the bounds it runs in.

use crate::outgoing::Outgoing;
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Instant,
};
use wasmtime::{ResourceLimiter, Store, UpdateDeadline, component::ResourceTable};
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};
use wasmtime_wasi_http::{WasiHttpCtx, WasiHttpCtxView, WasiHttpView};

/// Host objects (streams, requests, timers) that one guest can hold.
const HOST_OBJECTS: usize = 10_000;

/// Elements of all tables of one guest.
const TABLE_ELEMENTS: usize = 1_000_000;

/// What the host keeps of one running guest.
pub(crate) struct State {
    table: ResourceTable,
    wasi: WasiCtx,
    http: WasiHttpCtx,
    outgoing: Outgoing,
    bounds: Bounds,
}

impl State {
    pub(crate) fn new(wasi: WasiCtx, outgoing: Outgoing, bounds: Bounds) -> Self {
        let mut table = ResourceTable::new();
        table.set_max_capacity(HOST_OBJECTS);
        Self { table, wasi, http: WasiHttpCtx::new(), outgoing, bounds }
    }

    /// A store for it, its bounds in force.
    pub(crate) fn into_store(self, engine: &wasmtime::Engine) -> Store<Self> {
        let mut store = Store::new(engine, self);
        store.limiter(|state| &mut state.bounds);
        store.set_epoch_deadline(1);
        store.epoch_deadline_callback(|context| context.data().bounds.tick());
        store
    }

    /// It was refused memory.
    pub(crate) fn out_of_memory(&self) -> bool {
        self.bounds.refused
    }
}

impl WasiView for State {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.table }
    }
}

impl WasiHttpView for State {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        WasiHttpCtxView { hooks: &mut self.outgoing, table: &mut self.table, ctx: &mut self.http }
    }
}

/// The memory and the time that one guest may use.
pub(crate) struct Bounds {
    /// Bytes of all its memories.
    limit: u64,
    used: u64,
    refused: bool,
    table_elements: usize,
    /// What all guests of the instance use.
    total: Arc<AtomicU64>,
    deadline: Option<Instant>,
    cancelled: Arc<AtomicBool>,
}

/// Why a running guest was stopped: found in the error that its call ends with.
#[derive(Debug, thiserror::Error)]
#[error("interrupted")]
pub(crate) struct Interrupted;

impl Bounds {
    pub(crate) fn new(
        limit: u64,
        total: Arc<AtomicU64>,
        deadline: Option<Instant>,
        cancelled: Arc<AtomicBool>,
    ) -> Self {
        Self { limit, used: 0, refused: false, table_elements: 0, total, deadline, cancelled }
    }

    /// Called on every tick while the guest computes.
    fn tick(&self) -> wasmtime::Result<UpdateDeadline> {
        let late = self.deadline.is_some_and(|deadline| Instant::now() >= deadline);
        if late || self.cancelled.load(Ordering::Relaxed) {
            return Err(Interrupted.into());
        }
        Ok(UpdateDeadline::YieldCustom(1, Box::pin(tokio::task::yield_now())))
    }
}

impl ResourceLimiter for Bounds {
    /// Answers `false` past the limit, as a guest's own allocator expects it: one that can do with less
    /// lives on, the others abort, which is then reported as what it is.
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let more = desired.saturating_sub(current) as u64;
        if self.used.saturating_add(more) > self.limit {
            self.refused = true;
            return Ok(false);
        }
        self.used += more;
        self.total.fetch_add(more, Ordering::Relaxed);
        Ok(true)
    }

    fn table_growing(
        &mut self,
        current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let more = desired.saturating_sub(current);
        if self.table_elements.saturating_add(more) > TABLE_ELEMENTS {
            return Ok(false);
        }
        self.table_elements += more;
        Ok(true)
    }
}

impl Drop for Bounds {
    fn drop(&mut self) {
        self.total.fetch_sub(self.used, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bounds(limit: u64, total: &Arc<AtomicU64>) -> Bounds {
        Bounds::new(limit, total.clone(), None, Arc::default())
    }

    #[test]
    fn all_memories_count_together() {
        let total = Arc::default();
        let mut bounds = bounds(100, &total);
        assert!(bounds.memory_growing(0, 60, None).unwrap());
        assert!(!bounds.refused);
        assert!(!bounds.memory_growing(0, 60, None).unwrap());
        assert!(bounds.refused);
        assert!(bounds.memory_growing(60, 100, None).unwrap());
        assert_eq!(total.load(Ordering::Relaxed), 100);
        drop(bounds);
        assert_eq!(total.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn a_guest_is_stopped_late_or_cancelled() {
        let total = Arc::default();
        let mut bounds = bounds(100, &total);
        assert!(bounds.tick().is_ok());
        bounds.deadline = Some(Instant::now());
        assert!(bounds.tick().err().unwrap().is::<Interrupted>());
        bounds.deadline = None;
        bounds.cancelled.store(true, Ordering::Relaxed);
        assert!(bounds.tick().err().unwrap().is::<Interrupted>());
    }
}

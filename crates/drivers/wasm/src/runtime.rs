//! The engine that compiles and runs components: made at the first use, since an idle server without
//! WebAssembly functions shall not pay for it.

use crate::{state::State, ticker::Ticker};
use std::{
    hash::{DefaultHasher, Hash as _, Hasher as _},
    sync::{Arc, OnceLock, atomic::AtomicUsize},
};
use tokio::sync::{AcquireError, OwnedSemaphorePermit, Semaphore};
use wasmtime::{
    Config, Enabled, Engine, InstanceAllocationStrategy, OptLevel, PoolingAllocationConfig, component::Linker,
};
use xebec_core::Error;

/// Core instances, and tables, that one component instance takes on average. A component of one language
/// has three or four core modules (its own, and the adapters between it and the host) and two tables.
const PARTS_PER_INSTANCE: u32 = 4;

/// Bytes of a guest's memory that stay resident between two calls: resetting these by copying costs less
/// than giving the pages back and faulting them in again.
const KEEP_RESIDENT: usize = 256 * 1024;

/// Unused slots that keep their pages for the function that used them last.
const WARM_SLOTS: u32 = 32;

/// The engine and all that is shared between functions.
pub(crate) struct Runtime {
    pub(crate) engine: Engine,
    pub(crate) linker: Linker<State>,
    pub(crate) ticker: Ticker,
    /// Names artefacts that this engine can load.
    pub(crate) compatibility: String,
    /// Calls that can run at a time.
    pub(crate) capacity: usize,
    /// Calls that run.
    pub(crate) running: AtomicUsize,
    /// One compilation at a time: it uses all cores by itself, and much memory.
    pub(crate) compiling: Arc<Semaphore>,
}

/// The right to compile. It is never closed, so waiting for it does not fail.
pub(crate) type Turn = Result<OwnedSemaphorePermit, AcquireError>;

/// The runtime, made at the first use.
pub(crate) struct LazyRuntime {
    cell: OnceLock<Result<Arc<Runtime>, Error>>,
    capacity: u32,
}

impl LazyRuntime {
    pub(crate) fn new(capacity: u32) -> Self {
        Self { cell: OnceLock::new(), capacity }
    }

    /// The runtime. Making it takes a few milliseconds, once.
    pub(crate) fn get(&self) -> Result<&Arc<Runtime>, Error> {
        self.cell.get_or_init(|| Runtime::new(self.capacity).map(Arc::new)).as_ref().map_err(Clone::clone)
    }

    /// The runtime, if it was needed before.
    pub(crate) fn made(&self) -> Option<&Result<Arc<Runtime>, Error>> {
        self.cell.get()
    }
}

impl Runtime {
    fn new(wanted: u32) -> Result<Self, Error> {
        let (engine, capacity) = engine(wanted)?;
        let mut linker = Linker::new(&engine);
        wasmtime_wasi::p2::add_to_linker_async(&mut linker)
            .and_then(|()| wasmtime_wasi_http::p2::add_only_http_to_linker_async(&mut linker))
            .map_err(|error| start_error(&error))?;
        let ticker = Ticker::start(&engine).map_err(|error| start_error(&error.into()))?;
        let mut hasher = DefaultHasher::new();
        engine.precompile_compatibility_hash().hash(&mut hasher);
        Ok(Self {
            compatibility: format!("{:016x}", hasher.finish()),
            linker,
            ticker,
            engine,
            capacity: capacity as usize,
            running: AtomicUsize::new(0),
            compiling: Arc::new(Semaphore::new(1)),
        })
    }
}

/// The engine, with a pool for `wanted` instances, or for fewer where the address space is short: every
/// memory reserves (and does not touch) more than 4 GiB, so that guests need no bounds checks.
fn engine(wanted: u32) -> Result<(Engine, u32), Error> {
    let mut capacity = wanted.max(1);
    loop {
        match Engine::new(&config(capacity)) {
            Ok(engine) => return Ok((engine, capacity)),
            Err(error) if capacity == 1 => return Err(start_error(&error)),
            Err(_) => capacity = (capacity / 4).max(1),
        }
    }
}

fn config(capacity: u32) -> Config {
    let parts = capacity.saturating_mul(PARTS_PER_INSTANCE);
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(capacity)
        .total_stacks(capacity)
        .total_core_instances(parts.saturating_mul(4))
        .total_tables(parts)
        // One memory is the rule; composed components bring one for each part.
        .total_memories(capacity.saturating_add(capacity / 4))
        .table_elements(100_000)
        .max_tables_per_module(4)
        .max_component_instance_size(16 << 20)
        .max_core_instance_size(8 << 20)
        .max_unused_warm_slots(WARM_SLOTS)
        .linear_memory_keep_resident(KEEP_RESIDENT)
        .table_keep_resident(64 * 1024)
        .pagemap_scan(Enabled::Auto);
    let mut config = Config::new();
    config
        .allocation_strategy(InstanceAllocationStrategy::Pooling(pool))
        .memory_init_cow(true)
        .epoch_interruption(true)
        .cranelift_opt_level(OptLevel::Speed)
        .parallel_compilation(true)
        .concurrency_support(false)
        .wasm_component_model(true)
        .wasm_memory64(false);
    config
}

fn start_error(error: &wasmtime::Error) -> Error {
    Error::internal("XB3004", format!("the WebAssembly engine does not start: {error:#}"))
}

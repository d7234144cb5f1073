//! The clock that interrupts running guests.

use parking_lot::{Condvar, Mutex};
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};
use wasmtime::{Engine, EngineWeak};

/// How often a running guest is made to yield: what one that only computes adds to the latency of others.
pub(crate) const TICK: Duration = Duration::from_millis(2);

/// Ticks without a call before the thread sleeps. Long enough that a steady trickle of calls does not pay
/// for waking it each time, short enough that an idle server is idle.
const LINGER: u32 = 100;

/// Advances the engine's epoch while calls are in flight, and sleeps otherwise.
pub(crate) struct Ticker {
    shared: Arc<Shared>,
}

struct Shared {
    in_flight: AtomicUsize,
    asleep: AtomicBool,
    stopped: Mutex<bool>,
    wake: Condvar,
}

impl Ticker {
    /// A ticker of `engine`, asleep. It ends with the last handle to it, or with the engine.
    pub(crate) fn start(engine: &Engine) -> std::io::Result<Self> {
        let shared = Arc::new(Shared {
            in_flight: AtomicUsize::new(0),
            asleep: AtomicBool::new(false),
            stopped: Mutex::new(false),
            wake: Condvar::new(),
        });
        let (thread, engine) = (shared.clone(), engine.weak());
        std::thread::Builder::new().name("wasm-ticker".to_owned()).spawn(move || thread.run(&engine))?;
        Ok(Self { shared })
    }

    /// Ticks until the guard is dropped.
    pub(crate) fn guard(&self) -> TickGuard {
        self.shared.in_flight.fetch_add(1, Ordering::SeqCst);
        // SeqCst pairs with the store in `run`: either the thread sees the call, or we see it asleep.
        if self.shared.asleep.load(Ordering::SeqCst) {
            let _stopped = self.shared.stopped.lock();
            self.shared.wake.notify_one();
        }
        TickGuard(self.shared.clone())
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        *self.shared.stopped.lock() = true;
        self.shared.wake.notify_one();
    }
}

/// A call in flight.
pub(crate) struct TickGuard(Arc<Shared>);

impl Drop for TickGuard {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Shared {
    fn run(&self, engine: &EngineWeak) {
        let mut quiet = 0;
        loop {
            let mut stopped = self.stopped.lock();
            if quiet >= LINGER {
                self.asleep.store(true, Ordering::SeqCst);
                while !*stopped && self.in_flight.load(Ordering::SeqCst) == 0 {
                    self.wake.wait(&mut stopped);
                }
                self.asleep.store(false, Ordering::SeqCst);
                quiet = 0;
            }
            if *stopped {
                return;
            }
            drop(stopped);
            std::thread::sleep(TICK);
            if self.in_flight.load(Ordering::SeqCst) == 0 {
                quiet += 1;
                continue;
            }
            quiet = 0;
            match engine.upgrade() {
                Some(engine) => engine.increment_epoch(),
                None => return,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    #[test]
    fn it_sleeps_when_nothing_runs_and_wakes_for_a_call() {
        let engine = Engine::default();
        let ticker = Ticker::start(&engine).unwrap();
        let deadline = Instant::now() + Duration::from_secs(20);
        while !ticker.shared.asleep.load(Ordering::SeqCst) {
            assert!(Instant::now() < deadline, "the ticker never went to sleep");
            std::thread::yield_now();
        }
        let guard = ticker.guard();
        while ticker.shared.asleep.load(Ordering::SeqCst) {
            assert!(Instant::now() < deadline, "the ticker never woke up");
            std::thread::yield_now();
        }
        drop(guard);
    }
}

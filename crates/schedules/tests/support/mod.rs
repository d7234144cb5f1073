//! A world for schedules to run in: a clock that is set by hand, a store in memory, functions that are only
//! names, and a sink for messages. Time is tokio's, paused: an hour takes no time.

// Each test file uses its own part of this.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used, clippy::expect_used)]

mod functions;
mod life;
mod sink;
mod store;

pub use functions::Functions;
pub use life::Life;
pub use sink::Sink;
pub use store::MemoryStore;

use jiff::{SignedDuration, Timestamp};
use std::{
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::time::{Instant, sleep};
use xebec_core::{
    FunctionKey, Tenant,
    ports::{clock::Clock, store::Store},
    schedule::{Bounds, Missed, Schedule, ScheduledCall, When},
};
use xebec_schedules::{Parts, Schedules};

/// When every test begins.
pub const BEGIN: &str = "2026-01-01T10:00:00Z";

/// A wall clock that follows tokio's, and jumps when told to.
pub struct HandClock {
    began: Instant,
    wall: Mutex<Timestamp>,
}

impl HandClock {
    fn new() -> Arc<Self> {
        Arc::new(Self { began: Instant::now(), wall: Mutex::new(at(BEGIN)) })
    }

    pub fn jump(&self, by: SignedDuration) {
        let mut wall = self.wall.lock().unwrap();
        *wall = wall.checked_add(by).unwrap();
    }
}

impl Clock for HandClock {
    fn now(&self) -> Timestamp {
        let wall = *self.wall.lock().unwrap();
        wall.checked_add(SignedDuration::try_from(self.began.elapsed()).unwrap()).unwrap()
    }

    fn steady(&self) -> Duration {
        self.began.elapsed()
    }
}

/// All that several servers share.
#[derive(Clone)]
pub struct World {
    pub store: Arc<dyn Store>,
    pub functions: Arc<Functions>,
    pub sink: Arc<Sink>,
    pub clock: Arc<HandClock>,
}

impl World {
    pub fn new() -> Self {
        Self::on(Arc::new(MemoryStore::default()))
    }

    pub fn on(store: Arc<dyn Store>) -> Self {
        let clock = HandClock::new();
        let functions = Arc::new(Functions::new(clock.clone()));
        functions.deploy("f", Vec::new());
        let sink = Arc::new(Sink::new(clock.clone(), functions.clone()));
        Self { store, functions, sink, clock }
    }

    /// A server that runs.
    pub async fn server(&self) -> Schedules {
        let parts = Parts {
            store: self.store.clone(),
            control: self.functions.clone(),
            deliveries: self.sink.clone(),
            clock: self.clock.clone(),
        };
        let schedules = Schedules::new(parts);
        schedules.start().await.unwrap();
        schedules
    }

    /// A server that is killed in the middle of whatever it does when its life is over.
    pub async fn mortal(&self, life: &Arc<Life>) -> Schedules {
        let parts = Parts {
            store: Arc::new(life::Mortal(life.clone(), self.store.clone())),
            control: self.functions.clone(),
            deliveries: Arc::new(life::Mortal(life.clone(), self.sink.clone())),
            clock: self.clock.clone(),
        };
        let schedules = Schedules::new(parts);
        tokio::select! {
            started = schedules.start() => started.unwrap(),
            () = life.ends() => {}
        }
        schedules
    }

    pub async fn pass(&self, seconds: u64) {
        sleep(Duration::from_secs(seconds)).await;
    }
}

pub fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

pub fn f() -> FunctionKey {
    FunctionKey::new(&Tenant::default(), "native", "f")
}

pub fn cron(name: &str, cron: &str) -> Schedule {
    let when = When::Cron { cron: cron.to_owned(), zone: None };
    Schedule {
        name: name.into(),
        when,
        bounds: Bounds::default(),
        missed: Missed::Once,
        call: ScheduledCall::default(),
        paused: false,
    }
}

pub fn every(name: &str, every: &str) -> Schedule {
    let when = When::Every { every: every.to_owned(), from: None };
    Schedule { when, ..cron(name, "") }
}

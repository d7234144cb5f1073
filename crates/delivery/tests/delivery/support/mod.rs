//! A world in memory: a queue, an engine, and delivery between them.

pub mod clock;
pub mod engine;
pub mod faults;
pub mod server;
pub mod stores;

use bytes::Bytes;
use clock::TestClock;
use engine::{Answered, Seen, TestEngine, answer, key};
use faults::FaultyQueue;
use http::Request;
use std::{
    sync::{Arc, Once},
    time::{Duration, Instant},
};
use stores::{MemoryBlobs, MemoryRecords};
use xebec_conformance::memory_queue::MemoryQueue;
use xebec_core::{
    Body, InvocationId,
    auth::Principal,
    message::{Destination, Destinations, Form, Receipt, Recipient, Submission, Wishes},
    policy::{Delivery as DeliveryPolicy, Policy},
    ports::{
        clock::Clock,
        deliveries::Deliveries as _,
        queue::{Entry, EntryState},
    },
    rules::{
        ledger::Bounds,
        retry::{Death, Retry},
    },
};
use xebec_delivery::{Delivery, DeliveryOptions, DeliveryParts};

pub struct World {
    pub clock: Arc<TestClock>,
    pub queue: Arc<MemoryQueue>,
    pub faults: Arc<FaultyQueue>,
    pub blobs: Arc<MemoryBlobs>,
    pub records: Arc<MemoryRecords>,
    pub engine: Arc<TestEngine>,
    pub delivery: Arc<Delivery>,
}

impl World {
    /// One that runs.
    pub async fn new() -> Self {
        let world = Self::still(DeliveryOptions::default());
        world.delivery.start().await;
        world
    }

    /// One whose delivery was not started.
    pub fn still(options: DeliveryOptions) -> Self {
        static TLS: Once = Once::new();
        TLS.call_once(|| {
            let _ = rustls::crypto::ring::default_provider().install_default();
        });
        let clock = Arc::new(TestClock::default());
        let queue = Arc::new(MemoryQueue::new(Bounds::default(), clock.clone()));
        let faults = Arc::new(FaultyQueue::new(queue.clone()));
        let blobs = Arc::new(MemoryBlobs::default());
        let records = Arc::new(MemoryRecords::default());
        let engine = Arc::new(TestEngine::new(records.clone()));
        let delivery = Arc::new(
            Delivery::new(DeliveryParts {
                queue: faults.clone(),
                blobs: blobs.clone(),
                invoker: engine.clone(),
                control: engine.clone(),
                records: records.clone(),
                clock: clock.clone(),
                options,
            })
            .unwrap(),
        );
        Self { clock, queue, faults, blobs, records, engine, delivery }
    }

    /// A second server beside: the same queue, stores and engine.
    pub fn beside(&self, options: DeliveryOptions) -> Delivery {
        Delivery::new(DeliveryParts {
            queue: self.faults.clone(),
            blobs: self.blobs.clone(),
            invoker: self.engine.clone(),
            control: self.engine.clone(),
            records: self.records.clone(),
            clock: self.clock.clone(),
            options,
        })
        .unwrap()
    }

    pub async fn submit(&self, name: &str, body: impl Into<Bytes>, wishes: Wishes) -> Receipt {
        self.delivery.submit(submission(name, body, wishes)).await.unwrap()
    }

    pub async fn entry(&self, id: InvocationId) -> Option<Entry> {
        self.delivery.message(&id).await.unwrap()
    }

    /// Waits until the message is gone.
    pub async fn over(&self, id: InvocationId) {
        until("the message to be over", async || self.entry(id).await.is_none()).await;
    }

    /// Waits until the message is a dead letter.
    pub async fn dead(&self, id: InvocationId) -> (Death, Entry) {
        until("the message to die", async || {
            self.entry(id).await.is_some_and(|entry| matches!(entry.state, EntryState::Dead { .. }))
        })
        .await;
        let entry = self.entry(id).await.unwrap();
        let EntryState::Dead { death, .. } = entry.state else { panic!("{entry:?}") };
        (death, entry)
    }

    /// Waits until the message waits for another attempt.
    pub async fn again(&self, id: InvocationId) -> Entry {
        until("another attempt", async || {
            self.entry(id).await.is_some_and(
                |entry| matches!(entry.state, EntryState::Waiting { due } if due > self.clock.now()),
            )
        })
        .await;
        self.entry(id).await.unwrap()
    }

    pub fn metrics(&self) -> String {
        let mut out = String::new();
        self.delivery.metrics(&mut out);
        out
    }

    pub fn outcome(&self, id: InvocationId) -> String {
        self.records.of(id).map_or_else(String::new, |record| record.outcome.name().to_owned())
    }
}

pub fn submission(name: &str, body: impl Into<Bytes>, wishes: Wishes) -> Submission {
    let request = Request::post("/path?q=1").body(Body::full(body.into())).unwrap();
    Submission { wishes, ..Submission::new(key(name), Principal::Local, request) }
}

/// Waits until something is so.
pub async fn until(what: &str, is: impl AsyncFn() -> bool) {
    let began = Instant::now();
    while !is().await {
        assert!(began.elapsed() < Duration::from_secs(60), "waited in vain for {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

pub fn policy(delivery: DeliveryPolicy) -> Policy {
    Policy { delivery, ..Policy::default() }
}

/// Attempts without a pause between them.
pub fn quick(attempts: u32) -> Retry {
    Retry { attempts, min_wait_ms: 0, max_wait_ms: 0, ..Retry::default() }
}

pub fn to(recipient: Recipient, form: Form) -> Vec<Destination> {
    vec![Destination { to: recipient, form, headers: Vec::new() }]
}

/// The same, whatever the result.
pub fn both(recipient: Recipient, form: Form) -> Destinations {
    Destinations { on_success: to(recipient.clone(), form), on_failure: to(recipient, form) }
}

pub async fn fine(_: Seen) -> Answered {
    answer(200, "fine")
}

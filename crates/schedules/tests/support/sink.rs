//! Deliveries that keep what they are given, and know idempotency keys within their windows.

use super::{Functions, HandClock};
use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};
use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::time::sleep;
use xebec_core::{
    Body, Error, FunctionKey, InvocationId, Tenant,
    auth::Principal,
    message::{Receipt, Source, Submission},
    ports::{
        clock::Clock,
        control::Control,
        deliveries::Deliveries,
        queue::{Entry, EntryPage, EntryQuery, LaneStats, Place, Selection},
    },
};

/// A message that was accepted.
#[derive(Clone, Debug)]
pub struct Accepted {
    pub id: InvocationId,
    pub schedule: String,
    pub function: FunctionKey,
    /// The time that was due, where it was.
    pub due: Option<Timestamp>,
    pub at: Timestamp,
    pub principal: Principal,
    pub method: String,
    pub uri: String,
    pub headers: http::HeaderMap,
    pub body: String,
}

/// Where messages end.
pub struct Sink {
    clock: Arc<HandClock>,
    functions: Arc<Functions>,
    accepted: Mutex<Vec<Accepted>>,
    keys: Mutex<HashMap<(FunctionKey, String), (InvocationId, Timestamp)>>,
    pub duplicates: AtomicUsize,
    /// What every submission fails with.
    pub trouble: Mutex<Option<Error>>,
    /// How long a submission takes.
    pub takes: Mutex<Duration>,
    pub at_once: AtomicUsize,
    pub most_at_once: AtomicUsize,
}

impl Sink {
    pub fn new(clock: Arc<HandClock>, functions: Arc<Functions>) -> Self {
        Self {
            clock,
            functions,
            accepted: Mutex::default(),
            keys: Mutex::default(),
            duplicates: AtomicUsize::new(0),
            trouble: Mutex::default(),
            takes: Mutex::default(),
            at_once: AtomicUsize::new(0),
            most_at_once: AtomicUsize::new(0),
        }
    }

    pub fn all(&self) -> Vec<Accepted> {
        self.accepted.lock().unwrap().clone()
    }

    /// The due times of a schedule's messages, as they came.
    pub fn dues(&self, schedule: &str) -> Vec<Timestamp> {
        let of = |accepted: &Accepted| accepted.schedule == schedule;
        self.all().into_iter().filter(of).filter_map(|accepted| accepted.due).collect()
    }

    /// The same, as `HH:MM:SS`.
    pub fn times(&self, schedule: &str) -> Vec<String> {
        let dues = self.dues(schedule);
        dues.into_iter().map(|due| due.strftime("%H:%M:%S").to_string()).collect()
    }

    pub fn clear(&self) {
        self.accepted.lock().unwrap().clear();
    }

    async fn accept(&self, submission: Submission) -> Result<Receipt, Error> {
        let takes = *self.takes.lock().unwrap();
        if !takes.is_zero() {
            sleep(takes).await;
        }
        if let Some(error) = self.trouble.lock().unwrap().clone() {
            return Err(error);
        }
        if self.functions.function(&submission.function).is_none() {
            return Err(Error::not_found("XB2002", "no such function"));
        }
        let now = self.clock.now();
        let Submission { id, function, request, principal, wishes, source, .. } = submission;
        let mut due = None;
        if let Some(idempotency) = wishes.idempotency {
            let text = idempotency.key.rsplit('/').next().unwrap();
            due = Some(text.parse().expect("the key ends with the time that was due"));
            let mut keys = self.keys.lock().unwrap();
            let key = (function.clone(), idempotency.key.to_string());
            if let Some((first, until)) = keys.get(&key)
                && *until > now
            {
                assert_eq!(*first, id, "one time, one id");
                self.duplicates.fetch_add(1, Ordering::SeqCst);
                return Ok(Receipt { id, duplicate: true });
            }
            let window = SignedDuration::from_millis(idempotency.window_ms as i64);
            keys.insert(key, (id, now.checked_add(window).unwrap()));
        }
        let Source::Schedule(schedule) = source else { panic!("it comes from a schedule") };
        let (parts, body) = request.into_parts();
        let body = body.collect(1 << 20).await.unwrap();
        self.accepted.lock().unwrap().push(Accepted {
            id,
            schedule: schedule.to_string(),
            function,
            due,
            at: now,
            principal,
            method: parts.method.to_string(),
            uri: parts.uri.to_string(),
            headers: parts.headers,
            body: String::from_utf8(body.to_vec()).unwrap(),
        });
        Ok(Receipt { id, duplicate: false })
    }
}

#[async_trait]
impl Deliveries for Sink {
    async fn submit(&self, submission: Submission) -> Result<Receipt, Error> {
        let now = self.at_once.fetch_add(1, Ordering::SeqCst) + 1;
        self.most_at_once.fetch_max(now, Ordering::SeqCst);
        let receipt = self.accept(submission).await;
        self.at_once.fetch_sub(1, Ordering::SeqCst);
        receipt
    }

    async fn cancel(&self, _: &InvocationId) -> Result<Entry, Error> {
        unused()
    }

    async fn message(&self, _: &InvocationId) -> Result<Option<Entry>, Error> {
        unused()
    }

    async fn body(&self, _: &InvocationId) -> Result<Body, Error> {
        unused()
    }

    async fn messages(&self, _: &EntryQuery) -> Result<EntryPage, Error> {
        unused()
    }

    async fn queues(&self, _: Option<&Tenant>) -> Result<Vec<LaneStats>, Error> {
        unused()
    }

    async fn redrive(&self, _: &Selection, _: Option<u32>) -> Result<u64, Error> {
        unused()
    }

    async fn discard(&self, _: &Selection) -> Result<u64, Error> {
        unused()
    }

    async fn pause(&self, _: &Place) -> Result<(), Error> {
        unused()
    }

    async fn resume(&self, _: &Place) -> Result<(), Error> {
        unused()
    }

    async fn paused(&self) -> Result<Vec<Place>, Error> {
        unused()
    }

    async fn health(&self) -> Result<(), Error> {
        unused()
    }
}

fn unused() -> ! {
    unreachable!("schedules submit, and nothing else")
}

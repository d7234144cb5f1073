//! Servers that are killed: at a certain step, before or after it was done, they never do anything again.

use async_trait::async_trait;
use futures_util::stream::BoxStream;
use std::{
    future::pending,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};
use tokio::sync::Notify;
use xebec_core::{
    Body, Error, InvocationId, Tenant,
    document::{Document, DocumentKey, List, ListQuery, WatchEvent, Write},
    message::{Receipt, Submission},
    ports::{
        deliveries::Deliveries,
        queue::{Entry, EntryPage, EntryQuery, LaneStats, Place, Selection},
        store::Store,
    },
};

/// How many steps to the outside world a server has left.
pub struct Life {
    left: AtomicU64,
    /// Whether the last step is done: the server is killed before it hears of it.
    last_is_done: bool,
    over: Notify,
}

impl Life {
    pub fn new(steps: u64, last_is_done: bool) -> Arc<Self> {
        Arc::new(Self { left: AtomicU64::new(steps), last_is_done, over: Notify::new() })
    }

    pub fn is_over(&self) -> bool {
        self.left.load(Ordering::SeqCst) == 0
    }

    pub async fn ends(&self) {
        while !self.is_over() {
            self.over.notified().await;
        }
    }

    async fn step<T>(&self, step: impl Future<Output = T>) -> T {
        let left = self.left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
        match left {
            Ok(1) => {
                if self.last_is_done {
                    step.await;
                }
                self.over.notify_one();
                pending().await
            }
            Ok(_) => step.await,
            Err(_) => pending().await,
        }
    }
}

/// A port as a mortal server sees it.
pub(super) struct Mortal<T: ?Sized>(pub(super) Arc<Life>, pub(super) Arc<T>);

#[async_trait]
impl<T: Store + ?Sized> Store for Mortal<T> {
    async fn get(&self, key: &DocumentKey) -> Result<Option<Document>, Error> {
        self.0.step(self.1.get(key)).await
    }

    async fn list(&self, query: &ListQuery) -> Result<List, Error> {
        self.0.step(self.1.list(query)).await
    }

    async fn write(&self, writes: Vec<Write>) -> Result<Vec<Option<Document>>, Error> {
        self.0.step(self.1.write(writes)).await
    }

    async fn watch(
        &self,
        kind: Option<String>,
        version: u64,
    ) -> Result<BoxStream<'static, Result<WatchEvent, Error>>, Error> {
        self.1.watch(kind, version).await
    }

    async fn backup(&self, _: &Path) -> Result<(), Error> {
        unreachable!("schedules make no backups")
    }
}

#[async_trait]
impl<T: Deliveries + ?Sized> Deliveries for Mortal<T> {
    async fn submit(&self, submission: Submission) -> Result<Receipt, Error> {
        self.0.step(self.1.submit(submission)).await
    }

    async fn cancel(&self, id: &InvocationId) -> Result<Entry, Error> {
        self.1.cancel(id).await
    }

    async fn message(&self, id: &InvocationId) -> Result<Option<Entry>, Error> {
        self.1.message(id).await
    }

    async fn body(&self, id: &InvocationId) -> Result<Body, Error> {
        self.1.body(id).await
    }

    async fn messages(&self, query: &EntryQuery) -> Result<EntryPage, Error> {
        self.1.messages(query).await
    }

    async fn queues(&self, tenant: Option<&Tenant>) -> Result<Vec<LaneStats>, Error> {
        self.1.queues(tenant).await
    }

    async fn redrive(&self, which: &Selection, rate: Option<u32>) -> Result<u64, Error> {
        self.1.redrive(which, rate).await
    }

    async fn discard(&self, which: &Selection) -> Result<u64, Error> {
        self.1.discard(which).await
    }

    async fn pause(&self, place: &Place) -> Result<(), Error> {
        self.1.pause(place).await
    }

    async fn resume(&self, place: &Place) -> Result<(), Error> {
        self.1.resume(place).await
    }

    async fn paused(&self) -> Result<Vec<Place>, Error> {
        self.1.paused().await
    }

    async fn health(&self) -> Result<(), Error> {
        self.1.health().await
    }
}

//! Calls that outlive their caller: what doors may ask.

use crate::{
    body::Body,
    error::Error,
    invocation::InvocationId,
    message::{Receipt, Submission},
    names::Tenant,
    ports::queue::{Entry, EntryPage, EntryQuery, LaneStats, Place, Selection},
};
use async_trait::async_trait;

/// Accepts calls that outlive their caller, and sees that they are made.
#[async_trait]
pub trait Deliveries: Send + Sync {
    /// Accepts a call, and answers once it is on disk: from then on it is not lost.
    ///
    /// # Errors
    /// `XB2002` no such function, `XB5003` the caller may not call it, `XB2012` its body is larger than the
    /// function takes, `XB1011` a wish that cannot be met, `XB2013` it is the last of too long a chain of
    /// calls; and what [`crate::ports::queue::Queue`] says.
    async fn submit(&self, submission: Submission) -> Result<Receipt, Error>;

    /// Takes back a call that waits, stops one that runs as its contract allows, takes away a dead letter.
    /// Returns it as it was.
    ///
    /// # Errors
    /// `XB4021`.
    async fn cancel(&self, id: &InvocationId) -> Result<Entry, Error>;

    /// One message.
    async fn message(&self, id: &InvocationId) -> Result<Option<Entry>, Error>;

    /// The body of a message that is there.
    ///
    /// # Errors
    /// `XB4021`.
    async fn body(&self, id: &InvocationId) -> Result<Body, Error>;

    /// Messages, oldest accepted first.
    async fn messages(&self, query: &EntryQuery) -> Result<EntryPage, Error>;

    /// What waits, runs and is dead, lane by lane, sorted.
    async fn queues(&self, tenant: Option<&Tenant>) -> Result<Vec<LaneStats>, Error>;

    /// The same of all tenants as it was some seconds ago, from memory: for metrics.
    fn queues_lately(&self) -> Vec<LaneStats> {
        Vec::new()
    }

    /// Makes dead letters run again, at most `rate` a second. Returns how many.
    async fn redrive(&self, which: &Selection, rate: Option<u32>) -> Result<u64, Error>;

    /// Deletes dead letters. Returns how many.
    async fn discard(&self, which: &Selection) -> Result<u64, Error>;

    /// Begins no more messages of a queue or function, until it is resumed; over restarts, too.
    async fn pause(&self, place: &Place) -> Result<(), Error>;

    /// Ends a pause.
    async fn resume(&self, place: &Place) -> Result<(), Error>;

    /// What is paused, also where nothing waits.
    async fn paused(&self) -> Result<Vec<Place>, Error>;

    /// Whether calls can be accepted right now.
    ///
    /// # Errors
    /// What is wrong with the queue.
    async fn health(&self) -> Result<(), Error>;
}

//! What all parts of delivery have in common.

use crate::{
    bodies::Bodies,
    flush::Flush,
    hosts::Hosts,
    lanes::Lanes,
    lease::Running,
    metrics::Metrics,
    options::{DeliveryOptions, DeliveryParts},
    submit::RequestLimits,
};
use std::sync::Arc;
use tokio::sync::Semaphore;
use xebec_core::{
    Error,
    ports::{clock::Clock, control::Control, invoker::Invoker, queue::Queue, records::Records},
    record::InvocationRecord,
};

/// What all parts of delivery have in common.
pub(crate) struct Shared {
    pub(crate) queue: Arc<dyn Queue>,
    pub(crate) bodies: Bodies,
    pub(crate) invoker: Arc<dyn Invoker>,
    pub(crate) control: Arc<dyn Control>,
    records: Arc<dyn Records>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) options: DeliveryOptions,
    pub(crate) hosts: Hosts,
    pub(crate) lanes: Lanes,
    pub(crate) running: Running,
    pub(crate) metrics: Metrics,
    pub(crate) limits: RequestLimits,
    /// One permit for each claim that may run.
    pub(crate) room: Arc<Semaphore>,
    flush: Flush,
}

impl Shared {
    pub(crate) fn new(parts: DeliveryParts) -> Result<Self, Error> {
        let DeliveryParts { queue, blobs, invoker, control, records, clock, options } = parts;
        Ok(Self {
            queue,
            bodies: Bodies::new(blobs, options.body_memory_bytes),
            invoker,
            control,
            records,
            clock,
            hosts: Hosts::new(&options)?,
            lanes: Lanes::new(options.tenant_claims),
            running: Running::default(),
            metrics: Metrics::default(),
            limits: RequestLimits::default(),
            room: Arc::new(Semaphore::new(options.claims as usize)),
            flush: Flush::new(),
            options,
        })
    }

    /// Sees that what the engine recorded so far survives `kill -9`. A record that is lost does not hold up
    /// the message: its call was made.
    pub(crate) async fn flush_records(&self) {
        if let Err(error) = self.flush.wait(|| self.control.flush_records()).await {
            tracing::warn!(%error, "records of calls may be lost");
        }
    }

    /// Records calls that ended without the engine.
    pub(crate) async fn record(&self, records: Vec<InvocationRecord>) {
        if let Err(error) = self.records.append(records).await {
            tracing::warn!(%error, "records of calls were lost");
        }
    }
}

/// Texts in the queue have at most so many bytes.
const WHY_BYTES: usize = 1000;

/// As much of a text as the queue takes.
pub(crate) fn shortened(why: &str) -> String {
    why[..why.floor_char_boundary(WHY_BYTES)].to_owned()
}

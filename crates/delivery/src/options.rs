//! What delivery is made of, and its bounds.

use std::{sync::Arc, time::Duration};
use xebec_core::ports::{
    blobs::Blobs, clock::Clock, control::Control, invoker::Invoker, queue::Queue, records::Records,
    tracer::Traces,
};

/// What [`crate::Delivery`] is made of.
pub struct DeliveryParts {
    /// Where messages wait.
    pub queue: Arc<dyn Queue>,
    /// Where large bodies are kept. For delivery alone: what no message names is deleted from it.
    pub blobs: Arc<dyn Blobs>,
    /// What calls functions.
    pub invoker: Arc<dyn Invoker>,
    /// What knows functions and their policies.
    pub control: Arc<dyn Control>,
    /// Where it is recorded how calls ended that never reached the invoker.
    pub records: Arc<dyn Records>,
    /// What time it is.
    pub clock: Arc<dyn Clock>,
    /// The bounds.
    pub options: DeliveryOptions,
}

/// The bounds of delivery.
#[derive(Clone, Debug)]
pub struct DeliveryOptions {
    /// Claims that run at a time, at most.
    pub claims: u32,
    /// Of these, for one tenant at most: so that no tenant's slow functions take all of them.
    pub tenant_claims: u32,
    /// For how long a claim is held unless it is extended. After a crash of one of several servers, what it
    /// ran begins again so much later.
    pub lease: Duration,
    /// Of an answer that goes somewhere so much is kept; the rest is read and forgotten.
    pub answer_bytes: u64,
    /// Memory for bodies that are blobs, over all calls in flight; the next waits.
    pub body_memory_bytes: u64,
    /// How long the body of a call may take to arrive.
    pub upload: Duration,
    /// How long connecting to the server of a URL may take.
    pub connect: Duration,
    /// How long the whole of one delivery to a URL may take, redirects included.
    pub answer: Duration,
    /// How often one delivery to a URL may be sent on.
    pub redirects: u32,
    /// Refuses URLs whose server has a loopback, link-local, private or otherwise not public address, by name or
    /// by number. Off by default: callbacks to services beside the server are common. Switch it on where those
    /// who call functions are not those who run the network.
    pub forbid_private_destinations: bool,
    /// How often blobs are looked for that no message names.
    pub sweep: Duration,
    /// Where the spans of accepting, attempts and results go.
    pub traces: Traces,
}

impl Default for DeliveryOptions {
    fn default() -> Self {
        Self {
            claims: 256,
            tenant_claims: 192,
            lease: Duration::from_secs(30),
            answer_bytes: 1024 * 1024,
            body_memory_bytes: 256 * 1024 * 1024,
            upload: Duration::from_secs(300),
            connect: Duration::from_secs(5),
            answer: Duration::from_secs(30),
            redirects: 5,
            forbid_private_destinations: false,
            sweep: Duration::from_secs(3600),
            traces: Traces::default(),
        }
    }
}

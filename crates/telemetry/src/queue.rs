//! Where spans wait to be exported.

use crate::{
    counts::{Counts, Reason, Signal},
    sampler::Sampler,
};
use std::sync::Arc;
use tokio::sync::mpsc;
use xebec_core::{
    ports::tracer::{Parent, Tracer},
    trace::{SpanData, TraceContext},
};

/// Decides which spans are recorded, and keeps those that ended until they are exported. What does not fit is
/// dropped and counted: no request waits for a collector.
pub(crate) struct SpanQueue {
    sampler: Sampler,
    waiting: mpsc::Sender<Box<SpanData>>,
    counts: Arc<Counts>,
}

impl SpanQueue {
    /// A queue for so many, and its other end.
    pub(crate) fn new(
        sampler: Sampler,
        bound: usize,
        counts: Arc<Counts>,
    ) -> (Self, mpsc::Receiver<Box<SpanData>>) {
        let (waiting, spans) = mpsc::channel(bound);
        (Self { sampler, waiting, counts }, spans)
    }
}

impl Tracer for SpanQueue {
    fn context(&self, parent: Parent) -> TraceContext {
        // Neither may be 0.
        let trace = if parent == Parent::None { rand::random::<u128>().max(1) } else { 1 };
        self.sampler.context(parent, trace, rand::random::<u64>().max(1))
    }

    fn end(&self, span: Box<SpanData>) {
        if self.waiting.try_send(span).is_err() {
            self.counts.dropped(Signal::Spans, Reason::Full, 1);
        }
    }
}

//! The two tasks: one sends spans as they end, the other metrics as time passes.

use crate::{
    counts::{Counts, Reason, Signal},
    options::{MetricOptions, SpanOptions},
    points::Points,
    sender::{Closing, Sender, Sent},
    spans::{self, nanos},
    telemetry::Exposition,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};
use tokio::{
    sync::mpsc,
    time::{Instant, sleep, sleep_until},
};
use xebec_core::trace::SpanData;

/// How often it is looked whether there is something to say in the log: while nothing ends, nothing else would.
const LOOK: Duration = Duration::from_secs(60);

/// What both tasks need.
pub(crate) struct Exporter {
    pub(crate) sender: Sender,
    pub(crate) closing: Closing,
    pub(crate) counts: Arc<Counts>,
    pub(crate) resource: Resource,
}

impl Exporter {
    /// Sends spans until the server ends, and what waits then.
    pub(crate) async fn spans(mut self, options: SpanOptions, mut waiting: mpsc::Receiver<Box<SpanData>>) {
        let mut batch = Vec::with_capacity(options.batch);
        loop {
            let more = gather(&mut waiting, &mut batch, &options, &mut self.closing).await;
            if !batch.is_empty() {
                let count = batch.len() as u64;
                let message = spans::message(&self.resource, std::mem::take(&mut batch));
                let sent = self.sender.send(&message, options.deadline).await;
                self.note(Signal::Spans, count, sent);
            }
            self.counts.say(Signal::Spans, "more ended than the collector took", std::time::Instant::now());
            if !more {
                return;
            }
        }
    }

    /// Sends metrics every so often, and once more when the server ends.
    pub(crate) async fn metrics(mut self, options: MetricOptions, shown: Exposition) {
        let mut points = Points::new(self.resource.clone(), nanos(SystemTime::now()));
        loop {
            let closes = async { drop(self.closing.wait_for(Option::is_some).await) };
            let last = tokio::select! {
                () = closes => true,
                () = sleep(options.every) => false,
            };
            // With many functions it is a long text.
            let shown = Arc::clone(&shown);
            let written = tokio::task::spawn_blocking(move || {
                let mut text = String::with_capacity(16 * 1024);
                shown(&mut text);
                let messages = points.messages(&text, nanos(SystemTime::now()));
                (points, messages)
            });
            let Ok((back, messages)) = written.await else {
                tracing::error!("metrics could not be written, and are not exported any more");
                return;
            };
            points = back;
            for (message, count) in messages {
                let sent = self.sender.send(&message, options.deadline).await;
                self.note(Signal::Metrics, count, sent);
            }
            if last {
                return;
            }
        }
    }

    fn note(&self, signal: Signal, count: u64, sent: Sent) {
        let now = std::time::Instant::now();
        match sent {
            Sent::Taken { rejected: 0, .. } => self.counts.exported(signal, count),
            Sent::Taken { rejected, why } => {
                let rejected = rejected.min(count);
                self.counts.exported(signal, count - rejected);
                self.counts.dropped(signal, Reason::Refused, rejected);
                self.counts.say(signal, &format!("the collector rejected them: {why}"), now);
            }
            Sent::Lost { reason, why } => {
                self.counts.dropped(signal, reason, count);
                self.counts.say(signal, &why, now);
            }
        }
    }
}

/// Gathers a batch: until it is full, or its first span has waited long enough, or the server ends. False: there
/// is nothing more to come.
#[allow(clippy::vec_box, reason = "they come out of the queue in boxes")]
async fn gather(
    waiting: &mut mpsc::Receiver<Box<SpanData>>,
    batch: &mut Vec<Box<SpanData>>,
    options: &SpanOptions,
    closing: &mut Closing,
) -> bool {
    let mut due = Instant::now() + LOOK;
    loop {
        let room = options.batch - batch.len();
        if room == 0 {
            return true;
        }
        let closes = closing.wait_for(Option::is_some);
        let was_empty = batch.is_empty();
        tokio::select! {
            biased;
            got = waiting.recv_many(batch, room) => match got {
                0 => return false,
                _ if was_empty => due = Instant::now() + options.delay,
                _ => {}
            },
            // What waits is still received; whatever ends from now on is dropped, and counted.
            _ = closes => waiting.close(),
            () = sleep_until(due) => return true,
        }
    }
}

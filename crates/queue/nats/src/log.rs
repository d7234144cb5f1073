//! Writing to the stream and reading single records from it.

use crate::{
    errors::{self, Failure},
    wire::{Key, Record, Write},
};
use async_nats::{
    Client, HeaderMap, RequestErrorKind,
    client::Request,
    jetstream::{
        self,
        stream::{DirectGetErrorKind, LastRawMessageErrorKind, Stream},
    },
};
use bytes::Bytes;
use serde::Deserialize;
use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};
use tokio::sync::{Semaphore, watch};
use xebec_core::{Error, ErrorKind};

/// Records that one change may consist of: the server's own bound on atomic batches.
pub(crate) const MOST_AT_ONCE: usize = 1000;

/// Writes in flight: below what the server takes in before it refuses.
const IN_FLIGHT: usize = 1024;

/// What headers may take of the largest payload, in bytes.
const HEADERS: usize = 4096;

/// Batches in flight: the server takes 50 of all workers together.
const BATCHES_IN_FLIGHT: usize = 8;

/// The stream, as one worker writes to it and reads from it.
pub(crate) struct Log {
    client: Client,
    stream: Stream<()>,
    prefix: String,
    worker: String,
    writes: AtomicU64,
    answer: Duration,
    /// Counts lost connections.
    losses: watch::Receiver<u64>,
    room: Semaphore,
    batches: Semaphore,
}

#[derive(Deserialize)]
struct Acknowledgement {
    #[serde(default)]
    seq: u64,
    error: Option<ApiError>,
}

#[derive(Deserialize)]
struct ApiError {
    #[serde(default)]
    err_code: u64,
    #[serde(default)]
    description: String,
}

impl Log {
    pub(crate) fn new(
        client: Client,
        stream: Stream<()>,
        prefix: &str,
        worker: &str,
        answer: Duration,
        losses: watch::Receiver<u64>,
    ) -> Self {
        Self {
            client,
            stream,
            prefix: prefix.to_owned(),
            worker: worker.to_owned(),
            writes: AtomicU64::new(0),
            answer,
            losses,
            room: Semaphore::new(IN_FLIGHT),
            batches: Semaphore::new(BATCHES_IN_FLIGHT),
        }
    }

    pub(crate) fn stream(&self) -> &Stream<()> {
        &self.stream
    }

    /// Names a write that is about to be made; [`Record::write`] of what it stores is this.
    pub(crate) fn sign(&self) -> String {
        format!("{}.{}", self.worker, self.writes.fetch_add(1, Ordering::Relaxed))
    }

    /// Stores all records or none, each only where the last of its key is the expected one. Answers their
    /// sequences once they are on the server's disk.
    pub(crate) async fn commit(&self, writes: &[Write], signature: &str) -> Result<Vec<u64>, Failure> {
        match writes {
            [] => Ok(Vec::new()),
            [write] => {
                let _room = self.enter(&self.room).await?;
                let subject = write.key.subject(&self.prefix);
                let headers = write.headers(signature)?;
                Ok(vec![self.publish(subject, headers, write.payload.clone()).await?])
            }
            _ => self.commit_batch(writes, signature).await,
        }
    }

    async fn commit_batch(&self, writes: &[Write], signature: &str) -> Result<Vec<u64>, Failure> {
        if writes.len() > MOST_AT_ONCE {
            let message = format!("{} records at once are more than {MOST_AT_ONCE}", writes.len());
            let error = Error::new(ErrorKind::TooLarge, "XB4024", message);
            return Err(error.with_hint("send fewer messages at once").into());
        }
        // Nothing of it is sent where a part of it would be refused.
        let most = self.client.max_payload().saturating_sub(HEADERS);
        if let Some(large) = writes.iter().map(|write| write.payload.len()).find(|length| *length > most) {
            return Err(too_large(&format!("{large} bytes are more than {most}")).into());
        }
        let _batches = self.enter(&self.batches).await?;
        let last = writes.len() - 1;
        for (at, write) in writes.iter().enumerate() {
            let subject = write.key.subject(&self.prefix);
            let mut headers = write.headers(signature)?;
            headers.insert("Nats-Batch-Id", signature);
            headers.insert("Nats-Batch-Sequence", (at + 1).to_string());
            if at < last {
                let sent = self.client.publish_with_headers(subject, headers, write.payload.clone());
                sent.await.map_err(errors::away)?;
                continue;
            }
            headers.insert("Nats-Batch-Commit", "1");
            let sequence = self.publish(subject, headers, write.payload.clone()).await?;
            // A batch lies in the stream in one piece.
            return Ok((sequence - last as u64..=sequence).collect());
        }
        Ok(Vec::new())
    }

    async fn enter<'a>(&self, room: &'a Semaphore) -> Result<tokio::sync::SemaphorePermit<'a>, Failure> {
        match tokio::time::timeout(self.answer, room.acquire()).await {
            Ok(Ok(permit)) => Ok(permit),
            _ => Err(Failure::Busy),
        }
    }

    async fn publish(&self, subject: String, headers: HeaderMap, payload: Bytes) -> Result<u64, Failure> {
        let request = Request::new().headers(headers).payload(payload).timeout(Some(self.answer));
        // An answer that was on its way when the connection was lost never comes.
        let mut losses = self.losses.clone();
        losses.mark_unchanged();
        let answer = tokio::select! {
            answer = self.client.send_request(subject, request) => answer,
            Ok(()) = losses.changed() => return Err(errors::cut_off().into()),
        };
        let answer = answer.map_err(|e| match e.kind() {
            RequestErrorKind::TimedOut => errors::unanswered(self.answer),
            RequestErrorKind::NoResponders => errors::away("its JetStream does not answer"),
            RequestErrorKind::MaxPayloadExceeded => too_large(&e),
            _ => errors::away(e),
        })?;
        let answer: Acknowledgement = serde_json::from_slice(&answer.payload)
            .map_err(|e| Error::internal("XB4003", format!("the queue's server answered strangely: {e}")))?;
        match answer.error {
            None => Ok(answer.seq),
            Some(error) => Err(errors::write(error.err_code, &error.description)),
        }
    }

    /// Takes one record away, unless it was replaced meanwhile.
    pub(crate) async fn delete(&self, sequence: u64) -> Result<(), Error> {
        self.stream.delete_message(sequence).await.map(|_| ()).map_err(errors::away)
    }

    /// The last record of a key, as the stream's leader has it.
    pub(crate) async fn last(&self, key: &Key) -> Result<Option<Record>, Error> {
        let subject = key.subject(&self.prefix);
        match self.stream.get_last_raw_message_by_subject(&subject).await {
            Ok(found) => Ok(self.read(&found)),
            Err(e) => match e.kind() {
                LastRawMessageErrorKind::NoMessageFound => Ok(None),
                LastRawMessageErrorKind::JetStream(error) if error.code() == 404 => Ok(None),
                LastRawMessageErrorKind::JetStream(error) => {
                    Err(errors::api(error.error_code().0, &error.to_string()))
                }
                _ => Err(errors::away(e)),
            },
        }
    }

    /// One record; `None` where it was replaced since.
    pub(crate) async fn at(&self, sequence: u64) -> Result<Option<Record>, Error> {
        match self.stream.direct_get(sequence).await {
            Ok(found) => Ok(self.read(&found)),
            Err(e) if e.kind() == DirectGetErrorKind::NotFound => Ok(None),
            Err(e) => Err(errors::away(e)),
        }
    }

    fn read(&self, found: &jetstream::message::StreamMessage) -> Option<Record> {
        let payload = found.payload.clone();
        Record::read(&self.prefix, &found.subject, found.sequence, Some(&found.headers), payload)
    }
}

fn too_large(error: &dyn std::fmt::Display) -> Error {
    Error::new(
        ErrorKind::TooLarge,
        "XB4024",
        format!("a message is larger than the queue's server takes: {error}"),
    )
    .with_hint("raise max_payload of the NATS server, or send less")
}

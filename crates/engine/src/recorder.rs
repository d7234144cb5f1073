//! Records of invocations on their way to their port and to those who follow.

use crate::batch::{Batch, Taken, Trimmed};
use bytes::Bytes;
use futures_util::{
    FutureExt as _, StreamExt as _,
    stream::{self, BoxStream},
};
use parking_lot::Mutex;
use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};
use tokio::sync::broadcast::{self, error::RecvError};
use xebec_core::{
    Error,
    message::Call,
    ports::records::{Records, Retention},
    record::{Followed, InvocationRecord, KeptRequest, RecordPage, RecordQuery},
};

/// Records that followers get at a time.
const CHUNK: usize = 128;

/// Chunks by which a follower may fall behind before it misses records.
const FOLLOW_BOUND: usize = 128;

/// Bytes of kept requests and answers that may wait to be written; past it records come without them.
const KEPT_BYTES: u64 = 128 * 1024 * 1024;

/// A record that waits to be written.
struct Entry {
    record: InvocationRecord,
    /// Its call's request, where that is kept.
    request: Option<Box<Call>>,
    /// What request and answer count of [`KEPT_BYTES`].
    bytes: u64,
}

/// Some records in the order in which they came.
struct Chunk {
    /// How many there were before, dropped ones included.
    first: u64,
    records: Vec<InvocationRecord>,
}

/// Records of invocations on their way to their port and to those who follow.
pub(crate) struct Recorder {
    batch: Arc<Batch<Entry>>,
    port: Arc<dyn Records>,
    followers: Arc<Followers>,
    /// Bytes of kept requests and answers that wait to be written.
    kept_bytes: Arc<AtomicU64>,
    /// Requests that were to be kept and were not.
    requests_dropped: AtomicU64,
    /// Answers that were to be kept and were not.
    answers_dropped: AtomicU64,
}

impl Recorder {
    pub(crate) fn new(port: Arc<dyn Records>, bound: usize) -> Self {
        let (followers, kept_bytes) = (Arc::new(Followers::new()), Arc::new(AtomicU64::new(0)));
        let (to, told, written) = (port.clone(), followers.clone(), kept_bytes.clone());
        let write = move |taken: Taken<Entry>| {
            let (port, followers, kept_bytes) = (to.clone(), told.clone(), written.clone());
            async move {
                let mut requests = Vec::new();
                let mut records = Vec::with_capacity(taken.entries.len());
                let mut kept = 0;
                for Entry { record, request, bytes } in taken.entries {
                    kept += bytes;
                    if let Some(call) = request {
                        requests.push(KeptRequest { id: record.id, call: *call });
                    }
                    records.push(record);
                }
                followers.tell(&records, taken.dropped);
                let written = port.append_with_requests(records, requests).await;
                kept_bytes.fetch_sub(kept, Ordering::Relaxed);
                written
            }
            .boxed()
        };
        Self {
            batch: Batch::new(bound, Box::new(write)),
            port,
            followers,
            kept_bytes,
            requests_dropped: AtomicU64::new(0),
            answers_dropped: AtomicU64::new(0),
        }
    }

    /// Takes a record, and its call's request if that is kept; they are written soon. Tells whether there was
    /// room for the record.
    pub(crate) fn record(&self, mut record: InvocationRecord, request: Option<Call>) -> bool {
        let mut bytes = 0;
        let request = request.filter(|call| self.has_room(weight(call), &mut bytes, &self.requests_dropped));
        if let Some(noted) = &mut record.noted
            && !noted.answer.is_empty()
            && !self.has_room(noted.answer.len() as u64, &mut bytes, &self.answers_dropped)
        {
            noted.answer = Bytes::new();
        }
        let room = self.batch.push(Entry { record, request: request.map(Box::new), bytes });
        if !room {
            self.kept_bytes.fetch_sub(bytes, Ordering::Relaxed);
        }
        room
    }

    /// Adds what shall be kept to what an entry has of it; where there is no room, counts that it is not.
    fn has_room(&self, more: u64, of_entry: &mut u64, dropped: &AtomicU64) -> bool {
        if self.kept_bytes.fetch_add(more, Ordering::Relaxed) + more <= KEPT_BYTES {
            *of_entry += more;
            return true;
        }
        self.kept_bytes.fetch_sub(more, Ordering::Relaxed);
        dropped.fetch_add(1, Ordering::Relaxed);
        false
    }

    /// Records that were not kept.
    pub(crate) fn dropped(&self) -> u64 {
        self.batch.lost()
    }

    /// Requests that were to be kept, and for which there was no room.
    pub(crate) fn requests_dropped(&self) -> u64 {
        self.requests_dropped.load(Ordering::Relaxed)
    }

    /// Answers that were to be kept, and for which there was no room.
    pub(crate) fn answers_dropped(&self) -> u64 {
        self.answers_dropped.load(Ordering::Relaxed)
    }

    /// Writes what waits.
    pub(crate) async fn flush(&self) -> Result<(), Error> {
        self.batch.flush().await
    }

    /// The port, for reading.
    pub(crate) fn port(&self) -> &dyn Records {
        &*self.port
    }

    /// A page of what there is by now, and what comes from now on.
    pub(crate) async fn follow(
        &self,
        query: RecordQuery,
    ) -> Result<(RecordPage, BoxStream<'static, Followed>), Error> {
        // Nobody else writes until the turn is over: what was told before is in the port, what is told after
        // is not.
        let (turn, ()) = self.batch.flush_and(|| ()).await?;
        let (live, next) = self.followers.join();
        let page = self.port.query(&query).await?;
        drop(turn);
        Ok((page, following(live, next, query)))
    }

    /// Writes in the background, and deletes what is past its bounds, for ever.
    pub(crate) async fn write_behind(self: Arc<Self>, retention: Retention) {
        let trimming = async {
            let mut trimmed = Trimmed::now();
            loop {
                self.batch.trim_is_due(&mut trimmed).await;
                if let Err(error) = self.port.trim(&retention).await {
                    tracing::warn!(%error, "old records could not be deleted");
                }
            }
        };
        // Beside each other: deleting many takes long, and what comes meanwhile must not wait for it.
        tokio::join!(self.batch.write_behind("records"), trimming);
    }
}

/// About what a request takes in memory.
fn weight(call: &Call) -> u64 {
    let headers: usize =
        call.headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 64).sum();
    call.body.len() + (headers + call.uri.len()) as u64 + 256
}

/// Those who follow.
struct Followers {
    chunks: broadcast::Sender<Arc<Chunk>>,
    /// How many records there were, dropped ones included.
    count: Mutex<u64>,
}

impl Followers {
    fn new() -> Self {
        Self { chunks: broadcast::Sender::new(FOLLOW_BOUND), count: Mutex::new(0) }
    }

    /// A follower, and the number of the first record that it gets.
    fn join(&self) -> (broadcast::Receiver<Arc<Chunk>>, u64) {
        let count = self.count.lock();
        (self.chunks.subscribe(), *count)
    }

    /// Tells records, after which so many were dropped.
    fn tell(&self, records: &[InvocationRecord], dropped: u64) {
        let mut count = self.count.lock();
        if self.chunks.receiver_count() > 0 {
            let mut first = *count;
            for records in records.chunks(CHUNK) {
                // Fails only where the last follower has just left.
                let _ = self.chunks.send(Arc::new(Chunk { first, records: records.to_vec() }));
                first += records.len() as u64;
            }
        }
        *count += records.len() as u64 + dropped;
    }
}

fn following(
    live: broadcast::Receiver<Arc<Chunk>>,
    next: u64,
    query: RecordQuery,
) -> BoxStream<'static, Followed> {
    let start = (live, next, query, VecDeque::new());
    stream::unfold(start, |(mut live, mut next, query, mut ready)| async move {
        loop {
            if let Some(followed) = ready.pop_front() {
                return Some((followed, (live, next, query, ready)));
            }
            match live.recv().await {
                Ok(chunk) => {
                    if chunk.first > next {
                        ready.push_back(Followed::Missed { missed: chunk.first - next });
                    }
                    next = chunk.first + chunk.records.len() as u64;
                    let wanted = chunk.records.iter().filter(|record| query.matches(record));
                    ready.extend(wanted.map(|record| {
                        let record = record.clone();
                        let record = if query.answers { record } else { record.without_answer() };
                        Followed::Record(Box::new(record))
                    }));
                }
                // The next chunk's number tells how many records that were.
                Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => return None,
            }
        }
    })
    .boxed()
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::Timestamp;
    use xebec_core::{FunctionKey, InvocationId, Outcome, Tenant, invocation::Timing};

    fn record(name: &str) -> InvocationRecord {
        InvocationRecord {
            id: InvocationId::new(),
            function: FunctionKey::new(&Tenant::default(), "native", name),
            revision: None,
            instance: None,
            received: Timestamp::now(),
            timing: Timing::default(),
            outcome: Outcome::Success,
            status: None,
            message: None,
            request_bytes: 0,
            response_bytes: 0,
            attempt: 0,
            noted: None,
        }
    }

    /// What a follower got, in short: names and numbers.
    async fn got(stream: &mut BoxStream<'static, Followed>) -> Vec<String> {
        let mut all = Vec::new();
        while let Some(Some(followed)) = tokio::task::unconstrained(stream.next()).now_or_never() {
            all.push(match followed {
                Followed::Record(record) => record.function.name.to_string(),
                Followed::Missed { missed } => missed.to_string(),
            });
        }
        all
    }

    #[tokio::test]
    async fn followers_get_each_record_once_and_are_told_what_was_dropped() {
        let followers = Followers::new();
        followers.tell(&[record("before")], 1);
        let (live, next) = followers.join();
        let mut stream = following(live, next, RecordQuery::default());
        followers.tell(&[record("a"), record("b")], 0);
        followers.tell(&[record("c")], 5);
        followers.tell(&[record("d")], 0);
        assert_eq!(got(&mut stream).await, ["a", "b", "c", "5", "d"]);
    }

    #[tokio::test]
    async fn slow_followers_are_told_how_many_they_missed() {
        let followers = Followers::new();
        let (live, next) = followers.join();
        let mut stream = following(live, next, RecordQuery::default());
        for _ in 0..FOLLOW_BOUND + 3 {
            followers.tell(&[record("x"), record("x")], 0);
        }
        let got = got(&mut stream).await;
        assert_eq!((got[0].as_str(), got.len()), ("6", 1 + 2 * FOLLOW_BOUND));
    }
}

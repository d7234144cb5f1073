//! The journal: which runs are in progress, on disk, so that a crash cannot make one vanish.

mod closing;
mod interrupted;

pub use interrupted::Interrupted;

use jiff::Timestamp;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};
use tokio::{sync::Notify, time::Instant};
use xebec_core::{
    Error, ErrorKind, FunctionKey, InvocationId,
    document::{Document, DocumentKey, Expect},
    ports::{records::Records, store::Store},
    record::Note,
};

/// The kind of the journal's documents: one per run in progress.
pub const RUNS: &str = "flow.run";

/// How a [`Journal`] is set up.
#[derive(Clone, Copy, Debug)]
pub struct JournalOptions {
    /// Runs in the journal at a time. Past it, [`Journal::begin`] refuses.
    pub runs: usize,
    /// How long a run that is over may wait for its entry to be taken away, so that many go in one write.
    pub every: Duration,
    /// How long the record of a run that is over may be missing before the journal writes one itself.
    pub patience: Duration,
}

impl Default for JournalOptions {
    /// 10,000 runs, a quarter of a second, two minutes.
    fn default() -> Self {
        Self { runs: 10_000, every: Duration::from_millis(250), patience: Duration::from_secs(120) }
    }
}

/// What the journal keeps of a run: enough to make its record without it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// The call's id.
    pub id: InvocationId,
    /// What was called.
    pub function: FunctionKey,
    /// What its door wants kept with its record.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<Arc<Note>>,
    /// When the platform got it.
    pub received: Timestamp,
    /// Which attempt it is of a call that outlives its caller; 0 for a caller who waits.
    #[serde(default)]
    pub attempt: u32,
}

impl Entry {
    fn key(&self) -> DocumentKey {
        DocumentKey::new(RUNS, self.function.tenant.as_str(), &self.id.to_string())
    }
}

/// Runs in progress, on disk.
///
/// What [`Journal::begin`] has answered for is in the [`Store`] until the run's record is in [`Records`]. What is
/// left there when the server starts was interrupted: [`Journal::end_interrupted`] gives each such run a record
/// that says so. Nothing is ever run again.
///
/// The record is whatever the engine makes of the call. The journal never makes one for a run that has one, and
/// is the first to look after a start, before messages are delivered; delivery in turn leaves the record alone
/// that it finds for a message that may run at most once. So an id that is both a message and a run has one
/// record, too, and it is the one that names the steps.
pub struct Journal {
    shared: Arc<Shared>,
    closer: tokio::task::JoinHandle<()>,
}

struct Shared {
    store: Arc<dyn Store>,
    records: Arc<dyn Records>,
    options: JournalOptions,
    state: Mutex<State>,
    /// A run is over.
    over: Notify,
    /// Held by whoever takes entries away.
    turn: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct State {
    /// Runs in progress, and how many hold each.
    held: HashMap<InvocationId, Held>,
    /// Runs that are over and whose entry is still there.
    over: HashMap<InvocationId, Over>,
    /// The same, being looked at just now.
    closing: HashSet<InvocationId>,
}

struct Held {
    entry: Arc<Entry>,
    by: usize,
    given_up: Vec<InvocationId>,
}

struct Over {
    entry: Arc<Entry>,
    /// The steps of a run that was given up: its record, which others made, does not name them yet.
    given_up: Vec<InvocationId>,
    since: Instant,
    /// When to look for its record again, and how long to wait after that.
    due: Instant,
    pause: Duration,
}

impl State {
    fn runs(&self) -> usize {
        self.held.len() + self.over.len() + self.closing.len()
    }

    fn knows(&self, id: &InvocationId) -> bool {
        self.held.contains_key(id) || self.over.contains_key(id) || self.closing.contains(id)
    }
}

impl Journal {
    /// A journal in `store`, of calls whose records go to `records`. Must be called within the async runtime.
    pub fn new(store: Arc<dyn Store>, records: Arc<dyn Records>, options: JournalOptions) -> Arc<Self> {
        let state = Mutex::default();
        let shared = Arc::new(Shared {
            store,
            records,
            options,
            state,
            over: Notify::new(),
            turn: Default::default(),
        });
        let closer = tokio::spawn(closing::close_what_is_over(shared.clone()));
        Arc::new(Self { shared, closer })
    }

    /// Writes down that a run begins, and answers when that is on disk. It counts as in progress until what this
    /// returns is dropped, by each of those who began it. Then its record must come, and the entry goes.
    ///
    /// Dropped in the middle, the entry may be written or not; in either case it goes as if the run were over.
    ///
    /// # Errors
    /// `XB2020` too many runs are in progress; and what [`Store`] says.
    pub async fn begin(&self, entry: Entry) -> Result<Kept, Error> {
        let entry = Arc::new(entry);
        let kept = loop {
            if let Some(kept) = self.shared.hold(&entry)? {
                break kept;
            }
            let _its_entry_is_gone = self.shared.turn.lock().await;
        };
        let spec = serde_json::to_value(&*entry)
            .map_err(|error| Error::internal("XB4003", format!("a run cannot be written down: {error}")))?;
        let key = entry.key();
        let document = Document::new(&key.kind, &key.namespace, &key.name, spec);
        self.shared.store.put(document, Expect::Any).await?;
        Ok(kept)
    }

    /// How many runs are in the journal, those included whose record is being waited for.
    pub fn runs(&self) -> usize {
        self.shared.state.lock().runs()
    }

    /// Takes away the entries of all runs that are over and have their record, now: before the server ends.
    pub async fn close(&self) {
        self.shared.close(true).await;
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        self.closer.abort();
    }
}

impl Shared {
    /// Counts one more who holds a run; `None`: an earlier run of that id – an attempt before this one – is just
    /// being put away.
    fn hold(self: &Arc<Self>, entry: &Arc<Entry>) -> Result<Option<Kept>, Error> {
        let mut state = self.state.lock();
        if state.closing.contains(&entry.id) {
            return Ok(None);
        }
        state.over.remove(&entry.id);
        if let Some(held) = state.held.get_mut(&entry.id) {
            held.by += 1;
        } else if state.runs() < self.options.runs {
            let held = Held { entry: entry.clone(), by: 1, given_up: Vec::new() };
            state.held.insert(entry.id, held);
        } else {
            let message = format!("{} runs of flows are in progress", self.options.runs);
            return Err(Error::new(ErrorKind::Unavailable, "XB2020", message)
                .with_hint("try again when some of them are through"));
        }
        Ok(Some(Kept { id: entry.id, journal: self.clone() }))
    }

    fn let_go(&self, id: &InvocationId) {
        let mut state = self.state.lock();
        let Some(held) = state.held.get_mut(id) else { return };
        held.by -= 1;
        if held.by > 0 {
            return;
        }
        if let Some(held) = state.held.remove(id) {
            let (since, pause) = (Instant::now(), self.options.every);
            let Held { entry, given_up, .. } = held;
            state.over.insert(*id, Over { entry, given_up, since, due: since, pause });
            drop(state);
            self.over.notify_one();
        }
    }
}

/// A run that is in the journal. Dropping it says that the run is over, however it ended: its record is there,
/// or is being written.
pub struct Kept {
    id: InvocationId,
    journal: Arc<Shared>,
}

impl Kept {
    /// The run ends here without an answer that names its steps.
    pub(crate) fn given_up(&self, steps: Vec<InvocationId>) {
        if let Some(held) = self.journal.state.lock().held.get_mut(&self.id) {
            held.given_up = steps;
        }
    }
}

impl std::fmt::Debug for Kept {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Kept({})", self.id)
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.journal.let_go(&self.id);
    }
}

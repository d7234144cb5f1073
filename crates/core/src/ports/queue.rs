//! Where messages wait.

use crate::{
    digest::Digest,
    error::Error,
    invocation::InvocationId,
    message::{Lane, Message, Receipt, Target},
    names::{FunctionKey, Tenant},
    rules::retry::{Death, History},
};
use async_trait::async_trait;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Where messages wait. What answered is on disk, and survives `kill -9` and power loss.
///
/// A message is *waiting* until it is claimed, *running* while its claim's lease lasts, and then settled:
/// gone, waiting again, or *dead*, where it stays until someone redrives or discards it. A lease that runs
/// out makes it wait again, due as it was, with one more interruption in its history; so does, for those that
/// were running, the end of the one process that owned the queue.
///
/// Lanes take turns by [`crate::rules::fairness`]. Within a lane the highest priority goes first, then what was
/// due first, then what was accepted first: in the order in which [`Queue::enqueue`] took them. Of messages with
/// the same key, one runs at a time, in the order in which they were accepted: one that is not yet due holds up
/// those behind it, a dead one does not, and a batch has at most one of each key.
///
/// Errors: `XB4002` storage full, `XB4003` storage failed, `XB4005` busy: try again, `XB4020` a bound on
/// messages is reached, `XB4021` no such message, `XB4022` not possible in its state, `XB4023` the queue's
/// server is away, `XB4024` a message larger than the queue takes, `XB4014` not a cursor, `XB4025` not a state.
#[async_trait]
pub trait Queue: Send + Sync {
    /// Accepts messages, all or none, and answers in their order once they are on disk. A message whose id is
    /// there already, or whose idempotency key was used within its window, is not accepted a second time: its
    /// receipt names the first. The window is the first one's, and goes on when that one is over.
    async fn enqueue(&self, messages: Vec<Message>) -> Result<Vec<Receipt>, Error>;

    /// Claims what may begin now, lane by lane as their turns come; waits up to `ask.wait` for the first.
    /// Empty when that is over. That they are claimed is on disk.
    async fn claim(&self, ask: Ask) -> Result<Vec<Claim>, Error>;

    /// Makes a claim's lease last for `lease` from now, and says what became of its messages meanwhile.
    async fn extend(&self, claim: ClaimId, lease: Duration) -> Result<Held, Error>;

    /// Ends one message's part of a claim, and accepts `then` with it, all or nothing. A claim ends with its
    /// last message. [`Settled::Late`] where the claim does not have the message any more, since the lease had
    /// run out and another claim may have it: nothing was done then, `then` was not accepted. A bound on
    /// messages does not hold up `then`: what was accepted must not be stuck for its results.
    async fn settle(&self, claim: ClaimId, settlement: Settlement) -> Result<Settled, Error>;

    /// How a lane is served; not kept over a restart. Unconfigured, lanes have [`LaneRules::default`], those of
    /// [`Target::Consumer`] are closed.
    fn configure(&self, lane: &Lane, rules: LaneRules);

    /// How many claims a tenant may have at a time; not kept over a restart.
    fn limit(&self, tenant: &Tenant, claims: Option<u32>);

    /// One message, while it waits, runs or is dead.
    async fn get(&self, id: &InvocationId) -> Result<Option<Entry>, Error>;

    /// Messages, oldest accepted first.
    ///
    /// # Errors
    /// `XB4014`, `XB4025`.
    async fn list(&self, query: &EntryQuery) -> Result<EntryPage, Error>;

    /// Takes a waiting or dead message away and returns it. A running one is marked: whoever holds its claim
    /// learns of it from [`Queue::extend`]; then the answer's state is running. The mark is on disk, and a marked
    /// message never waits again: where it would, it goes.
    ///
    /// # Errors
    /// `XB4021`.
    async fn cancel(&self, id: &InvocationId) -> Result<Entry, Error>;

    /// Makes dead letters wait again, oldest first, at most `rate` a second. Returns how many. They keep their
    /// place in the order of acceptance, and are otherwise as if they were new: due from now on, with a clean
    /// history and without expiry, so that what they died of does not end them again at once.
    async fn redrive(&self, which: &Selection, rate: Option<u32>) -> Result<u64, Error>;

    /// Takes dead letters away, at most 1000, and returns them; call again until none come.
    async fn discard(&self, which: &Selection) -> Result<Vec<Message>, Error>;

    /// Stops claims of what `place` covers until it is resumed; kept over restarts.
    async fn pause(&self, place: &Place) -> Result<(), Error>;

    /// Ends a pause of exactly this place.
    async fn resume(&self, place: &Place) -> Result<(), Error>;

    /// What is paused.
    async fn paused(&self) -> Result<Vec<Place>, Error>;

    /// What waits, runs and is dead, lane by lane, sorted; lanes with nothing in them are left out.
    async fn stats(&self, tenant: Option<&Tenant>) -> Result<Vec<LaneStats>, Error>;

    /// The blobs that messages name.
    async fn blobs(&self) -> Result<Vec<Digest>, Error>;

    /// Whether it can accept messages right now.
    ///
    /// # Errors
    /// `XB4023` and kin, saying what is wrong.
    async fn health(&self) -> Result<(), Error>;

    /// Writes a consistent copy into a directory, as the implementation opens it, while the queue is in use;
    /// `false` where its server keeps copies of its own.
    async fn backup(&self, directory: &std::path::Path) -> Result<bool, Error>;
}

/// What is asked for in a claim.
#[derive(Clone, Copy, Debug)]
pub struct Ask {
    /// Claims at most.
    pub most: usize,
    /// For how long, unless extended.
    pub lease: Duration,
    /// How long to wait for the first.
    pub wait: Duration,
}

/// Names a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ClaimId(pub u64);

/// The right to run messages of one lane until its lease runs out. It counts once towards limits, however many
/// messages it has.
#[derive(Clone, Debug, PartialEq)]
pub struct Claim {
    /// Its name.
    pub id: ClaimId,
    /// Their lane.
    pub lane: Lane,
    /// The messages: one, or up to the size of the lane's batches.
    pub messages: Vec<Claimed>,
}

/// A claimed message.
#[derive(Clone, Debug, PartialEq)]
pub struct Claimed {
    /// The message.
    pub message: Message,
    /// What it has been through.
    pub history: History,
}

/// What became of a claim's messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Held {
    /// The lease goes on; these messages were cancelled.
    Yes(Vec<InvocationId>),
    /// The lease had run out.
    No,
}

/// How one message's part of a claim ends.
#[derive(Clone, Debug, PartialEq)]
pub struct Settlement {
    /// Which message.
    pub id: InvocationId,
    /// What becomes of it.
    pub verdict: Verdict,
    /// What shall be accepted with it: results on their way.
    pub then: Vec<Message>,
}

/// What becomes of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is over, and goes.
    Over,
    /// It waits again.
    Again {
        /// Until then.
        due: Timestamp,
        /// What it has been through by now.
        history: History,
        /// Why it failed, at most 1000 bytes.
        why: String,
    },
    /// It is a dead letter.
    Dead {
        /// Why it does not run again.
        death: Death,
        /// What it has been through by now.
        history: History,
        /// Why it failed, at most 1000 bytes.
        why: String,
    },
}

/// Whether a settlement was in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settled {
    /// It was.
    Yes,
    /// The lease had run out.
    Late,
}

/// How a lane is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LaneRules {
    /// Claims at a time; 0 closes the lane.
    pub concurrency: u32,
    /// Whether claims take several messages.
    pub batch: Option<BatchRules>,
}

impl Default for LaneRules {
    fn default() -> Self {
        Self { concurrency: 16, batch: None }
    }
}

/// When a batch is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchRules {
    /// Messages at most.
    pub size: u32,
    /// How long the first may wait for more.
    pub wait: Duration,
}

/// A message that is in the queue.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// The message.
    pub message: Message,
    /// What it has been through.
    pub history: History,
    /// Where it stands.
    #[serde(flatten)]
    pub state: EntryState,
    /// Why its last attempt failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

/// Where a message stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case", tag = "state")]
pub enum EntryState {
    /// It begins when it is due and its turn has come.
    Waiting {
        /// Not before.
        due: Timestamp,
    },
    /// Someone runs it.
    Running {
        /// When its lease runs out.
        until: Timestamp,
        /// Someone asked to cancel it.
        cancelled: bool,
    },
    /// It is a dead letter.
    Dead {
        /// Since when.
        since: Timestamp,
        /// Why.
        death: Death,
    },
}

impl EntryState {
    /// Its name: `waiting`, `running`, `dead`.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Waiting { .. } => "waiting",
            Self::Running { .. } => "running",
            Self::Dead { .. } => "dead",
        }
    }
}

/// Which messages to return.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct EntryQuery {
    /// Of these.
    #[serde(flatten)]
    pub which: Selection,
    /// In this state, by [`EntryState::name`].
    pub state: Option<String>,
    /// At most so many; implementations cap it at 1000.
    pub limit: Option<u32>,
    /// Where the previous page ended.
    pub cursor: Option<String>,
}

/// A page of messages.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct EntryPage {
    /// Oldest accepted first.
    pub entries: Vec<Entry>,
    /// For the next page; `None`: this was the last.
    pub cursor: Option<String>,
}

/// Which messages are meant: those that meet every condition.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Selection {
    /// Of this tenant.
    pub tenant: Option<Tenant>,
    /// In the queue of this name.
    pub queue: Option<String>,
    /// For this function.
    pub function: Option<FunctionKey>,
    /// These, and no others.
    pub ids: Option<Vec<InvocationId>>,
}

impl Selection {
    /// Whether a message is meant.
    pub fn covers(&self, id: &InvocationId, lane: &Lane) -> bool {
        self.tenant.as_ref().is_none_or(|tenant| *tenant == lane.tenant)
            && self.queue.as_ref().is_none_or(|queue| *queue == *lane.queue)
            && self.function.as_ref().is_none_or(|wanted| match &lane.target {
                Target::Function(function) => function == wanted,
                _ => false,
            })
            && self.ids.as_ref().is_none_or(|ids| ids.contains(id))
    }
}

/// What can be paused: a queue of a tenant, or one function's messages in all queues.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Place {
    /// A queue.
    Queue {
        /// Whose.
        tenant: Tenant,
        /// Its name.
        name: String,
    },
    /// A function.
    Function(FunctionKey),
}

impl Place {
    /// Whether it covers a lane.
    pub fn covers(&self, lane: &Lane) -> bool {
        match self {
            Self::Queue { tenant, name } => *tenant == lane.tenant && *name == *lane.queue,
            Self::Function(key) => matches!(&lane.target, Target::Function(target) if target == key),
        }
    }
}

/// What is in a lane.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct LaneStats {
    /// Which.
    #[serde(flatten)]
    pub lane: Lane,
    /// Messages that wait, those not yet due included.
    pub waiting: u64,
    /// Of those, not yet due.
    pub delayed: u64,
    /// Messages that run.
    pub running: u64,
    /// Dead letters.
    pub dead: u64,
    /// When the oldest that waits, and is due, was due.
    pub oldest_due: Option<Timestamp>,
    /// It is paused.
    pub paused: bool,
}

//! Claiming messages.

use crate::{
    inbox::{Inbox, Order},
    memory::{LaneId, Running, Slot},
    sql,
    task::{Job, Pending},
    work::Work,
};
use bytes::Bytes;
use compact_str::CompactString;
use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::sync::oneshot;
use uuid::Uuid;
use xebec_core::{Error, InvocationId, message::Lane, ports::queue::ClaimId, rules::retry::History};
use xebec_sqlite::{Fault, rusqlite::Row};

/// Someone who waits for messages.
pub(crate) struct Claimer {
    pub(crate) most: usize,
    pub(crate) lease: Duration,
    /// Until when, by the queue's clock and by that of the machine: whichever is first.
    pub(crate) until: Duration,
    pub(crate) until_really: Instant,
    pub(crate) answer: oneshot::Sender<Result<Handover, Error>>,
}

/// A claim as it comes from the file.
pub(crate) struct RawClaim {
    pub(crate) id: ClaimId,
    pub(crate) lane: Arc<Lane>,
    pub(crate) messages: Vec<RawMessage>,
}

pub(crate) struct RawMessage {
    pub(crate) id: InvocationId,
    pub(crate) head: Vec<u8>,
    pub(crate) body: Bytes,
    pub(crate) history: History,
}

/// Claims on their way. Where nobody takes them, they are given back.
pub(crate) struct Handover {
    claims: Vec<RawClaim>,
    inbox: Arc<Inbox>,
}

impl Handover {
    pub(crate) fn new(claims: Vec<RawClaim>, inbox: &Arc<Inbox>) -> Self {
        Self { claims, inbox: Arc::clone(inbox) }
    }

    pub(crate) fn accept(mut self) -> Vec<RawClaim> {
        std::mem::take(&mut self.claims)
    }
}

impl Drop for Handover {
    fn drop(&mut self) {
        let claims: Vec<_> = self.claims.iter().map(|claim| claim.id).collect();
        if !claims.is_empty() {
            self.inbox.insist(Order::Task(Pending::unanswered(GiveBack(claims))));
        }
    }
}

/// Makes what was claimed for someone who is gone wait again: it never began.
struct GiveBack(Vec<ClaimId>);

impl Job for GiveBack {
    type Output = ();

    fn run(&mut self, work: &mut Work<'_>) -> Result<(), Fault> {
        self.0.iter().try_for_each(|claim| end_claim(work, *claim, false))
    }
}

/// Ends a claim; what of it was not settled waits again.
pub(crate) fn end_claim(work: &mut Work<'_>, claim: ClaimId, interrupted: bool) -> Result<(), Fault> {
    let Some((lane, messages)) = work.memory.messages_of_claim(claim) else { return Ok(()) };
    for message in messages {
        work.stop(lane, &message, interrupted)?;
        work.memory.let_go(claim, &message.id);
    }
    Ok(())
}

/// Claims what may begin now, lane by lane as their turns come.
pub(crate) fn take(work: &mut Work<'_>, most: usize, lease: Duration) -> Result<Vec<RawClaim>, Fault> {
    // All turns first: what they take of a lane is then read at once.
    let mut turns = Vec::new();
    let mut wanted: HashMap<LaneId, u64> = HashMap::new();
    while turns.len() < most
        && let Some((lane, count)) = work.memory.take_turn()
    {
        turns.push((lane, count));
        *wanted.entry(lane).or_default() += count;
    }
    let mut found: HashMap<LaneId, VecDeque<(Running, RawMessage)>> = HashMap::with_capacity(wanted.len());
    for (lane, count) in wanted {
        found.insert(lane, begin(work, lane, count)?);
    }
    let mut claims = Vec::with_capacity(turns.len());
    for (lane, count) in turns {
        let of_lane = found.entry(lane).or_default();
        let count = usize::try_from(count).unwrap_or(usize::MAX).min(of_lane.len());
        let (running, messages): (Vec<_>, Vec<_>) = of_lane.drain(..count).unzip();
        if running.is_empty() {
            work.memory.pass(lane);
            continue;
        }
        if let Some((id, lane)) = work.memory.claim(lane, lease, running) {
            claims.push(RawClaim { id, lane, messages });
        }
    }
    Ok(claims)
}

/// The first so many of a lane begin.
fn begin(work: &mut Work<'_>, lane: LaneId, count: u64) -> Result<VecDeque<(Running, RawMessage)>, Fault> {
    let file = work.file()?;
    let limit = i64::try_from(count).unwrap_or(i64::MAX);
    let mut first = file.prepare_cached(sql::IN_TURN)?;
    let found = first.query_map([lane, limit], message_of)?.collect::<Result<VecDeque<_>, _>>()?;
    let mut begin = file.prepare_cached(sql::BEGIN)?;
    for (running, _) in &found {
        begin.execute([lane, running.seq])?;
    }
    let missing = count - found.len() as u64;
    if missing > 0 {
        // Counts and rows change together; were it otherwise, the rows are right.
        tracing::error!(lane, missing, "the queue counted messages that are not there");
        work.memory.shift(lane, Some(Slot::Running), None, missing);
        work.memory.load(lane, -i64::try_from(missing).unwrap_or(0), 0);
    }
    Ok(found)
}

fn message_of(row: &Row<'_>) -> xebec_sqlite::rusqlite::Result<(Running, RawMessage)> {
    let id = InvocationId(Uuid::from_bytes(row.get(1)?));
    let key: Option<String> = row.get(6)?;
    let running = Running {
        id,
        seq: row.get(0)?,
        bytes: row.get(2)?,
        key: key.map(CompactString::from),
        cancelled: false,
    };
    let history = History { failures: row.get(3)?, refusals: row.get(4)?, interruptions: row.get(5)? };
    let body = Bytes::from(row.get::<_, Vec<u8>>(8)?);
    Ok((running, RawMessage { id, head: row.get(7)?, body, history }))
}

//! What a queue is, without a disk: every rule of [`crate::ports::queue::Queue`] as a state machine in memory.
//!
//! Implementations of the port are compared with it, and simulations are driven over it. It is written to be
//! seen to be right; still nothing that happens for every message takes time in proportion to their number.
//!
//! Each message stands in at most one index: those that may begin, in the order in which they do; those not yet
//! due, by when they are; those that run, under their claim; dead letters. Whatever happens to a message takes
//! it out of its index, changes it, and puts it into the one where it then belongs.

mod claims;
mod letters;
mod line;
#[cfg(test)]
mod tests;

use crate::{
    error::{Error, ErrorKind},
    invocation::InvocationId,
    message::{Idempotency, Lane, Message, Receipt, Target},
    names::Tenant,
    ports::queue::{ClaimId, Entry, EntryState, LaneRules, Place},
    rules::{
        fairness::Fairness,
        retry::{Death, History},
    },
};
use compact_str::CompactString;
use jiff::Timestamp;
use line::Line;
use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    time::Duration,
};

/// When something happens, by both clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// For people, and for what shall happen at a certain time. It may jump in both directions.
    pub now: Timestamp,
    /// Since some fixed moment; it never jumps. Leases and waits are measured by it.
    pub steady: Duration,
}

/// How much a ledger takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Messages in all.
    pub messages: usize,
    /// Bytes of one message, those that travel with it.
    pub message_bytes: usize,
}

impl Default for Bounds {
    /// A million messages of up to a megabyte.
    fn default() -> Self {
        Self { messages: 1_000_000, message_bytes: 1 << 20 }
    }
}

/// A queue in memory.
#[derive(Debug, Default)]
pub struct Ledger {
    bounds: Bounds,
    /// In the order in which they were accepted.
    letters: BTreeMap<u64, Letter>,
    accepted: u64,
    ids: HashMap<InvocationId, u64>,
    lines: BTreeMap<Lane, Line>,
    /// What becomes due, of all lanes.
    delayed: BTreeSet<(Timestamp, u64)>,
    dead: BTreeSet<u64>,
    claims: HashMap<ClaimId, Hold>,
    claimed: u64,
    leases: BTreeSet<(Duration, ClaimId)>,
    fairness: Fairness,
    rules: HashMap<Lane, LaneRules>,
    /// Lanes that have batches.
    batching: BTreeSet<Lane>,
    paused: BTreeSet<Place>,
    keys: HashMap<(Lane, CompactString), InvocationId>,
    windows: BTreeSet<(Timestamp, Lane, CompactString)>,
}

#[derive(Debug)]
struct Letter {
    message: Message,
    history: History,
    due: Timestamp,
    state: State,
    why: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum State {
    Waiting(Stand),
    Running { claim: ClaimId, until: Timestamp, cancelled: bool },
    Dead { since: Timestamp, death: Death },
}

/// Where one that waits stands.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Stand {
    /// Behind another of its key.
    Behind,
    /// Not yet due.
    Delayed,
    /// It may begin, since then.
    Ready(Duration),
}

/// A claim.
#[derive(Debug)]
struct Hold {
    lane: Lane,
    until: Duration,
    /// What is not yet settled.
    letters: BTreeSet<u64>,
}

impl Letter {
    fn entry(&self) -> Entry {
        let state = match self.state {
            State::Waiting(_) => EntryState::Waiting { due: self.due },
            State::Running { until, cancelled, .. } => EntryState::Running { until, cancelled },
            State::Dead { since, death } => EntryState::Dead { since, death },
        };
        Entry { message: self.message.clone(), history: self.history, state, why: self.why.clone() }
    }
}

/// `time` after `wait`, or the end of time.
fn later(time: Timestamp, wait: Duration) -> Timestamp {
    time.checked_add(wait).unwrap_or(Timestamp::MAX)
}

impl Ledger {
    /// One with nothing in it.
    pub fn new(bounds: Bounds) -> Self {
        Self { bounds, ..Self::default() }
    }

    /// Accepts messages, all or none.
    ///
    /// # Errors
    /// `XB4020`, `XB4024`.
    pub fn enqueue(&mut self, messages: Vec<Message>, at: Moment) -> Result<Vec<Receipt>, Error> {
        self.advance(at);
        self.check_sizes(&messages)?;
        let firsts = self.firsts(&messages, at);
        let fresh = firsts.iter().filter(|first| first.is_none()).count();
        if self.letters.len() + fresh > self.bounds.messages {
            let most = self.bounds.messages;
            return Err(Error::new(
                ErrorKind::Unavailable,
                "XB4020",
                format!("the queue holds {most} messages"),
            )
            .with_hint("wait until some have been worked off, or discard dead letters"));
        }
        Ok(self.admit(messages, firsts, at))
    }

    fn check_sizes(&self, messages: &[Message]) -> Result<(), Error> {
        let most = self.bounds.message_bytes;
        match messages.iter().find(|message| message.inline().len() > most) {
            None => Ok(()),
            Some(large) => Err(Error::new(
                ErrorKind::TooLarge,
                "XB4024",
                format!("a message of {} bytes is larger than the queue takes: {most}", large.inline().len()),
            )),
        }
    }

    /// For each message the one that it repeats, if it does; earlier ones of the batch count.
    fn firsts(&self, messages: &[Message], at: Moment) -> Vec<Option<InvocationId>> {
        let mut ids = HashSet::new();
        let mut keys = HashMap::new();
        let mut first_of = |message: &Message| {
            if self.ids.contains_key(&message.id) || ids.contains(&message.id) {
                return Some(message.id);
            }
            if let Some(idempotency) = &message.idempotency {
                let key = (message.lane.clone(), idempotency.key.clone());
                if let Some(first) = self.keys.get(&key).or_else(|| keys.get(&key)) {
                    return Some(*first);
                }
                if window_end(message, idempotency) > at.now {
                    keys.insert(key, message.id);
                }
            }
            ids.insert(message.id);
            None
        };
        messages.iter().map(&mut first_of).collect()
    }

    fn admit(
        &mut self,
        messages: Vec<Message>,
        firsts: Vec<Option<InvocationId>>,
        at: Moment,
    ) -> Vec<Receipt> {
        let admit_one = |(message, first): (Message, Option<InvocationId>)| match first {
            Some(id) => Receipt { id, duplicate: true },
            None => {
                let id = message.id;
                self.admit_one(message, at);
                Receipt { id, duplicate: false }
            }
        };
        messages.into_iter().zip(firsts).map(admit_one).collect()
    }

    fn admit_one(&mut self, message: Message, at: Moment) {
        if let Some(idempotency) = &message.idempotency {
            let until = window_end(&message, idempotency);
            if until > at.now {
                self.keys.insert((message.lane.clone(), idempotency.key.clone()), message.id);
                self.windows.insert((until, message.lane.clone(), idempotency.key.clone()));
            }
        }
        self.accepted += 1;
        let number = self.accepted;
        self.ids.insert(message.id, number);
        self.open_line(&message.lane);
        let due = message.due;
        let state = State::Waiting(Stand::Behind);
        self.letters.insert(number, Letter { message, history: History::default(), due, state, why: None });
        self.enter(number, at);
    }

    /// Does what time does: leases and idempotency windows end, messages become due, batches have waited
    /// long enough. Everything else does this first; it may be called at any time.
    pub fn advance(&mut self, at: Moment) {
        while let Some((until, claim)) = self.leases.first().copied().filter(|(until, _)| *until <= at.steady)
        {
            self.leases.remove(&(until, claim));
            self.interrupt(claim, at);
        }
        while self.delayed.first().is_some_and(|(due, _)| *due <= at.now) {
            if let Some((_, number)) = self.delayed.pop_first() {
                self.become_due(number, at);
            }
        }
        while self.windows.first().is_some_and(|(until, ..)| *until <= at.now) {
            if let Some((_, lane, key)) = self.windows.pop_first() {
                self.keys.remove(&(lane, key));
            }
        }
        for lane in self.batching.clone() {
            self.refresh(&lane, at);
        }
    }

    /// How long until time alone may change what can be claimed, as the clocks stand.
    pub fn next_change(&self, at: Moment) -> Option<Duration> {
        let due = self
            .delayed
            .first()
            .map(|(due, _)| Duration::try_from(due.duration_since(at.now)).unwrap_or(Duration::ZERO));
        let lease = self.leases.first().map(|(until, _)| until.saturating_sub(at.steady));
        let batch = self.batching.iter().filter_map(|lane| {
            let wait = self.rules.get(lane)?.batch?.wait;
            let since = self.lines.get(lane)?.waits_since()?;
            Some(since.saturating_add(wait).saturating_sub(at.steady)).filter(|rest| !rest.is_zero())
        });
        due.into_iter().chain(lease).chain(batch).min()
    }

    /// The process that owned the queue ended: what ran was interrupted, how lanes and tenants are served is
    /// forgotten.
    pub fn restart(&mut self, at: Moment) {
        self.leases.clear();
        let mut claims: Vec<_> = self.claims.keys().copied().collect();
        claims.sort_unstable();
        for claim in claims {
            self.interrupt(claim, at);
        }
        self.fairness = Fairness::default();
        self.rules.clear();
        self.batching.clear();
        for lane in self.lines.keys().cloned().collect::<Vec<_>>() {
            self.fairness.limit_lane(&lane, Some(self.rules_of(&lane).concurrency));
            self.refresh(&lane, at);
        }
    }

    /// How a lane is served.
    pub fn configure(&mut self, lane: &Lane, rules: LaneRules, at: Moment) {
        if rules == usual_rules(lane) {
            self.rules.remove(lane);
        } else {
            self.rules.insert(lane.clone(), rules);
        }
        if rules.batch.is_some() {
            self.batching.insert(lane.clone());
        } else {
            self.batching.remove(lane);
        }
        if self.lines.contains_key(lane) {
            self.fairness.limit_lane(lane, Some(rules.concurrency));
            self.refresh(lane, at);
        }
    }

    fn rules_of(&self, lane: &Lane) -> LaneRules {
        self.rules.get(lane).copied().unwrap_or_else(|| usual_rules(lane))
    }

    /// How many claims a tenant may have at a time.
    pub fn limit(&mut self, tenant: &Tenant, claims: Option<u32>) {
        self.fairness.limit_tenant(tenant, claims);
    }

    /// Stops claims of what `place` covers.
    pub fn pause(&mut self, place: &Place, at: Moment) {
        self.paused.insert(place.clone());
        self.refresh_covered(place, at);
    }

    /// Ends a pause of exactly this place.
    pub fn resume(&mut self, place: &Place, at: Moment) {
        self.paused.remove(place);
        self.refresh_covered(place, at);
    }

    fn refresh_covered(&mut self, place: &Place, at: Moment) {
        let covered: Vec<_> = self.lines.keys().filter(|lane| place.covers(lane)).cloned().collect();
        for lane in covered {
            self.refresh(&lane, at);
        }
    }

    /// What is paused, sorted.
    pub fn paused(&self) -> Vec<Place> {
        self.paused.iter().cloned().collect()
    }
}

/// Until when a message's idempotency key is remembered.
fn window_end(message: &Message, idempotency: &Idempotency) -> Timestamp {
    later(message.accepted, Duration::from_millis(idempotency.window_ms))
}

/// How a lane is served that nobody configured.
fn usual_rules(lane: &Lane) -> LaneRules {
    match lane.target {
        Target::Consumer => LaneRules { concurrency: 0, ..LaneRules::default() },
        _ => LaneRules::default(),
    }
}

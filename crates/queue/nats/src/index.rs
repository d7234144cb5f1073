//! What one worker knows of the queue: every message's standing, and whose turn it is.
//!
//! It follows the stream, and may be a little behind it. That is never wrong, only late: whatever is decided
//! from it is written on the condition that the message's record is still the one that was seen.

mod lines;
mod reading;
#[cfg(test)]
mod tests;
mod turns;

use crate::{
    lanes::{Crew, LaneState, Turn, default_rules},
    wire::{Key, Line, Phase, Record, Standing, WorkerId, line, unpack},
};
use bytes::Bytes;
use jiff::Timestamp;
use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    sync::Arc,
    time::Duration,
};
use xebec_core::{
    Digest, InvocationId, Tenant,
    message::{Lane, Payload},
    ports::queue::{ClaimId, LaneRules, Place},
    rules::fairness::Fairness,
};

/// The present, by both clocks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Now {
    pub(crate) time: Timestamp,
    pub(crate) steady: Duration,
}

/// A message, as far as it is known.
#[derive(Debug)]
pub(crate) struct Known {
    pub(crate) sequence: u64,
    pub(crate) standing: Standing,
    pub(crate) lane: Arc<Lane>,
    pub(crate) accepted: Timestamp,
    pub(crate) blob: Option<Digest>,
    /// Its payload, while there is room.
    pub(crate) payload: Option<Bytes>,
    priority: u8,
    pub(crate) line: Option<Line>,
    /// Someone here is about to change it.
    pub(crate) busy: bool,
    filed: Filed,
    deadline: Option<Duration>,
}

impl Known {
    /// Its place among those with its key, and among those that were due at the same time.
    pub(crate) fn order(&self) -> u64 {
        self.standing.order.unwrap_or(self.sequence)
    }

    /// What it stands like from now on, its place kept.
    pub(crate) fn becomes(&self, phase: Phase) -> Standing {
        Standing { order: Some(self.order()), ..self.standing.to(phase) }
    }
}

#[derive(Debug, PartialEq)]
enum Filed {
    Nowhere,
    Ready(Turn),
    Later(Timestamp),
}

/// Messages with the same key.
#[derive(Debug, Default)]
struct LineState {
    /// Those that wait or run, first accepted first.
    places: BTreeSet<(u64, InvocationId)>,
    /// The sequence of the lock.
    lock: u64,
    holder: Option<InvocationId>,
}

/// A claim of this worker.
#[derive(Debug)]
pub(crate) struct Holding {
    pub(crate) lane: Arc<Lane>,
    pub(crate) members: HashSet<InvocationId>,
    /// By the steady clock.
    pub(crate) deadline: Duration,
}

/// What a claim shall have.
#[derive(Debug)]
pub(crate) struct Pick {
    pub(crate) claim: ClaimId,
    pub(crate) lane: Arc<Lane>,
    pub(crate) members: Vec<InvocationId>,
}

/// What one worker knows of the queue.
#[derive(Debug)]
pub(crate) struct Index {
    worker: WorkerId,
    crew: Crew,
    pub(crate) entries: HashMap<InvocationId, Known>,
    pub(crate) lanes: HashMap<Arc<Lane>, LaneState>,
    rules: HashMap<Lane, LaneRules>,
    limits: HashMap<Tenant, u32>,
    fairness: Fairness,
    foreign: HashMap<Tenant, u32>,
    /// Waiting and not yet due.
    later: BTreeSet<(Timestamp, InvocationId)>,
    /// When leases run out.
    deadlines: BTreeSet<(Duration, InvocationId)>,
    /// Lanes that may be claimed from after a while.
    soon: HashMap<Arc<Lane>, Duration>,
    pub(crate) paused: HashMap<String, (u64, Option<Place>)>,
    pub(crate) holdings: HashMap<ClaimId, Holding>,
    /// Own claims that may have nothing left.
    perhaps_over: Vec<ClaimId>,
    claims: u64,
    /// Messages this worker is said to run, of which it knows nothing.
    orphans: BTreeSet<InvocationId>,
    /// What went before the stream told: its sequence.
    ahead: BTreeMap<u64, InvocationId>,
    ahead_of: HashMap<InvocationId, u64>,
    lines: HashMap<Line, LineState>,
    /// First of their lines, but accepted after what was read: others may come into sight before them.
    early: BTreeSet<(u64, InvocationId)>,
    /// The stream was read up to here.
    pub(crate) position: u64,
    /// And to its end, once.
    pub(crate) synced: bool,
    /// When the stream was made.
    created: Option<i128>,
    cache_bytes: usize,
    cache_left: usize,
}
impl Index {
    pub(crate) fn new(worker: WorkerId, cache_bytes: usize) -> Self {
        Self {
            crew: Crew::new(&worker),
            worker,
            entries: HashMap::new(),
            lanes: HashMap::new(),
            rules: HashMap::new(),
            limits: HashMap::new(),
            fairness: Fairness::default(),
            foreign: HashMap::new(),
            later: BTreeSet::new(),
            deadlines: BTreeSet::new(),
            soon: HashMap::new(),
            paused: HashMap::new(),
            holdings: HashMap::new(),
            perhaps_over: Vec::new(),
            // Claims of another life of this process are not named again.
            claims: uuid::Uuid::new_v4().as_u64_pair().0 >> 8,
            orphans: BTreeSet::new(),
            ahead: BTreeMap::new(),
            ahead_of: HashMap::new(),
            lines: HashMap::new(),
            early: BTreeSet::new(),
            position: 0,
            synced: false,
            created: None,
            cache_bytes,
            cache_left: cache_bytes,
        }
    }

    /// Takes in a record: from the stream, or because it was just written or read.
    pub(crate) fn apply(&mut self, record: Record, now: Now) {
        match &record.key {
            Key::Message(id) => {
                self.apply_message(*id, record, now);
                self.sweep(now);
            }
            Key::Pause(hash) => self.apply_pause(hash.clone(), &record, now),
            Key::Lock(line) => self.apply_lock(*line, &record, now),
            Key::Once(_) => {}
        }
    }

    fn apply_message(&mut self, id: InvocationId, record: Record, now: Now) {
        let known = self.entries.get(&id).map(|known| known.sequence);
        let seen = known.max(self.ahead_of.get(&id).copied());
        if seen.is_some_and(|seen| seen >= record.sequence) {
            return;
        }
        let Some(standing) = record.living().cloned() else {
            self.remove(&id, now);
            self.ahead.insert(record.sequence, id);
            self.ahead_of.insert(id, record.sequence);
            return;
        };
        if known.is_none() && !self.introduce(id, &record, &standing) {
            return;
        }
        self.uncount(&id);
        let Some(known) = self.entries.get_mut(&id) else { return };
        let before = known.standing.run().map(|run| run.holder.clone());
        let renewed = known.standing.run().map(|run| (&run.holder, run.term))
            != standing.run().map(|run| (&run.holder, run.term));
        if renewed || known.deadline.is_none() {
            known.deadline = standing.run().map(|run| now.steady + run.lease());
        }
        known.standing = standing;
        known.sequence = record.sequence;
        // A redriven message is due anew, which its payload says, too.
        if let Some(cached) = &mut known.payload
            && *cached != record.payload
        {
            self.cache_left = (self.cache_left + cached.len()).saturating_sub(record.payload.len());
            *cached = record.payload;
        }
        let still = before.as_ref().is_some_and(|holder| known.standing.held_by(holder));
        self.count(&id, now);
        if let Some(holder) = before.filter(|_| !still) {
            self.leave(&holder, &id);
        }
    }

    /// A message that was not known: `false` where it cannot be read.
    fn introduce(&mut self, id: InvocationId, record: &Record, standing: &Standing) -> bool {
        let message = match unpack(&record.payload) {
            Ok(message) => message,
            Err(error) => {
                tracing::error!(%id, %error, "a message of the queue cannot be read");
                return false;
            }
        };
        let line = line(&message);
        let lane = self.lane(&message.lane);
        let blob = match message.call.body {
            Payload::Blob { digest, .. } => Some(digest),
            Payload::Inline(_) => None,
        };
        let payload = (record.payload.len() <= self.cache_left).then(|| record.payload.clone());
        self.cache_left -= payload.as_ref().map_or(0, Bytes::len);
        self.entries.insert(
            id,
            Known {
                // Counted as waiting first, then as what it is.
                sequence: record.sequence,
                standing: standing.to(Phase::Gone),
                lane,
                accepted: message.accepted,
                blob,
                payload,
                priority: message.priority,
                line,
                busy: false,
                filed: Filed::Nowhere,
                deadline: None,
            },
        );
        true
    }

    fn lane(&mut self, lane: &Lane) -> Arc<Lane> {
        if let Some((known, _)) = self.lanes.get_key_value(lane) {
            return known.clone();
        }
        let rules = self.rules.get(lane).copied().unwrap_or_else(|| default_rules(lane));
        let paused = self.paused.values().filter_map(|(_, place)| place.as_ref()).any(|p| p.covers(lane));
        let shared = Arc::new(lane.clone());
        self.lanes.insert(shared.clone(), LaneState::new(lane, rules, paused));
        self.fairness.limit_lane(lane, Some(rules.concurrency));
        shared
    }

    /// A message that is no more.
    pub(crate) fn remove(&mut self, id: &InvocationId, now: Now) {
        self.uncount(id);
        let Some(known) = self.entries.remove(id) else { return };
        if let Some(run) = known.standing.run() {
            self.leave(&run.holder, id);
        }
        self.cache_left += known.payload.as_ref().map_or(0, Bytes::len);
        if let Some(line) = known.line {
            self.look_at_line(line, now);
        }
        self.look_at(&known.lane, now);
    }

    /// Removes a message, unless it changed since it was seen with this sequence.
    pub(crate) fn vanished(&mut self, id: &InvocationId, sequence: u64, now: Now) {
        if self.entries.get(id).is_some_and(|known| known.sequence == sequence) {
            self.remove(id, now);
        }
    }

    /// Takes a message out of all books.
    fn uncount(&mut self, id: &InvocationId) {
        self.unfile(id);
        self.orphans.remove(id);
        let Some(known) = self.entries.get_mut(id) else { return };
        if let Some(deadline) = known.deadline {
            self.deadlines.remove(&(deadline, *id));
        }
        if let Some(state) = known.line.and_then(|line| self.lines.get_mut(&line)) {
            state.places.remove(&(known.order(), *id));
        }
        let Some(lane) = self.lanes.get_mut(&known.lane) else { return };
        match &known.standing.phase {
            Phase::Waiting => {
                lane.waiting.remove(&(known.standing.due, *id));
            }
            Phase::Dead { .. } => lane.dead -= 1,
            Phase::Gone => {}
            Phase::Running(run) => {
                lane.running -= 1;
                let (holder, shared) = (run.holder.clone(), known.lane.clone());
                if let Some(members) = lane.foreign.get_mut(&holder) {
                    *members -= 1;
                    if *members == 0 {
                        lane.foreign.remove(&holder);
                        self.foreign_claims(&shared, false);
                    }
                }
            }
        }
    }

    /// Enters a message into all books.
    fn count(&mut self, id: &InvocationId, now: Now) {
        let Some(known) = self.entries.get_mut(id) else { return };
        let Some(lane) = self.lanes.get_mut(&known.lane) else { return };
        let shared = known.lane.clone();
        let line = known.line;
        if let Some(line) = line.filter(|_| !matches!(known.standing.phase, Phase::Dead { .. })) {
            self.lines.entry(line).or_default().places.insert((known.order(), *id));
        }
        match &known.standing.phase {
            Phase::Waiting => {
                lane.waiting.insert((known.standing.due, *id));
            }
            Phase::Dead { .. } => lane.dead += 1,
            Phase::Gone => {}
            Phase::Running(run) => {
                lane.running += 1;
                let own = run.holder.worker == self.worker;
                let holding = self.holdings.get(&ClaimId(run.holder.claim));
                let holding = holding.filter(|holding| own && holding.members.contains(id));
                if let Some(holding) = holding {
                    known.deadline = Some(holding.deadline);
                } else if own {
                    self.orphans.insert(*id);
                } else {
                    let members = lane.foreign.entry(run.holder.clone()).or_insert(0);
                    *members += 1;
                    if *members == 1 {
                        self.foreign_claims(&shared, true);
                    }
                }
            }
        }
        if let Some(known) = self.entries.get(id)
            && let Some(deadline) = known.deadline
        {
            self.deadlines.insert((deadline, *id));
        }
        self.file(id, now);
        if let Some(line) = line {
            // What was the first may be the second now.
            let next = self.lines.get(&line).and_then(|state| state.places.iter().nth(1)).map(|(_, id)| *id);
            if let Some(next) = next {
                self.file(&next, now);
            }
            self.look_at_line(line, now);
        }
        self.look_at(&shared, now);
    }

    pub(crate) fn configure(&mut self, lane: &Lane, rules: LaneRules, now: Now) {
        if rules == default_rules(lane) {
            self.rules.remove(lane);
        } else {
            self.rules.insert(lane.clone(), rules);
        }
        if let Some((shared, state)) = self
            .lanes
            .get_key_value(lane)
            .map(|(key, _)| key.clone())
            .and_then(|key| self.lanes.get_mut(lane).map(|state| (key, state)))
        {
            state.rules = rules;
            self.set_limits(&shared);
            self.look_at(&shared, now);
        }
    }

    pub(crate) fn limit(&mut self, tenant: &Tenant, claims: Option<u32>) {
        match claims {
            Some(claims) => self.limits.insert(tenant.clone(), claims),
            None => self.limits.remove(tenant),
        };
        let foreign = self.foreign.get(tenant).copied().unwrap_or(0);
        self.fairness.limit_tenant(tenant, claims.map(|claims| claims.saturating_sub(foreign)));
    }

    fn apply_pause(&mut self, hash: String, record: &Record, now: Now) {
        if self.paused.get(&hash).is_some_and(|(sequence, _)| *sequence >= record.sequence) {
            return;
        }
        let place = serde_json::from_slice(&record.payload).ok();
        self.paused.insert(hash, (record.sequence, place));
        self.repause(now);
    }

    fn repause(&mut self, now: Now) {
        let places: Vec<Place> = self.paused.values().filter_map(|(_, place)| place.clone()).collect();
        let mut changed = Vec::new();
        for (lane, state) in &mut self.lanes {
            let paused = places.iter().any(|place| place.covers(lane));
            if paused != state.paused {
                state.paused = paused;
                changed.push(lane.clone());
            }
        }
        for lane in changed {
            self.look_at(&lane, now);
        }
    }

    /// Other workers came or went.
    pub(crate) fn crew(&mut self, others: &BTreeSet<WorkerId>, now: Now) {
        self.crew.is(others);
        let lanes: Vec<_> = self.lanes.keys().cloned().collect();
        for lane in lanes {
            self.look_at(&lane, now);
        }
    }
}

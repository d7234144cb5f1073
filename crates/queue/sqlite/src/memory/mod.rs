//! What the writing thread knows by heart: how much is in each lane, whose turn it is, what is claimed.
//!
//! It is changed while a transaction is under way, so that what comes later in the same transaction sees it.
//! Every change is noted; where the transaction is lost, the notes are gone through backwards, so that memory
//! never says what the disk does not.

mod claims;
mod lane;
mod undo;

pub(crate) use claims::{Lease, Running};
pub(crate) use lane::{Counts, Slot};

use claims::Claims;
use lane::LaneMemory;
use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};
use undo::Undo;
use uuid::Uuid;
use xebec_core::{
    Tenant,
    message::{Lane, Target},
    ports::queue::{ClaimId, LaneRules, Place},
    rules::fairness::Fairness,
};

/// A lane's number in the file.
pub(crate) type LaneId = i64;

#[derive(Default)]
pub(crate) struct Memory {
    lanes: HashMap<LaneId, LaneMemory>,
    ids: HashMap<Arc<Lane>, LaneId>,
    /// Lanes that were seen empty: they are looked at again when there is time, and forgotten.
    emptied: Vec<LaneId>,
    messages: u64,
    bytes: u64,
    of_tenants: HashMap<Tenant, u64>,
    dead: u64,
    fairness: Fairness,
    rules: HashMap<Lane, LaneRules>,
    paused: BTreeSet<Place>,
    claims: Claims,
    next_claim: u64,
    next_seq: i64,
    /// When the first of each lane's delayed messages is due.
    dues: BTreeSet<(i64, LaneId)>,
    /// When a lane's batch has waited long enough.
    batches: BTreeSet<(Duration, LaneId)>,
    undo: Vec<Undo>,
    steady: Duration,
}

impl Memory {
    pub(crate) fn new(last_seq: i64, paused: BTreeSet<Place>) -> Self {
        // Claims of an earlier process must not be taken for ours.
        let (high, _) = Uuid::new_v4().as_u64_pair();
        Self { next_seq: last_seq, next_claim: high >> 1, paused, ..Self::default() }
    }

    /// What time it is now; it goes by the steady clock.
    pub(crate) fn set_time(&mut self, steady: Duration) {
        self.steady = steady;
        while let Some((at, lane)) = self.batches.first().copied().filter(|(at, _)| *at <= steady) {
            self.batches.remove(&(at, lane));
            if let Some(state) = self.lanes.get_mut(&lane) {
                state.batch_at = None;
            }
            self.refresh(lane);
        }
    }

    /// The number of the next message.
    pub(crate) fn next_seq(&mut self) -> i64 {
        self.next_seq += 1;
        self.next_seq
    }

    pub(crate) fn lane_id(&self, lane: &Lane) -> Option<LaneId> {
        self.ids.get(lane).copied()
    }

    pub(crate) fn lane_name(&self, lane: LaneId) -> Option<Arc<Lane>> {
        self.lanes.get(&lane).map(|state| Arc::clone(&state.name))
    }

    /// Gets to know a lane.
    pub(crate) fn know(&mut self, id: LaneId, lane: Lane) {
        let paused = self.paused.iter().any(|place| place.covers(&lane));
        self.fairness.limit_lane(&lane, Some(self.rules_of(&lane).concurrency));
        let name = Arc::new(lane);
        self.ids.insert(Arc::clone(&name), id);
        self.lanes.insert(id, LaneMemory::new(name, paused));
        self.undo.push(Undo::Know(id));
    }

    fn forget(&mut self, id: LaneId) {
        let Some(state) = self.lanes.remove(&id) else { return };
        self.ids.remove(&state.name);
        if let Some(due) = state.next_due {
            self.dues.remove(&(due, id));
        }
        if let Some(at) = state.batch_at {
            self.batches.remove(&(at, id));
        }
        self.fairness.idle(&state.name);
        self.fairness.limit_lane(&state.name, None);
    }

    /// Lists the lanes that have nothing in them, to be forgotten when there is time.
    pub(crate) fn list_empty(&mut self) {
        for (id, state) in &mut self.lanes {
            if state.counts.is_empty() && !std::mem::replace(&mut state.listed, true) {
                self.emptied.push(*id);
            }
        }
    }

    /// Forgets some lanes that have nothing in them, and returns which; not while a transaction is under way.
    pub(crate) fn forget_empty(&mut self, most: usize) -> Vec<LaneId> {
        let mut forgotten = Vec::new();
        while forgotten.len() < most
            && let Some(id) = self.emptied.pop()
        {
            let Some(state) = self.lanes.get_mut(&id) else { continue };
            state.listed = false;
            if state.counts.is_empty() {
                self.forget(id);
                forgotten.push(id);
            }
        }
        forgotten
    }

    /// Moves so many messages of a lane from one slot to another; `None` is outside.
    pub(crate) fn shift(&mut self, lane: LaneId, from: Option<Slot>, to: Option<Slot>, count: u64) {
        if count > 0 && from != to {
            self.undo.push(Undo::Shift(lane, from, to, count));
            self.shift_now(lane, from, to, count);
        }
    }

    fn shift_now(&mut self, lane: LaneId, from: Option<Slot>, to: Option<Slot>, count: u64) {
        let Some(state) = self.lanes.get_mut(&lane) else { return };
        state.shift(from, to, count, self.steady);
        if from == Some(Slot::Dead) {
            self.dead = self.dead.saturating_sub(count);
        }
        if to == Some(Slot::Dead) {
            self.dead += count;
        }
        if state.counts.is_empty() && !std::mem::replace(&mut state.listed, true) {
            self.emptied.push(lane);
        }
        if from == Some(Slot::Ready) || to == Some(Slot::Ready) {
            self.refresh(lane);
        }
    }

    /// Counts messages and bytes in or out.
    pub(crate) fn load(&mut self, lane: LaneId, messages: i64, bytes: i64) {
        self.undo.push(Undo::Load(lane, messages, bytes));
        self.load_now(lane, messages, bytes);
    }

    fn load_now(&mut self, lane: LaneId, messages: i64, bytes: i64) {
        self.messages = self.messages.saturating_add_signed(messages);
        self.bytes = self.bytes.saturating_add_signed(bytes);
        let Some(state) = self.lanes.get(&lane) else { return };
        let tenant = &state.name.tenant;
        match self.of_tenants.get_mut(tenant) {
            Some(count) => {
                *count = count.saturating_add_signed(messages);
                if *count == 0 {
                    self.of_tenants.remove(tenant);
                }
            }
            None => {
                self.of_tenants.insert(tenant.clone(), u64::try_from(messages).unwrap_or(0));
            }
        }
    }

    pub(crate) fn messages(&self) -> u64 {
        self.messages
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(crate) fn messages_of(&self, tenant: &Tenant) -> u64 {
        self.of_tenants.get(tenant).copied().unwrap_or(0)
    }

    pub(crate) fn dead(&self) -> u64 {
        self.dead
    }

    /// Something of the lane is due then.
    pub(crate) fn expect_due(&mut self, lane: LaneId, due: i64) {
        let Some(state) = self.lanes.get_mut(&lane) else { return };
        if state.next_due.is_none_or(|next| due < next) {
            if let Some(next) = state.next_due.replace(due) {
                self.dues.remove(&(next, lane));
            }
            self.dues.insert((due, lane));
        }
    }

    /// Takes out a lane of which something is due by now. Whoever does, expects its next one again; if the
    /// transaction is lost, it is expected at once.
    pub(crate) fn pop_due(&mut self, now: i64) -> Option<LaneId> {
        let (due, lane) = self.dues.first().copied().filter(|(due, _)| *due <= now)?;
        self.dues.remove(&(due, lane));
        if let Some(state) = self.lanes.get_mut(&lane) {
            state.next_due = None;
        }
        self.undo.push(Undo::Due(lane, due));
        Some(lane)
    }

    pub(crate) fn first_due(&self) -> Option<i64> {
        self.dues.first().map(|(due, _)| *due)
    }

    pub(crate) fn first_batch(&self) -> Option<Duration> {
        self.batches.first().map(|(at, _)| *at)
    }

    /// The lane whose turn it is, and how many of its messages a claim takes; they are counted as running.
    pub(crate) fn take_turn(&mut self) -> Option<(LaneId, u64)> {
        let lane = self.fairness.next()?;
        let Some(id) = self.lane_id(&lane) else {
            // Only lanes that are known are ever ready.
            self.fairness.release(&lane);
            self.fairness.idle(&lane);
            return None;
        };
        self.undo.push(Undo::Turn(id));
        let size = self.rules_of(&lane).batch.map_or(1, |batch| u64::from(batch.size.max(1)));
        let count = self.lanes.get(&id).map_or(0, |state| state.counts.ready.min(size));
        self.shift(id, Some(Slot::Ready), Some(Slot::Running), count);
        Some((id, count))
    }

    /// A turn that came to nothing.
    pub(crate) fn pass(&mut self, lane: LaneId) {
        self.undo.push(Undo::Release(lane));
        self.release_now(lane);
    }

    fn release_now(&mut self, lane: LaneId) {
        if let Some(state) = self.lanes.get(&lane) {
            self.fairness.release(&state.name);
        }
    }

    pub(crate) fn configure(&mut self, lane: &Lane, rules: LaneRules) {
        if rules == usual_rules(lane) {
            self.rules.remove(lane);
        } else {
            self.rules.insert(lane.clone(), rules);
        }
        if let Some(id) = self.lane_id(lane) {
            self.fairness.limit_lane(lane, Some(rules.concurrency));
            if let Some(state) = self.lanes.get_mut(&id) {
                state.keep_arrivals(rules.batch.is_some(), self.steady);
            }
            self.refresh(id);
        }
    }

    fn rules_of(&self, lane: &Lane) -> LaneRules {
        self.rules.get(lane).copied().unwrap_or_else(|| usual_rules(lane))
    }

    pub(crate) fn limit(&mut self, tenant: &Tenant, claims: Option<u32>) {
        self.fairness.limit_tenant(tenant, claims);
    }

    pub(crate) fn pause(&mut self, place: &Place) {
        if self.paused.insert(place.clone()) {
            self.undo.push(Undo::Pause(place.clone()));
            self.refresh_covered(place);
        }
    }

    pub(crate) fn resume(&mut self, place: &Place) {
        if self.paused.remove(place) {
            self.undo.push(Undo::Resume(place.clone()));
            self.refresh_covered(place);
        }
    }

    pub(crate) fn paused(&self) -> &BTreeSet<Place> {
        &self.paused
    }

    fn refresh_covered(&mut self, place: &Place) {
        let covered = self.lanes.iter().filter(|(_, state)| place.covers(&state.name));
        for id in covered.map(|(id, _)| *id).collect::<Vec<_>>() {
            if let Some(state) = self.lanes.get_mut(&id) {
                state.paused = self.paused.iter().any(|place| place.covers(&state.name));
            }
            self.refresh(id);
        }
    }

    /// Tells fairness whether the lane has something that may be claimed.
    fn refresh(&mut self, id: LaneId) {
        let Some(state) = self.lanes.get_mut(&id) else { return };
        // Most lanes have no rules, and most of the time no lane has.
        let rules = if self.rules.is_empty() { None } else { self.rules.get(&*state.name) };
        let mut ready = !state.paused && state.counts.ready > 0;
        if ready && let Some(batch) = rules.and_then(|rules| rules.batch) {
            state.keep_arrivals(true, self.steady);
            let at = state.first_arrival().unwrap_or(self.steady).saturating_add(batch.wait);
            ready = state.counts.ready >= u64::from(batch.size.max(1)) || at <= self.steady;
            let expected = (!ready).then_some(at);
            if state.batch_at != expected {
                if let Some(before) = std::mem::replace(&mut state.batch_at, expected) {
                    self.batches.remove(&(before, id));
                }
                self.batches.extend(expected.map(|at| (at, id)));
            }
        }
        if state.open != ready {
            state.open = ready;
            if ready {
                self.fairness.ready(&state.name);
            } else {
                self.fairness.idle(&state.name);
            }
        }
    }

    /// What is in each lane, of one tenant or of all; those with nothing in them are left out.
    pub(crate) fn counts(&self, tenant: Option<&Tenant>) -> Vec<(LaneId, Arc<Lane>, Counts, bool)> {
        let of_tenant = |state: &&LaneMemory| tenant.is_none_or(|tenant| *tenant == state.name.tenant);
        self.lanes
            .iter()
            .filter(|(_, state)| of_tenant(state) && !state.counts.is_empty())
            .map(|(id, state)| (*id, Arc::clone(&state.name), state.counts, state.paused))
            .collect()
    }

    /// The transaction is on disk.
    pub(crate) fn keep(&mut self) {
        self.undo.clear();
    }

    /// Whether there is nothing that could become old.
    pub(crate) fn is_tidy(&self) -> bool {
        self.dead == 0 && self.emptied.is_empty()
    }

    fn new_claim_id(&mut self) -> ClaimId {
        self.next_claim += 1;
        ClaimId(self.next_claim)
    }
}

/// How a lane is served that nobody configured.
fn usual_rules(lane: &Lane) -> LaneRules {
    match lane.target {
        Target::Consumer => LaneRules { concurrency: 0, ..LaneRules::default() },
        _ => LaneRules::default(),
    }
}

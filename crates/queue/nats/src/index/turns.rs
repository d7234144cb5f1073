//! Whose turn it is, and what becomes of claims.

use super::{Filed, Holding, Index, Now, Pick};
use crate::{
    lanes::{Readiness, Ready, Turn, token_of},
    wire::{Holder, Phase},
};
use std::{cmp::Reverse, sync::Arc, time::Duration};
use xebec_core::{InvocationId, message::Lane, ports::queue::ClaimId};

impl Index {
    pub(crate) fn holder(&self, claim: ClaimId) -> Holder {
        Holder { worker: self.worker.clone(), claim: claim.0 }
    }

    /// Another worker has one claim more, or less, of a lane.
    pub(super) fn foreign_claims(&mut self, lane: &Arc<Lane>, more: bool) {
        let of_tenant = self.foreign.entry(lane.tenant.clone()).or_insert(0);
        *of_tenant = if more { of_tenant.saturating_add(1) } else { of_tenant.saturating_sub(1) };
        if *of_tenant == 0 {
            self.foreign.remove(&lane.tenant);
        }
        self.set_limits(lane);
    }

    /// What the other workers hold is not ours to claim.
    pub(super) fn set_limits(&mut self, lane: &Arc<Lane>) {
        if let Some(state) = self.lanes.get(lane) {
            let foreign = u32::try_from(state.foreign.len()).unwrap_or(u32::MAX);
            self.fairness.limit_lane(lane, Some(state.rules.concurrency.saturating_sub(foreign)));
        }
        if let Some(limit) = self.limits.get(&lane.tenant) {
            let foreign = self.foreign.get(&lane.tenant).copied().unwrap_or(0);
            self.fairness.limit_tenant(&lane.tenant, Some(limit.saturating_sub(foreign)));
        }
    }

    /// A message is no longer part of an own claim; the claim ends with its last.
    pub(super) fn leave(&mut self, holder: &Holder, id: &InvocationId) {
        if holder.worker == self.worker {
            self.not_claimed(ClaimId(holder.claim), id);
        }
    }

    pub(super) fn unfile(&mut self, id: &InvocationId) {
        let Some(known) = self.entries.get_mut(id) else { return };
        match std::mem::replace(&mut known.filed, Filed::Nowhere) {
            Filed::Nowhere => {}
            Filed::Later(due) => {
                self.later.remove(&(due, *id));
            }
            Filed::Ready(turn) => {
                if let Some(lane) = self.lanes.get_mut(&known.lane) {
                    lane.ready.remove(&turn);
                }
            }
        }
    }

    /// Puts a message where it will be found when it may begin.
    pub(crate) fn file(&mut self, id: &InvocationId, now: Now) {
        self.unfile(id);
        let Some(known) = self.entries.get_mut(id) else { return };
        let Some(lane) = self.lanes.get_mut(&known.lane) else { return };
        if known.busy || known.standing.phase != Phase::Waiting {
            return;
        }
        let order = known.order();
        if let Some(state) = known.line.and_then(|line| self.lines.get(&line)) {
            if state.holder.is_some() || state.places.first().is_none_or(|(_, first)| first != id) {
                return;
            }
            if order > self.position {
                self.early.insert((order, *id));
                return;
            }
        }
        if known.standing.due > now.time {
            known.filed = Filed::Later(known.standing.due);
            self.later.insert((known.standing.due, *id));
            return;
        }
        let due = known.standing.due;
        let turn = Turn { priority: Reverse(known.priority), due, order, id: *id };
        let token = token_of(id, known.line);
        known.filed = Filed::Ready(turn);
        lane.ready.insert(turn, Ready { token, since: now.steady });
        let shared = known.lane.clone();
        self.look_at(&shared, now);
    }

    /// Tells the turns whether a lane has something to begin.
    pub(super) fn look_at(&mut self, lane: &Arc<Lane>, now: Now) {
        let Some(state) = self.lanes.get(lane) else { return };
        let readiness = state.readiness(&self.crew, now.steady);
        let empty = state.is_empty();
        match readiness {
            Readiness::Now => {
                self.soon.remove(lane);
                self.fairness.ready(lane);
            }
            Readiness::Later(wait) => {
                self.soon.insert(lane.clone(), now.steady + wait);
                self.fairness.idle(lane);
            }
            Readiness::Empty => {
                self.soon.remove(lane);
                self.fairness.idle(lane);
            }
        }
        if empty && self.fairness.in_flight(lane) == 0 {
            self.lanes.remove(lane);
            self.fairness.limit_lane(lane, None);
        }
    }

    /// Moves on to the present: what became due, claims that are over.
    pub(crate) fn tick(&mut self, now: Now) {
        while let Some((due, id)) = self.later.first().copied()
            && due <= now.time
        {
            self.file(&id, now);
        }
        let soon: Vec<_> =
            self.soon.iter().filter(|(_, at)| **at <= now.steady).map(|(lane, _)| lane.clone()).collect();
        for lane in soon {
            self.look_at(&lane, now);
        }
        self.sweep(now);
    }

    /// Ends claims that have nothing left.
    pub(super) fn sweep(&mut self, now: Now) {
        for claim in std::mem::take(&mut self.perhaps_over) {
            if self.holdings.get(&claim).is_none_or(|holding| !holding.members.is_empty()) {
                continue;
            }
            let Some(holding) = self.holdings.remove(&claim) else { continue };
            self.fairness.release(&holding.lane);
            self.look_at(&holding.lane, now);
        }
    }

    /// When [`Index::tick`] will have something to do, from now.
    pub(crate) fn next_tick(&self, now: Now) -> Option<Duration> {
        let due = self
            .later
            .first()
            .map(|(due, _)| Duration::try_from(due.duration_since(now.time)).unwrap_or(Duration::ZERO));
        let soon = self.soon.values().min().map(|at| at.saturating_sub(now.steady));
        let lapse = self.deadlines.first().map(|(at, _)| at.saturating_sub(now.steady));
        [due, soon, lapse].into_iter().flatten().min()
    }

    /// Whether [`Index::lapsed`] may find something.
    pub(crate) fn any_lapsed(&self, now: Now) -> bool {
        !self.orphans.is_empty() || self.deadlines.first().is_some_and(|(at, _)| *at <= now.steady)
    }

    /// Running messages whose lease ran out, and those this worker is said to run without knowing it.
    pub(crate) fn lapsed(&mut self, now: Now) -> Vec<(InvocationId, bool)> {
        let late = self.deadlines.iter().take_while(|(at, _)| *at <= now.steady).map(|(_, id)| (*id, true));
        let lost = self.orphans.iter().map(|id| (*id, false));
        let mut found: Vec<_> = late.chain(lost).collect();
        found.retain(|(id, _)| self.entries.get(id).is_some_and(|known| !known.busy));
        for (id, _) in &found {
            if let Some(known) = self.entries.get_mut(id) {
                known.busy = true;
            }
        }
        found
    }

    /// Nobody here is about to change it any more.
    pub(crate) fn done_with(&mut self, id: &InvocationId, now: Now) {
        if let Some(known) = self.entries.get_mut(id) {
            known.busy = false;
        }
        self.file(id, now);
    }

    /// Picks what claims shall have, by whose turn it is.
    pub(crate) fn pick(&mut self, most: usize, lease: Duration, now: Now) -> Vec<Pick> {
        let mut picks = Vec::new();
        while picks.len() < most && self.synced {
            let Some(lane) = self.fairness.next() else { break };
            let taken = match self.lanes.get_mut(&lane) {
                Some(state) if state.readiness(&self.crew, now.steady) == Readiness::Now => {
                    state.take(&self.crew, now.steady)
                }
                _ => Vec::new(),
            };
            let shared = self.lane(&lane);
            if taken.is_empty() {
                self.fairness.release(&lane);
                self.look_at(&shared, now);
                continue;
            }
            self.claims += 1;
            let claim = ClaimId(self.claims);
            for id in &taken {
                if let Some(known) = self.entries.get_mut(id) {
                    known.busy = true;
                    known.filed = Filed::Nowhere;
                }
            }
            let members = taken.iter().copied().collect();
            let deadline = now.steady + lease;
            self.holdings.insert(claim, Holding { lane: shared.clone(), members, deadline });
            self.look_at(&shared, now);
            picks.push(Pick { claim, lane: shared, members: taken });
        }
        picks
    }

    /// A message that was picked was not claimed after all.
    pub(crate) fn not_claimed(&mut self, claim: ClaimId, id: &InvocationId) {
        if let Some(holding) = self.holdings.get_mut(&claim) {
            holding.members.remove(id);
            if holding.members.is_empty() {
                self.perhaps_over.push(claim);
            }
        }
    }

    /// Nobody will settle this claim: its messages go back.
    pub(crate) fn forsake(&mut self, claim: ClaimId) {
        let Some(holding) = self.holdings.get_mut(&claim) else { return };
        self.orphans.extend(holding.members.drain());
        self.perhaps_over.push(claim);
    }

    /// An own claim that is still good, and has this message.
    pub(crate) fn holds(&self, claim: ClaimId, id: &InvocationId, now: Now) -> bool {
        let holder = self.holder(claim);
        self.holdings.get(&claim).is_some_and(|held| held.deadline > now.steady && held.members.contains(id))
            && self.entries.get(id).is_some_and(|known| known.standing.held_by(&holder))
    }

    /// Gives an own claim a new deadline.
    pub(crate) fn renew(&mut self, claim: ClaimId, deadline: Duration) {
        let Some(holding) = self.holdings.get_mut(&claim) else { return };
        holding.deadline = deadline;
        for id in &holding.members {
            let Some(known) = self.entries.get_mut(id) else { continue };
            if let Some(before) = known.deadline.replace(deadline) {
                self.deadlines.remove(&(before, *id));
            }
            self.deadlines.insert((deadline, *id));
        }
    }
}

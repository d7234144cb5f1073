//! What is claimed, and until when.

use super::{LaneId, Memory, undo::Undo};
use compact_str::CompactString;
use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};
use xebec_core::{
    InvocationId,
    message::Lane,
    ports::queue::{ClaimId, Held},
};

/// A message that runs.
#[derive(Clone, Debug)]
pub(crate) struct Running {
    pub(crate) id: InvocationId,
    pub(crate) seq: i64,
    pub(crate) bytes: i64,
    pub(crate) key: Option<CompactString>,
    pub(crate) cancelled: bool,
}

/// Where and until when a message runs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lease {
    pub(crate) id: InvocationId,
    pub(crate) lane: LaneId,
    pub(crate) seq: i64,
    pub(crate) until: Duration,
}

pub(super) struct Hold {
    lane: LaneId,
    until: Duration,
    messages: Vec<Running>,
}

#[derive(Default)]
pub(super) struct Claims {
    held: HashMap<ClaimId, Hold>,
    leases: BTreeSet<(Duration, ClaimId)>,
}

impl Claims {
    pub(super) fn remove(&mut self, claim: ClaimId) {
        if let Some(hold) = self.held.remove(&claim) {
            self.leases.remove(&(hold.until, claim));
        }
    }

    /// Puts a message back that had been taken out.
    pub(super) fn restore(&mut self, claim: ClaimId, lane: LaneId, until: Duration, message: Running) {
        self.leases.insert((until, claim));
        let hold = self.held.entry(claim).or_insert_with(|| Hold { lane, until, messages: Vec::new() });
        hold.messages.push(message);
    }

    pub(super) fn unmark(&mut self, claim: ClaimId, id: &InvocationId) {
        if let Some(hold) = self.held.get_mut(&claim) {
            hold.messages.iter_mut().filter(|message| message.id == *id).for_each(|m| m.cancelled = false);
        }
    }
}

impl Memory {
    /// Begins a claim; its messages are counted as running already, its turn was taken.
    pub(crate) fn claim(
        &mut self,
        lane: LaneId,
        lease: Duration,
        messages: Vec<Running>,
    ) -> Option<(ClaimId, Arc<Lane>)> {
        let name = self.lane_name(lane)?;
        let (id, until) = (self.new_claim_id(), self.steady.saturating_add(lease));
        self.claims.leases.insert((until, id));
        self.claims.held.insert(id, Hold { lane, until, messages });
        self.undo.push(Undo::Claim(id));
        Some((id, name))
    }

    /// A message of a claim whose lease has not run out.
    pub(crate) fn held(&self, claim: ClaimId, id: &InvocationId) -> Option<(LaneId, Running)> {
        let hold = self.claims.held.get(&claim).filter(|hold| hold.until > self.steady)?;
        let message = hold.messages.iter().find(|message| message.id == *id)?;
        Some((hold.lane, message.clone()))
    }

    /// Ends a message's part of a claim, which ends with its last.
    pub(crate) fn let_go(&mut self, claim: ClaimId, id: &InvocationId) {
        let Some(hold) = self.claims.held.get_mut(&claim) else { return };
        let Some(index) = hold.messages.iter().position(|message| message.id == *id) else { return };
        let message = hold.messages.swap_remove(index);
        let (lane, until, ended) = (hold.lane, hold.until, hold.messages.is_empty());
        self.undo.push(Undo::LetGo(claim, lane, until, message));
        if ended {
            self.claims.remove(claim);
            self.undo.push(Undo::Release(lane));
            self.release_now(lane);
        }
    }

    /// Makes a lease last from now; `No` where it had run out.
    pub(crate) fn extend(&mut self, claim: ClaimId, lease: Duration) -> Held {
        let (steady, claims) = (self.steady, &mut self.claims);
        let Some(hold) = claims.held.get_mut(&claim).filter(|hold| hold.until > steady) else {
            return Held::No;
        };
        claims.leases.remove(&(hold.until, claim));
        hold.until = steady.saturating_add(lease);
        claims.leases.insert((hold.until, claim));
        let cancelled = hold.messages.iter().filter(|message| message.cancelled);
        Held::Yes(cancelled.map(|message| message.id).collect())
    }

    /// Marks a message that runs.
    pub(crate) fn mark(&mut self, id: &InvocationId) {
        for (claim, hold) in &mut self.claims.held {
            for message in hold.messages.iter_mut().filter(|m| m.id == *id && !m.cancelled) {
                message.cancelled = true;
                self.undo.push(Undo::Mark(*claim, *id));
            }
        }
    }

    /// A claim's lane and messages.
    pub(crate) fn messages_of_claim(&self, claim: ClaimId) -> Option<(LaneId, Vec<Running>)> {
        self.claims.held.get(&claim).map(|hold| (hold.lane, hold.messages.clone()))
    }

    /// A claim whose lease has run out.
    pub(crate) fn lapsed(&self) -> Option<ClaimId> {
        self.claims.leases.first().filter(|(until, _)| *until <= self.steady).map(|(_, claim)| *claim)
    }

    pub(crate) fn first_lease(&self) -> Option<Duration> {
        self.claims.leases.first().map(|(until, _)| *until)
    }

    /// Everything that runs.
    pub(crate) fn leases(&self) -> Vec<Lease> {
        let of = |hold: &Hold| {
            let (lane, until) = (hold.lane, hold.until);
            let of = move |message: &Running| Lease { id: message.id, lane, seq: message.seq, until };
            hold.messages.iter().map(of).collect::<Vec<_>>()
        };
        self.claims.held.values().flat_map(of).collect()
    }
}

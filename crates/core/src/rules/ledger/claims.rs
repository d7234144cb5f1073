//! Claims: how messages come to run, and what becomes of them.

use super::{Ledger, Moment, Stand, State, later};
use crate::{
    error::Error,
    invocation::InvocationId,
    message::Lane,
    ports::queue::{Claim, ClaimId, Claimed, Held, Settled, Settlement, Verdict},
};
use std::time::Duration;

impl Ledger {
    /// Claims what may begin now, lane by lane as their turns come.
    pub fn claim(&mut self, most: usize, lease: Duration, at: Moment) -> Vec<Claim> {
        self.advance(at);
        let mut claims = Vec::new();
        while claims.len() < most {
            let Some(lane) = self.fairness.next() else { break };
            claims.push(self.grant(lane, lease, at));
        }
        claims
    }

    /// A claim of that lane, out of turn; `None` where nothing of it may begin now.
    pub fn claim_of(&mut self, lane: &Lane, lease: Duration, at: Moment) -> Option<Claim> {
        self.advance(at);
        self.fairness.take(lane).then(|| self.grant(lane.clone(), lease, at))
    }

    /// The lanes that could be claimed from now.
    pub fn claimable(&mut self, at: Moment) -> Vec<Lane> {
        self.advance(at);
        self.lines.keys().filter(|lane| self.fairness.may(lane)).cloned().collect()
    }

    fn grant(&mut self, lane: Lane, lease: Duration, at: Moment) -> Claim {
        self.claimed += 1;
        let id = ClaimId(self.claimed);
        let numbers = self.begin(&lane, id, lease, at);
        let claimed = |number: &u64| {
            let letter = self.letters.get(number)?;
            Some(Claimed { message: letter.message.clone(), history: letter.history })
        };
        Claim { id, messages: numbers.iter().filter_map(claimed).collect(), lane }
    }

    /// Makes a claim's lease last for `lease` from now.
    pub fn extend(&mut self, claim: ClaimId, lease: Duration, at: Moment) -> Held {
        self.advance(at);
        let Some(hold) = self.claims.get_mut(&claim) else { return Held::No };
        self.leases.remove(&(hold.until, claim));
        hold.until = at.steady.saturating_add(lease);
        self.leases.insert((hold.until, claim));
        let mut stopped = Vec::new();
        for number in &hold.letters {
            if let Some(letter) = self.letters.get_mut(number)
                && let State::Running { until, cancelled, .. } = &mut letter.state
            {
                *until = later(at.now, lease);
                if *cancelled {
                    stopped.push(letter.message.id);
                }
            }
        }
        Held::Yes(stopped)
    }

    /// Ends one message's part of a claim, and accepts what comes of it.
    ///
    /// # Errors
    /// `XB4024`: one of `then` is too large; nothing was done.
    pub fn settle(&mut self, claim: ClaimId, settlement: Settlement, at: Moment) -> Result<Settled, Error> {
        self.advance(at);
        let Some(number) = self.held(claim, &settlement.id) else { return Ok(Settled::Late) };
        self.check_sizes(&settlement.then)?;
        // The message is not there any more for those that come of it, should one have its id.
        self.conclude(number, settlement.verdict, at);
        let firsts = self.firsts(&settlement.then, at);
        self.admit(settlement.then, firsts, at);
        self.let_go(claim, number);
        Ok(Settled::Yes)
    }

    fn held(&self, claim: ClaimId, id: &InvocationId) -> Option<u64> {
        let number = self.ids.get(id)?;
        self.claims.get(&claim)?.letters.contains(number).then_some(*number)
    }

    fn conclude(&mut self, number: u64, verdict: Verdict, at: Moment) {
        match verdict {
            Verdict::Over => {
                self.remove(number, at);
            }
            Verdict::Again { .. } if self.is_cancelled(number) => {
                self.remove(number, at);
            }
            Verdict::Again { due, history, why } => self.change(number, at, |letter| {
                (letter.due, letter.history, letter.why) = (due, history, Some(why));
                letter.state = State::Waiting(Stand::Behind);
            }),
            Verdict::Dead { death, history, why } => self.change(number, at, |letter| {
                (letter.history, letter.why) = (history, Some(why));
                letter.state = State::Dead { since: at.now, death };
            }),
        }
    }

    fn is_cancelled(&self, number: u64) -> bool {
        let state = self.letters.get(&number).map(|letter| letter.state);
        matches!(state, Some(State::Running { cancelled: true, .. }))
    }

    /// A claim ends with its last message.
    fn let_go(&mut self, claim: ClaimId, number: u64) {
        let Some(hold) = self.claims.get_mut(&claim) else { return };
        hold.letters.remove(&number);
        if hold.letters.is_empty()
            && let Some(hold) = self.claims.remove(&claim)
        {
            self.leases.remove(&(hold.until, claim));
            self.fairness.release(&hold.lane);
        }
    }

    /// A claim's lease ran out, or whoever had it ended.
    pub(super) fn interrupt(&mut self, claim: ClaimId, at: Moment) {
        let Some(hold) = self.claims.remove(&claim) else { return };
        for number in hold.letters {
            if self.is_cancelled(number) {
                self.remove(number, at);
                continue;
            }
            self.change(number, at, |letter| {
                letter.history.interruptions = letter.history.interruptions.saturating_add(1);
                // It was due when it was claimed, whatever the clock says by now.
                letter.due = letter.due.min(at.now);
                letter.state = State::Waiting(Stand::Behind);
            });
        }
        self.fairness.release(&hold.lane);
    }
}

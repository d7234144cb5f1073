//! Taking back what a lost transaction had done to memory.

use super::{LaneId, Memory, Running, Slot};
use std::time::Duration;
use xebec_core::{
    InvocationId,
    ports::queue::{ClaimId, Place},
};

/// What was done.
pub(super) enum Undo {
    Know(LaneId),
    Shift(LaneId, Option<Slot>, Option<Slot>, u64),
    Load(LaneId, i64, i64),
    Due(LaneId, i64),
    Turn(LaneId),
    Release(LaneId),
    Claim(ClaimId),
    LetGo(ClaimId, LaneId, Duration, Running),
    Mark(ClaimId, InvocationId),
    Pause(Place),
    Resume(Place),
}

impl Memory {
    /// The transaction is lost: nothing of it was.
    pub(crate) fn roll_back(&mut self) {
        while let Some(undo) = self.undo.pop() {
            self.take_back(undo);
        }
    }

    fn take_back(&mut self, undo: Undo) {
        match undo {
            Undo::Know(lane) => self.forget(lane),
            Undo::Shift(lane, from, to, count) => self.shift_now(lane, to, from, count),
            Undo::Load(lane, messages, bytes) => self.load_now(lane, -messages, -bytes),
            Undo::Due(lane, due) => self.expect_due(lane, due),
            Undo::Turn(lane) => self.release_now(lane),
            Undo::Release(lane) => {
                if let Some(state) = self.lanes.get(&lane) {
                    self.fairness.hold_on(&state.name);
                }
            }
            Undo::Claim(claim) => self.claims.remove(claim),
            Undo::LetGo(claim, lane, until, message) => self.claims.restore(claim, lane, until, message),
            Undo::Mark(claim, id) => self.claims.unmark(claim, &id),
            Undo::Pause(place) => {
                self.paused.remove(&place);
                self.refresh_covered(&place);
            }
            Undo::Resume(place) => {
                self.paused.insert(place.clone());
                self.refresh_covered(&place);
            }
        }
    }
}

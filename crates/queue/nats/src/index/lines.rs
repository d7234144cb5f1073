//! Messages with the same key: who is first, and whether another of them runs.

use super::{Index, Now};
use crate::wire::{Line, Record};
use xebec_core::InvocationId;

impl Index {
    pub(super) fn apply_lock(&mut self, line: Line, record: &Record, now: Now) {
        let state = self.lines.entry(line).or_default();
        if state.lock >= record.sequence {
            return;
        }
        state.lock = record.sequence;
        state.holder = uuid::Uuid::from_slice(&record.payload).ok().map(InvocationId);
        self.look_at_line(line, now);
    }

    /// Who is first in a line may have become able to begin; a line of nobody is forgotten.
    pub(super) fn look_at_line(&mut self, line: Line, now: Now) {
        let Some(state) = self.lines.get(&line) else { return };
        match state.places.first().copied() {
            Some((_, first)) => self.file(&first, now),
            None if state.holder.is_none() => {
                self.lines.remove(&line);
            }
            None => {}
        }
    }

    /// The sequence of a line's lock, as far as it is known.
    pub(crate) fn lock_of(&self, line: Line) -> u64 {
        self.lines.get(&line).map_or(0, |state| state.lock)
    }

    /// The lock was looked up, and there is none.
    pub(crate) fn no_lock(&mut self, line: Line, now: Now) {
        let Some(state) = self.lines.get_mut(&line) else { return };
        (state.lock, state.holder) = (0, None);
        self.look_at_line(line, now);
    }

    /// Locks whose holders do not run.
    pub(crate) fn stray_locks(&self) -> Vec<(Line, InvocationId)> {
        let held = self.lines.iter().filter_map(|(line, state)| Some((*line, state.holder?)));
        let runs =
            |id: &InvocationId| self.entries.get(id).is_some_and(|known| known.standing.run().is_some());
        held.filter(|(_, holder)| !runs(holder)).take(100).collect()
    }
}

//! The line of a lane: which of its messages may begin, and in what order.

use super::{Hold, Ledger, Letter, Moment, Stand, State};
use crate::{message::Lane, ports::queue::ClaimId};
use compact_str::CompactString;
use jiff::Timestamp;
use std::{
    cmp::Reverse,
    collections::{BTreeSet, HashMap},
    time::Duration,
};

/// A lane's messages.
#[derive(Debug, Default)]
pub(super) struct Line {
    /// What may begin, in the order in which it does: priority, due, accepted.
    ready: BTreeSet<(Reverse<u8>, Timestamp, u64)>,
    /// The same, by how long it has been so.
    since: BTreeSet<(Duration, u64)>,
    keys: HashMap<CompactString, KeyLine>,
    /// In whatever state.
    messages: usize,
}

/// Messages of a lane with the same key.
#[derive(Debug, Default)]
struct KeyLine {
    /// Those that wait or run, in the order in which they were accepted.
    alive: BTreeSet<u64>,
    running: Option<u64>,
    /// The one that waits and whose turn it is: that stands among the delayed or the ready.
    front: Option<u64>,
}

impl Line {
    /// Since when the first that may begin may do so.
    pub(super) fn waits_since(&self) -> Option<Duration> {
        self.since.first().map(|(since, _)| *since)
    }
}

impl Ledger {
    /// The lane is about to get a message.
    pub(super) fn open_line(&mut self, lane: &Lane) {
        if !self.lines.contains_key(lane) {
            self.lines.insert(lane.clone(), Line::default());
            self.fairness.limit_lane(lane, Some(self.rules_of(lane).concurrency));
        }
        if let Some(line) = self.lines.get_mut(lane) {
            line.messages += 1;
        }
    }

    fn close_line_when_empty(&mut self, lane: &Lane) {
        let Some(line) = self.lines.get_mut(lane) else { return };
        line.messages -= 1;
        if line.messages == 0 {
            self.lines.remove(lane);
            self.fairness.idle(lane);
            self.fairness.limit_lane(lane, None);
        }
    }

    /// Takes a message away.
    pub(super) fn remove(&mut self, number: u64, at: Moment) -> Option<Letter> {
        self.leave(number, at);
        let letter = self.letters.remove(&number)?;
        self.ids.remove(&letter.message.id);
        self.close_line_when_empty(&letter.message.lane);
        Some(letter)
    }

    /// Changes a message, and sees that it then stands where it belongs.
    pub(super) fn change(&mut self, number: u64, at: Moment, change: impl FnOnce(&mut Letter)) {
        self.leave(number, at);
        if let Some(letter) = self.letters.get_mut(&number) {
            change(letter);
        }
        self.enter(number, at);
    }

    /// Takes a message out of the index in which it stands.
    fn leave(&mut self, number: u64, at: Moment) {
        let Some(letter) = self.letters.get(&number) else { return };
        let (lane, key) = (letter.message.lane.clone(), letter.message.key.clone());
        match letter.state {
            State::Waiting(_) => self.step_aside(number),
            State::Running { .. } => {}
            State::Dead { .. } => {
                self.dead.remove(&number);
                return;
            }
        }
        if let Some(key) = key {
            self.key_line(&lane, &key, |line| {
                line.alive.remove(&number);
                line.running.take_if(|running| *running == number);
                line.front.take_if(|front| *front == number);
            });
            self.move_up(&lane, &key, at);
        }
        self.refresh(&lane, at);
    }

    /// Puts a message into the index where it belongs by its state.
    pub(super) fn enter(&mut self, number: u64, at: Moment) {
        let Some(letter) = self.letters.get(&number) else { return };
        let (lane, key) = (letter.message.lane.clone(), letter.message.key.clone());
        let running = match letter.state {
            State::Waiting(_) => None,
            State::Running { .. } => Some(number),
            State::Dead { .. } => {
                self.dead.insert(number);
                return;
            }
        };
        match key {
            Some(key) => {
                self.key_line(&lane, &key, |line| {
                    line.alive.insert(number);
                    line.running = line.running.or(running);
                });
                self.move_up(&lane, &key, at);
            }
            None if running.is_none() => self.stand(number, at),
            None => {}
        }
        self.refresh(&lane, at);
    }

    fn key_line(&mut self, lane: &Lane, key: &CompactString, change: impl FnOnce(&mut KeyLine)) {
        let Some(line) = self.lines.get_mut(lane) else { return };
        let of_key = line.keys.entry(key.clone()).or_default();
        change(of_key);
        if of_key.alive.is_empty() {
            line.keys.remove(key);
        }
    }

    /// Sees that of a key's messages the first stands where it may be claimed, unless one runs, and no other.
    fn move_up(&mut self, lane: &Lane, key: &CompactString, at: Moment) {
        let (mut aside, mut forward) = (None, None);
        self.key_line(lane, key, |line| {
            let wanted = line.alive.first().copied().filter(|_| line.running.is_none());
            if line.front != wanted {
                (aside, forward) = (line.front, wanted);
                line.front = wanted;
            }
        });
        if let Some(number) = aside {
            self.step_aside(number);
        }
        if let Some(number) = forward {
            self.stand(number, at);
        }
    }

    /// One that waits goes among the ready, or the delayed.
    fn stand(&mut self, number: u64, at: Moment) {
        let Some(letter) = self.letters.get_mut(&number) else { return };
        if letter.due > at.now {
            letter.state = State::Waiting(Stand::Delayed);
            self.delayed.insert((letter.due, number));
            return;
        }
        letter.state = State::Waiting(Stand::Ready(at.steady));
        if let Some(line) = self.lines.get_mut(&letter.message.lane) {
            line.ready.insert((Reverse(letter.message.priority), letter.due, number));
            line.since.insert((at.steady, number));
        }
    }

    /// One that waits leaves the ready, or the delayed.
    fn step_aside(&mut self, number: u64) {
        let Some(letter) = self.letters.get_mut(&number) else { return };
        match letter.state {
            State::Waiting(Stand::Delayed) => {
                self.delayed.remove(&(letter.due, number));
            }
            State::Waiting(Stand::Ready(since)) => {
                if let Some(line) = self.lines.get_mut(&letter.message.lane) {
                    line.ready.remove(&(Reverse(letter.message.priority), letter.due, number));
                    line.since.remove(&(since, number));
                }
            }
            _ => return,
        }
        letter.state = State::Waiting(Stand::Behind);
    }

    /// A delayed one's time has come; it is out of the delayed already. That holds even if the clock is set
    /// back later.
    pub(super) fn become_due(&mut self, number: u64, at: Moment) {
        self.stand(number, at);
        if let Some(lane) = self.letters.get(&number).map(|letter| letter.message.lane.clone()) {
            self.refresh(&lane, at);
        }
    }

    /// Tells [`crate::rules::fairness::Fairness`] whether the lane has something that may be claimed.
    pub(super) fn refresh(&mut self, lane: &Lane, at: Moment) {
        let ready = self.lines.get(lane).is_some_and(|line| self.may_be_claimed(lane, line, at));
        if ready {
            self.fairness.ready(lane);
        } else {
            self.fairness.idle(lane);
        }
    }

    fn may_be_claimed(&self, lane: &Lane, line: &Line, at: Moment) -> bool {
        let Some(since) = line.waits_since() else { return false };
        let full = self.rules_of(lane).batch.is_none_or(|batch| {
            line.ready.len() >= batch.size.max(1) as usize || at.steady >= since.saturating_add(batch.wait)
        });
        full && !self.paused.iter().any(|place| place.covers(lane))
    }

    /// Begins a claim of what is first in the lane, whose turn it is.
    pub(super) fn begin(&mut self, lane: &Lane, id: ClaimId, lease: Duration, at: Moment) -> Vec<u64> {
        let size = self.rules_of(lane).batch.map_or(1, |batch| batch.size.max(1) as usize);
        let first = |line: &Line| line.ready.iter().take(size).map(|(.., number)| *number).collect();
        let numbers: Vec<u64> = self.lines.get(lane).map(first).unwrap_or_default();
        let until = super::later(at.now, lease);
        for number in &numbers {
            self.change(*number, at, |letter| {
                letter.state = State::Running { claim: id, until, cancelled: false };
            });
        }
        let until = at.steady.saturating_add(lease);
        self.leases.insert((until, id));
        self.claims
            .insert(id, Hold { lane: lane.clone(), until, letters: numbers.iter().copied().collect() });
        numbers
    }
}

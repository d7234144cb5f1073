//! Messages as people see them: listed, cancelled, counted; dead letters redriven and discarded.

use super::{Ledger, Letter, Moment, Stand, State, later};
use crate::{
    digest::Digest,
    error::Error,
    invocation::InvocationId,
    message::{Message, Payload},
    names::Tenant,
    ports::queue::{Entry, EntryPage, EntryQuery, LaneStats, Selection},
    rules::retry::History,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Bound,
    time::Duration,
};

/// The most messages of a page, and that are discarded at once.
const MOST: usize = 1000;

impl Ledger {
    /// How many messages there are, in whatever state.
    pub fn len(&self) -> usize {
        self.letters.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.letters.is_empty()
    }

    /// One message.
    pub fn get(&mut self, id: &InvocationId, at: Moment) -> Option<Entry> {
        self.advance(at);
        self.letters.get(self.ids.get(id)?).map(Letter::entry)
    }

    /// Messages, oldest accepted first.
    ///
    /// # Errors
    /// `XB4014` not a cursor, `XB4025` not a state.
    pub fn list(&mut self, query: &EntryQuery, at: Moment) -> Result<EntryPage, Error> {
        self.advance(at);
        let after = match &query.cursor {
            None => 0,
            Some(cursor) => cursor
                .parse::<u64>()
                .map_err(|_| Error::invalid("XB4014", format!("{cursor:?} is not where a page ended")))?,
        };
        if let Some(state) = query.state.as_deref()
            && !["waiting", "running", "dead"].contains(&state)
        {
            return Err(Error::invalid("XB4025", format!("there is no state {state:?}"))
                .with_hint("the states are waiting, running and dead"));
        }
        let limit = query.limit.map_or(MOST, |limit| (limit as usize).clamp(1, MOST));
        let mut found = self
            .letters
            .range((Bound::Excluded(after), Bound::Unbounded))
            .filter(|(_, letter)| query.which.covers(&letter.message.id, &letter.message.lane))
            .map(|(number, letter)| (*number, letter.entry()))
            .filter(|(_, entry)| query.state.as_deref().is_none_or(|state| state == entry.state.name()))
            .peekable();
        let mut page = EntryPage::default();
        while let Some((number, entry)) = found.next() {
            page.entries.push(entry);
            if page.entries.len() == limit {
                page.cursor = found.peek().map(|_| number.to_string());
                break;
            }
        }
        Ok(page)
    }

    /// Takes a waiting or dead message away; marks a running one.
    ///
    /// # Errors
    /// `XB4021`.
    pub fn cancel(&mut self, id: &InvocationId, at: Moment) -> Result<Entry, Error> {
        self.advance(at);
        let unknown = || Error::not_found("XB4021", format!("there is no message {id}"));
        let number = *self.ids.get(id).ok_or_else(unknown)?;
        if let Some(letter) = self.letters.get_mut(&number)
            && let State::Running { cancelled, .. } = &mut letter.state
        {
            *cancelled = true;
            return Ok(letter.entry());
        }
        self.remove(number, at).map(|letter| letter.entry()).ok_or_else(unknown)
    }

    fn dead_of(&self, which: &Selection) -> Vec<u64> {
        let covered = |number: &&u64| {
            self.letters
                .get(number)
                .is_some_and(|letter| which.covers(&letter.message.id, &letter.message.lane))
        };
        self.dead.iter().filter(covered).copied().collect()
    }

    /// Makes dead letters wait again, at most `rate` a second.
    pub fn redrive(&mut self, which: &Selection, rate: Option<u32>, at: Moment) -> u64 {
        self.advance(at);
        let numbers = self.dead_of(which);
        let spacing = rate.map_or(Duration::ZERO, |rate| Duration::from_secs(1) / rate.max(1));
        for (index, number) in (0_u32..).zip(&numbers) {
            self.change(*number, at, |letter| {
                letter.due = later(at.now, spacing.saturating_mul(index));
                (letter.message.due, letter.message.expires) = (letter.due, None);
                (letter.history, letter.why) = (History::default(), None);
                letter.state = State::Waiting(Stand::Behind);
            });
        }
        numbers.len() as u64
    }

    /// Takes dead letters away, at most 1000, oldest first.
    pub fn discard(&mut self, which: &Selection, at: Moment) -> Vec<Message> {
        self.advance(at);
        let numbers = self.dead_of(which);
        let taken = numbers.into_iter().take(MOST);
        taken.filter_map(|number| self.remove(number, at)).map(|letter| letter.message).collect()
    }

    /// What waits, runs and is dead, lane by lane, sorted.
    pub fn stats(&mut self, tenant: Option<&Tenant>, at: Moment) -> Vec<LaneStats> {
        self.advance(at);
        let mut lanes = BTreeMap::new();
        for letter in self.letters.values() {
            let lane = &letter.message.lane;
            if tenant.is_some_and(|tenant| *tenant != lane.tenant) {
                continue;
            }
            let stats = lanes.entry(lane).or_insert_with(|| LaneStats {
                lane: lane.clone(),
                waiting: 0,
                delayed: 0,
                running: 0,
                dead: 0,
                oldest_due: None,
                paused: self.paused.iter().any(|place| place.covers(lane)),
            });
            match letter.state {
                State::Running { .. } => stats.running += 1,
                State::Dead { .. } => stats.dead += 1,
                State::Waiting(_) => {
                    stats.waiting += 1;
                    if letter.due > at.now {
                        stats.delayed += 1;
                    } else if stats.oldest_due.is_none_or(|oldest| letter.due < oldest) {
                        stats.oldest_due = Some(letter.due);
                    }
                }
            }
        }
        lanes.into_values().collect()
    }

    /// The blobs that messages name, sorted.
    pub fn blobs(&self) -> Vec<Digest> {
        let named = self.letters.values().filter_map(|letter| match &letter.message.call.body {
            Payload::Blob { digest, .. } => Some(*digest),
            Payload::Inline(_) => None,
        });
        named.collect::<BTreeSet<_>>().into_iter().collect()
    }
}

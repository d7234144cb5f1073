//! How far the stream was read.

use super::{Index, Now};
use crate::wire::Key;
use std::collections::HashSet;

impl Index {
    /// The stream is read from its beginning: until it was, nothing is claimed. What is known of another stream, or
    /// of a part that this one lost, is forgotten.
    pub(crate) fn begin_anew(&mut self, created: i128, reach: u64) {
        if self.created.is_some_and(|before| before != created) || reach < self.position {
            tracing::warn!("the queue's stream is not the one it was: what was known of it is forgotten");
            let mut anew = Self::new(self.worker.clone(), self.cache_bytes);
            anew.crew = self.crew.clone();
            anew.claims = self.claims;
            anew.rules = std::mem::take(&mut self.rules);
            for (tenant, limit) in std::mem::take(&mut self.limits) {
                anew.limit(&tenant, Some(limit));
            }
            *self = anew;
        }
        self.created = Some(created);
        self.position = 0;
        self.synced = false;
    }

    /// The stream was read up to here; `complete`: there was no more at that moment.
    pub(crate) fn read_up_to(&mut self, sequence: u64, complete: bool, now: Now) {
        while let Some((at, id)) = self.ahead.first_key_value().map(|(at, id)| (*at, *id))
            && at <= sequence
        {
            self.ahead.remove(&at);
            if self.ahead_of.get(&id) == Some(&at) {
                self.ahead_of.remove(&id);
            }
        }
        self.position = sequence;
        while let Some((order, id)) = self.early.first().copied()
            && order <= sequence
        {
            self.early.remove(&(order, id));
            self.file(&id, now);
        }
        self.synced |= complete;
    }

    /// After the stream was read anew: what was not seen in it is no more.
    pub(crate) fn keep_only(&mut self, seen: &HashSet<Key>, up_to: u64, now: Now) {
        let over: Vec<_> = self
            .entries
            .iter()
            .filter(|(id, known)| known.sequence <= up_to && !seen.contains(&Key::Message(**id)))
            .map(|(id, _)| *id)
            .collect();
        for id in over {
            self.remove(&id, now);
        }
        let locks = self
            .lines
            .iter()
            .filter(|(line, state)| state.lock <= up_to && !seen.contains(&Key::Lock(**line)));
        let locks: Vec<_> = locks.map(|(line, _)| *line).collect();
        for line in locks {
            self.no_lock(line, now);
        }
        let paused = self.paused.len();
        self.paused.retain(|hash, (at, _)| *at > up_to || seen.contains(&Key::Pause(hash.clone())));
        if self.paused.len() != paused {
            self.repause(now);
        }
    }
}

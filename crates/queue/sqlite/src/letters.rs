//! What people do with messages: cancel, redrive, discard, pause.

use crate::{
    entry::RawEntry,
    memory::{Counts, LaneId, Lease, Slot},
    message::{bytes_of, place_text},
    schema::phase,
    select::Spot,
    sql,
    task::Job,
    work::Work,
};
use bytes::Bytes;
use std::{sync::Arc, time::Duration};
use xebec_core::{
    Error, InvocationId, Tenant,
    message::{Lane, Message},
    ports::queue::{LaneRules, Place},
};
use xebec_sqlite::{Fault, rusqlite::params, time::from_nanoseconds};

/// Takes a message away, or marks it. Answers with it as it was, or is.
pub(crate) struct Cancel(pub(crate) InvocationId);

impl Job for Cancel {
    type Output = RawEntry;

    fn run(&mut self, work: &mut Work<'_>) -> Result<RawEntry, Fault> {
        let file = work.file()?;
        let Some(mut entry) = RawEntry::find(file, &self.0)? else {
            return Err(unknown(&self.0).into());
        };
        if entry.is_running() {
            file.prepare_cached(sql::MARK)?.execute([entry.lane, entry.seq])?;
            work.memory.mark(&self.0);
            entry.mark();
        } else {
            remove(work, &entry)?;
        }
        Ok(entry)
    }
}

pub(crate) fn unknown(id: &InvocationId) -> Error {
    Error::not_found("XB4021", format!("there is no message {id}"))
}

fn remove(work: &mut Work<'_>, entry: &RawEntry) -> Result<(), Fault> {
    let slot = Slot::of(entry.phase, entry.held);
    let is_front = entry.phase != phase::DEAD && !entry.held;
    let front_of = entry.key.as_deref().filter(|_| is_front);
    work.remove(entry.lane, entry.seq, entry.bytes, slot, front_of)
}

/// Takes dead letters away that are at these places, and answers with them.
pub(crate) struct Discard(pub(crate) Vec<Spot>);

impl Job for Discard {
    type Output = Vec<(Vec<u8>, Bytes)>;

    fn run(&mut self, work: &mut Work<'_>) -> Result<Self::Output, Fault> {
        let mut gone = Vec::with_capacity(self.0.len());
        for (lane, seq) in &self.0 {
            let found = RawEntry::at(work.file()?, *lane, *seq)?;
            if let Some(entry) = found.filter(|entry| entry.phase == phase::DEAD) {
                remove(work, &entry)?;
                gone.push((entry.head, entry.body));
            }
        }
        Ok(gone)
    }
}

/// Makes dead letters at these places wait again: the first from `due` on, the others so far apart each.
pub(crate) struct Redrive {
    pub(crate) spots: Vec<Spot>,
    pub(crate) due: i64,
    pub(crate) spacing: i64,
}

impl Job for Redrive {
    type Output = u64;

    fn run(&mut self, work: &mut Work<'_>) -> Result<u64, Fault> {
        let mut count = 0;
        for (lane, seq) in &self.spots {
            let found = RawEntry::at(work.file()?, *lane, *seq)?;
            if let Some(entry) = found.filter(|entry| entry.phase == phase::DEAD) {
                let wait = self.spacing.saturating_mul(i64::try_from(count).unwrap_or(i64::MAX));
                match entry.message() {
                    Ok(message) => revive(work, &entry, message, self.due.saturating_add(wait))?,
                    Err(error) => {
                        tracing::error!(seq, %error, "a dead letter stays one");
                        continue;
                    }
                }
                count += 1;
            }
        }
        Ok(count)
    }
}

fn revive(work: &mut Work<'_>, entry: &RawEntry, mut message: Message, due: i64) -> Result<(), Fault> {
    let (lane, seq) = (entry.lane, entry.seq);
    (message.due, message.expires) = (from_nanoseconds(due), None);
    let head = message
        .head()
        .map_err(|error| Error::internal("XB4003", format!("a message is not JSON: {error}")))?;
    let bytes = bytes_of(&message, &head);
    let held = work.must_hold(lane, seq, entry.key.as_deref())?;
    let phase = if due > work.now { phase::DELAYED } else { phase::DUE };
    let file = work.file()?;
    file.prepare_cached(sql::REVIVE)?.execute(params![lane, seq, phase, held, due, bytes])?;
    file.prepare_cached(sql::REWRITE)?.execute(params![seq, head])?;
    work.memory.shift(lane, Some(Slot::Dead), Some(Slot::of(phase, held)), 1);
    work.memory.load(lane, 0, bytes - entry.bytes);
    if phase == phase::DELAYED {
        work.memory.expect_due(lane, due);
    }
    Ok(())
}

/// Pauses a place, or resumes it.
pub(crate) struct Pause {
    pub(crate) place: Place,
    pub(crate) on: bool,
}

impl Job for Pause {
    type Output = ();

    fn run(&mut self, work: &mut Work<'_>) -> Result<(), Fault> {
        let text = place_text(&self.place)?;
        let sql = if self.on { sql::ADD_PAUSE } else { sql::REMOVE_PAUSE };
        work.file()?.prepare_cached(sql)?.execute([text])?;
        if self.on {
            work.memory.pause(&self.place);
        } else {
            work.memory.resume(&self.place);
        }
        Ok(())
    }
}

/// How a lane is served, or how many claims a tenant may have.
pub(crate) enum Rule {
    Lane(Lane, LaneRules),
    Tenant(Tenant, Option<u32>),
}

impl Job for Rule {
    type Output = ();

    fn run(&mut self, work: &mut Work<'_>) -> Result<(), Fault> {
        match self {
            Self::Lane(lane, rules) => work.memory.configure(lane, *rules),
            Self::Tenant(tenant, claims) => work.memory.limit(tenant, *claims),
        }
        Ok(())
    }
}

/// What memory knows.
pub(crate) enum Look {
    Counts(Option<Tenant>),
    Leases,
    Paused,
    /// Whether something can be written.
    Health,
}

/// What it told.
pub(crate) enum Seen {
    Counts(Vec<(LaneId, Arc<Lane>, Counts, bool)>),
    /// With the steady clock's time by which their ends are to be read.
    Leases(Vec<Lease>, Duration),
    Paused(Vec<Place>),
    Health,
}

impl Job for Look {
    type Output = Seen;

    fn run(&mut self, work: &mut Work<'_>) -> Result<Seen, Fault> {
        Ok(match self {
            Self::Counts(tenant) => Seen::Counts(work.memory.counts(tenant.as_ref())),
            Self::Leases => Seen::Leases(work.memory.leases(), work.steady),
            Self::Paused => Seen::Paused(work.memory.paused().iter().cloned().collect()),
            Self::Health => {
                crate::enqueue::has_room(work)?;
                if work.troubled {
                    // Only writing shows whether it works again.
                    let file = work.file()?;
                    let version: i64 = file.pragma_query_value(None, "user_version", |row| row.get(0))?;
                    file.pragma_update(None, "user_version", version)?;
                }
                Seen::Health
            }
        })
    }

    fn optional(&self) -> bool {
        true
    }
}

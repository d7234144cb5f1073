//! Messages as people see them.

use crate::{memory::LaneId, schema::phase, sql};
use bytes::Bytes;
use jiff::Timestamp;
use xebec_core::{
    Error, InvocationId,
    message::Message,
    ports::queue::{Entry, EntryState},
    rules::retry::{Death, History},
};
use xebec_sqlite::{
    Fault,
    rusqlite::{self, Connection, OptionalExtension as _, Row},
    time::from_nanoseconds,
};

/// A message as it comes from the file.
pub(crate) struct RawEntry {
    pub(crate) lane: LaneId,
    pub(crate) seq: i64,
    pub(crate) phase: i64,
    pub(crate) held: bool,
    pub(crate) bytes: i64,
    pub(crate) key: Option<String>,
    due: i64,
    history: History,
    cancelled: bool,
    why: Option<String>,
    death: Option<String>,
    since: Option<i64>,
    pub(crate) head: Vec<u8>,
    pub(crate) body: Bytes,
}

impl RawEntry {
    fn of(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            lane: row.get(0)?,
            seq: row.get(1)?,
            phase: row.get(2)?,
            held: row.get(3)?,
            due: row.get(4)?,
            bytes: row.get(5)?,
            history: History { failures: row.get(6)?, refusals: row.get(7)?, interruptions: row.get(8)? },
            cancelled: row.get(9)?,
            key: row.get(10)?,
            why: row.get(11)?,
            death: row.get(12)?,
            since: row.get(13)?,
            head: row.get(14)?,
            body: Bytes::from(row.get::<_, Vec<u8>>(15)?),
        })
    }

    pub(crate) fn find(file: &Connection, id: &InvocationId) -> Result<Option<Self>, Fault> {
        let mut find = file.prepare_cached(sql::ENTRY_BY_ID)?;
        Ok(find.query_row([id.0.as_bytes().as_slice()], Self::of).optional()?)
    }

    pub(crate) fn at(file: &Connection, lane: LaneId, seq: i64) -> Result<Option<Self>, Fault> {
        Ok(file.prepare_cached(sql::ENTRY_AT)?.query_row([lane, seq], Self::of).optional()?)
    }

    pub(crate) fn is_running(&self) -> bool {
        self.phase == phase::RUNNING
    }

    /// Marked by now, which the row that was read did not say yet.
    pub(crate) fn mark(&mut self) {
        self.cancelled = true;
    }

    pub(crate) fn message(&self) -> Result<Message, Error> {
        read(&self.head, self.body.clone())
    }

    /// With when its lease runs out, where it has one.
    pub(crate) fn entry(self, until: Timestamp) -> Result<Entry, Error> {
        let state = match self.phase {
            phase::RUNNING => EntryState::Running { until, cancelled: self.cancelled },
            phase::DEAD => EntryState::Dead {
                since: from_nanoseconds(self.since.unwrap_or_default()),
                death: death_of(self.death.as_deref().unwrap_or_default()),
            },
            _ => EntryState::Waiting { due: from_nanoseconds(self.due) },
        };
        Ok(Entry { message: read(&self.head, self.body)?, history: self.history, state, why: self.why })
    }
}

/// The message of what is stored.
pub(crate) fn read(head: &[u8], body: Bytes) -> Result<Message, Error> {
    Message::of(head, body)
        .map_err(|error| Error::internal("XB4003", format!("a stored message cannot be read: {error}")))
}

fn death_of(name: &str) -> Death {
    let deaths =
        [Death::Exhausted, Death::Failed, Death::Expired, Death::Interrupted, Death::Poison, Death::Loop];
    deaths.into_iter().find(|death| death.name() == name).unwrap_or(Death::Failed)
}

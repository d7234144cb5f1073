//! A transaction under way: the file, what is known by heart, and the steps that change both together.

use crate::{
    Options,
    memory::{LaneId, Memory, Running, Slot},
    schema::phase,
    sql,
};
use std::time::Duration;
use xebec_core::message::Lane;
use xebec_sqlite::{
    Fault,
    rusqlite::{Connection, OptionalExtension as _, params},
};

pub(crate) struct Work<'a> {
    connection: &'a Connection,
    pub(crate) memory: &'a mut Memory,
    pub(crate) options: &'a Options,
    /// Nanoseconds since 1970.
    pub(crate) now: i64,
    pub(crate) steady: Duration,
    /// The last write failed.
    pub(crate) troubled: bool,
    begun: bool,
}

impl<'a> Work<'a> {
    pub(crate) fn new(
        connection: &'a Connection,
        memory: &'a mut Memory,
        options: &'a Options,
        now: i64,
        steady: Duration,
    ) -> Self {
        Self { connection, memory, options, now, steady, troubled: false, begun: false }
    }

    /// The file, in a transaction, which begins with the first that asks.
    pub(crate) fn file(&mut self) -> Result<&'a Connection, Fault> {
        if !self.begun {
            if !self.connection.is_autocommit() {
                // The last rollback failed, too; nothing else works before it is done.
                self.connection.execute_batch("ROLLBACK")?;
            }
            self.connection.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
            self.begun = true;
        }
        Ok(self.connection)
    }

    /// The file as it is, to see whether there is something to do at all.
    pub(crate) fn peek(&self) -> &'a Connection {
        self.connection
    }

    /// Makes what was done durable; tells whether anything was.
    pub(crate) fn commit(&mut self) -> Result<bool, Fault> {
        if self.begun {
            self.connection.prepare_cached("COMMIT")?.execute([])?;
        }
        self.memory.keep();
        Ok(self.begun)
    }

    /// Nothing of what was done shall have been.
    pub(crate) fn roll_back(&mut self) {
        // Some faults have rolled back by themselves.
        if self.begun
            && !self.connection.is_autocommit()
            && let Err(error) = self.connection.execute_batch("ROLLBACK")
        {
            tracing::warn!(%error, "could not roll back; trying again before the next write");
        }
        self.memory.roll_back();
    }

    /// A lane's number; `target` is its target's JSON.
    pub(crate) fn lane(&mut self, lane: &Lane, target: &str) -> Result<LaneId, Fault> {
        if let Some(id) = self.memory.lane_id(lane) {
            return Ok(id);
        }
        let file = self.file()?;
        let name = (lane.tenant.as_str(), lane.queue.as_str(), target);
        let found = file.prepare_cached(sql::FIND_LANE)?.query_row(name, |row| row.get(0)).optional()?;
        let id = match found {
            Some(id) => id,
            None => file.prepare_cached(sql::ADD_LANE)?.insert(name)?,
        };
        self.memory.know(id, lane.clone());
        Ok(id)
    }

    /// Takes a message away, and lets those of its key move up.
    pub(crate) fn remove(
        &mut self,
        lane: LaneId,
        seq: i64,
        bytes: i64,
        slot: Slot,
        front_of: Option<&str>,
    ) -> Result<(), Fault> {
        let file = self.file()?;
        file.prepare_cached(sql::REMOVE_MESSAGE)?.execute([lane, seq])?;
        file.prepare_cached(sql::REMOVE_CONTENT)?.execute([seq])?;
        self.memory.shift(lane, Some(slot), None, 1);
        self.memory.load(lane, -1, -bytes);
        self.move_up(lane, front_of)
    }

    /// The one that was first of its key is gone, or dead: the next may begin.
    pub(crate) fn move_up(&mut self, lane: LaneId, key: Option<&str>) -> Result<(), Fault> {
        let Some(key) = key else { return Ok(()) };
        if let Some((seq, phase)) = self.of_key(sql::BEHIND, lane, key)? {
            self.hold(lane, seq, phase, false)?;
        }
        Ok(())
    }

    /// Whether one that comes to wait must do so behind another of its key; another may step back for it, as
    /// those that were accepted first go first.
    pub(crate) fn must_hold(&mut self, lane: LaneId, seq: i64, key: Option<&str>) -> Result<bool, Fault> {
        let Some(key) = key else { return Ok(false) };
        match self.of_key(sql::FRONT, lane, key)? {
            Some((front, phase)) if front != seq => {
                if phase == phase::RUNNING || front < seq {
                    return Ok(true);
                }
                self.hold(lane, front, phase, true)?;
                Ok(false)
            }
            // It ran until now; one that was accepted before it may have come back meanwhile.
            Some(_) => match self.of_key(sql::BEHIND, lane, key)? {
                Some((first, phase)) if first < seq => {
                    self.hold(lane, first, phase, false)?;
                    Ok(true)
                }
                _ => Ok(false),
            },
            None => Ok(false),
        }
    }

    fn of_key(&mut self, sql: &str, lane: LaneId, key: &str) -> Result<Option<(i64, i64)>, Fault> {
        let mut find = self.file()?.prepare_cached(sql)?;
        Ok(find.query_row((lane, key), |row| Ok((row.get(0)?, row.get(1)?))).optional()?)
    }

    fn hold(&mut self, lane: LaneId, seq: i64, phase: i64, held: bool) -> Result<(), Fault> {
        self.file()?.prepare_cached(sql::HOLD)?.execute((lane, seq, held))?;
        self.memory.shift(lane, Some(Slot::of(phase, !held)), Some(Slot::of(phase, held)), 1);
        Ok(())
    }

    /// What ran waits again, as it did before; `interrupted`: for no good reason. What was cancelled goes.
    pub(crate) fn stop(&mut self, lane: LaneId, message: &Running, interrupted: bool) -> Result<(), Fault> {
        let key = message.key.as_deref();
        if message.cancelled {
            return self.remove(lane, message.seq, message.bytes, Slot::Running, key);
        }
        let held = self.must_hold(lane, message.seq, key)?;
        self.file()?.prepare_cached(sql::STOP)?.execute(params![
            lane,
            message.seq,
            held,
            i64::from(interrupted)
        ])?;
        self.memory.shift(lane, Some(Slot::Running), Some(Slot::of(phase::DUE, held)), 1);
        Ok(())
    }
}

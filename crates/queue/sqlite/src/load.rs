//! What memory knows at first: what the file says, and that nothing runs any more.

use crate::{
    Options,
    memory::{LaneId, Memory, Running, Slot},
    schema::phase,
    select::lane_of,
    sql,
    work::Work,
};
use compact_str::CompactString;
use std::collections::BTreeSet;
use uuid::Uuid;
use xebec_core::{Error, InvocationId, ports::clock::Clock};
use xebec_sqlite::{Fault, rusqlite::Connection, time::to_nanoseconds};

/// Reads what there is; what ran when the last process ended waits again.
pub(crate) fn load(connection: &Connection, clock: &dyn Clock, options: &Options) -> Result<Memory, Fault> {
    let mut memory = Memory::new(last_seq(connection)?, pauses(connection)?);
    memory.set_time(clock.steady());
    let mut lanes = connection.prepare(sql::LANES)?;
    for lane in lanes.query_and_then([], lane_of)? {
        let (id, lane) = lane?;
        memory.know(id, lane);
    }
    let mut counts = connection.prepare(sql::COUNT_ALL)?;
    let mut rows = counts.query([])?;
    while let Some(row) = rows.next()? {
        let (lane, phase, held): (LaneId, i64, bool) = (row.get(0)?, row.get(1)?, row.get(2)?);
        let (count, bytes): (i64, i64) = (row.get(3)?, row.get(4)?);
        memory.shift(lane, None, Some(Slot::of(phase, held)), count.unsigned_abs());
        memory.load(lane, count, bytes);
        if phase == phase::DELAYED {
            memory.expect_due(lane, row.get(5)?);
        }
    }
    memory.list_empty();
    memory.keep();
    interrupt(connection, &mut memory, clock, options)?;
    Ok(memory)
}

fn last_seq(connection: &Connection) -> Result<i64, Fault> {
    let last: Option<i64> = connection.query_row(sql::LAST_SEQ, [], |row| row.get(0))?;
    Ok(last.unwrap_or(0))
}

fn pauses(connection: &Connection) -> Result<BTreeSet<xebec_core::ports::queue::Place>, Fault> {
    let mut pauses = connection.prepare(sql::PAUSES)?;
    let places = pauses.query_and_then([], |row| -> Result<_, Fault> {
        let text: String = row.get(0)?;
        Ok(serde_json::from_str(&text)
            .map_err(|error| Error::internal("XB4003", format!("a pause cannot be read: {error}")))?)
    })?;
    places.collect()
}

/// What ran was interrupted.
fn interrupt(
    connection: &Connection,
    memory: &mut Memory,
    clock: &dyn Clock,
    options: &Options,
) -> Result<(), Fault> {
    let counts = memory.counts(None);
    let lanes: Vec<_> = counts.iter().filter(|(_, _, counts, _)| counts.running > 0).map(|at| at.0).collect();
    let mut work = Work::new(connection, memory, options, to_nanoseconds(clock.now()), clock.steady());
    let done = lanes.into_iter().try_for_each(|lane| interrupt_lane(&mut work, lane));
    match done.and_then(|()| work.commit()) {
        Ok(_) => Ok(()),
        Err(fault) => {
            work.roll_back();
            Err(fault)
        }
    }
}

fn interrupt_lane(work: &mut Work<'_>, lane: LaneId) -> Result<(), Fault> {
    let mut running = work.file()?.prepare(sql::RUNNING)?;
    let found = running.query_map([lane], |row| {
        let key: Option<String> = row.get(3)?;
        Ok(Running {
            seq: row.get(0)?,
            id: InvocationId(Uuid::from_bytes(row.get(1)?)),
            bytes: row.get(2)?,
            key: key.map(CompactString::from),
            cancelled: row.get(4)?,
        })
    })?;
    for message in found.collect::<Result<Vec<_>, _>>()? {
        work.stop(lane, &message, true)?;
    }
    Ok(())
}

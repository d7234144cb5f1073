//! What time does: leases run out, messages become due, what is old goes.

use crate::{claim::end_claim, memory::Slot, schema::phase, sql, work::Work};
use xebec_sqlite::{Fault, rusqlite::OptionalExtension as _, shrink};

/// Messages of a lane that become due in one go; then it is the next lane's turn.
const LANE_CHUNK: i64 = 256;
/// Messages that become due in one transaction.
const CHUNK: u64 = 1024;
/// What goes in one transaction.
const SWEEP: usize = 500;

/// Leases that ran out end, and what is due becomes so.
pub(crate) fn by_the_clocks(work: &mut Work<'_>) -> Result<(), Fault> {
    while let Some(claim) = work.memory.lapsed() {
        end_claim(work, claim, true)?;
    }
    let mut turned = 0;
    while turned < CHUNK
        && let Some(lane) = work.memory.pop_due(work.now)
    {
        let now = work.now;
        let file = work.file()?;
        let mut due = file.prepare_cached(sql::TURNED_DUE)?;
        let found = due.query_map([lane, now, LANE_CHUNK], |row| Ok((row.get(0)?, row.get(1)?)))?;
        let found = found.collect::<Result<Vec<(i64, bool)>, _>>()?;
        let mut become_due = file.prepare_cached(sql::BECOME_DUE)?;
        for (seq, held) in &found {
            become_due.execute([lane, *seq])?;
            work.memory.shift(lane, Some(Slot::Delayed), Some(Slot::of(phase::DUE, *held)), 1);
        }
        turned += found.len() as u64;
        let next: Option<i64> =
            file.prepare_cached(sql::NEXT_DUE)?.query_row([lane], |row| row.get(0)).optional()?;
        if let Some(next) = next {
            // One that has more stands behind those that become due meanwhile.
            work.memory.expect_due(lane, next.max(now));
        }
    }
    Ok(())
}

/// What is old goes: dead letters, idempotency keys, lanes with nothing in them, free pages. Tells whether
/// there is more to do.
pub(crate) fn sweep(work: &mut Work<'_>) -> Result<bool, Fault> {
    let old = bury(work)?;
    let keys = forget_keys(work)?;
    let lanes = work.memory.forget_empty(SWEEP);
    for lane in &lanes {
        work.file()?.prepare_cached(sql::FORGET_LANE)?.execute([lane])?;
    }
    let pages = shrink::surplus(work.peek())? > 0 && shrink::step(work.file()?)?;
    Ok(old == SWEEP || keys == SWEEP || lanes.len() == SWEEP || pages)
}

/// Dead letters that are too old, or too many, go.
fn bury(work: &mut Work<'_>) -> Result<usize, Fault> {
    let age = i64::try_from(work.options.dead_age.as_nanos()).unwrap_or(i64::MAX);
    let mut gone = bury_until(work, work.now.saturating_sub(age), SWEEP)?;
    let surplus = work.memory.dead().saturating_sub(work.options.dead);
    let most = usize::try_from(surplus).unwrap_or(SWEEP).min(SWEEP - gone);
    gone += bury_until(work, i64::MAX, most)?;
    Ok(gone)
}

fn bury_until(work: &mut Work<'_>, since: i64, most: usize) -> Result<usize, Fault> {
    if most == 0 || work.memory.dead() == 0 {
        return Ok(0);
    }
    let limit = i64::try_from(most).unwrap_or(i64::MAX);
    let mut old = work.peek().prepare_cached(sql::OLD_DEAD)?;
    let found = old.query_map([since, limit], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
    let found = found.collect::<Result<Vec<(i64, i64, i64)>, _>>()?;
    for (lane, seq, bytes) in &found {
        work.remove(*lane, *seq, *bytes, Slot::Dead, None)?;
    }
    Ok(found.len())
}

fn forget_keys(work: &mut Work<'_>) -> Result<usize, Fault> {
    let (now, limit) = (work.now, i64::try_from(SWEEP).unwrap_or(i64::MAX));
    let mut old = work.peek().prepare_cached(sql::OLD_KEYS)?;
    let found = old.query_map([now, limit], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let found = found.collect::<Result<Vec<(i64, String)>, _>>()?;
    for (lane, key) in &found {
        work.file()?.prepare_cached(sql::REMOVE_KEY)?.execute((lane, key))?;
    }
    Ok(found.len())
}

//! What becomes of what ran.

use crate::{
    enqueue::admit,
    memory::{LaneId, Running, Slot},
    message::{Prepared, shortened},
    schema::phase,
    sql,
    task::Job,
    work::Work,
};
use std::time::Duration;
use xebec_core::{
    InvocationId,
    ports::queue::{ClaimId, Held, Settled, Verdict},
    rules::retry::{Death, History},
};
use xebec_sqlite::{Fault, rusqlite::params, time::to_nanoseconds};

/// Ends one message's part of a claim.
pub(crate) struct Settle {
    claim: ClaimId,
    id: InvocationId,
    verdict: Verdict,
    then: Vec<Prepared>,
}

impl Settle {
    pub(crate) fn new(claim: ClaimId, id: InvocationId, verdict: Verdict, then: Vec<Prepared>) -> Self {
        let verdict = match verdict {
            Verdict::Over => Verdict::Over,
            Verdict::Again { due, history, why } => Verdict::Again { due, history, why: shortened(why) },
            Verdict::Dead { death, history, why } => Verdict::Dead { death, history, why: shortened(why) },
        };
        Self { claim, id, verdict, then }
    }
}

impl Job for Settle {
    type Output = Settled;

    fn run(&mut self, work: &mut Work<'_>) -> Result<Settled, Fault> {
        let Some((lane, message)) = work.memory.held(self.claim, &self.id) else { return Ok(Settled::Late) };
        match &self.verdict {
            Verdict::Over => over(work, lane, &message)?,
            Verdict::Again { .. } if message.cancelled => over(work, lane, &message)?,
            Verdict::Again { due, history, why } => {
                again(work, lane, &message, to_nanoseconds(*due), *history, why)?;
            }
            Verdict::Dead { death, history, why } => die(work, lane, &message, *death, *history, why)?,
        }
        // A bound on messages does not hold up results.
        admit(work, &self.then)?;
        work.memory.let_go(self.claim, &self.id);
        Ok(Settled::Yes)
    }

    fn bytes(&self) -> usize {
        self.then.iter().map(|prepared| prepared.head.len() + prepared.message.inline().len()).sum()
    }
}

fn over(work: &mut Work<'_>, lane: LaneId, message: &Running) -> Result<(), Fault> {
    work.remove(lane, message.seq, message.bytes, Slot::Running, message.key.as_deref())
}

fn again(
    work: &mut Work<'_>,
    lane: LaneId,
    message: &Running,
    due: i64,
    history: History,
    why: &str,
) -> Result<(), Fault> {
    let held = work.must_hold(lane, message.seq, message.key.as_deref())?;
    let phase = if due > work.now { phase::DELAYED } else { phase::DUE };
    work.file()?.prepare_cached(sql::AGAIN)?.execute(params![
        lane,
        message.seq,
        phase,
        held,
        due,
        history.failures,
        history.refusals,
        history.interruptions,
        why
    ])?;
    work.memory.shift(lane, Some(Slot::Running), Some(Slot::of(phase, held)), 1);
    if phase == phase::DELAYED {
        work.memory.expect_due(lane, due);
    }
    Ok(())
}

fn die(
    work: &mut Work<'_>,
    lane: LaneId,
    message: &Running,
    death: Death,
    history: History,
    why: &str,
) -> Result<(), Fault> {
    let now = work.now;
    work.file()?.prepare_cached(sql::DIE)?.execute(params![
        lane,
        message.seq,
        now,
        death.name(),
        history.failures,
        history.refusals,
        history.interruptions,
        why
    ])?;
    work.memory.shift(lane, Some(Slot::Running), Some(Slot::Dead), 1);
    work.move_up(lane, message.key.as_deref())
}

/// Makes a claim's lease last.
pub(crate) struct Extend(pub(crate) ClaimId, pub(crate) Duration);

impl Job for Extend {
    type Output = Held;

    fn run(&mut self, work: &mut Work<'_>) -> Result<Held, Fault> {
        Ok(work.memory.extend(self.0, self.1))
    }
}

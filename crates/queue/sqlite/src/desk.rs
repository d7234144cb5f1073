//! The one thread that writes: what waits goes together in one transaction, and whoever waits for messages
//! gets theirs in the same.

use crate::{
    Options,
    claim::{Claimer, Handover, RawClaim, take},
    inbox::{Inbox, Order},
    memory::Memory,
    task::Task,
    upkeep,
    work::Work,
};
use std::{
    collections::VecDeque,
    sync::Arc,
    time::{Duration, Instant},
};
use xebec_core::{Error, ports::clock::Clock};
use xebec_sqlite::{Fault, rusqlite::Connection, time::to_nanoseconds};

const DOING: &str = "write to the queue";
/// How soon a change of the clock is seen while something depends on it.
const GLANCE: Duration = Duration::from_millis(100);
/// How often what is old goes.
const SWEEP: Duration = Duration::from_secs(60);
/// How soon what could not be done by itself is tried again.
const RETRY: Duration = Duration::from_secs(1);

pub(crate) struct Desk {
    connection: Connection,
    memory: Memory,
    clock: Arc<dyn Clock>,
    inbox: Arc<Inbox>,
    options: Options,
    claimers: VecDeque<Claimer>,
    /// When what is old goes next, and whether the last time left something over.
    sweep: Instant,
    unswept: bool,
    /// Since by itself nothing could be done: not before then.
    not_before: Option<Instant>,
    /// The last write failed.
    troubled: bool,
}

/// Closes the line, however the thread ends.
struct Closing(Arc<Inbox>);

impl Drop for Closing {
    fn drop(&mut self) {
        self.0.abandon();
    }
}

impl Desk {
    pub(crate) fn new(
        connection: Connection,
        memory: Memory,
        clock: Arc<dyn Clock>,
        inbox: Arc<Inbox>,
        options: Options,
    ) -> Self {
        Self {
            connection,
            memory,
            clock,
            inbox,
            options,
            claimers: VecDeque::new(),
            sweep: Instant::now() + RETRY,
            unswept: false,
            not_before: None,
            troubled: false,
        }
    }

    /// Works until the line is closed and empty.
    pub(crate) fn run(mut self) {
        let _closing = Closing(Arc::clone(&self.inbox));
        while let Some(orders) = self.inbox.take(self.options.group, self.wake_at()) {
            self.turn(orders);
        }
    }

    fn turn(&mut self, orders: Vec<Order>) {
        self.memory.set_time(self.clock.steady());
        let mut tasks = Vec::with_capacity(orders.len());
        for order in orders {
            match order {
                Order::Task(task) if task.is_moot() => {}
                Order::Task(task) => tasks.push(task),
                Order::Claim(claimer) => self.claimers.push_back(claimer),
            }
        }
        self.claimers.retain(|claimer| !claimer.answer.is_closed());
        self.together(tasks);
        self.dismiss();
        self.keep_house();
    }

    /// All in one transaction. Where it is lost (a full disk, say), each gets one of its own.
    fn together(&mut self, mut tasks: Vec<Box<dyn Task>>) {
        let by_itself = self.not_before.is_none_or(|at| at <= Instant::now());
        let asks = self.asks();
        let done = self.transaction(|work| {
            if by_itself {
                upkeep::by_the_clocks(work)?;
            }
            tasks.iter_mut().try_for_each(|task| task.run(work))?;
            serve(work, &asks)
        });
        match done {
            Ok(served) => {
                self.not_before = if by_itself { None } else { self.not_before };
                tasks.into_iter().for_each(Task::finish);
                self.hand_over(served);
            }
            Err(fault) => {
                tracing::debug!(tasks = tasks.len(), %fault, "a group commit failed; now one by one");
                self.one_by_one(tasks, by_itself);
            }
        }
    }

    fn one_by_one(&mut self, tasks: Vec<Box<dyn Task>>, by_itself: bool) {
        if by_itself && let Err(fault) = self.transaction(upkeep::by_the_clocks) {
            tracing::warn!(%fault, "the queue cannot write what time has changed; trying again soon");
            self.not_before = Some(Instant::now() + RETRY);
        }
        for mut task in tasks {
            match self.transaction(|work| task.run(work)) {
                Ok(()) => task.finish(),
                Err(fault) => task.fail(fault.into_error(DOING)),
            }
        }
        let asks = self.asks();
        match self.transaction(|work| serve(work, &asks)) {
            Ok(served) => self.hand_over(served),
            Err(fault) => {
                let error = fault.into_error("claim from the queue");
                for claimer in self.claimers.drain(..) {
                    let _ = claimer.answer.send(Err(error.clone()));
                }
            }
        }
    }

    fn transaction<T>(&mut self, run: impl FnOnce(&mut Work<'_>) -> Result<T, Fault>) -> Result<T, Fault> {
        let (now, steady) = (to_nanoseconds(self.clock.now()), self.clock.steady());
        let mut work = Work::new(&self.connection, &mut self.memory, &self.options, now, steady);
        work.troubled = self.troubled;
        let done = run(&mut work).and_then(|done| {
            let wrote = work.commit()?;
            Ok((done, wrote))
        });
        if done.is_err() {
            work.roll_back();
        }
        self.troubled = match &done {
            Ok((_, true)) => false,
            Ok((_, false)) => self.troubled,
            Err(_) => true,
        };
        done.map(|(done, _)| done)
    }

    fn asks(&self) -> Vec<(usize, Duration)> {
        self.claimers.iter().map(|claimer| (claimer.most, claimer.lease)).collect()
    }

    /// Gives those who came first what they got; who got nothing waits on.
    fn hand_over(&mut self, served: Vec<Vec<RawClaim>>) {
        let mut waiting = VecDeque::with_capacity(self.claimers.len());
        let mut served = served.into_iter();
        for claimer in self.claimers.drain(..) {
            match served.next().filter(|claims| !claims.is_empty()) {
                None => waiting.push_back(claimer),
                // Where it is gone meanwhile, they are given back.
                Some(claims) => {
                    let _ = claimer.answer.send(Ok(Handover::new(claims, &self.inbox)));
                }
            }
        }
        self.claimers = waiting;
    }

    /// Those whose time is over get nothing.
    fn dismiss(&mut self) {
        let (steady, now) = (self.clock.steady(), Instant::now());
        let is_over = |claimer: &Claimer| claimer.until <= steady || claimer.until_really <= now;
        if self.claimers.iter().any(is_over) {
            let (over, waiting) = self.claimers.drain(..).partition::<VecDeque<_>, _>(is_over);
            self.claimers = waiting;
            for claimer in over {
                let _ = claimer.answer.send(Ok(Handover::new(Vec::new(), &self.inbox)));
            }
        }
    }

    fn keep_house(&mut self) {
        if self.sweep > Instant::now() {
            return;
        }
        self.unswept = self.transaction(upkeep::sweep).unwrap_or_else(|fault| {
            tracing::warn!(%fault, "the queue cannot tidy up; trying again later");
            false
        });
        self.sweep = Instant::now() + if self.unswept { Duration::ZERO } else { SWEEP };
    }

    /// When there may be something to do again, if nothing comes.
    fn wake_at(&self) -> Option<Instant> {
        let (now, steady) = (Instant::now(), self.clock.steady());
        let wait_until = |at: Duration| now + at.saturating_sub(steady).min(GLANCE);
        let clocks = [
            self.memory.first_lease().map(wait_until),
            self.memory.first_batch().map(wait_until),
            self.memory.first_due().map(|due| {
                let wait = due.saturating_sub(to_nanoseconds(self.clock.now()));
                now + Duration::from_nanos(u64::try_from(wait).unwrap_or(0)).min(GLANCE)
            }),
        ];
        let clocks = clocks.into_iter().flatten().min();
        let clocks = match self.not_before {
            Some(at) => clocks.map(|clocks| clocks.max(at)),
            None => clocks,
        };
        let claimers = self.claimers.iter().map(|claimer| claimer.until_really).min();
        // While nothing is there, nothing becomes old.
        let sweep = (self.unswept || !self.memory.is_tidy()).then_some(self.sweep);
        [clocks, claimers, sweep].into_iter().flatten().min()
    }
}

/// What each of those who wait gets, in the order in which they came.
fn serve(work: &mut Work<'_>, asks: &[(usize, Duration)]) -> Result<Vec<Vec<RawClaim>>, Fault> {
    let mut served = Vec::new();
    for (most, lease) in asks {
        let claims = take(work, *most, *lease)?;
        if claims.is_empty() && *most > 0 {
            break;
        }
        served.push(claims);
    }
    Ok(served)
}

/// The disk takes too long.
pub(crate) fn too_slow(deadline: Duration) -> Error {
    Error::new(
        xebec_core::ErrorKind::Unavailable,
        "XB4005",
        format!("the queue did not answer within {deadline:?}; what was asked may still be written"),
    )
    .with_hint(
        "ask again: a message that has the same id is not accepted twice; the disk is too slow or hangs",
    )
}

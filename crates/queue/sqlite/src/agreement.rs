//! Memory says what the file says, whatever happens, and whatever of it is rolled back.

use crate::{
    Options,
    claim::take,
    enqueue::Enqueue,
    letters::{Cancel, Discard, Pause, Redrive},
    memory::{Counts, LaneId, Memory, Slot},
    message::Prepared,
    schema::MIGRATIONS,
    select::{self, Filter},
    settle::Settle,
    sql,
    task::Job,
    upkeep,
    work::Work,
};
use jiff::Timestamp;
use proptest::prelude::*;
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};
use xebec_core::{
    FunctionKey, InvocationId, Tenant,
    message::{Call, Lane, Message, Payload},
    ports::queue::{ClaimId, Place, Selection, Verdict},
    rules::retry::{Death, History},
};
use xebec_sqlite::{Fault, rusqlite::Connection, time::to_nanoseconds};

#[derive(Clone, Debug)]
enum Step {
    Enqueue { lane: u8, key: Option<u8>, delay: u64 },
    Take(usize),
    Over(usize),
    Again(usize, u64),
    Die(usize),
    Cancel(usize),
    Redrive(u64),
    Discard,
    Pause(u8, bool),
    Wait(u64),
    Sweep,
}

fn step() -> impl Strategy<Value = Step> {
    let key = proptest::option::of(0u8..2);
    let delay = prop_oneof![3 => Just(0u64), 1 => 1u64..30];
    prop_oneof![
        6 => (0u8..3, key, delay.clone()).prop_map(|(lane, key, delay)| Step::Enqueue { lane, key, delay }),
        3 => (1usize..4).prop_map(Step::Take),
        2 => (0usize..8).prop_map(Step::Over),
        2 => (0usize..8, delay.clone()).prop_map(|(which, delay)| Step::Again(which, delay)),
        1 => (0usize..8).prop_map(Step::Die),
        1 => (0usize..30).prop_map(Step::Cancel),
        1 => delay.prop_map(Step::Redrive),
        1 => Just(Step::Discard),
        1 => (0u8..3, any::<bool>()).prop_map(|(lane, on)| Step::Pause(lane, on)),
        2 => (1u64..20).prop_map(Step::Wait),
        1 => Just(Step::Sweep),
    ]
}

fn lane(number: u8) -> Lane {
    Lane::function("q", &FunctionKey::new(&Tenant::new("t"), "native", &format!("f{number}")))
}

/// A queue without its thread.
struct Bench {
    connection: Connection,
    memory: Memory,
    options: Options,
    /// Seconds.
    now: u64,
    ids: Vec<InvocationId>,
    running: Vec<(ClaimId, InvocationId)>,
}

impl Bench {
    fn new() -> Self {
        let connection = Connection::open_in_memory().unwrap();
        MIGRATIONS.iter().for_each(|sql| connection.execute_batch(sql).unwrap());
        Self {
            connection,
            memory: Memory::new(0, BTreeSet::new()),
            options: Options { dead: 3, ..Options::default() },
            now: 1_000_000,
            ids: Vec::new(),
            running: Vec::new(),
        }
    }

    fn time(&self) -> Timestamp {
        Timestamp::from_second(i64::try_from(self.now).unwrap()).unwrap()
    }

    fn message(&self, number: u8, key: Option<u8>, delay: u64) -> Message {
        Message {
            due: self.time() + Duration::from_secs(delay),
            key: key.map(|key| format!("k{key}").into()),
            ..Message::new(
                lane(number),
                Call {
                    method: "POST".into(),
                    uri: "/".into(),
                    headers: http::HeaderMap::new(),
                    body: Payload::Inline(bytes::Bytes::from_static(b"body")),
                },
                self.time(),
            )
        }
    }

    /// In a transaction, which is lost where it says so.
    fn run<T>(&mut self, lost: bool, run: impl FnOnce(&mut Work<'_>) -> Result<T, Fault>) -> Option<T> {
        let (now, steady) = (to_nanoseconds(self.time()), Duration::from_secs(self.now));
        self.memory.set_time(steady);
        let mut work = Work::new(&self.connection, &mut self.memory, &self.options, now, steady);
        let done = run(&mut work);
        if lost || !matches!(done, Ok(_) | Err(Fault::Refused(_))) {
            work.roll_back();
            return None;
        }
        work.commit().unwrap();
        done.ok()
    }

    fn act(&mut self, step: Step, lost: bool) {
        match step {
            Step::Enqueue { lane, key, delay } => {
                let message = self.message(lane, key, delay);
                let id = message.id;
                let mut job = Enqueue(Prepared::all(vec![message], 1 << 20).unwrap());
                if self.run(lost, |work| job.run(work)).is_some() {
                    self.ids.push(id);
                }
            }
            Step::Take(most) => {
                let taken = self.run(lost, |work| take(work, most, Duration::from_secs(25)));
                for claim in taken.into_iter().flatten() {
                    self.running.extend(claim.messages.iter().map(|message| (claim.id, message.id)));
                }
            }
            Step::Over(which) => self.settle(which, lost, Verdict::Over),
            Step::Again(which, delay) => {
                let due = self.time() + Duration::from_secs(delay);
                let history = History { failures: 1, ..History::default() };
                self.settle(which, lost, Verdict::Again { due, history, why: "again".into() });
            }
            Step::Die(which) => {
                let (death, history) = (Death::Failed, History::default());
                self.settle(which, lost, Verdict::Dead { death, history, why: "dead".into() });
            }
            Step::Cancel(which) => {
                if let Some(id) = self.ids.get(which).copied() {
                    self.run(lost, |work| Cancel(id).run(work));
                }
            }
            Step::Redrive(spacing) => {
                let spots = self.dead();
                let due = to_nanoseconds(self.time());
                let spacing = i64::try_from(spacing).unwrap() * 1_000_000_000;
                self.run(lost, |work| Redrive { spots, due, spacing }.run(work));
            }
            Step::Discard => {
                let spots = self.dead();
                self.run(lost, |work| Discard(spots).run(work));
            }
            Step::Pause(number, on) => {
                let lane = lane(number);
                let place = Place::Function(FunctionKey::new(&lane.tenant, "native", &format!("f{number}")));
                self.run(lost, |work| Pause { place, on }.run(work));
            }
            Step::Wait(seconds) => {
                self.now += seconds;
                self.run(lost, upkeep::by_the_clocks);
            }
            Step::Sweep => {
                self.run(lost, upkeep::sweep);
            }
        }
    }

    fn settle(&mut self, which: usize, lost: bool, verdict: Verdict) {
        if let Some((claim, id)) = self.running.get(which).copied() {
            let mut job = Settle::new(claim, id, verdict, Vec::new());
            self.run(lost, |work| job.run(work));
        }
    }

    fn dead(&self) -> Vec<select::Spot> {
        select::spots(&self.connection, &Selection::default(), Filter::Dead, &[], 0, 10).unwrap()
    }

    fn check(&self) {
        assert!(self.connection.is_autocommit());
        let mut counts: BTreeMap<LaneId, Counts> = BTreeMap::new();
        let (mut messages, mut bytes) = (0, 0);
        let mut rows = self.connection.prepare(sql::COUNT_ALL).unwrap();
        let mut rows = rows.query([]).unwrap();
        while let Some(row) = rows.next().unwrap() {
            let (lane, phase, held): (LaneId, i64, bool) =
                (row.get(0).unwrap(), row.get(1).unwrap(), row.get(2).unwrap());
            let count: i64 = row.get(3).unwrap();
            messages += count.unsigned_abs();
            bytes += row.get::<_, i64>(4).unwrap().unsigned_abs();
            let of_lane = counts.entry(lane).or_default();
            match Slot::of(phase, held) {
                Slot::Delayed => of_lane.delayed += count.unsigned_abs(),
                Slot::Ready => of_lane.ready += count.unsigned_abs(),
                Slot::Held => of_lane.held += count.unsigned_abs(),
                Slot::Running => of_lane.running += count.unsigned_abs(),
                Slot::Dead => of_lane.dead += count.unsigned_abs(),
            }
        }
        let known = self.memory.counts(None).into_iter().map(|(lane, _, counts, _)| (lane, counts)).collect();
        assert_eq!(counts, known);
        assert_eq!((messages, bytes), (self.memory.messages(), self.memory.bytes()));
        assert_eq!(messages, self.memory.messages_of(&Tenant::new("t")));
        assert_eq!(counts.values().map(|counts| counts.dead).sum::<u64>(), self.memory.dead());
        let running = counts.values().map(|counts| counts.running).sum::<u64>();
        assert_eq!(running, self.memory.leases().len() as u64);
        self.check_keys();
        self.check_dues(&counts);
    }

    /// Of each key one may run, or runs; it is the first unless it runs.
    fn check_keys(&self) {
        let sql = "SELECT sum(held = 0), max(phase = 2), min(seq), min(CASE held WHEN 0 THEN seq END)
            FROM messages WHERE key IS NOT NULL AND phase < 3 GROUP BY lane, key";
        let mut rows = self.connection.prepare(sql).unwrap();
        let mut rows = rows.query([]).unwrap();
        while let Some(row) = rows.next().unwrap() {
            assert_eq!(row.get::<_, i64>(0).unwrap(), 1, "may run of a key");
            let runs: bool = row.get(1).unwrap();
            assert!(runs || row.get::<_, i64>(2).unwrap() == row.get::<_, i64>(3).unwrap());
        }
        let stray = "SELECT count(*) FROM messages WHERE held = 1 AND (key IS NULL OR phase > 1)";
        assert_eq!(self.connection.query_row(stray, [], |row| row.get::<_, i64>(0)).unwrap(), 0);
    }

    /// What is delayed is expected.
    fn check_dues(&self, counts: &BTreeMap<LaneId, Counts>) {
        let first: Option<i64> = self
            .connection
            .query_row("SELECT min(due) FROM messages WHERE phase = 0", [], |row| row.get(0))
            .unwrap();
        let delayed = counts.values().any(|counts| counts.delayed > 0);
        assert_eq!(first.is_some(), delayed);
        if let Some(first) = first {
            assert!(self.memory.first_due().is_some_and(|due| due <= first), "nobody waits for it");
        }
    }

    /// All that may ever run does.
    fn work_off(&mut self) {
        for number in 0..3 {
            self.act(Step::Pause(number, false), false);
        }
        for _ in 0..500 {
            self.act(Step::Wait(10), false);
            self.running.clear();
            self.act(Step::Take(3), false);
            while !self.running.is_empty() {
                self.act(Step::Over(0), false);
                self.running.remove(0);
            }
            let alive = |counts: Counts| counts.delayed + counts.ready + counts.held + counts.running;
            if self.memory.counts(None).iter().all(|(_, _, counts, _)| alive(*counts) == 0) {
                return self.check();
            }
        }
        panic!("something is stuck: {:?}", self.memory.counts(None));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    #[test]
    fn memory_and_file_agree(
        steps in proptest::collection::vec((step(), proptest::bool::weighted(0.3)), 1..80),
    ) {
        let mut bench = Bench::new();
        for (step, lost) in steps {
            bench.act(step, lost);
            bench.check();
        }
        bench.work_off();
    }
}

//! The world: a ledger, workers that claim from it as a dispatcher does, functions, two clocks, and trouble.

use crate::{
    auditor::{Auditor, Tally},
    random::Random,
    workload::{Mood, Plan, attempt, plain, reaches},
};
use jiff::Timestamp;
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};
use xebec_core::{
    message::{Lane, Message},
    ports::queue::{ClaimId, Claimed, Held, LaneRules, Place, Selection, Settlement, Verdict},
    rules::{
        ledger::{Ledger, Moment},
        retry::{Ending, History, Next, decide, may_begin},
    },
};

/// What will happen.
#[derive(Clone, Copy, Debug)]
enum Event {
    Send,
    Begin(u64),
    Finish(u64),
    Extend(u64),
    /// Time alone may have changed what can be claimed.
    Wake,
    Trouble,
}

#[derive(Default)]
struct Worker {
    /// It does nothing until then, and does not know.
    stalled: Duration,
    jobs: usize,
}

/// A claim that a worker has.
struct Job {
    worker: usize,
    claim: ClaimId,
    lane: Lane,
    /// As far as the worker knows.
    until: Duration,
    parts: Vec<Part>,
    /// It stops what runs when it learns that its lease is over.
    gives_up: bool,
}

struct Part {
    claimed: Claimed,
    ending: Option<Ending>,
    settled: bool,
}

pub(crate) struct World {
    random: Random,
    plan: Plan,
    at: Moment,
    ledger: Ledger,
    auditor: Auditor,
    workers: Vec<Worker>,
    jobs: BTreeMap<u64, Job>,
    events: BTreeMap<(Duration, u64), Event>,
    numbered: u64,
    sent: usize,
    /// When wakes are, so that there are no two at the same time.
    wakes: BTreeSet<Duration>,
    /// Nothing goes wrong any more.
    calm: bool,
    tells: bool,
}

/// Runs the world of a seed until it has come to rest.
pub(crate) fn run(seed: u64, tells: bool) -> Tally {
    let mut random = Random::new(seed);
    let plan = Plan::draw(&mut random);
    let start = Timestamp::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
    let mut world = World {
        workers: (0..plan.workers).map(|_| Worker::default()).collect(),
        random,
        at: Moment { now: start, steady: Duration::ZERO },
        ledger: Ledger::default(),
        auditor: Auditor::default(),
        jobs: BTreeMap::new(),
        events: BTreeMap::new(),
        numbered: 1_000_000,
        sent: 0,
        wakes: BTreeSet::new(),
        calm: false,
        tells,
        plan,
    };
    world.live();
    world.auditor.tally
}

impl World {
    fn live(&mut self) {
        self.auditor.pass(self.at);
        self.serve_all();
        self.after(Duration::ZERO, Event::Send);
        self.after(Duration::from_millis(self.plan.trouble_ms), Event::Trouble);
        for step in 0_u32.. {
            assert!(step < 50_000, "it does not come to rest");
            if self.sent >= self.plan.messages && !self.calm && self.random.chance(0.01) {
                self.settle_down();
            }
            if self.calm && self.auditor.alive() == 0 && !self.redrive_the_rest() {
                break;
            }
            let Some(((when, _), event)) = self.events.pop_first() else {
                panic!("nothing happens any more")
            };
            self.pass(when);
            self.happen(event);
            self.claim();
            self.auditor.check(&self.ledger);
            if step % 64 == 0 {
                self.auditor.check_all(&mut self.ledger, self.at);
            }
        }
        self.auditor.check_all(&mut self.ledger, self.at);
        assert!(self.ledger.is_empty() && self.ledger.next_change(self.at).is_none());
    }

    fn tell(&self, what: impl FnOnce() -> String) {
        if self.tells {
            eprintln!("{:>10.3} {} {}", self.at.steady.as_secs_f64(), self.at.now, what());
        }
    }

    fn after(&mut self, wait: Duration, event: Event) {
        self.numbered += 1;
        self.events.insert((self.at.steady + wait, self.numbered), event);
    }

    fn pass(&mut self, steady: Duration) {
        let passed = steady.saturating_sub(self.at.steady);
        self.at = Moment { now: self.at.now + passed, steady: self.at.steady + passed };
        self.notice();
    }

    fn notice(&mut self) {
        self.auditor.pass(self.at);
        self.ledger.advance(self.at);
    }

    fn happen(&mut self, event: Event) {
        self.tell(|| format!("{event:?}"));
        match event {
            Event::Send => self.send(),
            Event::Begin(job) => self.begin(job),
            Event::Finish(job) => self.finish(job),
            Event::Extend(job) => self.extend(job),
            Event::Wake => {
                self.wakes.pop_first();
            }
            Event::Trouble if self.calm => {}
            Event::Trouble => {
                self.trouble();
                let wait = self.random.between(1, 2 * self.plan.trouble_ms);
                self.after(Duration::from_millis(wait), Event::Trouble);
            }
        }
    }

    fn number(&mut self) -> u64 {
        self.numbered += 1;
        self.numbered
    }

    fn send(&mut self) {
        let mut messages = Vec::new();
        for _ in 0..self.random.between(1, 4) {
            let number = self.number();
            messages.push(self.plan.message(&mut self.random, number, self.at.now));
        }
        if self.sent > 0 && self.random.chance(0.1) {
            // Someone sends again what was sent, not knowing whether it came.
            let chance = self.random.next() as usize;
            let mut again = messages[0].clone();
            again.id = self.auditor.pick(chance);
            let known = self.ledger.get(&again.id, self.at).is_some();
            messages.extend(known.then_some(again));
        }
        self.sent += messages.len();
        self.tell(|| format!("send {:?}", messages.iter().map(short).collect::<Vec<_>>()));
        let receipts = self.ledger.enqueue(messages.clone(), self.at).unwrap();
        self.auditor.accepted(&messages, &receipts, self.at);
        if self.sent < self.plan.messages {
            let wait = Duration::from_millis(self.random.below(800));
            self.after(wait, Event::Send);
        }
    }

    /// Every worker that has room claims, in any order; in bad times not always.
    fn claim(&mut self) {
        let first = self.random.below(self.workers.len() as u64) as usize;
        for number in 0..self.workers.len() {
            let worker = (first + number) % self.workers.len();
            if !self.calm && self.random.chance(0.2) {
                continue;
            }
            while self.workers[worker].stalled <= self.at.steady
                && self.workers[worker].jobs < self.plan.slots
            {
                let lease = self.plan.lease;
                let claim = self.ledger.claim(1, lease, self.at).pop();
                self.auditor.claimed(claim.as_ref(), lease, self.at);
                let Some(claim) = claim else { break };
                self.take_on(worker, claim.id, claim.lane, claim.messages);
            }
        }
        let soon = Duration::from_millis(50);
        match self.ledger.next_change(self.at) {
            Some(wait) => self.wake(wait.max(Duration::from_nanos(1))),
            // Someone stalls, or did not claim just now.
            None if self.wakes.is_empty() && self.auditor.alive() > 0 => self.wake(soon),
            None => {}
        }
    }

    fn wake(&mut self, wait: Duration) {
        if self.wakes.insert(self.at.steady + wait) {
            self.after(wait, Event::Wake);
        }
    }

    /// A worker has a claim: what may not begin is settled at once.
    fn take_on(&mut self, worker: usize, claim: ClaimId, lane: Lane, messages: Vec<Claimed>) {
        self.tell(|| {
            let ids: Vec<_> = messages.iter().map(|claimed| short(&claimed.message)).collect();
            format!("worker {worker} claims {claim:?} of {lane}: {ids:?}")
        });
        let part = |claimed| Part { claimed, ending: None, settled: false };
        let job = Job {
            worker,
            claim,
            lane,
            until: self.at.steady + self.plan.lease,
            parts: messages.into_iter().map(part).collect(),
            gives_up: self.random.chance(0.5),
        };
        let number = self.number();
        self.workers[worker].jobs += 1;
        let count = job.parts.len();
        self.jobs.insert(number, job);
        for index in 0..count {
            let Some(claimed) = self.jobs.get(&number).map(|job| job.parts[index].claimed.clone()) else {
                return;
            };
            let message = &claimed.message;
            let retry = message.retry.clone().unwrap_or_default();
            let guarantee = message.guarantee.unwrap_or_default();
            if let Err(death) = may_begin(guarantee, &retry, claimed.history, message.expires, self.at.now) {
                self.auditor.count(death.name());
                let why = "it may not begin".to_owned();
                self.settle(number, index, Verdict::Dead { death, history: claimed.history, why });
            }
        }
        if self.jobs.contains_key(&number) {
            // Whoever fetches a large body may take longer than the lease.
            let most = if self.random.chance(0.1) { 2 * self.plan.lease } else { self.plan.lease / 20 };
            let wait = most.mul_f64(self.random.unit());
            self.after(wait, Event::Begin(number));
            if self.random.chance(0.9) {
                self.after(self.plan.lease / 3, Event::Extend(number));
            }
        }
    }

    /// Whether a job's worker is awake: where it stalls the event happens later; where it crashed, never.
    fn awake(&mut self, job: u64, event: Event) -> bool {
        let Some(worker) = self.jobs.get(&job).map(|job| job.worker) else { return false };
        let wait = self.workers[worker].stalled.saturating_sub(self.at.steady);
        if !wait.is_zero() {
            self.after(wait, event);
        }
        wait.is_zero()
    }

    fn begin(&mut self, number: u64) {
        if !self.awake(number, Event::Begin(number)) {
            return;
        }
        let Some(job) = self.jobs.get_mut(&number) else { return };
        if job.until <= self.at.steady {
            // A dispatcher begins nothing for which its lease is over.
            self.auditor.count("a lease was over before it began");
            self.drop_job(number);
            return;
        }
        let lane = self.plan.lanes.iter().position(|lane| *lane == job.lane);
        let mood = lane.map_or(Mood::Healthy, |index| self.plan.moods[index]);
        let mut longest = Duration::ZERO;
        for part in job.parts.iter_mut().filter(|part| !part.settled) {
            let (takes, ending) = attempt(&mut self.random, mood, self.plan.lease);
            longest = longest.max(takes);
            part.ending = Some(ending);
            self.auditor.begins(job.claim, &part.claimed.message.id, reaches(&ending));
        }
        self.after(longest, Event::Finish(number));
    }

    fn finish(&mut self, number: u64) {
        if !self.awake(number, Event::Finish(number)) {
            return;
        }
        let count = self.jobs.get(&number).map_or(0, |job| job.parts.len());
        for index in 0..count {
            let Some(job) = self.jobs.get(&number) else { return };
            let part = &job.parts[index];
            let (false, Some(ending)) = (part.settled, part.ending) else { continue };
            let claimed = part.claimed.clone();
            self.auditor.ends(job.claim, &claimed.message.id);
            let verdict = self.judge(&claimed, &ending);
            self.settle(number, index, verdict);
        }
    }

    fn judge(&mut self, claimed: &Claimed, ending: &Ending) -> Verdict {
        let Claimed { message, history } = claimed;
        let retry = message.retry.clone().unwrap_or_default();
        let age = Duration::try_from(self.at.now.duration_since(message.due)).unwrap_or(Duration::ZERO);
        let guarantee = message.guarantee.unwrap_or_default();
        let next = decide(guarantee, &retry, *history, ending, age, self.random.unit());
        let failed = History { failures: history.failures + 1, ..*history };
        let refused = History { refusals: history.refusals + 1, ..*history };
        let why = ending.outcome.name().to_owned();
        match next {
            Next::Done => Verdict::Over,
            Next::Again { after, counts } => {
                self.auditor.count(if counts { "one was tried again" } else { "one was refused" });
                let history = if counts { failed } else { refused };
                Verdict::Again { due: self.at.now + after, history, why }
            }
            Next::Dead(death) => {
                self.auditor.count(death.name());
                Verdict::Dead { death, history: if reaches(ending) { failed } else { refused }, why }
            }
        }
    }

    /// Ends one part of a job, with what comes of it.
    fn settle(&mut self, number: u64, index: usize, verdict: Verdict) {
        let Some(job) = self.jobs.get_mut(&number) else { return };
        job.parts[index].settled = true;
        let (claim, id) = (job.claim, job.parts[index].claimed.message.id);
        let ran = job.parts[index].ending.is_some_and(|ending| reaches(&ending));
        let over = job.parts.iter().all(|part| part.settled);
        let then = self.results(&verdict);
        let settlement = Settlement { id, verdict: verdict.clone(), then: then.clone() };
        let settled = self.ledger.settle(claim, settlement, self.at).unwrap();
        self.tell(|| format!("{claim:?} settles {}: {verdict:?}: {settled:?}", id.0.as_u128()));
        if self.auditor.settled(claim, &id, &verdict, settled) {
            let receipts: Vec<_> = then
                .iter()
                .map(|message| xebec_core::message::Receipt { id: message.id, duplicate: false })
                .collect();
            self.auditor.accepted(&then, &receipts, self.at);
            let failed = match &verdict {
                Verdict::Again { history, .. } | Verdict::Dead { history, .. } => history.failures > 0,
                Verdict::Over => false,
            };
            if ran && failed {
                self.auditor.counted(&id);
            }
        } else {
            for message in &then {
                assert_eq!(self.ledger.get(&message.id, self.at), None, "a late one's results were accepted");
            }
        }
        if over {
            self.drop_job(number);
        }
    }

    /// Results on their way: they always arrive.
    fn results(&mut self, verdict: &Verdict) -> Vec<Message> {
        let most = if matches!(verdict, Verdict::Again { .. }) { 0 } else { 2 };
        let mut then = Vec::new();
        for _ in 0..self.random.below(most + 1) {
            if self.random.chance(0.5) {
                let lane = self.random.pick(&self.plan.lanes).clone();
                let number = self.number();
                then.push(plain(number, Lane { queue: "results".into(), ..lane }, self.at.now));
            }
        }
        if self.calm || self.sent > 3 * self.plan.messages {
            // Results have results too; some time that ends.
            then.clear();
        }
        self.sent += then.len();
        then
    }

    fn extend(&mut self, number: u64) {
        if !self.awake(number, Event::Extend(number)) {
            return;
        }
        let Some(job) = self.jobs.get_mut(&number) else { return };
        let (claim, lease) = (job.claim, self.plan.lease);
        let held = self.ledger.extend(claim, lease, self.at);
        self.auditor.extended(claim, lease, &held, self.at);
        match held {
            Held::No => {
                if job.gives_up {
                    self.drop_job(number);
                }
            }
            Held::Yes(cancelled) => {
                job.until = self.at.steady + lease;
                let stop = |part: &Part| !part.settled && cancelled.contains(&part.claimed.message.id);
                let stopped: Vec<_> = (0..job.parts.len()).filter(|index| stop(&job.parts[*index])).collect();
                for index in stopped {
                    // Not every function can be stopped.
                    if self.random.chance(0.7) {
                        let Some(job) = self.jobs.get(&number) else { return };
                        let id = job.parts[index].claimed.message.id;
                        self.auditor.ends(claim, &id);
                        self.settle(number, index, Verdict::Over);
                    }
                }
                if self.jobs.contains_key(&number) {
                    self.after(lease / 3, Event::Extend(number));
                }
            }
        }
    }

    /// A worker knows nothing of a job any more.
    fn drop_job(&mut self, number: u64) {
        let Some(job) = self.jobs.remove(&number) else { return };
        self.workers[job.worker].jobs -= 1;
        for part in &job.parts {
            self.auditor.ends(job.claim, &part.claimed.message.id);
        }
    }

    fn crash(&mut self, worker: usize) {
        let of_worker = |(number, job): (&u64, &Job)| (job.worker == worker).then_some(*number);
        let jobs: Vec<_> = self.jobs.iter().filter_map(of_worker).collect();
        for number in jobs {
            self.auditor.count("a crash ended a job");
            self.drop_job(number);
        }
        self.workers[worker].stalled = Duration::ZERO;
    }

    fn trouble(&mut self) {
        let worker = self.random.below(self.workers.len() as u64) as usize;
        let kind = self.random.below(20);
        self.tell(|| format!("trouble {kind}"));
        match kind {
            0..=2 => self.crash(worker),
            3 => {
                (0..self.workers.len()).for_each(|worker| self.crash(worker));
                self.ledger.restart(self.at);
                self.auditor.restarted(self.at);
                self.auditor.count("the queue was restarted");
                self.serve_all();
            }
            4..=6 => {
                let most = 3 * self.plan.lease.as_millis() as u64;
                let stall = Duration::from_millis(self.random.between(1, most));
                self.workers[worker].stalled = self.at.steady + stall;
            }
            7..=8 => self.jump(),
            9..=10 if self.sent > 0 => {
                let chance = self.random.next() as usize;
                let id = self.auditor.pick(chance);
                let entry = self.ledger.cancel(&id, self.at).ok();
                self.auditor.cancelled(&id, entry.as_ref());
            }
            11..=12 => {
                let place = self.place();
                let pause = self.random.chance(0.4);
                if pause {
                    self.ledger.pause(&place, self.at);
                } else {
                    self.ledger.resume(&place, self.at);
                }
                self.auditor.paused(&place, pause);
            }
            13..=14 => {
                let (which, rate) =
                    (self.selection(), self.random.maybe(0.5, |random| random.between(1, 20) as u32));
                let count = self.ledger.redrive(&which, rate, self.at);
                self.auditor.redriven(&which, rate, count, self.at);
            }
            15 => {
                let which = self.selection();
                let gone = self.ledger.discard(&which, self.at);
                self.auditor.discarded(&which, &gone);
            }
            16 => {
                let lane = self.random.pick(&self.plan.lanes).clone();
                let rules = self.plan.rules(&mut self.random);
                self.serve(&lane, rules);
            }
            17 => {
                let tenant = self.random.pick(&self.plan.lanes).tenant.clone();
                let most = self.random.maybe(0.5, |random| random.below(4) as u32);
                self.ledger.limit(&tenant, most);
                self.auditor.limited(&tenant, most);
            }
            _ => {
                let index = self.random.below(self.plan.moods.len() as u64) as usize;
                self.plan.moods[index] = self.plan.any_mood(&mut self.random);
            }
        }
    }

    /// The wall clock is set, in either direction; what is steady does not notice.
    fn jump(&mut self) {
        let most = *self.random.pick(&[1_000, 60_000, 7_200_000]);
        let by = Duration::from_millis(self.random.below(most));
        let now = if self.random.chance(0.5) { self.at.now + by } else { self.at.now - by };
        self.auditor.count("the clock jumped");
        self.at = Moment { now, ..self.at };
        self.notice();
    }

    fn place(&mut self) -> Place {
        let lane = self.random.pick(&self.plan.lanes).clone();
        match lane.target {
            xebec_core::message::Target::Function(function) if self.random.chance(0.5) => {
                Place::Function(function)
            }
            _ => Place::Queue { tenant: lane.tenant, name: lane.queue.to_string() },
        }
    }

    fn selection(&mut self) -> Selection {
        let lane = self.random.pick(&self.plan.lanes).clone();
        Selection { tenant: self.random.maybe(0.7, |_| lane.tenant), ..Selection::default() }
    }

    fn serve(&mut self, lane: &Lane, rules: LaneRules) {
        self.ledger.configure(lane, rules, self.at);
        self.auditor.configured(lane, rules);
    }

    fn serve_all(&mut self) {
        for lane in self.plan.lanes.clone() {
            let rules = self.plan.rules(&mut self.random);
            self.serve(&lane, rules);
        }
    }

    /// Nothing goes wrong any more, nothing is paused, and every lane is served.
    fn settle_down(&mut self) {
        self.calm = true;
        self.tell(|| "from here on all is well".to_owned());
        for lane in self.plan.lanes.clone() {
            self.ledger.limit(&lane.tenant, None);
            self.auditor.limited(&lane.tenant, None);
            let mut rules = self.plan.rules(&mut self.random);
            rules.concurrency = rules.concurrency.max(1);
            for name in ["results", &lane.queue] {
                self.serve(&Lane { queue: name.into(), ..lane.clone() }, rules);
            }
        }
        for place in self.ledger.paused() {
            self.ledger.resume(&place, self.at);
            self.auditor.paused(&place, false);
        }
        let healthy = |random: &mut Random| if random.chance(0.5) { Mood::Healthy } else { Mood::Broken };
        for index in 0..self.plan.moods.len() {
            self.plan.moods[index] = healthy(&mut self.random);
        }
        self.workers.iter_mut().for_each(|worker| worker.stalled = Duration::ZERO);
    }

    /// All that is left is dead: functions that work do even that. `false`: nothing is left.
    fn redrive_the_rest(&mut self) -> bool {
        if self.ledger.is_empty() {
            return false;
        }
        self.plan.moods.iter_mut().for_each(|mood| *mood = Mood::Healthy);
        let count = self.ledger.redrive(&Selection::default(), None, self.at);
        self.auditor.redriven(&Selection::default(), None, count, self.at);
        self.claim();
        assert!(count > 0, "something is left that is not dead");
        true
    }
}

fn short(message: &Message) -> String {
    let key = message.key.as_deref().unwrap_or("-");
    format!("{} {} {key}", message.id.0.as_u128(), message.lane)
}

//! What waits and runs in one lane, and what of it this worker should begin next.

use crate::wire::{Holder, Line, WorkerId};
use jiff::Timestamp;
use sha2::{Digest as _, Sha256};
use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, HashMap},
    time::Duration,
};
use xebec_core::{
    InvocationId,
    message::{Lane, Target},
    ports::queue::LaneRules,
};

/// How long a message is left to the worker it belongs to before the others may take it.
pub(crate) const COURTESY: Duration = Duration::from_millis(100);

/// How far a worker looks for a message of its own before it considers those of others.
const GLANCE: usize = 64;

/// Who goes before whom in a lane: the higher priority, what was due first, what was accepted first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Turn {
    pub(crate) priority: Reverse<u8>,
    pub(crate) due: Timestamp,
    pub(crate) order: u64,
    pub(crate) id: InvocationId,
}

/// Whether a turn may be taken, and when to look again if not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Readiness {
    Now,
    Later(Duration),
    Empty,
}

/// What belongs to whom: a number that all workers compute alike.
pub(crate) type Token = u64;

/// What is to begin now: its token, and since when it could.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ready {
    pub(crate) token: Token,
    pub(crate) since: Duration,
}

/// One lane.
#[derive(Debug)]
pub(crate) struct LaneState {
    pub(crate) rules: LaneRules,
    /// What may begin now.
    pub(crate) ready: BTreeMap<Turn, Ready>,
    /// Everything that waits.
    pub(crate) waiting: BTreeSet<(Timestamp, InvocationId)>,
    pub(crate) running: u64,
    pub(crate) dead: u64,
    /// Claims of other workers, and how many messages each has.
    pub(crate) foreign: HashMap<Holder, u64>,
    pub(crate) paused: bool,
    token: Token,
}

/// Unconfigured, a lane has these.
pub(crate) fn default_rules(lane: &Lane) -> LaneRules {
    match lane.target {
        Target::Consumer => LaneRules { concurrency: 0, batch: None },
        _ => LaneRules::default(),
    }
}

impl LaneState {
    pub(crate) fn new(lane: &Lane, rules: LaneRules, paused: bool) -> Self {
        Self {
            rules,
            ready: BTreeMap::new(),
            waiting: BTreeSet::new(),
            running: 0,
            dead: 0,
            foreign: HashMap::new(),
            paused,
            token: token(lane.to_string().as_bytes()),
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.running == 0 && self.dead == 0 && self.foreign.is_empty()
    }

    /// What is taken in batches, or by few at a time, one worker alone should take: others would only make
    /// its batches smaller and its limit less exact.
    fn belongs(&self, ready: &Ready, crew: &Crew) -> bool {
        if self.rules.batch.is_some() || self.rules.concurrency < 4 {
            return crew.owns(self.token);
        }
        crew.owns(ready.token)
    }

    fn next(&self, crew: &Crew, now: Duration) -> Result<Turn, Readiness> {
        let Some((head, of_head)) = self.ready.first_key_value() else { return Err(Readiness::Empty) };
        if self.belongs(of_head, crew) {
            return Ok(*head);
        }
        let patience = (of_head.since + COURTESY).saturating_sub(now);
        let own = self.ready.iter().take(GLANCE).find(|(_, ready)| self.belongs(ready, crew));
        match own {
            // What is more urgent than the own ones, and was left lying, comes first.
            Some((own, _)) if own.priority == head.priority || !patience.is_zero() => Ok(*own),
            _ if patience.is_zero() => Ok(*head),
            _ => Err(Readiness::Later(patience)),
        }
    }

    /// Whether a claim can be made of it.
    pub(crate) fn readiness(&self, crew: &Crew, now: Duration) -> Readiness {
        if self.paused {
            return Readiness::Empty;
        }
        if let Err(not_now) = self.next(crew, now) {
            return not_now;
        }
        let Some(batch) = self.rules.batch else { return Readiness::Now };
        if self.ready.len() >= batch.size as usize {
            return Readiness::Now;
        }
        let oldest = self.ready.values().map(|ready| ready.since).min().unwrap_or(now);
        match (oldest + batch.wait).saturating_sub(now) {
            Duration::ZERO => Readiness::Now,
            wait => Readiness::Later(wait),
        }
    }

    /// Takes what one claim has.
    pub(crate) fn take(&mut self, crew: &Crew, now: Duration) -> Vec<InvocationId> {
        let most = self.rules.batch.map_or(1, |batch| batch.size.max(1)) as usize;
        let mut taken = Vec::new();
        while taken.len() < most
            && let Ok(turn) = self.next(crew, now)
        {
            self.ready.remove(&turn);
            taken.push(turn.id);
        }
        taken
    }
}

/// The token of a message: those of one line belong together.
pub(crate) fn token_of(id: &InvocationId, line: Option<Line>) -> Token {
    match line {
        Some(line) => mix(line as u64),
        None => mix(id.0.as_u64_pair().1),
    }
}

/// The workers that claim, by what all of them know: each message belongs to one of them, so that they do not
/// reach for the same ones.
#[derive(Clone, Debug)]
pub(crate) struct Crew {
    me: Token,
    others: Vec<Token>,
}

impl Crew {
    pub(crate) fn new(me: &WorkerId) -> Self {
        Self { me: token(me.as_bytes()), others: Vec::new() }
    }

    pub(crate) fn is(&mut self, others: &BTreeSet<WorkerId>) {
        self.others = others.iter().map(|worker| token(worker.as_bytes())).collect();
    }

    fn owns(&self, of: Token) -> bool {
        let mine = mix(self.me ^ of);
        self.others.iter().all(|other| mix(*other ^ of) < mine)
    }
}

fn token(bytes: &[u8]) -> Token {
    let digest = Sha256::digest(bytes);
    digest.first_chunk().map_or(0, |bytes| Token::from_be_bytes(*bytes))
}

/// Spreads a number over all numbers (the finaliser of SplitMix64).
fn mix(of: Token) -> Token {
    let mut z = of.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use xebec_core::{FunctionKey, Tenant, ports::queue::BatchRules};

    fn crews(count: usize) -> Vec<Crew> {
        let names: Vec<WorkerId> = (0..count).map(|number| format!("worker {number}").into()).collect();
        let crew = |me: &WorkerId| {
            let mut crew = Crew::new(me);
            crew.is(&names.iter().filter(|name| *name != me).cloned().collect());
            crew
        };
        names.iter().map(crew).collect()
    }

    fn lane(rules: LaneRules) -> LaneState {
        let function = FunctionKey::new(&Tenant::default(), "native", "f");
        LaneState::new(&Lane::function("default", &function), rules, false)
    }

    fn turn(order: u64, priority: u8) -> Turn {
        Turn { priority: Reverse(priority), due: Timestamp::UNIX_EPOCH, order, id: InvocationId::new() }
    }

    proptest! {
        #[test]
        fn everything_belongs_to_exactly_one(count in 1usize..6, of in any::<u64>()) {
            let owners = crews(count).iter().filter(|crew| crew.owns(of)).count();
            prop_assert_eq!(owners, 1);
        }
    }

    #[test]
    fn what_belongs_to_another_is_left_to_it_for_a_while() {
        let crews = crews(2);
        let mut lane = lane(LaneRules::default());
        let (mine, others) =
            ((0..).find(|of| crews[0].owns(*of)).unwrap(), (0..).find(|of| crews[1].owns(*of)).unwrap());
        let now = Duration::from_secs(1);
        let (first, second, urgent) = (turn(1, 5), turn(2, 5), turn(3, 9));
        lane.ready.insert(first, Ready { token: others, since: now });
        assert_eq!(lane.readiness(&crews[0], now), Readiness::Later(COURTESY));
        assert_eq!(lane.readiness(&crews[1], now), Readiness::Now);
        lane.ready.insert(second, Ready { token: mine, since: now });
        assert_eq!(lane.take(&crews[0], now), [second.id]);
        assert_eq!(lane.take(&crews[0], now + COURTESY), [first.id]);
        lane.ready.insert(urgent, Ready { token: others, since: now });
        lane.ready.insert(second, Ready { token: mine, since: now });
        assert_eq!(lane.take(&crews[0], now + COURTESY), [urgent.id], "it is urgent, and was left lying");
    }

    #[test]
    fn a_batch_is_ready_when_full_or_old() {
        let crew = &crews(1)[0];
        let wait = Duration::from_secs(5);
        let batch = Some(BatchRules { size: 2, wait });
        let mut lane = lane(LaneRules { concurrency: 1, batch });
        let now = Duration::from_secs(1);
        assert_eq!(lane.readiness(crew, now), Readiness::Empty);
        lane.ready.insert(turn(1, 5), Ready { token: 1, since: now });
        assert_eq!(lane.readiness(crew, now), Readiness::Later(wait));
        assert_eq!(lane.readiness(crew, now + wait), Readiness::Now);
        lane.ready.insert(turn(2, 5), Ready { token: 2, since: now });
        assert_eq!(lane.readiness(crew, now), Readiness::Now);
        lane.paused = true;
        assert_eq!(lane.readiness(crew, now), Readiness::Empty);
    }
}

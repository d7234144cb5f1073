//! Who watches: it keeps its own books of what was promised, and compares them with what happens.

use jiff::Timestamp;
use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};
use xebec_core::{
    InvocationId, Tenant,
    message::{Guarantee, Lane, Message, Receipt, Target},
    ports::queue::{
        Claim, ClaimId, Entry, EntryQuery, EntryState, Held, LaneRules, Place, Selection, Settled, Verdict,
    },
    rules::{
        ledger::{Ledger, Moment},
        retry::MAX_INTERRUPTIONS,
    },
};

/// How often each thing happened that must happen in a workload worth its time.
pub(crate) type Tally = BTreeMap<&'static str, u64>;

struct Item {
    message: Message,
    /// Its lane, by number: lanes take long to compare.
    lane: usize,
    state: State,
    due: Timestamp,
    /// When it began to wait: an index into the moments.
    since: usize,
    interruptions: u32,
    cancelled: bool,
    /// Since it was accepted or redriven: attempts that reached the function, and that were counted.
    reached: u32,
    counted: u32,
    /// Claims under which it runs, as far as anybody outside can see.
    runs: BTreeSet<ClaimId>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum State {
    Waiting,
    Held(ClaimId),
    Dead,
    Gone,
}

struct Hold {
    lane: usize,
    until: Duration,
    left: BTreeSet<InvocationId>,
}

#[derive(Default)]
pub(crate) struct Auditor {
    /// In the order in which they were accepted, those that are gone as well.
    items: Vec<Item>,
    index: BTreeMap<InvocationId, usize>,
    /// In the order in which they had their first message.
    lanes: Vec<Lane>,
    claims: BTreeMap<ClaimId, Hold>,
    /// What the wall clock showed, step by step.
    moments: Vec<Timestamp>,
    keys: BTreeMap<(Lane, String), (InvocationId, Timestamp)>,
    rules: BTreeMap<Lane, LaneRules>,
    limits: BTreeMap<Tenant, Option<u32>>,
    paused: BTreeSet<Place>,
    passed_over: BTreeMap<usize, usize>,
    pub(crate) tally: Tally,
}

impl Auditor {
    pub(crate) fn count(&mut self, what: &'static str) {
        *self.tally.entry(what).or_default() += 1;
    }

    fn item(&mut self, id: &InvocationId) -> &mut Item {
        let index = self.index.get(id).unwrap_or_else(|| panic!("nobody sent {id}"));
        &mut self.items[*index]
    }

    pub(crate) fn alive(&self) -> usize {
        self.items.iter().filter(|item| !matches!(item.state, State::Gone | State::Dead)).count()
    }

    fn there(&self) -> usize {
        self.items.iter().filter(|item| item.state != State::Gone).count()
    }

    pub(crate) fn pick(&self, at: usize) -> InvocationId {
        self.items[at % self.items.len()].message.id
    }

    /// Time went by.
    pub(crate) fn pass(&mut self, at: Moment) {
        self.moments.push(at.now);
        let over: Vec<_> =
            self.claims.iter().filter(|(_, hold)| hold.until <= at.steady).map(|(id, _)| *id).collect();
        for claim in over {
            self.count("a lease ran out");
            self.interrupt(claim, at);
        }
        self.keys.retain(|_, (_, until)| *until > at.now);
    }

    fn interrupt(&mut self, claim: ClaimId, at: Moment) {
        let Some(hold) = self.claims.remove(&claim) else { return };
        let since = self.moments.len() - 1;
        for id in hold.left {
            let item = self.item(&id);
            if item.cancelled {
                item.state = State::Gone;
                self.count("a cancelled one was interrupted");
                continue;
            }
            item.state = State::Waiting;
            item.interruptions += 1;
            item.since = since;
            item.due = item.due.min(at.now);
        }
    }

    /// The queue's process ended.
    pub(crate) fn restarted(&mut self, at: Moment) {
        for claim in self.claims.keys().copied().collect::<Vec<_>>() {
            self.interrupt(claim, at);
        }
        self.rules.clear();
        self.limits.clear();
        self.passed_over.clear();
    }

    pub(crate) fn accepted(&mut self, messages: &[Message], receipts: &[Receipt], at: Moment) {
        assert_eq!(messages.len(), receipts.len());
        for (message, receipt) in messages.iter().zip(receipts) {
            self.accepted_one(message, *receipt, at);
        }
    }

    fn accepted_one(&mut self, message: &Message, receipt: Receipt, at: Moment) {
        let known = self.index.get(&message.id).is_some_and(|index| self.items[*index].state != State::Gone);
        let key = message.idempotency.as_ref().map(|it| (message.lane.clone(), it.key.to_string()));
        let first = match key.as_ref().and_then(|key| self.keys.get(key)) {
            _ if known => Some(message.id),
            remembered => remembered.map(|(id, _)| *id),
        };
        let wanted = Receipt { id: first.unwrap_or(message.id), duplicate: first.is_some() };
        assert_eq!(receipt, wanted, "accepted as what it is not");
        if receipt.duplicate {
            self.count("a duplicate was sent");
            return;
        }
        if let (Some(key), Some(idempotency)) = (key, &message.idempotency) {
            let until = message.accepted + Duration::from_millis(idempotency.window_ms);
            if until > at.now {
                self.keys.insert(key, (message.id, until));
            }
        }
        self.index.insert(message.id, self.items.len());
        let lane = self.number_of(&message.lane);
        self.items.push(Item {
            message: message.clone(),
            lane,
            state: State::Waiting,
            due: message.due,
            since: self.moments.len() - 1,
            interruptions: 0,
            cancelled: false,
            reached: 0,
            counted: 0,
            runs: BTreeSet::new(),
        });
    }

    fn rules_of(&self, lane: &Lane) -> LaneRules {
        let closed = LaneRules { concurrency: 0, batch: None };
        let usual = if lane.target == Target::Consumer { closed } else { LaneRules::default() };
        self.rules.get(lane).copied().unwrap_or(usual)
    }

    fn number_of(&mut self, lane: &Lane) -> usize {
        let known = self.lanes.iter().position(|known| known == lane);
        known.unwrap_or_else(|| {
            self.lanes.push(lane.clone());
            self.lanes.len() - 1
        })
    }

    fn open(&self, number: usize) -> bool {
        let lane = &self.lanes[number];
        let tenants = self.claims.values().map(|hold| &self.lanes[hold.lane].tenant);
        let of_tenant = tenants.filter(|tenant| **tenant == lane.tenant).count();
        let of_lane = self.claims.values().filter(|hold| hold.lane == number).count();
        let limit = self.limits.get(&lane.tenant).copied().flatten().unwrap_or(u32::MAX);
        of_lane < self.rules_of(lane).concurrency as usize
            && of_tenant < limit as usize
            && !self.paused.iter().any(|place| place.covers(lane))
    }

    /// Messages that nothing holds back whatever one thinks of keys and clocks.
    fn surely_ready(&self, at: Moment) -> impl Iterator<Item = (usize, &Item)> {
        self.items.iter().enumerate().filter(move |(_, item)| {
            item.state == State::Waiting && item.message.key.is_none() && item.due <= at.now
        })
    }

    fn surely_claimable(&self, at: Moment) -> BTreeSet<usize> {
        let mut lanes: BTreeSet<_> = self.surely_ready(at).map(|(_, item)| item.lane).collect();
        lanes.retain(|lane| self.rules_of(&self.lanes[*lane]).batch.is_none() && self.open(*lane));
        lanes
    }

    /// What one claim was answered with.
    pub(crate) fn claimed(&mut self, claim: Option<&Claim>, lease: Duration, at: Moment) {
        let could = self.surely_claimable(at);
        let Some(claim) = claim else {
            assert!(could.is_empty(), "there was something to claim: {could:?}");
            self.passed_over.clear();
            return;
        };
        let (number, lane) = (self.number_of(&claim.lane), &claim.lane);
        self.check_turns(&could, number);
        assert!(self.open(number), "{lane} is closed, paused or at a limit");
        assert!(!claim.messages.is_empty() && !self.claims.contains_key(&claim.id));
        let most = self.rules_of(lane).batch.map_or(1, |batch| batch.size.max(1));
        assert!(claim.messages.len() <= most as usize, "{} messages", claim.messages.len());
        if claim.messages.len() > 1 {
            self.count("a batch of several was claimed");
        }
        let mut left = BTreeSet::new();
        for claimed in &claim.messages {
            let id = claimed.message.id;
            self.check_claimed(&claimed.message, number, at);
            let item = self.item(&id);
            assert_eq!(claimed.history.interruptions, item.interruptions, "of {id}");
            item.state = State::Held(claim.id);
            left.insert(id);
        }
        self.claims.insert(claim.id, Hold { lane: number, until: at.steady + lease, left });
    }

    /// However much others have, none that could be claimed is passed over for long.
    fn check_turns(&mut self, could: &BTreeSet<usize>, turn: usize) {
        let tenants: BTreeSet<_> = self.lanes.iter().map(|lane| &lane.tenant).collect();
        let of_tenant = |tenant: &Tenant| self.lanes.iter().filter(|lane| lane.tenant == *tenant).count();
        let bound = tenants.len() * tenants.iter().map(|tenant| of_tenant(tenant)).max().unwrap_or(1);
        self.passed_over.retain(|lane, _| could.contains(lane) && *lane != turn);
        for lane in could.iter().filter(|lane| **lane != turn) {
            let times = self.passed_over.entry(*lane).or_default();
            *times += 1;
            assert!(*times < bound, "{} was passed over {times} times", self.lanes[*lane]);
        }
        if could.len() > 1 {
            self.count("lanes took turns");
        }
    }

    fn check_claimed(&mut self, message: &Message, lane: usize, at: Moment) {
        let place =
            self.index.get(&message.id).copied().unwrap_or_else(|| panic!("nobody sent {}", message.id));
        let item = &self.items[place];
        assert_eq!((message, lane), (&item.message, item.lane));
        match item.state {
            State::Waiting => {}
            State::Held(other) => panic!("{} is claimed within the lease of {other:?}", message.id),
            State::Dead | State::Gone => panic!("{} is over: {:?}", message.id, item.state),
        }
        assert!(!item.cancelled, "{} was cancelled", message.id);
        let latest = self.moments[item.since..].iter().max().copied().unwrap_or(at.now);
        assert!(latest >= item.due, "{} is due at {} only", message.id, item.due);
        let mut behind = false;
        for (other, of_key) in self.items.iter().enumerate() {
            let same = other != place && of_key.lane == lane && of_key.message.key == message.key;
            if message.key.is_none() || !same || !matches!(of_key.state, State::Waiting | State::Held(_)) {
                continue;
            }
            assert!(!matches!(of_key.state, State::Held(_)), "two of one key run");
            assert!(other > place, "{} overtakes {} of its key", message.id, of_key.message.id);
            behind = true;
        }
        let rank = |index: usize, item: &Item| (Reverse(item.message.priority), item.due, index);
        let mine = rank(place, item);
        for (other, ready) in self.surely_ready(at).filter(|(_, ready)| ready.lane == lane) {
            assert!(rank(other, ready) >= mine, "{} goes before {}", message.id, ready.message.id);
        }
        if behind {
            self.count("a key was held up");
        }
    }

    /// A function begins, or is refused.
    pub(crate) fn begins(&mut self, claim: ClaimId, id: &InvocationId, reaches: bool) {
        assert!(
            self.claims.get(&claim).is_some_and(|hold| hold.left.contains(id)),
            "{id} begins without a claim"
        );
        let item = self.item(id);
        item.runs.insert(claim);
        item.reached += u32::from(reaches);
        let (reached, crowded) = (item.reached, item.runs.len() > 1);
        let retry = item.message.retry.clone().unwrap_or_default();
        match item.message.guarantee.unwrap_or_default() {
            Guarantee::AtMostOnce => assert!(reached <= 1, "{id} reached its function twice"),
            Guarantee::AtLeastOnce => {
                let most = retry.attempts.max(1) + MAX_INTERRUPTIONS.max(retry.attempts) + 1;
                assert!(reached <= most, "{id} ran {reached} times");
            }
        }
        if crowded {
            self.count("one ran beside one whose lease had run out");
        }
    }

    /// It ended, or whoever ran it did.
    pub(crate) fn ends(&mut self, claim: ClaimId, id: &InvocationId) {
        self.item(id).runs.remove(&claim);
    }

    pub(crate) fn extended(&mut self, claim: ClaimId, lease: Duration, held: &Held, at: Moment) {
        let Some(hold) = self.claims.get_mut(&claim) else {
            assert_eq!(*held, Held::No, "its lease had run out");
            return;
        };
        hold.until = at.steady + lease;
        let left = hold.left.clone();
        let stopped = left.into_iter().filter(|id| self.item(id).cancelled).collect();
        assert_eq!(*held, Held::Yes(stopped));
    }

    pub(crate) fn settled(
        &mut self,
        claim: ClaimId,
        id: &InvocationId,
        verdict: &Verdict,
        settled: Settled,
    ) -> bool {
        let in_time = self.claims.get(&claim).is_some_and(|hold| hold.left.contains(id));
        assert_eq!(settled, if in_time { Settled::Yes } else { Settled::Late }, "{id}");
        if !in_time {
            self.count("one was settled too late");
            return false;
        }
        if let Some(hold) = self.claims.get_mut(&claim) {
            hold.left.remove(id);
            if hold.left.is_empty() {
                self.claims.remove(&claim);
            }
        }
        let since = self.moments.len() - 1;
        let item = self.item(id);
        match verdict {
            Verdict::Over => item.state = State::Gone,
            Verdict::Again { .. } if item.cancelled => item.state = State::Gone,
            Verdict::Again { due, history, .. } => {
                item.state = State::Waiting;
                (item.due, item.since, item.interruptions) = (*due, since, history.interruptions);
            }
            Verdict::Dead { history, .. } => {
                item.state = State::Dead;
                (item.interruptions, item.cancelled) = (history.interruptions, false);
            }
        }
        true
    }

    /// An attempt was one of those that a message may have.
    pub(crate) fn counted(&mut self, id: &InvocationId) {
        let item = self.item(id);
        item.counted += 1;
        let most = item.message.retry.clone().unwrap_or_default().attempts.max(1);
        assert!(item.counted <= most, "{id} had {} attempts of {most}", item.counted);
    }

    pub(crate) fn cancelled(&mut self, id: &InvocationId, answer: Option<&Entry>) {
        let item = self.item(id);
        let name = answer.map(|entry| entry.state.name());
        match item.state {
            State::Gone => assert_eq!(name, None),
            State::Held(_) => {
                assert_eq!(name, Some("running"));
                item.cancelled = true;
                self.count("a running one was cancelled");
            }
            State::Waiting | State::Dead => {
                assert_eq!(name, Some(if item.state == State::Dead { "dead" } else { "waiting" }));
                item.state = State::Gone;
                self.count("a waiting one was cancelled");
            }
        }
    }

    pub(crate) fn redriven(&mut self, which: &Selection, rate: Option<u32>, count: u64, at: Moment) {
        let since = self.moments.len() - 1;
        let spacing = rate.map_or(Duration::ZERO, |rate| Duration::from_secs(1) / rate);
        let mut number = 0;
        for item in &mut self.items {
            if item.state == State::Dead && which.covers(&item.message.id, &item.message.lane) {
                item.due = at.now + spacing * number;
                (item.message.due, item.message.expires) = (item.due, None);
                (item.state, item.since, item.interruptions) = (State::Waiting, since, 0);
                (item.reached, item.counted) = (0, 0);
                number += 1;
            }
        }
        assert_eq!(count, u64::from(number));
        if number > 0 {
            self.count("dead letters were redriven");
        }
    }

    pub(crate) fn discarded(&mut self, which: &Selection, gone: &[Message]) {
        let mut wanted = Vec::new();
        for item in &mut self.items {
            if item.state == State::Dead && which.covers(&item.message.id, &item.message.lane) {
                item.state = State::Gone;
                wanted.push(item.message.id);
            }
        }
        assert_eq!(gone.iter().map(|message| message.id).collect::<Vec<_>>(), wanted);
        if !wanted.is_empty() {
            self.count("dead letters were discarded");
        }
    }

    pub(crate) fn paused(&mut self, place: &Place, paused: bool) {
        if paused {
            self.paused.insert(place.clone());
        } else {
            self.paused.remove(place);
        }
    }

    pub(crate) fn configured(&mut self, lane: &Lane, rules: LaneRules) {
        self.rules.insert(lane.clone(), rules);
    }

    pub(crate) fn limited(&mut self, tenant: &Tenant, most: Option<u32>) {
        self.limits.insert(tenant.clone(), most);
    }

    /// What takes no time to check is checked at every step.
    pub(crate) fn check(&self, ledger: &Ledger) {
        assert_eq!(ledger.len(), self.there(), "something was lost, or kept");
    }

    /// Every message is there, in its state, or gone as it was told.
    pub(crate) fn check_all(&self, ledger: &mut Ledger, at: Moment) {
        let entries = ledger.list(&EntryQuery::default(), at).unwrap().entries;
        let seen: Vec<_> = entries
            .iter()
            .map(|entry| (entry.message.id, entry.state.name(), entry.history.interruptions))
            .collect();
        let there = self.items.iter().filter(|item| item.state != State::Gone);
        let name = |item: &Item| match item.state {
            State::Waiting => "waiting",
            State::Held(_) => "running",
            _ => "dead",
        };
        let wanted: Vec<_> = there.map(|item| (item.message.id, name(item), item.interruptions)).collect();
        assert_eq!(seen, wanted);
        for entry in &entries {
            if let EntryState::Running { cancelled, .. } = entry.state {
                assert_eq!(cancelled, self.items[self.index[&entry.message.id]].cancelled);
            }
        }
    }
}

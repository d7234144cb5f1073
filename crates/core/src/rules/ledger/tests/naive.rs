//! The ledger against a model that looks at everything each time.

use super::*;
use proptest::prelude::*;
use std::cmp::Reverse;

#[derive(Clone, Debug)]
enum Step {
    Enqueue(Vec<Draft>),
    Claim { most: usize, lease: u64 },
    Settle { which: usize, verdict: Fate, then: Vec<Draft> },
    Extend { which: usize, lease: u64 },
    Cancel(usize),
    Redrive { which: Option<usize>, rate: Option<u32> },
    Discard(usize),
    Pause(u8),
    Resume(u8),
    Configure { lane: (u8, u8), concurrency: u32, batch: Option<(u32, u64)> },
    Limit(u8, Option<u32>),
    Pass(u64),
    Restart,
}

/// A message to be; its id and times are filled in when it is sent.
#[derive(Clone, Debug)]
struct Draft {
    lane: (u8, u8),
    key: Option<u8>,
    priority: u8,
    delay: u64,
    idempotency: Option<(u8, u64)>,
    /// Sent again under an id that was used, if it is still there.
    again: Option<usize>,
}

#[derive(Clone, Copy, Debug)]
enum Fate {
    Over,
    Again(u64),
    Dead,
}

fn draft() -> impl Strategy<Value = Draft> {
    let lane = (0u8..2, 0u8..2);
    let key = proptest::option::of(0u8..2);
    let delay = prop_oneof![4 => Just(0u64), 1 => 1u64..2000];
    let idempotency = proptest::option::weighted(0.2, (0u8..2, 0u64..3000));
    let again = proptest::option::weighted(0.1, 0usize..30);
    (lane, key, 4u8..7, delay, idempotency, again).prop_map(
        |(lane, key, priority, delay, idempotency, again)| Draft {
            lane,
            key,
            priority,
            delay,
            idempotency,
            again,
        },
    )
}

fn step() -> impl Strategy<Value = Step> {
    let lease = prop_oneof![Just(300u64), Just(5_000u64)];
    let fate = prop_oneof![
        3 => Just(Fate::Over),
        2 => (0u64..1500).prop_map(Fate::Again),
        2 => Just(Fate::Dead),
    ];
    let batch = proptest::option::of((1u32..4, 0u64..400));
    prop_oneof![
        8 => proptest::collection::vec(draft(), 0..5).prop_map(Step::Enqueue),
        8 => (1usize..5, lease.clone()).prop_map(|(most, lease)| Step::Claim { most, lease }),
        8 => (0usize..20, fate, proptest::collection::vec(draft(), 0..2))
            .prop_map(|(which, verdict, then)| Step::Settle { which, verdict, then }),
        2 => (0usize..8, lease).prop_map(|(which, lease)| Step::Extend { which, lease }),
        2 => (0usize..30).prop_map(Step::Cancel),
        2 => (proptest::option::of(0usize..30), proptest::option::of(1u32..5))
            .prop_map(|(which, rate)| Step::Redrive { which, rate }),
        1 => (0usize..30).prop_map(Step::Discard),
        1 => (0u8..4).prop_map(Step::Pause),
        2 => (0u8..4).prop_map(Step::Resume),
        2 => ((0u8..2, 0u8..2), 0u32..4, batch)
            .prop_map(|(lane, concurrency, batch)| Step::Configure { lane, concurrency, batch }),
        1 => (0u8..2, proptest::option::of(0u32..4)).prop_map(|(tenant, most)| Step::Limit(tenant, most)),
        6 => (1u64..1000).prop_map(Step::Pass),
        1 => Just(Step::Restart),
    ]
}

fn place(number: u8) -> Place {
    let lane = lane(number / 2, number % 2);
    match (number % 2, &lane.target) {
        (0, Target::Function(key)) => Place::Function(key.clone()),
        _ => Place::Queue { tenant: lane.tenant, name: lane.queue.to_string() },
    }
}

#[derive(Clone, Debug)]
struct Item {
    message: Message,
    due: Timestamp,
    state: ItemState,
    interruptions: u32,
    ready_since: Option<Duration>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum ItemState {
    Waiting,
    Running { claim: ClaimId, until: Duration, cancelled: bool },
    Dead,
}

impl Item {
    fn alive(&self) -> bool {
        self.state != ItemState::Dead
    }

    fn claim(&self) -> Option<ClaimId> {
        match self.state {
            ItemState::Running { claim, .. } => Some(claim),
            _ => None,
        }
    }
}

#[derive(Default)]
struct Naive {
    /// In the order in which they were accepted.
    items: Vec<Item>,
    keys: Vec<(Lane, CompactString, InvocationId, Timestamp)>,
    rules: HashMap<Lane, LaneRules>,
    limits: HashMap<Tenant, Option<u32>>,
    paused: Vec<Place>,
}

impl Naive {
    fn enqueue(&mut self, messages: &[Message], at: Moment) -> Vec<Receipt> {
        messages.iter().map(|message| self.enqueue_one(message, at)).collect()
    }

    fn enqueue_one(&mut self, message: &Message, at: Moment) -> Receipt {
        if self.items.iter().any(|item| item.message.id == message.id) {
            return Receipt { id: message.id, duplicate: true };
        }
        if let Some(Idempotency { key, window_ms }) = &message.idempotency {
            let known = self.keys.iter().find(|known| known.0 == message.lane && known.1 == *key);
            if let Some((_, _, id, _)) = known {
                return Receipt { id: *id, duplicate: true };
            }
            let until = later(message.accepted, Duration::from_millis(*window_ms));
            self.keys.push((message.lane.clone(), key.clone(), message.id, until));
            self.advance(at);
        }
        self.items.push(Item {
            message: message.clone(),
            due: message.due,
            state: ItemState::Waiting,
            interruptions: 0,
            ready_since: None,
        });
        Receipt { id: message.id, duplicate: false }
    }

    /// Ends leases and windows, and notes what became ready.
    fn advance(&mut self, at: Moment) {
        self.interrupt(at, |until| until <= at.steady);
        self.keys.retain(|(.., until)| *until > at.now);
        self.note_ready(at);
    }

    fn note_ready(&mut self, at: Moment) {
        for index in 0..self.items.len() {
            let ready = self.is_ready(index, at);
            let since = &mut self.items[index].ready_since;
            *since = if ready { since.or(Some(at.steady)) } else { None };
        }
    }

    fn interrupt(&mut self, at: Moment, which: impl Fn(Duration) -> bool) {
        for item in &mut self.items {
            if let ItemState::Running { until, cancelled: false, .. } = item.state
                && which(until)
            {
                item.state = ItemState::Waiting;
                item.interruptions += 1;
                item.due = item.due.min(at.now);
            }
        }
        self.items.retain(
            |item| !matches!(item.state, ItemState::Running { until, cancelled: true, .. } if which(until)),
        );
    }

    fn is_ready(&self, index: usize, at: Moment) -> bool {
        let item = &self.items[index];
        let blocks = |(other, blocker): (usize, &Item)| {
            item.message.key.is_some()
                && blocker.message.key == item.message.key
                && blocker.message.lane == item.message.lane
                && blocker.alive()
                && (other < index || (other != index && blocker.claim().is_some()))
        };
        item.state == ItemState::Waiting && item.due <= at.now && !self.items.iter().enumerate().any(blocks)
    }

    /// What a claim of the lane would have, if there may be one.
    fn first_of(&self, lane: &Lane, at: Moment) -> Option<Vec<InvocationId>> {
        let claims = |of: &dyn Fn(&Lane) -> bool| {
            let running = self.items.iter().filter(|item| of(&item.message.lane)).filter_map(Item::claim);
            running.collect::<HashSet<_>>().len()
        };
        let rules = self.rules.get(lane).copied().unwrap_or_default();
        let limit = self.limits.get(&lane.tenant).copied().flatten().unwrap_or(u32::MAX);
        if claims(&|other| other == lane) >= rules.concurrency as usize
            || claims(&|other| other.tenant == lane.tenant) >= limit as usize
            || self.paused.iter().any(|place| place.covers(lane))
        {
            return None;
        }
        let mut ready: Vec<_> = (0..self.items.len())
            .filter(|index| self.items[*index].message.lane == *lane && self.is_ready(*index, at))
            .collect();
        let since = ready.iter().filter_map(|index| self.items[*index].ready_since).min()?;
        ready.sort_by_key(|index| {
            let item = &self.items[*index];
            (Reverse(item.message.priority), item.due, *index)
        });
        let size = match rules.batch {
            None => 1,
            Some(batch) if ready.len() < batch.size as usize && at.steady < since + batch.wait => {
                return None;
            }
            Some(batch) => batch.size as usize,
        };
        Some(ready.into_iter().take(size).map(|index| self.items[index].message.id).collect())
    }

    fn lanes() -> impl Iterator<Item = Lane> {
        (0..4).map(|number| lane(number / 2, number % 2))
    }

    fn item(&mut self, id: &InvocationId) -> Option<&mut Item> {
        self.items.iter_mut().find(|item| item.message.id == *id)
    }
}

struct Pair {
    ledger: Ledger,
    naive: Naive,
    at: Moment,
    /// What was claimed, whether or not the claim still holds.
    claimed: Vec<(ClaimId, InvocationId)>,
    sent: u64,
}

impl Pair {
    fn messages(&mut self, drafts: &[Draft]) -> Vec<Message> {
        let at = self.at;
        let make = |draft: &Draft| {
            let known = draft.again.and_then(|index| self.naive.items.get(index));
            let number = known.map(|item| item.message.id.0.as_u128() as u64);
            self.sent += 1;
            Message {
                key: draft.key.map(|key| key.to_string().into()),
                priority: draft.priority,
                due: later(at.now, Duration::from_millis(draft.delay)),
                idempotency: draft
                    .idempotency
                    .map(|(key, window_ms)| Idempotency { key: key.to_string().into(), window_ms }),
                ..message(number.unwrap_or(self.sent), &lane(draft.lane.0, draft.lane.1), at)
            }
        };
        drafts.iter().map(make).collect()
    }

    fn id(&self, index: usize) -> Option<InvocationId> {
        self.naive.items.get(index).map(|item| item.message.id)
    }

    fn selected(&self, index: usize) -> Selection {
        Selection { ids: Some(self.id(index).into_iter().collect()), ..Selection::default() }
    }

    fn step(&mut self, step: Step) {
        let at = self.at;
        match step {
            Step::Enqueue(drafts) => {
                let messages = self.messages(&drafts);
                let wanted = self.naive.enqueue(&messages, at);
                assert_eq!(self.ledger.enqueue(messages, at).unwrap(), wanted);
            }
            Step::Claim { most, lease } => self.claim(most, Duration::from_millis(lease)),
            Step::Settle { which, verdict, then } => self.settle(which, verdict, &then),
            Step::Extend { which, lease } => self.extend(which, Duration::from_millis(lease)),
            Step::Cancel(index) => self.cancel(index),
            Step::Redrive { which, rate } => {
                let selection = which.map_or_else(Selection::default, |index| self.selected(index));
                let mut count = 0_u32;
                for item in &mut self.naive.items {
                    if item.state == ItemState::Dead && selection.covers(&item.message.id, &item.message.lane)
                    {
                        let gap = Duration::from_secs(1) / rate.unwrap_or(u32::MAX);
                        item.due = later(at.now, if rate.is_some() { gap * count } else { Duration::ZERO });
                        (item.state, item.interruptions) = (ItemState::Waiting, 0);
                        count += 1;
                    }
                }
                assert_eq!(self.ledger.redrive(&selection, rate, at), u64::from(count));
            }
            Step::Discard(index) => {
                let selection = self.selected(index);
                let wanted: Vec<_> = selection.ids.iter().flatten().copied().collect();
                let goes = |item: &Item| item.state == ItemState::Dead && wanted.contains(&item.message.id);
                let count = self.naive.items.iter().filter(|item| goes(item)).count();
                self.naive.items.retain(|item| !goes(item));
                assert_eq!(self.ledger.discard(&selection, at).len(), count);
            }
            Step::Pause(number) => {
                self.naive.paused.push(place(number));
                self.ledger.pause(&place(number), at);
            }
            Step::Resume(number) => {
                self.naive.paused.retain(|paused| *paused != place(number));
                self.ledger.resume(&place(number), at);
            }
            Step::Configure { lane: (tenant, name), concurrency, batch } => {
                let batch = batch.map(|(size, wait)| BatchRules { size, wait: Duration::from_millis(wait) });
                let rules = LaneRules { concurrency, batch };
                self.naive.rules.insert(lane(tenant, name), rules);
                self.ledger.configure(&lane(tenant, name), rules, at);
            }
            Step::Limit(tenant, most) => {
                let tenant = lane(tenant, 0).tenant;
                self.naive.limits.insert(tenant.clone(), most);
                self.ledger.limit(&tenant, most);
            }
            Step::Pass(ms) => {
                let wait = Duration::from_millis(ms);
                self.at = Moment { now: later(at.now, wait), steady: at.steady + wait };
            }
            Step::Restart => {
                self.naive.interrupt(at, |_| true);
                self.naive.rules.clear();
                self.naive.limits.clear();
                self.ledger.restart(at);
            }
        }
    }

    fn claim(&mut self, most: usize, lease: Duration) {
        let at = self.at;
        let claims = self.ledger.claim(most, lease, at);
        for claim in &claims {
            let wanted = self.naive.first_of(&claim.lane, at).expect("it may not be claimed from");
            let got: Vec<_> = claim.messages.iter().map(|claimed| claimed.message.id).collect();
            assert_eq!(got, wanted);
            for claimed in &claim.messages {
                let item = self.naive.item(&claimed.message.id).unwrap();
                assert_eq!(claimed.history.interruptions, item.interruptions);
                let until = at.steady + lease;
                item.state = ItemState::Running { claim: claim.id, until, cancelled: false };
                self.claimed.push((claim.id, claimed.message.id));
            }
            self.naive.note_ready(at);
        }
        if claims.len() < most {
            for lane in Naive::lanes() {
                assert_eq!(self.naive.first_of(&lane, at), None, "{lane} was passed over");
            }
        }
    }

    fn settle(&mut self, which: usize, fate: Fate, then: &[Draft]) {
        let at = self.at;
        if self.claimed.is_empty() {
            return;
        }
        let (claim, id) = self.claimed[self.claimed.len() - 1 - which % self.claimed.len()];
        let then = self.messages(then);
        let history = History { failures: 1, ..History::default() };
        let (due, why) = match fate {
            Fate::Again(ms) => (later(at.now, Duration::from_millis(ms)), "no".to_owned()),
            _ => (at.now, "no".to_owned()),
        };
        let verdict = match fate {
            Fate::Over => Verdict::Over,
            Fate::Again(_) => Verdict::Again { due, history, why },
            Fate::Dead => Verdict::Dead { death: Death::Failed, history, why },
        };
        let settlement = Settlement { id, verdict, then: then.clone() };
        let settled = self.ledger.settle(claim, settlement, at).unwrap();
        let Some(item) = self.naive.item(&id).filter(|item| item.claim() == Some(claim)) else {
            assert_eq!(settled, Settled::Late);
            return;
        };
        assert_eq!(settled, Settled::Yes);
        let cancelled = matches!(item.state, ItemState::Running { cancelled: true, .. });
        item.interruptions = 0;
        match fate {
            Fate::Again(_) if !cancelled => (item.state, item.due) = (ItemState::Waiting, due),
            Fate::Dead => item.state = ItemState::Dead,
            _ => self.naive.items.retain(|item| item.message.id != id),
        }
        self.naive.enqueue(&then, at);
    }

    fn extend(&mut self, which: usize, lease: Duration) {
        let at = self.at;
        let Some((claim, _)) = self.claimed.iter().rev().nth(which).copied() else { return };
        let mut wanted = None;
        for item in self.naive.items.iter_mut().filter(|item| item.claim() == Some(claim)) {
            let stopped = wanted.get_or_insert_with(Vec::new);
            if let ItemState::Running { until, cancelled, .. } = &mut item.state {
                *until = at.steady + lease;
                if *cancelled {
                    stopped.push(item.message.id);
                }
            }
        }
        assert_eq!(self.ledger.extend(claim, lease, at), wanted.map_or(Held::No, Held::Yes));
    }

    fn cancel(&mut self, index: usize) {
        let id = self.id(index).unwrap_or_else(|| id(u64::MAX));
        let answer = self.ledger.cancel(&id, self.at);
        match self.naive.item(&id).map(|item| &mut item.state) {
            None => assert_eq!(answer.unwrap_err().code, "XB4021"),
            Some(ItemState::Running { cancelled, .. }) => {
                *cancelled = true;
                assert_eq!(answer.unwrap().state.name(), "running");
            }
            Some(_) => {
                assert_ne!(answer.unwrap().state.name(), "running");
                self.naive.items.retain(|item| item.message.id != id);
            }
        }
    }

    fn compare(&mut self) {
        let at = self.at;
        let claimable: Vec<_> =
            Naive::lanes().filter(|lane| self.naive.first_of(lane, at).is_some()).collect();
        assert_eq!(self.ledger.claimable(at), claimable);
        let page = self.ledger.list(&EntryQuery::default(), at).unwrap();
        let seen: Vec<_> = page
            .entries
            .iter()
            .map(|entry| (entry.message.id, entry.state.name(), entry.history.interruptions))
            .collect();
        let name = |item: &Item| match item.state {
            ItemState::Waiting => "waiting",
            ItemState::Running { .. } => "running",
            ItemState::Dead => "dead",
        };
        let wanted: Vec<_> =
            self.naive.items.iter().map(|item| (item.message.id, name(item), item.interruptions)).collect();
        assert_eq!(seen, wanted);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]
    #[test]
    fn does_what_a_naive_one_does(steps in proptest::collection::vec(step(), 0..80)) {
        let mut pair = Pair {
            ledger: Ledger::default(),
            naive: Naive::default(),
            at: at(0),
            claimed: Vec::new(),
            sent: 1_000,
        };
        for step in steps {
            pair.naive.advance(pair.at);
            pair.step(step);
            pair.naive.advance(pair.at);
            pair.compare();
        }
    }
}

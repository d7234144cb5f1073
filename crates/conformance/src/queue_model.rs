//! A queue against the ledger: whatever is asked of both has the same answers and leaves the same messages.
//!
//! The queue chooses which lane is next, since the port leaves that open; the ledger says whether it could be, and
//! which messages are then first. Times lie long past or far ahead, so that it does not matter how long a step
//! takes; leases are long, or run out at once.

use crate::queue::{LONG, Opened, PATIENCE, SHORT, Scale, function, in_ms, in_state, message, tenant, these};
use proptest::{prelude::*, test_runner::TestRunner};
use std::{
    collections::BTreeSet,
    sync::Arc,
    time::{Duration, Instant},
};
use xebec_core::{
    Digest, InvocationId,
    message::{Idempotency, Lane, Message, Payload, Target},
    ports::queue::{
        Ask, BatchRules, Claim, ClaimId, Entry, EntryQuery, EntryState, Held, LaneRules, LaneStats, Place,
        Queue, Selection, Settlement, Verdict,
    },
    rules::{
        ledger::{Ledger, Moment},
        retry::{Death, History},
    },
};

#[derive(Clone, Debug)]
enum Step {
    Enqueue(Vec<Draft>),
    Claim(usize),
    /// Claims, and lets the leases run out.
    Abandon,
    Settle {
        which: usize,
        fate: Fate,
        then: Vec<Draft>,
    },
    Extend(usize),
    Cancel(usize),
    Redrive(Option<usize>),
    Discard(Option<usize>),
    Pause(usize),
    Resume(usize),
    Configure {
        lane: usize,
        concurrency: u32,
        batch: Option<u32>,
    },
    Limit(usize, Option<u32>),
}

/// A message before it has an id and times.
#[derive(Clone, Debug)]
struct Draft {
    lane: usize,
    key: Option<u8>,
    priority: u8,
    /// Milliseconds from now.
    due: i64,
    idempotency: Option<u8>,
    blob: bool,
    /// The id of a message that is there.
    again: Option<usize>,
}

#[derive(Clone, Copy, Debug)]
enum Fate {
    Over,
    Again(i64),
    Dead,
}

const LANES: usize = 5;

fn lanes() -> Vec<Lane> {
    let of = |queue: &str, tenant: &str, name: &str| Lane::function(queue, &function(tenant, name));
    vec![
        of("default", "acme", "f"),
        of("default", "acme", "g"),
        of("jobs", "acme", "f"),
        of("default", "rival", "f"),
        Lane { tenant: tenant("rival"), queue: "jobs".into(), target: Target::Consumer },
    ]
}

fn places() -> Vec<Place> {
    vec![
        Place::Queue { tenant: tenant("acme"), name: "default".to_owned() },
        Place::Queue { tenant: tenant("rival"), name: "jobs".to_owned() },
        Place::Function(function("acme", "f")),
    ]
}

fn due() -> impl Strategy<Value = i64> {
    prop_oneof![4 => -9000i64..=-1000, 1 => Just(3_600_000)]
}

fn draft() -> impl Strategy<Value = Draft> {
    (
        0..LANES,
        proptest::option::weighted(0.4, 0u8..2),
        4u8..7,
        due(),
        proptest::option::weighted(0.15, 0u8..2),
        proptest::bool::weighted(0.1),
        proptest::option::weighted(0.1, 0usize..20),
    )
        .prop_map(|(lane, key, priority, due, idempotency, blob, again)| Draft {
            lane,
            key,
            priority,
            due,
            idempotency,
            blob,
            again,
        })
}

fn step() -> impl Strategy<Value = Step> {
    let fate = prop_oneof![4 => Just(Fate::Over), 2 => due().prop_map(Fate::Again), 2 => Just(Fate::Dead)];
    let batch = proptest::option::of(1u32..4);
    prop_oneof![
        10 => proptest::collection::vec(draft(), 1..6).prop_map(Step::Enqueue),
        10 => (1usize..5).prop_map(Step::Claim),
        1 => Just(Step::Abandon),
        10 => (0usize..8, fate, proptest::collection::vec(draft(), 0..2))
            .prop_map(|(which, fate, then)| Step::Settle { which, fate, then }),
        2 => (0usize..8).prop_map(Step::Extend),
        3 => (0usize..20).prop_map(Step::Cancel),
        2 => proptest::option::of(0usize..20).prop_map(Step::Redrive),
        1 => proptest::option::of(0usize..20).prop_map(Step::Discard),
        1 => (0usize..3).prop_map(Step::Pause),
        2 => (0usize..3).prop_map(Step::Resume),
        3 => (0..LANES, 0u32..4, batch)
            .prop_map(|(lane, concurrency, batch)| Step::Configure { lane, concurrency, batch }),
        1 => (0usize..2, proptest::option::of(0u32..4)).prop_map(|(tenant, most)| Step::Limit(tenant, most)),
    ]
}

/// Runs random sequences over fresh queues, as many as the scale says.
pub fn behaves_like_the_ledger<O, F>(scale: Scale, open: impl Fn() -> F)
where
    O: Opened,
    F: Future<Output = O>,
{
    let cases = scale.or_environment().cases;
    let config = ProptestConfig {
        cases,
        failure_persistence: None,
        max_shrink_iters: 200,
        ..ProptestConfig::default()
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let steps = proptest::collection::vec(step(), 1..40);
    let outcome = TestRunner::new(config).run(&steps, |steps| {
        runtime.block_on(async {
            let Some((queue, _kept)) = open().await.opened() else { return };
            let mut pair = Pair::new(queue);
            for step in steps {
                pair.step(step).await;
                pair.compare().await;
            }
        });
        Ok(())
    });
    if let Err(failure) = outcome {
        panic!("{failure}");
    }
}

/// Both, and what was claimed of both.
struct Pair {
    queue: Arc<dyn Queue>,
    ledger: Ledger,
    began: Instant,
    lanes: Vec<Lane>,
    claims: Vec<Both>,
}

/// A message that was claimed, whether or not the claim holds.
#[derive(Clone, Copy)]
struct Both {
    queue: ClaimId,
    ledger: ClaimId,
    message: InvocationId,
}

impl Pair {
    fn new(queue: Arc<dyn Queue>) -> Self {
        let began = Instant::now();
        Self { queue, ledger: Ledger::default(), began, lanes: lanes(), claims: Vec::new() }
    }

    fn at(&self) -> Moment {
        Moment { now: jiff::Timestamp::now(), steady: self.began.elapsed() }
    }

    /// The ids of all that is there.
    fn there(&mut self) -> Vec<InvocationId> {
        let at = self.at();
        let page = self.ledger.list(&EntryQuery::default(), at).unwrap();
        page.entries.iter().map(|entry| entry.message.id).collect()
    }

    fn messages(&mut self, drafts: &[Draft]) -> Vec<Message> {
        let there = self.there();
        let make = |draft: &Draft| {
            let mut message = message(&self.lanes[draft.lane]);
            if let Some(id) = draft.again.and_then(|index| there.get(index)) {
                message.id = *id;
            }
            if draft.blob {
                message.call.body =
                    Payload::Blob { digest: Digest::of(message.id.to_string()), bytes: 70_000 };
            }
            Message {
                key: draft.key.map(|key| format!("k{key}").into()),
                priority: draft.priority,
                due: in_ms(draft.due),
                idempotency: draft
                    .idempotency
                    .map(|key| Idempotency { key: format!("i{key}").into(), window_ms: 3_600_000 }),
                ..message
            }
        };
        drafts.iter().map(make).collect()
    }

    fn selection(&mut self, which: Option<usize>) -> Selection {
        let Some(index) = which else { return Selection::default() };
        let ids = self.there().get(index).copied().into_iter().collect();
        Selection { ids: Some(ids), ..Selection::default() }
    }

    async fn step(&mut self, step: Step) {
        match step {
            Step::Enqueue(drafts) => {
                let messages = self.messages(&drafts);
                let receipts = self.queue.enqueue(messages.clone()).await.unwrap();
                assert_eq!(receipts, self.ledger.enqueue(messages, self.at()).unwrap());
            }
            Step::Claim(most) => self.claim(most).await,
            Step::Abandon => self.abandon().await,
            Step::Settle { which, fate, then } => self.settle(which, fate, &then).await,
            Step::Extend(which) => {
                let Some(claim) = self.nth(which) else { return };
                let held = self.queue.extend(claim.queue, LONG).await.unwrap();
                let wanted = self.ledger.extend(claim.ledger, LONG, self.at());
                let sorted = |held: Held| match held {
                    Held::Yes(ids) => Some(ids.into_iter().collect::<BTreeSet<_>>()),
                    Held::No => None,
                };
                assert_eq!(sorted(held), sorted(wanted));
            }
            Step::Cancel(index) => {
                let id = self.there().get(index).copied().unwrap_or_default();
                let entry = self.queue.cancel(&id).await.map(|entry| (entry.message, entry.state.name()));
                let wanted =
                    self.ledger.cancel(&id, self.at()).map(|entry| (entry.message, entry.state.name()));
                assert_eq!(entry.map_err(|error| error.code), wanted.map_err(|error| error.code));
            }
            Step::Redrive(which) => self.redrive(which).await,
            Step::Discard(which) => {
                let selection = self.selection(which);
                let mut gone = self.queue.discard(&selection).await.unwrap();
                let mut wanted = self.ledger.discard(&selection, self.at());
                gone.sort_by_key(|message| message.id);
                wanted.sort_by_key(|message| message.id);
                assert_eq!(gone, wanted);
            }
            Step::Pause(index) => {
                self.queue.pause(&places()[index]).await.unwrap();
                self.ledger.pause(&places()[index], self.at());
            }
            Step::Resume(index) => {
                self.queue.resume(&places()[index]).await.unwrap();
                self.ledger.resume(&places()[index], self.at());
            }
            Step::Configure { lane, concurrency, batch } => {
                let batch = batch.map(|size| BatchRules { size, wait: Duration::ZERO });
                let rules = LaneRules { concurrency, batch };
                self.queue.configure(&self.lanes[lane], rules);
                self.ledger.configure(&self.lanes[lane], rules, self.at());
            }
            Step::Limit(index, most) => {
                let tenant = tenant(["acme", "rival"][index]);
                self.queue.limit(&tenant, most);
                self.ledger.limit(&tenant, most);
            }
        }
    }

    fn nth(&self, which: usize) -> Option<Both> {
        self.claims.iter().rev().cycle().take(self.claims.len() * 8).nth(which).copied()
    }

    /// Claims from the queue as long as the ledger says that there is something.
    async fn claim(&mut self, most: usize) {
        let (mut left, deadline) = (most, Instant::now() + PATIENCE);
        while left > 0 {
            let claimable = self.ledger.claimable(self.at());
            let wait = Duration::from_millis(if claimable.is_empty() { 20 } else { 1000 });
            let claims = self.queue.claim(Ask { most: left, lease: LONG, wait }).await.unwrap();
            if claimable.is_empty() {
                assert_eq!(claims, [], "nothing may be claimed");
                return;
            }
            assert!(claims.len() <= left && Instant::now() < deadline, "nothing came of {claimable:?}");
            left -= claims.len();
            for claim in claims {
                self.follow(&claim, LONG);
            }
        }
    }

    /// The ledger claims what the queue did.
    fn follow(&mut self, claim: &Claim, lease: Duration) -> ClaimId {
        let at = self.at();
        let wanted = self.ledger.claim_of(&claim.lane, lease, at);
        let wanted = wanted.unwrap_or_else(|| panic!("nothing of {} may be claimed: {claim:#?}", claim.lane));
        assert_eq!(claim.messages, wanted.messages, "of {}", claim.lane);
        for claimed in &claim.messages {
            let message = claimed.message.id;
            self.claims.push(Both { queue: claim.id, ledger: wanted.id, message });
        }
        wanted.id
    }

    async fn abandon(&mut self) {
        let at = self.at();
        if self.ledger.claimable(at).is_empty() {
            return;
        }
        let claims = self.queue.claim(Ask { most: 1, lease: SHORT, wait: PATIENCE }).await.unwrap();
        assert_eq!(claims.len(), 1);
        for claim in &claims {
            self.follow(claim, Duration::ZERO);
        }
        let at = self.at();
        self.ledger.advance(at);
        // `compare` waits until the queue has noticed, too.
    }

    async fn settle(&mut self, which: usize, fate: Fate, then: &[Draft]) {
        let Some(claim) = self.nth(which) else { return };
        // Whether an id is taken while its message goes is not for anybody to rely on.
        let then: Vec<_> =
            self.messages(then).into_iter().filter(|message| message.id != claim.message).collect();
        let (history, why) = (History { failures: 1, refusals: 2, interruptions: 0 }, "no".to_owned());
        let verdict = match fate {
            Fate::Over => Verdict::Over,
            Fate::Again(ms) => Verdict::Again { due: in_ms(ms), history, why },
            Fate::Dead => Verdict::Dead { death: Death::Exhausted, history, why },
        };
        let settlement = Settlement { id: claim.message, verdict, then };
        let settled = self.queue.settle(claim.queue, settlement.clone()).await.unwrap();
        let wanted = self.ledger.settle(claim.ledger, settlement, self.at()).unwrap();
        assert_eq!(settled, wanted);
    }

    /// Both redrive; from when on the messages are due is for the queue to say.
    async fn redrive(&mut self, which: Option<usize>) {
        let selection = self.selection(which);
        let at = self.at();
        let query =
            EntryQuery { which: selection.clone(), state: Some("dead".to_owned()), ..EntryQuery::default() };
        let dead = self.ledger.list(&query, at).unwrap().entries;
        assert_eq!(self.queue.redrive(&selection, None).await.unwrap(), dead.len() as u64);
        for entry in dead {
            let id = entry.message.id;
            let due = in_state(self.queue.as_ref(), &id, "waiting").await.message.due;
            assert!(due >= at.now - Duration::from_millis(1) && due <= jiff::Timestamp::now(), "{due}");
            let redriven = self.ledger.redrive(&these(&[id]), None, Moment { now: due, ..at });
            assert_eq!(redriven, 1);
        }
    }

    /// Waits until both have the same messages in the same states.
    async fn compare(&mut self) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let seen = self.seen().await;
            let wanted = self.wanted();
            if seen == wanted {
                return;
            }
            assert!(Instant::now() < deadline, "the queue has {seen:#?}, and should have {wanted:#?}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    async fn seen(&self) -> Everything {
        let entries = crate::queue::all(self.queue.as_ref(), EntryQuery::default()).await;
        let stats = self.queue.stats(None).await.unwrap();
        Everything {
            entries: entries.into_iter().map(Seen::of).collect(),
            stats,
            blobs: self.queue.blobs().await.unwrap().into_iter().collect(),
            paused: self.queue.paused().await.unwrap().into_iter().collect(),
        }
    }

    fn wanted(&mut self) -> Everything {
        let at = self.at();
        let entries = self.ledger.list(&EntryQuery::default(), at).unwrap().entries;
        Everything {
            entries: entries.into_iter().map(Seen::of).collect(),
            stats: self.ledger.stats(None, at),
            blobs: self.ledger.blobs().into_iter().collect(),
            paused: self.ledger.paused().into_iter().collect(),
        }
    }
}

/// What can be seen of a queue, as far as both must agree.
#[derive(Debug, PartialEq)]
struct Everything {
    entries: Vec<Seen>,
    stats: Vec<LaneStats>,
    blobs: BTreeSet<Digest>,
    paused: BTreeSet<Place>,
}

#[derive(Debug, PartialEq)]
struct Seen {
    message: Message,
    history: History,
    why: Option<String>,
    state: Standing,
}

/// A state without the times that differ.
#[derive(Debug, PartialEq)]
enum Standing {
    Waiting(jiff::Timestamp),
    Running { cancelled: bool },
    Dead(Death),
}

impl Seen {
    fn of(entry: Entry) -> Self {
        let state = match entry.state {
            EntryState::Waiting { due } => Standing::Waiting(due),
            EntryState::Running { cancelled, .. } => Standing::Running { cancelled },
            EntryState::Dead { death, .. } => Standing::Dead(death),
        };
        Self { message: entry.message, history: entry.history, why: entry.why, state }
    }
}

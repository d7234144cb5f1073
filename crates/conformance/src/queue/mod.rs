//! What every queue does.
//!
//! ```text
//! fn open() -> (Arc<dyn Queue>, TempDir) { … }
//! xebec_conformance::queue_suite!(open);
//! ```
//!
//! The second thing that `open` returns is kept until the test ends. Variations:
//!
//! * `queue_suite!(async open)`: `open` is an `async fn`.
//! * `open` may return `Option<(Arc<dyn Queue>, K)>`; where it is `None` the case returns at once. `open` says why
//!   on standard error (`skipped: …`).
//! * `queue_suite!(open, messages = 500, cases = 8)`: how many messages those cases take that need many (usually
//!   5000), and how many random sequences are compared with the ledger (usually 32). `XEBEC_QUEUE_MESSAGES` and
//!   `XEBEC_QUEUE_CASES` in the environment overrule both.
//! * `queue_reopen_suite!(open, reopen)`, `queue_reopen_suite!(async open, reopen)`: for what must last.
//!   `reopen(kept)` gets what `open` kept, after every handle of the queue was dropped, and returns the queue that
//!   has the same messages, with `kept` again. Both are `async fn` or neither is. It goes into a module of its
//!   own, or beside the other suite: no two cases have the same name.
//!
//! The suite demands what the port says and no more: nothing is said of how lanes interleave but that none waits
//! for long, an answer may be visible to reads and claims a moment after it was given, and what is awaited gets
//! half a minute. A lease lasts as long as `Ask::lease` says, and an idempotency window may be up to two seconds
//! longer than asked.

pub mod accept;
pub mod batches;
pub mod claims;
pub mod crowds;
pub mod lanes;
pub mod leases;
pub mod letters;
pub mod order;
pub mod reopen;

use bytes::Bytes;
use jiff::Timestamp;
use std::{
    any::Any,
    ops::Deref,
    sync::Arc,
    time::{Duration, Instant},
};
use xebec_core::{
    FunctionKey, InvocationId, Tenant,
    message::{Call, Lane, Message, Payload, Receipt, Target},
    ports::queue::{
        Ask, Claim, Entry, EntryQuery, LaneRules, Place, Queue, Selection, Settled, Settlement, Verdict,
    },
    rules::retry::{Death, History},
};

/// For what must come.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);
/// A lease that does not run out in a test.
pub(crate) const LONG: Duration = Duration::from_secs(120);
/// A lease that does.
pub(crate) const SHORT: Duration = Duration::from_millis(300);
/// For what must not come.
const A_WHILE: Duration = Duration::from_millis(120);

/// How much the suite does.
#[derive(Clone, Copy, Debug)]
pub struct Scale {
    /// Messages of the cases that need many.
    pub messages: usize,
    /// Random sequences that are compared with the ledger.
    pub cases: u32,
}

impl Default for Scale {
    fn default() -> Self {
        Self { messages: 5000, cases: 32 }
    }
}

impl Scale {
    /// So many messages.
    pub fn messages(self, messages: usize) -> Self {
        Self { messages, ..self }
    }

    /// So many random sequences.
    pub fn cases(self, cases: u32) -> Self {
        Self { cases, ..self }
    }

    /// As the environment says, where it does.
    pub fn or_environment(self) -> Self {
        let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u32>().expect(name));
        Self {
            messages: number("XEBEC_QUEUE_MESSAGES").map_or(self.messages, |number| number as usize),
            cases: number("XEBEC_QUEUE_CASES").unwrap_or(self.cases),
        }
    }
}

/// What an implementation needs as long as its queue is used.
pub type Kept = Box<dyn Any + Send>;

/// What `open` may return.
pub trait Opened {
    /// The queue, and what it needs; `None`: it cannot be tested here.
    fn opened(self) -> Option<(Arc<dyn Queue>, Kept)>;
}

impl<K: Any + Send> Opened for (Arc<dyn Queue>, K) {
    fn opened(self) -> Option<(Arc<dyn Queue>, Kept)> {
        Some((self.0, Box::new(self.1)))
    }
}

impl<K: Any + Send> Opened for Option<(Arc<dyn Queue>, K)> {
    fn opened(self) -> Option<(Arc<dyn Queue>, Kept)> {
        self.and_then(Opened::opened)
    }
}

/// A queue that is tested.
pub struct Subject {
    /// It.
    pub queue: Arc<dyn Queue>,
    /// How much is done.
    pub scale: Scale,
    /// Goes after the queue.
    _kept: Kept,
}

impl Subject {
    /// What was opened, if it could be.
    pub fn new(opened: impl Opened, scale: Scale) -> Option<Self> {
        let (queue, kept) = opened.opened()?;
        Some(Self { queue, scale: scale.or_environment(), _kept: kept })
    }
}

impl Deref for Subject {
    type Target = dyn Queue;

    fn deref(&self) -> &Self::Target {
        self.queue.as_ref()
    }
}

/// Makes one test of each case that is listed.
#[doc(hidden)]
#[macro_export]
macro_rules! queue_cases {
    ($opened:expr, $scale:expr, $($file:ident: $($case:ident)*;)*) => {$($(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $case() {
            if let Some(subject) = $crate::queue::Subject::new($opened, $scale) {
                $crate::queue::$file::$case(&subject).await;
            }
        }
    )*)*};
}

/// The suite of [`xebec_core::ports::queue::Queue`]; see [`crate::queue`].
#[macro_export]
macro_rules! queue_suite {
    (async $open:path $(, $what:ident = $value:expr)* $(,)?) => {
        $crate::queue_suite! { @of ($open().await), $crate::queue::Scale::default()$(.$what($value))* }
    };
    (@of $opened:expr, $scale:expr) => {
        $crate::queue_cases! { $opened, $scale,
            accept:
                takes_messages_and_hands_them_over_whole
                knows_nothing_at_first
                accepts_all_or_none
                takes_the_same_id_once
                takes_the_same_idempotency_key_once
                remembers_a_key_for_its_window
                lets_one_of_many_senders_with_a_key_win
                keeps_what_many_send_at_once;
            order:
                serves_a_lane_by_priority_due_and_acceptance
                holds_back_what_is_not_due
                runs_messages_of_a_key_one_at_a_time_in_order
                holds_up_a_key_behind_what_is_tried_again
                lets_a_key_go_on_past_a_dead_one;
            claims:
                waits_for_the_first_no_longer_than_asked
                wakes_for_what_is_sent
                wakes_for_what_becomes_due
                wakes_for_what_is_settled_resumed_or_opened
                gives_no_more_than_asked
                hands_back_what_it_was_told
                accepts_what_comes_of_a_message
                accepts_nothing_with_what_cannot_be_settled
                settles_each_message_once
                refuses_what_comes_too_late;
            leases:
                gives_again_what_was_not_settled_in_time
                counts_every_interruption
                wakes_for_a_lease_that_ends
                extends_a_lease
                shortens_a_lease
                tells_who_runs_a_message_that_it_was_cancelled
                runs_no_cancelled_message_again;
            letters:
                cancels_what_waits_and_what_is_dead
                lists_in_order_and_in_pages
                lists_by_everything_that_can_be_selected
                refuses_queries_it_cannot_know
                keeps_dead_letters_until_they_are_wanted
                redrives_one_some_and_all
                redrives_as_if_they_were_new
                redrives_no_faster_than_asked
                discards_dead_letters_only
                discards_a_thousand_at_a_time
                counts_what_is_there
                names_blobs
                is_well_and_lets_itself_be_copied;
            lanes:
                keeps_lanes_within_their_concurrency
                serves_sixteen_of_a_lane_unless_told_otherwise
                keeps_consumers_closed_until_someone_takes
                keeps_tenants_within_their_limits
                pauses_queues
                pauses_functions
                ends_no_pause_but_the_one_named
                delays_nobody_for_a_tenant_with_many_messages
                delays_no_function_for_another_with_many_messages;
            batches:
                fills_batches
                sends_batches_that_have_waited
                counts_a_batch_once
                settles_each_of_a_batch_by_itself
                has_one_of_a_key_in_a_batch
                interrupts_what_is_left_of_a_batch;
            crowds:
                gives_no_message_to_two_claimers
                loses_nothing_to_claimers_that_crash
                keeps_keys_in_order_among_many_claimers;
        }

        #[test]
        fn behaves_like_the_ledger() {
            $crate::queue_model::behaves_like_the_ledger($scale, || async { $opened });
        }
    };
    ($open:path $(, $what:ident = $value:expr)* $(,)?) => {
        $crate::queue_suite! { @of ($open()), $crate::queue::Scale::default()$(.$what($value))* }
    };
}

/// What must last, for queues that can be opened again; see [`crate::queue`].
#[macro_export]
macro_rules! queue_reopen_suite {
    (async $open:path, $reopen:path $(,)?) => {
        $crate::queue_reopen_suite! { @of ($open().await), (|kept| async move { $reopen(kept).await }) }
    };
    (@of $opened:expr, $reopen:expr) => {
        $crate::queue_reopen_suite! { @cases $opened, $reopen,
            keeps_what_it_answered
            keeps_the_order
            interrupts_what_ran
            keeps_cancellations_of_what_ran
            keeps_idempotency_keys
            keeps_pauses_but_not_how_lanes_are_served
            keeps_what_came_of_a_message
        }
    };
    (@cases $opened:expr, $reopen:expr, $($case:ident)*) => {$(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $case() {
            if let Some(mut lives) = $crate::queue::reopen::Lives::new($opened, $reopen) {
                $crate::queue::reopen::$case(&mut lives).await;
            }
        }
    )*};
    ($open:path, $reopen:path $(,)?) => {
        $crate::queue_reopen_suite! { @of ($open()), (|kept| async move { $reopen(kept) }) }
    };
}

/// Now, in whole milliseconds: no queue needs to order by less.
pub(crate) fn now() -> Timestamp {
    Timestamp::from_millisecond(Timestamp::now().as_millisecond()).unwrap()
}

pub(crate) fn in_ms(ms: i64) -> Timestamp {
    Timestamp::from_millisecond(now().as_millisecond() + ms).unwrap()
}

pub(crate) fn tenant(name: &str) -> Tenant {
    Tenant::new(name)
}

pub(crate) fn function(tenant: &str, name: &str) -> FunctionKey {
    FunctionKey::new(&Tenant::new(tenant), "native", name)
}

/// The lane of a function of the tenant `acme`.
pub(crate) fn lane(name: &str) -> Lane {
    Lane::function("default", &function("acme", name))
}

pub(crate) fn consumer(queue: &str) -> Lane {
    Lane { tenant: Tenant::new("acme"), queue: queue.into(), target: Target::Consumer }
}

pub(crate) fn message(lane: &Lane) -> Message {
    let id = InvocationId::new();
    let call = Call {
        method: "POST".into(),
        uri: format!("/{id}?a=b"),
        headers: http::HeaderMap::new(),
        body: Payload::Inline(Bytes::from(id.to_string())),
    };
    Message { id, ..Message::new(lane.clone(), call, now()) }
}

pub(crate) fn keyed(lane: &Lane, key: &str) -> Message {
    Message { key: Some(key.into()), ..message(lane) }
}

pub(crate) fn many(count: usize, lane: &Lane) -> Vec<Message> {
    (0..count).map(|_| message(lane)).collect()
}

/// `most` claims at most, waited for as long as `wait`.
pub(crate) fn ask(most: usize, lease: Duration, wait: Duration) -> Ask {
    Ask { most, lease, wait }
}

/// Waits until a condition holds.
pub(crate) async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds().await {
        assert!(Instant::now() < deadline, "it never came about that {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// The ids of claimed messages.
pub(crate) fn ids(claims: &[Claim]) -> Vec<InvocationId> {
    claims.iter().flat_map(|claim| &claim.messages).map(|claimed| claimed.message.id).collect()
}

pub(crate) fn ids_of(messages: &[Message]) -> Vec<InvocationId> {
    messages.iter().map(|message| message.id).collect()
}

/// Sends messages, none of which was sent before, and waits until they can be seen.
pub(crate) async fn put(queue: &dyn Queue, messages: &[Message]) {
    for some in messages.chunks(200) {
        let receipts = queue.enqueue(some.to_vec()).await.unwrap();
        let wanted: Vec<_> =
            some.iter().map(|message| Receipt { id: message.id, duplicate: false }).collect();
        assert_eq!(receipts, wanted);
    }
    if let Some(last) = messages.last() {
        seen(queue, &last.id).await;
    }
}

/// Sends messages of one lane so that a claim sees all of them, or none.
pub(crate) async fn put_at_once(queue: &dyn Queue, messages: &[Message]) {
    let lane = &messages[0].lane;
    let place = Place::Queue { tenant: lane.tenant.clone(), name: lane.queue.to_string() };
    queue.pause(&place).await.unwrap();
    put(queue, messages).await;
    queue.resume(&place).await.unwrap();
}

/// Waits until a message can be seen.
pub(crate) async fn seen(queue: &dyn Queue, id: &InvocationId) -> Entry {
    until("a message can be seen", async || queue.get(id).await.unwrap().is_some()).await;
    queue.get(id).await.unwrap().unwrap()
}

/// Waits until a message is in a state, and returns it.
pub(crate) async fn in_state(queue: &dyn Queue, id: &InvocationId, state: &str) -> Entry {
    let is = async || queue.get(id).await.unwrap().is_some_and(|entry| entry.state.name() == state);
    until(state, is).await;
    queue.get(id).await.unwrap().unwrap()
}

/// Waits until a message is not there any more.
pub(crate) async fn gone(queue: &dyn Queue, id: &InvocationId) {
    until("a message is gone", async || queue.get(id).await.unwrap().is_none()).await;
}

/// Claims of messages, `wanted` of them; waits until there are as many.
pub(crate) async fn take(queue: &dyn Queue, wanted: usize) -> Vec<Claim> {
    let (mut claims, deadline) = (Vec::new(), Instant::now() + PATIENCE);
    while claims.len() < wanted {
        assert!(Instant::now() < deadline, "{} of {wanted} claims came", claims.len());
        let some = queue.claim(ask(wanted - claims.len(), LONG, Duration::from_secs(1))).await.unwrap();
        claims.extend(some);
    }
    assert_eq!(claims.len(), wanted, "no more than was asked for");
    claims
}

/// The next claim.
pub(crate) async fn take_one(queue: &dyn Queue) -> Claim {
    take(queue, 1).await.remove(0)
}

/// Sees that nothing may be claimed.
pub(crate) async fn none(queue: &dyn Queue, why: &str) {
    let claims = queue.claim(ask(10, LONG, A_WHILE)).await.unwrap();
    assert_eq!(ids(&claims), [], "{why}");
}

pub(crate) fn dead(why: &str) -> Verdict {
    Verdict::Dead { death: Death::Failed, history: History::default(), why: why.to_owned() }
}

pub(crate) fn again(due: Timestamp) -> Verdict {
    let history = History { failures: 1, ..History::default() };
    Verdict::Again { due, history, why: "no luck".to_owned() }
}

/// Settles the only message of a claim.
pub(crate) async fn settle(queue: &dyn Queue, claim: &Claim, verdict: Verdict) -> Settled {
    assert_eq!(claim.messages.len(), 1);
    settle_one(queue, claim, claim.messages[0].message.id, verdict).await
}

pub(crate) async fn settle_one(
    queue: &dyn Queue,
    claim: &Claim,
    id: InvocationId,
    verdict: Verdict,
) -> Settled {
    queue.settle(claim.id, Settlement { id, verdict, then: Vec::new() }).await.unwrap()
}

/// Ends claims well.
pub(crate) async fn finish(queue: &dyn Queue, claims: &[Claim]) {
    for claim in claims {
        for claimed in &claim.messages {
            let settled = settle_one(queue, claim, claimed.message.id, Verdict::Over).await;
            assert_eq!(settled, Settled::Yes);
        }
    }
}

/// Sends messages, and lets all of them die, in order.
pub(crate) async fn bury(queue: &dyn Queue, messages: &[Message]) {
    for message in messages {
        let lane = &message.lane;
        queue.configure(lane, LaneRules { concurrency: 16, batch: None });
        put(queue, std::slice::from_ref(message)).await;
        let claim = take_one(queue).await;
        assert_eq!(ids(std::slice::from_ref(&claim)), [message.id]);
        assert_eq!(settle(queue, &claim, dead("it broke")).await, Settled::Yes);
        in_state(queue, &message.id, "dead").await;
    }
}

/// Everything that a query finds, page by page.
pub(crate) async fn all(queue: &dyn Queue, mut query: EntryQuery) -> Vec<Entry> {
    let mut entries = Vec::new();
    loop {
        let page = queue.list(&query).await.unwrap();
        let limit = query.limit.unwrap_or(1000).min(1000) as usize;
        assert!(page.entries.len() <= limit, "{} in a page of {limit}", page.entries.len());
        entries.extend(page.entries);
        query.cursor = page.cursor;
        if query.cursor.is_none() {
            return entries;
        }
    }
}

/// These messages.
pub(crate) fn these(ids: &[InvocationId]) -> Selection {
    Selection { ids: Some(ids.to_vec()), ..Selection::default() }
}

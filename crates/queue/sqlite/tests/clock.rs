//! Clocks that jump: leases and waits go by the one that does not.

#![allow(clippy::unwrap_used)]

mod support;

use jiff::{SignedDuration, Timestamp};
use std::{
    path::Path,
    sync::{Arc, Mutex},
    time::Duration,
};
use support::{ask, claim, lane, message, over};
use xebec_core::{
    Digest,
    message::{Message, Payload},
    ports::{
        clock::Clock,
        queue::{Ask, Held, Queue as _, Settled, Settlement, Verdict},
    },
    rules::retry::{Death, History},
};
use xebec_queue_sqlite::{Options, SqliteQueue};

/// Two clocks, set by hand.
struct Hand(Mutex<(Timestamp, Duration)>);

impl Hand {
    fn new() -> Arc<Self> {
        Arc::new(Self(Mutex::new((Timestamp::now(), Duration::from_secs(1000)))))
    }

    /// Time passes.
    fn pass(&self, seconds: u64) {
        let mut clocks = self.0.lock().unwrap();
        *clocks = (clocks.0 + Duration::from_secs(seconds), clocks.1 + Duration::from_secs(seconds));
    }

    /// Someone sets the clock on the wall.
    fn jump(&self, seconds: i64) {
        let mut clocks = self.0.lock().unwrap();
        clocks.0 += SignedDuration::from_secs(seconds);
    }
}

impl Clock for Hand {
    fn now(&self) -> Timestamp {
        self.0.lock().unwrap().0
    }

    fn steady(&self) -> Duration {
        self.0.lock().unwrap().1
    }
}

fn open(directory: &Path, clock: &Arc<Hand>, options: Options) -> SqliteQueue {
    SqliteQueue::open(directory, Arc::clone(clock) as Arc<dyn Clock>, options).unwrap()
}

fn delayed(clock: &Hand, seconds: u64) -> Message {
    let mut message = message(&lane("t", "f"), "x");
    message.accepted = clock.now();
    message.due = clock.now() + Duration::from_secs(seconds);
    message
}

#[tokio::test]
async fn a_jump_ends_no_lease() {
    let (directory, clock) = (tempfile::tempdir().unwrap(), Hand::new());
    let queue = open(directory.path(), &clock, Options::default());
    queue.enqueue(vec![delayed(&clock, 0)]).await.unwrap();
    let claims = claim(&queue, 1).await;
    for jump in [86_400, -2 * 86_400] {
        clock.jump(jump);
        assert!(claim(&queue, 1).await.is_empty());
        assert_eq!(queue.extend(claims[0].id, Duration::from_secs(60)).await.unwrap(), Held::Yes(vec![]));
    }
    clock.pass(60);
    let again = claim(&queue, 1).await;
    assert_eq!(again[0].messages[0].history.interruptions, 1);
    assert_eq!(queue.extend(claims[0].id, Duration::from_secs(60)).await.unwrap(), Held::No);
    let id = claims[0].messages[0].message.id;
    let late = Settlement { id, verdict: Verdict::Over, then: vec![delayed(&clock, 0)] };
    assert_eq!(queue.settle(claims[0].id, late).await.unwrap(), Settled::Late);
    assert_eq!(queue.stats(None).await.unwrap()[0].running, 1);
    assert_eq!(queue.stats(None).await.unwrap()[0].waiting, 0);
}

#[tokio::test]
async fn what_is_delayed_goes_by_the_clock_on_the_wall() {
    let (directory, clock) = (tempfile::tempdir().unwrap(), Hand::new());
    let queue = open(directory.path(), &clock, Options::default());
    let (first, second) = (delayed(&clock, 3600), delayed(&clock, 7200));
    queue.enqueue(vec![first.clone(), second.clone()]).await.unwrap();
    clock.jump(-86_400);
    clock.pass(3600);
    assert!(claim(&queue, 1).await.is_empty());
    assert_eq!(queue.stats(None).await.unwrap()[0].delayed, 2);
    clock.jump(86_400);
    // What was due stays so.
    assert_eq!(queue.stats(None).await.unwrap()[0].delayed, 1);
    clock.jump(-86_400);
    let claims = claim(&queue, 5).await;
    assert_eq!(claims.iter().map(|claim| claim.messages[0].message.id).collect::<Vec<_>>(), [first.id]);
    over(&queue, &claims[0]).await;
    // What comes now is not put off by where the clock has been.
    queue.enqueue(vec![delayed(&clock, 60)]).await.unwrap();
    assert!(claim(&queue, 5).await.is_empty());
    clock.pass(60);
    assert_eq!(claim(&queue, 5).await.len(), 1);
}

#[tokio::test]
async fn whoever_waits_sees_the_clock_being_set() {
    let (directory, clock) = (tempfile::tempdir().unwrap(), Hand::new());
    let queue = Arc::new(open(directory.path(), &clock, Options::default()));
    queue.enqueue(vec![delayed(&clock, 3600)]).await.unwrap();
    let waiting = tokio::spawn({
        let queue = Arc::clone(&queue);
        async move { queue.claim(Ask { wait: Duration::from_secs(20), ..ask(1) }).await.unwrap() }
    });
    clock.jump(3600);
    assert_eq!(waiting.await.unwrap().len(), 1);
}

#[tokio::test]
async fn dead_letters_are_kept_for_a_time() {
    let (directory, clock) = (tempfile::tempdir().unwrap(), Hand::new());
    let options = Options { dead_age: Duration::from_secs(3600), ..Options::default() };
    let queue = open(directory.path(), &clock, options);
    let (old, young) = (large(&clock, "old"), large(&clock, "young"));
    for sent in [&old, &young] {
        queue.enqueue(vec![sent.clone()]).await.unwrap();
        let verdict = Verdict::Dead { death: Death::Failed, history: History::default(), why: "no".into() };
        let settlement = Settlement { id: sent.id, verdict, then: Vec::new() };
        let claims = claim(&queue, 1).await;
        assert_eq!(queue.settle(claims[0].id, settlement).await.unwrap(), Settled::Yes);
        clock.pass(1801);
    }
    assert_eq!(queue.blobs().await.unwrap().len(), 2);
    drop(queue);
    // It is swept a second after it was opened, and then every minute.
    let queue = open(directory.path(), &clock, options);
    let deadline = std::time::Instant::now() + Duration::from_secs(30);
    while queue.get(&old.id).await.unwrap().is_some() {
        assert!(std::time::Instant::now() < deadline, "it stays");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(queue.blobs().await.unwrap(), [Digest::of("young")]);
    assert_eq!(queue.stats(None).await.unwrap()[0].dead, 1);
}

fn large(clock: &Hand, what: &str) -> Message {
    let mut message = delayed(clock, 0);
    message.call.body = Payload::Blob { digest: Digest::of(what), bytes: 100_000 };
    message
}

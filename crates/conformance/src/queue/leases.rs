//! Leases: how they end, how they are extended, and what is learnt meanwhile.

use super::{
    LONG, PATIENCE, SHORT, Subject, again, ask, gone, ids, in_ms, in_state, lane, message, none, put, settle,
    take_one,
};
use std::time::{Duration, Instant};
use xebec_core::{
    InvocationId,
    ports::queue::{Claim, EntryState, Held, LaneRules, Queue, Settled, Verdict},
    rules::retry::History,
};

/// A claim whose lease shall run out.
async fn take_shortly(queue: &dyn Queue) -> Claim {
    queue.claim(ask(1, SHORT, PATIENCE)).await.unwrap().remove(0)
}

async fn interruptions(queue: &dyn Queue, id: &InvocationId) -> u32 {
    queue.get(id).await.unwrap().unwrap().history.interruptions
}

/// Whoever had it may have crashed; not before its lease is over.
pub async fn gives_again_what_was_not_settled_in_time(queue: &Subject) {
    let sent = message(&lane("f"));
    put(&**queue, std::slice::from_ref(&sent)).await;
    let began = Instant::now();
    let first = take_shortly(&**queue).await;
    let second = take_one(&**queue).await;
    assert!(began.elapsed() >= SHORT, "its lease lasted {:?}", began.elapsed());
    assert_ne!(first.id, second.id);
    assert_eq!(second.messages[0].message, sent);
    assert_eq!(second.messages[0].history, History { interruptions: 1, ..History::default() });
    assert_eq!(settle(&**queue, &second, Verdict::Over).await, Settled::Yes);
    none(&**queue, "it was settled").await;
}

/// Also beside failures that someone reported.
pub async fn counts_every_interruption(queue: &Subject) {
    let sent = message(&lane("f"));
    put(&**queue, std::slice::from_ref(&sent)).await;
    for times in 0..3 {
        let claim = take_shortly(&**queue).await;
        assert_eq!(claim.messages[0].history, History { interruptions: times, ..History::default() });
    }
    let claim = take_one(&**queue).await;
    let history =
        History { failures: 1, refusals: 0, interruptions: claim.messages[0].history.interruptions };
    assert_eq!(history.interruptions, 3);
    settle(&**queue, &claim, Verdict::Again { due: in_ms(0), history, why: String::new() }).await;
    take_shortly(&**queue).await;
    let last = take_one(&**queue).await;
    assert_eq!(last.messages[0].history, History { failures: 1, refusals: 0, interruptions: 4 });
}

/// Of a waiting claim; and without one it can be seen that the message waits again.
pub async fn wakes_for_a_lease_that_ends(queue: &Subject) {
    queue.configure(&lane("f"), LaneRules { concurrency: 1, batch: None });
    let sent = [message(&lane("f")), message(&lane("f"))];
    put(&**queue, &sent).await;
    let first = take_shortly(&**queue).await;
    let claims = queue.claim(ask(1, LONG, PATIENCE)).await.unwrap();
    assert_eq!(ids(&claims), ids(std::slice::from_ref(&first)), "due as it was, it is the first of its lane");
    settle(&**queue, &claims[0], Verdict::Over).await;
    let other = take_shortly(&**queue).await.messages[0].message.id;
    super::until("a lease ends by itself", async || interruptions(&**queue, &other).await == 1).await;
    let entry = in_state(&**queue, &other, "waiting").await;
    let due = sent.iter().find(|message| message.id == other).unwrap().due;
    assert_eq!(entry.state, EntryState::Waiting { due });
}

/// For longer than it was.
pub async fn extends_a_lease(queue: &Subject) {
    let sent = message(&lane("f"));
    put(&**queue, std::slice::from_ref(&sent)).await;
    let lease = Duration::from_secs(1);
    // A machine that stalls for a second between the two is no fault of the queue's.
    let (claim, began) = loop {
        let began = Instant::now();
        let claim = queue.claim(ask(1, lease, PATIENCE)).await.unwrap().remove(0);
        match queue.extend(claim.id, LONG).await.unwrap() {
            Held::Yes(cancelled) => {
                assert_eq!(cancelled, []);
                break (claim, began);
            }
            Held::No => assert!(began.elapsed() >= lease, "it was lost after {:?}", began.elapsed()),
        }
    };
    let history = claim.messages[0].history;
    assert_eq!(queue.claim(ask(1, LONG, lease + 2 * SHORT)).await.unwrap(), []);
    assert!(began.elapsed() > lease);
    assert_eq!(in_state(&**queue, &sent.id, "running").await.history, history);
    assert_eq!(settle(&**queue, &claim, Verdict::Over).await, Settled::Yes);
    gone(&**queue, &sent.id).await;
}

/// It lasts for what was asked from when it was asked, even if it was longer before.
pub async fn shortens_a_lease(queue: &Subject) {
    let sent = message(&lane("f"));
    put(&**queue, std::slice::from_ref(&sent)).await;
    let claim = take_one(&**queue).await;
    let began = Instant::now();
    assert_eq!(queue.extend(claim.id, SHORT).await.unwrap(), Held::Yes(vec![]));
    let next = take_one(&**queue).await;
    assert!(began.elapsed() >= SHORT);
    assert_eq!(next.messages[0].history.interruptions, 1);
    assert_eq!(settle(&**queue, &claim, Verdict::Over).await, Settled::Late);
}

/// Each time it asks; the message is its own until it settles it.
pub async fn tells_who_runs_a_message_that_it_was_cancelled(queue: &Subject) {
    let sent = message(&lane("f"));
    put(&**queue, std::slice::from_ref(&sent)).await;
    let claim = take_one(&**queue).await;
    let entry = queue.cancel(&sent.id).await.unwrap();
    assert_eq!((&entry.message, entry.state.name()), (&sent, "running"));
    for _ in 0..2 {
        assert_eq!(queue.extend(claim.id, LONG).await.unwrap(), Held::Yes(vec![sent.id]));
    }
    assert_eq!(queue.cancel(&sent.id).await.unwrap().state.name(), "running", "once more");
    let marked = in_state(&**queue, &sent.id, "running").await;
    assert!(matches!(marked.state, EntryState::Running { cancelled: true, .. }));
    none(&**queue, "it runs").await;
    assert_eq!(settle(&**queue, &claim, Verdict::Over).await, Settled::Yes);
    gone(&**queue, &sent.id).await;
}

/// Neither after a crash, nor when whoever ran it had not heard of it. What it became may still be a dead
/// letter.
pub async fn runs_no_cancelled_message_again(queue: &Subject) {
    let sent = super::many(3, &lane("f"));
    put(&**queue, &sent[..1]).await;
    take_shortly(&**queue).await;
    queue.cancel(&sent[0].id).await.unwrap();
    gone(&**queue, &sent[0].id).await;

    put(&**queue, &sent[1..2]).await;
    let claim = take_one(&**queue).await;
    queue.cancel(&sent[1].id).await.unwrap();
    assert_eq!(settle(&**queue, &claim, again(in_ms(0))).await, Settled::Yes);
    gone(&**queue, &sent[1].id).await;
    none(&**queue, "both were cancelled").await;

    put(&**queue, &sent[2..]).await;
    let claim = take_one(&**queue).await;
    queue.cancel(&sent[2].id).await.unwrap();
    assert_eq!(settle(&**queue, &claim, super::dead("no")).await, Settled::Yes);
    in_state(&**queue, &sent[2].id, "dead").await;
}

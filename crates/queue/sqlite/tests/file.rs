//! What is particular to a queue in a file: bounds, retention, what a crash leaves.

#![allow(clippy::unwrap_used)]

mod support;

use std::time::Duration;
use support::{ask, claim, lane, message, open, open_with, over};
use xebec_core::{
    message::Idempotency,
    ports::queue::{Ask, EntryState, Place, Queue as _, Selection, Settlement, Verdict},
    rules::retry::{Death, History},
};
use xebec_queue_sqlite::Options;

#[tokio::test]
async fn a_message_comes_and_goes() {
    let directory = tempfile::tempdir().unwrap();
    let queue = open(directory.path());
    let sent = message(&lane("t", "f"), "hello");
    let receipts = queue.enqueue(vec![sent.clone(), sent.clone()]).await.unwrap();
    assert_eq!(receipts.iter().map(|receipt| receipt.duplicate).collect::<Vec<_>>(), [false, true]);
    let claims = claim(&queue, 10).await;
    assert_eq!(claims.len(), 1);
    assert_eq!(claims[0].messages[0].message, sent);
    assert!(claim(&queue, 10).await.is_empty());
    over(&queue, &claims[0]).await;
    assert!(queue.get(&sent.id).await.unwrap().is_none());
    assert!(queue.stats(None).await.unwrap().is_empty());
}

#[tokio::test]
async fn bounds_say_what_to_do() {
    let directory = tempfile::tempdir().unwrap();
    let options = Options { messages: 5, tenant_messages: 3, ..Options::default() };
    let queue = open_with(directory.path(), options);
    let (first, second) = (lane("one", "f"), lane("two", "f"));
    let three: Vec<_> = (0..3).map(|_| message(&first, "x")).collect();
    queue.enqueue(three.clone()).await.unwrap();
    let error = queue.enqueue(vec![message(&first, "x")]).await.unwrap_err();
    assert_eq!(error.code, "XB4020");
    assert!(error.hint.is_some());
    // What is there already takes no room.
    assert!(queue.enqueue(three).await.unwrap().iter().all(|receipt| receipt.duplicate));
    queue.enqueue((0..2).map(|_| message(&second, "x")).collect()).await.unwrap();
    let error = queue.enqueue(vec![message(&second, "x")]).await.unwrap_err();
    assert_eq!(error.code, "XB4020");
    assert_eq!(queue.health().await.unwrap_err().code, "XB4020");
    // Results are accepted nevertheless.
    let claims = claim(&queue, 1).await;
    let settlement = Settlement {
        id: claims[0].messages[0].message.id,
        verdict: Verdict::Over,
        then: vec![message(&second, "result"), message(&second, "result")],
    };
    queue.settle(claims[0].id, settlement).await.unwrap();
    for claim in claim(&queue, 10).await {
        over(&queue, &claim).await;
    }
    queue.health().await.unwrap();
    queue.enqueue(vec![message(&first, "x")]).await.unwrap();

    let directory = tempfile::tempdir().unwrap();
    let queue = open_with(directory.path(), Options { bytes: 10_000, message_bytes: 8000, ..options });
    queue.enqueue(vec![message(&first, vec![0; 7000])]).await.unwrap();
    assert_eq!(queue.enqueue(vec![message(&first, vec![0; 7000])]).await.unwrap_err().code, "XB4020");
    assert_eq!(queue.enqueue(vec![message(&first, vec![0; 9000])]).await.unwrap_err().code, "XB4024");
}

#[tokio::test]
async fn dead_letters_are_kept_up_to_a_number() {
    let directory = tempfile::tempdir().unwrap();
    let queue = open_with(directory.path(), Options { dead: 2, ..Options::default() });
    let lane = lane("t", "f");
    let sent: Vec<_> = (0..5).map(|_| message(&lane, "x")).collect();
    queue.enqueue(sent.clone()).await.unwrap();
    for claim in claim(&queue, 10).await {
        let verdict = Verdict::Dead { death: Death::Failed, history: History::default(), why: "no".into() };
        let settlement = Settlement { id: claim.messages[0].message.id, verdict, then: Vec::new() };
        queue.settle(claim.id, settlement).await.unwrap();
    }
    // Swept a moment after it was opened, and then every minute.
    let all = Selection::default();
    for _ in 0..200 {
        let stats = queue.stats(None).await.unwrap();
        if stats[0].dead == 2 {
            let gone = queue.discard(&all).await.unwrap();
            assert_eq!(gone.iter().map(|m| m.id).collect::<Vec<_>>(), [sent[3].id, sent[4].id]);
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("dead letters stay");
}

#[tokio::test]
async fn a_claim_that_nobody_takes_is_given_back() {
    let directory = tempfile::tempdir().unwrap();
    let queue = open(directory.path());
    let lane = lane("t", "f");
    let waiting = Ask { wait: Duration::from_secs(5), ..ask(1) };
    for _ in 0..50 {
        // Whoever claims goes away, at about the moment when there is something for it.
        tokio::select! {
            biased;
            claims = queue.claim(waiting) => over(&queue, &claims.unwrap()[0]).await,
            sent = queue.enqueue(vec![message(&lane, "x")]) => { sent.unwrap(); }
        }
    }
    // It never ran, so it was not interrupted.
    let mut found = 0;
    for claim in queue.claim(ask(100)).await.unwrap() {
        assert!(claim.messages.iter().all(|claimed| claimed.history == History::default()));
        over(&queue, &claim).await;
        found += claim.messages.len();
    }
    eprintln!("{found} of 50 were given back");
    while let [claim, ..] = &claim(&queue, 1).await[..] {
        assert_eq!(claim.messages[0].history, History::default());
        over(&queue, claim).await;
    }
    assert!(queue.stats(None).await.unwrap().is_empty());
}

#[tokio::test]
async fn what_ran_was_interrupted_when_it_is_opened_again() {
    let directory = tempfile::tempdir().unwrap();
    let lane = lane("t", "f");
    let sent = message(&lane, "x");
    let place = Place::Queue { tenant: lane.tenant.clone(), name: "other".into() };
    let queue = open(directory.path());
    queue.enqueue(vec![sent.clone()]).await.unwrap();
    queue.pause(&place).await.unwrap();
    let before = claim(&queue, 1).await;
    assert!(matches!(queue.get(&sent.id).await.unwrap().unwrap().state, EntryState::Running { .. }));
    drop(queue);
    let queue = open(directory.path());
    assert_eq!(queue.paused().await.unwrap(), [place]);
    let entry = queue.get(&sent.id).await.unwrap().unwrap();
    assert_eq!(entry.history.interruptions, 1);
    let after = claim(&queue, 1).await;
    assert_ne!(before[0].id, after[0].id);
    assert_eq!(after[0].messages[0].history.interruptions, 1);
}

#[tokio::test]
async fn keys_are_remembered_after_their_message() {
    let directory = tempfile::tempdir().unwrap();
    let lane = lane("t", "f");
    let mut sent = message(&lane, "x");
    sent.idempotency = Some(Idempotency { key: "once".into(), window_ms: 60_000 });
    let queue = open(directory.path());
    queue.enqueue(vec![sent.clone()]).await.unwrap();
    over(&queue, &claim(&queue, 1).await[0]).await;
    drop(queue);
    let queue = open(directory.path());
    let mut again = message(&lane, "x");
    again.idempotency = sent.idempotency.clone();
    let receipts = queue.enqueue(vec![again]).await.unwrap();
    assert!(receipts[0].duplicate && receipts[0].id == sent.id);
}

#[tokio::test]
async fn a_copy_opens() {
    let directory = tempfile::tempdir().unwrap();
    let copy = tempfile::tempdir().unwrap();
    let queue = open(directory.path());
    let sent = message(&lane("t", "f"), "x");
    queue.enqueue(vec![sent.clone()]).await.unwrap();
    assert!(queue.backup(copy.path()).await.unwrap());
    let copied = open(copy.path());
    assert_eq!(claim(&copied, 1).await[0].messages[0].message, sent);
    assert_eq!(queue.backup(copy.path()).await.unwrap_err().code, "XB4009");
}

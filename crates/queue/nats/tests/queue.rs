//! The queue against a real nats-server.

#![allow(clippy::unwrap_used)]

mod support;

use std::{sync::Arc, time::Duration};
use support::{Server, message};
use xebec_core::{
    message::Idempotency,
    ports::clock::SystemClock,
    ports::queue::{
        Ask, Claim, EntryQuery, EntryState, Held, Queue as _, Selection, Settled, Settlement, Verdict,
    },
    rules::retry::{Death, History},
};
use xebec_queue_nats::NatsQueue;

fn ask(most: usize) -> Ask {
    Ask { most, lease: Duration::from_secs(30), wait: Duration::from_secs(5) }
}

fn now_ask(most: usize) -> Ask {
    Ask { wait: Duration::ZERO, ..ask(most) }
}

async fn settle(queue: &NatsQueue, claim: &Claim, verdict: Verdict) -> Settled {
    let id = claim.messages[0].message.id;
    queue.settle(claim.id, Settlement { id, verdict, then: Vec::new() }).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_goes_its_way() {
    let Some(server) = Server::start() else { return };
    goes_its_way(server.queue().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_goes_its_way_where_there_is_no_memory_for_payloads() {
    let Some(server) = Server::start() else { return };
    let mut options = server.options();
    options.cache_bytes = 0;
    let _ = rustls::crypto::ring::default_provider().install_default();
    goes_its_way(NatsQueue::connect(options, Arc::new(SystemClock)).await.unwrap()).await;
}

async fn goes_its_way(queue: NatsQueue) {
    queue.health().await.unwrap();
    let sent = message("t", "f");
    let receipts = queue.enqueue(vec![sent.clone()]).await.unwrap();
    assert!(receipts[0].id == sent.id && !receipts[0].duplicate);
    assert!(queue.enqueue(vec![sent.clone()]).await.unwrap()[0].duplicate);

    let claims = queue.claim(ask(10)).await.unwrap();
    assert_eq!(claims.len(), 1);
    assert_eq!(claims[0].messages[0].message, sent);
    assert!(queue.claim(now_ask(10)).await.unwrap().is_empty());
    assert_eq!(queue.extend(claims[0].id, Duration::from_secs(60)).await.unwrap(), Held::Yes(vec![]));
    let stats = queue.stats(None).await.unwrap();
    assert_eq!((stats[0].running, stats[0].waiting), (1, 0));

    let history = History { failures: 1, ..History::default() };
    let due = jiff::Timestamp::now() + Duration::from_millis(300);
    let again = Verdict::Again { due, history, why: "it\nfailed – ü".to_owned() };
    assert_eq!(settle(&queue, &claims[0], again.clone()).await, Settled::Yes);
    assert_eq!(settle(&queue, &claims[0], again).await, Settled::Late);
    assert_eq!(queue.stats(None).await.unwrap()[0].delayed, 1);
    let entry = queue.get(&sent.id).await.unwrap().unwrap();
    assert_eq!(entry.why.as_deref(), Some("it\nfailed – ü"));

    let claims = queue.claim(ask(10)).await.unwrap();
    assert!(jiff::Timestamp::now() >= due);
    assert_eq!(claims[0].messages[0].history, history);
    let dead = Verdict::Dead { death: Death::Exhausted, history, why: "no".to_owned() };
    let result = message("t", "result");
    let settlement = Settlement { id: sent.id, verdict: dead, then: vec![result.clone()] };
    assert_eq!(queue.settle(claims[0].id, settlement).await.unwrap(), Settled::Yes);

    let query = EntryQuery { state: Some("dead".to_owned()), ..EntryQuery::default() };
    let page = queue.list(&query).await.unwrap();
    assert!(matches!(page.entries[0].state, EntryState::Dead { death: Death::Exhausted, .. }));
    assert_eq!(queue.redrive(&Selection::default(), None).await.unwrap(), 1);
    let claims = queue.claim(ask(10)).await.unwrap();
    let more = if claims.len() < 2 { queue.claim(ask(10)).await.unwrap() } else { Vec::new() };
    for claim in claims.iter().chain(&more) {
        assert_eq!(claim.messages[0].history, History::default());
        assert_eq!(settle(&queue, claim, Verdict::Over).await, Settled::Yes);
    }
    assert!(queue.stats(None).await.unwrap().is_empty());
    assert_eq!(queue.get(&sent.id).await.unwrap(), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_second_with_an_idempotency_key_is_the_first() {
    let Some(server) = Server::start() else { return };
    let queue = server.queue().await;
    let with_key = || {
        let mut message = message("t", "f");
        message.idempotency = Some(Idempotency { key: "k".into(), window_ms: 60_000 });
        message
    };
    let (first, second, third) = (with_key(), with_key(), with_key());
    let receipts = queue.enqueue(vec![first.clone(), second]).await.unwrap();
    assert_eq!(receipts[1].id, first.id);
    assert!(receipts[1].duplicate && !receipts[0].duplicate);
    let receipts = queue.enqueue(vec![third]).await.unwrap();
    assert!(receipts[0].duplicate && receipts[0].id == first.id);
}

#[tokio::test(flavor = "multi_thread")]
async fn those_with_a_key_run_in_order() {
    let Some(server) = Server::start() else { return };
    let queue = server.queue().await;
    let with_key = || {
        let mut message = message("t", "f");
        message.key = Some("k".into());
        message
    };
    let sent: Vec<_> = (0..5).map(|_| with_key()).collect();
    queue.enqueue(sent.clone()).await.unwrap();
    for message in &sent {
        let claims = queue.claim(ask(10)).await.unwrap();
        assert_eq!(claims.len(), 1);
        assert_eq!(claims[0].messages[0].message.id, message.id);
        assert_eq!(settle(&queue, &claims[0], Verdict::Over).await, Settled::Yes);
    }
}

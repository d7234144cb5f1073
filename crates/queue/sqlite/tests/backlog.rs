//! However much waits, the next message costs the same.

#![allow(clippy::unwrap_used)]

mod support;

use std::time::{Duration, Instant};
use support::{ask, claim, lane, message, open, over};
use xebec_core::ports::queue::{EntryQuery, Queue as _, Selection};
use xebec_queue_sqlite::SqliteQueue;

/// Small, so that it runs everywhere; the figures are those of the measurement below.
#[tokio::test]
async fn a_backlog_costs_nothing() {
    measure(20_000).await;
}

#[tokio::test]
#[ignore = "a million messages: cargo test --release -p xebec-queue-sqlite --test backlog -- --ignored --nocapture"]
async fn a_million_messages() {
    measure(1_000_000).await;
}

async fn measure(total: usize) {
    let directory = tempfile::tempdir().unwrap();
    let queue = open(directory.path());
    let (busy, quiet) = (lane("crowd", "busy"), lane("one", "quiet"));
    let empty = turns(&queue).await;
    let began = Instant::now();
    for _ in 0..total / 1000 {
        let messages = (0..1000).map(|_| {
            let mut sent = message(&busy, vec![0; 100]);
            sent.priority = 4;
            sent
        });
        queue.enqueue(messages.collect()).await.unwrap();
    }
    eprintln!("{:.0}/s in thousands", total as f64 / began.elapsed().as_secs_f64());
    let full = turns(&queue).await;
    eprintln!("enqueue, claim, settle: {empty:?} with nothing else there, {full:?} with {total}");
    // One of another tenant gets the next turn.
    let sent = message(&quiet, "x");
    queue.enqueue(vec![sent.clone()]).await.unwrap();
    let next = claim(&queue, 2).await;
    assert!(next.iter().any(|claim| claim.lane == quiet));
    for claim in next {
        over(&queue, &claim).await;
    }

    let timed = |what: &str, began: Instant| {
        let took = began.elapsed();
        eprintln!("{what}: {took:?}");
        took
    };
    let began = Instant::now();
    let stats = queue.stats(None).await.unwrap();
    let stats_took = timed("stats", began);
    assert_eq!(stats[0].waiting, total as u64 - stats_missing(&stats[0], total));
    let which = Selection {
        function: Some(xebec_core::FunctionKey::new(&quiet.tenant, "native", "quiet")),
        ..Selection::default()
    };
    queue.enqueue(vec![message(&quiet, "x")]).await.unwrap();
    let began = Instant::now();
    let query = EntryQuery { which, ..EntryQuery::default() };
    assert_eq!(queue.list(&query).await.unwrap().entries.len(), 1);
    let list_took = timed("one of a quiet function, listed", began);
    let began = Instant::now();
    drop(queue);
    let queue = open(directory.path());
    timed("opened again", began);
    assert_eq!(queue.stats(Some(&busy.tenant)).await.unwrap()[0].waiting, stats[0].waiting);
    // Generous, for machines that do much else.
    assert!(full < empty * 5 + Duration::from_millis(20), "{empty:?} became {full:?}");
    assert!(stats_took.max(list_took) < Duration::from_secs(1));
}

/// What the test itself took out of the backlog.
fn stats_missing(stats: &xebec_core::ports::queue::LaneStats, total: usize) -> u64 {
    let missing = total as u64 - stats.waiting;
    assert!(missing <= 1);
    missing
}

/// The median of sending, claiming and settling one.
async fn turns(queue: &SqliteQueue) -> Duration {
    let lane = lane("one", "turn");
    let mut times = Vec::new();
    for _ in 0..100 {
        let sent = message(&lane, "x");
        let began = Instant::now();
        queue.enqueue(vec![sent.clone()]).await.unwrap();
        // Whoever else is there has turns, too: two of them are one of ours at least.
        for claim in queue.claim(ask(2)).await.unwrap() {
            if claim.lane == lane {
                over(queue, &claim).await;
                times.push(began.elapsed());
            } else {
                // Not over, and not counted: it waits again.
                let again = xebec_core::ports::queue::Verdict::Again {
                    due: claim.messages[0].message.due,
                    history: claim.messages[0].history,
                    why: String::new(),
                };
                let id = claim.messages[0].message.id;
                let settlement =
                    xebec_core::ports::queue::Settlement { id, verdict: again, then: Vec::new() };
                queue.settle(claim.id, settlement).await.unwrap();
            }
        }
    }
    assert_eq!(times.len(), 100);
    times.sort_unstable();
    times[50]
}

//! A full disk: a clear error, nothing acknowledged lost, memory says what the disk says, and it goes on when
//! there is space.

#![allow(clippy::unwrap_used)]

mod support;

use std::{collections::HashSet, path::Path};
use support::{ask, claim, lane, message, open, over};
use xebec_conformance::small_disk::{fill, on_small_disk};
use xebec_core::ports::queue::{EntryQuery, Queue as _, Settled, Settlement, Verdict};
use xebec_queue_sqlite::SqliteQueue;

#[test]
fn a_full_disk_stops_what_needs_space() {
    on_small_disk("a_full_disk_stops_what_needs_space", 12, |disk| {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        runtime.block_on(scenario(disk));
    });
}

async fn scenario(disk: &Path) {
    let data = disk.join("data");
    std::fs::create_dir(&data).unwrap();
    let queue = open(&data);
    let lane = lane("t", "f");
    let mut acknowledged = HashSet::new();
    for round in 0..3 {
        let sent = message(&lane, vec![1; 2000]);
        queue.enqueue(vec![sent.clone()]).await.unwrap_or_else(|error| panic!("round {round}: {error}"));
        acknowledged.insert(sent.id);
        queue.health().await.unwrap();

        let filling = fill(disk);
        // What the log had allocated already may still take a few.
        let error = loop {
            let sent = message(&lane, vec![1; 2000]);
            match queue.enqueue(vec![sent.clone()]).await {
                Ok(_) => acknowledged.insert(sent.id),
                Err(error) => break error,
            };
        };
        assert_eq!(error.code, "XB4002", "{error}");
        // Many at once, so that a whole group fails: each is told, or taken.
        let many: Vec<_> = (0..20).map(|_| message(&lane, vec![1; 60_000])).collect();
        let sending = many.iter().map(|sent| queue.enqueue(vec![sent.clone()]));
        for (sent, result) in many.iter().zip(futures_util::future::join_all(sending).await) {
            match result {
                Ok(_) => drop(acknowledged.insert(sent.id)),
                Err(error) => assert_eq!(error.code, "XB4002", "{error}"),
            }
        }
        assert_eq!(queue.health().await.unwrap_err().code, "XB4002");
        compare(&queue, &acknowledged).await;

        // Claims and settlements go on as far as there is space; what is refused has not happened.
        match queue.claim(ask(2)).await {
            Err(error) => assert_eq!(error.code, "XB4002"),
            Ok(claims) => {
                for claim in claims {
                    let id = claim.messages[0].message.id;
                    let settlement = Settlement { id, verdict: Verdict::Over, then: Vec::new() };
                    match queue.settle(claim.id, settlement.clone()).await {
                        Ok(settled) => assert_eq!(settled, Settled::Yes),
                        Err(error) => {
                            assert_eq!(error.code, "XB4002");
                            std::fs::remove_file(&filling).unwrap();
                            assert_eq!(queue.settle(claim.id, settlement).await.unwrap(), Settled::Yes);
                            fill(disk);
                        }
                    }
                    acknowledged.remove(&id);
                }
            }
        }
        compare(&queue, &acknowledged).await;
        std::fs::remove_file(filling).unwrap();
    }
    drop(queue);
    let queue = open(&data);
    compare(&queue, &acknowledged).await;
    queue.health().await.unwrap();
    while let claims = claim(&queue, 16).await
        && !claims.is_empty()
    {
        for claim in claims {
            over(&queue, &claim).await;
            assert!(acknowledged.remove(&claim.messages[0].message.id));
        }
    }
    assert!(acknowledged.is_empty());
}

/// What is listed, and what is counted, is what was acknowledged.
async fn compare(queue: &SqliteQueue, acknowledged: &HashSet<xebec_core::InvocationId>) {
    let mut found = HashSet::new();
    let mut query = EntryQuery::default();
    loop {
        let page = queue.list(&query).await.unwrap();
        found.extend(page.entries.iter().map(|entry| entry.message.id));
        query.cursor = page.cursor;
        if query.cursor.is_none() {
            break;
        }
    }
    assert_eq!(found, *acknowledged);
    let stats = queue.stats(None).await.unwrap();
    assert_eq!(stats.iter().map(|lane| lane.waiting + lane.running).sum::<u64>(), found.len() as u64);
}

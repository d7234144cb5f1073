//! Load, and that nothing of it is lost.

use super::message;
use std::{
    collections::{HashMap, HashSet},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};
use xebec_core::{
    ErrorKind, InvocationId,
    ports::queue::{Ask, LaneRules, Queue as _, Settlement, Verdict},
};
use xebec_queue_nats::NatsQueue;

/// For what must come.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Lets the load run for a moment.
pub async fn a_moment() {
    tokio::time::sleep(Duration::from_millis(400)).await;
}

/// Sends and works off while `trouble` does its worst; then sees that what was acknowledged was done.
pub async fn lose_nothing(queues: Vec<Arc<NatsQueue>>, trouble: impl AsyncFnOnce()) {
    let sending = Arc::new(AtomicBool::new(true));
    let accepted: Arc<Mutex<HashSet<InvocationId>>> = Arc::default();
    let done: Arc<Mutex<HashMap<InvocationId, u32>>> = Arc::default();
    let mut senders = Vec::new();
    let mut workers = Vec::new();
    for queue in queues {
        queue.configure(&message("t", "f").lane, LaneRules { concurrency: 64, batch: None });
        for _ in 0..4 {
            let (queue, sending, accepted) = (queue.clone(), sending.clone(), accepted.clone());
            senders.push(tokio::spawn(async move {
                while sending.load(Ordering::Relaxed) {
                    let message = message("t", "f");
                    let id = message.id;
                    match queue.enqueue(vec![message]).await {
                        Ok(_) => drop(accepted.lock().unwrap().insert(id)),
                        Err(error) => {
                            assert_eq!(error.kind, ErrorKind::Unavailable, "{error}");
                            tokio::time::sleep(Duration::from_millis(20)).await;
                        }
                    }
                }
            }));
        }
        let (accepted, done, sending) = (accepted.clone(), done.clone(), sending.clone());
        workers.push(tokio::spawn(async move {
            let ask = Ask { most: 16, lease: Duration::from_secs(2), wait: Duration::from_millis(100) };
            let mut stopped = None;
            loop {
                let left = {
                    let done = done.lock().unwrap();
                    accepted.lock().unwrap().iter().filter(|id| !done.contains_key(id)).count()
                };
                if !sending.load(Ordering::Relaxed) {
                    if left == 0 {
                        return;
                    }
                    let stopped = stopped.get_or_insert_with(Instant::now);
                    assert!(stopped.elapsed() < PATIENCE, "{left} accepted messages were lost");
                }
                let Ok(claims) = queue.claim(ask).await else {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                    continue;
                };
                for claim in claims {
                    let id = claim.messages[0].message.id;
                    *done.lock().unwrap().entry(id).or_default() += 1;
                    let settlement = Settlement { id, verdict: Verdict::Over, then: Vec::new() };
                    let _ = queue.settle(claim.id, settlement).await;
                }
            }
        }));
    }
    trouble().await;
    println!("{} accepted, {} done", accepted.lock().unwrap().len(), done.lock().unwrap().len());
    let before = accepted.lock().unwrap().len();
    // It goes on by itself.
    let began = Instant::now();
    while accepted.lock().unwrap().len() < before + 20 {
        assert!(began.elapsed() < PATIENCE, "nothing is accepted after the trouble");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    sending.store(false, Ordering::Relaxed);
    for task in senders.into_iter().chain(workers) {
        task.await.unwrap();
    }
}

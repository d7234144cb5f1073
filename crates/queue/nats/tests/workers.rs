//! Several workers on one server.

#![allow(clippy::unwrap_used)]

mod support;

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};
use support::{Server, message};
use xebec_core::{
    InvocationId,
    ports::queue::{Ask, LaneRules, Queue as _, Settled, Settlement, Verdict},
    rules::retry::History,
};
use xebec_queue_nats::NatsQueue;

const PATIENCE: Duration = Duration::from_secs(60);

fn over(id: InvocationId) -> Settlement {
    Settlement { id, verdict: Verdict::Over, then: Vec::new() }
}

async fn queues(server: &Server, count: usize) -> Vec<Arc<NatsQueue>> {
    let mut queues = Vec::new();
    for _ in 0..count {
        queues.push(Arc::new(server.queue().await));
    }
    queues
}

/// Who ran what, and that nobody ran what another was running.
#[derive(Default)]
struct Book {
    running: HashSet<String>,
    done: HashMap<String, Vec<InvocationId>>,
    by: HashMap<usize, usize>,
}

#[tokio::test(flavor = "multi_thread")]
async fn two_share_the_load_and_never_both_hold_a_message() {
    let Some(server) = Server::start() else { return };
    let queues = queues(&server, 2).await;
    let total = 600;
    let sent: Vec<_> = (0..total).map(|_| message("t", "f")).collect();
    let book: Arc<Mutex<Book>> = Arc::default();
    let workers = queues.iter().cloned().enumerate().map(|(number, queue)| {
        let book = book.clone();
        tokio::spawn(async move {
            queue.configure(&message("t", "f").lane, LaneRules { concurrency: 64, batch: None });
            let ask = Ask { most: 8, lease: PATIENCE, wait: Duration::from_millis(200) };
            let began = Instant::now();
            while book.lock().unwrap().by.values().sum::<usize>() < total {
                assert!(began.elapsed() < PATIENCE, "not all were done");
                for claim in queue.claim(ask).await.unwrap() {
                    let id = claim.messages[0].message.id;
                    assert!(book.lock().unwrap().running.insert(id.to_string()), "both hold {id}");
                    tokio::time::sleep(Duration::from_millis(1)).await;
                    assert_eq!(queue.settle(claim.id, over(id)).await.unwrap(), Settled::Yes);
                    *book.lock().unwrap().by.entry(number).or_default() += 1;
                }
            }
        })
    });
    let workers: Vec<_> = workers.collect();
    for some in sent.chunks(100) {
        queues[0].enqueue(some.to_vec()).await.unwrap();
    }
    for worker in workers {
        worker.await.unwrap();
    }
    let book = book.lock().unwrap();
    assert_eq!(book.running.len(), total);
    for number in 0..2 {
        let share = book.by.get(&number).copied().unwrap_or(0);
        assert!(share > total / 5, "worker {number} had {share} of {total}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_of_a_key_run_one_at_a_time_in_order_whoever_runs_them() {
    let Some(server) = Server::start() else { return };
    let queues = queues(&server, 3).await;
    let (keys, each) = (4, 40);
    let mut sent: HashMap<String, Vec<InvocationId>> = HashMap::new();
    let book: Arc<Mutex<Book>> = Arc::default();
    let workers = queues.iter().cloned().enumerate().map(|(number, queue)| {
        let book = book.clone();
        tokio::spawn(async move {
            queue.configure(&message("t", "f").lane, LaneRules { concurrency: 64, batch: None });
            let ask = Ask { most: 4, lease: PATIENCE, wait: Duration::from_millis(200) };
            let began = Instant::now();
            while book.lock().unwrap().by.values().sum::<usize>() < keys * each {
                assert!(began.elapsed() < PATIENCE, "not all were done");
                for claim in queue.claim(ask).await.unwrap() {
                    let claimed = &claim.messages[0];
                    let (id, key) = (claimed.message.id, claimed.message.key.clone().unwrap().to_string());
                    assert!(book.lock().unwrap().running.insert(key.clone()), "two of {key} run");
                    tokio::task::yield_now().await;
                    // Some are tried again, and hold up those behind them.
                    let again = claimed.history == History::default() && id.0.as_u128() % 3 == 0;
                    let verdict = if again {
                        let history = History { failures: 1, ..History::default() };
                        Verdict::Again { due: jiff::Timestamp::now(), history, why: String::new() }
                    } else {
                        Verdict::Over
                    };
                    {
                        let mut book = book.lock().unwrap();
                        book.running.remove(&key);
                        if !again {
                            book.done.entry(key).or_default().push(id);
                            *book.by.entry(number).or_default() += 1;
                        }
                    }
                    let settlement = Settlement { verdict, ..over(id) };
                    assert_eq!(queue.settle(claim.id, settlement).await.unwrap(), Settled::Yes);
                }
            }
        })
    });
    let workers: Vec<_> = workers.collect();
    for number in 0..keys * each {
        let mut message = message("t", "f");
        let key = format!("k{}", number % keys);
        message.key = Some(key.as_str().into());
        sent.entry(key).or_default().push(message.id);
        queues[number % 3].enqueue(vec![message]).await.unwrap();
    }
    for worker in workers {
        worker.await.unwrap();
    }
    assert_eq!(book.lock().unwrap().done, sent);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_worker_that_ended_held_comes_to_the_other() {
    let Some(server) = Server::start() else { return };
    let mut queues = queues(&server, 2).await;
    let sent = message("t", "f");
    queues[0].enqueue(vec![sent.clone()]).await.unwrap();
    let short = Ask { most: 1, lease: Duration::from_millis(500), wait: PATIENCE };
    let claims = queues[0].claim(short).await.unwrap();
    assert_eq!(claims[0].messages[0].message.id, sent.id);
    drop(queues.remove(0));
    let claims = queues[0].claim(Ask { lease: PATIENCE, ..short }).await.unwrap();
    assert_eq!(claims[0].messages[0].message.id, sent.id);
    assert_eq!(claims[0].messages[0].history.interruptions, 1);
    let settled = queues[0].settle(claims[0].id, over(sent.id)).await.unwrap();
    assert_eq!(settled, Settled::Yes);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_claim_whose_caller_went_away_is_given_back() {
    let Some(server) = Server::start() else { return };
    let queue = server.queue().await;
    let sent: Vec<_> = (0..20).map(|_| message("t", "f")).collect();
    queue.enqueue(sent.clone()).await.unwrap();
    let ask = Ask { most: 1, lease: PATIENCE, wait: PATIENCE };
    let mut left: HashSet<_> = sent.iter().map(|message| message.id).collect();
    for tenths in 0..20 {
        // Somewhere in the middle of being written, as a rule; some are quicker.
        let claims = tokio::time::timeout(Duration::from_micros(tenths * 100), queue.claim(ask)).await;
        for claim in claims.into_iter().flat_map(Result::unwrap) {
            let id = claim.messages[0].message.id;
            left.remove(&id);
            // A lane has sixteen claims at a time: those that arrived make room.
            assert_eq!(queue.settle(claim.id, over(id)).await.unwrap(), Settled::Yes);
        }
    }
    assert!(!left.is_empty(), "every claim was quicker than its caller went away");
    let began = Instant::now();
    while !left.is_empty() {
        assert!(began.elapsed() < PATIENCE, "{} never came back", left.len());
        for claim in queue.claim(Ask { most: 8, wait: Duration::from_millis(200), ..ask }).await.unwrap() {
            let claimed = &claim.messages[0];
            assert_eq!(claimed.history, History::default(), "it had not begun");
            left.remove(&claimed.message.id);
            assert_eq!(queue.settle(claim.id, over(claimed.message.id)).await.unwrap(), Settled::Yes);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn all_see_what_one_paused_cancelled_and_buried() {
    let Some(server) = Server::start() else { return };
    let queues = queues(&server, 2).await;
    let sent = [message("t", "f"), message("t", "f")];
    queues[0].enqueue(sent.to_vec()).await.unwrap();
    let place = xebec_core::ports::queue::Place::Function(match &sent[0].lane.target {
        xebec_core::message::Target::Function(function) => function.clone(),
        _ => unreachable!("it is for a function"),
    });
    queues[0].pause(&place).await.unwrap();
    let began = Instant::now();
    while queues[1].paused().await.unwrap() != std::slice::from_ref(&place) {
        assert!(began.elapsed() < PATIENCE);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let ask = Ask { most: 8, lease: PATIENCE, wait: Duration::from_millis(300) };
    assert!(queues[1].claim(ask).await.unwrap().is_empty());
    queues[1].cancel(&sent[0].id).await.unwrap();
    assert_eq!(queues[0].get(&sent[0].id).await.unwrap(), None);
    queues[1].resume(&place).await.unwrap();
    let claims = queues[1].claim(ask).await.unwrap();
    assert_eq!(claims[0].messages[0].message.id, sent[1].id);
    // One that runs elsewhere learns that it was cancelled.
    assert_eq!(queues[0].cancel(&sent[1].id).await.unwrap().state.name(), "running");
    let held = queues[1].extend(claims[0].id, PATIENCE).await.unwrap();
    assert_eq!(held, xebec_core::ports::queue::Held::Yes(vec![sent[1].id]));
}

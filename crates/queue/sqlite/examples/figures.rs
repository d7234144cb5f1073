//! How fast the queue is on this disk, beside what the disk gives.
//!
//! `cargo run --release -p xebec-queue-sqlite --example figures [seconds] [directory]`

#![allow(clippy::unwrap_used, reason = "a measurement that cannot go on panics")]

use bytes::Bytes;
use jiff::Timestamp;
use std::{
    io::Write as _,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};
use xebec_core::{
    FunctionKey, Tenant,
    message::{Call, Lane, Message, Payload},
    ports::{
        clock::SystemClock,
        queue::{Ask, Claim, LaneRules, Queue as _, Settlement, Verdict},
    },
};
use xebec_queue_sqlite::{Options, SqliteQueue};

const SENDERS: usize = 64;
const BODY: usize = 128;

fn main() {
    let mut arguments = std::env::args().skip(1);
    let seconds = arguments.next().map_or(3.0, |text| text.parse().unwrap());
    let measure = Duration::from_secs_f64(seconds);
    let directory = arguments.next().map_or_else(std::env::temp_dir, Into::into);
    let directory = tempfile::tempdir_in(directory).unwrap();
    println!("bare write and fdatasync of 512 bytes: {:.0}/s", bare(directory.path(), measure));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let queue =
            Arc::new(SqliteQueue::open(directory.path(), Arc::new(SystemClock), Options::default()).unwrap());
        begin(&queue).await;
        let accepted = enqueue(&queue, measure).await;
        drain(&queue, accepted, 64).await;
        steady(&queue, measure).await;
    });
}

fn bare(directory: &Path, measure: Duration) -> f64 {
    let mut file = std::fs::File::create(directory.join("bare")).unwrap();
    let began = Instant::now();
    let mut count = 0;
    while began.elapsed() < measure {
        file.write_all(&[7; 512]).unwrap();
        file.sync_data().unwrap();
        count += 1;
    }
    f64::from(count) / began.elapsed().as_secs_f64()
}

fn lane() -> Lane {
    Lane::function("default", &FunctionKey::new(&Tenant::default(), "native", "f"))
}

fn message() -> Message {
    let now = Timestamp::now();
    let mut headers = http::HeaderMap::new();
    headers.insert("content-type", http::HeaderValue::from_static("application/json"));
    headers.insert("user-agent", http::HeaderValue::from_static("figures/1.0"));
    Message {
        authorised: true,
        ..Message::new(
            lane(),
            Call {
                method: "POST".into(),
                uri: "/".into(),
                headers,
                body: Payload::Inline(Bytes::from_static(&[b'x'; BODY])),
            },
            now,
        )
    }
}

fn ask(most: usize, wait: Duration) -> Ask {
    Ask { most, lease: Duration::from_secs(60), wait }
}

async fn over(queue: &SqliteQueue, claim: Claim) {
    let id = claim.messages[0].message.id;
    let settlement = Settlement { id, verdict: Verdict::Over, then: Vec::new() };
    queue.settle(claim.id, settlement).await.unwrap();
}

/// What the writing thread has used of a processor, where the machine tells.
fn writer() -> Duration {
    let ticks = || {
        let tasks = std::fs::read_dir("/proc/self/task").ok()?;
        let mine = tasks.flatten().map(|task| task.path()).find(|task| {
            std::fs::read_to_string(task.join("comm")).is_ok_and(|name| name.trim() == "queue-writer")
        })?;
        let stat = std::fs::read_to_string(mine.join("stat")).ok()?;
        let fields: Vec<_> = stat.rsplit_once(')')?.1.split_whitespace().collect();
        Some(fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?)
    };
    Duration::from_millis(ticks().unwrap_or(0) * 10)
}

fn tell(what: &str, mut times: Vec<Duration>) {
    times.sort_unstable();
    let at = |share: usize| times[(times.len() * share / 1000).min(times.len() - 1)];
    println!("{what}: p50 {:.2?}, p99 {:.2?}, p99.9 {:.2?}", at(500), at(990), at(999));
}

/// From sending, one at a time, until someone who waits has it.
async fn begin(queue: &Arc<SqliteQueue>) {
    let mut times = Vec::new();
    for _ in 0..1000 {
        let claiming = tokio::spawn({
            let queue = Arc::clone(queue);
            async move {
                let claims = queue.claim(ask(1, Duration::from_secs(5))).await.unwrap();
                (Instant::now(), claims)
            }
        });
        tokio::time::sleep(Duration::from_micros(300)).await;
        let began = Instant::now();
        queue.enqueue(vec![message()]).await.unwrap();
        let (got, claims) = claiming.await.unwrap();
        times.push(got - began);
        for claim in claims {
            over(queue, claim).await;
        }
    }
    tell("from sending to its claim, one at a time", times);
}

async fn enqueue(queue: &Arc<SqliteQueue>, measure: Duration) -> u64 {
    let (began, used) = (Instant::now(), writer());
    let until = began + measure;
    let senders = (0..SENDERS).map(|_| {
        let queue = Arc::clone(queue);
        tokio::spawn(async move {
            let mut times = Vec::new();
            while Instant::now() < until {
                let began = Instant::now();
                queue.enqueue(vec![message()]).await.unwrap();
                times.push(began.elapsed());
            }
            times
        })
    });
    let mut times = Vec::new();
    for sender in senders.collect::<Vec<_>>() {
        times.extend(sender.await.unwrap());
    }
    let count = times.len();
    println!("{SENDERS} senders: {:.0} enqueued/s", count as f64 / began.elapsed().as_secs_f64());
    tell("  until it is on disk", times);
    println!("  the writing thread's own work: {:.2?} each", (writer() - used) / count as u32);
    count as u64
}

async fn drain(queue: &Arc<SqliteQueue>, count: u64, concurrency: u32) {
    queue.configure(&lane(), LaneRules { concurrency, batch: None });
    let (began, used) = (Instant::now(), writer());
    let mut done = 0;
    let mut running = tokio::task::JoinSet::new();
    while done < count {
        let free = concurrency as usize - running.len();
        if free > 0 {
            for claim in queue.claim(ask(free, Duration::ZERO)).await.unwrap() {
                let queue = Arc::clone(queue);
                running.spawn(async move { over(&queue, claim).await });
            }
        }
        if running.join_next().await.is_some() {
            done += 1;
            while running.try_join_next().is_some() {
                done += 1;
            }
        }
    }
    println!(
        "{count} worked off, {concurrency} at a time: {:.0}/s",
        count as f64 / began.elapsed().as_secs_f64()
    );
    println!("  the writing thread's own work: {:.2?} each", (writer() - used) / count as u32);
}

/// Senders and a dispatcher at the same time.
async fn steady(queue: &Arc<SqliteQueue>, measure: Duration) {
    let stop = Arc::new(AtomicBool::new(false));
    let done = Arc::new(AtomicU64::new(0));
    let dispatcher = tokio::spawn({
        let (queue, stop, done) = (Arc::clone(queue), Arc::clone(&stop), Arc::clone(&done));
        async move {
            while !stop.load(Ordering::Relaxed) {
                for claim in queue.claim(ask(64, Duration::from_millis(100))).await.unwrap() {
                    let (queue, done) = (Arc::clone(&queue), Arc::clone(&done));
                    tokio::spawn(async move {
                        over(&queue, claim).await;
                        done.fetch_add(1, Ordering::Relaxed);
                    });
                }
            }
        }
    });
    print!("with a dispatcher beside: ");
    enqueue(queue, measure).await;
    println!(
        "  of them worked off meanwhile: {:.0}/s",
        done.load(Ordering::Relaxed) as f64 / measure.as_secs_f64()
    );
    stop.store(true, Ordering::Relaxed);
    dispatcher.await.unwrap();
}

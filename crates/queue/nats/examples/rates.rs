//! How fast the queue accepts beside what a bare client publishes, and how soon a message can be claimed:
//! `cargo run --release -p xebec-queue-nats --example rates -- nats://127.0.0.1:4222 http://127.0.0.1:8222`

use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use jiff::Timestamp;
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use xebec_core::{
    FunctionKey, Tenant,
    message::{Call, DEFAULT_QUEUE, Lane, Message, Payload},
    ports::{
        clock::SystemClock,
        queue::{Ask, LaneRules, Queue, Settlement, Verdict},
    },
};
use xebec_queue_nats::{NatsOptions, NatsQueue};

const IN_FLIGHT: usize = 64;
const MESSAGES: usize = 4000;
const ROUNDS: usize = 3;

type Failed = Box<dyn std::error::Error>;

fn message() -> Message {
    let now = Timestamp::now();
    Message::new(
        Lane::function(DEFAULT_QUEUE, &FunctionKey::new(&Tenant::default(), "native", "f")),
        Call {
            method: "POST".into(),
            uri: "/".to_owned(),
            headers: http::HeaderMap::new(),
            body: Payload::Inline(Bytes::from_static(&[b'x'; 256])),
        },
        now,
    )
}

/// Publishes to a stream of its own: acknowledged messages a second.
async fn bare(url: &str) -> Result<f64, Failed> {
    use async_nats::jetstream::{self, stream::Config};
    let context = jetstream::new(async_nats::connect(url).await?);
    let config = Config { name: "BARE".to_owned(), subjects: vec!["bare.>".to_owned()], ..Config::default() };
    context.create_stream(config).await?;
    let length = message().head()?.len() + 256 + 200;
    let payload = Bytes::from(vec![b'x'; length]);
    let began = Instant::now();
    let results = stream::iter(0..MESSAGES).map(|number| {
        let (context, payload) = (context.clone(), payload.clone());
        async move { context.publish(format!("bare.{number}"), payload).await?.await }
    });
    let failed =
        results.buffer_unordered(IN_FLIGHT).filter(|result| std::future::ready(result.is_err())).count();
    assert_eq!(failed.await, 0, "every message is acknowledged");
    let rate = MESSAGES as f64 / began.elapsed().as_secs_f64();
    context.delete_stream("BARE").await?;
    Ok(rate)
}

async fn accept(queue: &NatsQueue) -> Result<f64, Failed> {
    let began = Instant::now();
    let results =
        stream::iter(0..MESSAGES).map(|_| queue.enqueue(vec![message()])).buffer_unordered(IN_FLIGHT);
    let failed = results.filter(|result| std::future::ready(result.is_err())).count().await;
    assert_eq!(failed, 0, "every message is accepted");
    Ok(MESSAGES as f64 / began.elapsed().as_secs_f64())
}

async fn drain(queue: &Arc<NatsQueue>) -> Result<f64, Failed> {
    queue.configure(&message().lane, LaneRules { concurrency: 256, batch: None });
    let began = Instant::now();
    let ask = Ask { most: 32, lease: Duration::from_secs(60), wait: Duration::from_millis(500) };
    let claimers = (0..4).map(|_| {
        let queue = queue.clone();
        tokio::spawn(async move {
            let mut done = 0;
            loop {
                let claims = queue.claim(ask).await?;
                if claims.is_empty() {
                    return Ok::<_, xebec_core::Error>((done, Instant::now()));
                }
                done += claims.len();
                let settled = claims.iter().map(|claim| {
                    let id = claim.messages[0].message.id;
                    queue.settle(claim.id, Settlement { id, verdict: Verdict::Over, then: Vec::new() })
                });
                for result in futures_util::future::join_all(settled).await {
                    result?;
                }
            }
        })
    });
    let (mut done, mut last) = (0, began);
    for claimer in claimers.collect::<Vec<_>>() {
        let (some, at) = claimer.await??;
        done += some;
        last = last.max(at);
    }
    Ok(done as f64 / (last - began - ask.wait).as_secs_f64())
}

/// From before a message is sent until its claim is there, one at a time.
async fn latency(queue: &NatsQueue) -> Result<(Duration, Duration), Failed> {
    let ask = Ask { most: 1, lease: Duration::from_secs(60), wait: Duration::from_secs(5) };
    let mut times = Vec::new();
    for _ in 0..1000 {
        let began = Instant::now();
        let (claims, sent) = tokio::join!(queue.claim(ask), queue.enqueue(vec![message()]));
        times.push(began.elapsed());
        sent?;
        for claim in claims? {
            let id = claim.messages[0].message.id;
            queue.settle(claim.id, Settlement { id, verdict: Verdict::Over, then: Vec::new() }).await?;
        }
    }
    times.sort_unstable();
    Ok((times[times.len() / 2], times[times.len() * 99 / 100]))
}

#[tokio::main]
async fn main() -> Result<(), Failed> {
    let mut arguments = std::env::args().skip(1);
    let url = arguments.next().ok_or("the server's URL, and that of its monitoring")?;
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut options = NatsOptions::new(&url);
    options.monitoring = arguments.collect();
    let queue = Arc::new(NatsQueue::connect(options, Arc::new(SystemClock)).await?);
    for _ in 0..ROUNDS {
        let bare = bare(&url).await?;
        let accepted = accept(&queue).await?;
        let drained = drain(&queue).await?;
        let share = 100.0 * accepted / bare;
        println!(
            "bare {bare:.0}/s   accepted {accepted:.0}/s ({share:.0} %)   claimed and settled {drained:.0}/s"
        );
    }
    let (half, most) = latency(&queue).await?;
    println!("sent to claimed: p50 {half:?}   p99 {most:?}");
    Ok(())
}

//! Several claimers at once.

use super::{LONG, Subject, again, ask, in_ms, keyed, lane, message, put, settle};
use futures_util::future::{BoxFuture, FutureExt as _, join_all};
use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};
use xebec_core::{
    InvocationId,
    message::Message,
    ports::queue::{Claim, LaneRules, Queue, Settled, Verdict},
};

const CLAIMERS: usize = 6;

/// What a claimer does with a claim that it asked for at some moment: whether a message is done then.
type Run = dyn Fn(Arc<dyn Queue>, Claim, Instant) -> BoxFuture<'static, bool> + Send + Sync;

/// Runs several claimers until so many messages are done.
async fn work_off(queue: &Subject, messages: usize, lease: Duration, run: Arc<Run>) {
    let left = Arc::new(AtomicUsize::new(messages));
    let deadline = Instant::now() + Duration::from_secs(120);
    let claimers = (0..CLAIMERS).map(|number| {
        let (queue, run, left) = (queue.queue.clone(), run.clone(), left.clone());
        tokio::spawn(async move {
            while left.load(Ordering::SeqCst) > 0 {
                assert!(Instant::now() < deadline, "{} were not done in time", left.load(Ordering::SeqCst));
                let ask = ask(1 + number % 4, lease, Duration::from_millis(100));
                let asked = Instant::now();
                for claim in queue.claim(ask).await.unwrap() {
                    if run(queue.clone(), claim, asked).await {
                        left.fetch_sub(1, Ordering::SeqCst);
                    }
                }
            }
        })
    });
    for claimer in join_all(claimers).await {
        claimer.unwrap();
    }
}

/// Messages of some lanes, in turn, wide enough for every claimer.
async fn fill(queue: &Subject, count: usize) -> Vec<Message> {
    let lanes: Vec<_> = (0..4).map(|number| lane(&format!("f{number}"))).collect();
    let sent: Vec<_> = (0..count).map(|number| message(&lanes[number % lanes.len()])).collect();
    for lane in &lanes {
        queue.configure(lane, LaneRules { concurrency: 100, batch: None });
    }
    put(&**queue, &sent).await;
    sent
}

/// Each is claimed once, since each is settled in time.
pub async fn gives_no_message_to_two_claimers(queue: &Subject) {
    let sent = fill(queue, (queue.scale.messages / 10).max(50)).await;
    let claimed: Arc<Mutex<HashMap<InvocationId, u32>>> = Arc::default();
    let seen = claimed.clone();
    let run = move |queue: Arc<dyn Queue>, claim: Claim, _| {
        let id = claim.messages[0].message.id;
        *seen.lock().unwrap().entry(id).or_default() += 1;
        async move { settle(queue.as_ref(), &claim, Verdict::Over).await == Settled::Yes }.boxed()
    };
    work_off(queue, sent.len(), LONG, Arc::new(run)).await;
    let claimed = claimed.lock().unwrap();
    for message in &sent {
        assert_eq!(claimed.get(&message.id), Some(&1));
    }
    assert_eq!(claimed.len(), sent.len());
}

/// A third of the claims are forgotten, and some are tried again; in the end all are done, once, and nobody had
/// a message while another's lease lasted.
pub async fn loses_nothing_to_claimers_that_crash(queue: &Subject) {
    #[derive(Default)]
    struct Seen {
        claims: u32,
        /// When a claim that was forgotten had been asked for, and the interruptions that it knew of.
        forgotten: Option<(Instant, u32)>,
        done: u32,
    }
    let lease = Duration::from_millis(400);
    let sent = fill(queue, (queue.scale.messages / 50).max(30)).await;
    let all: Arc<Mutex<HashMap<InvocationId, Seen>>> = Arc::default();
    let book = all.clone();
    let run = move |queue: Arc<dyn Queue>, claim: Claim, asked| {
        let book = book.clone();
        async move {
            let (claimed, now) = (&claim.messages[0], Instant::now());
            let id = claimed.message.id;
            let interruptions = claimed.history.interruptions;
            let times = {
                let mut book = book.lock().unwrap();
                let seen = book.entry(id).or_default();
                // One that knows of no more is of a claimer that stalled since before the other asked.
                if let Some((asked, before)) = seen.forgotten
                    && interruptions > before
                {
                    let since = now.duration_since(asked);
                    assert!(since >= lease, "claimed again after {since:?}");
                }
                seen.claims += 1;
                seen.claims
            };
            if times == 1 && id.0.as_u128() % 3 == 0 {
                book.lock().unwrap().entry(id).or_default().forgotten = Some((asked, interruptions));
                return false;
            }
            let last = times > 2 || id.0.as_u128() % 3 == 1;
            let verdict = if last { Verdict::Over } else { again(in_ms(0)) };
            // A machine that stalls for as long as a lease makes it late; then the message comes again.
            let settled = settle(queue.as_ref(), &claim, verdict).await == Settled::Yes;
            let done = settled && last;
            book.lock().unwrap().entry(id).or_default().done += u32::from(done);
            done
        }
        .boxed()
    };
    work_off(queue, sent.len(), lease, Arc::new(run)).await;
    let all = all.lock().unwrap();
    assert_eq!(all.len(), sent.len());
    assert!(all.values().all(|seen| seen.done == 1));
    assert!(all.values().any(|seen| seen.claims > 1));
}

/// Each key's messages run one after another, in order, while other keys' do.
pub async fn keeps_keys_in_order_among_many_claimers(queue: &Subject) {
    let (keys, each) = (5, 12);
    let f = lane("f");
    queue.configure(&f, LaneRules { concurrency: 100, batch: None });
    let sent: Vec<_> = (0..keys * each).map(|number| keyed(&f, &format!("k{}", number % keys))).collect();
    put(&**queue, &sent).await;
    // Per key: what ran, in order; and what runs.
    type Lines = HashMap<String, (Vec<InvocationId>, Option<InvocationId>)>;
    let lines: Arc<Mutex<Lines>> = Arc::default();
    let book = lines.clone();
    let run = move |queue: Arc<dyn Queue>, claim: Claim, _| {
        let book = book.clone();
        async move {
            let claimed = &claim.messages[0];
            let (id, key) = (claimed.message.id, claimed.message.key.clone().unwrap().to_string());
            {
                let mut book = book.lock().unwrap();
                let (_, running) = book.entry(key.clone()).or_default();
                assert_eq!(*running, None, "two of a key run");
                *running = Some(id);
            }
            tokio::task::yield_now().await;
            // Every fourth is tried again once.
            let again_first = claimed.history.failures == 0 && id.0.as_u128() % 4 == 0;
            {
                let mut book = book.lock().unwrap();
                let (ran, running) = book.entry(key).or_default();
                *running = None;
                if !again_first {
                    ran.push(id);
                }
            }
            let verdict = if again_first { again(in_ms(0)) } else { Verdict::Over };
            assert_eq!(settle(queue.as_ref(), &claim, verdict).await, Settled::Yes);
            !again_first
        }
        .boxed()
    };
    work_off(queue, sent.len(), LONG, Arc::new(run)).await;
    let lines = lines.lock().unwrap();
    for key in 0..keys {
        let wanted: Vec<_> = sent.iter().skip(key).step_by(keys).map(|message| message.id).collect();
        assert_eq!(lines[&format!("k{key}")].0, wanted, "k{key}");
    }
}

//! `kill -9` at any moment loses nothing acknowledged, and runs nothing twice that may run once.
//!
//! `XEBEC_KILLS=100 cargo test -p xebec-queue-sqlite --test kill` kills a hundred times.

#![allow(clippy::unwrap_used)]

mod support;

use futures_util::future::{join, join_all};
use std::{
    collections::{HashMap, HashSet},
    env,
    io::{BufRead as _, BufReader, Write as _},
    path::Path,
    process::{Command, Stdio},
    str::FromStr as _,
    sync::atomic::{AtomicI64, Ordering},
    time::{Duration, Instant},
};
use support::{ask, lane, message, open};
use uuid::Uuid;
use xebec_core::{
    InvocationId,
    message::Guarantee,
    ports::queue::{Ask, EntryQuery, LaneRules, Queue as _, Settlement, Verdict},
    rules::retry::{Death, History},
};

const VARIABLE: &str = "XEBEC_TEST_QUEUE_WORKER";
const SENDERS: usize = 6;
const WORKERS: usize = 3;
/// How far senders may be ahead of workers.
const AHEAD: i64 = 100;
const MANY: LaneRules = LaneRules { concurrency: 500, batch: None };

fn kills() -> u64 {
    env::var("XEBEC_KILLS").ok().and_then(|text| text.parse().ok()).unwrap_or(10)
}

/// A line at once, so that a kill cuts none but the last.
fn say(line: String) {
    std::io::stdout().write_all(line.as_bytes()).unwrap();
}

/// Not a test by itself: what the test below starts, and kills. It prints what was acknowledged, after it was;
/// what it begins to run, before it does.
#[test]
fn worker() {
    let Some(directory) = env::var_os(VARIABLE) else { return };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(work(Path::new(&directory)));
}

async fn work(directory: &Path) {
    let queue = open(directory);
    for function in 0..3 {
        queue.configure(&lane("t", &format!("f{function}")), MANY);
    }
    let waiting = AtomicI64::new(0);
    let send = |sender: usize| {
        let (queue, waiting) = (&queue, &waiting);
        async move {
            for count in 0_usize.. {
                // What is worked off keeps pace.
                while waiting.load(Ordering::Relaxed) > AHEAD {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
                waiting.fetch_add(1, Ordering::Relaxed);
                let mut sent = message(&lane("t", &format!("f{}", sender % 3)), vec![7; count % 3000]);
                // Half of them may run at most once, and a third in order.
                sent.guarantee = count.is_multiple_of(2).then_some(Guarantee::AtMostOnce);
                sent.key = count.is_multiple_of(3).then(|| format!("k{}", count % 7).into());
                let id = sent.id;
                queue.enqueue(vec![sent]).await.unwrap();
                say(format!("sent {id}\n"));
            }
        }
    };
    let run = |worker: usize| {
        let (queue, waiting) = (&queue, &waiting);
        async move {
            let mut count = worker;
            loop {
                let claims = queue.claim(Ask { wait: Duration::from_secs(1), ..ask(8) }).await.unwrap();
                for claim in claims {
                    for claimed in claim.messages {
                        count += 1;
                        let id = claimed.message.id;
                        let once = claimed.message.guarantee == Some(Guarantee::AtMostOnce);
                        if !(once && claimed.history.interruptions > 0) {
                            say(format!("{} {id}\n", if once { "once" } else { "run" }));
                        }
                        let history = History { failures: 1, ..claimed.history };
                        let why = "as it happens".to_owned();
                        let (verdict, word) = match count % 10 {
                            0 if !once => {
                                let due = jiff::Timestamp::now() + jiff::SignedDuration::from_millis(20);
                                (Verdict::Again { due, history, why }, "again")
                            }
                            1 => (Verdict::Dead { death: Death::Failed, history, why }, "dead"),
                            _ => (Verdict::Over, "over"),
                        };
                        let settlement = Settlement { id, verdict, then: Vec::new() };
                        // Said before as well: when it dies in between, it may be over already.
                        say(format!("{word}? {id}\n"));
                        queue.settle(claim.id, settlement).await.unwrap();
                        say(format!("{word} {id}\n"));
                        if word != "again" {
                            waiting.fetch_sub(1, Ordering::Relaxed);
                        }
                    }
                }
            }
        }
    };
    join(join_all((0..SENDERS).map(send)), join_all((0..WORKERS).map(run))).await;
}

/// What is known of what happened.
#[derive(Default)]
struct Known {
    /// Accepted, and not known to be over.
    here: HashSet<InvocationId>,
    /// May be over, or not.
    perhaps_over: HashSet<InvocationId>,
    over: HashSet<InvocationId>,
    dead: HashSet<InvocationId>,
    /// How often those ran that may run once.
    once: HashMap<InvocationId, u32>,
}

impl Known {
    /// `sent <id>`, with its end: a line that was cut off by the kill is none.
    fn learn(&mut self, line: &str) {
        let Some((word, id)) = line.strip_suffix('\n').and_then(|line| line.rsplit_once(' ')) else { return };
        let Ok(id) = Uuid::from_str(id).map(InvocationId) else { return };
        // The test harness prints its own words before the first one.
        match word.rsplit(' ').next().unwrap_or(word) {
            // It may have been run, and be over, before this was printed.
            "sent" if !self.over.contains(&id) => {
                self.here.insert(id);
            }
            "over?" => {
                self.perhaps_over.insert(id);
            }
            "over" => {
                self.here.remove(&id);
                self.perhaps_over.remove(&id);
                self.over.insert(id);
            }
            "dead" => {
                self.dead.insert(id);
            }
            "once" => *self.once.entry(id).or_default() += 1,
            _ => {}
        }
    }

    async fn compare(&mut self, directory: &Path, round: u64) {
        xebec_sqlite::check(&directory.join(xebec_queue_sqlite::QUEUE_FILE)).unwrap();
        let queue = open(directory);
        let mut found: HashMap<InvocationId, &'static str> = HashMap::new();
        let mut query = EntryQuery::default();
        loop {
            let page = queue.list(&query).await.unwrap();
            for entry in page.entries {
                let state = entry.state.name();
                assert_ne!(state, "running", "nothing runs after a kill");
                assert!(found.insert(entry.message.id, state).is_none(), "listed twice");
            }
            query.cursor = page.cursor;
            if query.cursor.is_none() {
                break;
            }
        }
        for id in &self.here {
            assert!(found.contains_key(id) || self.perhaps_over.contains(id), "round {round}: {id} is lost");
        }
        for id in &self.over {
            assert!(!found.contains_key(id), "round {round}: {id} was over, and is back");
        }
        for id in &self.dead {
            assert_eq!(found.get(id), Some(&"dead"), "round {round}: {id} was dead");
        }
        assert!(self.once.values().all(|count| *count == 1), "round {round}: run twice");
        self.perhaps_over.clear();
        self.here.retain(|id| found.contains_key(id));
        // Counted as listed.
        let stats = queue.stats(None).await.unwrap();
        let (mut waiting, mut dead) = (0, 0);
        stats.iter().for_each(|lane| (waiting, dead) = (waiting + lane.waiting, dead + lane.dead));
        let listed = |state| found.values().filter(|found| **found == state).count() as u64;
        assert_eq!((waiting, dead), (listed("waiting"), listed("dead")));
    }
}

#[tokio::test]
async fn nothing_acknowledged_is_lost() {
    let directory = tempfile::tempdir().unwrap();
    let mut known = Known::default();
    for round in 0..kills() {
        // Spread over the start, the first commits and steady writing with checkpoints.
        let life = Duration::from_millis(5 + (round * 7919) % 400);
        run_and_kill(directory.path(), life, &mut known);
        known.compare(directory.path(), round).await;
    }
    // What is left can be worked off: those that may run once and were interrupted never began again.
    let queue = open(directory.path());
    for function in 0..3 {
        queue.configure(&lane("t", &format!("f{function}")), MANY);
    }
    let left = known.here.len();
    let deadline = Instant::now() + Duration::from_secs(60) + Duration::from_millis(10) * left as u32;
    while queue.stats(None).await.unwrap().iter().any(|lane| lane.waiting > 0) {
        assert!(Instant::now() < deadline, "{:?}", queue.stats(None).await);
        let claims = queue.claim(Ask { wait: Duration::from_millis(100), ..ask(500) }).await.unwrap();
        for claimed in claims.iter().flat_map(|claim| &claim.messages) {
            let ran = known.once.get(&claimed.message.id).copied().unwrap_or(0);
            assert!(ran == 0 || claimed.history.interruptions > 0, "it ran, and nobody would know");
        }
        join_all(claims.iter().map(|claim| support::over(&queue, claim))).await;
    }
    eprintln!(
        "{} kills: {} over, {} dead, {left} left at the end, none lost",
        kills(),
        known.over.len(),
        known.dead.len()
    );
    assert!(known.over.len() > 10 && known.once.len() > 10, "nothing much happened");
}

/// Runs the worker; after its first acknowledgement, and `life` later, it is killed.
fn run_and_kill(directory: &Path, life: Duration, known: &mut Known) {
    let mut child = Command::new(env::current_exe().unwrap())
        .args(["worker", "--exact", "--nocapture", "--test-threads=1"])
        .env(VARIABLE, directory)
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap());
    let mut end = None;
    let mut line = Vec::new();
    // What it printed before it was killed is read to the end: all of that happened.
    loop {
        line.clear();
        if lines.read_until(b'\n', &mut line).unwrap() == 0 {
            break;
        }
        let text = String::from_utf8_lossy(&line);
        known.learn(&text);
        if text.contains("sent ") {
            let until = *end.get_or_insert_with(|| Instant::now() + life);
            if Instant::now() >= until {
                child.kill().unwrap();
            }
        }
    }
    assert!(!child.wait().unwrap().success(), "the worker ended by itself");
}

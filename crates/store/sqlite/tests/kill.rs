//! `kill -9` at any moment loses nothing acknowledged.

#![allow(clippy::unwrap_used)]

use futures_util::future::join_all;
use serde_json::json;
use std::{
    env,
    io::{BufRead as _, BufReader, Write as _},
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};
use xebec_core::{
    document::{Document, DocumentKey, Expect, ListQuery},
    ports::store::Store as _,
};
use xebec_store_sqlite::{DataDirectory, Options, SqliteStore};

const VARIABLE: &str = "XEBEC_TEST_WRITER";
const ROUNDS: u64 = 10;
const WRITERS: usize = 8;

/// Not a test by itself: what the test below starts, and kills. Each writer counts up a document of its own
/// and prints what was acknowledged.
#[test]
fn writer() {
    let Some(directory) = env::var_os(VARIABLE) else { return };
    let store =
        SqliteStore::open(&DataDirectory::open(Path::new(&directory)).unwrap(), Options::default()).unwrap();
    let writers = (0..WRITERS).map(|writer| {
        let store = &store;
        async move {
            let name = format!("w{writer}");
            let found = store.get(&DocumentKey::new("count", "default", &name)).await.unwrap();
            let mut count = found.map_or(0, |found| found.spec["count"].as_u64().unwrap());
            loop {
                count += 1;
                let spec = json!({"count": count, "ballast": "x".repeat((count % 3000) as usize)});
                let stored = store.put(Document::new("count", "default", &name, spec), Expect::Any).await;
                let line = format!("ack {name} {count} {}\n", stored.unwrap().version);
                std::io::stdout().write_all(line.as_bytes()).unwrap();
            }
        }
    });
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(join_all(writers));
}

#[tokio::test]
async fn nothing_acknowledged_is_lost() {
    let directory = tempfile::tempdir().unwrap();
    let mut acknowledged = [(0, 0); WRITERS];
    for round in 0..ROUNDS {
        // Spread over the start, the first commits and steady writing with checkpoints.
        let life = Duration::from_millis(5 + (round * 7919) % 400);
        run_and_kill(directory.path(), life, &mut acknowledged);

        let store =
            SqliteStore::open(&DataDirectory::open(directory.path()).unwrap(), Options::default()).unwrap();
        xebec_sqlite_check(directory.path());
        let list = store.list(&ListQuery { kind: "count".to_owned(), ..ListQuery::default() }).await.unwrap();
        for (writer, (count, version)) in acknowledged.iter().enumerate() {
            let key = DocumentKey::new("count", "default", &format!("w{writer}"));
            let found = store.get(&key).await.unwrap().expect("a document is lost");
            let kept = found.spec["count"].as_u64().unwrap();
            // One more than acknowledged may have been on its way.
            assert!((*count..=count + 1).contains(&kept), "round {round}: {count} acknowledged, {kept} kept");
            assert!(found.version >= *version && found.version <= list.version);
            assert_eq!(found.generation, kept);
        }
    }
}

fn xebec_sqlite_check(directory: &Path) {
    xebec_sqlite::check(&directory.join("state.db")).unwrap();
}

/// Runs the writer; after its first acknowledgements, and `life` later, it is killed.
fn run_and_kill(directory: &Path, life: Duration, acknowledged: &mut [(u64, u64); WRITERS]) {
    let mut child = Command::new(env::current_exe().unwrap())
        .args(["writer", "--exact", "--nocapture", "--test-threads=1"])
        .env(VARIABLE, directory)
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap());
    let mut end = None;
    let mut line = Vec::new();
    // What it printed before it was killed is read to the end: all of that was acknowledged.
    loop {
        line.clear();
        if lines.read_until(b'\n', &mut line).unwrap() == 0 {
            break;
        }
        let text = String::from_utf8_lossy(&line);
        if let Some((writer, count, version)) = parse(&text) {
            acknowledged[writer] = (count, version);
        }
        let all = acknowledged.iter().all(|(count, _)| *count > 0);
        let until = *end.get_or_insert_with(|| Instant::now() + life);
        if all && Instant::now() >= until {
            child.kill().unwrap();
        }
    }
    assert!(!child.wait().unwrap().success(), "the writer ended by itself");
}

/// `ack w3 17 421`, with its end: a line that was cut off by the kill is none.
fn parse(line: &str) -> Option<(usize, u64, u64)> {
    let line = line.strip_suffix('\n')?;
    // The test harness prints its own words before the first one.
    let mut words = line[line.find("ack w")?..].split(' ').skip(1);
    let writer = words.next()?.strip_prefix('w')?.parse().ok()?;
    Some((writer, words.next()?.parse().ok()?, words.next()?.parse().ok()?))
}

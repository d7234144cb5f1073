//! What many documents cost: written, listed at start, selected.

#![allow(clippy::unwrap_used)]

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use serde_json::json;
use std::time::{Duration, Instant};
use xebec_core::{
    document::{Document, Expect, ListQuery, Write},
    ports::store::{Store as _, pages},
};
use xebec_store_sqlite::{DataDirectory, Options, SqliteStore};

/// About as large as a function's document.
fn document(number: usize) -> Document {
    let mut document = Document::new(
        "function",
        "default",
        &format!("f{number:06}"),
        json!({
            "key": {"tenant": "default", "door": "native", "name": format!("f{number:06}")},
            "policy": {"min_instances": 0, "max_instances": 16, "queue": 1000, "visibility": "public"},
            "revisions": [{"digest": format!("sha256:{number:064x}"), "number": 1, "created": "2026-11-21T00:00:00Z"}],
            "traffic": [{"revision": format!("sha256:{number:064x}"), "weight": 100}],
            "variables": {"MODE": "production", "REGION": "north", "LEVEL": "info"},
        }),
    );
    document.labels.insert("team".to_owned(), format!("t{}", number % 1000));
    document
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_documents() {
    measure(5_000, 200, Duration::from_secs(10)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement: cargo test --release -p xebec-store-sqlite --test size -- --ignored --nocapture"]
async fn a_hundred_thousand_documents() {
    measure(100_000, 20_000, Duration::from_secs(1)).await;
}

async fn measure(total: usize, single: usize, bar: Duration) {
    let directory = tempfile::tempdir().unwrap();
    let open = || {
        let directory = DataDirectory::open(directory.path()).unwrap();
        SqliteStore::open(&directory, Options::default()).unwrap()
    };
    let store = open();
    for clients in [1, 64] {
        let began = Instant::now();
        let count = if clients == 1 { single / 10 } else { single };
        stream::iter(0..count)
            .map(|number| store.put(document(number), Expect::Any))
            .buffer_unordered(clients)
            .try_for_each(|_| async { Ok(()) })
            .await
            .unwrap();
        let rate = count as f64 / began.elapsed().as_secs_f64();
        eprintln!("{clients} clients: {rate:.0} writes/s, each on disk when it answers");
    }
    for batch in (0..total).collect::<Vec<_>>().chunks(1000) {
        let batch = batch.iter().map(|number| Write::Put(document(*number), Expect::Any)).collect();
        store.write(batch).await.unwrap();
    }
    drop(store);

    let began = Instant::now();
    let store = open();
    eprintln!("opened in {:?}", began.elapsed());
    let before = resident();
    let functions = ListQuery { kind: "function".to_owned(), ..ListQuery::default() };
    let began = Instant::now();
    let mut listed = 0;
    let mut in_pages = pages(&store, functions.clone(), 1000);
    while let Some(page) = in_pages.try_next().await.unwrap() {
        listed += page.documents.len();
    }
    let took = began.elapsed();
    eprintln!(
        "{listed} listed in pages in {took:?}, {} KiB more resident",
        resident().saturating_sub(before)
    );
    assert_eq!(listed, total);
    assert!(took < bar, "{took:?}");

    let team = ListQuery { labels: [("team".to_owned(), "t7".to_owned())].into(), ..functions };
    let began = Instant::now();
    let selected = store.list(&team).await.unwrap().documents.len();
    eprintln!("{selected} selected by label in {:?}", began.elapsed());
    assert_eq!(selected, total.div_ceil(1000));
}

/// Kibibytes of memory that this process has, where the system tells.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

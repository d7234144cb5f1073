//! What a store keeps over restarts, and how far back watchers may reach.

#![allow(clippy::unwrap_used)]

use futures_util::StreamExt as _;
use serde_json::json;
use std::{path::Path, time::Duration};
use tokio::time::timeout;
use xebec_core::{
    document::{Document, Expect, ListQuery, WatchEvent},
    ports::store::Store as _,
};
use xebec_store_sqlite::{DataDirectory, Options, SqliteStore};

const PATIENCE: Duration = Duration::from_secs(30);

fn open(path: &Path, options: Options) -> SqliteStore {
    SqliteStore::open(&DataDirectory::open(path).unwrap(), options).unwrap()
}

async fn put(store: &SqliteStore, name: &str, spec: serde_json::Value) -> Document {
    store.put(Document::new("thing", "default", name, spec), Expect::Any).await.unwrap()
}

fn things() -> ListQuery {
    ListQuery { kind: "thing".to_owned(), ..ListQuery::default() }
}

#[tokio::test]
async fn a_restart_keeps_documents_versions_and_changes() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path(), Options::default());
    let first = put(&store, "a", json!(1)).await;
    let second = put(&store, "b", json!(2)).await;
    drop(store);

    let store = open(directory.path(), Options::default());
    let list = store.list(&things()).await.unwrap();
    assert_eq!(list.documents, [first.clone(), second.clone()]);
    assert_eq!(list.version, second.version);
    let mut watch = store.watch(None, first.version).await.unwrap();
    let third = put(&store, "a", json!(3)).await;
    assert!(third.version > second.version);
    for wanted in [second, third] {
        let seen = timeout(PATIENCE, watch.next()).await.unwrap().unwrap().unwrap();
        assert_eq!(seen, WatchEvent::Put(wanted));
    }
}

#[tokio::test]
async fn a_watch_ends_when_the_store_is_closed() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path(), Options::default());
    let mut watch = store.watch(None, 0).await.unwrap();
    put(&store, "a", json!(1)).await;
    assert!(timeout(PATIENCE, watch.next()).await.unwrap().is_some());
    let mut waiting = Box::pin(watch.next());
    assert!(futures_util::poll!(&mut waiting).is_pending());
    drop(store);
    assert!(timeout(PATIENCE, waiting).await.unwrap().is_none());
}

#[tokio::test]
async fn changes_are_kept_within_their_number() {
    let directory = tempfile::tempdir().unwrap();
    let options = || Options { changes: 10, recent: 3, ..Options::default() };
    let store = open(directory.path(), options());
    let mut slow = store.watch(None, 0).await.unwrap();
    for number in 0..30 {
        put(&store, "a", json!(number)).await;
    }
    let error = timeout(PATIENCE, slow.next()).await.unwrap().unwrap().unwrap_err();
    assert_eq!(error.code, "XB4004");
    assert!(slow.next().await.is_none());
    assert_eq!(store.watch(None, 19).await.err().unwrap().code, "XB4004");
    let kept: Vec<_> = store.watch(None, 20).await.unwrap().take(10).collect().await;
    assert!(kept.iter().all(Result::is_ok));
    drop(store);
    let store = open(directory.path(), options());
    assert_eq!(store.watch(None, 19).await.err().unwrap().code, "XB4004");
    drop(store.watch(None, 20).await.unwrap());
}

#[tokio::test]
async fn changes_are_kept_within_their_bytes() {
    let directory = tempfile::tempdir().unwrap();
    let options = Options { change_bytes: 100_000, recent_bytes: 50_000, ..Options::default() };
    let store = open(directory.path(), options);
    for number in 0..20 {
        put(&store, "a", json!([number, "x".repeat(20_000)])).await;
    }
    assert_eq!(store.watch(None, 15).await.err().unwrap().code, "XB4004");
    let kept: Vec<_> = store.watch(None, 16).await.unwrap().take(4).collect().await;
    assert!(kept.iter().all(Result::is_ok));
    // One that is larger than all that may be kept is told to those who are there, and then forgotten.
    let mut present = store.watch(None, 20).await.unwrap();
    put(&store, "a", json!("x".repeat(200_000))).await;
    let told = timeout(PATIENCE, present.next()).await.unwrap().unwrap();
    assert_eq!(told.unwrap_err().code, "XB4004");
    let list = store.list(&things()).await.unwrap();
    assert_eq!((list.documents.len(), list.version), (1, 21));
    put(&store, "a", json!(1)).await;
    assert!(store.watch(None, list.version).await.unwrap().next().await.unwrap().is_ok());
}

#[tokio::test]
async fn a_damaged_file_is_told_as_such() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("version"), "1\n").unwrap();
    std::fs::write(directory.path().join("state.db"), "this is no database, and long enough".repeat(100))
        .unwrap();
    let error = SqliteStore::open(&DataDirectory::open(directory.path()).unwrap(), Options::default());
    let error = error.err().unwrap();
    assert_eq!(error.code, "XB4003");
    assert!(error.message.contains("damaged"), "{error}");
}

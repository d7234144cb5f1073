//! A full disk: a clear error, nothing acknowledged lost, reads go on, and writes again when there is space.

#![allow(clippy::unwrap_used)]

use serde_json::json;
use std::path::Path;
use xebec_conformance::small_disk::{fill, on_small_disk};
use xebec_core::{
    document::{Document, DocumentKey, Expect, ListQuery},
    ports::store::Store as _,
};
use xebec_store_sqlite::{DataDirectory, Options, SqliteStore};

#[test]
fn a_full_disk_stops_writes_only() {
    on_small_disk("a_full_disk_stops_writes_only", 8, |disk| {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        runtime.block_on(scenario(disk));
    });
}

async fn scenario(disk: &Path) {
    let data = disk.join("data");
    let store = SqliteStore::open(&DataDirectory::open(&data).unwrap(), Options::default()).unwrap();
    let put = |number: u32| {
        let document = Document::new("thing", "default", &format!("{number:05}"), json!("x".repeat(2000)));
        store.put(document, Expect::Absent)
    };
    put(0).await.unwrap();
    let mut acknowledged = 1;
    for round in 0..3 {
        let filling = fill(disk);
        // What the log had allocated already may still take a few.
        let error = loop {
            match put(acknowledged).await {
                Ok(_) => acknowledged += 1,
                Err(error) => break error,
            }
        };
        assert_eq!(error.code, "XB4002", "{error}");
        // Many at once, so that a whole group fails.
        let many = futures_util::future::join_all((0..20).map(|number| put(10_000 + number))).await;
        assert!(many.iter().all(|result| result.as_ref().is_err_and(|error| error.code == "XB4002")));

        let things = ListQuery { kind: "thing".to_owned(), ..ListQuery::default() };
        assert_eq!(store.list(&things).await.unwrap().documents.len(), acknowledged as usize);
        let first = DocumentKey::new("thing", "default", "00000");
        assert!(store.get(&first).await.unwrap().is_some());

        std::fs::remove_file(filling).unwrap();
        put(acknowledged).await.unwrap_or_else(|error| panic!("round {round}: not recovered: {error}"));
        acknowledged += 1;
    }
    drop(store);
    let store = SqliteStore::open(&DataDirectory::open(&data).unwrap(), Options::default()).unwrap();
    let things = ListQuery { kind: "thing".to_owned(), ..ListQuery::default() };
    assert_eq!(store.list(&things).await.unwrap().documents.len(), acknowledged as usize);
}

//! Backups of a store in use, and restoring them.

#![allow(clippy::unwrap_used)]

use serde_json::json;
use std::{
    fs,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};
use xebec_core::{
    Digest,
    document::{Document, DocumentKey, Expect, ListQuery, Write},
    ports::store::Store as _,
};
use xebec_store_sqlite::{DataDirectory, Options, SqliteStore, backup, restore};

fn open(path: &Path) -> SqliteStore {
    SqliteStore::open(&DataDirectory::open(path).unwrap(), Options::default()).unwrap()
}

fn things() -> ListQuery {
    ListQuery { kind: "thing".to_owned(), ..ListQuery::default() }
}

/// Two documents that are always written together with the same number.
fn pair(number: u64) -> Vec<Write> {
    ["left", "right"]
        .map(|name| {
            let spec = json!({"number": number, "ballast": "x".repeat(3000)});
            Write::Put(Document::new("thing", "default", name, spec), Expect::Any)
        })
        .into()
}

async fn backed_up(store: &SqliteStore, to: &Path) {
    backup::begin(to).unwrap();
    store.backup(&to.join("state.db")).await.unwrap();
    backup::complete(to).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_of_a_store_in_use_is_consistent_and_restorable() {
    let parent = tempfile::tempdir().unwrap();
    let store = Arc::new(open(&parent.path().join("data")));
    for number in 0..300 {
        let filler = Document::new("filler", "default", &format!("{number}"), json!("x".repeat(3000)));
        store.put(filler, Expect::Any).await.unwrap();
    }
    store.write(pair(0)).await.unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let writing = tokio::spawn({
        let (store, stop) = (Arc::clone(&store), Arc::clone(&stop));
        async move {
            let mut number = 0;
            while !stop.load(Ordering::Relaxed) {
                number += 1;
                store.write(pair(number)).await.unwrap();
            }
            number
        }
    });
    for round in 0..5 {
        let before = store.get(&DocumentKey::new("thing", "default", "left")).await.unwrap().unwrap();
        let (copy, restored) =
            (parent.path().join(format!("b{round}")), parent.path().join(format!("r{round}")));
        backed_up(&store, &copy).await;
        restore(&copy, &restored).unwrap();
        let restored = open(&restored);
        let found = restored.list(&things()).await.unwrap().documents;
        assert_eq!(found.len(), 2);
        assert_eq!(found[0].spec, found[1].spec, "half of a batch");
        assert!(found[0].version >= before.version, "what was acknowledged before must be in it");
        // It is a store like any other.
        restored.write(pair(1_000_000)).await.unwrap();
        // A watcher that has seen more than the backup holds is told to list again.
        assert_eq!(restored.watch(None, found[1].version + 1000).await.err().unwrap().code, "XB4004");
    }
    stop.store(true, Ordering::Relaxed);
    assert!(writing.await.unwrap() > 0, "nothing was written meanwhile");
}

#[tokio::test]
async fn key_and_blobs_are_restored_and_checked() {
    let parent = tempfile::tempdir().unwrap();
    let (data, copy) = (parent.path().join("data"), parent.path().join("copy"));
    let store = open(&data);
    fs::write(data.join("secret.key"), "a key").unwrap();
    backup::begin(&copy).unwrap();
    store.backup(&copy.join("state.db")).await.unwrap();
    backup::copy_key(&data, &copy).unwrap();
    let digest = Digest::of("content").hex();
    let blob = Path::new("blobs").join(&digest[..2]).join(&digest);
    fs::create_dir_all(copy.join(&blob).parent().unwrap()).unwrap();
    fs::create_dir_all(copy.join("blobs/incoming")).unwrap();
    fs::write(copy.join(&blob), "content").unwrap();
    fs::write(copy.join(&blob).with_extension("partial"), "cont").unwrap();

    let incomplete = restore(&copy, &parent.path().join("early")).unwrap_err();
    assert_eq!(incomplete.code, "XB4009", "{incomplete}");
    backup::complete(&copy).unwrap();
    let to = parent.path().join("to");
    restore(&copy, &to).unwrap();
    assert_eq!(fs::read_to_string(to.join("secret.key")).unwrap(), "a key");
    assert_eq!(fs::read_to_string(to.join(&blob)).unwrap(), "content");
    assert_eq!(fs::read_dir(to.join(&blob).parent().unwrap()).unwrap().count(), 1);
    drop(open(&to));

    fs::write(copy.join(&blob), "other content").unwrap();
    let damaged = parent.path().join("damaged");
    let error = restore(&copy, &damaged).unwrap_err();
    assert!(error.code == "XB4003" && error.message.contains(&digest), "{error}");
    assert_eq!(
        DataDirectory::open(&damaged).unwrap_err().code,
        "XB4009",
        "half a restore must not be opened"
    );
}

#[tokio::test]
async fn nothing_is_overwritten_and_nothing_newer_restored() {
    let parent = tempfile::tempdir().unwrap();
    let (data, copy) = (parent.path().join("data"), parent.path().join("copy"));
    let store = open(&data);
    backed_up(&store, &copy).await;
    assert_eq!(backup::begin(&copy).unwrap_err().code, "XB4009");
    assert_eq!(store.backup(&copy.join("state.db")).await.unwrap_err().code, "XB4009");
    assert_eq!(restore(&copy, &data).unwrap_err().code, "XB4009");
    assert_eq!(restore(&parent.path().join("nowhere"), &data).unwrap_err().code, "XB4009");

    fs::write(copy.join("version"), "99\n").unwrap();
    assert_eq!(restore(&copy, &parent.path().join("to")).unwrap_err().code, "XB4007");
    fs::write(copy.join("version"), "1\n").unwrap();
    let mut state = fs::read(copy.join("state.db")).unwrap();
    let end = state.len();
    state[end / 2..].fill(0x5a);
    fs::write(copy.join("state.db"), state).unwrap();
    assert_eq!(restore(&copy, &parent.path().join("to")).unwrap_err().code, "XB4003");
}

//! What lies in the directory: leftovers, damage, copies, a full disk.

#![allow(clippy::unwrap_used)]

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};
use xebec_blobs::{HeldBlobs, LocalBlobs, copy};
use xebec_conformance::small_disk::{fill, on_small_disk};
use xebec_core::{Body, Digest, ports::blobs::Blobs as _};

const LIMIT: u64 = 64 * 1024 * 1024;

fn file_of(directory: &Path, digest: &Digest) -> PathBuf {
    directory.join(&digest.hex()[..2]).join(digest.hex())
}

fn files(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found
}

/// A body of so many mebibytes, in a stream.
fn stream(mebibytes: usize) -> Body {
    let pieces = (0..mebibytes).map(|number| {
        Ok::<_, std::convert::Infallible>(http_body::Frame::data(vec![number as u8; 1024 * 1024].into()))
    });
    Body::stream(http_body_util::StreamBody::new(futures_util::stream::iter(pieces)))
}

#[tokio::test]
async fn leftovers_go_at_the_next_start() {
    let directory = tempfile::tempdir().unwrap();
    let blobs = LocalBlobs::open(directory.path()).unwrap();
    let (digest, _) = blobs.put(Body::full("kept"), LIMIT).await.unwrap();
    let (large, _) = blobs.put(stream(3), LIMIT).await.unwrap();
    drop(blobs);
    let whole = files(directory.path()).len();
    let kept = file_of(directory.path(), &digest);
    fs::write(kept.with_file_name(format!("{}#1", digest.hex())), "half").unwrap();
    fs::write(directory.path().join("incoming/abc"), "half").unwrap();
    fs::write(directory.path().join("incoming/def#1"), "half").unwrap();
    let blobs = LocalBlobs::open(directory.path()).unwrap();
    assert_eq!(files(directory.path()).len(), whole);
    assert_eq!(blobs.get(&digest).await.unwrap(), "kept");
    blobs.verify(&large).await.unwrap();
}

#[tokio::test]
async fn an_upload_that_is_dropped_leaves_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let blobs = LocalBlobs::open(directory.path()).unwrap();
    // Two mebibytes come, the rest never does.
    let (sender, receiver) = tokio::sync::mpsc::channel::<usize>(1);
    let endless = futures_util::stream::unfold(receiver, |mut receiver| async move {
        receiver.recv().await.map(|_| {
            let piece = http_body::Frame::data(vec![1_u8; 1024 * 1024].into());
            (Ok::<_, std::convert::Infallible>(piece), receiver)
        })
    });
    let put = blobs.put(Body::stream(http_body_util::StreamBody::new(endless)), LIMIT);
    let feed = async {
        for number in 0..3 {
            sender.send(number).await.unwrap();
        }
        while files(directory.path()).is_empty() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::select! {
        result = put => panic!("it cannot end: {result:?}"),
        () = feed => {}
    }
    let gone = async {
        while !files(directory.path()).is_empty() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), gone).await.expect("something is left");
}

#[tokio::test]
async fn damage_is_found() {
    let directory = tempfile::tempdir().unwrap();
    let blobs = LocalBlobs::open(directory.path()).unwrap();
    let (digest, _) = blobs.put(stream(3), LIMIT).await.unwrap();
    blobs.verify(&digest).await.unwrap();
    let file = file_of(directory.path(), &digest);
    let mut content = fs::read(&file).unwrap();
    content[2_000_000] ^= 1;
    fs::write(&file, content).unwrap();
    assert_eq!(blobs.verify(&digest).await.unwrap_err().code, "XB4012");
    let to = tempfile::tempdir().unwrap();
    assert_eq!(copy(&blobs, &to.path().join("copy")).await.unwrap_err().code, "XB4012");
    assert_eq!(blobs.verify(&Digest::of("x")).await.unwrap_err().code, "XB4010");
}

#[tokio::test]
async fn storing_again_makes_it_young_again() {
    let directory = tempfile::tempdir().unwrap();
    let blobs = LocalBlobs::open(directory.path()).unwrap();
    let (digest, _) = blobs.put(Body::full("x"), LIMIT).await.unwrap();
    let old = SystemTime::now() - Duration::from_secs(5000);
    let file = fs::File::options().write(true).open(file_of(directory.path(), &digest)).unwrap();
    file.set_modified(old).unwrap();
    let age = || async { blobs.list().await.unwrap()[0].age_seconds };
    assert!((4999..5100).contains(&age().await));
    blobs.put(Body::full("x"), LIMIT).await.unwrap();
    assert!(age().await < 100);
}

#[tokio::test]
async fn a_copy_holds_all_and_opens() {
    let (directory, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let blobs = LocalBlobs::open(directory.path()).unwrap();
    for size in [0, 1, 2] {
        blobs.put(stream(size), LIMIT).await.unwrap();
    }
    let to = to.path().join("blobs");
    assert_eq!(copy(&blobs, &to).await.unwrap(), 3 * 1024 * 1024);
    let copied = LocalBlobs::open(&to).unwrap();
    let digests = |list: Vec<xebec_core::ports::blobs::BlobInfo>| {
        list.into_iter().map(|blob| blob.digest).collect::<Vec<_>>()
    };
    assert_eq!(digests(copied.list().await.unwrap()), digests(blobs.list().await.unwrap()));
}

#[test]
fn a_full_disk_stops_puts_only() {
    on_small_disk("a_full_disk_stops_puts_only", 8, |disk| {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let blobs = LocalBlobs::open(&disk.join("blobs")).unwrap();
            let (kept, _) = blobs.put(stream(2), LIMIT).await.unwrap();
            // The upload itself fills it.
            assert_eq!(blobs.put(stream(16), LIMIT).await.unwrap_err().code, "XB4002");
            assert_eq!(files(&disk.join("blobs/incoming")).len(), 0, "what came is still there");
            let filling = fill(disk);
            for body in [Body::full("y".repeat(10_000)), stream(2), stream(3)] {
                let put = blobs.put(body, LIMIT).await;
                // What is there already needs no space.
                assert!(put.is_ok_and(|(digest, _)| digest == kept) || files(&disk.join("blobs")).len() == 1);
            }
            let error = blobs.put(Body::full("z".repeat(10_000)), LIMIT).await.unwrap_err();
            assert_eq!((error.code, error.hint.is_some()), ("XB4002", true));
            assert_eq!(blobs.get(&kept).await.unwrap().len(), 2 * 1024 * 1024);
            fs::remove_file(filling).unwrap();
            blobs.put(Body::full("z".repeat(10_000)), LIMIT).await.unwrap();
        });
    });
}

#[tokio::test]
async fn held_blobs_are_deleted_when_nobody_holds_them_any_more() {
    let folder = tempfile::tempdir().unwrap();
    let blobs = HeldBlobs::new(Arc::new(LocalBlobs::open(folder.path()).unwrap()));
    let (digest, _) = blobs.put(Body::full("x"), 10).await.unwrap();
    blobs
        .hold(async {
            blobs.hold(async { blobs.delete(&digest).await.unwrap() }).await;
            assert!(blobs.has(&digest).await.unwrap(), "someone else holds it still");
        })
        .await;
    assert!(!blobs.has(&digest).await.unwrap());
    let (digest, _) = blobs.put(Body::full("y"), 10).await.unwrap();
    blobs.delete(&digest).await.unwrap();
    assert!(!blobs.has(&digest).await.unwrap());
}

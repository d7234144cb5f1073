//! A log whose end is torn: what was on disk before the tear is there.

#![allow(clippy::unwrap_used)]

mod support;

use std::{
    collections::HashSet,
    fs::{self, OpenOptions},
    os::unix::fs::FileExt as _,
    path::Path,
};
use support::{claim, lane, message, open, over};
use xebec_core::{
    InvocationId,
    ports::queue::{EntryQuery, Queue as _},
};

const LOG: &str = "queue.db-wal";
/// A page of the log, with its header.
const FRAME: u64 = 4096 + 24;

/// How the end of the log is damaged.
#[derive(Clone, Copy, Debug)]
enum Tear {
    /// The last so many bytes were never written.
    Cut(u64),
    /// They are something else.
    Garble(u64),
}

#[tokio::test]
async fn what_was_synced_before_a_tear_is_there() {
    let directory = tempfile::tempdir().unwrap();
    let lane = lane("t", "f");
    let queue = open(directory.path());
    // Each with the length of the log by which it was on disk.
    let mut sent: Vec<(InvocationId, u64)> = Vec::new();
    let length = || fs::metadata(directory.path().join(LOG)).unwrap().len();
    for count in 0..60 {
        let message = message(&lane, vec![count; 300 * usize::from(count)]);
        queue.enqueue(vec![message.clone()]).await.unwrap();
        sent.push((message.id, length()));
    }
    let full = length();
    let tears = [1, 100, FRAME - 1, FRAME, FRAME + 7, 3 * FRAME, 20 * FRAME + 11, full / 2, full - 40, full];
    for tear in tears.into_iter().flat_map(|bytes| [Tear::Cut(bytes), Tear::Garble(bytes)]) {
        let copy = tempfile::tempdir().unwrap();
        for entry in fs::read_dir(directory.path()).unwrap() {
            let entry = entry.unwrap();
            // The index of the log is made anew, as after a power loss.
            if !entry.file_name().to_string_lossy().ends_with("-shm") {
                fs::copy(entry.path(), copy.path().join(entry.file_name())).unwrap();
            }
        }
        let whole = damage(copy.path(), full, tear);
        let queue = open(copy.path());
        xebec_sqlite::check(&copy.path().join("queue.db")).unwrap();
        let page = queue.list(&EntryQuery::default()).await.unwrap();
        let found: HashSet<_> = page.entries.iter().map(|entry| entry.message.id).collect();
        for (index, (id, until)) in sent.iter().enumerate() {
            assert!(found.contains(id) || *until > whole, "{tear:?}: message {index} is lost");
        }
        // Those that are there are the first of them, and can be worked off.
        assert!(sent[..found.len()].iter().all(|(id, _)| found.contains(id)), "{tear:?}");
        let mut worked = 0;
        while let claims = claim(&queue, 16).await
            && !claims.is_empty()
        {
            for claim in claims {
                assert_eq!(claim.messages[0].message.id, sent[worked].0, "{tear:?}");
                over(&queue, &claim).await;
                worked += 1;
            }
        }
        assert_eq!(worked, found.len(), "{tear:?}");
    }
}

/// Damages the end of the log, and tells how much of it is whole.
fn damage(directory: &Path, length: u64, tear: Tear) -> u64 {
    let file = OpenOptions::new().write(true).open(directory.join(LOG)).unwrap();
    match tear {
        Tear::Cut(bytes) => {
            file.set_len(length - bytes).unwrap();
            length - bytes
        }
        Tear::Garble(bytes) => {
            let noise: Vec<u8> = (0..bytes).map(|at| (at * 31 % 251) as u8 | 1).collect();
            file.write_all_at(&noise, length - bytes).unwrap();
            length - bytes
        }
    }
}

//! What was prepared: which image each revision runs, noted at its deploy and kept across restarts.

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use std::{
    collections::{HashMap, HashSet},
    fs, io,
    path::PathBuf,
    sync::Arc,
    time::Duration,
};
use xebec_core::Digest;

/// Which image a revision runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    /// As it was written.
    pub(crate) reference: String,
    /// The image's id: what its name meant at the deploy.
    pub(crate) image: String,
    /// Where its registry has it for ever, `name@sha256:…`; `None`: it never came from one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) pinned: Option<String>,
    /// It was not here before: it may go when nobody needs it any more.
    pub(crate) pulled: bool,
    /// Its size.
    pub(crate) bytes: u64,
    /// The signal that asks it to stop, where it is not SIGTERM.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) stop_signal: Option<String>,
}

/// What was prepared.
pub(crate) struct Prepared {
    folder: PathBuf,
    known: Mutex<HashMap<Digest, Arc<Record>>>,
    /// Images that were pulled and are in no note yet.
    brought: Mutex<HashSet<String>>,
}

impl Prepared {
    /// Reads what was noted in earlier runs. A note that cannot be read is none: its revision is prepared again.
    pub(crate) fn open(folder: PathBuf) -> io::Result<Self> {
        fs::create_dir_all(&folder)?;
        let mut known = HashMap::new();
        for entry in fs::read_dir(&folder)? {
            let path = entry?.path();
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            let digest = name.strip_suffix(".json").and_then(|digest| digest.parse().ok());
            let record = fs::read(&path).ok().and_then(|text| serde_json::from_slice(&text).ok());
            if let (Some(digest), Some(record)) = (digest, record) {
                known.insert(digest, Arc::new(record));
            }
        }
        Ok(Self { folder, known: Mutex::new(known), brought: Mutex::default() })
    }

    /// What was noted for a revision.
    pub(crate) fn read(&self, revision: &Digest) -> Option<Arc<Record>> {
        self.known.lock().get(revision).cloned()
    }

    /// Notes what a revision runs.
    pub(crate) fn write(&self, revision: &Digest, record: Record) -> io::Result<()> {
        let path = self.path(revision);
        let fresh = path.with_extension("new");
        fs::write(&fresh, serde_json::to_vec(&record).map_err(io::Error::other)?)?;
        fs::rename(&fresh, &path)?;
        self.known.lock().insert(*revision, Arc::new(record));
        Ok(())
    }

    /// An image was pulled that was not here before.
    pub(crate) fn bring(&self, image: &str) {
        self.brought.lock().insert(image.to_owned());
    }

    /// Whether an image was brought here by a deploy, this one or one that is noted.
    pub(crate) fn was_brought(&self, image: &str) -> bool {
        if self.brought.lock().remove(image) {
            return true;
        }
        self.known.lock().values().any(|record| record.pulled && record.image == image)
    }

    /// All that is noted.
    pub(crate) fn all(&self) -> Vec<(Digest, Arc<Record>)> {
        self.known.lock().iter().map(|(digest, record)| (*digest, record.clone())).collect()
    }

    /// Whether it was noted that long ago.
    pub(crate) fn is_older(&self, revision: &Digest, age: Duration) -> bool {
        let noted = fs::metadata(self.path(revision)).and_then(|data| data.modified());
        noted.is_ok_and(|noted| noted.elapsed().is_ok_and(|passed| passed >= age))
    }

    /// Forgets a revision.
    pub(crate) fn forget(&self, revision: &Digest) -> io::Result<()> {
        self.known.lock().remove(revision);
        match fs::remove_file(self.path(revision)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            done => done,
        }
    }

    fn path(&self, revision: &Digest) -> PathBuf {
        self.folder.join(format!("{}.json", revision.hex()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_outlive_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let record = Record {
            reference: "a:1".into(),
            image: "sha256:1".into(),
            pinned: None,
            pulled: true,
            bytes: 7,
            stop_signal: None,
        };
        let digest = Digest::of("x");
        Prepared::open(folder.path().into()).unwrap().write(&digest, record.clone()).unwrap();
        let again = Prepared::open(folder.path().into()).unwrap();
        assert_eq!(again.all(), [(digest, Arc::new(record))]);
        assert!(!again.is_older(&digest, Duration::from_secs(60)) && again.is_older(&digest, Duration::ZERO));
        assert!(again.was_brought("sha256:1") && !again.was_brought("sha256:2"));
        again.forget(&digest).unwrap();
        again.forget(&digest).unwrap();
        assert!(again.read(&digest).is_none());
    }
}

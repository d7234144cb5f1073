//! What deploys left on disk: unpacked code, installed dependencies, and which revision needs which.
//!
//! ```text
//! process/code/<digest>           an archive's files
//! process/dependencies/<key>      what a build step installed
//! process/revisions/<digest>.json a record: which of these a revision needs
//! process/work/…                  what is being made; moved into place when it is whole
//! ```

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeSet, HashMap},
    fs, io,
    os::unix::fs::{DirBuilderExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};
use tokio::sync::OwnedMutexGuard;
use xebec_core::{Digest, Error, ErrorKind};

/// What one revision needs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    /// The directory of its code, below `code`; none for an image.
    pub(crate) code: Option<String>,
    /// What was installed for it.
    pub(crate) dependencies: Vec<Installed>,
}

/// What a build step installed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Installed {
    /// Its directory, below `dependencies`.
    pub(crate) key: String,
    /// Where instances see it.
    pub(crate) mount: PathBuf,
}

/// The driver's directory.
pub(crate) struct Prepared {
    root: PathBuf,
    /// What is made only once at a time, by name.
    making: Mutex<HashMap<PathBuf, Arc<tokio::sync::Mutex<()>>>>,
    /// How many instances use a directory.
    used: Arc<Mutex<HashMap<PathBuf, usize>>>,
    /// The next work directory's name.
    number: AtomicU64,
}

impl Prepared {
    /// Opens the directory, and deletes what was left half made.
    pub(crate) fn open(root: PathBuf) -> io::Result<Self> {
        for name in ["code", "dependencies", "revisions", "empty"] {
            fs::create_dir_all(root.join(name))?;
        }
        let work = root.join("work");
        match remove_tree(&work) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        fs::create_dir(&work)?;
        // What functions are made of is for their instances and for nobody else of this machine.
        fs::set_permissions(&root, fs::Permissions::from_mode(0o700))?;
        fs::set_permissions(root.join("empty"), fs::Permissions::from_mode(0o755))?;
        Ok(Self { root, making: Mutex::default(), used: Arc::default(), number: AtomicU64::new(0) })
    }

    /// Where an archive's files are.
    pub(crate) fn code(&self, name: &str) -> PathBuf {
        self.root.join("code").join(name)
    }

    /// Where an installation is.
    pub(crate) fn dependencies(&self, key: &str) -> PathBuf {
        self.root.join("dependencies").join(key)
    }

    /// The code of what has none.
    pub(crate) fn empty(&self) -> PathBuf {
        self.root.join("empty")
    }

    /// The code's directory of a record.
    pub(crate) fn code_of(&self, record: &Record) -> PathBuf {
        record.code.as_deref().map_or_else(|| self.empty(), |name| self.code(name))
    }

    /// A new directory to make something in. It is deleted with the guard.
    pub(crate) fn work(&self) -> io::Result<Work> {
        let number = self.number.fetch_add(1, Ordering::Relaxed);
        let path = self.root.join("work").join(number.to_string());
        fs::DirBuilder::new().mode(0o755).create(&path)?;
        Ok(Work(path))
    }

    /// Waits until nobody else makes what goes to `place`.
    pub(crate) async fn lock(&self, place: &Path) -> OwnedMutexGuard<()> {
        let lock = {
            let mut making = self.making.lock();
            making.retain(|_, lock| Arc::strong_count(lock) > 1);
            making.entry(place.to_owned()).or_default().clone()
        };
        lock.lock_owned().await
    }

    /// Writes a revision's record.
    pub(crate) fn write(&self, revision: &Digest, record: &Record) -> io::Result<()> {
        let work = self.work()?;
        let file = work.path().join("record");
        fs::write(&file, serde_json::to_vec(record)?)?;
        fs::File::open(&file)?.sync_all()?;
        settle(&file, &self.record_path(revision))
    }

    /// Reads a revision's record; `None` if it was not prepared here, or something it needs is gone.
    pub(crate) fn read(&self, revision: &Digest) -> Option<Record> {
        let record: Record = serde_json::from_slice(&fs::read(self.record_path(revision)).ok()?).ok()?;
        let whole = self.code_of(&record).is_dir()
            && record.dependencies.iter().all(|each| self.dependencies(&each.key).is_dir());
        whole.then_some(record)
    }

    fn record_path(&self, revision: &Digest) -> PathBuf {
        self.root.join("revisions").join(format!("{}.json", revision.hex()))
    }

    /// Keeps a record's directories from being collected for as long as the guard lives.
    pub(crate) fn hold(&self, record: &Record) -> Held {
        let directories: Vec<_> = self.directories(record).collect();
        let mut used = self.used.lock();
        for directory in &directories {
            *used.entry(directory.clone()).or_default() += 1;
        }
        Held { directories, used: self.used.clone() }
    }

    fn directories<'a>(&'a self, record: &'a Record) -> impl Iterator<Item = PathBuf> + 'a {
        let code = record.code.iter().map(|name| self.code(name));
        code.chain(record.dependencies.iter().map(|each| self.dependencies(&each.key)))
    }

    /// Deletes records that nobody needs, and puts directories aside that no record and no instance needs.
    /// What is younger than `grace` stays: its deploy may not be finished.
    pub(crate) fn put_aside(&self, live: impl Fn(&Digest) -> bool, grace: Duration) -> io::Result<Vec<Work>> {
        let mut needed: BTreeSet<PathBuf> = self.used.lock().keys().cloned().collect();
        let mut aside = Vec::new();
        for entry in fs::read_dir(self.root.join("revisions"))? {
            let entry = entry?;
            let name = entry.file_name();
            let digest = name.to_str().and_then(|name| name.strip_suffix(".json")?.parse::<Digest>().ok());
            if digest.is_some_and(|digest| live(&digest)) || is_younger(&entry.path(), grace) {
                let record = fs::read(entry.path()).ok().and_then(|text| serde_json::from_slice(&text).ok());
                needed.extend(self.directories(&record.unwrap_or_default()));
            } else {
                fs::remove_file(entry.path())?;
            }
        }
        for kind in ["code", "dependencies"] {
            for entry in fs::read_dir(self.root.join(kind))? {
                let path = entry?.path();
                if !needed.contains(&path) && !is_younger(&path, grace) {
                    // A deploy that comes now makes it anew.
                    let work = self.work()?;
                    fs::rename(&path, work.path().join("gone"))?;
                    aside.push(work);
                }
            }
        }
        Ok(aside)
    }
}

/// A directory in which something is made. Deleted on drop, with what is left in it.
pub(crate) struct Work(PathBuf);

impl Work {
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// Bytes of all files in it.
    pub(crate) fn size(&self) -> u64 {
        size(&self.0)
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        if let Err(error) = remove_tree(&self.0) {
            tracing::warn!(path = %self.0.display(), %error, "a work directory could not be deleted");
        }
    }
}

/// Keeps directories from being collected.
pub(crate) struct Held {
    directories: Vec<PathBuf>,
    used: Arc<Mutex<HashMap<PathBuf, usize>>>,
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut used = self.used.lock();
        for directory in &self.directories {
            if let Some(count) = used.get_mut(directory) {
                *count -= 1;
                if *count == 0 {
                    used.remove(directory);
                }
            }
        }
    }
}

/// Moves what was made to where it belongs, so that it is there after a power cut, too.
pub(crate) fn settle(from: &Path, to: &Path) -> io::Result<()> {
    match fs::rename(from, to) {
        // Somebody else was first; for contents named by their digest that is as good.
        Err(error) if to.is_dir() && error.kind() == io::ErrorKind::DirectoryNotEmpty => Ok(()),
        Err(error) => Err(error),
        Ok(()) => match to.parent() {
            Some(parent) => fs::File::open(parent)?.sync_all(),
            None => Ok(()),
        },
    }
}

/// Makes everything below a directory readable for instances, whoever they run as, and writes it to disk.
/// Links are not followed.
pub(crate) fn publish(directory: &Path) -> io::Result<()> {
    let mut files = 0;
    publish_below(directory, &mut files)?;
    if files > MANY_FILES {
        rustix::fs::syncfs(fs::File::open(directory)?)?;
    }
    Ok(())
}

/// Up to so many files are written to disk one by one; beyond, the whole file system is.
const MANY_FILES: usize = 64;

fn publish_below(directory: &Path, files: &mut usize) -> io::Result<()> {
    fs::set_permissions(directory, fs::Permissions::from_mode(0o755))?;
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let kind = entry.file_type()?;
        if kind.is_dir() {
            publish_below(&entry.path(), files)?;
        } else if kind.is_file() {
            let executable = entry.metadata()?.permissions().mode() & 0o111 != 0;
            let mode = if executable { 0o755 } else { 0o644 };
            fs::set_permissions(entry.path(), fs::Permissions::from_mode(mode))?;
            *files += 1;
            if *files <= MANY_FILES {
                fs::File::open(entry.path())?.sync_all()?;
            }
        } else if !kind.is_symlink() {
            fs::remove_file(entry.path())?; // sockets, pipes and devices are nobody's code
        }
    }
    fs::File::open(directory)?.sync_all()
}

/// Deletes a tree even where its directories were made unwritable.
fn remove_tree(path: &Path) -> io::Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            unlock(path)?;
            fs::remove_dir_all(path)
        }
        result => result,
    }
}

fn unlock(directory: &Path) -> io::Result<()> {
    fs::set_permissions(directory, fs::Permissions::from_mode(0o700))?;
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            unlock(&entry.path())?;
        }
    }
    Ok(())
}

fn is_younger(path: &Path, than: Duration) -> bool {
    let changed = fs::symlink_metadata(path).and_then(|data| data.modified());
    // Something from the future is as young as can be.
    changed.is_ok_and(|changed| SystemTime::now().duration_since(changed).map_or(true, |age| age < than))
}

fn size(path: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(path) else { return 0 };
    let of = |entry: fs::DirEntry| match entry.metadata() {
        Ok(data) if data.is_dir() => size(&entry.path()),
        Ok(data) => data.len(),
        Err(_) => 0,
    };
    entries.flatten().map(of).sum()
}

/// The error of a file operation of the driver's own.
pub(crate) fn storage(what: &str, error: &io::Error) -> Error {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            Error::new(ErrorKind::Unavailable, "XB4002", format!("cannot {what}: the disk is full"))
                .with_hint(
                    "make room in the data directory; xebec rm and garbage collection free what is unused",
                )
        }
        _ => Error::internal("XB4003", format!("cannot {what}: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(text: &str) -> Digest {
        Digest::of(text)
    }

    #[test]
    fn collecting_leaves_what_is_needed() {
        let folder = tempfile::tempdir().unwrap();
        let prepared = Prepared::open(folder.path().join("process")).unwrap();
        for name in ["live", "dead", "shared", "running"] {
            fs::create_dir(prepared.code(name)).unwrap();
            fs::write(prepared.code(name).join("file"), [0; 100]).unwrap();
        }
        fs::create_dir(prepared.dependencies("key")).unwrap();
        let record = |code: &str, keys: &[&str]| Record {
            code: Some(code.to_owned()),
            dependencies: keys
                .iter()
                .map(|key| Installed { key: (*key).to_owned(), mount: "/app/x".into() })
                .collect(),
        };
        let running = record("running", &[]);
        for (revision, record) in [
            ("a", record("live", &["key"])),
            ("b", record("dead", &[])),
            ("c", record("shared", &[])),
            ("d", record("shared", &[])),
            ("e", running.clone()),
        ] {
            prepared.write(&digest(revision), &record).unwrap();
            assert_eq!(prepared.read(&digest(revision)), Some(record));
        }
        let held = prepared.hold(&running);
        let live = |revision: &Digest| [digest("a"), digest("d")].contains(revision);
        let collect =
            |grace| -> u64 { prepared.put_aside(live, grace).unwrap().iter().map(Work::size).sum() };
        assert_eq!(collect(Duration::from_secs(600)), 0);
        assert_eq!(collect(Duration::ZERO), 100);
        assert!(prepared.read(&digest("a")).is_some() && prepared.read(&digest("d")).is_some());
        assert!(prepared.read(&digest("b")).is_none() && prepared.read(&digest("c")).is_none());
        assert!(!prepared.code("dead").exists() && prepared.code("running").exists());
        drop(held);
        assert_eq!(collect(Duration::ZERO), 100);
        assert!(!prepared.code("running").exists());
        assert_eq!(fs::read_dir(folder.path().join("process/work")).unwrap().count(), 0);
    }

    #[test]
    fn a_record_whose_files_are_gone_counts_as_none() {
        let folder = tempfile::tempdir().unwrap();
        let prepared = Prepared::open(folder.path().join("process")).unwrap();
        prepared
            .write(&digest("a"), &Record { code: Some("gone".to_owned()), dependencies: vec![] })
            .unwrap();
        assert_eq!(prepared.read(&digest("a")), None);
        prepared.write(&digest("b"), &Record::default()).unwrap();
        assert_eq!(prepared.read(&digest("b")), Some(Record::default()));
    }

    #[test]
    fn what_is_published_can_be_read_by_all() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("root");
        fs::create_dir_all(root.join("a")).unwrap();
        fs::write(root.join("a/secret"), "x").unwrap();
        fs::write(root.join("run"), "x").unwrap();
        fs::set_permissions(root.join("a/secret"), fs::Permissions::from_mode(0o600)).unwrap();
        fs::set_permissions(root.join("run"), fs::Permissions::from_mode(0o6711)).unwrap();
        fs::set_permissions(root.join("a"), fs::Permissions::from_mode(0o700)).unwrap();
        std::os::unix::fs::symlink("/etc/shadow", root.join("link")).unwrap();
        publish(&root).unwrap();
        let mode = |name| fs::metadata(root.join(name)).unwrap().permissions().mode() & 0o7777;
        assert_eq!((mode("a"), mode("a/secret"), mode("run")), (0o755, 0o644, 0o755));
    }
}

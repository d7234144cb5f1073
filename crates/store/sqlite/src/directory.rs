//! The data directory: one directory, one server.

use std::{
    fs::{self, DirBuilder, File, OpenOptions, TryLockError},
    io::{self, Read as _, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    sync::Arc,
};
use xebec_core::{Error, ErrorKind};
use xebec_sqlite::{
    Fault,
    durable::{replace, sync_directory},
};

/// The format that this version writes. Raised when files move or change their meaning; schemas inside
/// of databases have numbers of their own.
pub(crate) const FORMAT: u32 = 2;
pub(crate) const VERSION_FILE: &str = "version";
const LOCK_FILE: &str = "lock";

/// What may be in a data directory before it is one: the configuration, and what a file system of one's own
/// begins with.
pub(crate) const BEFOREHAND: [&str; 2] = ["xebec.toml", "lost+found"];

/// Steps from one format to the next: the first goes from 1 to 2.
///
/// 2 has the queue's file and bodies, which whoever opens them makes. The number alone keeps servers away that
/// would leave accepted calls lying.
const STEPS: &[Step] = &[|_| Ok(())];
type Step = fn(&Path) -> io::Result<()>;

/// An opened data directory. It is ours, and nobody else's, until the last clone is dropped.
#[derive(Clone, Debug)]
pub struct DataDirectory(Arc<Held>);

#[derive(Debug)]
struct Held {
    path: PathBuf,
    _lock: File,
}

impl DataDirectory {
    /// Opens a data directory, or creates it (for its owner only), and brings it to this version's format.
    ///
    /// # Errors
    /// `XB4006` in use by another server, `XB4007` written by a newer version, `XB4009` not empty and not a
    /// data directory, `XB4002` disk full, `XB4003` anything else.
    pub fn open(path: &Path) -> Result<Self, Error> {
        open(path, FORMAT, STEPS)
            .map_err(|fault| fault.into_error(&format!("open the data directory {}", path.display())))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0.path
    }
}

fn open(path: &Path, format: u32, steps: &[Step]) -> Result<DataDirectory, Fault> {
    create(path)?;
    let path = fs::canonicalize(path)?;
    // Looked at before our own lock file is put there.
    let fresh = read_version(&path)?.is_none();
    if fresh {
        refuse_strangers(&path)?;
    }
    let lock = lock(&path)?;
    if fresh {
        // It may have been made beforehand, by hand or by a package. Later its owner may open it to others.
        fs::set_permissions(&path, fs::Permissions::from_mode(0o700))?;
    }
    // Read again: another server may have been creating it meanwhile.
    match read_version(&path)? {
        None => replace(&path.join(VERSION_FILE), format!("{format}\n").as_bytes())?,
        Some(found) if found > format => return Err(newer(found, format).into()),
        Some(found) => upgrade(&path, found, steps)?,
    }
    Ok(DataDirectory(Arc::new(Held { path, _lock: lock })))
}

/// Creates what is missing of the path; the directory itself for its owner only.
pub(crate) fn create(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    let parent = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => {
            fs::create_dir_all(parent)?;
            parent
        }
        _ => Path::new("."),
    };
    match DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
        Err(error) => Err(error),
        Ok(()) => sync_directory(parent),
    }
}

/// Writes that a directory is complete and of this format.
pub(crate) fn write_version(path: &Path) -> io::Result<()> {
    replace(&path.join(VERSION_FILE), format!("{FORMAT}\n").as_bytes())
}

/// The format of a directory, where it has one.
pub(crate) fn read_version(path: &Path) -> Result<Option<u32>, Fault> {
    let file = path.join(VERSION_FILE);
    let text = match fs::read_to_string(&file) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    match text.trim().parse() {
        Ok(version) if version > 0 => Ok(Some(version)),
        _ => Err(Error::internal("XB4003", format!("{} does not hold a version", file.display())).into()),
    }
}

pub(crate) fn newer(found: u32, known: u32) -> Error {
    Error::new(
        ErrorKind::Refused,
        "XB4007",
        format!("the data was written by a newer version (format {found}, this one knows up to {known})"),
    )
    .with_hint("start the newer version, or use another directory")
}

/// Refuses a directory that holds something, but nothing of ours: it was hardly meant.
fn refuse_strangers(path: &Path) -> Result<(), Fault> {
    for entry in fs::read_dir(path)? {
        let name = entry?.file_name();
        let ours = [LOCK_FILE, VERSION_FILE, "version.partial"];
        if !ours.iter().chain(&BEFOREHAND).any(|known| name == *known) {
            return Err(Error::new(
                ErrorKind::Refused,
                "XB4009",
                format!("it is not empty, and not a data directory: it holds {name:?}"),
            )
            .with_hint("name an empty directory, or one that does not exist yet")
            .into());
        }
    }
    Ok(())
}

/// Takes the lock, which the kernel gives back when the process ends, however it ends.
fn lock(path: &Path) -> Result<File, Fault> {
    let file = path.join(LOCK_FILE);
    let mut lock =
        OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(file)?;
    match lock.try_lock() {
        Ok(()) => {}
        Err(TryLockError::Error(error)) => return Err(error.into()),
        Err(TryLockError::WouldBlock) => {
            let mut holder = String::new();
            // Best effort: the holder may be about to write it.
            let _ = lock.read_to_string(&mut holder);
            let holder = match holder.trim() {
                "" => "another server".to_owned(),
                pid => format!("the server with process id {pid}"),
            };
            return Err(Error::new(
                ErrorKind::Refused,
                "XB4006",
                format!("{} is in use by {holder}", path.display()),
            )
            .with_hint("stop it first, or give this one a data directory of its own")
            .into());
        }
    }
    // The lock itself is what counts: a disk too full for six bytes must not keep a server from starting.
    let noted = lock.set_len(0).and_then(|()| lock.write_all(format!("{}\n", std::process::id()).as_bytes()));
    if let Err(error) = noted {
        tracing::warn!(%error, "could not note the process id in the lock file");
    }
    Ok(lock)
}

/// Takes the steps from `found` on, noting each, so that one that was interrupted is taken again.
fn upgrade(path: &Path, found: u32, steps: &[Step]) -> io::Result<()> {
    let done = usize::try_from(found.saturating_sub(1)).unwrap_or(usize::MAX);
    for (version, step) in (found + 1..).zip(steps.iter().skip(done)) {
        tracing::info!(version, "bringing the data directory to a newer format");
        step(path)?;
        sync_directory(path)?;
        replace(&path.join(VERSION_FILE), format!("{version}\n").as_bytes())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_created_for_its_owner_only_and_opened_again() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("a/b");
        let directory = DataDirectory::open(&path).unwrap();
        assert_eq!(fs::metadata(directory.path()).unwrap().permissions().mode() & 0o777, 0o700);
        drop(directory);
        DataDirectory::open(&path).unwrap();
    }

    #[test]
    fn a_second_server_is_refused_by_the_name_of_the_first() {
        let parent = tempfile::tempdir().unwrap();
        let first = DataDirectory::open(parent.path()).unwrap();
        let clone = first.clone();
        drop(first);
        let error = DataDirectory::open(parent.path()).unwrap_err();
        assert_eq!(error.code, "XB4006");
        assert!(error.message.contains(&format!("process id {}", std::process::id())), "{error}");
        drop(clone);
        DataDirectory::open(parent.path()).unwrap();
    }

    #[test]
    fn a_directory_of_something_else_is_refused_and_left_alone() {
        let parent = tempfile::tempdir().unwrap();
        fs::write(parent.path().join("thesis.tex"), "…").unwrap();
        assert_eq!(DataDirectory::open(parent.path()).unwrap_err().code, "XB4009");
        assert_eq!(fs::read_dir(parent.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_creation_that_was_interrupted_is_completed() {
        let parent = tempfile::tempdir().unwrap();
        fs::write(parent.path().join(LOCK_FILE), "12345678\n").unwrap();
        fs::write(parent.path().join("version.partial"), "").unwrap();
        fs::create_dir(parent.path().join("lost+found")).unwrap();
        fs::write(parent.path().join("xebec.toml"), "").unwrap();
        fs::set_permissions(parent.path(), fs::Permissions::from_mode(0o755)).unwrap();
        DataDirectory::open(parent.path()).unwrap();
        assert_eq!(fs::metadata(parent.path()).unwrap().permissions().mode() & 0o777, 0o700);
        assert_eq!(read_version(parent.path()).unwrap(), Some(FORMAT));
    }

    #[test]
    fn a_newer_format_is_refused() {
        let parent = tempfile::tempdir().unwrap();
        fs::write(parent.path().join(VERSION_FILE), "99\n").unwrap();
        let error = DataDirectory::open(parent.path()).unwrap_err();
        assert_eq!(error.code, "XB4007");
        fs::write(parent.path().join(VERSION_FILE), "soon\n").unwrap();
        assert_eq!(DataDirectory::open(parent.path()).unwrap_err().code, "XB4003");
    }

    #[test]
    fn an_older_format_goes_forward_and_an_interrupted_step_is_taken_again() {
        fn second(path: &Path) -> io::Result<()> {
            fs::write(path.join("second"), "")
        }
        fn third(path: &Path) -> io::Result<()> {
            fs::rename(path.join("second"), path.join("third"))
        }
        fn broken(_: &Path) -> io::Result<()> {
            Err(io::Error::other("no power"))
        }
        let parent = tempfile::tempdir().unwrap();
        drop(open(parent.path(), 1, &[]).unwrap());
        assert!(open(parent.path(), 3, &[second, broken]).is_err());
        assert_eq!(read_version(parent.path()).unwrap(), Some(2));
        drop(open(parent.path(), 3, &[second, third]).unwrap());
        assert_eq!(read_version(parent.path()).unwrap(), Some(3));
        assert!(parent.path().join("third").exists());
        drop(open(parent.path(), 3, &[broken, broken]).unwrap());
    }
}

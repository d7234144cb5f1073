//! Secrets that a component reads as files: the only files it ever sees.
//!
//! They lie in memory (`/dev/shm`) where the system has that, in a directory that only our user can enter,
//! and go with their instance. What a killed server left behind, the next one removes.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Write as _},
    path::{Component, Path, PathBuf},
    sync::{
        OnceLock,
        atomic::{AtomicU64, Ordering},
    },
};
use tempfile::TempDir;
use wasmtime_wasi::{FsPerms, WasiCtxBuilder};
use xebec_core::ports::driver::OpenSecret;

const PREFIX: &str = "xebec-secrets-";
/// Held locked by the server whose secrets these are.
const LOCK: &str = "lock";

/// Where this server's secrets lie; made with the first.
#[derive(Default)]
pub(crate) struct Secrets {
    root: OnceLock<Root>,
    count: AtomicU64,
}

struct Root {
    directory: TempDir,
    _lock: File,
}

/// One instance's secrets, as folders to show to its guests. Dropping it deletes them.
pub(crate) struct Mounted {
    directory: PathBuf,
    /// On the host, and as the guest sees it.
    folders: Vec<(PathBuf, String)>,
}

impl Secrets {
    /// Writes those secrets that are files; `None` where there are none.
    pub(crate) fn mount(&self, secrets: &[OpenSecret]) -> io::Result<Option<Mounted>> {
        let files: Vec<_> =
            secrets.iter().filter_map(|secret| Some((secret.path.as_ref()?, secret))).collect();
        if files.is_empty() {
            return Ok(None);
        }
        let number = self.count.fetch_add(1, Ordering::Relaxed);
        let directory = self.root()?.join(number.to_string());
        make(&directory)?;
        let mut mounted = Mounted { directory, folders: Vec::new() };
        for (path, secret) in files {
            let Some((folder, name)) = split(path) else {
                return Err(io::Error::other(format!("{path:?} is not a file's absolute path")));
            };
            let folder = mounted.folder(folder)?;
            create(&folder.join(name))?.write_all(&secret.value)?;
        }
        Ok(Some(mounted))
    }

    fn root(&self) -> io::Result<&Path> {
        if self.root.get().is_none() {
            let base = base();
            sweep(&base);
            // Of two that come here at once, one is thrown away.
            let _ = self.root.set(Root::new(&base)?);
        }
        self.root.get().map(|root| root.directory.path()).ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

impl Root {
    fn new(base: &Path) -> io::Result<Self> {
        // Only its owner can enter what tempfile makes.
        let directory = tempfile::Builder::new().prefix(PREFIX).tempdir_in(base)?;
        // It gets its name when it is locked: nobody must find it and take its owner for dead.
        let unnamed = directory.path().join("new");
        let lock = create(&unnamed)?;
        lock.lock()?;
        fs::rename(unnamed, directory.path().join(LOCK))?;
        Ok(Self { directory, _lock: lock })
    }
}

impl Mounted {
    /// The folder on the host that the guest sees as `guest`.
    fn folder(&mut self, guest: &str) -> io::Result<PathBuf> {
        if let Some((host, _)) = self.folders.iter().find(|(_, seen)| seen == guest) {
            return Ok(host.clone());
        }
        let host = self.directory.join(self.folders.len().to_string());
        make(&host)?;
        self.folders.push((host.clone(), guest.to_owned()));
        Ok(host)
    }

    /// Shows them to a guest, to be read.
    pub(crate) fn show(&self, wasi: &mut WasiCtxBuilder) -> wasmtime::Result<()> {
        for (host, guest) in &self.folders {
            wasi.preopened_dir(host, guest, FsPerms::ReadOnly)?;
        }
        Ok(())
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.directory);
    }
}

/// Folder and name of a secret's file; `None` where it is not a file's absolute path.
pub(crate) fn split(path: &str) -> Option<(&str, &str)> {
    let plain = |part| matches!(part, Component::RootDir | Component::Normal(_));
    let (path, absolute) = (Path::new(path), path.starts_with('/') && !path.ends_with('/'));
    if !absolute || !path.components().all(plain) {
        return None;
    }
    Some((path.parent()?.to_str()?, path.file_name()?.to_str()?))
}

fn base() -> PathBuf {
    let memory = Path::new("/dev/shm");
    if cfg!(target_os = "linux") && memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() }
}

/// Removes what dead servers left. What is not ours cannot be opened, and stays.
fn sweep(base: &Path) {
    let Ok(entries) = fs::read_dir(base) else { return };
    for entry in entries.flatten() {
        if entry.file_name().to_string_lossy().starts_with(PREFIX)
            && File::open(entry.path().join(LOCK)).is_ok_and(|lock| lock.try_lock().is_ok())
        {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

fn make(directory: &Path) -> io::Result<()> {
    let mut builder = DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(directory)
}

fn create(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    fn secret(path: Option<&str>) -> OpenSecret {
        OpenSecret {
            name: "token".to_owned(),
            path: path.map(str::to_owned),
            variable: None,
            value: Bytes::from_static(b"value"),
        }
    }

    #[test]
    fn files_come_and_go_with_their_instance() {
        let secrets = Secrets::default();
        assert!(secrets.mount(&[secret(None)]).unwrap().is_none());
        let paths = ["/run/secrets/a", "/run/secrets/b", "/etc/c"];
        let mounted = secrets.mount(&paths.map(|path| secret(Some(path)))).unwrap().unwrap();
        let seen: Vec<_> = mounted.folders.iter().map(|(_, guest)| guest.as_str()).collect();
        assert_eq!(seen, ["/run/secrets", "/etc"]);
        assert_eq!(fs::read(mounted.folders[0].0.join("b")).unwrap(), b"value");
        let directory = mounted.directory.clone();
        drop(mounted);
        assert!(!directory.exists());
        let root = secrets.root().unwrap().to_owned();
        drop(secrets);
        assert!(!root.exists());
    }

    #[test]
    fn only_absolute_plain_paths_are_files() {
        assert_eq!(split("/run/secrets/a"), Some(("/run/secrets", "a")));
        assert_eq!(split("/a"), Some(("/", "a")));
        for path in ["", "/", "a", "run/a", "/run/../a", "/run/secrets/"] {
            assert_eq!(split(path), None, "{path:?}");
        }
    }

    #[test]
    fn what_the_dead_left_is_removed_and_what_the_living_use_is_not() {
        let base = tempfile::tempdir().unwrap();
        let living = Root::new(base.path()).unwrap();
        let dead = base.path().join(format!("{PREFIX}dead"));
        let unfinished = base.path().join(format!("{PREFIX}new"));
        make(&dead).unwrap();
        create(&dead.join(LOCK)).unwrap();
        make(&unfinished).unwrap();
        sweep(base.path());
        assert!(!dead.exists());
        assert!(unfinished.exists() && living.directory.path().exists());
    }
}

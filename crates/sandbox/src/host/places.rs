//! Where paths inside are found, for sandboxes that have no root of their own.
//!
//! A directory of the host stands for the root. What is bound read-only is brought into it (by hard links
//! where that is possible), what is written lies in it, and paths in commands and variables are rewritten to
//! it. The system's own directories are those of the host.

use crate::{Bind, Exec};
use parking_lot::Mutex;
use std::{
    collections::BTreeMap,
    fs, io,
    os::unix::fs::{PermissionsExt, symlink},
    path::{Path, PathBuf},
};

/// Places inside that every sandbox has.
const ALWAYS: [&str; 4] = ["/tmp", "/run/xebec", "/run/secrets", "/var/openfaas"];
/// The system's directories, in which nothing is ever put.
const SYSTEM: [&str; 11] =
    ["/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/etc", "/proc", "/dev", "/sys"];

/// Where paths inside are found.
#[derive(Debug)]
pub(super) struct Places {
    root: PathBuf,
    known: Mutex<Known>,
}

#[derive(Debug)]
struct Known {
    /// Paths inside that lie below the directory that stands for the root.
    moved: Vec<PathBuf>,
    /// Paths that are the same inside.
    same: Vec<PathBuf>,
}

impl Places {
    pub(super) fn new(root: PathBuf) -> Self {
        let known = Known { moved: ALWAYS.map(PathBuf::from).to_vec(), same: Vec::new() };
        Self { root, known: Mutex::new(known) }
    }

    /// Where a path inside is found.
    pub(super) fn translate(&self, inside: &Path) -> PathBuf {
        let known = self.known.lock();
        let moved = known.moved.iter().any(|place| inside.starts_with(place))
            && !known.same.iter().any(|place| inside.starts_with(place));
        if moved { self.below_root(inside) } else { inside.to_owned() }
    }

    fn below_root(&self, inside: &Path) -> PathBuf {
        self.root.join(inside.strip_prefix("/").unwrap_or(inside))
    }

    /// Where a path inside that is about to be made is to lie.
    pub(super) fn make(&self, inside: &Path) -> io::Result<PathBuf> {
        let taken = SYSTEM.iter().any(|system| inside.starts_with(system))
            || self.known.lock().same.iter().any(|place| inside.starts_with(place));
        if taken {
            return Err(io::Error::other(format!("{} is the host's own here", inside.display())));
        }
        let mut known = self.known.lock();
        if !known.moved.iter().any(|place| inside.starts_with(place)) {
            known.moved.push(inside.to_owned());
        }
        Ok(self.below_root(inside))
    }

    /// Marks a path as the same inside.
    pub(super) fn keep(&self, path: &Path) {
        self.known.lock().same.push(path.to_owned());
    }

    /// Brings a bind to its place.
    pub(super) fn bring(&self, bind: &Bind) -> io::Result<()> {
        let place = self.make(&bind.inside)?;
        if let Some(parent) = place.parent() {
            fs::create_dir_all(parent)?;
        }
        if bind.writable {
            let _ = fs::remove_dir(&place);
            return symlink(&bind.host, &place);
        }
        bring(&bind.host, &place)
    }

    /// The same command, its paths where they are found.
    pub(super) fn translate_exec(&self, exec: &mut Exec, base: &BTreeMap<String, String>, directory: &Path) {
        exec.argv.iter_mut().for_each(|argument| *argument = self.translate_text(argument));
        for (name, value) in base {
            exec.variables.entry(name.clone()).or_insert_with(|| value.clone());
        }
        exec.variables.entry("TMPDIR".to_owned()).or_insert_with(|| "/tmp".to_owned());
        exec.variables.values_mut().for_each(|value| *value = self.translate_text(value));
        let directory = exec.directory.take().unwrap_or_else(|| directory.to_owned());
        exec.directory = Some(self.translate(&directory));
    }

    /// A text whose parts, between colons and equals signs, may be paths.
    fn translate_text(&self, text: &str) -> String {
        let parts = text.split_inclusive([':', '=']).map(|part| {
            let (path, end) = match part.strip_suffix([':', '=']) {
                Some(path) => (path, &part[path.len()..]),
                None => (part, ""),
            };
            // Not what follows the scheme of an address.
            match path.starts_with('/') && !path.starts_with("//") {
                true => format!("{}{end}", self.translate(Path::new(path)).display()),
                false => part.to_owned(),
            }
        });
        parts.collect()
    }
}

/// Copies a tree, by links where that is possible. Everybody may read it: its new reader may be another user.
fn bring(from: &Path, to: &Path) -> io::Result<()> {
    let kind = fs::symlink_metadata(from)?;
    if kind.is_symlink() {
        return symlink(fs::read_link(from)?, to);
    }
    if kind.is_dir() {
        fs::create_dir_all(to)?;
        for entry in fs::read_dir(from)? {
            let entry = entry?;
            bring(&entry.path(), &to.join(entry.file_name()))?;
        }
        return Ok(());
    }
    let mode = kind.permissions().mode();
    if mode & 0o004 != 0 && fs::hard_link(from, to).is_ok() {
        return Ok(());
    }
    fs::copy(from, to)?;
    fs::set_permissions(to, fs::Permissions::from_mode(0o444 | mode & 0o111))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_found_where_they_were_put() {
        let host = tempfile::tempdir().unwrap();
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(host.path().join("deep")).unwrap();
        fs::write(host.path().join("deep/file"), "code").unwrap();
        let places = Places::new(root.path().to_owned());
        places
            .bring(&Bind { host: host.path().to_owned(), inside: "/code".into(), writable: false })
            .unwrap();
        places.keep(Path::new("/tmp/kept"));
        let below = |path: &str| root.path().join(path).display().to_string();
        assert_eq!(fs::read_to_string(root.path().join("code/deep/file")).unwrap(), "code");
        for (inside, found) in [
            ("/code/deep/file", below("code/deep/file")),
            ("--file=/code/x", format!("--file={}", below("code/x"))),
            ("/usr/bin:/code/bin", format!("/usr/bin:{}", below("code/bin"))),
            ("http://code:80/tmp", "http://code:80/tmp".to_owned()),
            ("/codex", "/codex".to_owned()),
            ("/tmp", below("tmp")),
            ("/tmp/kept/x", "/tmp/kept/x".to_owned()),
            ("code", "code".to_owned()),
        ] {
            assert_eq!(places.translate_text(inside), found);
        }
        assert!(places.make(Path::new("/etc/x")).is_err());
        assert_eq!(places.make(Path::new("/new/x")).unwrap(), root.path().join("new/x"));
    }
}

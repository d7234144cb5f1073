//! The root that a sandbox sees.
//!
//! A small tmpfs of its own holds the mount points and what is written at creation (secrets, say). On it lie
//! read-only copies of the system's directories, an `/etc` and a `/dev` that the spawner made once, a fresh
//! `/proc`, a private `/tmp` and `/dev/shm`, and the run directory.

use crate::mounts::{self, Access};
use rustix::mount::MountFlags;
use std::{
    ffi::CString,
    fs, io,
    os::{
        fd::AsFd,
        unix::fs::{DirBuilderExt, PermissionsExt, chown, symlink},
    },
    path::{Path, PathBuf},
};

/// Where the run directory is inside.
pub(crate) const RUN: &str = "run/xebec";
/// Top-level directories below which binds may be writable: landlock, whose rules are made before the binds,
/// lets nothing be written below other names.
const WRITABLE: [&str; 12] =
    ["tmp", "run", "var", "home", "mnt", "opt", "srv", "data", "app", "function", "work", "workspace"];
/// Further directories that are simply there: usual places for secrets and the like.
const PLACES: [&str; 7] =
    ["run/xebec", "run/secrets", "var/openfaas", "var/openfaas/secrets", "var/lib", "sys", "proc"];
/// What the root itself may hold.
const ROOT_OPTIONS: &str = "mode=755,size=32m,nr_inodes=32k";
const SHARED_MEMORY_OPTIONS: &str = "mode=1777,size=64m";

/// What a root is made of, settled once per spawner.
#[derive(Clone, Debug, Default)]
pub(crate) struct Template {
    /// Holds `etc`, `dev` and the mount point `root`.
    pub(crate) directory: PathBuf,
    /// The system's top-level names, and for those that are links, where to.
    pub(crate) system: Vec<(String, Option<PathBuf>)>,
}

impl Template {
    /// The system directories of this host.
    pub(crate) fn system() -> Vec<(String, Option<PathBuf>)> {
        ["usr", "bin", "sbin", "lib", "lib32", "lib64", "libx32"]
            .into_iter()
            .filter_map(|name| {
                let path = Path::new("/").join(name);
                let kind = fs::symlink_metadata(&path).ok()?.file_type();
                (kind.is_symlink() || kind.is_dir()).then(|| (name.to_owned(), fs::read_link(&path).ok()))
            })
            .collect()
    }
}

/// What is written in the directory that stands for a root where a sandbox has none of its own.
pub(crate) const BARE_WRITTEN: [&str; 2] = ["tmp", RUN];

/// Makes such a directory; what is written in it belongs to `user`.
pub(crate) fn build_bare(root: &Path, user: Option<u32>) -> io::Result<()> {
    for place in WRITABLE.into_iter().chain(PLACES) {
        directory(root, place)?;
    }
    for place in BARE_WRITTEN {
        let place = root.join(place);
        fs::set_permissions(&place, fs::Permissions::from_mode(0o700))?;
        if let Some(user) = user {
            chown(&place, Some(user), Some(user))?;
        }
    }
    Ok(())
}

/// Builds the root and moves there. `run` is what will be the run directory.
pub(crate) fn build(template: &Template, run: impl AsFd) -> io::Result<()> {
    step("keep its mounts to itself", mounts::keep_mounts_to_ourselves())?;
    let root = template.directory.join("root");
    step("mount its root", new_tmpfs(&root, ROOT_OPTIONS))?;
    for (name, link) in &template.system {
        let place = root.join(name);
        match link {
            Some(target) => step("link a system directory", symlink(target, &place))?,
            None => {
                let place = directory(&root, name)?;
                let source = Path::new("/").join(name);
                step("bind a system directory", bind(&source, &place, Access::Read))?;
            }
        }
    }
    for place in WRITABLE.into_iter().chain(PLACES) {
        directory(&root, place)?;
    }
    step("link /var/run", symlink("../run", root.join("var/run")))?;
    step("link /var/tmp", symlink("../tmp", root.join("var/tmp")))?;
    step("bind /etc", bind(&template.directory.join("etc"), &directory(&root, "etc")?, Access::Read))?;
    let devices = directory(&root, "dev")?;
    step("bind /dev", bind(&template.directory.join("dev"), &devices, Access::Devices))?;
    step("mount /dev/shm", new_tmpfs(&devices.join("shm"), SHARED_MEMORY_OPTIONS))?;
    step("mount /tmp", new_tmpfs(&root.join("tmp"), "mode=1777"))?;
    step("mount the run directory", mounts::attach(run, &root.join(RUN)))?;
    step("mount /proc", mount_proc(&root.join("proc")))?;
    step("move to its root", mounts::pivot(&root))
}

fn step<T>(what: &str, result: io::Result<T>) -> io::Result<T> {
    result.map_err(|error| io::Error::new(error.kind(), format!("cannot {what}: {error}")))
}

fn directory(root: &Path, name: &str) -> io::Result<PathBuf> {
    let path = root.join(name);
    step("make a directory", fs::DirBuilder::new().mode(0o755).recursive(true).create(&path))?;
    Ok(path)
}

fn bind(source: &Path, place: &Path, access: Access) -> io::Result<()> {
    mounts::attach(mounts::copy_tree(source, access)?, place)
}

fn new_tmpfs(place: &Path, options: &str) -> io::Result<()> {
    mounts::mount_new("tmpfs", place, MountFlags::NODEV, &CString::new(options)?)
}

/// A `/proc` of this pid namespace in which users see their own processes only (where the kernel can).
fn mount_proc(place: &Path) -> io::Result<()> {
    let flags = MountFlags::NODEV | MountFlags::NOEXEC;
    mounts::mount_new("proc", place, flags, c"hidepid=2")
        .or_else(|_| mounts::mount_new("proc", place, flags, c""))
}

/// Sizes the private `/tmp`; `None`: what a tmpfs has by default.
pub(crate) fn size_scratch(bytes: Option<u64>) -> io::Result<()> {
    let options = bytes.map_or_else(|| "size=50%".to_owned(), |bytes| format!("size={bytes}"));
    mounts::change_options(Path::new("/tmp"), MountFlags::NODEV, &CString::new(options)?)
}

/// Whether a writable bind may lie there.
pub(crate) fn may_be_written(inside: &Path) -> bool {
    WRITABLE.iter().any(|place| inside.starts_with(Path::new("/").join(place)))
}

/// Where writable binds may lie, for people.
pub(crate) fn writable_places() -> String {
    WRITABLE.map(|place| format!("/{place}")).join(", ")
}

//! The mount calls, as far as they are used here.

use rustix::mount::{
    MountFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags, mount, move_mount, open_tree, unmount,
};
use std::{
    ffi::CStr,
    io,
    os::fd::{AsFd, AsRawFd, OwnedFd},
    path::Path,
};

/// `struct mount_attr`.
#[repr(C)]
#[derive(Default)]
struct Attributes {
    set: u64,
    clear: u64,
    propagation: u64,
    user_namespace: u64,
}

const RDONLY: u64 = 1;
const NOSUID: u64 = 2;
const NODEV: u64 = 4;

/// What may be done with a copied tree.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    Read,
    Write,
    /// Read, and its devices are devices.
    Devices,
}

/// A copy of what is mounted at a path and below, not attached anywhere yet, with nothing set-user-id.
pub(crate) fn copy_tree(path: &Path, access: Access) -> io::Result<OwnedFd> {
    let flags =
        OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_RECURSIVE;
    let tree = open_tree(rustix::fs::CWD, path, flags)?;
    let set = match access {
        Access::Read => NOSUID | NODEV | RDONLY,
        Access::Write => NOSUID | NODEV,
        Access::Devices => NOSUID | RDONLY,
    };
    let attributes = Attributes { set, propagation: libc::MS_PRIVATE, ..Attributes::default() };
    // SAFETY: the descriptor is open, the path an empty string, the attributes live and of the size given.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            tree.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH | libc::AT_RECURSIVE,
            &raw const attributes,
            size_of::<Attributes>(),
        )
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(tree) }
}

/// Attaches a copied tree at a path.
pub(crate) fn attach(tree: impl AsFd, path: &Path) -> io::Result<()> {
    Ok(move_mount(tree, "", rustix::fs::CWD, path, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)?)
}

/// Mounts a new file system.
pub(crate) fn mount_new(kind: &str, path: &Path, flags: MountFlags, options: &CStr) -> io::Result<()> {
    Ok(mount(kind, path, kind, flags | MountFlags::NOSUID, Some(options))?)
}

/// Changes the options of a file system mounted at a path.
pub(crate) fn change_options(path: &Path, flags: MountFlags, options: &CStr) -> io::Result<()> {
    Ok(rustix::mount::mount_remount(path, flags | MountFlags::NOSUID, options)?)
}

/// Lets nothing that is mounted here be seen in the namespace this one was copied from.
pub(crate) fn keep_mounts_to_ourselves() -> io::Result<()> {
    use rustix::mount::MountPropagationFlags as Propagation;
    Ok(rustix::mount::mount_change("/", Propagation::DOWNSTREAM | Propagation::REC)?)
}

/// Makes `root` the root of everything and forgets what was there.
pub(crate) fn pivot(root: &Path) -> io::Result<()> {
    rustix::process::chdir(root)?;
    rustix::process::pivot_root(".", ".")?;
    unmount(".", UnmountFlags::DETACH)?;
    Ok(rustix::process::chdir("/")?)
}

/// A new tmpfs, not attached anywhere yet. The descriptor serves as a directory, too.
pub(crate) fn detached_tmpfs(bytes: u64, owner: u32) -> io::Result<OwnedFd> {
    use rustix::mount::{
        FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsconfig_set_string, fsmount, fsopen,
    };
    let context = fsopen("tmpfs", FsOpenFlags::FSOPEN_CLOEXEC)?;
    let owner = owner.to_string();
    let options =
        [("size", bytes.to_string()), ("mode", "700".to_owned()), ("uid", owner.clone()), ("gid", owner)];
    for (key, value) in options {
        fsconfig_set_string(context.as_fd(), key, value)?;
    }
    fsconfig_create(context.as_fd())?;
    let attributes = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NODEV;
    Ok(fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, attributes)?)
}

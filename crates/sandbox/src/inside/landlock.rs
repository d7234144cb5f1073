//! Landlock: a second fence around files, where the kernel has it.

use ::landlock::{
    ABI, Access, AccessFs, BitFlags, CompatLevel, Compatible, PathBeneath, PathFd, Ruleset, RulesetAttr,
    RulesetCreated, RulesetCreatedAttr, Scope,
};
use std::{
    fs, io,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
};

/// The newest interface we ask for; older kernels enforce what they know.
const WANTED: ABI = ABI::V6;

/// Directories of the root that belong to the system. Everything else at the top may be written as far as
/// landlock goes; mounts decide the rest.
const SYSTEM: [&str; 8] = ["usr", "etc", "bin", "sbin", "lib", "lib32", "lib64", "libx32"];

/// The kernel's version of landlock; 0 without it.
pub(crate) fn version() -> i64 {
    const ASK_VERSION: libc::c_ulong = 1;
    // SAFETY: asks for a number; no attribute is passed.
    unsafe {
        libc::syscall(libc::SYS_landlock_create_ruleset, std::ptr::null::<u8>(), 0usize, ASK_VERSION).max(0)
    }
}

fn ruleset(scopes: bool) -> io::Result<RulesetCreated> {
    let mut ruleset = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(WANTED))
        .map_err(io::Error::other)?;
    if scopes {
        ruleset = ruleset.scope(Scope::from_all(WANTED)).map_err(io::Error::other)?;
    }
    ruleset.create().map_err(io::Error::other)
}

fn write_access() -> BitFlags<AccessFs> {
    AccessFs::from_all(WANTED) & !(AccessFs::MakeChar | AccessFs::MakeBlock)
}

fn allow(ruleset: RulesetCreated, path: &Path, access: BitFlags<AccessFs>) -> io::Result<RulesetCreated> {
    let access = if path.is_dir() { access } else { access & AccessFs::from_file(WANTED) };
    let path = PathFd::new(path).map_err(io::Error::other)?;
    ruleset.add_rule(PathBeneath::new(path, access)).map_err(io::Error::other)
}

/// The rules for a root of the sandbox's own: everything may be read, the system not written, and no device
/// made.
pub(crate) fn own_root() -> io::Result<Option<OwnedFd>> {
    let mut rules = allow(ruleset(false)?, Path::new("/"), AccessFs::from_read(WANTED))?;
    for entry in fs::read_dir("/")? {
        let entry = entry?;
        let writable = entry.file_type()?.is_dir()
            && !SYSTEM.iter().any(|system| entry.file_name().as_encoded_bytes() == system.as_bytes());
        if writable {
            rules = allow(rules, &entry.path(), write_access())?;
        }
    }
    Ok(rules.into())
}

/// What of the system is read where there is no root of the sandbox's own, and of `/etc` no more than this.
const READ: [&str; 27] = [
    "/usr",
    "/bin",
    "/sbin",
    "/lib",
    "/lib32",
    "/lib64",
    "/libx32",
    "/proc",
    "/etc/ld.so.cache",
    "/etc/ld.so.conf",
    "/etc/ld.so.conf.d",
    "/etc/localtime",
    "/etc/timezone",
    "/etc/alternatives",
    "/etc/ssl",
    "/etc/ca-certificates",
    "/etc/pki",
    "/etc/passwd",
    "/etc/group",
    "/etc/hosts",
    "/etc/hostname",
    "/etc/resolv.conf",
    "/etc/nsswitch.conf",
    "/etc/services",
    "/etc/protocols",
    "/etc/mime.types",
    "/sys/devices/system/cpu",
];
const DEVICES: [&str; 5] = ["/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom"];

/// The rules for a sandbox without a root of its own: the system and `root` are read, what is below `root` in
/// `written` is written, and what is allowed by name. Nothing of the host is signalled.
pub(crate) fn bare(
    root: &Path,
    written: &[&str],
    allowed: &[(PathBuf, bool)],
) -> io::Result<Option<OwnedFd>> {
    let mut rules = allow(ruleset(true)?, root, AccessFs::from_read(WANTED))?;
    for path in READ.iter().map(Path::new).filter(|path| path.exists()) {
        rules = allow(rules, path, AccessFs::from_read(WANTED))?;
    }
    for path in DEVICES.iter().map(Path::new).filter(|path| path.exists()) {
        rules = allow(rules, path, write_access())?;
    }
    for name in written {
        rules = allow(rules, &root.join(name), write_access())?;
    }
    for (path, writable) in allowed {
        rules = allow(rules, path, if *writable { write_access() } else { AccessFs::from_read(WANTED) })?;
    }
    Ok(rules.into())
}

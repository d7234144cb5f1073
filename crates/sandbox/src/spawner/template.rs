//! What all roots share: an `/etc` that tells functions no more than they need, and a `/dev` without devices
//! that matter. Made once, on a tmpfs that only the spawner and its sandboxes see.

use crate::{
    inside::root::Template,
    mounts::{self, Access},
};
use rustix::{
    fs::{CWD, FileType, Mode, makedev, mknodat},
    mount::MountFlags,
};
use std::{
    fs, io,
    os::unix::fs::{MetadataExt, PermissionsExt, symlink},
    path::Path,
};

/// Copied from the host where they are there and everybody may read them: what the loader, name lookup, time
/// zones, certificates and language runtimes look for.
const COPIED: [&str; 18] = [
    "ld.so.cache",
    "ld.so.conf",
    "ld.so.conf.d",
    "localtime",
    "timezone",
    "alternatives",
    "ssl",
    "ca-certificates",
    "ca-certificates.conf",
    "pki",
    "crypto-policies",
    "mime.types",
    "services",
    "protocols",
    "gai.conf",
    "magic",
    "perl",
    "terminfo",
];
/// What may be copied altogether, and how deep.
const MAX_COPIED: u64 = 32 * 1024 * 1024;
const MAX_DEPTH: u32 = 6;

const DEVICES: [(&str, u32, u32); 6] =
    [("null", 1, 3), ("zero", 1, 5), ("full", 1, 7), ("random", 1, 8), ("urandom", 1, 9), ("tty", 5, 0)];

/// Builds it below the spawner's directory, in this mount namespace. `resolver`: where DNS questions go.
pub(crate) fn build(run_directory: &Path, resolver: Option<&str>) -> io::Result<Template> {
    let directory = run_directory.join("template");
    fs::create_dir_all(&directory)?;
    mounts::mount_new("tmpfs", &directory, MountFlags::NOEXEC, c"mode=755,size=64m")?;
    fs::create_dir(directory.join("root"))?;
    etc(&directory.join("etc"), resolver)?;
    dev(&directory.join("dev"))?;
    Ok(Template { directory, system: Template::system() })
}

fn etc(etc: &Path, resolver: Option<&str>) -> io::Result<()> {
    fs::create_dir(etc)?;
    let mut left = MAX_COPIED;
    for name in COPIED {
        copy(&Path::new("/etc").join(name), &etc.join(name), MAX_DEPTH, &mut left);
    }
    let host = fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
    let written = [
        (
            "passwd",
            "root:x:0:0::/:/bin/false\napp:x:1000:1000::/tmp:/bin/sh\nnobody:x:65534:65534::/:/bin/false\n"
                .to_owned(),
        ),
        ("group", "root:x:0:\napp:x:1000:\nnogroup:x:65534:\n".to_owned()),
        ("hostname", "sandbox\n".to_owned()),
        ("hosts", "127.0.0.1 localhost sandbox\n::1 localhost\n".to_owned()),
        ("nsswitch.conf", "passwd: files\ngroup: files\nhosts: files dns\nservices: files\n".to_owned()),
        ("resolv.conf", resolver.map_or_else(|| host.clone(), |resolver| resolv_conf(&host, resolver))),
    ];
    written.into_iter().try_for_each(|(name, contents)| fs::write(etc.join(name), contents))
}

/// Our resolver in place of the host's; what the host searches stays.
fn resolv_conf(host: &str, resolver: &str) -> String {
    let search =
        host.lines().filter(|line| ["search ", "domain ", "options "].iter().any(|it| line.starts_with(it)));
    search.map(|line| format!("{line}\n")).chain([format!("nameserver {resolver}\n")]).collect()
}

/// Copies what everybody may read; what cannot be copied is left out.
fn copy(from: &Path, to: &Path, depth: u32, left: &mut u64) {
    let Ok(kind) = fs::symlink_metadata(from) else { return };
    if kind.is_symlink() {
        let Ok(target) = fs::read_link(from) else { return };
        let stays = target.is_relative() || ["/usr", "/etc", "/lib"].iter().any(|it| target.starts_with(it));
        if stays {
            let _ = symlink(target, to);
        } else if depth > 0 {
            let Ok(real) = fs::canonicalize(from) else { return };
            copy(&real, to, depth - 1, left);
        }
    } else if kind.is_dir() && depth > 0 && kind.mode() & 0o005 == 0o005 {
        let (Ok(entries), Ok(())) = (fs::read_dir(from), fs::create_dir(to)) else { return };
        for entry in entries.flatten() {
            copy(&entry.path(), &to.join(entry.file_name()), depth - 1, left);
        }
    } else if kind.is_file() && kind.mode() & 0o004 != 0 && kind.len() <= *left {
        *left -= kind.len();
        if fs::copy(from, to).is_ok() {
            let _ = fs::set_permissions(to, fs::Permissions::from_mode(0o644));
        }
    }
}

fn dev(dev: &Path) -> io::Result<()> {
    fs::create_dir(dev)?;
    fs::create_dir(dev.join("shm"))?;
    for (link, target) in [
        ("fd", "/proc/self/fd"),
        ("stdin", "/proc/self/fd/0"),
        ("stdout", "/proc/self/fd/1"),
        ("stderr", "/proc/self/fd/2"),
    ] {
        symlink(target, dev.join(link))?;
    }
    for (name, major, minor) in DEVICES {
        let place = dev.join(name);
        let made = mknodat(
            CWD,
            &place,
            FileType::CharacterDevice,
            Mode::from_raw_mode(0o666),
            makedev(major, minor),
        );
        match made {
            Ok(()) => fs::set_permissions(&place, fs::Permissions::from_mode(0o666))?,
            // In a user namespace no device can be made, but those of the host can be borrowed.
            Err(_) => {
                fs::File::create(&place)?;
                let host = Path::new("/dev").join(name);
                mounts::attach(mounts::copy_tree(&host, Access::Devices)?, &place)?;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hosts_resolvers_are_replaced_and_its_search_list_kept() {
        let host = "# made by hand\nsearch a.example\nnameserver 10.0.0.1\noptions ndots:5\n";
        assert_eq!(
            resolv_conf(host, "198.18.0.1"),
            "search a.example\noptions ndots:5\nnameserver 198.18.0.1\n"
        );
    }

    #[test]
    fn only_what_everybody_may_read_is_copied() {
        let from = tempfile::tempdir().unwrap();
        let to = tempfile::tempdir().unwrap();
        let write = |name: &str, mode| {
            let path = from.path().join(name);
            fs::write(&path, name).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        };
        write("public", 0o644);
        write("private", 0o600);
        fs::set_permissions(from.path(), fs::Permissions::from_mode(0o755)).unwrap();
        symlink("public", from.path().join("link")).unwrap();
        copy(from.path(), &to.path().join("copy"), 3, &mut 1000);
        assert_eq!(fs::read_to_string(to.path().join("copy/link")).unwrap(), "public");
        assert!(!to.path().join("copy/private").exists());
        copy(from.path(), &to.path().join("none"), 3, &mut 2);
        assert!(!to.path().join("none/public").exists());
    }
}

//! Control groups: memory, processor and process counts of a whole sandbox.
//!
//! Each controller is taken from version 2 where that has it, else from version 1. All of a spawner's groups
//! lie below one parent of its own, `xebec-<pid>`, inside the group that the spawner was started in, so that
//! limits set on the server hold for its functions too. The file system's root is a parameter: tests use a
//! plain directory.

use std::{fs, io, path::Path};

mod find;
mod group;

pub(crate) use find::Groups;
pub(crate) use group::Group;

/// What can be limited.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Controller {
    Memory,
    Cpu,
    Pids,
}

impl Controller {
    pub(crate) const ALL: [Self; 3] = [Self::Memory, Self::Cpu, Self::Pids];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Cpu => "cpu",
            Self::Pids => "pids",
        }
    }
}

/// Which interface a controller speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Version {
    One,
    Two,
}

/// A count in a file of `name value` lines.
pub(crate) fn counter(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.trim().parse().ok())
}

/// How often the kernel killed for memory, as the group's file has it (both versions name it alike).
pub(crate) fn kills(file: &Path) -> u64 {
    fs::read_to_string(file).ok().and_then(|text| counter(&text, "oom_kill")).unwrap_or(0)
}

fn write(path: &Path, value: &str) -> io::Result<()> {
    fs::write(path, value).map_err(|error| {
        io::Error::new(error.kind(), format!("cannot write {value:?} to {}: {error}", path.display()))
    })
}

/// Removes a group and those below it; they must be empty.
fn remove_tree(directory: &Path) -> io::Result<()> {
    for entry in fs::read_dir(directory)?.flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_tree(&entry.path())?;
        }
    }
    fs::remove_dir(directory)
}

#[cfg(test)]
mod tests;

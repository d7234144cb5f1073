//! One sandbox's group.

use super::{Controller, Version, kills, write};
use crate::spec::SandboxLimits;
use std::{
    fs, io,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
};

/// The period over which processor time is counted.
const PERIOD_MICROS: u64 = 100_000;
/// A sandbox's init and starter, which the function's own limit does not count.
const OWN_PROCESSES: u64 = 2;

/// One sandbox's group: a directory for each controller (the same one for all of version 2).
#[derive(Debug, Default)]
pub(crate) struct Group {
    pub(super) places: Vec<(Controller, Version, PathBuf)>,
}

impl Group {
    fn place(&self, controller: Controller) -> Option<(Version, &Path)> {
        self.places.iter().find(|place| place.0 == controller).map(|place| (place.1, place.2.as_path()))
    }

    fn directories(&self) -> Vec<&Path> {
        let mut all: Vec<_> = self.places.iter().map(|place| place.2.as_path()).collect();
        all.dedup();
        all
    }

    /// The files through which a process with one thread enters: one for each directory.
    ///
    /// Version 1 has `tasks` beside `cgroup.procs`: it moves one thread, and so need not wait, as the other
    /// does for ten milliseconds and more, until no thread anywhere is being started.
    fn entrances(&self) -> Vec<PathBuf> {
        let mut all: Vec<_> = self
            .places
            .iter()
            .map(|(_, version, directory)| match version {
                Version::One => directory.join("tasks"),
                Version::Two => directory.join("cgroup.procs"),
            })
            .collect();
        all.dedup();
        all
    }

    /// Puts a process that has one thread into it.
    pub(crate) fn add(&self, pid: i32) -> io::Result<()> {
        self.entrances().into_iter().try_for_each(|entrance| write(&entrance, &pid.to_string()))
    }

    /// Opens what puts the process that writes `0` to it, and has one thread, into the group.
    pub(crate) fn open(&self) -> io::Result<Vec<OwnedFd>> {
        let open = |entrance: PathBuf| Ok(fs::File::options().write(true).open(entrance)?.into());
        self.entrances().into_iter().map(open).collect()
    }

    /// Sets what may be used.
    pub(crate) fn limit(&self, limits: &SandboxLimits) -> io::Result<()> {
        if let Some((version, directory)) = self.place(Controller::Memory) {
            limit_memory(version, directory, limits.memory_bytes)?;
        }
        if let Some((version, directory)) = self.place(Controller::Cpu) {
            limit_cpu(version, directory, limits.cpu_millis)?;
        }
        if let Some((_, directory)) = self.place(Controller::Pids) {
            let most = limits.processes.map(|most| u64::from(most) + OWN_PROCESSES);
            write(
                &directory.join("pids.max"),
                &most.map_or_else(|| "max".to_owned(), |most| most.to_string()),
            )?;
        }
        Ok(())
    }

    /// The file that says how much processor time it has used. Version 1 may keep such accounts in another
    /// hierarchy: then there is none.
    pub(crate) fn cpu_file(&self) -> Option<PathBuf> {
        let (version, directory) = self.place(Controller::Cpu)?;
        let file = match version {
            Version::Two => directory.join("cpu.stat"),
            Version::One => directory.join("cpuacct.usage"),
        };
        file.exists().then_some(file)
    }

    /// The file that lists its processes.
    pub(crate) fn processes_file(&self) -> Option<PathBuf> {
        self.places.first().map(|(_, _, directory)| directory.join("cgroup.procs"))
    }

    /// The file that says how much memory it holds.
    pub(crate) fn memory_file(&self) -> Option<PathBuf> {
        self.place(Controller::Memory).map(|(version, directory)| match version {
            Version::Two => directory.join("memory.current"),
            Version::One => directory.join("memory.usage_in_bytes"),
        })
    }

    /// The file that counts kills for memory.
    pub(crate) fn kills_file(&self) -> Option<PathBuf> {
        self.place(Controller::Memory).map(|(version, directory)| match version {
            Version::Two => directory.join("memory.events"),
            Version::One => directory.join("memory.oom_control"),
        })
    }

    /// How often the kernel killed in it for memory.
    pub(crate) fn kills(&self) -> u64 {
        self.kills_file().map_or(0, |file| kills(&file))
    }

    /// Removes it; `false` while the kernel has not let go of what ran in it.
    pub(crate) fn remove(&self) -> bool {
        self.directories().into_iter().map(fs::remove_dir).fold(true, |all, removed| {
            let gone = removed.is_ok_and(|()| true);
            all && gone
        }) || self.directories().iter().all(|directory| !directory.exists())
    }
}

fn limit_memory(version: Version, directory: &Path, bytes: Option<u64>) -> io::Result<()> {
    match version {
        Version::Two => {
            let most = bytes.map_or_else(|| "max".to_owned(), |bytes| bytes.to_string());
            write(&directory.join("memory.max"), &most)?;
            let swap = directory.join("memory.swap.max");
            if swap.exists() {
                write(&swap, if bytes.is_some() { "0" } else { "max" })?;
            }
            Ok(())
        }
        Version::One => {
            let most = bytes.map_or_else(|| "-1".to_owned(), |bytes| bytes.to_string());
            let (memory, both) =
                (directory.join("memory.limit_in_bytes"), directory.join("memory.memsw.limit_in_bytes"));
            // Memory must never exceed memory and swap together, whichever way the limits move.
            let first = write(&memory, &most);
            if both.exists() {
                write(&both, &most)?;
            }
            if first.is_err() { write(&memory, &most) } else { Ok(()) }
        }
    }
}

fn limit_cpu(version: Version, directory: &Path, millis: Option<u32>) -> io::Result<()> {
    // A quota below one millisecond is refused by the kernel.
    let quota = millis.map(|millis| (u64::from(millis) * PERIOD_MICROS / 1000).max(1000));
    match version {
        Version::Two => {
            let quota = quota.map_or_else(|| "max".to_owned(), |quota| quota.to_string());
            write(&directory.join("cpu.max"), &format!("{quota} {PERIOD_MICROS}"))
        }
        Version::One => {
            write(&directory.join("cpu.cfs_period_us"), &PERIOD_MICROS.to_string())?;
            let quota = quota.map_or_else(|| "-1".to_owned(), |quota| quota.to_string());
            write(&directory.join("cpu.cfs_quota_us"), &quota)
        }
    }
}

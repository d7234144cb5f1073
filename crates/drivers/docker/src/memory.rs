//! What an instance holds in memory, read from its control group where the engine runs on this kernel.

use std::{fs, path::PathBuf};

/// Where a container's use of memory can be read.
#[derive(Debug)]
pub(crate) struct MemoryGauge(PathBuf);

impl MemoryGauge {
    /// The gauge of a process' control group.
    pub(crate) fn of(process: i64) -> Option<Self> {
        let groups = fs::read_to_string(format!("/proc/{process}/cgroup")).ok()?;
        candidates(&groups).into_iter().find(|path| path.exists()).map(Self)
    }

    /// Bytes, now.
    pub(crate) fn read(&self) -> Option<u64> {
        fs::read_to_string(&self.0).ok()?.trim().parse().ok()
    }
}

/// Where it may be, by the lines `number:controllers:path`; version 2 has no controllers there.
fn candidates(groups: &str) -> Vec<PathBuf> {
    let place = |line: &str| {
        let mut parts = line.splitn(3, ':').skip(1);
        let (controllers, path) = (parts.next()?, parts.next()?.trim_start_matches('/'));
        // The root group is all of the machine.
        if path.is_empty() {
            return None;
        }
        let root = PathBuf::from("/sys/fs/cgroup");
        match controllers {
            "" => Some(root.join(path).join("memory.current")),
            _ if controllers.split(',').any(|one| one == "memory") => {
                Some(root.join("memory").join(path).join("memory.usage_in_bytes"))
            }
            _ => None,
        }
    };
    groups.lines().filter_map(place).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_versions() {
        let first = "5:cpu,cpuacct:/docker/a\n4:memory:/docker/a\n0::/\n";
        assert_eq!(
            candidates(first),
            [PathBuf::from("/sys/fs/cgroup/memory/docker/a/memory.usage_in_bytes")]
        );
        let second = "0::/system.slice/docker-a.scope\n";
        let expected = PathBuf::from("/sys/fs/cgroup/system.slice/docker-a.scope/memory.current");
        assert_eq!(candidates(second), [expected]);
    }
}

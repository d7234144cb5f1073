//! What a server takes of the machine: memory, descriptors, threads, processes, files.

use std::path::Path;

/// What it takes at one moment.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Vitals {
    /// Memory of the server itself, in bytes.
    pub(crate) resident: u64,
    /// Descriptors of the server itself.
    pub(crate) descriptors: u64,
    /// Threads of the server itself.
    pub(crate) threads: u64,
    /// Processes below it.
    pub(crate) processes: u64,
    /// Files in its temporary directory.
    pub(crate) temporary: u64,
    /// Files in its data directory.
    pub(crate) files: u64,
}

impl Vitals {
    /// Looks at a server.
    pub(crate) fn of(pid: u32, data: &Path, temporary: &Path) -> Result<Self, String> {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status"))
            .map_err(|_| format!("the server (process {pid}) is gone"))?;
        let number = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name))?;
            line.split_whitespace().next()?.parse::<u64>().ok()
        };
        let descriptors = std::fs::read_dir(format!("/proc/{pid}/fd")).map_err(|error| error.to_string())?;
        Ok(Self {
            resident: number("VmRSS:").unwrap_or_default() * 1024,
            descriptors: descriptors.count() as u64,
            threads: number("Threads:").unwrap_or_default(),
            processes: below(pid),
            temporary: files(temporary),
            files: files(data),
        })
    }
}

/// Processes below one.
fn below(pid: u32) -> u64 {
    let Ok(threads) = std::fs::read_dir(format!("/proc/{pid}/task")) else { return 0 };
    let children =
        threads.flatten().filter_map(|thread| std::fs::read_to_string(thread.path().join("children")).ok());
    let children: Vec<u32> = children
        .flat_map(|all| all.split_whitespace().filter_map(|one| one.parse().ok()).collect::<Vec<_>>())
        .collect();
    children.into_iter().map(|child| 1 + below(child)).sum()
}

/// Files and directories below one; those that go meanwhile do not count.
fn files(directory: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(directory) else { return 0 };
    let of = |entry: std::fs::DirEntry| {
        let inside = entry.file_type().is_ok_and(|kind| kind.is_dir());
        1 + if inside { files(&entry.path()) } else { 0 }
    };
    entries.flatten().map(of).sum()
}

pub(crate) fn mebibytes(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_can_be_told() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("a")).unwrap();
        std::fs::write(folder.path().join("a/b"), "").unwrap();
        let vitals = Vitals::of(std::process::id(), folder.path(), folder.path()).unwrap();
        assert!(vitals.resident > 1 << 20 && vitals.descriptors >= 3 && vitals.threads >= 1);
        assert_eq!((vitals.files, vitals.temporary), (2, 2));
    }
}

//! A disk that is soon full.

use std::{
    io::Write as _,
    path::{Path, PathBuf},
    process::Command,
};

/// A file system in memory of its own. Gone when dropped.
pub struct SmallDisk {
    folder: tempfile::TempDir,
}

impl SmallDisk {
    /// One of so many mebibytes; says so where this machine does not allow it.
    pub fn mount(mebibytes: u32) -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            xebec_skipped::skipped!("mounting a small disk needs root");
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        let size = format!("size={mebibytes}m");
        if !run("mount", &["-t", "tmpfs", "-o", &size, "tmpfs", folder.path().to_str().unwrap()]) {
            xebec_skipped::skipped!("a tmpfs cannot be mounted here");
            return None;
        }
        Some(Self { folder })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Fills it; removing the file makes room again.
    pub fn fill(&self) -> PathBuf {
        let filler = self.path().join("filler");
        let mut file = std::fs::File::create(&filler).unwrap();
        while file.write_all(&[0; 4096]).is_ok() {}
        filler
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let gone = run("umount", &["-l", self.folder.path().to_str().unwrap()]);
        assert!(gone || std::thread::panicking(), "it can be unmounted");
    }
}

fn run(program: &str, arguments: &[&str]) -> bool {
    Command::new(program).args(arguments).status().is_ok_and(|status| status.success())
}

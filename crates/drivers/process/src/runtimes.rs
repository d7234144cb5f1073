//! The language workers as files that instances see.

use crate::programs::Program;
use std::{
    fs, io,
    path::{Path, PathBuf},
    process::Stdio,
};
use xebec_core::Digest;
use xebec_environments::runtimes::FILES;

/// The workers, and with Python's the half of a zygote that comes with the sandboxes.
fn files() -> Vec<(&'static str, &'static str)> {
    let mut files: Vec<_> = FILES.iter().map(|file| (file.path, file.contents)).collect();
    #[cfg(target_os = "linux")]
    files.push(("python/xebec_worker/zygote.py", xebec_sandbox::ZYGOTE_PYTHON));
    files
}

/// Writes the workers below `root`, under a name that changes with them; removes those of other versions.
pub(crate) fn write(root: &Path) -> io::Result<PathBuf> {
    let files = files();
    let whole: Vec<_> = files.iter().flat_map(|(path, contents)| [*path, "\0", *contents, "\0"]).collect();
    let name = Digest::of(whole.concat()).hex();
    let place = root.join(&name);
    fs::create_dir_all(root)?;
    for entry in fs::read_dir(root)? {
        let entry = entry?;
        if entry.file_name() != name.as_str() {
            fs::remove_dir_all(entry.path())?;
        }
    }
    if place.is_dir() {
        return Ok(place);
    }
    let making = root.join("making");
    for (path, contents) in files {
        let path = making.join(path);
        fs::create_dir_all(path.parent().unwrap_or(&making))?;
        fs::write(path, contents)?;
    }
    crate::prepared::publish(&making)?;
    crate::prepared::settle(&making, &place)?;
    Ok(place)
}

/// Compiles the Python worker once for an interpreter: a cold start then need not.
pub(crate) async fn compile(runtimes: &Path, program: &Program) {
    let Some(tag) = program.identity.split(' ').next().filter(|tag| tag.contains("python")) else { return };
    let package = runtimes.join("python/xebec_worker");
    if package.join(format!("__pycache__/__init__.{tag}.pyc")).exists() {
        return;
    }
    let mut command = tokio::process::Command::new(&program.path);
    command
        .args(["-I", "-S", "-m", "compileall", "-q"])
        .arg(&package)
        .stdin(Stdio::null())
        .kill_on_drop(true);
    match command.output().await {
        Ok(output) if output.status.success() => {}
        // It works without, a little slower.
        Ok(output) => {
            tracing::warn!(said = %String::from_utf8_lossy(&output.stdout), "the Python worker was not compiled");
        }
        Err(error) => tracing::warn!(%error, "the Python worker was not compiled"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workers_are_written_once_and_old_ones_go() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join("old/python")).unwrap();
        let place = write(folder.path()).unwrap();
        assert!(place.join("node/worker.js").is_file() && !folder.path().join("old").exists());
        fs::write(place.join("kept"), "").unwrap();
        assert_eq!(write(folder.path()).unwrap(), place);
        assert!(place.join("kept").exists());
    }
}

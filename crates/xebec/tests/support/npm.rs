//! Packages from npm that tests use as their users do: installed once, by a lock file, beside what was built.

use std::{
    io::Read as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

/// How long an installation may take before it is given up.
const PATIENCE: Duration = Duration::from_secs(300);

/// The folder with what this folder's `package.json` and its lock name; says so where it cannot be had.
pub fn installed(folder: &Path) -> Option<PathBuf> {
    if !super::has("node") || !super::has("npm") {
        return None;
    }
    static ONE_AT_A_TIME: std::sync::Mutex<()> = std::sync::Mutex::new(());
    let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let lock = std::fs::read(folder.join("package-lock.json")).unwrap();
    let cache = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let kept =
        cache.join(format!("npm-{}", xebec_core::digest::Digest::of(&lock).to_string().replace(':', "-")));
    if kept.join("node_modules").is_dir() {
        return Some(kept.join("node_modules"));
    }
    let fresh = tempfile::tempdir_in(cache).unwrap();
    for file in ["package.json", "package-lock.json"] {
        std::fs::copy(folder.join(file), fresh.path().join(file)).unwrap();
    }
    if let Err(why) = install(fresh.path()) {
        // What is wrong with a registry or with the way to it is not ours.
        xebec_skipped::skipped!("npm did not install what {} names: {why}", folder.display());
        return None;
    }
    // Another run may have been first; then its folder stays and ours goes.
    if std::fs::rename(fresh.path(), &kept).is_ok() {
        let _ = fresh.keep();
    }
    Some(kept.join("node_modules"))
}

fn install(folder: &Path) -> Result<(), String> {
    let mut npm = Command::new("npm")
        .args([
            "ci",
            "--ignore-scripts",
            "--no-audit",
            "--no-fund",
            "--prefer-offline",
            "--loglevel",
            "error",
        ])
        .args(["--fetch-retries", "1", "--fetch-timeout", "60000"])
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| error.to_string())?;
    let mut said = npm.stderr.take().expect("it is piped");
    let reader = std::thread::spawn(move || {
        let mut text = Vec::new();
        let _ = said.read_to_end(&mut text);
        String::from_utf8_lossy(&text).lines().next().unwrap_or("it said nothing").to_owned()
    });
    let began = Instant::now();
    loop {
        match npm.try_wait().map_err(|error| error.to_string())? {
            Some(status) if status.success() => return Ok(()),
            Some(_) => return Err(reader.join().unwrap_or_default()),
            None if began.elapsed() > PATIENCE => {
                let _ = npm.kill();
                let _ = npm.wait();
                return Err(format!("it took longer than {} seconds", PATIENCE.as_secs()));
            }
            None => std::thread::sleep(Duration::from_millis(50)),
        }
    }
}

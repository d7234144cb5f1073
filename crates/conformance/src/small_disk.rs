//! Tests on a disk that is soon full.

use std::{env, ffi::OsStr, path::Path, process::Command};

const VARIABLE: &str = "XEBEC_TEST_SMALL_DISK";

/// Exit status of the script below where the machine does not allow what it needs.
const NOT_ALLOWED: i32 = 77;

/// Runs `body` with a directory on a file system of `mebibytes`. It is mounted in a mount namespace of its
/// own, where the test binary runs `test` (the name of the calling test) once more; so it is gone with that
/// process, however it ends.
pub fn on_small_disk(test: &str, mebibytes: u32, body: impl FnOnce(&Path)) {
    if let Some(directory) = env::var_os(VARIABLE) {
        return body(Path::new(&directory));
    }
    let directory = tempfile::tempdir().unwrap();
    let script =
        format!("mount -t tmpfs -o size={mebibytes}m small \"$1\" || exit {NOT_ALLOWED}; shift; exec \"$@\"");
    let arguments: [&OsStr; 10] = [
        "--mount".as_ref(),
        "--map-root-user".as_ref(),
        "sh".as_ref(),
        "-c".as_ref(),
        script.as_ref(),
        "sh".as_ref(),
        directory.path().as_os_str(),
        &env::current_exe().unwrap().into_os_string(),
        test.as_ref(),
        "--exact".as_ref(),
    ];
    let run =
        Command::new("unshare").args(arguments).arg("--nocapture").env(VARIABLE, directory.path()).output();
    let output = match run {
        Ok(output) => output,
        Err(error) => return xebec_skipped::skipped!("cannot run unshare: {error}"),
    };
    let told =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let refused = output.status.code() == Some(NOT_ALLOWED) || told.starts_with("unshare:");
    if refused {
        return xebec_skipped::skipped!("cannot mount a small file system: {}", told.trim());
    }
    assert!(output.status.success(), "on the small disk: {}\n{told}", output.status);
    assert!(told.contains("1 passed"), "{test} is not the calling test's name:\n{told}");
}

/// Fills a directory's file system to the last byte with a file; removing it makes space again.
pub fn fill(directory: &Path) -> std::path::PathBuf {
    use std::io::Write as _;
    let path = directory.join("filling");
    let mut file = std::fs::File::create(&path).unwrap();
    for size in [256 * 1024, 4096, 1] {
        while file.write_all(&vec![0; size]).is_ok() {}
    }
    path
}

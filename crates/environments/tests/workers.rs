//! The language workers' own tests, in their own languages.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::{
    path::Path,
    process::{Command, Stdio},
};

/// Runs a worker's tests, unless its language is missing or older than it needs.
fn run(language: &str, program: &str, is_new_enough: &[&str], tests: &[&str]) {
    let probe =
        Command::new(program).args(is_new_enough).stdout(Stdio::null()).stderr(Stdio::null()).status();
    if !probe.is_ok_and(|status| status.success()) {
        xebec_skipped::skipped!("this machine has no {program}, or too old a one");
        return;
    }
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../runtimes").join(language);
    let output = Command::new(program).args(tests).current_dir(folder).output().unwrap();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "the {language} worker's tests failed:\n{out}\n{err}");
}

#[test]
fn python() {
    let is_new_enough = ["-c", "import sys; sys.exit(sys.version_info < (3, 8))"];
    let tests = ["-B", "-W", "ignore::ResourceWarning", "-m", "unittest", "-q"];
    let tests = [&tests[..], &["tests.test_worker", "tests.test_openfaas", "tests.test_openwhisk"]].concat();
    run("python", "python3", &is_new_enough, &tests);
}

#[test]
fn node() {
    let is_new_enough = ["-e", "process.exit(Number(process.versions.node.split('.')[0]) < 18 ? 1 : 0)"];
    run("node", "node", &is_new_enough, &["--test", "tests/"]);
}

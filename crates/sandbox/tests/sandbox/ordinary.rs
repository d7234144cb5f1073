//! All of it again as an ordinary user, who has user namespaces and no more.

use std::process::Command;

const AGAIN: &str = "XEBEC_TEST_ORDINARY_USER";

#[test]
fn all_of_it_as_an_ordinary_user() {
    if std::env::var_os(AGAIN).is_some() {
        return;
    }
    let root = Command::new("id").arg("-u").output().is_ok_and(|output| output.stdout == b"0\n");
    if !root {
        xebec_skipped::skipped!("this is an ordinary user already");
        return;
    }
    let setpriv =
        ["--reuid=65534", "--regid=65534", "--clear-groups", "--inh-caps=-all", "--bounding-set=-all"];
    let tests = Command::new("setpriv")
        .args(setpriv)
        .arg(std::env::current_exe().unwrap())
        .env(AGAIN, "1")
        .env("TMPDIR", "/tmp")
        .current_dir("/")
        .output();
    match tests {
        Ok(tests) => {
            let said = String::from_utf8_lossy(&tests.stdout);
            let complained = String::from_utf8_lossy(&tests.stderr);
            assert!(tests.status.success(), "{said}\n{complained}");
            assert!(said.contains("test result: ok"), "{said}");
        }
        Err(error) => xebec_skipped::skipped!("setpriv: {error}"),
    }
}

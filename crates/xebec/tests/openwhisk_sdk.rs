//! OpenWhisk's own SDK for Node, npm `openwhisk`, against the real server, over every resource it has. The scripts lie
//! in `openwhisk_sdk/`; the package is installed by its lock file. Where that cannot be, these tests are skipped.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on panics")]

mod support;

use std::{path::Path, process::Command};
use support::{Server, archive::zip, npm, openwhisk, text};

/// Runs one of the scripts against a server of its own.
fn run(script: &str) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/openwhisk_sdk");
    let Some(modules) = npm::installed(&folder) else { return };
    if !support::has("python3") {
        return;
    }
    let server = Server::start();
    let files = tempfile::tempdir().unwrap();
    let node = [
        ("package.json", r#"{"main": "lib/start.js"}"#),
        (
            "lib/start.js",
            "const from = require('./beside')\nexports.main = ({ name }) => ({ greeting: 'Hello ' + name, from })\n",
        ),
        ("lib/beside.js", "module.exports = 'a module beside it'\n"),
    ];
    std::fs::write(files.path().join("node.zip"), zip(&node)).unwrap();
    let python = [
        (
            "__main__.py",
            "import beside\n\ndef main(params):\n    return {'greeting': 'Hello ' + params['name'], 'from': beside.WHAT}\n",
        ),
        ("beside.py", "WHAT = 'a module beside it'\n"),
    ];
    std::fs::write(files.path().join("python.zip"), zip(&python)).unwrap();
    let output = openwhisk::plain(Command::new("node"))
        .arg(folder.join(script))
        .env("NODE_PATH", modules)
        .env("TEST_URL", &server.url)
        .env("TEST_KEY", openwhisk::KEY)
        .env("TEST_FILES", files.path())
        .output()
        .unwrap();
    assert!(output.status.success(), "{script} failed:\n{}\n{}", text(&output), server.log());
}

#[test]
fn actions() {
    run("actions.js");
}

#[test]
fn invoking() {
    run("invoking.js");
}

#[test]
fn packages_and_namespaces() {
    run("packages.js");
}

#[test]
fn triggers_rules_and_feeds() {
    run("triggers.js");
}

#[test]
fn activations() {
    run("activations.js");
}

#[test]
fn routes() {
    run("routes.js");
}

//! The command line, as its users type it.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on panics")]

mod support;

use support::{Server, eventually, has, text};

const HELLO: &str = "def handle(event, context):\n    return {'statusCode': 200, 'body': 'one'}\n";

#[test]
fn a_function_from_new_to_rm() {
    if !has("python3") {
        return;
    }
    let server = Server::start();
    let folder = tempfile::tempdir().unwrap();
    let into = folder.path().to_str().unwrap();
    let made = server.ok(&["new", "hello", "--lang", "python", "--into", into]);
    assert!(made.contains("xebec deploy"), "{made}");
    let project = folder.path().join("hello");
    let deployed = server.ok(&["deploy", project.to_str().unwrap()]);
    assert!(deployed.contains("deployed hello") && deployed.contains("/function/hello"), "{deployed}");
    let answer = server.ok(&["invoke", "hello", "-d", r#"{"name":"Ada"}"#]);
    assert!(answer.contains("Ada"), "{answer}");
    let list = server.ok(&["ls"]);
    assert!(list.contains("NAME") && list.contains("hello"), "{list}");
    let json: serde_json::Value = serde_json::from_str(&server.ok(&["ls", "-o", "json"])).unwrap();
    assert_eq!(json[0]["name"], "hello");
    let described = server.ok(&["describe", "hello"]);
    assert!(described.contains("Environment:") && described.contains("LAST CALLS"), "{described}");
    assert!(server.ok(&["rm", "hello"]).contains("removed hello"));
    let gone = server.cli(&["invoke", "hello"]);
    assert_eq!(gone.status.code(), Some(1));
    assert!(text(&gone).contains("no function") && text(&gone).contains("hint:"), "{}", text(&gone));
}

#[test]
fn exit_codes_tell_misuse_from_failure() {
    let server = Server::start();
    for misuse in [
        &["deploy", "/no/such/folder"][..],
        &["new", "Not A Name", "--lang", "python"],
        &["new", "a", "--lang", "cobol"],
        &["frobnicate"],
        &["traffic", "hello", "nonsense"],
        &["--url", "ftp://x", "ls"],
    ] {
        let output = server.cli(misuse);
        assert_eq!(output.status.code(), Some(2), "xebec {misuse:?}:\n{}", text(&output));
    }
    let failed = server.cli(&["describe", "nobody"]);
    assert_eq!(failed.status.code(), Some(1), "{}", text(&failed));
    let nobody = server.cli(&["--url", "http://127.0.0.1:9", "ls"]);
    assert_eq!(nobody.status.code(), Some(1));
    assert!(text(&nobody).contains("xebec up"), "{}", text(&nobody));
}

#[test]
fn revisions_roll_back_and_split() {
    if !has("python3") {
        return;
    }
    let server = Server::start();
    let manifest = support::python("hello", "");
    server.deploy(&manifest, &[("handler.py", HELLO)]);
    server.deploy(&manifest, &[("handler.py", &HELLO.replace("one", "two"))]);
    assert_eq!(server.ok(&["invoke", "hello"]), "two");
    // The same files again make no new revision.
    server.deploy(&manifest, &[("handler.py", &HELLO.replace("one", "two"))]);
    let revisions = server.ok(&["revisions", "hello", "-o", "json"]);
    assert_eq!(serde_json::from_str::<Vec<serde_json::Value>>(&revisions).unwrap().len(), 2, "{revisions}");
    server.ok(&["rollback", "hello"]);
    assert_eq!(server.ok(&["invoke", "hello"]), "one");
    server.ok(&["traffic", "hello", "1=50", "2=50"]);
    let mut seen = std::collections::BTreeSet::new();
    eventually("both revisions answer", || {
        seen.insert(server.ok(&["invoke", "hello"]));
        seen.len() == 2
    });
    let wrong = server.cli(&["traffic", "hello", "1=50", "2=49"]);
    assert_eq!(wrong.status.code(), Some(1));
    assert!(text(&wrong).contains("99 %"), "{}", text(&wrong));
}

#[test]
fn variables_and_secrets_reach_the_function() {
    if !has("python3") {
        return;
    }
    let server = Server::start();
    let stored = server.cli_with(&["secret", "set", "password"], b"s3cret\n");
    assert!(stored.status.success(), "{}", text(&stored));
    let code = "import os\ndef handle(event, context):\n    \
                return {'statusCode': 200, 'body': os.environ.get('GREETING', '-') + ' ' + open('/run/secrets/password').read()}\n";
    server.deploy(&support::python("hello", "secrets = [\"password\"]\n"), &[("handler.py", code)]);
    assert_eq!(server.ok(&["invoke", "hello"]), "- s3cret");
    assert!(server.ok(&["env", "hello", "GREETING=Hi"]).contains("GREETING=Hi"));
    assert_eq!(server.ok(&["invoke", "hello"]), "Hi s3cret");
    server.ok(&["env", "hello", "GREETING-"]);
    assert_eq!(server.ok(&["invoke", "hello"]), "- s3cret");
    assert!(!server.ok(&["secret", "ls", "-o", "json"]).contains("s3cret"));
    let used = server.cli(&["secret", "rm", "password"]);
    assert_eq!(used.status.code(), Some(1), "a secret in use was deleted");
    let missing =
        support::function(&support::python("other", "secrets = [\"nope\"]\n"), &[("handler.py", HELLO)]);
    let refused = server.cli(&["deploy", missing.path().to_str().unwrap()]);
    assert!(text(&refused).contains("nope"), "{}", text(&refused));
}

#[test]
fn keys_close_the_door_behind_them() {
    let server = Server::start();
    let functions = format!("{}/xebec/v1/functions", server.url);
    assert_eq!(support::http("GET", &functions, &[], b"").0, 200, "loopback without keys is open");
    let issued: serde_json::Value =
        serde_json::from_str(&server.ok(&["key", "create", "--role", "manage", "-o", "json"])).unwrap();
    let token = format!("Bearer {}", issued["token"].as_str().unwrap());
    assert_eq!(support::http("GET", &functions, &[], b"").0, 401);
    assert_eq!(support::http("GET", &functions, &[("authorization", &token)], b"").0, 200);
    let keys = format!("{}/xebec/v1/keys", server.url);
    assert_eq!(support::http("GET", &keys, &[("authorization", &token)], b"").0, 403, "only admins see keys");
    // The command line reads the token in the data directory by itself.
    assert!(server.ok(&["key", "ls"]).contains("manage"));
    server.ok(&["key", "revoke", issued["id"].as_str().unwrap()]);
    assert_ne!(support::http("GET", &functions, &[("authorization", "Bearer nonsense")], b"").0, 500);
}

#[test]
fn logs_are_shown_and_followed() {
    if !has("python3") {
        return;
    }
    let server = Server::start();
    let code = "def handle(event, context):\n    print('a line of', event.body.decode() if isinstance(event.body, bytes) else event.body, flush=True)\n    return 'ok'\n";
    server.deploy(&support::python("hello", ""), &[("handler.py", code)]);
    server.ok(&["invoke", "hello", "-d", "Ada"]);
    eventually("the line is there", || server.ok(&["logs", "hello", "--plain"]).contains("a line of Ada"));
    assert!(!server.ok(&["logs", "hello", "--tail", "1", "-o", "json"]).is_empty());
}

#[test]
fn doctor_and_completions_speak() {
    let server = Server::start();
    let found = server.ok(&["doctor"]);
    assert!(found.contains("driver process") && found.contains("driver wasm"), "{found}");
    assert!(server.ok(&["completions", "bash"]).contains("_xebec"));
    for command in ["up", "deploy", "invoke", "traffic", "key", "demo"] {
        assert!(server.ok(&[command, "--help"]).contains("Usage:"), "{command}");
    }
}

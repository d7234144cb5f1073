//! Actions of every kind that runs here, and how they behave at the edges of their contract.

use crate::support::{
    self, Server,
    archive::zip,
    eventually,
    openwhisk::{Whisk, value},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};
use std::time::Duration;

/// How long a compiler may take that has all of its library to compile, too.
const COMPILES: Duration = Duration::from_secs(600);

fn skeleton(whisk: &Whisk<'_>, name: &str, image: &str, code: &str) {
    let body = json!({"exec": {"kind": "blackbox", "image": image, "code": code}});
    whisk.put(&format!("actions/{name}?overwrite=true"), &body).ok();
}

#[test]
fn an_executable_per_call() {
    let server = Server::start();
    let whisk = Whisk::new(&server);
    let script = "#!/bin/sh\necho \"asked: $1\"\necho oh >&2\nread input\nprintf '{\"stdin\":%s,\"name\":\"%s\"}\\n' \"$input\" \"$__OW_ACTION_NAME\"\n";
    skeleton(&whisk, "script", "openwhisk/dockerskeleton", script);
    let record = whisk.call("script", &json!({"a": 1})).ok();
    let namespace = whisk.namespace();
    assert_eq!(
        record["response"]["result"],
        json!({"stdin": {"a": 1}, "name": format!("/{namespace}/script")})
    );
    let id = record["activationId"].as_str().unwrap();
    let logs = whisk.activation(id)["logs"].to_string();
    assert!(logs.contains("stdout: asked: {\\\"a\\\":1}") && logs.contains("stderr: oh"), "{logs}");

    let archive =
        zip(&[("exec", "#!/bin/sh\ncat beside.json\n"), ("beside.json", "{\"from\":\"the archive\"}\n")]);
    skeleton(&whisk, "archive", "openwhisk/dockerskeleton", &STANDARD.encode(archive));
    assert_eq!(whisk.result("archive", &json!({})), json!({"from": "the archive"}));
    skeleton(&whisk, "bad", "openwhisk/dockerskeleton", "#!/bin/sh\necho no JSON\n");
    let bad = whisk.call("bad", &json!({}));
    assert_eq!(bad.status, 502, "{bad}");
    assert_eq!(bad.json()["response"]["status"], "action developer error", "{bad}");
    skeleton(&whisk, "leaves", "openwhisk/dockerskeleton", "#!/bin/sh\nexit 3\n");
    assert_eq!(whisk.call("leaves", &json!({})).status, 502);
}

#[test]
fn a_loop_over_lines() {
    let server = Server::start();
    let whisk = Whisk::new(&server);
    let script = "#!/bin/sh\nn=0\nwhile read line; do\n  n=$((n+1))\n  echo \"call $n\"\n  echo \"{\\\"n\\\":$n,\\\"got\\\":$line}\" >&3\ndone\n";
    skeleton(&whisk, "loop", "openwhisk/actionloop-base", script);
    let first = whisk.call("loop", &json!({"a": 1})).ok();
    assert_eq!(first["response"]["result"]["n"], 1);
    assert_eq!(first["response"]["result"]["got"]["value"], json!({"a": 1}));
    let second = whisk.result("loop", &json!({}));
    assert_eq!(second["n"], 2, "the process stays: {second}");
    for name in ["activation_id", "action_name", "namespace", "deadline"] {
        assert!(second["got"][name].is_string(), "{name} of {second}");
    }
    let logs = whisk.activation(first["activationId"].as_str().unwrap())["logs"].clone();
    assert_eq!(logs.as_array().unwrap().len(), 1, "its log is its own: {logs}");
    assert!(logs[0].as_str().unwrap().ends_with("stdout: call 1"), "{logs}");
    skeleton(&whisk, "gone", "openwhisk/actionloop-base", "#!/bin/sh\nexit 1\n");
    let gone = whisk.call("gone", &json!({}));
    assert_eq!((gone.status, gone.json()["response"]["success"].clone()), (502, json!(false)), "{gone}");
}

#[test]
fn go_from_source() {
    if !support::has("go") {
        return;
    }
    let server = Server::start();
    let whisk = Whisk::new(&server);
    let code = "package main\n\nfunc Main(args map[string]interface{}) map[string]interface{} {\n\
                \tname, _ := args[\"name\"].(string)\n\treturn map[string]interface{}{\"greeting\": \"Hello \" + name}\n}\n";
    let put = json!({"exec": {"kind": "go:default", "code": code}}).to_string();
    let put = whisk.send_within(COMPILES, "PUT", "actions/go", &[], put.as_bytes());
    assert_eq!(put.status, 200, "{put}");
    assert_eq!(whisk.result("go", &json!({"name": "Ada"})), json!({"greeting": "Hello Ada"}));
}

#[test]
fn python() {
    if !support::has("python3") {
        return;
    }
    let server = Server::start();
    let whisk = Whisk::new(&server);
    let code = "import os\nprint('loaded')\ncalls = 0\ndef main(args):\n    global calls\n    calls += 1\n    print('called')\n    \
                return {'calls': calls, 'args': args, 'name': os.environ['__OW_ACTION_NAME'], 'set': os.environ.get('SET')}\n";
    let parameters = json!({"parameters": [{"key": "SET", "value": true, "init": true}]});
    whisk.action("py", "python:default", code, &parameters);
    let first = whisk.call("py", &json!({"x": [1]})).ok();
    assert_eq!(first["response"]["result"]["args"], json!({"x": [1]}));
    assert_eq!(first["response"]["result"]["set"], "true");
    assert_eq!(whisk.result("py", &json!({}))["calls"], 2, "what a module keeps, it keeps between calls");
    let (developer, application) = ("action developer error", "application error");
    for (name, code, status, says) in [
        ("syntax", "def main(args:\n", developer, "syntax"),
        // What an action raises is an answer of its proxy's, as it is with the stock images.
        ("raises", "def main(args):\n    raise ValueError('no such luck')\n", application, "no such luck"),
        ("text", "def main(args):\n    return 'text'\n", developer, "dictionary"),
        ("missing", "def other(args):\n    return {}\n", developer, "main"),
    ] {
        whisk.action(name, "python:default", code, &json!({}));
        let failed = whisk.call(name, &json!({}));
        assert_eq!(failed.status, 502, "{name}: {failed}");
        let record = failed.json();
        assert_eq!(record["response"]["status"], status, "{name}: {record}");
        let id = record["activationId"].as_str().unwrap().to_owned();
        eventually("the error or its trace tells why", || {
            whisk.activation(&id).to_string().to_lowercase().contains(says)
        });
    }
    whisk.action("list", "python:default", "def main(args):\n    return [1, 'two']\n", &json!({}));
    assert_eq!(whisk.call("list", &json!({})).ok(), json!([1, "two"]));
}

#[test]
fn node_and_its_module_rules() {
    let server = Server::start();
    let whisk = Whisk::new(&server);
    let archive = |files: &[(&str, &str)]| STANDARD.encode(zip(files));
    let index = archive(&[("index.js", "exports.main = () => ({ from: 'index.js' })\n")]);
    whisk.action("index", "nodejs:default", &index, &json!({}));
    assert_eq!(whisk.result("index", &json!({})), json!({"from": "index.js"}));
    let nested =
        archive(&[("package.json", "{}"), ("api.js", "exports.start = () => ({ from: 'api.start' })\n")]);
    whisk.action("nested", "nodejs:default", &nested, &json!({"exec": {"main": "api.start"}}));
    assert_eq!(whisk.result("nested", &json!({})), json!({"from": "api.start"}));
    let empty = archive(&[("README.md", "nothing to run\n")]);
    whisk.action("empty", "nodejs:default", &empty, &json!({}));
    let failed = whisk.call("empty", &json!({}));
    assert_eq!(
        (failed.status, failed.json()["response"]["status"].clone()),
        (502, json!("action developer error")),
        "{failed}"
    );
    whisk.node("keeps", "let n = 0\nfunction main () { return { n: ++n } }");
    let first = whisk.call("keeps", &json!({})).ok();
    assert!(value(&first["annotations"], "initTime").is_number(), "{first}");
    let second = whisk.call("keeps", &json!({})).ok();
    assert_eq!(second["response"]["result"]["n"], 2);
    assert_eq!(value(&second["annotations"], "initTime"), &Value::Null, "the second is warm: {second}");
    whisk.node("keeps", "let n = 10\nfunction main () { return { n: ++n } }");
    assert_eq!(whisk.result("keeps", &json!({}))["n"], 11, "a change is another instance");
}

#[test]
fn a_component_in_webassembly() {
    let server = Server::start();
    let whisk = Whisk::new(&server);
    let wasm = include_str!("../../../../examples/wasm-hello/hello.wat");
    let put =
        whisk.put("actions/wasm", &json!({"exec": {"kind": "wasm:default", "code": STANDARD.encode(wasm)}}));
    assert_eq!(put.status, 200, "{put}");
    let answer = whisk.call("wasm", &json!({"name": "Ada"}));
    // It greets in plain text, and an action has to answer with JSON.
    assert_eq!(answer.status, 502, "{answer}");
    assert_eq!(answer.json()["response"]["status"], "action developer error", "{answer}");
}

#[test]
fn what_nothing_here_can_run_is_refused_by_name() {
    let server = Server::start();
    let whisk = Whisk::new(&server);
    let unknown = whisk.put("actions/x", &json!({"exec": {"kind": "cobol:1", "code": "x"}}));
    assert_eq!(unknown.status, 400, "{unknown}");
    let said = unknown.json()["error"].as_str().unwrap().to_owned();
    assert!(
        said.contains(
            "The specified runtime 'cobol:1' is not supported by this platform. Valid values are: '"
        ),
        "{said}"
    );
    assert!(said.contains("'nodejs:20'") && said.contains("'python:3"), "{said}");
    assert_eq!(whisk.get("actions/x").status, 404, "nothing is left of it");
}

//! OpenWhisk's actions given as source: Node and Python by their workers, Go compiled when it is deployed.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]

mod support;

use serde_json::{Value, json};
use std::time::Duration;
use support::{Function, Open, PATIENCE, Place, Told};
use xebec_core::{Outcome, log::LogStream, outcome::FunctionFault, ports::driver::Driver as _};

const NODE: &str = r#"
const A = process.env.A
async function main (params) {
  console.log('called by', process.env.__OW_ACTIVATION_ID.length)
  if (params.how === 'reject') throw new Error('no')
  if (params.how === 'text') return 'text'
  if (params.how === 'exit') process.exit(3)
  while (params.how === 'hang');
  return { a: A, params }
}"#;

const PYTHON: &str = r#"
import os
A = os.environ["A"]
def main(params):
    how = params.get("how")
    print("called by", len(os.environ["__OW_ACTIVATION_ID"]))
    if how == "reject":
        raise ValueError("no")
    if how == "exit":
        os._exit(3)
    while how == "hang":
        pass
    return "text" if how == "text" else {"a": A, "params": params}
"#;

macro_rules! place {
    () => {{
        let Some(place) = Place::launch().await else { return };
        place
    }};
}

async fn result(open: &Open, body: &str) -> Value {
    let (status, body) = open.call(body).await;
    assert_eq!(status, 200, "{body}");
    serde_json::from_str(&body).unwrap()
}

fn actions() -> [Function; 2] {
    [("node", NODE), ("python", PYTHON)].map(|(environment, source)| {
        Function::new(environment).single(source.as_bytes()).action().variable("A", "1")
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn workers_run_source() {
    let place = place!();
    for (function, name) in actions().into_iter().zip(["node", "python"]) {
        if place.environment(name).is_none() {
            continue;
        }
        let open = place.run(&function).await;
        for n in 0..3 {
            assert_eq!(result(&open, &format!("{{\"n\":{n}}}")).await, json!({"a": "1", "params": {"n": n}}));
        }
        open.lines.wait_for("called by 32").await;
        // An error that the action tells is its answer, and it goes on.
        let error = result(&open, r#"{"how":"reject"}"#).await["error"].clone();
        assert!(error == "no" || error["message"] == "no", "{error}");
        let failed = open.try_call(r#"{"how":"text"}"#).await.unwrap_err();
        assert_eq!(failed.outcome, Outcome::FunctionError(FunctionFault::BadResponse));
        assert!(
            failed.output.starts_with(br#"{"error":"The action did not return a dictionary"#),
            "{failed:?}"
        );
        let failed = open.try_call(r#"{"how":"exit"}"#).await.unwrap_err();
        assert_eq!(failed.outcome, Outcome::FunctionError(FunctionFault::Crash), "{failed:?}");
        assert_eq!(failed.exit_code, Some(3));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn workers_run_zips() {
    let place = place!();
    let node = Function::new("node")
        .file("package.json", r#"{"main":"lib/start.js","dependencies":{"other":"1"}}"#)
        .file("lib/start.js", "exports.hello = () => ({ other: require('other') })")
        .file("node_modules/other/index.js", "module.exports = 5");
    let python = Function::new("python")
        .file("__main__.py", "from lib.other import OTHER\ndef hello(params):\n    return {'other': OTHER}")
        .file("lib/__init__.py", "")
        .file("lib/other.py", "OTHER = 5");
    for (function, name) in [(node, "node"), (python, "python")] {
        if place.environment(name).is_some() {
            let open = place.run(&function.zipped().action().handler("hello")).await;
            assert_eq!(result(&open, "{}").await, json!({"other": 5}));
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn workers_tell_why_they_cannot_start() {
    let place = place!();
    for (name, source, said, printed) in [
        ("node", "function other () {}", "Action entrypoint 'main' is not a function.", "main"),
        ("node", "throw new Error('early')", "Error: early", "Error: early"),
        ("python", "raise ValueError('early')", "Cannot start action. Check logs", "ValueError: early"),
        ("python", "1 1", "failed to generate or locate a binary", "SyntaxError"),
    ] {
        if place.environment(name).is_none() {
            continue;
        }
        let deployed = place.deploy(&Function::new(name).single(source.as_bytes()).action()).await.unwrap();
        let (error, lines) = place.try_open(&deployed).await.map(|_| source).unwrap_err();
        assert!(error.contains("status 502") && error.contains(said), "{error}");
        lines.wait_for(printed).await;
    }
    for (name, source) in [("node", "while (true);"), ("python", "while True: pass")] {
        if place.environment(name).is_none() {
            continue;
        }
        let endless = Function::new(name).single(source.as_bytes()).action();
        let deployed = place.deploy(&endless.contract("init_timeout", json!("300ms"))).await.unwrap();
        let (error, _) = place.try_open(&deployed).await.map(|_| source).unwrap_err();
        assert!(error.contains("did not initialise within 300ms"), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_that_hangs_is_given_up_with_its_instance() {
    let place = place!();
    for (function, name) in actions().into_iter().zip(["node", "python"]) {
        if place.environment(name).is_none() {
            continue;
        }
        let open = place.run(&function).await;
        let hanging = open.call(r#"{"how":"hang"}"#);
        assert!(tokio::time::timeout(Duration::from_millis(300), hanging).await.is_err());
        tokio::time::timeout(PATIENCE, open.io.destroy()).await.expect("it goes on");
        let exit = tokio::time::timeout(PATIENCE, open.io.exited()).await.unwrap();
        assert!(!exit.is_success(), "{exit}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn blanks_become_actions() {
    let place = place!();
    for (function, name) in actions().into_iter().zip(["node", "python"]) {
        let Some(environment) = place.environment(name) else { continue };
        let deployed = place.deploy(&function).await.unwrap();
        let blank = place.driver.start_blank(environment).await.unwrap();
        let open = place.open_blank(blank, &deployed).await;
        assert_eq!(result(&open, "").await, json!({"a": "1", "params": {}}));
        // The mark of what warmed it up would stand before it.
        open.lines.wait_for("called by 32").await;
        assert_eq!(open.lines.of(LogStream::Stdout)[0], "called by 32");
    }
}

/// One test, since what all need of the standard library is compiled once per place.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn go_is_compiled() {
    let place = place!();
    if place.environment("openwhisk-go").is_none() {
        return;
    }
    go_from_source(&place).await;
    go_in_other_shapes(&place).await;
    go_that_does_not_compile(&place).await;
    go_that_is_a_program_already(&place).await;
}

async fn go_from_source(place: &Place) {
    let told = Told::default();
    let source = r#"
        package main
        import ("fmt"; "os")
        func Main(params map[string]interface{}) map[string]interface{} {
            fmt.Println("called by", len(os.Getenv("__OW_ACTIVATION_ID")))
            if params["how"] == "panic" { panic("no") }
            return map[string]interface{}{"a": os.Getenv("A"), "params": params}
        }"#;
    let function = Function::new("openwhisk-go").single(source.as_bytes()).variable("A", "1");
    let deployed = place.deploy_telling(&function, &told).await.unwrap();
    assert!(told.0.lock().iter().any(|line| line == "building the code"), "{:?}", told.0.lock());
    let open = place.open(&deployed).await;
    for n in 0..3 {
        assert_eq!(result(&open, &format!("{{\"n\":{n}}}")).await, json!({"a": "1", "params": {"n": n}}));
    }
    open.lines.wait_for("called by 32").await;
    let failed = open.try_call(r#"{"how":"panic"}"#).await.unwrap_err();
    assert_eq!(failed.outcome, Outcome::FunctionError(FunctionFault::Crash), "{failed:?}");
    open.lines.wait_for("panic: no").await;
}

async fn go_in_other_shapes(place: &Place) {
    // Other signatures, other names, an error, an array.
    let source = r#"
        package main
        import ("context"; "errors"; "time")
        type order struct { Count int `json:"count"` }
        func HelloWorld(ctx context.Context, it order) ([]any, error) {
            deadline, limited := ctx.Deadline()
            if it.Count < 0 { return nil, errors.New("less than nothing") }
            return []any{it.Count, limited && time.Until(deadline) > 0}, nil
        }"#;
    let function = Function::new("openwhisk-go").single(source.as_bytes()).handler("helloWorld");
    let open = place.run(&function).await;
    assert_eq!(result(&open, r#"{"count":7}"#).await, json!([7, true]));
    assert_eq!(result(&open, r#"{"count":-1}"#).await, json!({"error": "less than nothing"}));
    assert!(result(&open, r#"{"count":"x"}"#).await["error"].is_string());

    // Several files, and a package of its own.
    let function = Function::new("openwhisk-go")
        .file("go.mod", "module example.org/action\n\ngo 1.20\n")
        .file("start.go", "package main\nimport \"example.org/action/greet\"\nfunc Main(p map[string]any) any { return greet.With(p, sign) }")
        .file("sign.go", "package main\nconst sign = \"!\"")
        .file("greet/greet.go", "package greet\nfunc With(p map[string]any, sign string) any {\n\tp[\"greeting\"] = \"ahoy\" + sign\n\treturn p\n}");
    let open = place.run(&function.zipped()).await;
    assert_eq!(result(&open, r#"{"a":1}"#).await, json!({"a": 1, "greeting": "ahoy!"}));

    // One that is its own main program.
    let source = r#"
        package main
        import ("bufio"; "fmt"; "os")
        func main() {
            out := os.NewFile(3, "out")
            fmt.Fprintln(out, `{"ok":true}`)
            for lines := bufio.NewScanner(os.Stdin); lines.Scan(); { fmt.Fprintln(out, `{"own":true}`) }
        }"#;
    let open = place.run(&Function::new("openwhisk-go").single(source.as_bytes())).await;
    assert_eq!(result(&open, "{}").await, json!({"own": true}));
}

async fn go_that_does_not_compile(place: &Place) {
    for (function, expected) in [
        (
            Function::new("openwhisk-go").single(b"package main\nfunc Main() { return 5 }"),
            "too many return values",
        ),
        (Function::new("openwhisk-go").single(b"package main").handler("other"), "undefined: Other"),
        (Function::new("openwhisk-go").single(b"package main").handler("a.b"), "no name of a Go function"),
        (Function::new("openwhisk-go").file("data", "x").zipped(), "no Go source"),
    ] {
        let error = place.deploy(&function).await.map(drop).unwrap_err();
        assert_eq!(error.code, "XB3002");
        assert!(
            error.message.starts_with("the code cannot be built") && error.message.contains(expected),
            "{error}"
        );
    }
    let wrong = b"package main\nfunc Main(a, b int) int { return a + b }";
    let deployed = place.deploy(&Function::new("openwhisk-go").single(wrong)).await.unwrap();
    let (error, lines) = place.try_open(&deployed).await.map(|_| "it opened").unwrap_err();
    assert!(error.contains("cannot start action"), "{error}");
    lines.wait_for("it may take a context and one value").await;
}

async fn go_that_is_a_program_already(place: &Place) {
    // With what lies beside it, and nothing compiled.
    let script = "#!/bin/sh\necho '{\"ok\":true}' >&3\nwhile read -r line; do cat \"$(dirname \"$0\")/data\" >&3; done\n";
    for program in ["exec", "bin/exec"] {
        let beside = if program == "exec" { "data" } else { "bin/data" };
        let function =
            Function::new("openwhisk-go").file(program, script).file(beside, "{\"a\":1}\n").zipped();
        let open = place.run(&function).await;
        assert_eq!(result(&open, "{}").await, json!({"a": 1}), "{program}");
    }
}

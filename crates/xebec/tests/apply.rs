//! `xebec apply` with stack files of faas-cli, as someone would who brings them along.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on panics")]

mod support;

use serde_json::Value;
use std::{
    io::{Read as _, Write as _},
    path::Path,
    process::{Command, Output, Stdio},
};
use support::{Server, clean, eventually, has, http, text, xebec};

/// A folder with files in it.
fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, contents) in files {
        write(folder.path(), name, contents);
    }
    folder
}

fn write(folder: &Path, name: &str, contents: &str) {
    let path = folder.join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, contents).unwrap();
}

/// Runs `xebec apply` in a folder, with these variables and no others of ours.
fn run(
    server: &Server,
    folder: &Path,
    arguments: &[&str],
    variables: &[(&str, &str)],
    input: &str,
) -> Output {
    let mut child = clean(Command::new(xebec()))
        .arg("apply")
        .args(arguments)
        .env_remove("OPENFAAS_URL")
        .env("XEBEC_DATA_DIR", &server.data)
        .envs(variables.iter().copied())
        .current_dir(folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A command that reads no input closes the pipe; that is its business.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    child.wait_with_output().unwrap()
}

fn apply_with(server: &Server, folder: &Path, arguments: &[&str], variables: &[(&str, &str)]) -> String {
    let variables = [&[("XEBEC_URL", server.url.as_str())], variables].concat();
    let output = run(server, folder, arguments, &variables, "");
    assert!(output.status.success(), "{arguments:?}: {}\n{}", text(&output), server.log());
    String::from_utf8(output.stdout).unwrap()
}

fn apply(server: &Server, folder: &Path, arguments: &[&str]) -> String {
    apply_with(server, folder, arguments, &[])
}

/// What must be refused: exit code and all that is said.
fn refused(server: &Server, folder: &Path, arguments: &[&str]) -> (i32, String) {
    let output = run(server, folder, arguments, &[("XEBEC_URL", &server.url)], "");
    assert!(!output.status.success(), "{arguments:?}: {}", text(&output));
    (output.status.code().unwrap(), text(&output))
}

/// What `faas-cli` would see.
fn system(server: &Server, path: &str) -> (u16, Value) {
    let bearer = format!("Bearer {}", server.token());
    let (status, body) =
        http("GET", &format!("{}/system/{path}", server.url), &[("authorization", &bearer)], b"");
    (status, serde_json::from_slice(&body).unwrap_or_default())
}

fn names(server: &Server) -> Vec<String> {
    let (_, functions) = system(server, "functions");
    functions
        .as_array()
        .unwrap()
        .iter()
        .map(|function| function["name"].as_str().unwrap().to_owned())
        .collect()
}

fn call(server: &Server, name: &str, headers: &[(&str, &str)], body: &str) -> (u16, String) {
    let (status, body) = http("POST", &server.function(name), headers, body.as_bytes());
    (status, String::from_utf8_lossy(&body).into_owned())
}

const IMAGES: &str = "\
version: 1.0
provider:
  name: openfaas
  gateway: http://127.0.0.1:8080
functions:
  env:
    image: ghcr.io/openfaas/alpine:${TAG:-latest}
    fprocess: env
    environment:
      LEVEL: ${LEVEL}
      PLAIN: 1.10
      OVER: inline
    environment_file: [more.yml]
    labels: {com.openfaas.scale.max: 3}
    annotations: {owner: me}
    limits: {memory: 64Mi}
  echo:
    image: ghcr.io/openfaas/alpine:latest
    fprocess: cat
";

#[test]
fn images_are_created_updated_and_left_alone() {
    let server = Server::start();
    let here = folder(&[("stack.yaml", IMAGES), ("more.yml", "environment:\n  OVER: file\n")]);
    let here = here.path();
    let variables = [("LEVEL", "debug")];

    assert!(apply_with(&server, here, &["--dry-run"], &variables).contains("env would be created"));
    assert_eq!(names(&server), [""; 0]);

    let said = apply_with(&server, here, &[], &variables);
    assert!(said.contains("env created") && said.contains("echo created"), "{said}");
    let (_, env) = system(&server, "function/env");
    assert_eq!(env["image"], "ghcr.io/openfaas/alpine:latest");
    assert_eq!(env["envVars"], serde_json::json!({"LEVEL": "debug", "PLAIN": "1.10", "OVER": "file"}));
    assert_eq!(
        (&env["labels"]["com.openfaas.scale.max"], &env["annotations"]["owner"]),
        (&"3".into(), &"me".into())
    );
    assert_eq!(env["limits"]["memory"], "64Mi");
    let (status, answer) = call(&server, "env", &[], "");
    assert!(status == 200 && answer.lines().any(|line| line == "OVER=file"), "{status} {answer}");
    assert_eq!(call(&server, "echo.openfaas-fn", &[], "hi"), (200, "hi".to_owned()));

    let said = apply_with(&server, here, &["-f", "stack.yaml"], &variables);
    assert!(said.contains("env unchanged") && said.contains("echo unchanged"), "{said}");

    let differs = apply(&server, here, &["--diff"]);
    let lines: Vec<_> = differs.lines().collect();
    assert_eq!(
        lines,
        [
            "env would be updated (envVars.LEVEL)",
            "  - envVars.LEVEL: debug",
            "  + envVars.LEVEL: ",
            "echo unchanged"
        ]
    );
    let said = apply_with(&server, here, &["--filter", "e*o", "--force"], &[("LEVEL", "other")]);
    assert_eq!(said.trim(), "echo updated");
    let said = apply_with(&server, here, &["-o", "json", "--regex", "^en"], &[("LEVEL", "other")]);
    let done: Value = serde_json::from_str(&said).unwrap();
    let url = format!("{}/function/env", server.url);
    assert_eq!((&done[0]["action"], &done[0]["url"]), (&"updated".into(), &url.into()), "{said}");
    assert_eq!(done[0]["changes"][0]["after"], "other");
    let (code, said) = refused(&server, here, &["--filter", "nothing"]);
    assert!(code == 2 && said.contains("no function"), "{said}");
}

#[test]
fn the_server_is_found_as_faas_cli_finds_it() {
    let server = Server::start();
    let of = |gateway: &str| {
        format!(
            "provider: {{name: openfaas, gateway: {gateway}}}\nfunctions:\n  one:\n    image: ghcr.io/openfaas/alpine:latest\n    fprocess: cat\n    namespace: staging\n"
        )
    };
    let here = folder(&[("stack.yml", &of(&server.url)), ("usual.yml", &of("http://127.0.0.1:8080"))]);
    let ok = |arguments: &[&str], variables: &[(&str, &str)], input: &str| {
        let output = run(&server, here.path(), arguments, variables, input);
        assert!(output.status.success(), "{arguments:?}: {}", text(&output));
        text(&output)
    };
    let bare = server.url.strip_prefix("http://").unwrap();
    // What is meant goes before what the file says.
    ok(&["-f", "usual.yml", "--gateway", bare], &[("XEBEC_URL", "http://127.0.0.1:1")], "");
    assert_eq!(system(&server, "function/one?namespace=staging").0, 200);
    assert!(ok(&["-f", "usual.yml"], &[("OPENFAAS_URL", &server.url)], "").contains("one.staging unchanged"));
    let said = ok(&["-f", "-", "-n", "other"], &[("XEBEC_URL", &server.url)], &of("http://127.0.0.1:1"));
    assert!(said.contains("one.other created"), "{said}");
    let twice = run(&server, here.path(), &["-f", "usual.yml", "-f", "stack.yml"], &[], "");
    assert!(text(&twice).contains("is in usual.yml:3 already"), "{}", text(&twice));
    let elsewhere = run(&server, here.path(), &["-f", "usual.yml", "-g", "127.0.0.1:1"], &[], "");
    assert!(text(&elsewhere).contains("no server answers"), "{}", text(&elsewhere));
}

/// Takes one request, answers that there is nothing, and tells what it was sent.
fn stranger() -> (String, std::thread::JoinHandle<String>) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let taken = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut head = Vec::new();
        let mut byte = [0];
        while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).unwrap() > 0 {
            head.extend(byte);
        }
        stream
            .write_all(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
            .unwrap();
        String::from_utf8(head).unwrap().to_lowercase()
    });
    (url, taken)
}

#[test]
fn a_server_that_only_a_file_names_gets_no_token() {
    for asked in [false, true] {
        let (url, taken) = stranger();
        let here = folder(&[("stack.yaml", &format!("provider: {{name: openfaas, gateway: {url}}}\n"))]);
        let mut command = clean(Command::new(xebec()));
        command.arg("apply").env("XEBEC_TOKEN", "mine").env("XEBEC_DATA_DIR", here.path());
        if asked {
            command.args(["--gateway", url.as_str()]);
        }
        let output = command.current_dir(here.path()).output().unwrap();
        let named = if asked { "--gateway" } else { "stack.yaml:1" };
        let says = format!("{url}, named by {named}, is not a Xebec server");
        assert!(!output.status.success() && text(&output).contains(&says), "{}", text(&output));
        let head = taken.join().unwrap();
        assert_eq!(head.contains("authorization: bearer mine"), asked, "{head}");
    }
}

#[test]
fn what_is_wrong_changes_nothing_and_is_named() {
    let server = Server::start();
    let good = "  good:\n    image: ghcr.io/openfaas/alpine:latest\n    fprocess: cat\n";
    let here = folder(&[]);
    let here = here.path();
    for (functions, code, says) in [
        (
            "  bad:\n    image: a\n    enviroment: {}\n",
            2,
            "stack.yaml:8: functions.bad: there is no field \"enviroment\"; did you mean \"environment\"?",
        ),
        (
            "  bad:\n    image: a\n    secrets: x\n",
            2,
            "stack.yaml:8: functions.bad.secrets: a list is wanted",
        ),
        (
            "  bad: {image: a, environment_file: [none.yml]}\n",
            2,
            "stack.yaml:6: functions.bad: environment_file: \"none.yml\"",
        ),
        (
            "  bad:\n    image: a\n    environment_file:\n    - wrong.yml\n",
            2,
            "wrong.yml:2: there is no field \"A\"",
        ),
        (
            "  bad: {lang: python3-http, handler: ./none}\n",
            2,
            "stack.yaml:6: functions.bad: handler: there is no folder",
        ),
        ("  bad: {lang: dockerfile, handler: .}\n", 2, "build and push it"),
        ("  bad: {lang: cobol, handler: .}\n", 2, "lang \"cobol\" cannot run from source"),
        ("  bad: {image: a, fprocess: \"${A\"}\n", 2, "stack.yaml:6: ${A"),
        (
            "  bad:\n    image: ghcr.io/openfaas/alpine:3\n    fprocess: cat\n    secrets: [none]\n",
            2,
            "stack.yaml:7: functions.bad: unable to fetch secrets",
        ),
        (
            "  bad:\n    image: ghcr.io/openfaas/alpine:3\n    fprocess: cat\n    labels: {com.openfaas.scale.max: many}\n",
            2,
            "com.openfaas.scale.max",
        ),
        ("  bad:\n    image: ghcr.io/openfaas/alpine:3\n", 2, "envProcess: is missing"),
        ("  bad:\n    image: 'no such image'\n", 2, "stack.yaml:7: functions.bad: "),
    ] {
        write(here, "stack.yaml", &format!("provider: {{name: openfaas}}\nfunctions:\n{good}{functions}"));
        write(here, "wrong.yml", "# variables\nA: b\n");
        let (exit, said) = refused(&server, here, &[]);
        assert!(exit == code && said.contains(says), "{functions}\n{said}\nwanted {says}");
        assert!(said.contains("nothing was changed"), "{said}");
        assert_eq!(names(&server), [""; 0], "{functions}");
    }
    let (_, said) = refused(&server, here, &["-f", "none.yaml"]);
    assert!(said.contains("none.yaml"), "{said}");
    let (_, said) = refused(&server, here, &["--regex", "("]);
    assert!(said.contains("--regex"), "{said}");
    write(here, "large.yaml", &"#".repeat(1024 * 1024 + 1));
    let (_, said) = refused(&server, here, &["-f", "large.yaml"]);
    assert!(said.contains("no stack file"), "{said}");
}

#[test]
fn stacks_are_pruned_of_what_they_lost_alone() {
    let server = Server::start();
    let function =
        |name: &str| format!("  {name}:\n    image: ghcr.io/openfaas/alpine:latest\n    fprocess: cat\n");
    let stack = |names: &[&str]| {
        let functions: String = names.iter().map(|name| function(name)).collect();
        format!("provider: {{name: openfaas}}\nfunctions:\n{functions}")
    };
    let here = folder(&[
        ("a.yaml", &stack(&["one", "two"])),
        ("b.yaml", &stack(&["three"])),
        ("c.yaml", &stack(&["four"])),
    ]);
    let here = here.path();
    apply(&server, here, &["-f", "a.yaml", "--stack", "mine"]);
    apply(&server, here, &["-f", "b.yaml", "--stack", "yours"]);
    apply(&server, here, &["-f", "c.yaml"]);
    write(here, "a.yaml", &stack(&["two"]));
    let said = apply(&server, here, &["-f", "a.yaml", "--stack", "mine", "--prune", "--dry-run"]);
    assert!(said.contains("one.openfaas-fn would be removed") && said.contains("two unchanged"), "{said}");
    assert_eq!(names(&server), ["four", "one", "three", "two"]);
    apply(&server, here, &["-f", "a.yaml", "--stack", "mine", "--prune"]);
    assert_eq!(names(&server), ["four", "three", "two"]);
    let (code, _) = refused(&server, here, &["-f", "a.yaml", "--prune"]);
    assert_eq!(code, 2);
    let (code, _) = refused(&server, here, &["-f", "a.yaml", "--stack", "mine", "--prune", "--filter", "*"]);
    assert_eq!(code, 2);
}

/// Applies a function of this source, and sees that it is an OpenFaaS function like any other.
fn from_source(lang: &str, files: &[(&str, &str)]) -> (Server, tempfile::TempDir) {
    let server = Server::start();
    let stack = format!(
        "provider: {{name: openfaas}}\nfunctions:\n  hello:\n    lang: {lang}\n    handler: ./hello\n    image: \
         registry.invalid/hello:0.1\n    environment: {{GREETING: Hi}}\n"
    );
    let here = folder(&[("stack.yaml", &stack)]);
    for (name, contents) in files {
        write(here.path(), &format!("hello/{name}"), contents);
    }
    assert!(apply(&server, here.path(), &[]).contains("hello created"));
    assert!(apply(&server, here.path(), &[]).contains("hello unchanged"));
    assert_eq!(names(&server), ["hello"]);
    let (status, described) = system(&server, "function/hello");
    assert_eq!((status, &described["source"]["lang"]), (200, &lang.into()));
    assert_eq!(described["image"], "registry.invalid/hello:0.1");
    (server, here)
}

#[test]
fn python_from_source() {
    if !has("python3") {
        return;
    }
    let handler = "import os\nfrom .greeting import text\n\ndef handle(event, context):\n    if event.path == '/page':\n        return {'statusCode': 201, 'body': '<p>', 'headers': {'X-A': 'b'}}\n    return {'statusCode': 200, 'body': text(os.environ['GREETING'], event.body)}\n";
    let greeting = "def text(greeting, body):\n    return '%s, %s' % (greeting, body.decode())\n";
    let files = [("handler.py", handler), ("greeting.py", greeting), ("requirements.txt", "# none\n")];
    let (server, here) = from_source("python3-http", &files);
    assert_eq!(call(&server, "hello", &[], "Ada"), (200, "Hi, Ada".to_owned()));
    assert_eq!(call(&server, "hello/page", &[], ""), (201, "<p>".to_owned()));
    // Changed source is a change.
    write(here.path(), "hello/greeting.py", "def text(greeting, body):\n    return 'changed'\n");
    let said = apply(&server, here.path(), &[]);
    assert!(said.contains("hello updated (source.code.bytes, source.code.digest)"), "{said}");
    eventually("the change is there", || call(&server, "hello", &[], "").1 == "changed");
    // An image that cannot be had leaves the function as it is.
    let (code, said) = refused(&server, here.path(), &["--from", "image"]);
    assert!(code == 2 && said.contains("apply builds no images"), "{said}");
    assert_eq!(call(&server, "hello", &[], "").1, "changed");
    // It is removed as any other.
    let bearer = format!("Bearer {}", server.token());
    let body = br#"{"functionName":"hello"}"#;
    let (status, _) =
        http("DELETE", &format!("{}/system/functions", server.url), &[("authorization", &bearer)], body);
    assert_eq!((status, names(&server)), (202, Vec::new()));
}

#[test]
fn classic_python_from_source() {
    if !has("python3") {
        return;
    }
    let handler =
        "import os\n\ndef handle(req):\n    print(os.environ['Http_Method'])\n    return req.upper()\n";
    let (server, _here) = from_source("python3", &[("handler.py", handler)]);
    assert_eq!(call(&server, "hello", &[], "ada"), (200, "POST\nADA\n".to_owned()));
}

#[test]
fn node_from_source() {
    if !has("node") {
        return;
    }
    let handler = "module.exports = async (event, context) => context.status(202).headers({ 'X-A': 'b' }).succeed({ greeting: process.env.GREETING, body: event.body, other: require('./other') })\n";
    let files = [
        ("handler.js", handler),
        ("other.js", "module.exports = 1"),
        ("package.json", "{\"main\": \"handler.js\"}"),
    ];
    let (server, _here) = from_source("node22", &files);
    let (status, answer) = call(&server, "hello", &[("content-type", "application/json")], "{\"a\":1}");
    assert_eq!((status, answer.as_str()), (202, r#"{"greeting":"Hi","body":{"a":1},"other":1}"#));
}

#[test]
fn go_from_source() {
    if !has("go") {
        return;
    }
    let handler = "package function\n\nimport (\n\t\"fmt\"\n\t\"io\"\n\t\"net/http\"\n\t\"os\"\n)\n\nfunc Handle(w http.ResponseWriter, r *http.Request) {\n\tbody, _ := io.ReadAll(r.Body)\n\tw.WriteHeader(http.StatusAccepted)\n\tfmt.Fprintf(w, \"%s, %s\", os.Getenv(\"GREETING\"), body)\n}\n";
    let files = [("handler.go", handler), ("go.mod", "module handler/function\n\ngo 1.21\n")];
    let (server, here) = from_source("golang-middleware", &files);
    assert_eq!(call(&server, "hello", &[], "Ada"), (202, "Hi, Ada".to_owned()));
    write(here.path(), "hello/handler.go", "package function\n\nfunc Handle() { nonsense }\n");
    let (_, said) = refused(&server, here.path(), &[]);
    assert!(said.contains("nothing was changed") && said.contains("undefined: nonsense"), "{said}");
    assert_eq!(call(&server, "hello", &[], "Ada").0, 202);
}

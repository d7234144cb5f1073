//! Each template of `xebec new`, deployed and called as it is; and what else people bring along.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on panics")]

mod support;

use support::{Server, has, text};

/// Makes, deploys and calls a function of a template.
fn round_trip(server: &Server, lang: &str) -> String {
    let folder = tempfile::tempdir().unwrap();
    let name = format!("hello-{lang}");
    server.ok(&["new", &name, "--lang", lang, "--into", folder.path().to_str().unwrap()]);
    server.ok(&["deploy", folder.path().join(&name).to_str().unwrap()]);
    server.ok(&["invoke", &name, "-d", r#"{"name":"Ada"}"#])
}

#[test]
fn python() {
    if has("python3") {
        let answer = round_trip(&Server::start(), "python");
        assert!(answer.contains("Ada"), "{answer}");
    }
}

#[test]
fn node() {
    if has("node") {
        let answer = round_trip(&Server::start(), "node");
        assert!(answer.contains("Ada"), "{answer}");
    }
}

#[test]
fn shell() {
    let answer = round_trip(&Server::start(), "shell");
    assert!(answer.contains("Ada"), "{answer}");
}

#[test]
fn go() {
    if has("go") {
        let answer = round_trip(&Server::start(), "go");
        assert!(answer.contains("Ada"), "{answer}");
    }
}

#[test]
fn rust() {
    let answer = round_trip(&Server::start(), "rust");
    assert!(answer.contains("Ada"), "{answer}");
}

#[test]
fn a_component_in_webassembly_text() {
    let server = Server::start();
    let wat = include_str!("../../../examples/wasm-hello/hello.wat");
    server.deploy(
        "name = \"hello\"\nenvironment = \"wasm\"\nartifact = \"hello.wat\"\n",
        &[("hello.wat", wat)],
    );
    let answer = server.ok(&["invoke", "hello", "-d", "Ada"]);
    assert!(!answer.is_empty());
}

#[test]
fn wsgi_and_asgi_apps() {
    if !has("python3") {
        return;
    }
    let server = Server::start();
    let wsgi = "def app(environ, start_response):\n    \
                start_response('200 OK', [('Content-Type', 'text/plain')])\n    \
                return [('wsgi ' + environ['PATH_INFO']).encode()]\n";
    server.deploy(
        &support::python("wsgi", "handler = \"handler.app\"\nstyle = \"wsgi\"\n"),
        &[("handler.py", wsgi)],
    );
    assert_eq!(server.ok(&["invoke", "wsgi", "--path", "/a/b"]), "wsgi /a/b");
    let asgi = "async def app(scope, receive, send):\n    \
                await send({'type': 'http.response.start', 'status': 200, 'headers': [(b'content-type', b'text/plain')]})\n    \
                await send({'type': 'http.response.body', 'body': ('asgi ' + scope['path']).encode()})\n";
    server.deploy(
        &support::python("asgi", "handler = \"handler.app\"\nstyle = \"asgi\"\n"),
        &[("handler.py", asgi)],
    );
    assert_eq!(server.ok(&["invoke", "asgi", "--path", "/a/b"]), "asgi /a/b");
}

#[test]
fn any_web_server() {
    if !has("python3") {
        return;
    }
    let server = Server::start();
    let code = "import os\nfrom http.server import BaseHTTPRequestHandler, HTTPServer\n\
                class H(BaseHTTPRequestHandler):\n    \
                def do_GET(self):\n        self.send_response(200)\n        self.end_headers()\n        self.wfile.write(b'served ' + self.path.encode())\n\
                HTTPServer(('127.0.0.1', int(os.environ['PORT'])), H).serve_forever()\n";
    let manifest = "name = \"web\"\nenvironment = \"http\"\ncommand = [\"python3\", \"/app/serve.py\"]\n";
    server.deploy(manifest, &[("serve.py", code)]);
    assert_eq!(server.ok(&["invoke", "web", "--path", "/x?y=1"]), "served /x?y=1");
}

#[test]
fn a_handler_that_throws_is_a_function_error_not_a_dead_worker() {
    let server = Server::start();
    if has("python3") {
        let code = "def handle(event, context):\n    if event.body:\n        raise ValueError('no such luck')\n    return 'fine'\n";
        server.deploy(&support::python("thrower", ""), &[("handler.py", code)]);
        let failed = server.cli(&["invoke", "thrower", "-d", "x"]);
        assert_eq!(failed.status.code(), Some(1), "{}", text(&failed));
        assert_eq!(server.ok(&["invoke", "thrower"]), "fine");
        support::eventually("the trace is in the log", || {
            server.ok(&["logs", "thrower", "--plain"]).contains("ValueError: no such luck")
        });
        let described = server.ok(&["describe", "thrower", "-o", "json"]);
        let view: serde_json::Value = serde_json::from_str(&described).unwrap();
        assert_eq!(view["live"]["cold_starts"], 1, "the worker survived: {described}");
    }
    if has("node") {
        let code = "module.exports = async (event, context) => { throw new Error('no such luck') }\n";
        server.deploy("name = \"thrower-js\"\nenvironment = \"node\"\n", &[("handler.js", code)]);
        assert_eq!(server.cli(&["invoke", "thrower-js", "-d", "x"]).status.code(), Some(1));
        support::eventually("the trace is in the log", || {
            server.ok(&["logs", "thrower-js", "--plain"]).contains("no such luck")
        });
    }
}

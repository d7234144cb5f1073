//! Functions of every environment, in real sandboxes: what works, and what goes wrong in an orderly way.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]

mod support;

use bytes::Bytes;
use std::time::{Duration, Instant};
use support::{Function, Lines, Place, until};
use xebec_core::{
    Outcome,
    outcome::FunctionFault,
    ports::{
        driver::{Driver as _, OpenSecret},
        instance::{Endpoint, IoError, Signal},
    },
};

macro_rules! place {
    ($($environment:literal),*) => {{
        let Some(place) = Place::launch().await else { return };
        $(if place.environment($environment).is_none() { return })*
        place
    }};
}

const HANDLE: &str = "def handle(req):\n    return req";

fn secret(name: &str, path: Option<&str>, variable: Option<&str>) -> OpenSecret {
    OpenSecret {
        name: name.to_owned(),
        path: path.map(str::to_owned),
        variable: variable.map(str::to_owned),
        value: Bytes::from_static(b"hidden"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn python() {
    let place = place!("python");
    let source = "import os\ndef handle(event, context):\n    print('seen')\n    \
                  return {'body': [event.body.decode(), os.environ['A'], os.getcwd(), context.function_name]}";
    let open = place.run(&Function::python(source).variable("A", "1")).await;
    assert_eq!(open.call("x").await, (200, r#"["x", "1", "/app", "test"]"#.to_owned()));
    open.lines.wait_for("seen").await;
    if let Some(first) = open.io.usage().await {
        assert!(first.memory_bytes > 1 << 20, "{first:?}");
        let deadline = Instant::now() + Duration::from_secs(60);
        while open.io.usage().await.is_none_or(|usage| usage.cpu <= first.cpu) {
            assert!(Instant::now() < deadline, "calls take no time: {first:?}");
            open.call("x").await;
        }
    }
    open.io.destroy().await;
    assert_eq!(open.io.usage().await, None);
    assert!(!open.io.exited().await.out_of_memory);
    assert!(matches!(
        open.io.connect(&Endpoint::Socket("/run/xebec/http.sock".into())).await,
        Err(IoError::Exited(_))
    ));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn node() {
    let place = place!("node");
    let source = "module.exports = async (event, context) => { console.log('seen')\n\
                  return { body: event.body, a: process.env.A, cwd: process.cwd() } }";
    let open = place.run(&Function::node(source).variable("A", "1")).await;
    assert_eq!(open.call("x").await, (200, r#"{"body":"x","a":"1","cwd":"/app"}"#.to_owned()));
    open.lines.wait_for("seen").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn exec() {
    let place = place!();
    let script = "#!/bin/sh\necho \"$A $HOME $(pwd)\" >&2\ncat\n";
    let function = Function::exec(&["./run.sh"]).file("run.sh", script).variable("A", "1");
    let open = place.run(&function).await;
    assert_eq!(open.call("one").await, (200, "1 /tmp /app\none".to_owned()));
    let open = place.run(&function.contract("combine_output", false.into())).await;
    assert_eq!(open.call("two").await, (200, "two".to_owned()));
    open.lines.wait_for("1 /tmp /app").await;
    let open = place.run(&Function::exec(&["cat"])).await;
    assert_eq!(open.call("through a program of the host").await.1, "through a program of the host");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn exec_with_an_interpreter_of_the_host() {
    let place = place!("python");
    let function = Function::exec(&["python3", "run.py"]).file("run.py", "print(input()[::-1])");
    let open = place.run(&function).await;
    assert_eq!(open.call("abc").await, (200, "cba\n".to_owned()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn http() {
    let place = place!("python");
    let source = "import os, http.server\n\
                  class H(http.server.BaseHTTPRequestHandler):\n    \
                  def do_POST(self):\n        \
                  body = self.rfile.read(int(self.headers['content-length']))\n        \
                  self.send_response(201); self.send_header('content-length', str(len(body))); self.end_headers()\n        \
                  self.wfile.write(body)\n\
                  http.server.ThreadingHTTPServer(('127.0.0.1', int(os.environ['PORT'])), H).serve_forever()\n";
    let open = place.run(&Function::http(&["python3", "server.py"]).file("server.py", source)).await;
    assert_eq!(open.call("x").await, (201, "x".to_owned()));
    open.lines.wait_for("\"POST / HTTP/1.1\" 201").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn secrets_are_files_and_variables() {
    let place = place!("python");
    let source = "import os\ndef handle(req):\n    \
                  return open('/run/secrets/a').read() + open('/var/openfaas/secrets/b').read() + os.environ['C']";
    let function = Function::python(source)
        .secret(secret("a", Some("/run/secrets/a"), None))
        .secret(secret("b", Some("/var/openfaas/secrets/b"), None))
        .secret(secret("c", None, Some("C")));
    let deployed = place.deploy(&function).await.unwrap();
    let open = place.open(&deployed).await;
    assert_eq!(open.call("").await, (200, "hiddenhiddenhidden".to_owned()));
    let blank = place.driver.start_blank(deployed.environment.clone()).await.unwrap();
    assert_eq!(place.open_blank(blank, &deployed).await.call("").await.1, "hiddenhiddenhidden");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_code_cannot_be_changed_and_tmp_can() {
    let place = place!("python");
    let source = "def handle(req):\n    open('/tmp/x', 'a').write(req)\n    \
                  try:\n        open('/app/handler.py', 'w')\n    \
                  except OSError as error:\n        return open('/tmp/x').read() + type(error).__name__";
    let open = place.run(&Function::python(source)).await;
    let (_, answer) = open.call("kept ").await;
    assert!(answer.starts_with("kept ") && answer.ends_with("Error"), "{answer}");
    assert!(open.call("twice ").await.1.starts_with("kept twice "));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_exception_is_an_answer_and_a_trace() {
    let place = place!("python", "node");
    let python =
        Function::python("def handle(req):\n    if req == 'bad':\n        return 1 / 0\n    return req");
    let node = Function::node(
        "module.exports = async e => { if (e.body === 'bad') throw new TypeError('no'); return e.body }",
    );
    for (function, trace) in [(python, "ZeroDivisionError"), (node, "TypeError: no")] {
        let open = place.run(&function).await;
        assert_eq!(open.call("bad").await.0, 500);
        open.lines.wait_for(trace).await;
        assert_eq!(open.call("good").await, (200, "good".to_owned()));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn code_that_cannot_be_loaded_ends_with_its_trace() {
    let place = place!("python", "node");
    for (function, trace) in [
        (Function::python("import nothing_of_this_name"), "No module named 'nothing_of_this_name'"),
        (Function::python("def handle(req"), "SyntaxError"),
        (Function::new("python").file("readme.txt", ""), "no handler found"),
        (Function::node("require('nothing-of-this-name')"), "Cannot find module"),
        (Function::http(&["./missing"]), ""),
        (Function::http(&["sh", "-c", "echo giving up >&2; exit 3"]), "giving up"),
    ] {
        let deployed = place.deploy(&function).await.unwrap();
        let Err((error, lines)) = place.try_open(&deployed).await else { panic!("{trace} did not fail") };
        assert!(lines.text().contains(trace), "{error}: {:?}", lines.text());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn programs_that_are_not_there_are_named() {
    let place = place!();
    let error = place.deploy(&Function::exec(&["no-such-program"])).await.map(drop).unwrap_err();
    assert_eq!(error.code, "XB3003");
    assert!(error.message.contains("no-such-program"), "{error}");
    let error = place.deploy(&Function::exec(&[])).await.map(drop).unwrap_err();
    assert_eq!(error.code, "XB3001");
    let open = place.run(&Function::exec(&["./not-in-the-code"])).await;
    let error = open.try_call("x").await.unwrap_err();
    assert!(error.message.contains("not-in-the-code"), "{error:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_eats_its_memory_is_told_from_others() {
    let place = place!("python");
    let source = "def handle(req):\n    return str(len(bytearray(int(req) << 20)))";
    let function = Function::python(source).limits(|limits| limits.memory_bytes = Some(96 << 20));
    let open = place.run(&function).await;
    assert_eq!(open.call("10").await.0, 200);
    // Where nothing counts its memory, allocating fails inside, and that is an exception like any other.
    match open.try_call("400").await {
        Ok((status, _)) => {
            assert_eq!(status, 500);
            open.lines.wait_for("MemoryError").await;
        }
        Err(_) => assert!(open.io.exited().await.out_of_memory, "{:?}", open.io.exited().await),
    }
    let function = Function::exec(&["python3", "-c", "bytearray(400 << 20)"])
        .limits(|limits| limits.memory_bytes = Some(96 << 20));
    let error = place.run(&function).await.try_call("x").await.unwrap_err();
    let killed = error.outcome == Outcome::FunctionError(FunctionFault::OutOfMemory);
    let refused = error.outcome == Outcome::FunctionError(FunctionFault::Crash);
    assert!(killed || refused, "{error:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_forks_without_end_hurts_nobody() {
    let place = place!();
    let bomb = Function::exec(&["sh", "-c", "f() { f | f & }; f; sleep 60"])
        .limits(|limits| limits.processes = Some(30));
    let other = place.run(&Function::exec(&["cat"])).await;
    let open = place.run(&bomb).await;
    let calling = tokio::time::timeout(Duration::from_millis(500), open.try_call("x"));
    calling.await.ok();
    assert_eq!(other.call("still here").await.1, "still here");
    tokio::time::timeout(Duration::from_secs(20), open.io.destroy()).await.unwrap();
    assert_eq!(other.call("and now").await.1, "and now");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_ignores_being_stopped_is_killed() {
    let place = place!("python");
    let source = "import signal, time\nsignal.signal(signal.SIGTERM, lambda *_: print('no'))\n\
                  def handle(req):\n    return 'x'\n";
    // The worker sets its own handler after loading; so the function does it in a call.
    let source = source.replace(
        "def handle(req):\n",
        "def handle(req):\n    signal.signal(signal.SIGTERM, lambda *_: print('no', flush=True))\n",
    );
    let open = place.run(&Function::python(&source)).await;
    open.call("x").await;
    open.io.signal(Signal::Stop).await.unwrap();
    open.lines.wait_for("no").await;
    assert_eq!(open.call("x").await.0, 200);
    tokio::time::timeout(Duration::from_secs(20), open.io.destroy()).await.unwrap();
    open.io.exited().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_is_stopped_ends_well() {
    let place = place!("python", "node");
    for function in [Function::python(HANDLE), Function::node("module.exports = () => 'x'")] {
        let open = place.run(&function).await;
        assert_eq!(open.call("x").await.0, 200);
        open.io.signal(Signal::Stop).await.unwrap();
        let exit = tokio::time::timeout(support::PATIENCE, open.io.exited()).await.unwrap();
        assert_eq!(exit.code, Some(0), "{exit}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_it_leaves_running_goes_with_it() {
    let place = place!("python");
    let source = "import subprocess\ndef handle(req):\n    \
                  subprocess.Popen(['sh', '-c', 'trap \"\" TERM HUP; while :; do echo alive; sleep 0.05; done'], start_new_session=True)";
    let open = place.run(&Function::python(source)).await;
    open.call("").await;
    open.lines.wait_for("alive").await;
    open.io.destroy().await;
    let before = open.lines.text();
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(open.lines.text(), before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_floods_its_output_hurts_nobody() {
    let place = place!("python");
    let source = "import threading, os\ndef flood():\n    while True:\n        os.write(1, b'x' * 50 + b'\\n' + b'y' * 100000)\n\
                  def handle(req):\n    threading.Thread(target=flood, daemon=True).start()\n    return req";
    let loud = place.run(&Function::python(source)).await;
    let quiet = place.run(&Function::python(HANDLE)).await;
    loud.call("x").await;
    until("the flood", || loud.lines.text().len() > 1 << 20).await;
    for _ in 0..20 {
        assert_eq!(quiet.call("x").await, (200, "x".to_owned()));
    }
    loud.io.destroy().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dropping_ends_it() {
    let place = place!("python");
    let open = place.run(&Function::python("import threading, time\ndef beat():\n    while True:\n        print('beat'); time.sleep(0.02)\nthreading.Thread(target=beat, daemon=True).start()\ndef handle(req):\n    return req")).await;
    open.lines.wait_for("beat").await;
    let lines: std::sync::Arc<Lines> = open.lines.clone();
    drop(open);
    // The last lines may still be on their way.
    let settled = std::cell::Cell::new(lines.text().len());
    let deadline = std::time::Instant::now() + support::PATIENCE;
    loop {
        tokio::time::sleep(Duration::from_millis(200)).await;
        let now = lines.text().len();
        if settled.replace(now) == now {
            break;
        }
        assert!(std::time::Instant::now() < deadline, "it still runs");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn instances_can_dial_the_server() {
    let place = place!("python");
    let source = "import socket\ndef handle(req):\n    s = socket.socket(socket.AF_UNIX); s.connect('/run/xebec/api.sock')\n    \
                  s.sendall(req.encode()); s.shutdown(socket.SHUT_WR)\n    return s.recv(100)";
    let open = place.run(&Function::python(source)).await;
    let mut listener = open.io.listen(&Endpoint::Socket("/run/xebec/api.sock".into())).await.unwrap();
    let answering = tokio::spawn(async move {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        let mut connection = listener.accept().await.unwrap();
        let mut asked = String::new();
        connection.read_to_string(&mut asked).await.unwrap();
        connection.write_all(asked.to_uppercase().as_bytes()).await.unwrap();
    });
    assert_eq!(open.call("hello").await, (200, "HELLO".to_owned()));
    answering.await.unwrap();
    for elsewhere in [
        Endpoint::Socket("/tmp/x.sock".into()),
        Endpoint::Socket("/run/xebec/../x".into()),
        Endpoint::Port(1),
    ] {
        assert!(matches!(open.io.listen(&elsewhere).await, Err(IoError::Unsupported { .. })));
    }
    assert!(matches!(open.io.connect(&Endpoint::Port(9)).await, Err(IoError::Refused(_))));
    open.io.write_file(std::path::Path::new("/tmp/late"), Bytes::from_static(b"x")).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_function_sees_nothing_of_another() {
    let place = place!("python");
    let source = "import os, glob\ndef handle(req):\n    open('/tmp/mine', 'w').write('x')\n    \
                  return str(os.listdir('/tmp')) + str(len([p for p in os.listdir('/proc') if p.isdigit()])) + str(glob.glob('/root/.ssh/*'))";
    let first = place.run(&Function::python(source)).await;
    first.call("").await;
    let second =
        place.run(&Function::python("import os\ndef handle(req):\n    return str(os.listdir('/tmp'))")).await;
    assert_eq!(second.call("").await, (200, "[]".to_owned()));
    let report = place.driver.report();
    assert!(report.usable && !report.features.is_empty());
}

//! What goes wrong, and what the server makes of it.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on panics")]

mod support;

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    time::Instant,
};
use support::{Server, eventually, exchange, has, http, small_disk::SmallDisk, text};

fn outcome(server: &Server, name: &str, body: &[u8]) -> (u16, String, String) {
    let url = format!("{}/xebec/v1/functions/{name}/invoke", server.url);
    let (status, headers, body) = exchange("POST", &url, &[], body);
    let outcome = headers.get("x-xebec-outcome").map(|v| v.to_str().unwrap().to_owned()).unwrap_or_default();
    (status, outcome, String::from_utf8_lossy(&body).into_owned())
}

fn web(name: &str, more: &str) -> String {
    format!(
        "name = \"{name}\"\nenvironment = \"http\"\ncommand = [\"python3\", \"-u\", \"/app/serve.py\"]\n[limits]\nstart-timeout = \"3s\"\ntimeout = \"5s\"\n{more}"
    )
}

#[test]
fn unknown_names_and_bad_bodies() {
    let server = Server::start();
    assert_eq!(http("GET", &server.function("nobody"), &[], b"").0, 404);
    let (status, outcome, body) = outcome(&server, "nobody", b"");
    assert_eq!((status, outcome.as_str()), (404, ""));
    assert!(body.contains("XB2002"), "{body}");
    let functions = format!("{}/xebec/v1/functions", server.url);
    let (status, body) = http("PUT", &format!("{functions}/a"), &[], b"{\"name\": \"a\",\n oops}");
    assert_eq!(status, 400);
    assert!(String::from_utf8_lossy(&body).contains("line 2"), "{}", String::from_utf8_lossy(&body));
    let (status, _) = http("PUT", &format!("{functions}/A%20b"), &[], b"{\"name\": \"A b\"}");
    assert_eq!(status, 400);
    let (status, body) = http("GET", &format!("{functions}?tenant=..%2F.."), &[], b"");
    assert_eq!(status, 400, "{}", String::from_utf8_lossy(&body));
    let huge = vec![b' '; 3 << 20];
    assert_eq!(http("PUT", &format!("{functions}/a"), &[], &huge).0, 413);
    assert_eq!(http("GET", &format!("{}/xebec/v1/nothing", server.url), &[], b"").0, 404);
    assert_eq!(http("GET", &format!("{}/nothing", server.url), &[], b"").0, 404);
}

#[test]
fn a_body_over_the_limit_is_413() {
    let server = Server::start();
    server.deploy(
        "name = \"cat\"\nenvironment = \"exec\"\ncommand = [\"cat\"]\n[limits]\nrequest = \"1KiB\"\n",
        &[("unused", "x")],
    );
    assert_eq!(http("POST", &server.function("cat"), &[], &[b'x'; 1024]).0, 200);
    assert_eq!(http("POST", &server.function("cat"), &[], &[b'x'; 1025]).0, 413);
}

#[test]
fn a_function_that_never_listens() {
    if !has("python3") {
        return;
    }
    let server = Server::start();
    server
        .deploy(&web("silent", ""), &[("serve.py", "print('here I sit')\nimport time\ntime.sleep(1000)\n")]);
    let (status, outcome, body) = outcome(&server, "silent", b"");
    assert_eq!((status, outcome.as_str()), (502, "failed_init"), "{body}");
    assert!(body.contains("here I sit"), "the log tail is shown: {body}");
}

#[test]
fn a_function_that_crashes_at_start() {
    if !has("python3") {
        return;
    }
    let server = Server::start();
    server.deploy(&web("broken", ""), &[("serve.py", "raise SystemExit('no way')\n")]);
    let began = Instant::now();
    let (status, outcome, body) = outcome(&server, "broken", b"");
    assert_eq!((status, outcome.as_str()), (502, "failed_init"), "{body}");
    assert!(body.contains("no way"), "{body}");
    assert!(began.elapsed() < support::PATIENCE, "it was not waited for");
    server.deploy(&support::python("unreadable", ""), &[("handler.py", "def handle(:\n")]);
    let failed = server.cli(&["invoke", "unreadable"]);
    assert!(text(&failed).contains("SyntaxError"), "{}", text(&failed));
}

#[test]
fn a_function_that_crashes_in_the_middle() {
    if !has("python3") {
        return;
    }
    let server = Server::start();
    let code = "import os, socket\ns = socket.create_server(('127.0.0.1', int(os.environ['PORT'])))\n\
                while True:\n    c, _ = s.accept()\n    data = c.recv(65536)\n    \
                if not data: continue\n    \
                if b'/half' in data:\n        c.sendall(b'HTTP/1.1 200 OK\\r\\nContent-Length: 100\\r\\n\\r\\nhalf')\n        os._exit(3)\n    \
                if b'/now' in data: os._exit(4)\n    \
                c.sendall(b'HTTP/1.1 200 OK\\r\\nContent-Length: 2\\r\\n\\r\\nok'); c.close()\n";
    server.deploy(&web("crasher", ""), &[("serve.py", code)]);
    let url = format!("{}/now", server.function("crasher"));
    let (status, _) = http("GET", &url, &[], b"");
    assert!((500..600).contains(&status), "{status}");
    // The head had arrived: the connection breaks off, it does not hang and does not look whole.
    let broke = support::block_on(async {
        let response = reqwest::get(format!("{}/half", server.function("crasher"))).await.unwrap();
        response.bytes().await
    });
    assert!(broke.is_err());
    assert_eq!(
        http("GET", &server.function("crasher"), &[], b"").1,
        b"ok",
        "the next call gets a new instance"
    );
}

#[test]
fn a_flood_of_lines_hurts_nobody() {
    let server = Server::start();
    let code = "#!/bin/sh\ni=0; while [ $i -lt 200000 ]; do echo \"a line to fill the log with $i\" >&2; i=$((i+1)); done; echo done\n";
    server.deploy(
        "name = \"flood\"\nenvironment = \"exec\"\ncommand = [\"/app/run\"]\n[contract]\ncombine_output = false\n",
        &[("run", code)],
    );
    assert_eq!(server.ok(&["invoke", "flood"]).trim(), "done");
    eventually("it is said that lines are dropped", || {
        server.ok(&["logs", "flood", "--plain"]).contains("dropping lines")
    });
    assert_eq!(http("GET", &format!("{}/readyz", server.url), &[], b"").0, 200);
}

#[test]
fn forks_without_end_and_memory_without_end() {
    if !has("python3") {
        return;
    }
    let server = Server::start();
    let forks = "#!/bin/sh\nf() { f | f & }; f; sleep 0.5; echo still here\n";
    server.deploy(
        "name = \"forks\"\nenvironment = \"exec\"\ncommand = [\"/app/run\"]\n[limits]\nprocesses = 32\ntimeout = \"5s\"\n",
        &[("run", forks)],
    );
    http("GET", &server.function("forks"), &[], b"");
    let eater =
        "def handle(event, context):\n    x = []\n    while True:\n        x.append(bytearray(1 << 20))\n";
    server.deploy(
        &support::python("eater", "[limits]\nmemory = \"64MiB\"\ntimeout = \"20s\"\n"),
        &[("handler.py", eater)],
    );
    let (status, _, body) = outcome(&server, "eater", b"");
    assert!(status >= 500, "{status} {body}");
    assert_eq!(http("GET", &format!("{}/readyz", server.url), &[], b"").0, 200);
    server.deploy("name = \"cat\"\nenvironment = \"exec\"\ncommand = [\"cat\"]\n", &[("unused", "x")]);
    assert_eq!(server.ok(&["invoke", "cat", "-d", "fine"]), "fine");
}

#[test]
fn a_function_that_ignores_sigterm_is_gone_with_the_server() {
    let mut server = Server::start();
    let code = "#!/bin/sh\ntrap '' TERM\nwhile :; do sleep 1; done\n";
    server.deploy(
        "name = \"stubborn\"\nenvironment = \"exec\"\ncommand = [\"/app/run\"]\n[limits]\ntimeout = \"1s\"\n",
        &[("run", code)],
    );
    let (status, outcome, _) = outcome(&server, "stubborn", b"");
    assert_eq!((status, outcome.as_str()), (504, "timeout"));
    let pid = server.pid();
    server.terminate();
    assert!(server.wait().success());
    eventually("its processes are gone", || children(pid).is_empty());
}

#[test]
fn kill_minus_nine_leaves_no_process() {
    let server = Server::start();
    server.deploy(
        "name = \"sleeper\"\nenvironment = \"exec\"\ncommand = [\"sleep\", \"987654\"]\n",
        &[("unused", "x")],
    );
    let url = server.function("sleeper");
    let call = std::thread::spawn(move || {
        support::block_on(async {
            reqwest::Client::new().post(url).send().await.map(|response| response.status())
        })
    });
    eventually("the function runs", || sleepers() > 0);
    server.kill();
    assert!(call.join().unwrap().is_err());
    eventually("the function is gone", || sleepers() == 0);
}

fn sleepers() -> usize {
    processes().filter(|(_, command)| command.contains("987654")).count()
}

fn children(parent: u32) -> Vec<u32> {
    let of_parent = |pid: &u32| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let after = stat.rsplit(')').next().unwrap_or_default().to_owned();
        after.split_whitespace().nth(1).and_then(|ppid| ppid.parse::<u32>().ok()) == Some(parent)
    };
    processes().map(|(pid, _)| pid).filter(of_parent).collect()
}

fn processes() -> impl Iterator<Item = (u32, String)> {
    std::fs::read_dir("/proc").unwrap().filter_map(|entry| {
        let pid = entry.ok()?.file_name().to_str()?.parse().ok()?;
        let command = std::fs::read_to_string(format!("/proc/{pid}/cmdline")).ok()?;
        Some((pid, command))
    })
}

#[test]
fn functions_reach_neither_the_server_nor_each_other() {
    if !has("python3") {
        return;
    }
    let server = Server::start();
    if server.ok(&["doctor"]).contains("functions share this machine's network") {
        xebec_skipped::skipped!("functions share this machine's network");
        return;
    }
    let code = "import socket, os\n\
                def handle(event, context):\n    \
                body = event.body.decode() if isinstance(event.body, bytes) else event.body\n    \
                if body.startswith('connect '):\n        \
                host, port = body.split()[1].rsplit(':', 1)\n        \
                try:\n            socket.create_connection((host, int(port)), timeout=3)\n            return 'reached'\n        \
                except OSError as error:\n            return 'refused: ' + str(error)\n    \
                try:\n        return 'read: ' + open(body).read()\n    \
                except OSError as error:\n        return 'refused: ' + str(error)\n";
    server.deploy(&support::python("curious", "[limits]\ntimeout = \"30s\"\n"), &[("handler.py", code)]);
    server.deploy(
        &support::python("other", ""),
        &[("handler.py", "# the other's own\ndef handle(event, context):\n    return 'x'\n")],
    );
    let port = server.url.rsplit(':').next().unwrap();
    let host = |address: &str| format!("connect {address}:{port}");
    let data = server.data.display().to_string();
    for what in [
        host("127.0.0.1"),
        format!("{data}/token"),
        format!("{data}/state.db"),
        "/etc/shadow".to_owned(),
        "/proc/1/environ".into(),
    ] {
        let answer = server.ok(&["invoke", "curious", "-d", &what]);
        assert!(answer.starts_with("refused"), "{what}: {answer}");
    }
}

#[test]
fn a_client_that_goes_away() {
    let server = Server::start();
    server.deploy(
        "name = \"slow\"\nenvironment = \"exec\"\ncommand = [\"sleep\", \"876543\"]\n",
        &[("unused", "x")],
    );
    let mut socket = TcpStream::connect(server.url.trim_start_matches("http://")).unwrap();
    socket.write_all(b"GET /function/slow HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n").unwrap();
    let running = || processes().filter(|(_, command)| command.contains("876543")).count();
    eventually("the function runs", || running() > 0);
    drop(socket);
    eventually("the function was killed", || running() == 0);
    eventually("the call was recorded as cancelled", || {
        let records = http("GET", &format!("{}/xebec/v1/records?function=slow", server.url), &[], b"").1;
        String::from_utf8_lossy(&records).contains("cancelled")
    });
}

#[test]
fn two_servers_and_one_port_or_one_directory() {
    let server = Server::start();
    let folder = tempfile::tempdir().unwrap();
    let listen = server.url.trim_start_matches("http://");
    let said = Server::try_start_in(folder.path(), &["--listen", listen]).err().expect("the port is in use");
    assert!(said.contains("in use"), "{said}");
    let said = Server::try_start_in(&server.data, &[]).err().expect("the directory is in use");
    assert!(said.contains(&server.pid().to_string()), "names who holds it: {said}");
}

#[test]
fn a_data_directory_from_a_newer_version() {
    let mut server = Server::start();
    server.terminate();
    server.wait();
    std::fs::write(server.data.join("version"), "999\n").unwrap();
    let said = Server::try_start_in(&server.data, &[]).err().expect("it is refused");
    assert!(said.contains("newer"), "{said}");
}

#[test]
fn a_page_from_another_origin_manages_nothing() {
    let server = Server::start();
    let functions = format!("{}/xebec/v1/functions", server.url);
    assert_eq!(http("GET", &functions, &[("origin", "https://evil.example")], b"").0, 403);
    assert_eq!(http("GET", &functions, &[("host", "evil.example")], b"").0, 403);
    assert_eq!(http("GET", &functions, &[("sec-fetch-site", "cross-site")], b"").0, 403);
    assert_eq!(http("GET", &functions, &[], b"").0, 200);
}

#[test]
fn it_refuses_to_open_up_without_credentials() {
    let folder = tempfile::tempdir().unwrap();
    let said = Server::try_start_in(folder.path(), &["--listen", "0.0.0.0:0"]).err().expect("it is refused");
    assert!(said.contains("--insecure"), "{said}");
    let server = Server::start_in(folder.path(), &["--listen", "0.0.0.0:0", "--insecure"]);
    drop(server);
}

#[test]
fn a_slow_client_is_let_go() {
    let server = Server::start();
    let mut socket = TcpStream::connect(server.url.trim_start_matches("http://")).unwrap();
    socket.set_read_timeout(Some(support::PATIENCE)).unwrap();
    socket.write_all(b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Never-").unwrap();
    let mut answer = Vec::new();
    let _ = socket.read_to_end(&mut answer);
    assert!(answer.is_empty() || answer.starts_with(b"HTTP/1.1 408"), "{}", String::from_utf8_lossy(&answer));
}

#[test]
fn a_full_disk_is_said_and_reads_go_on() {
    let Some(disk) = SmallDisk::mount(24) else { return };
    let server = Server::start_in(&disk.path().join("data"), &[]);
    server.deploy("name = \"cat\"\nenvironment = \"exec\"\ncommand = [\"cat\"]\n", &[("unused", "x")]);
    let filler = disk.fill();
    let full = support::function(
        "name = \"more\"\nenvironment = \"exec\"\ncommand = [\"cat\"]\n",
        &[("big", &"x".repeat(200_000))],
    );
    let refused = server.cli(&["deploy", full.path().to_str().unwrap()]);
    let said = text(&refused);
    let reads = server.ok(&["ls"]);
    std::fs::remove_file(&filler).unwrap();
    let again = server.cli(&["deploy", full.path().to_str().unwrap()]);
    drop(server);
    assert_eq!(refused.status.code(), Some(1), "{said}");
    assert!(said.contains("XB4002"), "{said}");
    assert!(reads.contains("cat"), "{reads}");
    assert!(again.status.success(), "it goes on when there is room again: {}", text(&again));
}

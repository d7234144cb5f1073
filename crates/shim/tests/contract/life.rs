//! From the start to the end: what is refused, who is told, what becomes of calls, and with which code it ends.

use crate::{
    client::{Connection, call, get},
    watchdog::{Kind, Watchdog},
};
use std::{
    fs,
    net::TcpStream,
    os::unix::process::ExitStatusExt as _,
    process::{Command, Stdio},
};

#[test]
fn health_is_the_lock_file() {
    for kind in [Kind::Classic, Kind::Of] {
        let mode = if kind == Kind::Of { "streaming" } else { "" };
        let watchdog = Watchdog::with(kind, &[], &[("mode", mode), ("fprocess", "cat")]).listening();
        let healthy = get(watchdog.port, "/_/health");
        assert_eq!((healthy.status, healthy.text().as_str()), (200, "OK"));
        assert_eq!(call(watchdog.port, "POST", "/_/health", &[], b"").status, 405);
        assert_eq!(healthcheck(&watchdog), Some(0));
        fs::remove_file(watchdog.lock_file()).unwrap();
        assert_eq!(get(watchdog.port, "/_/health").status, 503);
        assert_eq!(healthcheck(&watchdog), Some(1));
        if kind == Kind::Of {
            assert_eq!(get(watchdog.port, "/_/ready").status, 503);
        }
    }
}

fn healthcheck(watchdog: &Watchdog) -> Option<i32> {
    let program = fs::read_link(format!("/proc/{}/exe", watchdog.pid())).unwrap();
    let mut command = Command::new(program);
    command.arg("-run-healthcheck").env("TMPDIR", watchdog.folder.path()).env("fprocess", "cat");
    command.stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap().code()
}

#[test]
fn without_a_lock_file() {
    if Kind::Of.is_original() {
        return xebec_skipped::skipped!("the original is never healthy then");
    }
    let set = [("mode", "streaming"), ("fprocess", "cat"), ("suppress_lock", "true")];
    let watchdog = Watchdog::with(Kind::Of, &[], &set).listening();
    assert_eq!(get(watchdog.port, "/_/health").status, 200);
    assert!(!watchdog.lock_file().exists());
}

#[test]
fn its_version() {
    let said = Command::new(env!("CARGO_BIN_EXE_xebec-shim")).arg("-version").output().unwrap();
    assert_eq!(
        String::from_utf8(said.stdout).unwrap().trim(),
        format!("xebec-shim {}", env!("CARGO_PKG_VERSION"))
    );
    let said = Command::new(env!("CARGO_BIN_EXE_xebec-shim")).arg("-verbose").output().unwrap();
    assert_eq!(said.status.code(), Some(2));
}

#[test]
fn what_cannot_be_done_is_said_at_the_start() {
    if Kind::Of.is_original() {
        return xebec_skipped::skipped!("the originals take most of it for something else");
    }
    let guest = ("upstream_url", "http://127.0.0.1:1");
    for (variables, words) in [
        (&[][..], "fprocess: is missing"),
        (&[("fprocess", "cat"), ("mode", "http")], "upstream_url: is missing"),
        (&[("fprocess", "cat"), ("jwt_auth", "true")], "jwt_auth: tokens are not checked"),
        (&[("fprocess", "cat"), ("exec_timeout", "soon")], "exec_timeout: \"soon\" is not a duration"),
        (&[("fprocess", "/no/such/program"), ("mode", "http"), guest], "cannot start \"/no/such/program\""),
        (&[("fprocess", "cat"), ("TMPDIR", "/proc/nowhere")], "suppress_lock=true"),
    ] {
        let mut watchdog = Watchdog::with(Kind::Of, &[], variables);
        assert_eq!(watchdog.ended().code(), Some(1), "{variables:?}");
        watchdog.says(words);
    }
}

#[test]
fn a_port_that_is_taken() {
    if Kind::Of.is_original() {
        return xebec_skipped::skipped!("the original ends with 0");
    }
    let first = Watchdog::with(Kind::Of, &[], &[("fprocess", "cat")]).listening();
    let port = first.port.to_string();
    let mut second = Watchdog::with(Kind::Of, &[], &[("fprocess", "cat"), ("port", &port)]);
    assert_eq!(second.ended().code(), Some(1));
    second.says(&format!("cannot listen on port {port}"));
}

#[test]
fn told_to_stop_it_drains() {
    let mut watchdog = Watchdog::serving(&[("healthcheck_interval", "100ms")]);
    let port = watchdog.port;
    let mut held = Connection::open(port);
    held.request("GET", "/hold", &[], b"");
    let metrics = watchdog.metrics_port;
    watchdog.wait("has the call", || get(metrics, "/metrics").text().contains("http_requests_in_flight 1"));
    watchdog.signal("TERM");
    watchdog.wait("is unlocked", || !watchdog.lock_file().exists());
    watchdog.wait("takes no more", || TcpStream::connect(("127.0.0.1", port)).is_err());
    if watchdog.kind.is_original() {
        // Its server was told at once, and the call with it.
        return;
    }
    Connection::to(&watchdog.guest).request("GET", "/release", &[], b"");
    let answer = held.answer("GET");
    assert_eq!((answer.status, answer.text().as_str(), answer.is_whole), (200, "released", true));
    assert_eq!(watchdog.ended().code(), Some(0));
    watchdog.says("the guest was told to stop");
}

#[test]
fn until_others_have_seen_it_calls_are_taken() {
    let mut watchdog = Watchdog::forking(Kind::Of, &[("mode", "streaming"), ("healthcheck_interval", "10m")]);
    watchdog.signal("TERM");
    let port = watchdog.port;
    watchdog.wait("is unhealthy", || get(port, "/_/health").status == 503);
    assert_eq!(get(port, "/_/ready").status, 503);
    assert_eq!(call(port, "POST", "/cat", &[], b"still").text(), "still");
    if watchdog.kind.is_original() {
        return;
    }
    // Told twice, it does not wait.
    watchdog.signal("TERM");
    assert_eq!(watchdog.ended().code(), Some(0));
}

#[test]
fn told_to_stop_it_ends_when_nothing_comes_any_more() {
    if Kind::Of.is_original() {
        return xebec_skipped::skipped!("the original waits for its write_timeout");
    }
    let mut watchdog = Watchdog::serving(&[]);
    watchdog.signal("TERM");
    assert_eq!(watchdog.ended().code(), Some(0));
    watchdog.says("the guest was told to stop");
}

#[test]
fn from_a_terminal_it_ends_without_waiting() {
    let mut watchdog =
        Watchdog::with(Kind::Classic, &[], &[("fprocess", "cat"), ("healthcheck_interval", "10m")]);
    watchdog = watchdog.listening();
    watchdog.signal("INT");
    let ended = watchdog.ended();
    assert!(ended.code() == Some(0) || ended.signal() == Some(2) && watchdog.kind.is_original());
}

#[test]
fn a_server_that_ends_takes_the_watchdog_with_it() {
    let mut watchdog = Watchdog::serving(&[]);
    let answer = get(watchdog.port, "/exit/3");
    if watchdog.kind.is_original() {
        // Its code is its own, and what the server said last may be lost.
        assert!(matches!(answer.status, 0 | 500), "{answer:?}");
        assert_eq!(watchdog.ended().code(), Some(1));
        return;
    }
    assert_eq!(answer.status, 500, "{answer:?}");
    assert_eq!(watchdog.ended().code(), Some(3));
    watchdog.says("the function exited with code 3, and this ends with it");
    watchdog.says("the guest gives up");
}

#[test]
fn a_server_that_ends_well_ends_it_as_well() {
    if Kind::Of.is_original() {
        return xebec_skipped::skipped!("the original goes on without a server");
    }
    let mut watchdog = Watchdog::serving(&[]);
    get(watchdog.port, "/exit/0");
    assert_eq!(watchdog.ended().code(), Some(0));
}

#[test]
fn signals_are_passed_on() {
    if Kind::Of.is_original() {
        return xebec_skipped::skipped!("the original ends with it");
    }
    let watchdog = Watchdog::serving(&[]);
    watchdog.says("the guest serves");
    watchdog.wait("hears it", || {
        watchdog.signal("HUP");
        watchdog.log().iter().any(|line| line.contains("the guest was hung up"))
    });
    assert_eq!(get(watchdog.port, "/status/200").status, 200);
}

#[test]
fn metrics_by_status_and_method() {
    let watchdog = Watchdog::forking(Kind::Classic, &[]);
    for _ in 0..2 {
        call(watchdog.port, "POST", "/cat", &[], b"x");
    }
    call(watchdog.port, "GET", "/exit", &[], b"");
    let metrics = watchdog.metrics_port;
    for line in [
        "http_requests_total{code=\"200\",method=\"post\"} 2",
        "http_requests_total{code=\"500\",method=\"get\"} 1",
        "http_request_duration_seconds_count{code=\"200\",method=\"post\"} 2",
        "http_request_duration_seconds_bucket{code=\"500\",method=\"get\",le=\"+Inf\"} 1",
        "http_requests_in_flight 0",
        "# TYPE http_request_duration_seconds histogram",
        "# TYPE http_requests_total counter",
        "# TYPE http_requests_in_flight gauge",
    ] {
        watchdog.wait(line, || get(metrics, "/metrics").text().lines().any(|is| is == line));
    }
    assert_eq!(get(metrics, "/").status, 404);
}

#[test]
fn as_a_first_process_it_reaps_orphans() {
    let may = Command::new("unshare").args(["--pid", "--fork", "--mount-proc", "true"]).output();
    if !may.is_ok_and(|said| said.status.success()) {
        return xebec_skipped::skipped!("no process namespaces can be made here");
    }
    if Kind::Classic.is_original() {
        return xebec_skipped::skipped!("the original leaves them");
    }
    let folder = tempfile::tempdir().unwrap();
    let script = folder.path().join("function.sh");
    fs::write(&script, crate::watchdog::FUNCTION).unwrap();
    let process = format!("sh {}", script.display());
    let first = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"];
    let watchdog = Watchdog::with(Kind::Classic, &first, &[("fprocess", &process)]).listening();
    for _ in 0..5 {
        assert_eq!(get(watchdog.port, "/orphan").status, 200);
    }
    let port = watchdog.port;
    // It counts: what is none ends `grep` with 1.
    watchdog.wait("has no zombies", || get(port, "/zombies").text().lines().last() == Some("0"));
}

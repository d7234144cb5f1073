//! One server behind the watchdog: the mode `http`.

use crate::{
    client::{Connection, call, get},
    table::{Case, Expect, OK, POST, Said, check},
    watchdog::{Kind, Watchdog},
};

const OWN: &str = "x-openfaas-internal";

#[test]
fn exchanges() {
    let watchdog = Watchdog::serving(&[]);
    let large: Vec<u8> = (0..=255).rev().cycle().take(3 << 20).collect();
    check(
        &watchdog,
        &[
            Case {
                name: "the body comes back",
                body: &large,
                expect: Expect {
                    headers: &[
                        ("content-length", Some("3145728")),
                        ("x-duration-seconds", Some("")),
                        (OWN, None),
                    ],
                    body: Said::Is(&large),
                    ..OK
                },
                ..POST
            },
            Case {
                name: "the whole request gets there",
                method: "PATCH",
                path: "/head/a%20b?c=d",
                headers: &["X-Mine: 1", "Connection: close, X-Hop", "X-Hop: 1"],
                expect: Expect {
                    body: Said::Has(&["PATCH /head/a%20b?c=d HTTP/1.1", "example.test", "1"]),
                    ..OK
                },
                ..POST
            },
            Case {
                name: "status and headers come back",
                path: "/headers",
                expect: Expect {
                    status: 203,
                    headers: &[
                        ("content-type", Some("text/csv")),
                        ("set-cookie", Some("a=b")),
                        ("x-one", Some("1")),
                    ],
                    body: Said::Is(b"a,b"),
                    ..OK
                },
                ..POST
            },
            Case {
                name: "what concerns one connection stays there",
                path: "/headers",
                expect: Expect { status: 203, headers: &[("x-gone", None)], ..OK },
                original: Some((
                    Expect { status: 203, ..OK },
                    "the original passes on what `Connection` names",
                )),
                ..POST
            },
            Case {
                name: "an error of the function's own",
                path: "/status/418",
                expect: Expect { status: 418, headers: &[(OWN, None)], body: Said::Is(b"status 418"), ..OK },
                ..POST
            },
            Case {
                name: "redirects are not followed",
                path: "/redirect",
                expect: Expect {
                    status: 302,
                    headers: &[("location", Some("http://127.0.0.1:1/nowhere"))],
                    ..OK
                },
                ..POST
            },
            Case {
                name: "no body where there is none",
                method: "HEAD",
                path: "/status/200",
                expect: Expect { headers: &[("content-length", Some("10"))], ..OK },
                ..POST
            },
            Case {
                name: "an answer that is no HTTP",
                path: "/nonsense",
                expect: Expect { status: 500, headers: &[(OWN, Some("of-watchdog"))], ..OK },
                ..POST
            },
            Case {
                name: "an answer that breaks off",
                path: "/torn",
                expect: Expect { headers: &[("content-length", Some("100"))], is_whole: false, ..OK },
                ..POST
            },
        ],
    );
}

#[test]
fn a_body_of_unknown_length_can_be_sent_with_one() {
    for (buffered, named) in [("true", "content-length: 5"), ("false", "transfer-encoding: chunked")] {
        let watchdog = Watchdog::serving(&[("http_buffer_req_body", buffered)]);
        let mut connection = Connection::open(watchdog.port);
        connection.send(
            b"POST /head HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        );
        let text = connection.answer("POST").text().to_ascii_lowercase();
        if watchdog.kind.is_original() && buffered == "true" {
            // It reads the body ahead and does not say its length.
            continue;
        }
        assert!(text.contains(named), "{text}");
    }
}

#[test]
fn streams_as_it_comes() {
    let watchdog = Watchdog::serving(&[]);
    let mut connection = Connection::open(watchdog.port);
    connection.request("GET", "/stream", &["Accept: text/event-stream"], b"");
    let head = connection.head();
    assert_eq!((head.status, head.header("content-type")), (200, Some("text/event-stream")));
    assert_eq!(connection.chunk().unwrap(), b"first\n");
    assert_eq!(get(watchdog.port, "/release").status, 200);
    assert_eq!(connection.chunk().unwrap(), b"last\n");
    assert_eq!(connection.chunk().unwrap(), b"");
}

#[test]
fn a_stream_of_events_may_last_longer_than_a_call() {
    let watchdog = Watchdog::serving(&[("exec_timeout", "100ms")]);
    let mut connection = Connection::open(watchdog.port);
    connection.request("GET", "/stream", &["Accept: text/event-stream"], b"");
    assert_eq!(connection.head().status, 200);
    assert_eq!(connection.chunk().unwrap(), b"first\n");
    // Another call, which begins later, runs into the limit; the stream is still there.
    assert_eq!(get(watchdog.port, "/hold").status, 504);
    Connection::to(&watchdog.guest).request("GET", "/release", &[], b"");
    assert_eq!(connection.chunk().unwrap(), b"last\n");
}

#[test]
fn another_protocol() {
    let watchdog = Watchdog::serving(&[]);
    let mut connection = Connection::open(watchdog.port);
    connection.request("GET", "/upgrade", &["Connection: Upgrade", "Upgrade: websocket"], b"");
    let head = connection.head();
    assert_eq!((head.status, head.header("upgrade")), (101, Some("websocket")));
    assert_eq!(connection.bytes(6), b"hello ");
    connection.send(b"Ada!");
    assert_eq!(connection.bytes(4), b"Ada!");
}

#[test]
fn a_call_that_lasts_too_long() {
    let watchdog = Watchdog::serving(&[("exec_timeout", "300ms")]);
    let answer = get(watchdog.port, "/hold");
    assert_eq!((answer.status, answer.header(OWN)), (504, Some("of-watchdog")));
    assert!(answer.header("x-duration-seconds").is_some());
    drop(watchdog);

    let watchdog = Watchdog::serving(&[]);
    assert_eq!(call(watchdog.port, "GET", "/hold", &["X-Timeout: 300ms"], b"").status, 504);
    drop(watchdog);

    let watchdog = Watchdog::serving(&[("write_timeout", "300ms")]);
    let answer = call(watchdog.port, "GET", "/stream", &["Accept: text/event-stream"], b"");
    // 504 where not even its head came in time.
    assert!(!answer.is_whole || answer.status == 504, "{answer:?}");
    // The original closes the connection without a word, as soon as it is released.
    if !Kind::Of.is_original() {
        assert_eq!(get(watchdog.port, "/hold").status, 504);
    }
}

#[test]
fn calls_wait_for_a_server_that_is_late() {
    if Kind::Of.is_original() {
        return xebec_skipped::skipped!("the original answers 500 until its server listens");
    }
    let watchdog = Watchdog::serving_as("late", &[]).listening();
    assert_eq!(call(watchdog.port, "POST", "/", &[], b"hello").text(), "hello");
    assert_eq!(get(watchdog.port, "/_/ready").status, 200);
}

#[test]
fn the_server_says_when_it_is_ready() {
    let watchdog = Watchdog::serving(&[("ready_path", "/ready")]);
    let port = watchdog.port;
    watchdog.wait("asks the server", || get(port, "/_/ready").text() == "asked");
    assert_eq!(get(port, "/_/ready").status, 503);
    assert_eq!(get(port, "/_/health").status, 200);
    get(port, "/become-ready");
    assert_eq!(get(port, "/_/ready").status, 200);
    assert_eq!(call(port, "POST", "/_/ready", &[], b"").status, 405);
}

#[test]
fn no_more_than_so_many_calls() {
    let watchdog = Watchdog::serving(&[("max_inflight", "1")]);
    let (port, metrics) = (watchdog.port, watchdog.metrics_port);
    let mut held = Connection::open(port);
    held.request("GET", "/hold", &[], b"");
    watchdog.wait("is full", || get(port, "/_/ready").status == 429);
    let refused = get(port, "/status/200");
    assert_eq!((refused.status, refused.header(OWN)), (429, Some("faas-middleware")));
    assert!(refused.text().contains('1'));
    assert_eq!(get(port, "/_/health").status, 200);
    assert!(get(metrics, "/metrics").text().contains("http_requests_in_flight 1"));
    Connection::to(&watchdog.guest).request("GET", "/release", &[], b"");
    assert_eq!(held.answer("GET").text(), "released");
    watchdog.wait("is free", || get(port, "/status/200").status == 200);
}

#[test]
fn lines_of_the_server() {
    let watchdog = Watchdog::serving(&[("log_callid", "1"), ("log_buffer_size", "40")]);
    let port = watchdog.port;
    watchdog.says("stdout: the guest serves");
    call(port, "GET", "/print/word", &["X-Call-Id: call-1"], b"");
    watchdog.says("stdout: word is printed");
    watchdog.says("stderr: word is an error");
    watchdog.says("GET /print/word - 200 ");
    watchdog.says("[call-1]");
    get(port, "/print/none");
    watchdog.says("[none]");
    call(port, "GET", "/print/probe", &["User-Agent: kube-probe/1.33"], b"");
    watchdog.says("probe is printed");
    assert!(!watchdog.log().iter().any(|line| line.contains("GET /print/probe")));
    get(port, "/long-line/100");
    if watchdog.kind.is_original() {
        // It reads no more from then on.
        return watchdog.says("token too long");
    }
    watchdog.says("after the long line");
    watchdog.says(&format!("stdout: {}…", "x".repeat(40)));
    drop(watchdog);

    let watchdog = Watchdog::serving(&[("prefix_logs", "false")]);
    watchdog.wait("a bare line", || watchdog.log().iter().any(|line| line == "the guest serves"));
}

#[test]
fn paths_are_put_behind_the_upstreams() {
    if Kind::Of.is_original() {
        return xebec_skipped::skipped!("the original makes two slashes of the one at the end");
    }
    let watchdog = Watchdog::serving(&[("http_upstream_url", "http://GUEST/head/base/")]);
    assert!(get(watchdog.port, "/a?b=c").text().starts_with("GET /head/base/a?b=c HTTP/1.1"));
}

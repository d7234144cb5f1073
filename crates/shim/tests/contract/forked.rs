//! A process per call: the classic watchdog, and the modes `streaming` and `serializing`.

use crate::{
    client::{Connection, call, get},
    table::{Case, Expect, OK, POST, Said, check},
    watchdog::{Kind, Watchdog},
};
use std::fs;

const SNIFFED: &str = "the originals guess a content type from the first bytes; a caller can choose those";

fn binary() -> Vec<u8> {
    (0..=255).cycle().take(3 << 20).collect()
}

#[test]
fn classic() {
    let watchdog = Watchdog::forking(Kind::Classic, &[]);
    let large = binary();
    check(
        &watchdog,
        &[
            Case {
                name: "the body comes back with its content type",
                path: "/cat",
                headers: &["Content-Type: text/csv"],
                body: b"a,b",
                expect: Expect {
                    headers: &[
                        ("content-type", Some("text/csv")),
                        ("content-length", Some("3")),
                        ("x-duration-seconds", Some("")),
                    ],
                    body: Said::Is(b"a,b"),
                    ..OK
                },
                ..POST
            },
            Case {
                name: "a large binary body",
                path: "/cat",
                headers: &["Content-Type: application/octet-stream"],
                body: &large,
                expect: Expect { body: Said::Is(&large), ..OK },
                ..POST
            },
            Case { name: "nothing in, nothing out", expect: Expect { body: Said::Is(b""), ..OK }, ..POST },
            Case {
                name: "without a content type",
                path: "/cat",
                body: b"{}",
                expect: Expect { headers: &[("content-type", Some("text/plain"))], ..OK },
                original: Some((
                    Expect { headers: &[("content-type", Some("text/plain; charset=utf-8"))], ..OK },
                    SNIFFED,
                )),
                ..POST
            },
            Case {
                name: "variables",
                method: "PUT",
                path: "/variables?a=b%20c",
                headers: &["X-My-Header: first", "X-My-Header: second"],
                body: b"12345",
                expect: Expect {
                    body: Said::Has(&[
                        "Http_ContentLength=5\n",
                        "Http_Content_Length=5\n",
                        "Http_Host=example.test\n",
                        "Http_Method=PUT\n",
                        "Http_Path=/variables\n",
                        "Http_Query=a=b%20c\n",
                        "Http_X_My_Header=first\n",
                    ]),
                    ..OK
                },
                ..POST
            },
            Case {
                name: "a process that fails",
                path: "/exit",
                expect: Expect { status: 500, body: Said::Is(b"exit status 3\nhalf\n"), ..OK },
                ..POST
            },
            Case {
                name: "a process that is killed",
                path: "/killed",
                expect: Expect { status: 500, body: Said::Has(&["killed by signal 9", "half\n"]), ..OK },
                original: Some((
                    Expect { status: 500, body: Said::Has(&["signal: killed", "half\n"]), ..OK },
                    "another sentence",
                )),
                ..POST
            },
            Case {
                name: "both streams are the answer",
                path: "/both",
                expect: Expect { body: Said::Is(b"out\nerr\n"), ..OK },
                ..POST
            },
            Case {
                name: "other methods are refused",
                method: "OPTIONS",
                expect: Expect { status: 405, ..OK },
                ..POST
            },
        ],
    );

    // A body of unknown length, and the same connection again.
    let mut connection = Connection::open(watchdog.port);
    connection
        .send(b"POST /cat HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n");
    assert_eq!(connection.answer("POST").text(), "hello");
    connection.request("GET", "/variables", &[], b"");
    assert!(connection.answer("GET").text().contains("Http_Method=GET"));
}

#[test]
fn classic_settings() {
    let watchdog = Watchdog::forking(
        Kind::Classic,
        &[("combine_output", "false"), ("content_type", "text/html"), ("mode", "production")],
    );
    check(
        &watchdog,
        &[Case {
            name: "standard error is for the log, and the content type is set",
            path: "/both",
            headers: &["Content-Type: text/csv"],
            expect: Expect {
                headers: &[("content-type", Some("text/html"))],
                body: Said::Is(b"out\n"),
                ..OK
            },
            ..POST
        }],
    );
    watchdog.says("err");
    drop(watchdog);

    let watchdog = Watchdog::with(
        Kind::Classic,
        &[],
        &[("fprocess", "cat"), ("marshal_request", "true"), ("cgi_headers", "false")],
    );
    let watchdog = watchdog.listening();
    let answer = call(watchdog.port, "POST", "/", &["X-One: 1"], b"\0hi");
    assert_eq!(answer.status, 200);
    let text = answer.text();
    assert!(text.contains(r#""X-One":["1"]"#) && text.contains(r#""body":{"raw":"AGhp"}"#), "{text}");
    drop(watchdog);

    let watchdog = Watchdog::with(Kind::Classic, &[], &[("fprocess", "env"), ("cgi_headers", "false")]);
    let watchdog = watchdog.listening();
    assert!(!get(watchdog.port, "/").text().contains("Http_"));
}

#[test]
fn streaming() {
    let watchdog = Watchdog::forking(Kind::Of, &[("mode", "streaming")]);
    let large = binary();
    check(
        &watchdog,
        &[
            Case {
                name: "the body comes back",
                path: "/cat",
                headers: &["Content-Type: text/csv"],
                body: &large,
                expect: Expect {
                    headers: &[("content-type", Some("application/octet-stream"))],
                    body: Said::Is(&large),
                    ..OK
                },
                ..POST
            },
            Case {
                name: "variables, with any method",
                method: "DELETE",
                path: "/variables?a=b",
                headers: &["X-My-Header: first"],
                expect: Expect {
                    body: Said::Has(&[
                        "Http_Method=DELETE\n",
                        "Http_Query=a=b\n",
                        "Http_X_My_Header=first\n",
                    ]),
                    ..OK
                },
                ..POST
            },
            Case {
                name: "a process that fails has long said 200",
                path: "/exit",
                expect: Expect { body: Said::Is(b"half\n"), ..OK },
                ..POST
            },
            Case {
                name: "a process that is killed",
                path: "/killed",
                expect: Expect { is_whole: false, ..OK },
                original: Some((
                    Expect { body: Said::Is(b"half\n"), ..OK },
                    "half an answer must not look like a whole one",
                )),
                ..POST
            },
            Case {
                name: "standard error is for the log",
                path: "/both",
                expect: Expect { body: Said::Is(b"out\n"), ..OK },
                ..POST
            },
        ],
    );
    watchdog.says("stderr: err");
}

#[test]
fn streaming_sends_what_is_there() {
    if Kind::Of.is_original() {
        return xebec_skipped::skipped!("the original sends it when there are 4 KiB of it, or at its end");
    }
    let watchdog = Watchdog::forking(Kind::Of, &[("mode", "streaming")]);
    let mut connection = Connection::open(watchdog.port);
    connection.request("GET", "/held", &[], b"");
    assert_eq!(connection.head().status, 200);
    assert_eq!(connection.chunk().unwrap(), b"begun\n");
    watchdog.release();
    assert_eq!(connection.chunk().unwrap(), b"ended\n");
    assert_eq!(connection.chunk().unwrap(), b"");
}

#[test]
fn serializing() {
    let watchdog = Watchdog::forking(Kind::Of, &[("mode", "serializing"), ("content_type", "text/html")]);
    let large = binary();
    check(
        &watchdog,
        &[
            Case {
                name: "the body comes back in one piece",
                path: "/cat",
                body: &large,
                expect: Expect {
                    headers: &[("content-type", Some("text/html")), ("x-duration-seconds", Some(""))],
                    body: Said::Is(&large),
                    ..OK
                },
                ..POST
            },
            Case {
                name: "a process that fails",
                path: "/exit",
                expect: Expect {
                    status: 500,
                    headers: &[("x-duration-seconds", Some(""))],
                    body: Said::Is(b"exit status 3\nhalf\n"),
                    ..OK
                },
                original: Some((
                    Expect { status: 500, body: Said::Is(b"exit status 3"), ..OK },
                    "what it wrote says why, as it does in the classic watchdog",
                )),
                ..POST
            },
        ],
    );
}

#[test]
fn a_call_that_lasts_too_long_is_killed() {
    for (kind, mode, original) in
        [(Kind::Classic, "", 408), (Kind::Of, "serializing", 500), (Kind::Of, "streaming", 200)]
    {
        let watchdog = Watchdog::forking(kind, &[("mode", mode), ("exec_timeout", "300ms")]);
        let answer = call(watchdog.port, "POST", "/held", &[], b"");
        let expected = match (watchdog.kind.is_original(), mode) {
            (true, _) => answer.status == original,
            // 408 where not even the process had begun in time.
            (false, "streaming") => !answer.is_whole || answer.status == 408,
            (false, _) => answer.status == 408,
        };
        assert!(expected, "{mode}: {answer:?}");
        assert!(mode == "streaming" || !answer.text().contains("ended"));
    }
}

#[test]
fn the_caller_may_want_less_time() {
    if Kind::Classic.is_original() {
        return xebec_skipped::skipped!("the originals read X-Timeout in the mode http only");
    }
    let watchdog = Watchdog::forking(Kind::Classic, &[]);
    let answer = call(watchdog.port, "POST", "/held", &["X-Timeout: 300ms"], b"");
    assert_eq!((answer.status, answer.text().as_str()), (408, "Killed process.\n"));
    assert_eq!(answer.header("x-openfaas-internal"), Some("of-watchdog"));
}

#[test]
fn a_program_that_is_not_there() {
    for (kind, mode) in [(Kind::Classic, ""), (Kind::Of, "serializing"), (Kind::Of, "streaming")] {
        let watchdog =
            Watchdog::with(kind, &[], &[("mode", mode), ("fprocess", "/no/such/program")]).listening();
        let answer = get(watchdog.port, "/");
        if watchdog.kind.is_original() && mode == "streaming" {
            assert_eq!(answer.status, 200, "an empty success, which ours does not make of it");
        } else {
            assert_eq!(answer.status, 500, "{mode}");
            assert!(answer.text().contains("/no/such/program"), "{mode}: {}", answer.text());
        }
    }
}

#[test]
fn a_client_that_goes_away_ends_its_process() {
    if Kind::Of.is_original() {
        return xebec_skipped::skipped!("the original lets the process run on");
    }
    let watchdog = Watchdog::forking(Kind::Of, &[("mode", "streaming")]);
    let mut connection = Connection::open(watchdog.port);
    connection.request("GET", "/held", &[], b"");
    assert_eq!(connection.head().status, 200);
    assert_eq!(connection.chunk().unwrap(), b"begun\n");
    let process = fs::read_to_string(watchdog.folder.path().join("held")).unwrap();
    let process = format!("/proc/{}", process.trim());
    assert!(fs::exists(&process).unwrap());
    drop(connection);
    watchdog.wait("its process ends", || !fs::exists(&process).unwrap());
}

#[test]
fn a_request_that_does_not_arrive_is_given_up() {
    let watchdog = Watchdog::forking(Kind::Classic, &[("read_timeout", "300ms")]);
    let port = watchdog.port;
    watchdog.wait("gives up", || {
        let mut connection = Connection::open(port);
        connection.send(b"POST /cat HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhalf");
        // None where not even the head came in time.
        connection.answer("POST").status == 400
    });
    // Neither is a connection kept on which nothing comes at all.
    assert_eq!(Connection::open(port).answer("POST").status, 0);
}

#[test]
fn many_calls_at_a_time() {
    let watchdog = Watchdog::forking(Kind::Classic, &[]);
    let port = watchdog.port;
    std::thread::scope(|scope| {
        for caller in 0..8 {
            scope.spawn(move || {
                for number in 0..25 {
                    // Short ones end while others start; the larger do not fit into a pipe.
                    let body = format!("{caller}-{number} ").repeat(if number % 5 == 0 { 20_000 } else { 1 });
                    let answer = call(port, "POST", "/cat", &[], body.as_bytes());
                    assert!(answer.status == 200 && answer.text() == body, "{caller}-{number}");
                }
            });
        }
    });
    assert!(get(watchdog.metrics_port, "/metrics").text().contains("http_requests_in_flight 0"));
}

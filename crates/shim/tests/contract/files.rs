//! Files, and no code: the mode `static`.

use crate::{
    table::{Case, Expect, OK, POST, Said, check},
    watchdog::{Kind, Watchdog},
};
use std::fs;

#[test]
fn files() {
    let folder = tempfile::tempdir().unwrap();
    let binary: Vec<u8> = (0..=255).cycle().take(1 << 20).collect();
    fs::create_dir(folder.path().join("inner")).unwrap();
    fs::write(folder.path().join("index.html"), "<p>home</p>").unwrap();
    fs::write(folder.path().join("inner/index.html"), "<p>inner</p>").unwrap();
    fs::write(folder.path().join("a b.txt"), "spaced").unwrap();
    fs::write(folder.path().join("data.bin"), &binary).unwrap();
    let path = folder.path().to_str().unwrap();
    let watchdog = Watchdog::with(Kind::Of, &[], &[("mode", "static"), ("static_path", path)]).listening();
    let page = [("content-type", Some("text/html"))];
    let their_page = [("content-type", Some("text/html; charset=utf-8"))];
    check(
        &watchdog,
        &[
            Case {
                name: "a folder's page",
                method: "GET",
                expect: Expect { headers: &page, body: Said::Is(b"<p>home</p>"), ..OK },
                original: Some((
                    Expect { headers: &their_page, body: Said::Is(b"<p>home</p>"), ..OK },
                    "the page says by itself what letters it has",
                )),
                ..POST
            },
            Case {
                name: "a folder's page below",
                method: "GET",
                path: "/inner/",
                expect: Expect { body: Said::Is(b"<p>inner</p>"), ..OK },
                ..POST
            },
            Case {
                name: "a name with a space",
                method: "GET",
                path: "/a%20b.txt",
                expect: Expect { body: Said::Is(b"spaced"), ..OK },
                ..POST
            },
            Case {
                name: "a part of a file",
                method: "GET",
                path: "/data.bin",
                headers: &["Range: bytes=2-4"],
                expect: Expect {
                    status: 206,
                    headers: &[("content-range", Some("bytes 2-4/1048576"))],
                    body: Said::Is(&[2, 3, 4]),
                    ..OK
                },
                ..POST
            },
            Case {
                name: "a large file",
                method: "GET",
                path: "/data.bin",
                expect: Expect {
                    headers: &[("content-type", Some("application/octet-stream"))],
                    body: Said::Is(&binary),
                    ..OK
                },
                ..POST
            },
            Case {
                name: "a head",
                method: "HEAD",
                path: "/data.bin",
                expect: Expect { headers: &[("content-length", Some("1048576"))], ..OK },
                ..POST
            },
            Case {
                name: "not there",
                method: "GET",
                path: "/none",
                expect: Expect { status: 404, ..OK },
                ..POST
            },
            Case {
                name: "not outside",
                method: "GET",
                path: "/../../../../etc/passwd",
                expect: Expect { status: 404, ..OK },
                original: Some((
                    Expect { status: 307, ..OK },
                    "the original sends clients to the path made short",
                )),
                ..POST
            },
            Case {
                name: "nothing is done with a file but reading it",
                path: "/data.bin",
                expect: Expect { status: 405, ..OK },
                original: Some((OK, "the original takes any method for GET")),
                ..POST
            },
        ],
    );
}

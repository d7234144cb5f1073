//! The `init-run` contract over proxies: what is sent, what comes of what they say.
#![allow(clippy::unwrap_used)]

mod server;
mod toy;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use serde_json::{Value, json};
use server::{Script, Server};
use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use toy::{CRASHED, Opened, Owner, SOON, Toy, opening, post, spec, text, until};
use xebec_contracts::{Brings, StartError, contract};
use xebec_core::{
    Body, Outcome,
    log::LogStream,
    outcome::{FunctionFault, PlatformFault},
    ports::instance::LineSink as _,
    record::Remarks,
    slot::Retire,
    workload::ArchiveFormat,
};

const MARK: &str = "XXX_THE_END_OF_A_WHISK_ACTIVATION_XXX";

/// What a proxy is asked: the path, and the message.
type Asked = (String, Value);

/// A proxy that answers 200 with `{}` to `/init`, and with what `run` says to `/run`.
async fn proxy<F>(run: F) -> Server
where
    F: Fn(Value) -> Response<Body> + Send + Sync + 'static,
{
    answering(move |(path, message)| match path.as_str() {
        "/init" => said(200, "{}"),
        "/run" => run(message),
        other => panic!("{other}"),
    })
    .await
}

async fn answering<F>(answer: F) -> Server
where
    F: Fn(Asked) -> Response<Body> + Send + Sync + 'static,
{
    let answer = Arc::new(answer);
    Server::start(move |request: Request<Incoming>| {
        let answer = answer.clone();
        async move {
            assert_eq!(request.method(), "POST");
            assert_eq!(request.headers()["content-type"], "application/json");
            let length: usize = request.headers()["content-length"].to_str().unwrap().parse().unwrap();
            let path = request.uri().path().to_owned();
            let message = request.into_body().collect().await.unwrap().to_bytes();
            assert_eq!(message.len(), length);
            answer((path, serde_json::from_slice(&message).unwrap()))
        }
    })
    .await
}

fn said(status: u16, body: impl Into<Bytes>) -> Response<Body> {
    Response::builder().status(status).body(Body::full(body)).unwrap()
}

struct Wishes {
    options: Value,
    concurrency: u32,
    brings: Brings,
}

impl Default for Wishes {
    fn default() -> Self {
        Self { options: json!({"sentinels": false}), concurrency: 1, brings: Brings::default() }
    }
}

async fn open(server: &Server, wishes: Wishes) -> Result<Opened, StartError> {
    let mut options = wishes.options;
    options["port"] = json!(server.port);
    open_on(Toy::new(), options, wishes.concurrency, wishes.brings).await
}

async fn open_on(io: Arc<Toy>, options: Value, slots: u32, brings: Brings) -> Result<Opened, StartError> {
    let owner = Arc::new(Owner::default());
    let mut opening = opening(io.clone(), owner.clone(), spec("init-run", options), &[]);
    opening.limits.concurrency = slots;
    opening.limits.request_bytes = 1000;
    opening.brings = brings;
    let session = contract("init-run").unwrap().open(opening).await?;
    assert_eq!(owner.announced.load(Ordering::SeqCst), slots);
    Ok(Opened { io, owner, session })
}

async fn plain(server: &Server) -> Opened {
    open(server, Wishes::default()).await.unwrap()
}

fn remarks(head: &http::response::Parts) -> Option<Outcome> {
    head.extensions.get::<Remarks>().and_then(|remarks| remarks.outcome)
}

#[tokio::test]
async fn the_code_is_brought_once_and_called_often() {
    let asked = Arc::new(parking_lot::Mutex::new(Vec::new()));
    let noted = asked.clone();
    let server = answering(move |(path, message)| {
        noted.lock().push((path, message));
        said(200, "{\"ok\":true}\n")
    })
    .await;
    let brings = Brings {
        function: "hello".to_owned(),
        handler: Some("niam".to_owned()),
        variables: [("A".to_owned(), "1".to_owned())].into(),
        code: Some((ArchiveFormat::Single, Bytes::from_static(b"function niam() {}"))),
    };
    let function = open(&server, Wishes { brings, ..Wishes::default() }).await.unwrap();
    for n in 0..50 {
        let mut request = post(format!("{{\"n\": {n}}}"));
        request.headers_mut().insert("x-xebec-run-action-name", "/guest/hello".parse().unwrap());
        request.headers_mut().insert("cookie", "not passed on".parse().unwrap());
        let (head, body) = function.answer(request).await;
        assert_eq!((head.status.as_u16(), body.as_str(), remarks(&head)), (200, "{\"ok\":true}", None));
    }
    let asked = asked.lock();
    let init = json!({"value": {
        "name": "hello", "main": "niam", "code": "function niam() {}", "binary": false, "env": {"A": "1"},
    }});
    assert_eq!(asked[0], ("/init".to_owned(), init));
    assert_eq!(asked.len(), 51);
    for (n, (path, message)) in asked[1..].iter().enumerate() {
        assert_eq!(path, "/run");
        assert_eq!((&message["value"], &message["action_name"]), (&json!({"n": n}), &json!("/guest/hello")));
        assert_eq!(message["activation_id"].as_str().unwrap().len(), 32);
        assert_eq!(message.as_object().unwrap().len(), 4, "{message}");
    }
    assert_eq!((function.owner.freed(), function.owner.retired()), (50, vec![]));
    // The one that found it ready carries them all, unless the machine stood still for a second.
    assert!(server.accepted() <= 50, "{}", server.accepted());
}

/// A proxy on the socket `proxy.sock`, that answers everything with `[]`.
fn socket_proxy(directory: &std::path::Path) -> tokio::task::JoinSet<()> {
    let listener = tokio::net::UnixListener::bind(directory.join("proxy.sock")).unwrap();
    let mut tasks = tokio::task::JoinSet::new();
    tasks.spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            while let Some(length) = server::read_head(&mut stream)
                .await
                .lines()
                .find_map(|line| line.strip_prefix("content-length: ")?.parse::<usize>().ok())
            {
                stream.read_exact(&mut vec![0; length]).await.unwrap();
                stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n[]").await.unwrap();
            }
        }
    });
    tasks
}

#[tokio::test]
async fn a_unix_socket_will_do() {
    let directory = tempfile::tempdir().unwrap();
    let _proxy = socket_proxy(directory.path());
    let io = Toy::rooted(directory.path());
    let options = json!({"socket": "/proxy.sock", "sentinels": false});
    let function = open_on(io, options, 1, Brings::default()).await.unwrap();
    assert_eq!(function.answer(post("{}")).await.1, "[]");
}

/// What a proxy says, and what becomes of it: the answer's body, its remark, and whether the instance goes on.
#[tokio::test]
async fn answers() {
    let long = format!("[\"{}\"]", "x".repeat(100));
    let truncated = json!({"error": format!(
        "The action produced a response that exceeded the allowed length: 104 > 64 bytes. \
         The truncated response was: {}", &long[..64],
    )});
    let truncated = truncated.to_string();
    type Expected<'a> = Result<(&'a str, bool), Outcome>;
    let table: Vec<(u16, &str, Expected<'_>)> = vec![
        (200, "{\"a\":1}", Ok(("{\"a\":1}", false))),
        (200, " [1, 2]\n", Ok(("[1, 2]", false))),
        (200, "{\"error\":{\"a\":1}}", Ok(("{\"error\":{\"a\":1}}", true))),
        (200, &long, Ok((&truncated, true))),
        (502, &long, Ok((&truncated, true))),
        (200, "", Err(Outcome::FunctionError(FunctionFault::BadResponse))),
        (200, "7", Err(Outcome::FunctionError(FunctionFault::BadResponse))),
        (200, "no JSON", Err(Outcome::FunctionError(FunctionFault::BadResponse))),
        (201, "{}", Err(Outcome::FunctionError(FunctionFault::BadResponse))),
        (502, "{\"error\":\"crashed\"}", Err(Outcome::FunctionError(FunctionFault::BadResponse))),
    ];
    for (status, body, expected) in table {
        let answer = body.to_owned();
        let server = proxy(move |_| said(status, answer.clone())).await;
        let options = json!({"sentinels": false, "max_answer_bytes": 64});
        let function = open(&server, Wishes { options, ..Wishes::default() }).await.unwrap();
        match (function.send(post("{}")).await, expected) {
            (Ok(response), Ok((expected, error))) => {
                let (head, answer) = response.into_parts();
                assert_eq!(head.status, 200);
                assert_eq!(head.headers["content-type"], "application/json");
                assert_eq!(remarks(&head), error.then_some(Outcome::ApplicationError), "{body}");
                assert_eq!(text(answer).await, expected);
                assert_eq!((function.owner.freed(), function.owner.retired()), (1, vec![]), "{body}");
            }
            (Err(failed), Err(expected)) => {
                assert_eq!(failed.outcome, expected, "{body}");
                assert_eq!(failed.output, body);
                assert!(failed.unsent.is_none());
                assert_eq!((function.owner.freed(), function.owner.retired()), (0, vec![Retire::Broken]));
            }
            (got, expected) => panic!("{status} {body}: {got:?}, not {expected:?}"),
        }
    }
}

#[tokio::test]
async fn an_answer_may_come_in_pieces() {
    let script = Script::new(|mut stream| async move {
        while server::read_head(&mut stream).await.starts_with("post") {
            let mut rest = [0; 1024];
            let _ = stream.read(&mut rest).await;
            for piece in [
                "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\n{\"a",
                "\r\n4\r\n\":1}\r\n0\r\n\r\n",
            ] {
                stream.write_all(piece.as_bytes()).await.unwrap();
                tokio::task::yield_now().await;
            }
        }
    });
    let server = script.start().await;
    let function = plain(&server).await;
    assert_eq!(function.answer(post("{}")).await.1, "{\"a\":1}");
}

#[tokio::test]
async fn what_is_no_parameters_is_refused_before_anything_is_sent() {
    let server = proxy(|_| panic!("it was sent")).await;
    let function = plain(&server).await;
    for (body, fault) in [
        ("7".to_owned(), PlatformFault::BadRequest),
        ("{\"a\":".to_owned(), PlatformFault::BadRequest),
        (format!("[\"{}\"]", "x".repeat(1000)), PlatformFault::TooLarge),
    ] {
        let failed = function.send(post(body)).await.unwrap_err();
        assert_eq!(failed.outcome, Outcome::PlatformError(fault));
    }
    assert_eq!((function.owner.freed(), function.owner.retired()), (3, vec![]));
}

#[tokio::test]
async fn a_proxy_that_shuts_down_has_not_got_the_call() {
    let server = proxy(|_| said(503, "")).await;
    let function = plain(&server).await;
    let failed = function.send(post("{\"a\": 1}")).await.unwrap_err();
    assert_eq!(failed.outcome, Outcome::PlatformError(PlatformFault::Unavailable));
    assert_eq!(text(failed.unsent.unwrap().into_body()).await, "{\"a\": 1}");
    assert_eq!((function.owner.freed(), function.owner.retired()), (0, vec![Retire::Broken]));
}

#[tokio::test]
async fn an_init_that_fails_says_why() {
    let server = answering(|_| said(502, "{\"error\":\"no such function\"}")).await;
    let error = open(&server, Wishes::default()).await.err().unwrap();
    assert_eq!((error.output.as_ref(), error.late), (&b"{\"error\":\"no such function\"}"[..], false));
    assert_eq!(error.message, "its initialisation failed with status 502");
}

#[tokio::test]
async fn a_second_init_is_the_proxys_to_refuse() {
    let inits = AtomicU32::new(0);
    let refusal = "{\"error\":\"Cannot initialize the action more than once.\"}";
    let server = answering(move |_| match inits.fetch_add(1, Ordering::SeqCst) {
        0 => said(200, "{}"),
        _ => said(403, refusal),
    })
    .await;
    plain(&server).await;
    assert_eq!(open(&server, Wishes::default()).await.err().unwrap().output, refusal);
}

#[tokio::test]
async fn an_init_has_a_clock_of_its_own() {
    let script = Script::new(|mut stream| async move {
        let mut thrown_away = [0; 1024];
        while let Ok(1..) = stream.read(&mut thrown_away).await {}
    });
    let server = script.start().await;
    let options = json!({"init_timeout": "50ms"});
    let error = open(&server, Wishes { options, ..Wishes::default() }).await.err().unwrap();
    assert!(error.late);
    assert_eq!(error.message, "it did not initialise within 50ms");
}

#[tokio::test]
async fn a_proxy_that_is_not_there_yet_is_waited_for() {
    let directory = tempfile::tempdir().unwrap();
    let options = json!({"socket": "/proxy.sock", "sentinels": false});
    let opening = tokio::spawn(open_on(Toy::rooted(directory.path()), options, 1, Brings::default()));
    tokio::time::sleep(Duration::from_millis(30)).await;
    assert!(!opening.is_finished());
    let _proxy = socket_proxy(directory.path());
    tokio::time::timeout(SOON, opening).await.unwrap().unwrap().unwrap();
}

#[tokio::test]
async fn an_instance_that_ends_instead_is_not_waited_for() {
    let io = Toy::new();
    io.exit(CRASHED);
    let error = open_on(io, json!({"port": 9}), 1, Brings::default()).await.err().unwrap();
    assert!(error.message.contains("exited with code 7"), "{error}");
}

#[tokio::test]
async fn a_proxy_that_crashes_in_the_middle() {
    let io = Toy::new();
    let crashing = io.clone();
    let server = proxy(move |_| {
        crashing.exit(CRASHED);
        panic!("the connection breaks");
    })
    .await;
    let options = json!({"port": server.port, "sentinels": false});
    let function = open_on(io, options, 1, Brings::default()).await.unwrap();
    let failed = function.send(post("{}")).await.unwrap_err();
    assert_eq!(failed.outcome, Outcome::FunctionError(FunctionFault::Crash));
    assert_eq!((failed.exit_code, failed.unsent.is_none()), (Some(7), true));
    assert_eq!((function.owner.freed(), function.owner.retired()), (0, vec![Retire::Exited]));
}

#[tokio::test]
async fn a_call_that_is_given_up_retires_the_instance() {
    let asked = Arc::new(AtomicU32::new(0));
    let noted = asked.clone();
    let server = Server::start(move |request: Request<Incoming>| {
        let noted = noted.clone();
        async move {
            if request.uri().path() == "/run" {
                noted.fetch_add(1, Ordering::SeqCst);
                std::future::pending::<()>().await;
            }
            said(200, "{}")
        }
    })
    .await;
    let function = plain(&server).await;
    let call = function.send(post("{}"));
    tokio::select! {
        _ = call => panic!("it was answered"),
        () = until("the call", || asked.load(Ordering::SeqCst) == 1) => {}
    }
    until("the instance is retired", || function.owner.retired() == [Retire::Interrupted]).await;
    assert_eq!(function.owner.freed(), 0);
}

#[tokio::test]
async fn the_slot_is_free_when_all_is_printed() {
    let server = proxy(|_| said(200, "{}")).await;
    let function = open(&server, Wishes { options: json!({}), ..Wishes::default() }).await.unwrap();
    let owner = &function.owner;
    // What comes late of a call before is not the next one's.
    owner.line(LogStream::Stdout, MARK);
    owner.line(LogStream::Stderr, MARK);
    function.answer(post("{}")).await;
    assert_eq!(owner.freed(), 0);
    owner.line(LogStream::Stdout, "printed");
    owner.line(LogStream::Stdout, MARK);
    assert_eq!(owner.freed(), 0);
    owner.line(LogStream::Stderr, MARK);
    assert_eq!(owner.freed(), 1);
    assert_eq!(*owner.lines.lock(), [(LogStream::Stdout, "printed".to_owned())]);
    assert_eq!(owner.retired(), []);
}

#[tokio::test]
async fn marks_may_come_before_the_answer() {
    let owner = Arc::new(parking_lot::Mutex::new(None::<Arc<Owner>>));
    let printing = owner.clone();
    let server = proxy(move |_| {
        let owner = printing.lock().clone().unwrap();
        owner.line(LogStream::Stdout, MARK);
        owner.line(LogStream::Stderr, MARK);
        said(200, "{}")
    })
    .await;
    let function = open(&server, Wishes { options: json!({}), ..Wishes::default() }).await.unwrap();
    *owner.lock() = Some(function.owner.clone());
    for n in 1..=3 {
        function.answer(post("{}")).await;
        assert_eq!(function.owner.freed(), n);
    }
}

#[tokio::test]
async fn nothing_is_waited_for_where_nothing_was_printed() {
    let server = proxy(|_| {
        let mut answer = said(200, "{}");
        answer.headers_mut().insert("x-xebec-quiet", http::HeaderValue::from_static("1"));
        answer
    })
    .await;
    let function = open(&server, Wishes { options: json!({}), ..Wishes::default() }).await.unwrap();
    for n in 1..=2 {
        function.answer(post("{}")).await;
        assert_eq!(function.owner.freed(), n);
    }
}

#[tokio::test]
async fn marks_that_do_not_come_are_not_waited_for_for_ever() {
    let server = proxy(|_| said(200, "{}")).await;
    let function = open(&server, Wishes { options: json!({}), ..Wishes::default() }).await.unwrap();
    for n in 1..=2 {
        function.answer(post("{}")).await;
        function.owner.line(LogStream::Stdout, MARK);
        until("the slot is free", || function.owner.freed() == n).await;
    }
    assert_eq!(function.owner.retired(), []);
}

#[tokio::test]
async fn calls_at_a_time_do_not_mix() {
    let server = proxy(|message| said(200, message["value"].to_string())).await;
    // Marks are not looked for then.
    let wishes = Wishes { options: json!({}), concurrency: 8, ..Wishes::default() };
    let function = open(&server, wishes).await.unwrap();
    assert!(function.owner.watched.lock().is_none());
    for _ in 0..5 {
        let calls = (0..8).map(|n| {
            let function = &function;
            async move {
                let sent = format!("[{n},\"{}\"]", "x".repeat(n * 100));
                assert_eq!(function.answer(post(sent.clone())).await.1, sent);
            }
        });
        futures_util::future::join_all(calls).await;
    }
    assert_eq!((function.owner.freed(), function.owner.retired()), (40, vec![]));
}

#[tokio::test]
async fn closing_asks_the_instance_to_stop() {
    let server = proxy(|_| said(200, "{}")).await;
    let function = plain(&server).await;
    function.answer(post("{}")).await;
    function.session.close(SOON).await;
    assert_eq!(*function.io.signals.lock(), [xebec_core::ports::instance::Signal::Stop]);
}

#[test]
fn settings_are_checked() {
    let check = |options: Value| {
        let revision = xebec_core::revision::RevisionSpec {
            workload: xebec_core::workload::Workload::image("x"),
            environment: "image".to_owned(),
            contract: spec("init-run", options),
            command: Vec::new(),
            handler: None,
            style: None,
            variables: std::collections::BTreeMap::new(),
            secrets: Vec::new(),
            limits: xebec_core::limits::Limits::default(),
            read_only_root: false,
            as_is: false,
        };
        contract("init-run").unwrap().check(&revision).map_err(|error| error.to_string())
    };
    check(json!({"mode": "loop", "wait_for_ack": true, "init_timeout": "60s", "main": "a.b"})).unwrap();
    check(json!({"socket": "/run/xebec/http.sock", "sentinels": false, "max_answer_bytes": 1024})).unwrap();
    for (options, expected) in [
        (json!({"mode": "fork"}), "\"mode\""),
        (json!({"port": 1, "socket": "/x"}), "\"port\" or \"socket\""),
        (json!({"socket": "x"}), "\"socket\""),
        (json!({"max_answer_bytes": 0}), "\"max_answer_bytes\""),
        (json!({"ready_path": "/"}), "no setting \"ready_path\""),
    ] {
        let error = check(options).unwrap_err();
        assert!(error.contains(expected) && error.contains("init-run"), "{error}");
    }
}

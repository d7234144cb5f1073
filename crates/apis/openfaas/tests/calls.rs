//! `/function/…`: what functions see, what callers get.

#![allow(clippy::unwrap_used)]

mod support;

use http::{Method, Request, Response, StatusCode};
use proptest::prelude::*;
use std::{
    sync::{Arc, Mutex},
    time::Duration,
};
use support::{Engine, send, send_as};
use xebec_core::{
    Body, InvocationId, InvokeError, Outcome,
    auth::Principal,
    limits::Clock,
    outcome::{FunctionFault, PlatformFault},
    ports::door::Door as _,
};

/// An engine with a function `env` that keeps the requests it gets.
fn recording() -> (Arc<Engine>, Arc<Mutex<Vec<http::request::Parts>>>) {
    let engine = Engine::new();
    engine.put("default", "openfaas", "env");
    let seen = Arc::new(Mutex::new(Vec::new()));
    let keep = seen.clone();
    engine.answer(move |request| {
        keep.lock().unwrap().push(request.into_parts().0);
        Ok(Response::new(Body::full("hello")))
    });
    (engine, seen)
}

#[tokio::test]
async fn paths_and_queries_lose_the_prefix() {
    let (engine, seen) = recording();
    let door = engine.door();
    for (path, inner) in [
        ("/function/env", "/"),
        ("/function/env/", "/"),
        ("/function/env?a=b", "/?a=b"),
        ("/function/env/x/y%20z?a=b&c", "/x/y%20z?a=b&c"),
        ("/function/env.openfaas-fn", "/"),
        ("/function/env.openfaas-fn/a//b", "/a//b"),
        ("/function/env/?", "/?"),
    ] {
        let back = send(&door, Method::POST, path, "hi").await;
        assert_eq!((back.status, back.body.as_str()), (StatusCode::OK, "hello"), "{path}");
        assert_eq!(seen.lock().unwrap().pop().unwrap().uri, inner, "{path}");
    }
}

#[tokio::test]
async fn every_method_but_the_odd_ones() {
    let (engine, seen) = recording();
    let door = engine.door();
    for method in ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"] {
        let method: Method = method.parse().unwrap();
        assert_eq!(send(&door, method.clone(), "/function/env", "").await.status, StatusCode::OK);
        assert_eq!(seen.lock().unwrap().pop().unwrap().method, method);
    }
    for method in ["TRACE", "CONNECT", "PROPFIND"] {
        let back = send(&door, method.parse().unwrap(), "/function/env", "").await;
        assert_eq!(back.status, StatusCode::METHOD_NOT_ALLOWED);
    }
}

#[tokio::test]
async fn functions_of_other_doors_and_namespaces() {
    let engine = Engine::new();
    engine.put("default", "native", "mine");
    engine.put("staging", "openfaas", "env");
    let door = engine.door();
    for path in ["/function/mine", "/function/env.staging"] {
        assert_eq!(send(&door, Method::GET, path, "").await.status, StatusCode::OK, "{path}");
    }
    let called: Vec<_> = engine.calls.lock().unwrap().iter().map(ToString::to_string).collect();
    assert_eq!(called, ["default/native/mine", "staging/openfaas/env"]);
}

#[tokio::test]
async fn what_is_not_there() {
    let door = Engine::new().door();
    let back = send(&door, Method::GET, "/function/ghost/x", "").await;
    assert_eq!(back.status, StatusCode::NOT_FOUND);
    assert_eq!(back.body, "error finding function ghost.openfaas-fn: no such function");
    assert_eq!(back.header("x-openfaas-internal"), "proxy");
    let back = send(&door, Method::GET, "/function/a.b.openfaas-fn", "").await;
    assert_eq!(back.body, "error finding function a.b.openfaas-fn: no such function");
    for odd in ["/function/", "/function//x", "/function/a%2Fb", "/function/.a", "/function/a."] {
        assert_eq!(send(&door, Method::GET, odd, "").await.status, StatusCode::NOT_FOUND, "{odd}");
    }
}

#[tokio::test]
async fn functions_see_who_calls_and_callers_which_call_it_was() {
    let (engine, seen) = recording();
    let door = engine.door();
    let back = send(&door, Method::POST, "/function/env", "hi").await;
    let inner = seen.lock().unwrap().pop().unwrap().headers;
    assert_eq!(inner["x-forwarded-for"], "192.0.2.7:4711");
    assert_eq!(inner["x-forwarded-host"], "localhost:8080");
    let call_id = back.header("x-call-id");
    assert!(uuid::Uuid::parse_str(call_id).is_ok(), "{call_id}");
    assert_eq!(inner["x-call-id"], call_id);
    let start: i128 = back.header("x-start-time").parse().unwrap();
    let now = jiff::Timestamp::now().as_nanosecond();
    assert!((now - 60_000_000_000..=now).contains(&start), "{start}");
    assert_eq!(inner["x-start-time"], back.header("x-start-time"));
    assert_eq!(back.header("x-served-by"), "xebec/1.2.3");
    assert!(back.header("x-duration-seconds").parse::<f64>().is_ok());
    assert_eq!(back.header("content-type"), "text/plain");
}

#[tokio::test]
async fn what_the_caller_says_of_itself_stays() {
    let (engine, seen) = recording();
    let request = Request::post("http://h2.example/function/env")
        .header("x-call-id", "mine")
        .header("x-forwarded-for", "203.0.113.9")
        .header("x-forwarded-host", "public.example")
        .header("content-type", "application/json")
        .header("connection", "keep-alive, X-Secret")
        .header("x-secret", "1")
        .header("keep-alive", "timeout=5")
        .header("te", "trailers")
        .header("transfer-encoding", "chunked")
        .body(Body::full("{}"))
        .unwrap();
    let back = send_as(&engine.door(), Principal::Anonymous, request).await;
    let inner = seen.lock().unwrap().pop().unwrap().headers;
    assert_eq!(inner["x-call-id"], "mine");
    assert_eq!(back.header("x-call-id"), "mine");
    assert_eq!(inner["x-forwarded-for"], "203.0.113.9");
    assert_eq!(inner["x-forwarded-host"], "public.example");
    assert_eq!(inner["host"], "h2.example");
    for gone in ["connection", "x-secret", "keep-alive", "te", "transfer-encoding"] {
        assert!(!inner.contains_key(gone), "{gone}");
    }
    assert_eq!(back.header("content-type"), "application/json");
}

#[tokio::test]
async fn upgrades_pass() {
    let (engine, seen) = recording();
    let request = Request::get("/function/env")
        .header("connection", "Upgrade")
        .header("upgrade", "websocket")
        .body(Body::empty())
        .unwrap();
    engine.door();
    send_as(&engine.door(), Principal::Local, request).await;
    let inner = seen.lock().unwrap().pop().unwrap().headers;
    assert_eq!(
        (&inner["connection"], &inner["upgrade"]),
        (&"Upgrade".parse().unwrap(), &"websocket".parse().unwrap())
    );
}

#[tokio::test]
async fn answers_pass_as_they_are() {
    let engine = Engine::new();
    engine.put("default", "openfaas", "env");
    engine.answer(|_| {
        Ok(Response::builder()
            .status(302)
            .header("location", "/elsewhere")
            .header("content-type", "text/html")
            .header("x-duration-seconds", "0.25")
            .header("connection", "close")
            .header("set-cookie", "a=1")
            .header("set-cookie", "b=2")
            .body(Body::full("moved"))
            .unwrap())
    });
    let back = send(&engine.door(), Method::GET, "/function/env", "").await;
    assert_eq!((back.status.as_u16(), back.header("location")), (302, "/elsewhere"));
    assert_eq!((back.header("content-type"), back.header("x-duration-seconds")), ("text/html", "0.25"));
    assert_eq!(back.headers.get_all("set-cookie").iter().count(), 2);
    assert!(!back.headers.contains_key("connection"));
    assert_eq!(back.body, "moved");
}

/// A call that ends in `outcome`.
async fn failing(
    outcome: Outcome,
    change: impl Fn(&mut InvokeError) + Send + Sync + 'static,
) -> support::Back {
    let engine = Engine::new();
    engine.put("default", "openfaas", "env");
    engine.answer(move |_| {
        let mut error = InvokeError::new(InvocationId::new(), outcome, "the reason");
        change(&mut error);
        Err(Box::new(error))
    });
    let request = Request::get("/function/env").body(Body::empty()).unwrap();
    send_as(&engine.door(), Principal::Anonymous, request).await
}

#[tokio::test]
async fn failures_have_the_codes_of_watchdog_and_gateway() {
    use FunctionFault as F;
    use PlatformFault as P;
    let timeout = F::Timeout(Clock::Run);
    for (outcome, contract, status, body) in [
        (Outcome::FunctionError(timeout), "stdio", 408, "Killed process."),
        (Outcome::FunctionError(timeout), "http", 504, "the reason\n"),
        (Outcome::FunctionError(F::Crash), "http", 500, "the reason\n"),
        (Outcome::FunctionError(F::OutOfMemory), "stdio", 500, "the reason\n"),
        (Outcome::FunctionError(F::BadResponse), "http", 500, "the reason\n"),
        (Outcome::FunctionError(F::FailedInit), "http", 500, "Can't reach service for: env.\nthe reason\n"),
        (
            Outcome::PlatformError(P::NotFound),
            "",
            404,
            "error finding function env.openfaas-fn: no such function",
        ),
        (
            Outcome::PlatformError(P::Forbidden),
            "",
            401,
            "this function asks for a key that may call it, or for a token of /oauth/token\n",
        ),
        (Outcome::PlatformError(P::Overloaded), "", 429, "the reason\n"),
        (Outcome::PlatformError(P::Unavailable), "", 503, "No endpoints available for: env.\nthe reason\n"),
        (Outcome::PlatformError(P::TooLarge), "", 413, "the reason\n"),
        (Outcome::PlatformError(P::BadRequest), "", 400, "the reason\n"),
        (Outcome::PlatformError(P::Internal), "", 500, "Can't reach service for: env.\nthe reason\n"),
    ] {
        let back = failing(outcome, move |error| error.contract = contract.into()).await;
        assert_eq!((back.status.as_u16(), back.body.as_str()), (status, body), "{outcome:?} {contract}");
        assert!(!back.header("x-call-id").is_empty() && !back.header("x-start-time").is_empty());
    }
}

#[tokio::test]
async fn a_process_that_fails_is_shown_with_its_output() {
    let back = failing(Outcome::FunctionError(FunctionFault::Crash), |error| {
        error.contract = "stdio".into();
        error.exit_code = Some(3);
        error.output = "half an answer".into();
    })
    .await;
    assert_eq!((back.status.as_u16(), back.body.as_str()), (500, "exit status 3\nhalf an answer"));
}

#[tokio::test]
async fn a_failed_start_comes_with_the_log_and_overload_with_when_to_return() {
    let back = failing(Outcome::FunctionError(FunctionFault::FailedInit), |error| {
        error.log_tail = vec!["Traceback".into(), "ImportError".into()];
    })
    .await;
    assert_eq!(back.body, "Can't reach service for: env.\nthe reason\nTraceback\nImportError\n");
    let back = failing(Outcome::PlatformError(PlatformFault::Overloaded), |error| {
        error.retry_after = Some(Duration::from_millis(200));
    })
    .await;
    assert_eq!(back.header("retry-after"), "1");
}

#[tokio::test]
async fn calls_are_counted_when_their_answers_end() {
    let engine = Engine::new();
    engine.put("default", "openfaas", "env");
    engine.answer(|_| {
        let chunks = futures_util::stream::iter(["a", "b"])
            .map(|text| Ok::<_, std::convert::Infallible>(http_body::Frame::data(text.into())));
        Ok(Response::new(Body::stream(http_body_util::StreamBody::new(chunks))))
    });
    use futures_util::StreamExt as _;
    let door = engine.door();
    let total = "gateway_function_invocation_total{function_name=\"env.openfaas-fn\",code=\"200\"} ";
    let metrics = || {
        let mut out = String::new();
        door.metrics(&mut out);
        out
    };
    let request = || {
        let request = Request::get("/function/env").body(Body::empty());
        door.handle(request.unwrap())
    };
    let running = request().await;
    assert!(!metrics().contains(total));
    assert!(metrics().contains("gateway_function_invocation_started{function_name=\"env.openfaas-fn\"} 1\n"));
    drop(running);
    assert!(metrics().contains(&format!("{total}1\n")), "{}", metrics());
    let read = request().await.into_body().collect(100).await.unwrap();
    assert_eq!(read, "ab");
    assert!(metrics().contains(&format!("{total}2\n")), "{}", metrics());
    assert!(metrics().contains("gateway_service_count{function_name=\"env.openfaas-fn\"} 1\n"));
    send(&door, Method::GET, "/function/ghost", "").await;
    assert!(!metrics().contains("ghost"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_path_makes_a_call_panic(tail in "[ -~&&[^#]]{0,30}") {
        let (engine, _) = recording();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        if let Ok(request) = Request::get(format!("/function/env{tail}")).body(Body::empty()) {
            let back = runtime.block_on(send_as(&engine.door(), Principal::Local, request));
            prop_assert!([200, 404].contains(&back.status.as_u16()));
        }
    }
}

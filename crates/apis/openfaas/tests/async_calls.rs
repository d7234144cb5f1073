//! `/async-function/…`: what is accepted, and what its callers get.

#![allow(clippy::unwrap_used)]

mod support;

use http::{Method, Request, StatusCode};
use std::sync::Arc;
use support::{Back, Engine, Later, send, send_as};
use uuid::Uuid;
use xebec_api_openfaas::OpenFaas;
use xebec_core::{
    Body, Error, ErrorKind, Tenant,
    auth::{Principal, Role},
    message::{Field, Form, Recipient},
    ports::door::Door as _,
};

fn door() -> (OpenFaas, Arc<Later>) {
    let (engine, later) = (Engine::new(), Later::new());
    engine.put("default", "openfaas", "env");
    engine.put("staging", "native", "env");
    (engine.door().with_deliveries(later.clone()), later)
}

async fn post(door: &OpenFaas, path: &str, headers: &[(&str, &str)]) -> Back {
    let mut request = Request::post(path).header("host", "localhost:8080");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    send_as(door, Principal::Anonymous, request.body(Body::full("hi")).unwrap()).await
}

#[tokio::test]
async fn accepted_with_an_id_and_kept_as_the_function_shall_see_it() {
    let (door, later) = door();
    let back = post(&door, "/async-function/env/a/b?c=d", &[("x-mine", "1"), ("connection", "close")]).await;
    assert_eq!((back.status, back.body.as_str()), (StatusCode::ACCEPTED, ""));
    assert_eq!(back.header("x-served-by"), "xebec/1.2.3");
    let accepted = later.take();
    assert_eq!(back.header("x-call-id"), accepted.id.to_string());
    assert!(back.headers.get("x-xebec-call-id").is_none());
    assert_eq!((accepted.parts.method, accepted.parts.uri.to_string()), (Method::POST, "/a/b?c=d".into()));
    let seen = &accepted.parts.headers;
    assert_eq!((accepted.body.as_str(), seen["x-mine"].as_bytes()), ("hi", b"1".as_slice()));
    assert_eq!(seen["x-call-id"], back.header("x-call-id"));
    assert_eq!(seen["x-start-time"], back.header("x-start-time"));
    assert!(back.header("x-start-time").len() >= 19, "nanoseconds");
    assert_eq!((&seen["x-forwarded-host"], &seen["x-forwarded-for"]).0, "localhost:8080");
    assert!(seen.get("connection").is_none());
    assert_eq!(accepted.principal, Principal::Anonymous);
    assert!(accepted.wishes.destinations.is_empty());
    for (path, uri) in [
        ("/async-function/env", "/"),
        ("/async-function/env.openfaas-fn/", "/"),
        ("/async-function/env.staging?x", "/?x"),
    ] {
        assert_eq!(post(&door, path, &[]).await.status, StatusCode::ACCEPTED, "{path}");
        assert_eq!(later.take().parts.uri, uri);
    }
}

#[tokio::test]
async fn callbacks_carry_the_originals_headers() {
    let (door, later) = door();
    let url = "https://example.com/done?x=y";
    let back = post(&door, "/async-function/env", &[("X-Callback-Url", url)]).await;
    assert_eq!(back.status, StatusCode::ACCEPTED);
    let accepted = later.take();
    assert_eq!(accepted.parts.headers["x-callback-url"], url, "functions see it, too");
    let destinations = accepted.wishes.destinations;
    assert_eq!(destinations.on_success, destinations.on_failure);
    let [destination] = &destinations.on_success[..] else { panic!("{destinations:?}") };
    assert_eq!((&destination.to, destination.form), (&Recipient::Url(url.into()), Form::Answer));
    let headers: Vec<_> = destination.headers.iter().map(|(name, field)| (name.as_str(), field)).collect();
    assert_eq!(
        headers,
        [
            ("X-Call-Id", &Field::Id),
            ("X-Duration-Seconds", &Field::Seconds),
            ("X-Function-Status", &Field::Status),
            ("X-Function-Name", &Field::FunctionName),
            ("X-Retry", &Field::Retries),
            ("X-Retry-Max", &Field::Attempts),
        ]
    );
    for bad in ["nowhere", "ftp://example.com/", "example.com/x", "/path", "javascript:alert(1)"] {
        let back = post(&door, "/async-function/env", &[("X-Callback-Url", bad)]).await;
        assert_eq!(back.status, StatusCode::BAD_REQUEST, "{bad}");
        assert!(back.body.contains("X-Callback-Url"), "{}", back.body);
    }
    assert!(later.accepted.lock().unwrap().is_empty());
}

#[tokio::test]
async fn an_id_of_the_callers_own_stays() {
    let (door, later) = door();
    let headers = [("X-Call-Id", "mine-7"), ("X-Callback-Url", "http://example.com/")];
    let back = post(&door, "/async-function/env", &headers).await;
    assert_eq!(back.header("x-call-id"), "mine-7");
    let accepted = later.take();
    assert_eq!(back.header("x-xebec-call-id"), accepted.id.to_string());
    assert_eq!(accepted.parts.headers["x-call-id"], "mine-7");
    let (_, field) = &accepted.wishes.destinations.on_success[0].headers[0];
    assert_eq!(*field, Field::Text("mine-7".into()));
}

#[tokio::test]
async fn what_is_not_accepted() {
    let (door, later) = door();
    let back = post(&door, "/async-function/ghost", &[]).await;
    assert_eq!(back.status, StatusCode::NOT_FOUND);
    assert_eq!(back.body, "error finding function ghost.openfaas-fn: no such function");
    assert_eq!(post(&door, "/async-function/", &[]).await.status, StatusCode::NOT_FOUND);
    let back = send(&door, Method::GET, "/async-function/env", "").await;
    assert_eq!((back.status, back.header("allow")), (StatusCode::METHOD_NOT_ALLOWED, "POST, DELETE"));
    for (kind, code, status, later_on) in [
        (ErrorKind::Unavailable, "XB4020", 429, true),
        (ErrorKind::Unavailable, "XB4002", 503, true),
        (ErrorKind::Unavailable, "XB4023", 503, true),
        (ErrorKind::TooLarge, "XB2012", 413, false),
        (ErrorKind::Refused, "XB2013", 508, false),
        (ErrorKind::Invalid, "XB1011", 400, false),
        (ErrorKind::Forbidden, "XB5003", 401, false),
        (ErrorKind::Internal, "XB4003", 500, false),
    ] {
        *later.trouble.lock().unwrap() = Some(Error::new(kind, code, "no"));
        let back = post(&door, "/async-function/env", &[]).await;
        assert_eq!(back.status.as_u16(), status, "{code}");
        assert_eq!(!back.header("retry-after").is_empty(), later_on, "{code}");
        assert!(
            status == 401 || back.body == format!("Error queuing request: no [{code}]\n"),
            "{}",
            back.body
        );
    }
}

#[tokio::test]
async fn calls_are_taken_back_by_those_who_may() {
    let (door, later) = door();
    let id = post(&door, "/async-function/env", &[]).await.header("x-call-id").to_owned();
    let path = format!("/async-function/{id}");
    let delete = async |principal| {
        send_as(&door, principal, Request::delete(&path).body(Body::empty()).unwrap()).await.status
    };
    assert_eq!(delete(Principal::Anonymous).await, StatusCode::UNAUTHORIZED);
    let tenant = Some(Tenant::new("another"));
    let stranger = Principal::Key { id: "k".into(), role: Role::Admin, tenant };
    assert_eq!(delete(stranger).await, StatusCode::NOT_FOUND);
    assert_eq!(later.accepted.lock().unwrap().len(), 1);
    let tenant = Some(Tenant::default());
    let owner = Principal::Key { id: "k".into(), role: Role::Invoke, tenant };
    assert_eq!(delete(owner.clone()).await, StatusCode::ACCEPTED);
    assert!(later.accepted.lock().unwrap().is_empty());
    assert_eq!(delete(owner).await, StatusCode::NOT_FOUND, "it is gone");
    for unknown in ["env", &Uuid::now_v7().to_string(), "", "a/b"] {
        let back = send(&door, Method::DELETE, &format!("/async-function/{unknown}"), "").await;
        assert_eq!(back.status, StatusCode::NOT_FOUND, "{unknown}");
    }
}

#[tokio::test]
async fn counted_as_the_original_counts() {
    let (door, later) = door();
    post(&door, "/async-function/env", &[]).await;
    *later.trouble.lock().unwrap() = Some(Error::new(ErrorKind::Unavailable, "XB4023", "no"));
    post(&door, "/async-function/env", &[]).await;
    let mut out = String::new();
    door.metrics(&mut out);
    for (code, count) in [(202, 1), (503, 1)] {
        let line = format!(
            "gateway_function_invocation_total{{function_name=\"env.openfaas-fn\",code=\"{code}\"}} {count}\n"
        );
        assert!(out.contains(&line), "{line} is not in\n{out}");
    }
}

#[tokio::test]
async fn without_deliveries_there_are_none() {
    let engine = Engine::new();
    engine.put("default", "openfaas", "env");
    let back = send(&engine.door(), Method::POST, "/async-function/env", "").await;
    assert_eq!(back.status, StatusCode::NOT_IMPLEMENTED);
}

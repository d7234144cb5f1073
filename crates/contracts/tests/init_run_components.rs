//! The `init-run` contract over components in this process: what they are asked, what comes of what they answer.
#![allow(clippy::unwrap_used)]

mod toy;

use async_trait::async_trait;
use bytes::Bytes;
use http::{Request, Response};
use serde_json::json;
use std::{path::Path, sync::Arc};
use toy::{Opened, Owner, Toy, opening, post, spec};
use xebec_contracts::contract;
use xebec_core::{
    Body, Outcome,
    limits::Clock,
    outcome::{FunctionFault, PlatformFault},
    ports::instance::{
        Child, Command, Connection, Endpoint, Exit, InstanceId, InstanceIo, IoError, Listener, Signal,
    },
    record::Remarks,
};

type Answering = dyn Fn(Request<Body>) -> Result<Response<Body>, IoError> + Send + Sync;

struct Component {
    id: InstanceId,
    answering: Box<Answering>,
}

fn unsupported<T>(what: &'static str) -> Result<T, IoError> {
    Err(IoError::Unsupported { driver: "component", what })
}

#[async_trait]
impl InstanceIo for Component {
    fn id(&self) -> &InstanceId {
        &self.id
    }

    async fn connect(&self, _: &Endpoint) -> Result<Connection, IoError> {
        unsupported("connect")
    }

    async fn listen(&self, _: &Endpoint) -> Result<Box<dyn Listener>, IoError> {
        unsupported("listen")
    }

    async fn spawn(&self, _: Command) -> Result<Box<dyn Child>, IoError> {
        unsupported("spawn")
    }

    fn take_stdio(&self) -> Option<Connection> {
        None
    }

    async fn request(&self, request: Request<Body>) -> Result<Response<Body>, IoError> {
        (self.answering)(request)
    }

    async fn write_file(&self, _: &Path, _: Bytes) -> Result<(), IoError> {
        unsupported("write files")
    }

    async fn signal(&self, _: Signal) -> Result<(), IoError> {
        Ok(())
    }

    async fn exited(&self) -> Exit {
        std::future::pending().await
    }

    async fn destroy(&self) {}
}

async fn open(
    answering: impl Fn(Request<Body>) -> Result<Response<Body>, IoError> + Send + Sync + 'static,
) -> Opened {
    let (io, owner) = (Toy::new(), Arc::new(Owner::default()));
    let options = json!({"mode": "component", "max_answer_bytes": 20});
    let mut opening = opening(io.clone(), owner.clone(), spec("init-run", options), &[]);
    opening.io = Arc::new(Component { id: InstanceId("c".into()), answering: Box::new(answering) });
    opening.limits.request_bytes = 100;
    let session = contract("init-run").unwrap().open(opening).await.unwrap();
    Opened { io, owner, session }
}

fn said(status: u16, body: &'static str) -> Response<Body> {
    Response::builder().status(status).body(Body::full(body)).unwrap()
}

#[tokio::test]
async fn the_parameters_are_the_request() {
    let function = open(|request| {
        let headers = request.headers();
        assert_eq!((request.method().as_str(), request.uri().path()), ("POST", "/"));
        assert_eq!(headers["content-type"], "application/json");
        assert_eq!(headers["x-xebec-run-action-name"], "/guest/a");
        assert_eq!(headers["x-xebec-run-activation-id"].len(), 32);
        assert!(headers["x-xebec-run-deadline"].to_str().unwrap().parse::<u64>().is_ok());
        assert!(headers.get("cookie").is_none());
        Ok(Response::new(request.into_body()))
    })
    .await;
    for (sent, answered) in [("{\"a\": 1}", "{\"a\": 1}"), ("", "{}"), (" [1] ", "[1]")] {
        let mut request = post(sent);
        request.headers_mut().insert("x-xebec-run-action-name", "/guest/a".parse().unwrap());
        request.headers_mut().insert("cookie", "not passed on".parse().unwrap());
        let (head, body) = function.answer(request).await;
        assert_eq!((head.status.as_u16(), body.as_str()), (200, answered));
        assert_eq!(head.headers["content-type"], "application/json");
    }
    assert_eq!(function.owner.freed(), 3);
}

#[tokio::test]
async fn what_is_answered_is_the_result() {
    let function = open(|request| {
        Ok(match request.headers()["x-xebec-run-case"].to_str().unwrap() {
            "error" => said(200, "{\"error\": 1}"),
            "long" => said(200, "[111111111111111111111111]"),
            "scalar" => said(200, "7"),
            "status" => said(500, "{\"error\": \"no\"}"),
            "trap" => return Err(IoError::Trapped("unreachable".to_owned())),
            "late" => return Err(IoError::Interrupted),
            _ => return Err(IoError::Overloaded("memory".to_owned())),
        })
    })
    .await;
    let ask = |case: &str| {
        let mut request = post("{}");
        request.headers_mut().insert("x-xebec-run-case", case.parse().unwrap());
        request
    };
    for (case, says) in [("error", "{\"error\": 1}"), ("long", "exceeded the allowed length: 26 > 20 bytes")]
    {
        let (head, body) = function.answer(ask(case)).await;
        assert!(body.contains(says), "{body}");
        let outcome = head.extensions.get::<Remarks>().and_then(|remarks| remarks.outcome);
        assert_eq!(outcome, Some(Outcome::ApplicationError), "{case}");
    }
    for (case, outcome) in [
        ("scalar", Outcome::FunctionError(FunctionFault::BadResponse)),
        ("status", Outcome::FunctionError(FunctionFault::BadResponse)),
        ("trap", Outcome::FunctionError(FunctionFault::Crash)),
        ("late", Outcome::FunctionError(FunctionFault::Timeout(Clock::Run))),
        ("full", Outcome::PlatformError(PlatformFault::Overloaded)),
    ] {
        let failed = function.send(ask(case)).await.unwrap_err();
        assert_eq!(failed.outcome, outcome, "{case}");
        if case == "status" {
            assert_eq!(failed.output, "{\"error\": \"no\"}");
        }
    }
    for bad in ["7", "{", &format!("[\"{}\"]", "x".repeat(100))] {
        let failed = function.send(post(bad.to_owned())).await.unwrap_err();
        assert!(matches!(failed.outcome, Outcome::PlatformError(_)), "{bad}: {failed:?}");
    }
    // Nothing of a call is left behind it: the instance goes on.
    assert_eq!((function.owner.freed(), function.owner.retired()), (10, Vec::new()));
}

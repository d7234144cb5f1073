//! The contracts of code in this process: `builtin`, and `wasi-http`, which is called the same way.
#![allow(clippy::unwrap_used)]

mod toy;

use http::{Request, Response};
use serde_json::json;
use toy::{Opened, Toy, get, open, post, spec, text};
use xebec_contracts::contract;
use xebec_core::{
    Body, FunctionKey, InvocationId, Outcome, Tenant,
    auth::Principal,
    invocation::Called,
    limits::Clock,
    outcome::{FunctionFault, PlatformFault},
    ports::instance::{Exit, IoError},
    record::Remarks,
    slot::Retire,
};

async fn answering<F>(name: &str, answer: F) -> Opened
where
    F: Fn(Request<Body>) -> Result<Response<Body>, IoError> + Send + Sync + 'static,
{
    let io = Toy::new();
    assert!(io.answers.set(Box::new(answer)).is_ok());
    open(io, spec(name, json!({})), &[]).await
}

#[tokio::test]
async fn what_goes_with_requests_and_answers_arrives() {
    let function = answering("builtin", |request| {
        let called = request.extensions().get::<Called>().unwrap();
        assert_eq!(called.function.name, "trigger");
        let remarks = Remarks { outcome: Some(Outcome::ApplicationError), details: json!({"fired": 2}) };
        let mut response = Response::new(request.into_body());
        response.extensions_mut().insert(remarks);
        Ok(response)
    })
    .await;
    let mut request = post("{}");
    request.extensions_mut().insert(Called {
        id: InvocationId::new(),
        function: FunctionKey::new(&Tenant::default(), "native", "trigger"),
        principal: Principal::Local,
        note: None,
    });
    let (head, body) = function.answer(request).await;
    assert_eq!((head.status.as_u16(), body.as_str()), (200, "{}"));
    let remarks = head.extensions.get::<Remarks>().unwrap();
    assert_eq!(remarks.details, json!({"fired": 2}));
    assert_eq!((function.owner.freed(), function.owner.retired()), (1, vec![]));
}

/// What went wrong, how the call ended, and whether the instance goes on.
#[tokio::test]
async fn what_goes_wrong() {
    let exit = Exit { code: Some(7), signal: None, out_of_memory: false };
    type Fault = fn() -> IoError;
    let table: [(Fault, Outcome); 5] = [
        (|| IoError::Interrupted, Outcome::FunctionError(FunctionFault::Timeout(Clock::Run))),
        (|| IoError::Trapped("here".to_owned()), Outcome::FunctionError(FunctionFault::Crash)),
        (|| IoError::BadAnswer("none".to_owned()), Outcome::FunctionError(FunctionFault::BadResponse)),
        (|| IoError::Overloaded("memory".to_owned()), Outcome::PlatformError(PlatformFault::Overloaded)),
        (|| std::io::Error::other("disk").into(), Outcome::PlatformError(PlatformFault::Internal)),
    ];
    for name in ["builtin", "wasi-http"] {
        for (fault, outcome) in table {
            let function = answering(name, move |_| Err(fault())).await;
            let failed = function.send(get("/")).await.unwrap_err();
            assert_eq!(failed.outcome, outcome, "{}", fault());
            assert_eq!((function.owner.freed(), function.owner.retired()), (1, vec![]));
        }
        let function = answering(name, move |_| Err(IoError::Exited(exit))).await;
        let failed = function.send(get("/")).await.unwrap_err();
        assert_eq!(failed.outcome, Outcome::PlatformError(PlatformFault::Unavailable));
        assert_eq!((function.owner.freed(), function.owner.retired()), (0, vec![Retire::Exited]));
    }
}

#[tokio::test]
async fn an_answer_that_streams_keeps_its_slot() {
    let function = answering("builtin", |request| Ok(Response::new(request.into_body()))).await;
    let (feed, body) = toy::fed();
    let answer = function.send(Request::post("/").body(body).unwrap()).await.unwrap();
    assert_eq!(function.owner.freed(), 0);
    feed.send(Ok(http_body::Frame::data("streamed".into()))).await.unwrap();
    drop(feed);
    assert_eq!(text(answer.into_body()).await, "streamed");
    assert_eq!(function.owner.freed(), 1);
}

#[test]
fn builtins_have_no_settings() {
    let revision = |options| xebec_core::revision::RevisionSpec {
        workload: xebec_core::workload::Workload::Builtin { name: "x".to_owned(), settings: json!({}) },
        environment: "builtin".to_owned(),
        contract: spec("builtin", options),
        command: Vec::new(),
        handler: None,
        style: None,
        variables: std::collections::BTreeMap::new(),
        secrets: Vec::new(),
        limits: xebec_core::limits::Limits::default(),
        read_only_root: false,
        as_is: false,
    };
    let builtin = contract("builtin").unwrap();
    builtin.check(&revision(json!({}))).unwrap();
    let error = builtin.check(&revision(json!({"port": 80}))).unwrap_err();
    assert_eq!(error.to_string(), "the contract \"builtin\" has no setting \"port\" (it has none)");
}

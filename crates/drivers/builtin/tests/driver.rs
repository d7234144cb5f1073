//! The builtin driver, called as its contract does.

#![allow(clippy::unwrap_used)]

use async_trait::async_trait;
use http::{Request, Response};
use serde_json::{Value, json};
use std::{
    sync::{Arc, LazyLock},
    time::Duration,
};
use tokio::sync::Semaphore;
use xebec_conformance::driver::{self as suite, Ground};
use xebec_core::{
    Body, Error, FunctionKey, InvocationId, Tenant,
    auth::Principal,
    environment::Environment,
    invocation::Called,
    limits::Limits,
    ports::{
        builtin::Builtin,
        driver::{Driver, Start},
        instance::{InstanceId, InstanceIo, IoError, Signal},
    },
    revision::{ContractSpec, Revision, RevisionSpec},
    workload::Workload,
};
use xebec_driver_builtin::BuiltinDriver;

/// Says what it was told and who called it; waits, fails and panics where it is asked to.
struct Toy {
    waiting: Arc<Semaphore>,
    go_on: Arc<Semaphore>,
}

#[async_trait]
impl Builtin for Toy {
    fn check(&self, settings: &Value) -> Result<(), Error> {
        if settings.get("wrong").is_some() {
            return Err(Error::invalid("XB1003", "wrong: there is no such setting"));
        }
        Ok(())
    }

    async fn call(
        &self,
        called: Called,
        settings: &Value,
        request: Request<Body>,
    ) -> Result<Response<Body>, Error> {
        match request.uri().path() {
            "/panic" => panic!("{}", "as it was asked to"),
            "/full" => {
                let kind = xebec_core::ErrorKind::Unavailable;
                return Err(Error::new(kind, "XB2020", "no room"));
            }
            "/defect" => return Err(Error::internal("XB4003", "broken")),
            "/wait" => {
                self.waiting.add_permits(1);
                self.go_on.acquire().await.unwrap().forget();
            }
            _ => {}
        }
        let said = json!({ "id": called.id, "settings": settings, "to": called.function.name });
        Ok(Response::new(Body::full(said.to_string())))
    }
}

static ENVIRONMENT: LazyLock<Arc<Environment>> = LazyLock::new(|| {
    Arc::new(Environment {
        name: "builtin".to_owned(),
        description: String::new(),
        driver: "builtin".to_owned(),
        contract: ContractSpec::named("builtin"),
        image: None,
        command: Vec::new(),
        variables: [].into(),
        needs: Vec::new(),
        build: Vec::new(),
        blanks: None,
        concurrency: 1000,
    })
});

fn spec(name: &str, settings: Value) -> RevisionSpec {
    RevisionSpec {
        workload: Workload::Builtin { name: name.to_owned(), settings },
        environment: "builtin".to_owned(),
        contract: ContractSpec::named("builtin"),
        command: Vec::new(),
        handler: None,
        style: None,
        variables: [].into(),
        secrets: Vec::new(),
        limits: Limits::default(),
        read_only_root: false,
        as_is: false,
    }
}

struct World {
    driver: Arc<BuiltinDriver>,
    waiting: Arc<Semaphore>,
    go_on: Arc<Semaphore>,
}

fn world() -> World {
    let (waiting, go_on) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
    let driver = Arc::new(BuiltinDriver::new());
    driver.register("toy", Arc::new(Toy { waiting: waiting.clone(), go_on: go_on.clone() }));
    World { driver, waiting, go_on }
}

fn ground() -> Ground {
    Ground {
        driver: world().driver,
        revision: Arc::new(Revision::new(spec("toy", json!({})))),
        environment: ENVIRONMENT.clone(),
        code: None,
        age: Box::new(|| {}),
        kept: Box::new(()),
    }
}

async fn started(driver: &BuiltinDriver) -> Arc<dyn InstanceIo> {
    let start = Start {
        instance: InstanceId("one".into()),
        function: function(),
        revision: Arc::new(Revision::new(spec("toy", json!({ "a": 1 })))),
        environment: ENVIRONMENT.clone(),
        secrets: Vec::new(),
        lines: Arc::new(Nowhere),
    };
    driver.start(start).await.unwrap()
}

struct Nowhere;

impl xebec_core::ports::instance::LineSink for Nowhere {
    fn line(&self, _: xebec_core::log::LogStream, _: &str) {}
}

fn function() -> FunctionKey {
    FunctionKey::new(&Tenant::default(), "native", "f")
}

fn request(path: &str) -> (InvocationId, Request<Body>) {
    let id = InvocationId::new();
    let mut request = Request::post(path).body(Body::empty()).unwrap();
    let called = Called { id, function: function(), principal: Principal::Local, note: None };
    request.extensions_mut().insert(called);
    (id, request)
}

async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(60), what).await.expect("this took too long")
}

#[tokio::test]
async fn is_a_driver_as_all_others() {
    suite::says_what_it_takes(&ground()).await;
    suite::tells_everyone_of_an_end(&ground()).await;
    suite::kills(&ground()).await;
    suite::says_what_it_cannot_do(&ground()).await;
    suite::ends_what_it_started(&ground()).await;
}

#[test]
fn refuses_what_it_cannot_be_told() {
    let driver = world().driver;
    let refused = |spec| driver.accepts(&Revision::new(spec), &ENVIRONMENT).unwrap_err();
    let unknown = refused(spec("nothing", json!({})));
    assert_eq!(unknown.code, "XB3001");
    assert!(unknown.to_string().contains("\"nothing\"") && unknown.to_string().contains("toy"), "{unknown}");
    assert_eq!(refused(spec("toy", json!({ "wrong": 1 }))).code, "XB1003");
    let image = RevisionSpec { workload: Workload::image("alpine"), ..spec("toy", json!({})) };
    assert_eq!(refused(image).code, "XB3001");
    let contract = RevisionSpec { contract: ContractSpec::named("http"), ..spec("toy", json!({})) };
    assert!(refused(contract).message.contains("http"));
    let limits = Limits { memory_bytes: Some(1), ..Limits::default() };
    let limited = RevisionSpec { limits, ..spec("toy", json!({})) };
    assert!(refused(limited).message.starts_with("limits.memory_bytes"));
}

#[tokio::test]
async fn hands_over_calls_with_what_is_known_of_them() {
    let io = started(&world().driver).await;
    let (id, request) = request("/");
    let answer = soon(io.request(request)).await.unwrap();
    let said: Value = serde_json::from_slice(&answer.into_body().collect(1 << 20).await.unwrap()).unwrap();
    assert_eq!(said, json!({ "id": id, "settings": { "a": 1 }, "to": "f" }));
    // A request of which nothing is known did not come by the engine.
    assert!(matches!(io.request(Request::new(Body::empty())).await, Err(IoError::System(_))));
}

#[tokio::test]
async fn a_panic_ends_its_own_call_alone() {
    let io = started(&world().driver).await;
    match soon(io.request(request("/panic").1)).await {
        Err(IoError::System(error)) => assert!(error.to_string().contains("as it was asked to"), "{error}"),
        other => panic!("{other:?}"),
    }
    soon(io.request(request("/").1)).await.unwrap();
    assert!(matches!(soon(io.request(request("/full").1)).await, Err(IoError::Overloaded(_))));
    assert!(matches!(soon(io.request(request("/defect").1)).await, Err(IoError::System(_))));
}

#[tokio::test]
async fn takes_many_calls_at_a_time_and_stops_with_the_last() {
    let world = world();
    let io = started(&world.driver).await;
    let calls: Vec<_> = (0..100)
        .map(|_| {
            let io = io.clone();
            tokio::spawn(async move { io.request(request("/wait").1).await.map(|_| ()) })
        })
        .collect();
    soon(world.waiting.acquire_many(100)).await.unwrap().forget();
    io.signal(Signal::Stop).await.unwrap();
    world.go_on.add_permits(100);
    for call in calls {
        soon(call).await.unwrap().unwrap();
    }
    assert!(soon(io.exited()).await.is_success());
}

#[tokio::test]
async fn an_end_gives_up_what_runs() {
    let world = world();
    let io = started(&world.driver).await;
    let call = {
        let io = io.clone();
        tokio::spawn(async move { io.request(request("/wait").1).await.map(|_| ()) })
    };
    soon(world.waiting.acquire()).await.unwrap().forget();
    io.destroy().await;
    assert!(matches!(soon(call).await.unwrap(), Err(IoError::System(_))), "it may have done something");
    assert!(matches!(soon(io.request(request("/").1)).await, Err(IoError::Exited(_))));
}

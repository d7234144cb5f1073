//! The series that dashboards read, after what they count has happened.

#![allow(clippy::unwrap_used)]

mod support;

use http::{Method, Request, Response, StatusCode};
use support::{Engine, Later, send};
use xebec_core::{
    Body, FunctionKey, Invocation, InvocationId, InvokeError, Outcome, Tenant,
    auth::Principal,
    function::FunctionUsage,
    outcome::FunctionFault,
    policy::{Metric, Scaling},
    ports::door::Door,
};

fn series(door: &dyn Door) -> Vec<String> {
    let mut out = String::new();
    door.metrics(&mut out);
    out.lines().map(str::to_owned).collect()
}

fn assert_has(door: &dyn Door, wanted: &[&str]) {
    let written = series(door);
    for line in wanted {
        assert!(written.iter().any(|written| written == line), "{line}\nis not in\n{}", written.join("\n"));
    }
}

#[tokio::test]
async fn calls_and_what_serves_them() {
    let engine = Engine::new();
    engine.put("staging", "openfaas", "env");
    engine.change("staging", "env", |view| {
        view.live.starting = 2;
        view.function.policy.min_instances = 1;
        let target = Some(45.0);
        view.function.policy.scaling = Scaling { target, ..Scaling::by(Metric::Cpu) };
    });
    let key = FunctionKey::new(&Tenant::new("staging"), "openfaas", "env");
    let usage = FunctionUsage { cpu_millis: 12.5, cpu_seconds: 3.25, memory_bytes: 4096 };
    engine.usages.lock().unwrap().insert(key, usage);
    let door = engine.door();
    assert_eq!(send(&door, Method::POST, "/function/env.staging", "x").await.status, StatusCode::OK);
    send(&door, Method::GET, "/function/ghost", "").await;
    assert_has(
        &door,
        &[
            "gateway_function_invocation_total{function_name=\"env.staging\",code=\"200\"} 1",
            "gateway_function_invocation_started{function_name=\"env.staging\"} 1",
            "gateway_service_count{function_name=\"env.staging\"} 3",
            "gateway_service_ready_count{function_name=\"env.staging\"} 1",
            "gateway_service_min{function_name=\"env.staging\"} 1",
            "gateway_service_target_load{function_name=\"env.staging\",scaling_type=\"cpu\"} 45",
            "pod_cpu_usage_seconds_total{function_name=\"env.staging\",namespace=\"staging\"} 3.25",
            "pod_memory_working_set_bytes{function_name=\"env.staging\",namespace=\"staging\"} 4096",
        ],
    );
    assert!(!series(&door).iter().any(|line| line.contains("ghost")), "anyone could make series");
}

#[tokio::test]
async fn requests_to_the_server_itself() {
    let door = Engine::new().door();
    send(&door, Method::GET, "/system/functions", "").await;
    send(&door, Method::GET, "/system/function/ghost?usage=1", "").await;
    send(&door, Method::POST, "/async-function/env", "").await;
    assert_has(
        &door,
        &[
            "http_requests_total{method=\"GET\",path=\"/system/functions\",status=\"200\"} 1",
            "http_requests_total{method=\"GET\",path=\"/system/function\",status=\"404\"} 1",
            "http_requests_total{method=\"POST\",path=\"/async-function\",status=\"501\"} 1",
            "http_request_duration_seconds_count{method=\"GET\",path=\"/system/functions\",status=\"200\"} 1",
        ],
    );
}

#[tokio::test]
async fn calls_made_later_count_when_they_are_accepted_and_when_they_run() {
    let (engine, later) = (Engine::new(), Later::new());
    engine.put("default", "openfaas", "env");
    let door = engine.door().with_deliveries(later.clone());
    send(&door, Method::POST, "/async-function/env", "x").await;
    send(&door, Method::POST, "/async-function/env", "x").await;
    assert_has(
        &door,
        &[
            "gateway_function_invocation_total{function_name=\"env.openfaas-fn\",code=\"202\"} 2",
            "queue_worker_messages_submitted_total{queue_name=\"default\"} 2",
            "queue_worker_messages_processed_total{queue_name=\"default\"} 0",
            "queue_worker_pending_messages{queue_name=\"default\"} 2",
        ],
    );

    let worker = door.counted();
    let key = FunctionKey::new(&Tenant::default(), "openfaas", "env");
    let call = || {
        let request = Request::post("/").body(Body::full("x")).unwrap();
        Invocation { attempt: 1, ..Invocation::new(key.clone(), Principal::Local, request) }
    };
    engine.answer(|_| Ok(Response::builder().status(503).body(Body::full("later")).unwrap()));
    worker.invoke(call()).await.unwrap();
    engine.answer(|_| {
        let fault = Outcome::FunctionError(FunctionFault::Crash);
        Err(Box::new(InvokeError::new(InvocationId::new(), fault, "it crashed")))
    });
    worker.invoke(call()).await.unwrap_err();
    assert_has(
        &door,
        &[
            "gateway_function_invocation_total{function_name=\"env.openfaas-fn\",code=\"503\"} 1",
            "gateway_function_invocation_total{function_name=\"env.openfaas-fn\",code=\"500\"} 1",
            "gateway_function_invocation_started{function_name=\"env.openfaas-fn\"} 4",
            "queue_worker_messages_processed_total{queue_name=\"default\"} 2",
            "queue_worker_function_invocation_inflight{queue_name=\"default\"} 0",
        ],
    );
}

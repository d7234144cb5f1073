//! `/system/alert`, from what Alertmanager sends.

#![allow(clippy::unwrap_used)]

mod support;

use http::{Method, Request, StatusCode};
use serde_json::json;
use support::{Engine, send, send_as};
use xebec_core::{
    Body, Tenant,
    auth::{Principal, Role},
};

fn webhook(status: &str, functions: &[&str]) -> String {
    let alert = |function: &&str| {
        json!({
            "status": status,
            "labels": {"alertname": "APIHighInvocationRate", "function_name": function, "severity": "major"},
            "annotations": {"summary": "High invocation total"},
            "startsAt": "2026-01-02T03:04:05.678Z", "endsAt": "0001-01-01T00:00:00Z",
        })
    };
    let alerts: Vec<_> = functions.iter().map(alert).collect();
    json!({
        "receiver": "scale-up", "status": status, "alerts": alerts,
        "groupLabels": {"alertname": "APIHighInvocationRate"}, "version": "4",
    })
    .to_string()
}

/// A function with these bounds and labels, and `ready` instances.
fn engine(min: u32, max: u32, ready: u32, labels: &[(&str, &str)]) -> std::sync::Arc<Engine> {
    let engine = Engine::new();
    engine.put("default", "openfaas", "fn");
    engine.change("default", "fn", |view| {
        view.function.policy.min_instances = min;
        view.function.policy.max_instances = max;
        view.live.ready = ready;
        let labels =
            labels.iter().map(|(name, value)| (format!("com.openfaas.scale.{name}"), (*value).to_owned()));
        view.function.labels = labels.collect();
    });
    engine
}

async fn wanted(engine: &std::sync::Arc<Engine>, status: &str) -> Option<u32> {
    let back =
        send(&engine.door(), Method::POST, "/system/alert", &webhook(status, &["fn.openfaas-fn"])).await;
    assert_eq!((back.status, back.body.as_str()), (StatusCode::OK, ""));
    engine.scaled.lock().unwrap().pop().map(|(_, instances)| instances)
}

#[tokio::test]
async fn up_by_a_step_and_back_to_the_least() {
    for (min, max, ready, factor, up) in [
        (1, 20, 1, None, Some(5)),
        (1, 20, 0, None, Some(5)),
        (1, 20, 19, None, Some(20)),
        (1, 7, 1, Some("20"), Some(3)),
        (2, 5, 2, Some("100"), Some(5)),
        (1, 20, 1, Some("0"), None),
        (3, 3, 3, None, None),
    ] {
        let labels: Vec<_> = factor.map(|factor| ("factor", factor)).into_iter().collect();
        let engine = engine(min, max, ready, &labels);
        assert_eq!(wanted(&engine, "firing").await, up, "{min} {max} {ready} {factor:?}");
        assert_eq!(wanted(&engine, "resolved").await, up.map(|_| min), "{min} {max} {ready} {factor:?}");
    }
    // Where none at all may be left, an alert that is over leaves one: it goes when it was idle for long.
    assert_eq!(wanted(&engine(0, 20, 4, &[]), "resolved").await, Some(1));
}

#[tokio::test]
async fn what_cannot_be_read_and_what_cannot_be_done() {
    let engine = engine(1, 20, 1, &[]);
    let door = engine.door();
    for body in ["", "{", "5", r#"{"alerts": 5}"#] {
        assert_eq!(send(&door, Method::POST, "/system/alert", body).await.status, StatusCode::BAD_REQUEST);
    }
    assert_eq!(send(&door, Method::POST, "/system/alert", "{}").await.status, StatusCode::OK);
    let body = webhook("firing", &["ghost.openfaas-fn", "fn", "", "fn.openfaas-fn."]);
    let back = send(&door, Method::POST, "/system/alert", &body).await;
    assert_eq!(back.status, StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(back.body.lines().count(), 3, "{}", back.body);
    assert!(back.body.contains("ghost.openfaas-fn") && back.body.contains("no such function"));
    assert_eq!(engine.scaled.lock().unwrap().len(), 1, "the others are acted on");
    let odd = send(&door, Method::POST, "/system/alert", &webhook("simmering", &["fn"])).await;
    assert!(
        odd.status == StatusCode::INTERNAL_SERVER_ERROR && odd.body.contains("simmering"),
        "{}",
        odd.body
    );
}

#[tokio::test]
async fn a_key_scales_what_it_manages() {
    let engine = engine(1, 20, 1, &[]);
    engine.put("staging", "openfaas", "fn");
    let key = Principal::Key { id: "k".into(), role: Role::Manage, tenant: Some(Tenant::new("staging")) };
    let body = webhook("firing", &["fn.openfaas-fn", "fn.staging"]);
    let request = Request::post("/system/alert").body(Body::full(body)).unwrap();
    let back = send_as(&engine.door(), key, request).await;
    assert_eq!(back.status, StatusCode::INTERNAL_SERVER_ERROR);
    let scaled = engine.scaled.lock().unwrap();
    assert!(scaled.iter().all(|(key, _)| key.tenant.as_str() == "staging") && scaled.len() == 1);
}

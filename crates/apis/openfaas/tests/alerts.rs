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
        (1, 20, 20, None, None),
        (1, 7, 1, Some("20"), Some(3)),
        (2, 5, 2, Some("100"), Some(5)),
        (1, 20, 1, Some("0"), None),
        (3, 3, 3, None, None),
    ] {
        let labels: Vec<_> = factor.map(|factor| ("factor", factor)).into_iter().collect();
        let engine = engine(min, max, ready, &labels);
        assert_eq!(wanted(&engine, "firing").await, up, "{min} {max} {ready} {factor:?}");
        let down = (min < max && factor != Some("0")).then_some(min);
        assert_eq!(wanted(&engine, "resolved").await, down, "{min} {max} {ready} {factor:?}");
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

/// Calls it 60 times between each two looks of the rule, `in_flight` at a time.
async fn called(in_flight: u32, labels: &[(&str, &str)]) -> Vec<u32> {
    let engine = engine(1, 20, 1, labels);
    engine.change("default", "fn", |view| view.live.in_flight = in_flight);
    let door = engine.door().with_steps();
    for _ in 0..9 {
        for _ in 0..60 {
            assert_eq!(send(&door, Method::POST, "/function/fn", "").await.status, StatusCode::OK);
        }
        tokio::time::sleep(std::time::Duration::from_secs(5)).await;
    }
    engine.scaled.lock().unwrap().iter().map(|(_, instances)| *instances).collect()
}

#[tokio::test(start_paused = true)]
async fn what_succeeds_often_gets_a_step_where_a_step_is_of_use() {
    assert!(called(5, &[]).await.starts_with(&[2]), "a fifth of the free edition's five");
    assert!(called(5, &[("max", "20")]).await.starts_with(&[5]));
    assert!(called(5, &[("max", "20"), ("factor", "50")]).await.starts_with(&[11]));
    assert_eq!(called(1, &[]).await, [0u32; 0], "another one would find nothing to do");
    for label in [("type", "rps"), ("target", "10"), ("zero", "true"), ("factor", "0")] {
        assert_eq!(called(5, &[label]).await, [0u32; 0], "{label:?}");
    }
}

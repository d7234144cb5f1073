//! Namespaces, from the requests of `faas-cli namespace` and of the SDKs.

#![allow(clippy::unwrap_used)]

mod support;

use http::{Method, Request, StatusCode};
use serde_json::json;
use support::{Back, Engine, send, send_as};
use xebec_api_openfaas::OpenFaas;
use xebec_core::{
    Body, Tenant,
    auth::{Principal, Role},
};

/// `faas-cli namespace create staging --label team=a`
const CREATE: &str =
    r#"{"name":"staging","annotations":{"openfaas":"1"},"labels":{"openfaas":"1","team":"a"}}"#;

/// `faas-cli namespace remove staging`
const REMOVE: &str = r#"{"name":"staging","labels":{"openfaas":"1"}}"#;

async fn create(door: &OpenFaas) -> Back {
    send(door, Method::POST, "/system/namespace/", CREATE).await
}

#[tokio::test]
async fn created_shown_changed_and_removed() {
    let engine = Engine::new();
    let door = engine.door();
    let made = create(&door).await;
    assert_eq!((made.status, made.body.as_str()), (StatusCode::CREATED, ""));
    assert_eq!(create(&door).await.status, StatusCode::CONFLICT);
    let shown = json!({
        "name": "staging", "annotations": {"openfaas": "1"}, "labels": {"openfaas": "1", "team": "a"}
    });
    for path in ["/system/namespace/staging", "/system/namespaces/staging", "/system/namespace/staging/"] {
        assert_eq!(send(&door, Method::GET, path, "").await.json(), shown, "{path}");
    }
    let listed = send(&door, Method::GET, "/system/namespaces", "").await;
    assert_eq!(listed.json(), json!(["openfaas-fn", "staging"]));

    let body = r#"{"name":"staging","labels":{"openfaas":"1","team":"b"}}"#;
    for path in ["/system/namespace/staging", "/system/namespaces/staging"] {
        assert_eq!(send(&door, Method::PUT, path, body).await.status, StatusCode::ACCEPTED, "{path}");
    }
    let changed = send(&door, Method::GET, "/system/namespace/staging", "").await.json();
    assert_eq!((&changed["labels"]["team"], &changed["annotations"]), (&json!("b"), &json!({})));

    let removed = send(&door, Method::DELETE, "/system/namespace/staging", REMOVE).await;
    assert_eq!((removed.status, removed.body.as_str()), (StatusCode::ACCEPTED, ""));
    for (method, body) in [(Method::GET, ""), (Method::PUT, CREATE), (Method::DELETE, REMOVE)] {
        let back = send(&door, method.clone(), "/system/namespace/staging", body).await;
        assert_eq!(back.status, StatusCode::NOT_FOUND, "{method}");
    }
    // The mark that clients set is there without them.
    let plain = send(&door, Method::POST, "/system/namespaces", r#"{"name":"plain","labels":null}"#).await;
    assert_eq!(plain.status, StatusCode::CREATED);
    let plain = send(&door, Method::GET, "/system/namespace/plain", "").await.json();
    assert_eq!(plain, json!({"name": "plain", "annotations": {}, "labels": {"openfaas": "1"}}));
}

#[tokio::test]
async fn what_cannot_be_done_says_why() {
    let engine = Engine::new();
    let door = engine.door();
    create(&door).await;
    for (method, path, body, status, reason) in [
        (Method::POST, "/system/namespace/", "{", 400, "EOF"),
        (Method::POST, "/system/namespace/", "{}", 400, "it is empty"),
        (Method::POST, "/system/namespace/", r#"{"name":"Not_A_Name"}"#, 400, "XB1001"),
        (Method::POST, "/system/namespace/", r#"{"name":"openfaas-fn"}"#, 409, "exists already"),
        (Method::POST, "/system/namespace/other", CREATE, 400, "in the path"),
        (Method::PUT, "/system/namespace/other", CREATE, 400, "in the path"),
        (Method::DELETE, "/system/namespace/other", REMOVE, 400, "in the path"),
        (Method::DELETE, "/system/namespace/openfaas-fn", "", 400, "cannot be removed"),
        (Method::GET, "/system/namespace/ghost", "", 404, "no such namespace: ghost"),
    ] {
        let back = send(&door, method.clone(), path, body).await;
        assert_eq!(back.status.as_u16(), status, "{method} {path} {body}: {}", back.body);
        assert!(back.body.contains(reason) && back.body.ends_with('\n'), "{}", back.body);
    }
    engine.put("staging", "openfaas", "fn");
    let used = send(&door, Method::DELETE, "/system/namespace/staging", REMOVE).await;
    assert_eq!(used.status, StatusCode::CONFLICT);
    assert!(used.body.contains("staging is not empty: functions: 1"), "{}", used.body);
}

#[tokio::test]
async fn what_holds_a_function_is_there_without_being_created() {
    let engine = Engine::new();
    engine.put("staging", "openfaas", "fn");
    engine.put("elsewhere", "native", "fn");
    let door = engine.door();
    let listed = send(&door, Method::GET, "/system/namespaces", "").await;
    assert_eq!(listed.json(), json!(["openfaas-fn", "staging"]));
    let marked = json!({"openfaas": "1"});
    let shown = send(&door, Method::GET, "/system/namespace/staging", "").await;
    assert_eq!(shown.json(), json!({"name": "staging", "annotations": marked, "labels": marked}));
    assert_eq!(create(&door).await.status, StatusCode::CONFLICT);
    let changed = send(&door, Method::PUT, "/system/namespace/staging", CREATE).await;
    assert_eq!(changed.status, StatusCode::ACCEPTED);
    assert_eq!(engine.tenants.lock().unwrap()[&Tenant::new("staging")].labels["team"], "a");
}

#[tokio::test]
async fn a_key_has_its_own_namespace_alone() {
    let engine = Engine::new();
    let door = engine.door();
    let key = Principal::Key { id: "k".into(), role: Role::Manage, tenant: Some(Tenant::new("mine")) };
    create(&door).await;
    for (method, path, body, status) in [
        (Method::GET, "/system/namespace/staging", "", 403),
        (Method::PUT, "/system/namespace/staging", CREATE, 403),
        (Method::DELETE, "/system/namespace/staging", REMOVE, 403),
        (Method::POST, "/system/namespace/", r#"{"name":"other"}"#, 403),
        (Method::POST, "/system/namespace/", r#"{"name":"mine"}"#, 201),
        (Method::GET, "/system/namespaces", "", 200),
    ] {
        let request = Request::builder().method(method).uri(path).body(Body::full(body)).unwrap();
        let back = send_as(&door, key.clone(), request).await;
        assert_eq!(back.status.as_u16(), status, "{path}: {}", back.body);
        if status == 200 {
            assert_eq!(back.json(), json!(["mine"]));
        }
    }
}

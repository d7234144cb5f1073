//! Code in place of an image, as `xebec apply` sends it, and deploys that are only checked.

#![allow(clippy::unwrap_used)]

mod support;

use http::Method;
use serde_json::{Value, json};
use std::time::Duration;
use support::{Engine, send};
use xebec_api_openfaas::{deployment, wire::FunctionDeployment};
use xebec_core::{
    Digest, Error, Tenant,
    document::Expect,
    ports::control::Deployment,
    workload::{ArchiveFormat, Workload},
};

fn source() -> Value {
    json!({
        "lang": "python3-http", "environment": "exec", "style": "s", "handler": "h", "command": ["./handler"],
        "concurrency": 4, "code": { "digest": Digest::of("code"), "format": "tar_zstd", "bytes": 4 },
    })
}

fn compile(fields: Value) -> Result<Deployment, Error> {
    let mut document = json!({ "service": "fn", "source": source() });
    for (name, value) in fields.as_object().unwrap() {
        document[name] = value.clone();
    }
    let request: FunctionDeployment = serde_json::from_value(document.clone())
        .map_err(|error| Error::invalid("XB1002", error.to_string()))?;
    deployment(&*Engine::new(), &Tenant::default(), &request, document, Expect::Any)
}

#[test]
fn the_code_runs_in_place_of_the_image() {
    let compiled = compile(json!({"image": "ghcr.io/openfaas/alpine:latest"})).unwrap();
    let revision = compiled.revision;
    let code = Workload::Code { archive: Digest::of("code"), format: ArchiveFormat::TarZstd, bytes: 4 };
    assert_eq!((revision.workload, revision.environment.as_str()), (code, "exec"));
    assert_eq!((revision.style.as_deref(), revision.handler.as_deref()), (Some("s"), Some("h")));
    assert_eq!(revision.command, ["./handler"]);
    assert_eq!(revision.limits.concurrency, 4);
    assert_eq!(revision.variables["OPENFAAS_NAME"], "fn");
    assert_eq!(compiled.document["source"]["lang"], "python3-http");
}

#[test]
fn variables_bound_calls_and_set_up_no_watchdog() {
    let variables =
        json!({"exec_timeout": "3s", "max_inflight": "7", "mode": "http", "upstream_url": "elsewhere"});
    let revision = compile(json!({ "envVars": variables })).unwrap().revision;
    assert_eq!(revision.limits.clocks.run, Duration::from_secs(3));
    assert_eq!((revision.limits.concurrency, revision.contract.name.as_str()), (7, "stdio"));
}

#[test]
fn what_cannot_be_honoured_is_named() {
    let with = |field: &str, value: Value| {
        let mut source = source();
        source[field] = value;
        compile(json!({ "source": source })).unwrap_err()
    };
    assert!(with("environment", json!("cobol")).message.contains("\"cobol\""));
    assert!(with("concurrency", json!(0)).message.contains("source.concurrency"));
    assert!(with("nonsense", json!(1)).message.contains("nonsense"));
    assert!(compile(json!({"envProcess": "cat"})).unwrap_err().message.contains("envProcess"));
    assert!(compile(json!({"source": null})).unwrap_err().message.contains("image is missing"));
}

#[tokio::test]
async fn a_check_deploys_nothing() {
    let engine = Engine::new();
    let door = engine.door();
    let body = json!({"service": "fn", "image": "ghcr.io/openfaas/alpine:latest", "envProcess": "cat"});
    let path = "/system/functions?dry-run=true";
    let checked = send(&door, Method::POST, path, &body.to_string()).await;
    assert_eq!(checked.status, 202);
    assert_eq!(send(&door, Method::PUT, path, &body.to_string()).await.status, 404);
    let mut secret = body.clone();
    secret["secrets"] = json!(["none"]);
    assert_eq!(send(&door, Method::POST, path, &secret.to_string()).await.status, 400);
    assert_eq!(send(&door, Method::GET, "/system/functions", "").await.json(), json!([]));
    assert_eq!(send(&door, Method::POST, "/system/functions", &body.to_string()).await.status, 202);
    assert_eq!(send(&door, Method::POST, path, &body.to_string()).await.status, 500);
}

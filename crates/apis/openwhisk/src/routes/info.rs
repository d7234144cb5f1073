//! What the server says of itself.

use super::{Call, docs};
use crate::{
    Shared,
    errors::{self, Rejection},
    kinds,
};
use http::{HeaderValue, Method, Response, StatusCode, header, request::Parts as Head};
use serde_json::{Map, Value, json};
use std::sync::Arc;
use xebec_core::Body;

/// What everyone may read under `/api/v1`; `None`: it is nothing of that.
pub(super) fn open(
    shared: &Arc<Shared>,
    head: &Head,
    segments: &[&str],
) -> Option<Result<Response<Body>, Rejection>> {
    let value = match segments {
        [] => version(shared),
        ["api-docs"] => docs::describe(shared),
        _ => return None,
    };
    Some(match head.method {
        Method::GET | Method::HEAD => Ok(errors::json(StatusCode::OK, &value)),
        _ => Err(Rejection::no_such_method("GET")),
    })
}

/// The API's own description: `wsk property get` reads the build from it.
fn version(shared: &Shared) -> Value {
    json!({
        "description": "OpenWhisk API",
        "api_version": "1.0.0",
        "api_version_path": "v1",
        "build": shared.options.build,
        "buildno": shared.options.version,
        "swagger_paths": { "ui": "/docs", "api-docs": "/api-docs" },
    })
}

/// `GET /namespaces`: the one that is the caller's.
pub(super) fn namespaces(call: &Call) -> Result<Response<Body>, Rejection> {
    match call.head.method {
        Method::GET | Method::HEAD => Ok(errors::json(StatusCode::OK, &json!([call.caller.namespace]))),
        _ => Err(Rejection::no_such_method("GET")),
    }
}

/// What the door adds to `GET /`: `wskdeploy` reads the kinds from it.
pub(crate) fn greeting(shared: &Shared) -> Map<String, Value> {
    let limits = &shared.options.limits;
    const MEGABYTE: u64 = 1024 * 1024;
    let greeting = json!({
        "description": "OpenWhisk",
        "support": { "github": env!("CARGO_PKG_REPOSITORY") },
        "api_paths": [crate::API_ROOT],
        "limits": {
            "actions_per_minute": limits.invocations_per_minute,
            "triggers_per_minute": limits.fires_per_minute,
            "concurrent_actions": limits.concurrent_invocations,
            "sequence_length": limits.sequence_length,
            "default_min_action_duration": limits.timeout.0,
            "default_max_action_duration": limits.timeout.1,
            "default_min_action_memory": limits.memory.0 * MEGABYTE,
            "default_max_action_memory": limits.memory.1 * MEGABYTE,
            "default_min_action_logs": limits.logs.0 * MEGABYTE,
            "default_max_action_logs": limits.logs.1 * MEGABYTE,
            "min_action_duration": limits.timeout.0,
            "max_action_duration": limits.timeout.1,
            "min_action_memory": limits.memory.0 * MEGABYTE,
            "max_action_memory": limits.memory.1 * MEGABYTE,
            "min_action_logs": limits.logs.0 * MEGABYTE,
            "max_action_logs": limits.logs.1 * MEGABYTE,
        },
        "runtimes": kinds::manifest(shared.control.as_ref()),
    });
    match greeting {
        Value::Object(greeting) => greeting,
        _ => Map::new(),
    }
}

/// `/ping` and `/invokers…`: there is one thing that runs actions, and it is this server.
pub(super) fn admin(head: &Head) -> Result<Response<Body>, Rejection> {
    if !matches!(head.method, Method::GET | Method::HEAD) {
        return Err(Rejection::no_such_method("GET"));
    }
    let path = head.uri.path().trim_end_matches('/');
    match path {
        crate::PING => {
            let mut response = Response::new(Body::full("pong"));
            let plain = HeaderValue::from_static("text/plain; charset=utf-8");
            response.headers_mut().insert(header::CONTENT_TYPE, plain);
            Ok(response)
        }
        crate::INVOKERS => Ok(errors::json(StatusCode::OK, &json!({ "invoker0/0": "up" }))),
        "/invokers/healthy/count" => Ok(errors::json(StatusCode::OK, &json!(1))),
        "/invokers/ready" => Ok(errors::json(StatusCode::OK, &json!({ "healthy": "1/1" }))),
        _ => Err(Rejection::no_such_route()),
    }
}

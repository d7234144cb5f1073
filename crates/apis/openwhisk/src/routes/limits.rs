//! What a namespace may do: read by its owner, set by an administrator.

use super::{Call, body};
use crate::{
    Shared,
    entities::LIMITS,
    errors::{self, Rejection},
    wire::limits::{EffectiveLimits, NamespaceLimits},
};
use http::{Method, Response, StatusCode};
use serde_json::json;
use std::sync::Arc;
use xebec_core::{
    Body, Error, Tenant,
    document::{Document, DocumentKey, Expect},
};

/// `…/limits`. `PUT` and `DELETE` stand in for the tools that write to OpenWhisk's database.
pub(super) async fn handle(
    shared: &Arc<Shared>,
    call: &Call,
    namespace: &Tenant,
    body: Body,
) -> Result<Response<Body>, Rejection> {
    if !call.caller.owns(namespace) {
        return Err(Rejection::forbidden(namespace));
    }
    match call.head.method {
        Method::GET | Method::HEAD => Ok(shown(&shared.limits(namespace))),
        Method::PUT | Method::DELETE if !call.caller.principal.is_admin() => {
            Err(Rejection::forbidden(format!("{namespace}/limits")))
        }
        Method::PUT => {
            let bytes = body::read(call, body, body::SMALL).await?;
            let own: NamespaceLimits = body::parse(&bytes)?;
            let spec = serde_json::to_value(&own).map_err(|error| {
                Error::internal("XB4003", format!("the limits cannot be written as JSON: {error}"))
            })?;
            let document = Document::new(LIMITS, namespace.as_str(), "limits", spec);
            let stored = shared.store.put(document, Expect::Any).await?;
            shared.entities.apply(stored);
            Ok(shown(&shared.limits(namespace)))
        }
        Method::DELETE => {
            let key = DocumentKey::new(LIMITS, namespace.as_str(), "limits");
            let deleted = shared.store.delete(key, Expect::Any).await?;
            if let Some(document) = deleted {
                shared.entities.deleted(&document);
            }
            Ok(shown(&shared.limits(namespace)))
        }
        _ => Err(Rejection::no_such_method("GET, PUT, DELETE")),
    }
}

fn shown(limits: &EffectiveLimits) -> Response<Body> {
    let mut wire = json!({
        "invocationsPerMinute": limits.invocations_per_minute(),
        "concurrentInvocations": limits.concurrent_invocations(),
        "firesPerMinute": limits.fires_per_minute(),
        "minActionMemory": limits.memory().0,
        "maxActionMemory": limits.memory().1,
        "minActionLogs": limits.logs().0,
        "maxActionLogs": limits.logs().1,
        "minActionTimeout": limits.timeout().0,
        "maxActionTimeout": limits.timeout().1,
        "minActionConcurrency": limits.concurrency().0,
        "maxActionConcurrency": limits.concurrency().1,
        "maxParameterSize": format!("{} B", limits.parameter_bytes()),
        "maxActionInstances": limits.instances(),
    });
    // What the namespace has of its own beside that.
    if let (Ok(own), Some(wire)) = (serde_json::to_value(&limits.own), wire.as_object_mut())
        && let Some(own) = own.as_object()
    {
        for (name, value) in own {
            wire.entry(name).or_insert_with(|| value.clone());
        }
    }
    errors::json(StatusCode::OK, &wire)
}

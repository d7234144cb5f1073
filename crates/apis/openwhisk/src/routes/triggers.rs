//! Triggers, as they are managed.

use super::{Call, actions, body, list};
use crate::{
    Shared,
    errors::{self, Rejection},
    merge, translate,
    wire::{
        name::{FullName, is_path},
        trigger::{Trigger, TriggerPut},
    },
};
use http::{Response, StatusCode};
use serde_json::{Map, Value, json};
use std::sync::Arc;
use xebec_core::{Body, Tenant, ports::driver::Silent};

/// Says which action feeds a trigger.
const FEED: &str = "feed";

/// `GET …/triggers`.
pub(super) fn list(shared: &Shared, call: &Call, namespace: &Tenant) -> Result<Response<Body>, Rejection> {
    let slice = call.query.slice("triggers")?;
    call.caller.must_manage(namespace, namespace)?;
    let all = shared.entities.all::<Trigger>(namespace);
    Ok(list::answer("triggers", all, slice, |trigger| trigger.updated, |trigger| trigger.summary()))
}

/// `GET …/triggers/name`.
pub(super) fn get(shared: &Shared, call: &Call, name: &FullName) -> Result<Response<Body>, Rejection> {
    call.caller.must_manage(&name.namespace, name)?;
    Ok(shown(shared, &*shared.entities.named::<Trigger>(&name.namespace, &name.name)?))
}

/// `PUT …/triggers/name`.
pub(super) async fn put(
    shared: &Arc<Shared>,
    call: &Call,
    name: FullName,
    body: Body,
) -> Result<Response<Body>, Rejection> {
    let overwrite = call.query.flag("overwrite", false)?;
    call.caller.must_manage(&name.namespace, &name)?;
    let limits = shared.limits(&name.namespace);
    let bytes = body::read(call, body, body::most(shared, &limits)).await?;
    let put: TriggerPut = body::parse(&bytes)?;
    body::check_sizes(&limits, put.parameters.as_ref(), put.annotations.as_ref())?;
    let _turn = shared.turns.take(&name.namespace, &name.name).await;
    let before = shared.entities.replaced::<Trigger>(&name.namespace, &name.name, overwrite)?;
    let trigger = merge::trigger(&name, before.as_deref(), put, crate::wire::now_millis());
    if before.is_none() {
        check_feed(&trigger)?;
    }
    deploy(shared, &trigger).await?;
    Ok(shown(shared, &trigger))
}

/// `DELETE …/triggers/name`: answered with what was deleted. Its rules stay, without a trigger.
pub(super) async fn delete(
    shared: &Arc<Shared>,
    call: &Call,
    name: FullName,
) -> Result<Response<Body>, Rejection> {
    call.caller.must_manage(&name.namespace, &name)?;
    let _turn = shared.turns.take(&name.namespace, &name.name).await;
    let trigger = shared.entities.named::<Trigger>(&name.namespace, &name.name)?;
    let answer = shown(shared, &trigger);
    actions::remove_function(shared, &name.function()).await?;
    shared.entities.forget(&name.namespace, &name.name);
    Ok(answer)
}

/// Deploys a trigger.
///
/// # Errors
/// What the engine says.
pub(crate) async fn deploy(shared: &Shared, trigger: &Trigger) -> Result<(), Rejection> {
    shared.control.deploy(translate::trigger(trigger)?, &Silent).await?;
    let function = trigger.full_name().function();
    Ok(shared.entities.read_again(shared.control.as_ref(), &function).await?)
}

/// A trigger as clients see it, with its rules.
fn shown(shared: &Shared, trigger: &Trigger) -> Response<Body> {
    let rules: Map<String, Value> = shared
        .entities
        .rules_of(trigger)
        .iter()
        .map(|rule| {
            let reduced = json!({ "action": rule.action.as_object(), "status": rule.status });
            (rule.full_name().to_string(), reduced)
        })
        .collect();
    errors::json(StatusCode::OK, &trigger.to_wire(rules))
}

/// Whether what feeds it could be the name of an action; whether there is one, the client finds out.
fn check_feed(trigger: &Trigger) -> Result<(), Rejection> {
    match trigger.annotations.get(FEED) {
        None => Ok(()),
        Some(Value::String(feed)) if is_path(feed) => Ok(()),
        Some(_) => Err(Rejection::bad_request("Feed name is not valid")),
    }
}

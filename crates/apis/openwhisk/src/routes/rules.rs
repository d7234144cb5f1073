//! Rules: which action a trigger fires.

use super::{Call, body, list};
use crate::{
    Shared,
    entities::{RULE, Right},
    errors::{self, Rejection},
    merge::{self, Connection},
    wire::{
        name::FullName,
        rule::{Rule, RulePut, Status},
        trigger::Trigger,
    },
};
use http::{Response, StatusCode};
use serde_json::Value;
use std::sync::Arc;
use xebec_core::{
    Body, Error, Tenant,
    document::{Document, DocumentKey, Expect},
};

/// `GET …/rules`: without their status.
pub(super) fn list(shared: &Shared, call: &Call, namespace: &Tenant) -> Result<Response<Body>, Rejection> {
    let slice = call.query.slice("rules")?;
    call.caller.must_manage(namespace, namespace)?;
    let all = shared.entities.all::<Rule>(namespace);
    Ok(list::answer("rules", all, slice, |rule| rule.updated, |rule| rule.summary()))
}

/// `GET …/rules/name`.
pub(super) fn get(shared: &Shared, call: &Call, name: &FullName) -> Result<Response<Body>, Rejection> {
    call.caller.must_manage(&name.namespace, name)?;
    let rule = shared.entities.named::<Rule>(&name.namespace, &name.name)?;
    Ok(shown(&rule, shared.entities.status_of(&rule)))
}

/// `PUT …/rules/name`: a new one is active, an update keeps the status.
pub(super) async fn put(
    shared: &Arc<Shared>,
    call: &Call,
    name: FullName,
    body: Body,
) -> Result<Response<Body>, Rejection> {
    let overwrite = call.query.flag("overwrite", false)?;
    call.caller.must_manage(&name.namespace, &name)?;
    let bytes = body::read(call, body, body::SMALL).await?;
    let mut put: RulePut = body::parse(&bytes)?;
    body::check_sizes(&shared.limits(&name.namespace), None, put.annotations.as_ref())?;
    let own = &call.caller.namespace;
    let wanted = (
        put.trigger.take().map(|trigger| trigger.resolved(own)),
        put.action.take().map(|action| action.resolved(own)),
    );
    check_rights(shared, call, wanted.0.as_ref(), wanted.1.as_ref())?;
    let _turn = shared.turns.take(&name.namespace, &name.name).await;
    let before = shared.entities.replaced::<Rule>(&name.namespace, &name.name, overwrite)?;
    let trigger = wanted.0.or_else(|| before.as_ref().map(|before| before.trigger.clone()));
    let action = wanted.1.or_else(|| before.as_ref().map(|before| before.action.clone()));
    let (Some(trigger), Some(action)) = (trigger, action) else {
        return Err(Rejection::bad_request("rule requires a valid trigger and a valid action"));
    };
    let attached = existing(shared, call, &trigger, &action)?.id;
    let status = before.as_ref().map_or(Status::Active, |before| shared.entities.status_of(before));
    let connection = Connection { trigger, action, status, attached };
    let rule = merge::rule(&name, before.as_deref(), put, connection, crate::wire::now_millis());
    write(shared, &rule).await?;
    Ok(shown(&rule, status))
}

/// `POST …/rules/name`: `{"status": "active" | "inactive"}`.
pub(super) async fn set_status(
    shared: &Arc<Shared>,
    call: &Call,
    name: FullName,
    body: Body,
) -> Result<Response<Body>, Rejection> {
    call.caller.must_manage(&name.namespace, &name)?;
    let bytes = body::read(call, body, body::SMALL).await?;
    let wanted = status_of(&body::parse(&bytes)?)?;
    let _turn = shared.turns.take(&name.namespace, &name.name).await;
    let rule = shared.entities.named::<Rule>(&name.namespace, &name.name)?;
    if shared.entities.status_of(&rule) != wanted {
        let trigger = shared.entities.one::<Trigger>(&rule.trigger.namespace, &rule.trigger.name);
        let Some(trigger) = trigger else {
            let message = "Only rules with existing triggers can be activated";
            return Err(Rejection::new(StatusCode::NOT_FOUND, message));
        };
        // One that lost its trigger is attached to the one that has the name now.
        let rule = Rule { status: wanted, attached: trigger.id, ..(*rule).clone() };
        write(shared, &rule).await?;
    }
    Ok(errors::empty(StatusCode::OK))
}

fn status_of(wanted: &Value) -> Result<Status, Rejection> {
    match wanted.get("status").and_then(Value::as_str) {
        Some("active") => Ok(Status::Active),
        Some("inactive") => Ok(Status::Inactive),
        Some(other) => Err(Rejection::malformed(format!(
            "'{other}' is not a recognized rule state, must be one of ['active', 'inactive']"
        ))),
        None => Err(Rejection::malformed("the status is missing")),
    }
}

/// `DELETE …/rules/name`: answered with what was deleted, which is inactive then.
pub(super) async fn delete(
    shared: &Arc<Shared>,
    call: &Call,
    name: FullName,
) -> Result<Response<Body>, Rejection> {
    call.caller.must_manage(&name.namespace, &name)?;
    let _turn = shared.turns.take(&name.namespace, &name.name).await;
    let rule = shared.entities.named::<Rule>(&name.namespace, &name.name)?;
    remove(shared, &name).await?;
    Ok(shown(&rule, Status::Inactive))
}

/// Removes a rule.
///
/// # Errors
/// What the store says.
pub(crate) async fn remove(shared: &Shared, name: &FullName) -> Result<(), Error> {
    let key = DocumentKey::new(RULE, name.namespace.as_str(), &name.name);
    shared.store.delete(key, Expect::Any).await?;
    shared.entities.forget(&name.namespace, &name.name);
    Ok(())
}

async fn write(shared: &Shared, rule: &Rule) -> Result<(), Error> {
    let spec = serde_json::to_value(rule)
        .map_err(|error| Error::internal("XB4003", format!("it cannot be written as JSON: {error}")))?;
    let document = Document::new(RULE, rule.namespace.as_str(), &rule.name, spec);
    let stored = shared.store.put(document, Expect::Any).await?;
    shared.entities.apply(stored);
    Ok(())
}

fn shown(rule: &Rule, status: Status) -> Response<Body> {
    errors::json(StatusCode::OK, &rule.to_wire(status))
}

/// Whether the caller may use what a rule names; whether it is there is found out later.
fn check_rights(
    shared: &Shared,
    call: &Call,
    trigger: Option<&FullName>,
    action: Option<&FullName>,
) -> Result<(), Rejection> {
    if let Some(trigger) = trigger.filter(|trigger| !call.caller.owns(&trigger.namespace)) {
        return Err(Rejection::forbidden(trigger));
    }
    let refused = action.and_then(|action| shared.entities.resolve(&call.caller, action, Right::Read).err());
    match refused {
        Some(rejection) if rejection.status == StatusCode::FORBIDDEN => Err(rejection),
        _ => Ok(()),
    }
}

/// The trigger of a rule, where both it and the action are there.
fn existing(
    shared: &Shared,
    call: &Call,
    trigger: &FullName,
    action: &FullName,
) -> Result<Arc<Trigger>, Rejection> {
    let missing =
        |what: &str, name: &FullName| Rejection::bad_request(format!("{what} /{name} does not exist"));
    let found = match trigger.package {
        None => shared.entities.one::<Trigger>(&trigger.namespace, &trigger.name),
        Some(_) => None,
    };
    let found = found.ok_or_else(|| missing("trigger", trigger))?;
    shared.entities.resolve(&call.caller, action, Right::Read).map_err(|_| missing("action", action))?;
    Ok(found)
}

//! What a request makes of an entity: pure rules.

use crate::wire::{
    action::{Action, ActionPut},
    exec::Exec,
    limits::ActionLimits,
    name::FullName,
    package::{Binding, Package, PackagePut},
    parameters::{Parameter, Parameters},
    rule::{Rule, RulePut, Status},
    trigger::{Trigger, TriggerPut},
    version::SemVer,
};
use serde_json::json;
use uuid::Uuid;

/// Says of an action of which kind it is, for those who see lists alone.
const EXEC: &str = "exec";
/// Whether an action is told a key of its caller's.
const PROVIDE_API_KEY: &str = "provide-api-key";
/// What the parameter of a sequence is called that names its components.
const COMPONENTS: &str = "_actions";
/// Says of a package what it is bound to.
const BINDING: &str = "binding";

/// A new action, or what becomes of the one before. `exec` is what it shall run, where the request says so.
/// `None`: a new one needs something to run.
pub(crate) fn action(
    name: &FullName,
    before: Option<&Action>,
    put: ActionPut,
    exec: Option<Exec>,
    now: i64,
) -> Option<Action> {
    let parameters = action_parameters(before, put.parameters, exec.as_ref());
    let exec = exec.or_else(|| before.map(|before| before.exec.clone()))?;
    let mut annotations = before.map(|before| before.annotations.clone()).unwrap_or_default();
    put.del_annotations.iter().flatten().for_each(|key| annotations.remove(key));
    if let Some(more) = &put.annotations {
        annotations = annotations.overlaid(more);
    }
    if before.is_none() && annotations.get(PROVIDE_API_KEY).is_none() {
        annotations.set(Parameter::new(PROVIDE_API_KEY, false));
    }
    annotations.set(Parameter::new(EXEC, exec.kind()));
    let limits = before.map_or_else(ActionLimits::default, |before| before.limits);
    Some(Action {
        namespace: name.namespace.clone(),
        package: name.package.clone(),
        name: name.name.clone(),
        exec,
        parameters,
        limits: put.limits.map_or(limits, |put| put.over(&limits)),
        version: next(put.version, before.map(|before| before.version)),
        publish: put.publish.or_else(|| before.map(|before| before.publish)).unwrap_or_default(),
        annotations,
        updated: now,
    })
}

/// A sequence's one parameter names its components; what users set for it is dropped, and does not come back
/// when it becomes something else.
fn action_parameters(before: Option<&Action>, put: Option<Parameters>, exec: Option<&Exec>) -> Parameters {
    let was_sequence = before.is_some_and(|before| before.exec.components().is_some());
    match exec {
        Some(Exec::Sequence { components }) => {
            [Parameter::new(COMPONENTS, json!(components))].into_iter().collect()
        }
        None if was_sequence => before.map(|before| before.parameters.clone()).unwrap_or_default(),
        _ => put.unwrap_or_else(|| match before {
            Some(before) if !was_sequence => before.parameters.clone(),
            _ => Parameters::default(),
        }),
    }
}

/// A new package, or what becomes of the one before.
pub(crate) fn package(name: &FullName, before: Option<&Package>, put: PackagePut, now: i64) -> Package {
    let binding = put.binding.or_else(|| before.and_then(|before| before.binding.clone()));
    let annotations = put.annotations.or_else(|| before.map(|before| before.annotations.clone()));
    Package {
        namespace: name.namespace.clone(),
        name: name.name.clone(),
        annotations: bound(annotations.unwrap_or_default(), binding.as_ref()),
        binding,
        parameters: put
            .parameters
            .or_else(|| before.map(|before| before.parameters.clone()))
            .unwrap_or_default(),
        version: next(put.version, before.map(|before| before.version)),
        publish: put.publish.or_else(|| before.map(|before| before.publish)).unwrap_or_default(),
        updated: now,
    }
}

/// What the server says of a package is not for users to set.
fn bound(mut annotations: Parameters, binding: Option<&Binding>) -> Parameters {
    annotations.remove(BINDING);
    if let Some(binding) = binding {
        annotations.set(Parameter::new(BINDING, json!(binding)));
    }
    annotations
}

/// A new trigger, or what becomes of the one before.
pub(crate) fn trigger(name: &FullName, before: Option<&Trigger>, put: TriggerPut, now: i64) -> Trigger {
    Trigger {
        namespace: name.namespace.clone(),
        name: name.name.clone(),
        parameters: put
            .parameters
            .or_else(|| before.map(|before| before.parameters.clone()))
            .unwrap_or_default(),
        version: next(put.version, before.map(|before| before.version)),
        publish: put.publish.or_else(|| before.map(|before| before.publish)).unwrap_or_default(),
        annotations: put
            .annotations
            .or_else(|| before.map(|before| before.annotations.clone()))
            .unwrap_or_default(),
        updated: now,
        id: before.map_or_else(Uuid::new_v4, |before| before.id),
    }
}

/// What a rule connects, and how it stands.
pub(crate) struct Connection {
    pub(crate) trigger: FullName,
    pub(crate) action: FullName,
    pub(crate) status: Status,
    pub(crate) attached: Uuid,
}

/// A new rule, or what becomes of the one before.
pub(crate) fn rule(
    name: &FullName,
    before: Option<&Rule>,
    put: RulePut,
    connection: Connection,
    now: i64,
) -> Rule {
    Rule {
        namespace: name.namespace.clone(),
        name: name.name.clone(),
        trigger: connection.trigger,
        action: connection.action,
        version: next(put.version, before.map(|before| before.version)),
        publish: put.publish.or_else(|| before.map(|before| before.publish)).unwrap_or_default(),
        annotations: put
            .annotations
            .or_else(|| before.map(|before| before.annotations.clone()))
            .unwrap_or_default(),
        updated: now,
        status: connection.status,
        attached: connection.attached,
    }
}

/// The version that was asked for, or the one after that before.
fn next(wanted: Option<SemVer>, before: Option<SemVer>) -> SemVer {
    wanted.unwrap_or_else(|| before.map_or_else(SemVer::default, SemVer::next))
}

#[cfg(test)]
mod tests;

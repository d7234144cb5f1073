//! Action → [`Deployment`].

mod code;
mod spec;

pub(crate) use code::{pack, unpack};

use crate::{
    DOOR,
    entities::Stored,
    errors::Rejection,
    kinds::Place,
    wire::{action::Action, exec::Exec, limits::EffectiveLimits, name::FullName, trigger::Trigger},
};
use serde_json::{Value, json};
use std::{collections::BTreeMap, time::Duration};
use xebec_core::{
    Error, FunctionKey,
    document::Expect,
    limits::{Clocks, Limits},
    message::Guarantee,
    policy::{Delivery, Policy, Visibility},
    ports::control::Deployment,
    revision::{ContractSpec, RevisionSpec},
    workload::Workload,
};

/// The environment of what is part of the server.
const BUILTIN: &str = "builtin";

/// The part of the server that runs sequences.
pub(crate) const CHAIN: &str = "openwhisk.chain";
/// The part that asks conductors.
pub(crate) const CONDUCT: &str = "openwhisk.conduct";
/// The part that triggers are.
pub(crate) const TRIGGER: &str = "openwhisk.trigger";

/// The annotation of actions that say which action comes next.
const CONDUCTOR: &str = "conductor";

/// What a flow may take; its own bound ends it a little before.
const FLOW_TIME: Duration = Duration::from_secs(3700);

/// How long a trigger may take to call what it fires.
const TRIGGER_TIME: Duration = Duration::from_secs(300);

/// Instances at most of an action that does not say how many.
const USUAL_INSTANCES: u32 = 30;

/// How many triggers of one name may be fired at a time.
const TRIGGERS_AT_A_TIME: u32 = 100;

/// Whether an action says which action comes next.
pub(crate) fn is_conductor(action: &Action) -> bool {
    action.exec.components().is_none() && action.annotations.is_truthy(CONDUCTOR, false)
}

/// The function that a conductor's own code is; the one of its name is the flow that asks it. No action can
/// have this name.
pub(crate) fn conductors_code(name: &FullName) -> FunctionKey {
    let local = compact_str::format_compact!("{}#code", name.local());
    FunctionKey { tenant: name.namespace.clone(), door: DOOR.into(), name: local }
}

/// What runs an action's code, for which instances, and what they are told.
pub(crate) struct Running<'a> {
    pub(crate) place: Place,
    pub(crate) limits: &'a EffectiveLimits,
    pub(crate) api_host: &'a str,
    /// What the package tells its actions when they start.
    pub(crate) package: Option<&'a crate::wire::package::Package>,
}

/// What deploys an action: its code, where it has any, before what is called by its name.
///
/// # Errors
/// 400 for what cannot be a variable.
pub(crate) fn deployments(
    action: &Action,
    running: Option<&Running<'_>>,
    limits: &EffectiveLimits,
) -> Result<Vec<Deployment>, Rejection> {
    let name = action.full_name();
    let stored = Stored::Action(action.clone());
    let code = running.map(|running| spec::of(action, running)).transpose()?;
    let called = match (&action.exec, code) {
        (Exec::Sequence { components }, _) => {
            let settings = json!({ "steps": components });
            flow(CHAIN, settings)
        }
        (Exec::Builtin { name, settings, .. }, _) => builtin(name, settings.clone(), time_of(action)),
        (_, Some(code)) if is_conductor(action) => {
            let policy = policy(instances(action, limits), action.limits.concurrency);
            let own = deployment(conductors_code(&name), code, policy, &Stored::ConductorsCode)?;
            let flow = flow(CONDUCT, json!({ "with": format!("/{name}") }));
            let policy = self::policy(1, limits.concurrent_invocations());
            return Ok(vec![own, deployment(name.function(), flow, policy, &stored)?]);
        }
        (_, Some(code)) => {
            let policy = policy(instances(action, limits), action.limits.concurrency);
            return Ok(vec![deployment(name.function(), code, policy, &stored)?]);
        }
        (_, None) => return Err(Error::internal("XB2004", "nothing was found to run the action").into()),
    };
    let policy = policy(1, limits.concurrent_invocations());
    Ok(vec![deployment(name.function(), called, policy, &stored)?])
}

/// What deploys a trigger.
pub(crate) fn trigger(trigger: &Trigger) -> Result<Deployment, Rejection> {
    let spec = builtin(TRIGGER, Value::Null, TRIGGER_TIME);
    let stored = Stored::Trigger(trigger.clone());
    deployment(trigger.full_name().function(), spec, policy(1, TRIGGERS_AT_A_TIME), &stored)
}

/// Instances of an action at most. Who says nothing gets no more than a machine is likely to bear; further calls
/// wait for one.
fn instances(action: &Action, limits: &EffectiveLimits) -> u32 {
    action.limits.instances.unwrap_or_else(|| limits.instances().min(USUAL_INSTANCES)).max(1)
}

fn time_of(action: &Action) -> Duration {
    Duration::from_millis(action.limits.timeout)
}

fn flow(part: &str, settings: Value) -> RevisionSpec {
    builtin(part, settings, FLOW_TIME)
}

fn builtin(part: &str, settings: Value, time: Duration) -> RevisionSpec {
    RevisionSpec {
        workload: Workload::Builtin { name: part.to_owned(), settings },
        environment: BUILTIN.to_owned(),
        contract: ContractSpec::named(BUILTIN),
        command: Vec::new(),
        handler: None,
        style: None,
        variables: BTreeMap::new(),
        secrets: Vec::new(),
        limits: Limits {
            concurrency: 1000,
            clocks: Clocks { first_byte: time, run: time, ..Clocks::default() },
            ..Limits::default()
        },
        read_only_root: false,
        as_is: false,
    }
}

/// How what is called is scaled and delivered to: at most once, and nothing is kept of what failed but its
/// record. Whoever calls was judged by the door before.
fn policy(instances: u32, concurrency: u32) -> Policy {
    Policy {
        max_instances: instances,
        visibility: Visibility::Authenticated,
        delivery: Delivery {
            concurrency: instances.saturating_mul(concurrency).clamp(1, 1000),
            guarantee: Guarantee::AtMostOnce,
            dead_letters: false,
            ..Delivery::default()
        },
        ..Policy::default()
    }
}

fn deployment(
    key: FunctionKey,
    revision: RevisionSpec,
    policy: Policy,
    stored: &Stored,
) -> Result<Deployment, Rejection> {
    let document = serde_json::to_value(stored)
        .map_err(|error| Error::internal("XB4003", format!("it cannot be written as JSON: {error}")))?;
    Ok(Deployment {
        key,
        addresses: Vec::new(),
        revision,
        policy,
        labels: BTreeMap::new(),
        annotations: BTreeMap::new(),
        document,
        expect: Expect::Any,
    })
}

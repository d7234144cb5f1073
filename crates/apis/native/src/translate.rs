//! Manifest → deployment.

mod delivery;

pub(crate) use delivery::{MAX_ATTEMPTS, recipient, schedule};

use crate::{
    DOOR,
    wire::{Manifest, ManifestLimits, ManifestScale},
};
use std::sync::Arc;
use xebec_core::{
    Error, FunctionKey, Tenant,
    document::Expect,
    environment::Environment,
    error::ErrorKind,
    limits::Limits,
    names::{Address, check_dns_label},
    policy::{MAX_DOWN_WINDOW_SECONDS, Metric, Policy, Scaling},
    ports::control::{Control, Deployment},
    revision::{ContractSpec, RevisionSpec, SecretMount},
    workload::Workload,
};

/// The space of addresses that functions of this door share with others: `/function/<name>`.
pub const FUNCTION_SPACE: &str = "function";

/// Compiles a manifest.
///
/// # Errors
/// `XB1001` for a bad name, `XB1004` for a value out of bounds, `XB1005` for code and image both or
/// neither, `XB1012` for what is no schedule, `XB2004` for an environment that does not exist.
pub fn deployment(control: &dyn Control, tenant: &Tenant, manifest: &Manifest) -> Result<Deployment, Error> {
    check_dns_label("function name", &manifest.name)?;
    let (environment, workload) = runs(control, manifest)?;
    let limits = limits(&manifest.limits, &environment)?;
    let mut contract = ContractSpec { ..environment.contract.clone() };
    contract.options.extend(manifest.contract.clone());
    let mount = |name: &String| SecretMount {
        name: name.clone(),
        version: 0,
        path: Some(format!("/run/secrets/{name}")),
        variable: None,
    };
    Ok(Deployment {
        key: FunctionKey::new(tenant, DOOR, &manifest.name),
        addresses: vec![Address::new(FUNCTION_SPACE, tenant, &manifest.name)],
        revision: RevisionSpec {
            workload,
            environment: environment.name.clone(),
            contract,
            command: manifest.command.clone(),
            handler: manifest.handler.clone(),
            style: manifest.style.clone(),
            variables: manifest.env.clone(),
            secrets: manifest.secrets.iter().map(mount).collect(),
            limits,
            read_only_root: false,
            as_is: false,
        },
        policy: Policy {
            delivery: delivery::delivery(control, tenant, &manifest.asynchronous)?,
            schedules: delivery::schedules(&manifest.schedules)?,
            ..policy(manifest)?
        },
        labels: manifest.labels.clone(),
        annotations: manifest.annotations.clone(),
        document: serde_json::to_value(manifest)
            .map_err(|error| Error::internal("XB1000", format!("the manifest cannot be kept: {error}")))?,
        expect: Expect::Any,
    })
}

/// Which environment runs it, and what.
fn runs(control: &dyn Control, manifest: &Manifest) -> Result<(Arc<Environment>, Workload), Error> {
    match (&manifest.image, &manifest.code) {
        (Some(image), None) => {
            let environment = control.stands_in_for(image).ok_or_else(|| {
                Error::new(ErrorKind::Refused, "XB2004", format!("nothing here can run the image {image:?}"))
                    .with_hint("name an environment for it under [[images]] in xebec.toml")
            })?;
            Ok((environment, Workload::image(image.clone())))
        }
        (None, Some(code)) => {
            let name = manifest.environment.as_deref().ok_or_else(|| {
                Error::invalid("XB1005", "the manifest names no environment")
                    .with_hint("add for example environment = \"python\"")
            })?;
            let environment = control.environment(name).ok_or_else(|| {
                let known: Vec<_> = control.environments().into_iter().map(|known| known.name).collect();
                Error::new(ErrorKind::Refused, "XB2004", format!("there is no environment {name:?}"))
                    .with_hint(format!("there are: {}", known.join(", ")))
            })?;
            let workload = Workload::Code { archive: code.digest, format: code.format, bytes: code.bytes };
            Ok((environment, workload))
        }
        (Some(_), Some(_)) => Err(Error::invalid("XB1005", "the manifest has both an image and code")),
        (None, None) => Err(Error::invalid("XB1005", "the manifest has neither code nor an image")
            .with_hint("store the code first: POST /xebec/v1/code, or use xebec deploy")),
    }
}

fn limits(wanted: &ManifestLimits, environment: &Environment) -> Result<Limits, Error> {
    let mut limits = Limits { concurrency: environment.concurrency, ..Limits::default() };
    limits.memory_bytes = wanted.memory.map(|memory| memory.0);
    limits.scratch_bytes = wanted.scratch.map(|scratch| scratch.0);
    limits.processes = wanted.processes;
    if let Some(cpu) = wanted.cpu {
        within("limits.cpu", cpu, 0.001, 1024.0)?;
        limits.cpu_millis = Some((cpu * 1000.0).round() as u32);
    }
    if let Some(concurrency) = wanted.concurrency {
        within("limits.concurrency", f64::from(concurrency), 1.0, 100_000.0)?;
        limits.concurrency = concurrency;
    }
    if let Some(request) = wanted.request {
        limits.request_bytes = request.0;
    }
    let clocks = &mut limits.clocks;
    if let Some(timeout) = wanted.timeout {
        clocks.run = timeout.0;
        clocks.first_byte = timeout.0;
    }
    if let Some(timeout) = wanted.first_byte_timeout {
        clocks.first_byte = timeout.0;
    }
    if let Some(timeout) = wanted.start_timeout {
        clocks.start = timeout.0;
    }
    if let Some(timeout) = wanted.wait_timeout {
        clocks.wait = timeout.0;
    }
    for (name, clock) in [("timeout", clocks.run), ("start-timeout", clocks.start)] {
        within(&format!("limits.{name}"), clock.as_secs_f64(), 0.001, 86_400.0)?;
    }
    Ok(limits)
}

fn policy(manifest: &Manifest) -> Result<Policy, Error> {
    let ManifestScale { min, max, keep_alive, queue, max_in_flight, max_rate, .. } = manifest.scale;
    let default = Policy::default();
    let policy = Policy {
        min_instances: min.unwrap_or(default.min_instances),
        max_instances: max.unwrap_or(default.max_instances),
        queue: queue.unwrap_or(default.queue),
        max_in_flight,
        max_rate,
        scaling: scaling(&manifest.scale)?,
        keep_alive_seconds: keep_alive.map(|span| span.0.as_secs()),
        visibility: manifest.visibility.unwrap_or_default(),
        ..default
    };
    if policy.max_instances == 0 || policy.max_instances < policy.min_instances {
        return Err(Error::invalid(
            "XB1004",
            format!(
                "scale.max is {}, scale.min is {}: max must be at least 1 and not below min",
                policy.max_instances, policy.min_instances
            ),
        ));
    }
    Ok(policy)
}

/// What is scaled by.
fn scaling(scale: &ManifestScale) -> Result<Scaling, Error> {
    let metric = scale.metric.unwrap_or_default();
    let name = metric.name();
    if let Some(target) = scale.target {
        let least = if metric.has_own_target() { 1.0 } else { 0.001 };
        within("scale.target", target, least, 1e6).map_err(|error| match metric {
            Metric::Concurrency if target > 0.0 && target < 1.0 => error.with_hint(
                "for concurrency it is calls per instance; a share of the slots is scale.proportion",
            ),
            _ => error,
        })?;
    } else if !metric.has_own_target() {
        let hint = match metric {
            Metric::Cpu => "say how much processor time one instance should use, in thousandths of a core",
            _ => "say how many calls per second one instance should see",
        };
        let message = format!("scale.metric = \"{name}\" needs scale.target");
        return Err(Error::invalid("XB1004", message).with_hint(hint));
    }
    let proportion = scale.proportion.unwrap_or_else(|| metric.usual_proportion());
    within("scale.proportion", proportion, 0.01, 1.0)?;
    let down_window = scale.down_window.map_or(0.0, |span| span.0.as_secs_f64());
    within("scale.down-window in seconds", down_window, 0.0, f64::from(MAX_DOWN_WINDOW_SECONDS))?;
    let down_window_seconds = down_window.ceil() as u32;
    Ok(Scaling { metric, target: scale.target, proportion, down_window_seconds })
}

fn within(field: &str, value: f64, least: f64, most: f64) -> Result<(), Error> {
    if (least..=most).contains(&value) {
        return Ok(());
    }
    Err(Error::invalid("XB1004", format!("{field} is {value}; it must be from {least} to {most}")))
}

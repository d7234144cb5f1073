//! `FunctionDeployment` → [`Deployment`].

mod delivery;
mod limits;
mod scaling;
mod source;
pub(crate) mod steps;
mod visibility;
mod watchdog;

use crate::{
    DOOR,
    names::{FUNCTION_SPACE, check_secret_name},
    wire::FunctionDeployment,
};
use serde_json::Value;
use std::collections::BTreeMap;
use xebec_core::{
    Error, FunctionKey, Tenant,
    document::Expect,
    error::ErrorKind,
    names::{Address, check_dns_label},
    policy::Policy,
    ports::control::{Control, Deployment},
    revision::{RevisionSpec, SecretMount},
    workload::Workload,
};

/// Where functions find their secrets, one file each.
const SECRETS_FOLDER: &str = "/var/openfaas/secrets";

/// Compiles a deployment. `document` is the JSON that `request` was read from.
///
/// # Errors
/// `XB1001` for a name, `XB1004` for a value, each naming the field; `XB2004` for an image that nothing here
/// can run.
pub fn deployment(
    control: &dyn Control,
    tenant: &Tenant,
    request: &FunctionDeployment,
    document: Value,
    expect: Expect,
) -> Result<Deployment, Error> {
    check_dns_label("service", &request.service)?;
    check_dns_label("namespace", crate::names::namespace_of(tenant))?;
    let (environment, workload, process) = match &request.source {
        Some(given) => {
            let environment = source::environment(control, given)?;
            let process = source::process(request, given, &environment)?;
            (environment, source::workload(given), process)
        }
        None if request.image.is_empty() => return Err(Error::invalid("XB1004", "image is missing")),
        None => {
            let image = &request.image;
            let environment = control.stands_in_for(image).ok_or_else(|| unknown_image(image))?;
            let process = watchdog::process(request, &environment)?;
            (environment, Workload::image(image.clone()), process)
        }
    };
    let policy = Policy {
        delivery: delivery::delivery(&request.annotations)?,
        schedules: delivery::schedules(&request.annotations)?,
        visibility: visibility::visibility(request)?,
        ..scaling::policy(&request.labels, &process)?
    };
    Ok(Deployment {
        key: FunctionKey::new(tenant, DOOR, &request.service),
        addresses: vec![Address::new(FUNCTION_SPACE, tenant, &request.service)],
        revision: RevisionSpec {
            workload,
            environment: environment.name.clone(),
            limits: limits::limits(request, &process)?,
            contract: process.contract,
            command: process.command,
            handler: request.source.as_ref().and_then(|source| source.handler.clone()),
            style: request.source.as_ref().and_then(|source| source.style.clone()),
            variables: variables(request)?,
            secrets: secrets(&request.secrets)?,
            read_only_root: request.read_only_root_filesystem,
            as_is: false,
        },
        policy,
        labels: request.labels.clone(),
        annotations: request.annotations.clone(),
        document,
        expect,
    })
}

fn unknown_image(image: &str) -> Error {
    Error::new(ErrorKind::Refused, "XB2004", format!("image: nothing here can run {image:?}")).with_hint(
        "there is no container engine; let an environment stand in for the image: add [[images]] with \
         match = \"…\" and environment = \"exec\" to xebec.toml, or deploy the source with xebec deploy",
    )
}

/// What the user set, and what the image's watchdog would have set besides.
fn variables(request: &FunctionDeployment) -> Result<BTreeMap<String, String>, Error> {
    let mut variables = request.env_vars.clone();
    visibility::take_over(&mut variables);
    for (name, value) in &variables {
        if name.is_empty() || name.contains(['=', '\0']) || value.contains('\0') {
            return Err(invalid(
                &format!("envVars.{}", name.escape_debug()),
                "no variable can have this name or value",
            ));
        }
    }
    if !request.env_process.is_empty() {
        variables.insert("fprocess".to_owned(), request.env_process.clone());
    }
    variables.entry("OPENFAAS_NAME".to_owned()).or_insert_with(|| request.service.clone());
    Ok(variables)
}

fn secrets(names: &[String]) -> Result<Vec<SecretMount>, Error> {
    let mut mounts: Vec<SecretMount> = Vec::with_capacity(names.len());
    for name in names {
        check_secret_name(name)?;
        if mounts.iter().all(|mount| mount.name != *name) {
            mounts.push(SecretMount {
                name: name.clone(),
                version: 0,
                path: Some(format!("{SECRETS_FOLDER}/{name}")),
                variable: None,
            });
        }
    }
    Ok(mounts)
}

/// A field whose value cannot be honoured.
fn invalid(field: &str, fault: impl std::fmt::Display) -> Error {
    Error::invalid("XB1004", format!("{field}: {fault}"))
}

//! What an instance of an action is.

use super::Running;
use crate::{
    errors::Rejection,
    kinds::{Local, Place},
    wire::{
        action::Action,
        exec::{Code, Exec},
    },
};
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};
use xebec_core::{
    environment::Environment,
    limits::{Clocks, Limits},
    revision::{ContractSpec, RevisionSpec},
    workload::{ArchiveFormat, PackedCode, Workload},
};

/// The contract of OpenWhisk's runtimes.
const INIT_RUN: &str = "init-run";
/// How our workers call code.
const STYLE: &str = "openwhisk";
/// Where our workers listen.
const SOCKET: &str = "/run/xebec/http.sock";
/// What of the code is called where nobody says.
const MAIN: &str = "main";
/// The environment whose worker runs several calls at a time.
const NODE: &str = "node";

/// What starting takes besides the action's own initialisation: an image may have to be unpacked.
const START: Duration = Duration::from_secs(60);
/// How long a call may wait for an instance, its start aside.
const WAIT: Duration = Duration::from_secs(60);

const MEGABYTE: u64 = 1024 * 1024;

pub(super) fn of(action: &Action, running: &Running<'_>) -> Result<RevisionSpec, Rejection> {
    let (code, main) = match &action.exec {
        Exec::Code { code, main, .. } => (Some(code), main.as_deref()),
        Exec::Blackbox { code, main, .. } => (code.as_ref(), main.as_deref()),
        Exec::Sequence { .. } | Exec::Builtin { .. } => (None, None),
    };
    let main = main.filter(|main| !main.is_empty()).unwrap_or(MAIN);
    let (environment, workload) = match &running.place {
        Place::Local(_, environment) | Place::StandIn(environment) => (environment, files(action, code)?),
        Place::Image(image, environment) => (environment, image_with(image, code)),
    };
    let component = matches!(running.place, Place::Local(Local::Component(_), _));
    let worker = matches!(running.place, Place::Local(Local::Worker(_), _));
    Ok(RevisionSpec {
        workload,
        environment: environment.name.clone(),
        contract: contract(action, running, environment),
        command: Vec::new(),
        handler: (!component).then(|| main.to_owned()),
        style: worker.then(|| STYLE.to_owned()),
        variables: variables(action, running)?,
        secrets: Vec::new(),
        limits: limits(action, running, environment),
        read_only_root: false,
        as_is: running.place.takes_code_as_it_is(),
    })
}

fn files(action: &Action, code: Option<&Code>) -> Result<Workload, Rejection> {
    let Some(code) = code else {
        let message = match &action.exec {
            Exec::Blackbox { image, .. } => format!("The image '{image}' is run here with code only."),
            _ => "The action has no code.".to_owned(),
        };
        return Err(Rejection::malformed(message));
    };
    Ok(Workload::Code { archive: code.digest, format: code.format, bytes: code.bytes })
}

fn image_with(image: &str, code: Option<&Code>) -> Workload {
    let code = code.map(|code| PackedCode {
        archive: code.digest,
        // Images are handed the bytes, whatever is in them.
        format: match code.format {
            ArchiveFormat::Wasm => ArchiveFormat::Single,
            format => format,
        },
        bytes: code.bytes,
    });
    Workload::Image { reference: image.to_owned(), code }
}

fn contract(action: &Action, running: &Running<'_>, environment: &Environment) -> ContractSpec {
    let mut options: BTreeMap<String, Value> = match &running.place {
        Place::Local(Local::Worker(_), _) => [("socket".to_owned(), json!(SOCKET))].into(),
        Place::Local(Local::ActionLoop { .. } | Local::Component(_), _) | Place::StandIn(_) => {
            environment.contract.options.clone()
        }
        // Images that users bring need not end what they print with a mark.
        Place::Image(..) => {
            let stock = matches!(action.exec, Exec::Code { .. });
            [("port".to_owned(), json!(8080)), ("sentinels".to_owned(), json!(stock))].into()
        }
    };
    options.insert("init_timeout".to_owned(), json!(format!("{}ms", action.limits.timeout)));
    options.insert("max_answer_bytes".to_owned(), json!(running.limits.result_bytes().max(1)));
    ContractSpec { name: INIT_RUN.to_owned(), options }
}

fn limits(action: &Action, running: &Running<'_>, environment: &Environment) -> Limits {
    let timeout = Duration::from_millis(action.limits.timeout);
    let one_at_a_time = matches!(running.place, Place::Local(..) | Place::StandIn(_))
        && environment.name != NODE
        && environment.driver == "process";
    Limits {
        memory_bytes: Some(action.limits.memory * MEGABYTE),
        concurrency: if one_at_a_time { 1 } else { action.limits.concurrency.max(1) },
        log_bytes: Some(action.limits.logs * MEGABYTE),
        clocks: Clocks {
            wait: WAIT + START + timeout,
            start: START + timeout,
            first_byte: timeout,
            run: timeout,
        },
        ..Limits::default()
    }
}

/// What it is told when it starts: parameters that are marked for it, and where the API is.
fn variables(action: &Action, running: &Running<'_>) -> Result<BTreeMap<String, String>, Rejection> {
    let package = running.package.into_iter().flat_map(|package| package.parameters.iter());
    // What the action binds wins, be it an argument.
    let mut bound = HashMap::new();
    for parameter in package.chain(action.parameters.iter()) {
        bound.insert(parameter.key.as_str(), parameter);
    }
    let mut variables = BTreeMap::new();
    for parameter in bound.into_values().filter(|parameter| parameter.init) {
        let (name, value) = (&parameter.key, as_variable(&parameter.value));
        if name.is_empty() || name.contains(['=', '\0']) || value.contains('\0') {
            let fault = format!("the parameter {name:?} cannot be a variable, which 'init' asks for");
            return Err(Rejection::malformed(fault));
        }
        variables.insert(name.clone(), value);
    }
    variables.insert("__OW_API_HOST".to_owned(), running.api_host.to_owned());
    if action.limits.concurrency > 1 {
        variables.insert("__OW_ALLOW_CONCURRENT".to_owned(), "true".to_owned());
    }
    Ok(variables)
}

/// A value as a variable says it.
fn as_variable(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

//! What the image's watchdog would do, read from the variables that set it up: which contract, which
//! command, which clocks.

use super::invalid;
use crate::wire::FunctionDeployment;
use serde_json::json;
use std::time::Duration;
use xebec_contracts::{
    duration,
    watchdog::{Fault, Mode, Variables, words},
};
use xebec_core::{Error, environment::Environment, limits::Clocks, revision::ContractSpec};

/// Calls that one instance takes at a time where nothing limits them. The watchdogs then take any number;
/// a queue in front of a bounded number of processes does better than a machine full of them.
const SLOTS_OF_PROCESSES: u32 = 100;
const SLOTS_OF_SERVERS: u32 = 1000;

/// Clocks are kept in milliseconds; a shorter one would be kept as none at all.
const SHORTEST: Duration = Duration::from_millis(1);

/// What a watchdog would run, and how.
#[derive(Debug)]
pub(super) struct Process {
    /// The protocol spoken with it.
    pub(super) contract: ContractSpec,
    /// The command; empty: the environment's own.
    pub(super) command: Vec<String>,
    /// The four clocks.
    pub(super) clocks: Clocks,
    /// Calls that one instance takes at a time.
    pub(super) slots: u32,
    /// `max_inflight`: past it, per instance, callers are turned away.
    pub(super) in_flight_per_instance: Option<u32>,
}

/// The annotation that names the path by which a server says that it takes calls.
const READY_PATH: &str = "com.openfaas.ready.http.path";

pub(super) fn process(request: &FunctionDeployment, environment: &Environment) -> Result<Process, Error> {
    let settings = Variables(&request.env_vars);
    let mut process = match environment.driver.as_str() {
        "docker" => in_image(&settings, environment)?,
        _ => instead_of_image(request, &settings, environment)?,
    };
    if let Some(path) = request.annotations.get(READY_PATH).filter(|_| process.contract.name == "http") {
        if !path.starts_with('/') {
            return Err(invalid(
                &format!("annotations.{READY_PATH}"),
                format!("{path:?} is not a path such as /ready"),
            ));
        }
        process.contract.options.insert("ready_path".to_owned(), json!(path));
    }
    Ok(process)
}

/// An environment stands in for the image.
fn instead_of_image(
    request: &FunctionDeployment,
    settings: &Variables<'_>,
    environment: &Environment,
) -> Result<Process, Error> {
    let mode = mode(settings)?;
    let command = command(request);
    let contract = contract(settings, mode, environment)?;
    let needs_command = contract.name != "wasi-http";
    if command.is_empty() && environment.command.is_empty() && needs_command {
        let fault = format!(
            "is missing; the environment {:?}, which stands in for {:?}, cannot know the image's own command: \
             say what to run, for example fprocess: cat",
            environment.name, request.image
        );
        return Err(invalid("envProcess", fault));
    }
    let in_flight_per_instance = settings.max_in_flight().map_err(refused)?;
    let unlimited = match contract.name.as_str() {
        "stdio" => SLOTS_OF_PROCESSES,
        "http" if mode.is_some() => SLOTS_OF_SERVERS,
        _ => environment.concurrency,
    };
    Ok(Process {
        clocks: clocks(settings)?,
        slots: in_flight_per_instance.unwrap_or(unlimited),
        in_flight_per_instance,
        contract,
        command,
    })
}

/// The image brings its own watchdog, which reads the other settings by itself.
fn in_image(settings: &Variables<'_>, environment: &Environment) -> Result<Process, Error> {
    let mut contract = environment.contract.clone();
    if let Some(port) = settings.whole_number("port").map_err(refused)? {
        contract.options.insert("port".to_owned(), json!(port));
    }
    // What OpenFaaS asks of every workload.
    contract.options.entry("ready_path".to_owned()).or_insert_with(|| json!("/_/health"));
    let in_flight_per_instance = settings.max_in_flight().map_err(refused)?;
    Ok(Process {
        clocks: clocks(settings)?,
        slots: in_flight_per_instance.unwrap_or(SLOTS_OF_SERVERS),
        in_flight_per_instance,
        contract,
        command: Vec::new(),
    })
}

fn mode(settings: &Variables<'_>) -> Result<Option<Mode>, Error> {
    match settings.mode().map_err(refused)? {
        Some(Mode::Static) => {
            let fault =
                "\"static\" serves files of the image, which are not here: deploy a web server with them";
            Err(invalid("envVars.mode", fault))
        }
        mode => Ok(mode),
    }
}

/// What the deployment says wins over what its variables say.
fn command(request: &FunctionDeployment) -> Vec<String> {
    match words(&request.env_process) {
        said if said.is_empty() => Variables(&request.env_vars).process(),
        said => said,
    }
}

fn contract(
    settings: &Variables<'_>,
    mode: Option<Mode>,
    environment: &Environment,
) -> Result<ContractSpec, Error> {
    let mut contract = match mode {
        None | Some(Mode::Static) => environment.contract.clone(),
        Some(Mode::Http) => ContractSpec::named("http"),
        Some(Mode::Streaming | Mode::Serializing) => ContractSpec::named("stdio"),
    };
    match contract.name.as_str() {
        "stdio" => settings.set_stdio(mode, &mut contract),
        "http" => set_http(settings, mode, &mut contract)?,
        _ => {}
    }
    Ok(contract)
}

/// One long-lived server.
fn set_http(settings: &Variables<'_>, mode: Option<Mode>, contract: &mut ContractSpec) -> Result<(), Error> {
    let mut set = |name: &str, value| contract.options.insert(name.to_owned(), value);
    match settings.upstream().map_err(refused)? {
        Some(upstream) if !upstream.is_local() => {
            return Err(refused(upstream.fault("is not on the instance itself")));
        }
        Some(upstream) if !upstream.path.is_empty() => {
            return Err(refused(upstream.fault("has a path")));
        }
        Some(upstream) => {
            set("port", json!(upstream.port));
        }
        None if mode == Some(Mode::Http) => return Err(refused(Variables::no_upstream())),
        None => {}
    }
    if let Some(path) = settings.get("ready_path") {
        set("ready_path", json!(path));
    }
    if let Some(yes) = settings.buffers_requests() {
        set("buffer_request_body", json!(yes));
    }
    Ok(())
}

/// The clocks of a call. A limit of 0 is none.
pub(super) fn clocks(settings: &Variables<'_>) -> Result<Clocks, Error> {
    let mut clocks = Clocks::default();
    // The exec timeout ends the function, the write timeout the connection: the caller sees the earlier one.
    let exec = settings.duration("exec_timeout").map_err(refused)?;
    let write = settings.duration("write_timeout").map_err(refused)?;
    settings.duration("read_timeout").map_err(refused)?;
    let limit = match (exec, write) {
        (None, None) => return Ok(clocks),
        (exec, write) => [exec, write]
            .into_iter()
            .flatten()
            .filter(|limit| !limit.is_zero())
            .min()
            .map_or(duration::LONGEST, |limit| limit.max(SHORTEST)),
    };
    clocks.run = limit;
    clocks.first_byte = limit;
    Ok(clocks)
}

/// A variable that cannot be honoured, as a field of the deployment.
pub(super) fn refused(fault: Fault) -> Error {
    invalid(&format!("envVars.{}", fault.variable), fault.fault)
}

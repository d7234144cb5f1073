//! What the image's watchdog would do, read from the variables that set it up: which contract, which
//! command, which clocks.

use super::invalid;
use crate::{duration, wire::FunctionDeployment};
use http::uri::Authority;
use serde_json::{Value, json};
use std::{collections::BTreeMap, time::Duration};
use xebec_core::{Error, environment::Environment, limits::Clocks, revision::ContractSpec};

/// Calls that one instance takes at a time where nothing limits them. The watchdogs then take any number;
/// a queue in front of a bounded number of processes does better than a machine full of them.
const SLOTS_OF_PROCESSES: u32 = 100;
const SLOTS_OF_SERVERS: u32 = 1000;

/// A contract's settings.
type Options = BTreeMap<String, Value>;

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

/// How of-watchdog runs the code. `None`: as the image does by itself, which is the environment's contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Http,
    Streaming,
    Serializing,
}

pub(super) fn process(request: &FunctionDeployment, environment: &Environment) -> Result<Process, Error> {
    let settings = Settings(&request.env_vars);
    if environment.driver == "docker" {
        return in_image(&settings, environment);
    }
    let mode = mode(&settings)?;
    let command = command(request);
    let contract = contract(&settings, mode, environment)?;
    let needs_command = contract.name != "wasi-http";
    if command.is_empty() && environment.command.is_empty() && needs_command {
        let fault = format!(
            "is missing; the environment {:?}, which stands in for {:?}, cannot know the image's own command: \
             say what to run, for example fprocess: cat",
            environment.name, request.image
        );
        return Err(invalid("envProcess", fault));
    }
    let in_flight_per_instance = settings.whole_number("max_inflight")?.filter(|limit| *limit > 0);
    let unlimited = match contract.name.as_str() {
        "stdio" => SLOTS_OF_PROCESSES,
        "http" if mode.is_some() => SLOTS_OF_SERVERS,
        _ => environment.concurrency,
    };
    Ok(Process {
        clocks: clocks(&settings)?,
        slots: in_flight_per_instance.unwrap_or(unlimited),
        in_flight_per_instance,
        contract,
        command,
    })
}

/// The image brings its own watchdog, which reads the other settings by itself.
fn in_image(settings: &Settings<'_>, environment: &Environment) -> Result<Process, Error> {
    let mut contract = environment.contract.clone();
    if let Some(port) = settings.whole_number("port")? {
        contract.options.insert("port".to_owned(), json!(port));
    }
    // What OpenFaaS asks of every workload.
    contract.options.entry("ready_path".to_owned()).or_insert_with(|| json!("/_/health"));
    let in_flight_per_instance = settings.whole_number("max_inflight")?.filter(|limit| *limit > 0);
    Ok(Process {
        clocks: clocks(settings)?,
        slots: in_flight_per_instance.unwrap_or(SLOTS_OF_SERVERS),
        in_flight_per_instance,
        contract,
        command: Vec::new(),
    })
}

fn mode(settings: &Settings<'_>) -> Result<Option<Mode>, Error> {
    Ok(match settings.get("mode") {
        Some("http") => Some(Mode::Http),
        Some("streaming") => Some(Mode::Streaming),
        Some("serializing") => Some(Mode::Serializing),
        Some("static") => {
            let fault =
                "\"static\" serves files of the image, which are not here: deploy a web server with them";
            return Err(invalid("envVars.mode", fault));
        }
        Some(mode @ ("inproc" | "afterburn")) => {
            let fault = format!("{mode:?} is not served: use http, streaming or serializing");
            return Err(invalid("envVars.mode", fault));
        }
        // The classic watchdog knows no modes: any other value is the function's own.
        _ => None,
    })
}

/// `fprocess`, split on spaces: no quotes, no shell, as the watchdogs do.
fn command(request: &FunctionDeployment) -> Vec<String> {
    let process = [
        Some(&request.env_process),
        request.env_vars.get("fprocess"),
        request.env_vars.get("function_process"),
    ]
    .into_iter()
    .flatten()
    .find(|process| !process.trim().is_empty());
    process.map_or_else(Vec::new, |process| process.split_whitespace().map(str::to_owned).collect())
}

fn contract(
    settings: &Settings<'_>,
    mode: Option<Mode>,
    environment: &Environment,
) -> Result<ContractSpec, Error> {
    let mut contract = match mode {
        None => environment.contract.clone(),
        Some(Mode::Http) => ContractSpec::named("http"),
        Some(Mode::Streaming | Mode::Serializing) => ContractSpec::named("stdio"),
    };
    let options = &mut contract.options;
    match contract.name.as_str() {
        "stdio" => fork_options(settings, mode, options),
        "http" => server_options(settings, mode, options)?,
        _ => {}
    }
    Ok(contract)
}

/// A process per call.
fn fork_options(settings: &Settings<'_>, mode: Option<Mode>, options: &mut Options) {
    let mut set = |name: &str, value: Value| options.insert(name.to_owned(), value);
    if mode == Some(Mode::Streaming) {
        set("mode", json!("streaming"));
    }
    // Only the classic watchdog mixes standard error into the answer, and only it echoes the content type.
    if mode.is_some() {
        set("combine_output", json!(false));
        set("content_type", json!(settings.get("content_type").unwrap_or("application/octet-stream")));
        return;
    }
    for name in ["combine_output", "cgi_headers", "marshal_request"] {
        if let Some(yes) = settings.yes(name) {
            set(name, json!(yes));
        }
    }
    if let Some(content_type) = settings.get("content_type") {
        set("content_type", json!(content_type));
    }
}

/// One long-lived server.
fn server_options(settings: &Settings<'_>, mode: Option<Mode>, options: &mut Options) -> Result<(), Error> {
    let mut set = |name: &str, value: Value| options.insert(name.to_owned(), value);
    let upstream = ["upstream_url", "http_upstream_url"]
        .into_iter()
        .find_map(|name| settings.get(name).map(|address| (name, address)));
    match upstream {
        Some((name, address)) => {
            set("port", json!(upstream_port(name, address)?));
        }
        None if mode == Some(Mode::Http) => {
            let fault = "is missing; say where the process listens, for example http://127.0.0.1:3000";
            return Err(invalid("envVars.upstream_url", fault));
        }
        None => {}
    }
    if let Some(path) = settings.get("ready_path") {
        set("ready_path", json!(path));
    }
    if let Some(yes) = settings.yes("http_buffer_req_body") {
        set("buffer_request_body", json!(yes));
    }
    Ok(())
}

/// The port of `http://127.0.0.1:3000`, which has to be on the instance itself.
fn upstream_port(name: &str, address: &str) -> Result<u16, Error> {
    let fault = |fault: &str| {
        let fault = format!("{address:?} {fault}; it should be such as http://127.0.0.1:3000");
        Err(invalid(&format!("envVars.{name}"), fault))
    };
    let bare = address.strip_prefix("http://").unwrap_or(address);
    let authority = bare.strip_suffix('/').unwrap_or(bare);
    let Ok(authority) = authority.parse::<Authority>() else {
        return fault("is not an address");
    };
    if !matches!(authority.host(), "127.0.0.1" | "localhost" | "0.0.0.0" | "[::1]") {
        return fault("is not on the instance itself");
    }
    match authority.port_u16() {
        Some(port) => Ok(port),
        None if authority.as_str() == authority.host() => Ok(80),
        None => fault("has no valid port"),
    }
}

/// The clocks of a call. A limit of 0 is none.
fn clocks(settings: &Settings<'_>) -> Result<Clocks, Error> {
    let mut clocks = Clocks::default();
    // The exec timeout ends the function, the write timeout the connection: the caller sees the earlier one.
    let exec = settings.duration("exec_timeout")?;
    let write = settings.duration("write_timeout")?;
    settings.duration("read_timeout")?;
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

/// A watchdog's settings: variables of the function.
struct Settings<'a>(&'a BTreeMap<String, String>);

impl Settings<'_> {
    fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(|value| value.trim()).filter(|value| !value.is_empty())
    }

    fn duration(&self, name: &str) -> Result<Option<Duration>, Error> {
        self.read(name, duration::parse, "a duration such as 30s")
    }

    fn whole_number(&self, name: &str) -> Result<Option<u32>, Error> {
        self.read(name, |text| text.parse().ok(), "a whole number")
    }

    /// The watchdogs take `true` and `1` for yes and everything else for no.
    fn yes(&self, name: &str) -> Option<bool> {
        self.get(name).map(|value| matches!(value, "true" | "1"))
    }

    fn read<T>(
        &self,
        name: &str,
        parse: impl Fn(&str) -> Option<T>,
        wanted: &str,
    ) -> Result<Option<T>, Error> {
        let Some(text) = self.get(name) else { return Ok(None) };
        match parse(text) {
            Some(value) => Ok(Some(value)),
            None => Err(invalid(&format!("envVars.{name}"), format!("{text:?} is not {wanted}"))),
        }
    }
}

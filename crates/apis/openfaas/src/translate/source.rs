//! Code in place of an image: what an environment runs, without an image's watchdog.

use super::{invalid, watchdog::Process};
use crate::wire::{FunctionDeployment, Source};
use std::sync::Arc;
use xebec_contracts::watchdog::Variables;
use xebec_core::{
    Error, environment::Environment, error::ErrorKind, ports::control::Control, workload::Workload,
};

/// The environment that the source names.
pub(super) fn environment(control: &dyn Control, source: &Source) -> Result<Arc<Environment>, Error> {
    control.environment(&source.environment).ok_or_else(|| {
        let known: Vec<_> = control.environments().into_iter().map(|known| known.name).collect();
        let message = format!("source.environment: there is no environment {:?}", source.environment);
        Error::new(ErrorKind::Refused, "XB2004", message)
            .with_hint(format!("there are: {}", known.join(", ")))
    })
}

pub(super) fn workload(source: &Source) -> Workload {
    let code = &source.code;
    Workload::Code { archive: code.digest, format: code.format, bytes: code.bytes }
}

/// How it is run. Of the variables that set up a watchdog, those count that bound calls; the others say how the
/// watchdog reaches a process that is not there.
pub(super) fn process(
    request: &FunctionDeployment,
    source: &Source,
    environment: &Environment,
) -> Result<Process, Error> {
    if !request.env_process.trim().is_empty() {
        return Err(invalid("envProcess", "the source is run by its environment; leave it out"));
    }
    let settings = Variables(&request.env_vars);
    let in_flight_per_instance = settings.max_in_flight().map_err(super::watchdog::refused)?;
    let slots = in_flight_per_instance.or(source.concurrency).unwrap_or(environment.concurrency);
    if slots == 0 {
        return Err(invalid("source.concurrency", "0: an instance could take no call"));
    }
    Ok(Process {
        clocks: super::watchdog::clocks(&settings)?,
        slots,
        in_flight_per_instance,
        contract: environment.contract.clone(),
        command: source.command.clone(),
    })
}

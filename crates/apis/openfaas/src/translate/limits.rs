//! Limits and requests → what an instance may use.

use super::{invalid, watchdog::Process};
use crate::{
    quantity,
    wire::{FunctionDeployment, FunctionResources},
};
use xebec_core::{Error, limits::Limits};

/// The least memory that is taken for a limit, in bytes. What is below was meant otherwise: `20m` are 0.02
/// bytes where quantities are Kubernetes', and were 20 MiB where they were Docker's.
const LEAST_MEMORY: f64 = 1024.0 * 1024.0;

pub(super) fn limits(request: &FunctionDeployment, process: &Process) -> Result<Limits, Error> {
    let (memory_bytes, cpu_millis) = resources("limits", &request.limits)?;
    // Requests are for a scheduler; here they are checked, kept in the document, and have no effect.
    resources("requests", &request.requests)?;
    Ok(Limits {
        memory_bytes,
        cpu_millis,
        concurrency: process.slots,
        clocks: process.clocks,
        ..Limits::default()
    })
}

/// Bytes and thousandths of a core.
fn resources(field: &str, wanted: &FunctionResources) -> Result<(Option<u64>, Option<u32>), Error> {
    for (device, count) in [
        ("nvidia.com/gpu", &wanted.nvidia_gpu),
        ("amd.com/gpu", &wanted.amd_gpu),
        ("intel.com/gpu", &wanted.intel_gpu),
    ] {
        if !matches!(count.as_str(), "" | "0") {
            return Err(invalid(&format!("{field}.{device}"), "no driver here offers such devices"));
        }
    }
    let memory = amount(field, "memory", &wanted.memory, "128Mi")?;
    if let Some(bytes) = memory.filter(|bytes| *bytes < LEAST_MEMORY) {
        let fault = format!("{:?} is {bytes} bytes, less than 1Mi (mebibytes are written Mi)", wanted.memory);
        return Err(invalid(&format!("{field}.memory"), fault));
    }
    let cores = amount(field, "cpu", &wanted.cpu, "100m")?;
    if cores.is_some_and(|cores| !(0.001..=1024.0).contains(&cores)) {
        let fault = format!("{:?} is not from 1m to 1024", wanted.cpu);
        return Err(invalid(&format!("{field}.cpu"), fault));
    }
    Ok((memory.map(|bytes| bytes.ceil() as u64), cores.map(|cores| (cores * 1000.0).ceil() as u32)))
}

fn amount(field: &str, name: &str, text: &str, example: &str) -> Result<Option<f64>, Error> {
    if text.is_empty() {
        return Ok(None);
    }
    match quantity::parse(text) {
        Some(amount) => Ok(Some(amount)),
        None => {
            let fault = format!("{text:?} is not a quantity such as {example}");
            Err(invalid(&format!("{field}.{name}"), fault))
        }
    }
}

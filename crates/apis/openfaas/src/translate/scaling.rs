//! `com.openfaas.scale.*` → policy.

use super::{invalid, steps, watchdog::Process};
use std::{collections::BTreeMap, str::FromStr, time::Duration};
use xebec_contracts::duration;
use xebec_core::{
    Error,
    policy::{MAX_DOWN_WINDOW_SECONDS, Metric, Policy, Scaling},
};

const PREFIX: &str = "com.openfaas.scale.";

/// Instances at most, where no label says otherwise.
const DEFAULT_MAX: u32 = 20;

/// What one instance should see, and the share of it that is aimed for, where no label says otherwise.
const DEFAULT_TARGET: f64 = 50.0;
const DEFAULT_PROPORTION: f64 = 0.90;

/// How long a function that may scale to zero stays up idle, where no label says otherwise.
const DEFAULT_IDLE_SECONDS: u64 = 15 * 60;

pub(super) fn policy(labels: &BTreeMap<String, String>, process: &Process) -> Result<Policy, Error> {
    let min: u32 = number(labels, "min", "a whole number")?.unwrap_or(1);
    let max: u32 = number(labels, "max", "a whole number")?.unwrap_or_else(|| DEFAULT_MAX.max(min));
    if max == 0 || max < min {
        return Err(invalid(&label("max"), format!("{max} is 0 or below {}, which is {min}", label("min"))));
    }
    // Only alerts look at it, but what is wrong is said when it is deployed.
    steps::factor(labels)?;
    let zero = number(labels, "zero", "true or false")?.unwrap_or(false);
    let idle = match labels.get(&label("zero-duration")) {
        None => DEFAULT_IDLE_SECONDS,
        Some(text) => duration::parse(text)
            .ok_or_else(|| {
                invalid(&label("zero-duration"), format!("{text:?} is not a duration such as 15m"))
            })?
            .as_secs(),
    };
    Ok(Policy {
        min_instances: if zero { 0 } else { min },
        max_instances: max,
        max_in_flight: process.in_flight_per_instance.map(|each| each.saturating_mul(max)),
        scaling: scaling(labels)?,
        keep_alive_seconds: zero.then_some(idle),
        ..Policy::default()
    })
}

/// What is scaled on. Without a label for it, that is the engine's own measure: the calls in flight.
fn scaling(labels: &BTreeMap<String, String>) -> Result<Scaling, Error> {
    let kind = labels.get(&label("type")).map(String::as_str);
    let target: Option<f64> = number(labels, "target", "a number")?;
    let proportion: f64 = number(labels, "target-proportion", "a number")?.unwrap_or(DEFAULT_PROPORTION);
    let down_window_seconds = down_window(labels)?;
    if kind.is_none() && target.is_none() {
        return Ok(Scaling { down_window_seconds, ..Scaling::default() });
    }
    let metric = match kind {
        None | Some("rps") => Metric::Rate,
        Some("capacity") => Metric::Concurrency,
        Some("cpu") => Metric::Cpu,
        Some("queue") => Metric::Queue,
        Some(other) => {
            return Err(invalid(
                &label("type"),
                format!("{other:?} is not something that can be scaled on: use rps, capacity, cpu or queue"),
            ));
        }
    };
    let target = Some(target.unwrap_or(DEFAULT_TARGET));
    let scaling = Scaling { metric, target, proportion, down_window_seconds };
    scaling.check().map_err(|error| invalid(&label("target"), error.message))?;
    Ok(scaling)
}

/// For how long the highest wish of late keeps instances.
fn down_window(labels: &BTreeMap<String, String>) -> Result<u32, Error> {
    let name = "down.window";
    let Some(text) = labels.get(&label(name)) else { return Ok(0) };
    let longest = Duration::from_secs(u64::from(MAX_DOWN_WINDOW_SECONDS));
    match duration::parse(text).filter(|window| *window <= longest) {
        Some(window) => Ok(u32::try_from(window.as_secs()).unwrap_or(MAX_DOWN_WINDOW_SECONDS)),
        None => Err(invalid(&label(name), format!("{text:?} is not a duration such as 2m, up to 5m"))),
    }
}

pub(super) fn number<T: FromStr>(
    labels: &BTreeMap<String, String>,
    name: &str,
    wanted: &str,
) -> Result<Option<T>, Error> {
    let Some(text) = labels.get(&label(name)) else { return Ok(None) };
    match text.trim().parse() {
        Ok(value) => Ok(Some(value)),
        Err(_) => Err(invalid(&label(name), format!("{text:?} is not {wanted}"))),
    }
}

pub(super) fn label(name: &str) -> String {
    format!("{PREFIX}{name}")
}

//! The free edition's scaling: by steps, up while an alert fires, down to the least when it is over.

use super::scaling::{label, number};
use std::collections::BTreeMap;
use xebec_core::{Error, function::FunctionView};

/// The step, in per cent of the most instances, where no label says otherwise.
const DEFAULT_FACTOR: u32 = 20;

/// Instances at most, as the free edition has it, where no label says otherwise.
const FREE_MAX: u32 = 5;

/// The step in per cent of the most instances; 0: it is not scaled like this.
///
/// # Errors
/// `XB1004`, naming the label.
pub(super) fn factor(labels: &BTreeMap<String, String>) -> Result<u32, Error> {
    let factor = number(labels, "factor", "a whole number")?.unwrap_or(DEFAULT_FACTOR);
    if factor > 100 {
        return Err(super::invalid(&label("factor"), format!("{factor} is not from 0 to 100")));
    }
    Ok(factor)
}

/// Whether labels ask for the other edition's scaling.
pub(crate) fn scaled_otherwise(labels: &BTreeMap<String, String>) -> bool {
    ["type", "target", "zero"].iter().any(|name| labels.contains_key(&label(name)))
}

/// How many instances an alert asks for that fires; `None`: as many as there are.
///
/// # Errors
/// As [`factor`].
pub(crate) fn up(view: &FunctionView) -> Result<Option<u32>, Error> {
    up_to(view, view.function.policy.max_instances)
}

/// The same by the free edition's own rule, which knows fewer instances.
///
/// # Errors
/// As [`factor`].
pub(crate) fn up_by_rule(view: &FunctionView) -> Result<Option<u32>, Error> {
    let most = view.function.policy.max_instances;
    let has_own = view.function.labels.contains_key(&label("max"));
    up_to(view, if has_own { most } else { most.min(FREE_MAX) })
}

fn up_to(view: &FunctionView, most: u32) -> Result<Option<u32>, Error> {
    let least = view.function.policy.min_instances;
    let step = most.saturating_mul(factor(&view.function.labels)?).div_ceil(100);
    let there = (view.live.ready + view.live.starting).max(least);
    let wanted = there.saturating_add(step).min(most);
    Ok((least < most && wanted > there).then_some(wanted))
}

/// How many instances an alert asks for that is over.
///
/// # Errors
/// As [`factor`].
pub(crate) fn down(view: &FunctionView) -> Result<Option<u32>, Error> {
    let policy = &view.function.policy;
    if factor(&view.function.labels)? == 0 || policy.min_instances >= policy.max_instances {
        return Ok(None);
    }
    // The last one goes for being idle, where it may, and not because of an alert.
    Ok(Some(policy.min_instances.max(1)))
}

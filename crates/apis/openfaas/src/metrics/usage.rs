//! What functions use of the machine, all instances of one together.

use super::text::{family, sample};
use xebec_core::function::FunctionUsage;

/// A function's name and namespace, and what it uses.
pub(crate) type Used = (String, String, FunctionUsage);

pub(crate) fn write(out: &mut String, used: &[Used]) {
    let labels = |(name, namespace, _): &Used| {
        format!("function_name=\"{name}.{namespace}\",namespace=\"{namespace}\"")
    };
    let name = "pod_cpu_usage_seconds_total";
    family(out, name, "counter", "Processor seconds that a function's instances used.");
    for used in used {
        sample(out, name, labels(used), used.2.cpu_seconds);
    }
    let name = "pod_memory_working_set_bytes";
    family(out, name, "gauge", "Bytes of memory that a function's instances hold.");
    for used in used {
        sample(out, name, labels(used), used.2.memory_bytes);
    }
}

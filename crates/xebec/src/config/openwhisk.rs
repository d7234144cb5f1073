//! OpenWhisk's door: what its namespaces may do.

use crate::failure::Failure;
use serde::Deserialize;
use std::time::Duration;
use xebec_api_native::wire::{Bytes, Span};
use xebec_api_openwhisk::wire::limits::SystemLimits;

const MEGABYTE: u64 = 1024 * 1024;

/// The longest time of an action that can be allowed: beyond it, the flows' own bounds end it.
const LONGEST: Duration = Duration::from_secs(3600);

/// `[openwhisk]` in `xebec.toml`. What holds for one namespace alone is set by the API, and wins.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct FileOpenWhisk {
    api_host: Option<String>,
    blocking_wait: Option<Span>,
    invocations_per_minute: Option<u32>,
    concurrent_invocations: Option<u32>,
    fires_per_minute: Option<u32>,
    sequence_length: Option<usize>,
    min_timeout: Option<Span>,
    max_timeout: Option<Span>,
    min_memory: Option<Bytes>,
    max_memory: Option<Bytes>,
    max_logs: Option<Bytes>,
    max_concurrency: Option<u32>,
    code_size: Option<Bytes>,
    parameters_size: Option<Bytes>,
    payload_size: Option<Bytes>,
    result_size: Option<Bytes>,
}

/// What the door is told, decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct OpenWhisk {
    /// Where actions reach the API; `None`: where the server listens.
    pub(crate) api_host: Option<String>,
    /// How long a caller waits at most for a call.
    pub(crate) wait: Duration,
    pub(crate) limits: SystemLimits,
}

impl FileOpenWhisk {
    /// Puts the file over what is built in.
    pub(super) fn decide(&self) -> Result<OpenWhisk, Failure> {
        let built_in = SystemLimits::default();
        let milliseconds = |span: Option<Span>, otherwise| span.map_or(otherwise, |span| millis(span.0));
        let megabytes = |bytes: Option<Bytes>, otherwise| bytes.map_or(otherwise, |bytes| bytes.0 / MEGABYTE);
        let bytes = |bytes: Option<Bytes>, otherwise| bytes.map_or(otherwise, |bytes| bytes.0);
        let limits = SystemLimits {
            invocations_per_minute: self.invocations_per_minute.unwrap_or(built_in.invocations_per_minute),
            concurrent_invocations: self.concurrent_invocations.unwrap_or(built_in.concurrent_invocations),
            fires_per_minute: self.fires_per_minute.unwrap_or(built_in.fires_per_minute),
            sequence_length: self.sequence_length.unwrap_or(built_in.sequence_length),
            timeout: (
                milliseconds(self.min_timeout, built_in.timeout.0),
                milliseconds(self.max_timeout, built_in.timeout.1),
            ),
            memory: (
                megabytes(self.min_memory, built_in.memory.0),
                megabytes(self.max_memory, built_in.memory.1),
            ),
            logs: (built_in.logs.0, megabytes(self.max_logs, built_in.logs.1)),
            concurrency: (built_in.concurrency.0, self.max_concurrency.unwrap_or(built_in.concurrency.1)),
            code_bytes: bytes(self.code_size, built_in.code_bytes),
            parameter_bytes: bytes(self.parameters_size, built_in.parameter_bytes),
            payload_bytes: bytes(self.payload_size, built_in.payload_bytes),
            result_bytes: bytes(self.result_size, built_in.result_bytes),
        };
        let wait = self.blocking_wait.map_or(Duration::from_secs(60), |span| span.0);
        check(&limits, wait, self.api_host.as_deref())?;
        Ok(OpenWhisk { api_host: self.api_host.clone(), wait, limits })
    }
}

fn check(limits: &SystemLimits, wait: Duration, api_host: Option<&str>) -> Result<(), Failure> {
    let fault = if limits.timeout.0 == 0 || limits.timeout.0 > limits.timeout.1 {
        "min-timeout must be above 0, and at most max-timeout"
    } else if limits.timeout.1 > millis(LONGEST) {
        "max-timeout must be at most 1h"
    } else if limits.memory.0 == 0 || limits.memory.0 > limits.memory.1 {
        "min-memory must be at least 1MiB, and at most max-memory"
    } else if limits.concurrency.1 == 0 || limits.sequence_length == 0 {
        "max-concurrency and sequence-length must be above 0"
    } else if wait.is_zero() || wait > LONGEST {
        "blocking-wait must be above 0 and at most 1h"
    } else if api_host.is_some_and(|host| !host.starts_with("http://") && !host.starts_with("https://")) {
        "api-host must be a URL such as https://openwhisk.example"
    } else {
        return Ok(());
    };
    Err(Failure::misuse(format!("[openwhisk] {fault}")))
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decide(text: &str) -> Result<OpenWhisk, Failure> {
        toml::from_str::<FileOpenWhisk>(text).unwrap().decide()
    }

    #[test]
    fn what_is_left_out_is_as_openwhisk_has_it() {
        assert_eq!(decide("").unwrap().limits, SystemLimits::default());
        let some =
            decide("invocations-per-minute = 5000\nmax-timeout = \"10m\"\nmax-memory = \"2GiB\"\n").unwrap();
        let built_in = SystemLimits::default();
        assert_eq!(some.limits.timeout, (built_in.timeout.0, 600_000));
        assert_eq!((some.limits.memory.1, some.limits.invocations_per_minute), (2048, 5000));
    }

    #[test]
    fn refuses_what_cannot_work() {
        for text in [
            "min-timeout = \"10m\"\n",
            "max-timeout = \"2h\"\n",
            "max-memory = \"1MiB\"\n",
            "sequence-length = 0\n",
            "blocking-wait = \"0s\"\n",
            "api-host = \"openwhisk.example\"\n",
        ] {
            let failure = decide(text).unwrap_err();
            assert!(failure.message.contains("[openwhisk]"), "{text}: {}", failure.message);
        }
        assert!(toml::from_str::<FileOpenWhisk>("max-speed = 1\n").is_err());
    }
}

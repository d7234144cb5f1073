//! What the variables say.

use http::uri::PathAndQuery;
use serde_json::json;
use std::{collections::BTreeMap, path::PathBuf, time::Duration};
use xebec_contracts::watchdog::{Fault, Mode, Upstream, Variables};
use xebec_core::{log::MAX_LINE_BYTES, revision::ContractSpec};

const TIMEOUT: Duration = Duration::from_secs(30);
const LOG_BUFFER_BYTES: usize = 64 * 1024;
/// What a line may have where it shall have no limit.
const LONGEST_LINE: usize = 1 << 24;
const PUBLIC_FILES: &str = "/home/app/public";

/// How the shim runs, and what.
#[derive(Debug)]
pub(crate) struct Settings {
    /// 0: any that is free.
    pub(crate) port: u16,
    pub(crate) metrics_port: u16,
    pub(crate) work: Work,
    /// The longest that a request may take to arrive. `None`: any time.
    pub(crate) read_timeout: Option<Duration>,
    /// The longest that an answer may take to its last byte.
    pub(crate) write_timeout: Option<Duration>,
    /// The longest that the function may take.
    pub(crate) exec_timeout: Option<Duration>,
    /// How long calls are still taken after the shim was told to stop, since others send until they see it. `None`:
    /// as long as some come.
    pub(crate) healthcheck_interval: Option<Duration>,
    pub(crate) max_in_flight: Option<u32>,
    /// Asked of the function for `/_/ready`.
    pub(crate) ready_path: Option<PathAndQuery>,
    pub(crate) lock: bool,
    pub(crate) prefix_logs: bool,
    pub(crate) max_line_bytes: usize,
    pub(crate) log_call_id: bool,
    /// Print answers (classic).
    pub(crate) write_debug: bool,
    /// Print headers (classic).
    pub(crate) debug_headers: bool,
}

/// What answers calls.
#[derive(Debug)]
pub(crate) enum Work {
    /// A process per call.
    Fork {
        command: Vec<String>,
        contract: ContractSpec,
        /// As the classic watchdog does it.
        classic: bool,
    },
    /// A server that is started once.
    Serve { command: Vec<String>, contract: ContractSpec, upstream: Upstream },
    /// The files of a folder.
    Files(PathBuf),
}

impl Settings {
    /// Reads them, or says which one cannot be honoured.
    pub(crate) fn read(variables: &BTreeMap<String, String>) -> Result<Self, Fault> {
        let set = Variables(variables);
        refuse_authentication(set)?;
        let mode = set.mode()?;
        let write_timeout = set.duration("write_timeout")?.unwrap_or(TIMEOUT);
        let exec_default = if mode.is_some() { TIMEOUT } else { Duration::ZERO };
        let max_line_bytes = max_line_bytes(set)?;
        Ok(Self {
            port: port(set, "port", 8080)?,
            metrics_port: port(set, "metrics_port", 8081)?,
            work: work(set, mode, max_line_bytes)?,
            read_timeout: some(set.duration("read_timeout")?.unwrap_or(TIMEOUT)),
            write_timeout: some(write_timeout),
            exec_timeout: some(set.duration("exec_timeout")?.unwrap_or(exec_default)),
            healthcheck_interval: set.duration("healthcheck_interval")?,
            max_in_flight: set.max_in_flight()?,
            ready_path: ready_path(set)?,
            lock: !set.yes("suppress_lock").unwrap_or(false),
            prefix_logs: !matches!(
                set.get("prefix_logs"),
                Some("0" | "f" | "F" | "false" | "False" | "FALSE")
            ),
            max_line_bytes,
            log_call_id: set.yes("log_callid").unwrap_or(false),
            write_debug: mode.is_none() && set.yes("write_debug").unwrap_or(false),
            debug_headers: mode.is_none() && set.yes("debug_headers").unwrap_or(false),
        })
    }

    /// The longest that a call may take: what comes first of the function's limit and the answer's.
    pub(crate) fn call_timeout(&self) -> Option<Duration> {
        self.exec_timeout.into_iter().chain(self.write_timeout).min()
    }
}

/// Tokens are not checked here, and a function that was to be closed must not be open instead.
fn refuse_authentication(set: Variables<'_>) -> Result<(), Fault> {
    if !set.yes("jwt_auth").unwrap_or(false) {
        return Ok(());
    }
    let fault = "tokens are not checked by this watchdog, and without that anyone could call the function: \
                 take the variable away and have the gateway authenticate calls";
    Err(Fault { variable: "jwt_auth", fault: fault.to_owned() })
}

fn work(set: Variables<'_>, mode: Option<Mode>, max_line_bytes: usize) -> Result<Work, Fault> {
    if mode == Some(Mode::Static) {
        return Ok(Work::Files(set.get("static_path").unwrap_or(PUBLIC_FILES).into()));
    }
    let command = set.process();
    if command.is_empty() {
        let fault = "is missing; say what to run, for example fprocess=cat".to_owned();
        return Err(Fault { variable: "fprocess", fault });
    }
    if mode == Some(Mode::Http) {
        let upstream = set.upstream()?.ok_or_else(Variables::no_upstream)?;
        let mut contract = ContractSpec::named("http");
        contract.options.insert("port".to_owned(), json!(upstream.port));
        if let Some(yes) = set.buffers_requests() {
            contract.options.insert("buffer_request_body".to_owned(), json!(yes));
        }
        return Ok(Work::Serve { command, contract, upstream });
    }
    let mut contract = ContractSpec::named("stdio");
    set.set_stdio(mode, &mut contract);
    contract.options.insert("max_line_bytes".to_owned(), json!(max_line_bytes));
    Ok(Work::Fork { command, contract, classic: mode.is_none() })
}

fn port(set: Variables<'_>, name: &'static str, default: u16) -> Result<u16, Fault> {
    let Some(number) = set.whole_number(name)? else { return Ok(default) };
    let fault = || Fault { variable: name, fault: format!("{number} is not a port: 0 to 65535") };
    u16::try_from(number).map_err(|_| fault())
}

fn ready_path(set: Variables<'_>) -> Result<Option<PathAndQuery>, Fault> {
    let Some(path) = set.get("ready_path") else { return Ok(None) };
    match path.parse() {
        Ok(parsed) if path.starts_with('/') => Ok(Some(parsed)),
        _ => {
            Err(Fault { variable: "ready_path", fault: format!("{path:?} is not a path that starts with /") })
        }
    }
}

/// -1 is no limit; the classic watchdog knows none of it.
fn max_line_bytes(set: Variables<'_>) -> Result<usize, Fault> {
    match set.get("log_buffer_size") {
        None => Ok(LOG_BUFFER_BYTES.max(MAX_LINE_BYTES)),
        Some(text) if text.starts_with('-') && text[1..].parse::<u64>().is_ok() => Ok(LONGEST_LINE),
        Some(_) => {
            let bytes = set.whole_number("log_buffer_size")?.and_then(|bytes| usize::try_from(bytes).ok());
            Ok(bytes.unwrap_or(LONGEST_LINE).clamp(1, LONGEST_LINE))
        }
    }
}

/// 0 is no limit.
fn some(limit: Duration) -> Option<Duration> {
    Some(limit).filter(|limit| !limit.is_zero())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(set: &[(&str, &str)]) -> Result<Settings, Fault> {
        let set = set.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Settings::read(&set)
    }

    #[test]
    fn no_mode_is_the_classic_watchdog() {
        for set in [&[("fprocess", "cat -u")][..], &[("fprocess", "cat -u"), ("mode", "production")]] {
            let settings = read(set).unwrap();
            assert_eq!(settings.exec_timeout, None);
            assert_eq!(settings.call_timeout(), Some(TIMEOUT));
            let Work::Fork { command, contract, classic } = settings.work else {
                panic!("{:?}", settings.work)
            };
            assert!(classic);
            assert_eq!(command, ["cat", "-u"]);
            assert_eq!(contract.options.get("content_type"), None);
        }
    }

    #[test]
    fn what_of_watchdog_sets_by_itself() {
        let settings = read(&[("mode", "streaming"), ("function_process", "cat")]).unwrap();
        assert_eq!(settings.exec_timeout, Some(TIMEOUT));
        assert_eq!(settings.healthcheck_interval, None);
        assert_eq!((settings.port, settings.metrics_port), (8080, 8081));
        assert!(settings.lock && settings.prefix_logs && !settings.log_call_id);
        assert_eq!(settings.max_line_bytes, 64 * 1024);
        let Work::Fork { contract, classic: false, .. } = settings.work else {
            panic!("{:?}", settings.work)
        };
        assert_eq!(contract.options["content_type"], "application/octet-stream");
    }

    #[test]
    fn limits_of_zero_are_none_and_intervals_of_zero_are_zero() {
        let settings = read(&[
            ("mode", "static"),
            ("write_timeout", "0"),
            ("exec_timeout", "1m"),
            ("read_timeout", "0s"),
            ("max_inflight", "0"),
            ("log_buffer_size", "-1"),
            ("healthcheck_interval", "0"),
        ]);
        let settings = settings.unwrap();
        assert_eq!(settings.write_timeout, None);
        assert_eq!(settings.call_timeout(), Some(Duration::from_secs(60)));
        assert_eq!(settings.healthcheck_interval, Some(Duration::ZERO));
        assert_eq!(settings.max_in_flight, None);
        assert_eq!(settings.max_line_bytes, LONGEST_LINE);
    }

    #[test]
    fn what_cannot_be_honoured_is_named() {
        for (set, variable) in [
            (&[][..], "fprocess"),
            (&[("fprocess", " ")], "fprocess"),
            (&[("fprocess", "cat"), ("mode", "http")], "upstream_url"),
            (&[("fprocess", "cat"), ("mode", "http"), ("upstream_url", "https://x")], "upstream_url"),
            (&[("fprocess", "cat"), ("mode", "inproc")], "mode"),
            (&[("fprocess", "cat"), ("jwt_auth", "true")], "jwt_auth"),
            (&[("fprocess", "cat"), ("exec_timeout", "soon")], "exec_timeout"),
            (&[("fprocess", "cat"), ("port", "70000")], "port"),
            (&[("fprocess", "cat"), ("log_buffer_size", "big")], "log_buffer_size"),
            (&[("fprocess", "cat"), ("ready_path", "ready")], "ready_path"),
        ] {
            assert_eq!(read(set).unwrap_err().variable, variable, "{set:?}");
        }
    }
}

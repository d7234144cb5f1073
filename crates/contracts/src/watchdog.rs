//! The settings of OpenFaaS' watchdogs: variables that say how a function's code is run, and the contracts that
//! are meant by them. Read at deploy time where the code runs without a watchdog, and by the shim at its start.

use crate::duration;
use http::uri::Authority;
use serde_json::{Value, json};
use std::{collections::BTreeMap, time::Duration};
use xebec_core::revision::ContractSpec;

/// How of-watchdog runs the code. The classic watchdog knows no modes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// One long-lived web server.
    Http,
    /// A process per call, its output sent as it comes.
    Streaming,
    /// A process per call, its output sent at its end.
    Serializing,
    /// Files, and no code.
    Static,
}

/// A variable that cannot be honoured.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{variable}: {fault}")]
pub struct Fault {
    /// Its name.
    pub variable: &'static str,
    /// What is wrong with it.
    pub fault: String,
}

/// Where the process of the mode `http` listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upstream {
    /// The variable that says so.
    pub variable: &'static str,
    /// Its value.
    pub address: String,
    /// The host in it.
    pub host: String,
    /// The port in it.
    pub port: u16,
    /// What every path is put behind, without a slash at its end; mostly empty.
    pub path: String,
}

impl Upstream {
    /// Whether it is where the watchdog itself is.
    pub fn is_local(&self) -> bool {
        matches!(self.host.as_str(), "127.0.0.1" | "localhost" | "0.0.0.0" | "[::1]")
    }

    /// What is wrong with it.
    pub fn fault(&self, fault: &str) -> Fault {
        bad_upstream(self.variable, &self.address, fault)
    }
}

/// A watchdog's settings.
#[derive(Clone, Copy, Debug)]
pub struct Variables<'a>(pub &'a BTreeMap<String, String>);

impl Variables<'_> {
    /// A variable that says something.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(|value| value.trim()).filter(|value| !value.is_empty())
    }

    /// `None`: none that of-watchdog has, so the value is the function's own.
    ///
    /// # Errors
    /// For a mode that is not served.
    pub fn mode(&self) -> Result<Option<Mode>, Fault> {
        Ok(match self.get("mode") {
            Some("http") => Some(Mode::Http),
            Some("streaming") => Some(Mode::Streaming),
            Some("serializing") => Some(Mode::Serializing),
            Some("static") => Some(Mode::Static),
            Some(mode @ ("inproc" | "afterburn")) => {
                let fault = format!("{mode:?} is not served: use http, streaming or serializing");
                return Err(Fault { variable: "mode", fault });
            }
            _ => None,
        })
    }

    /// What to run, split on spaces: no quotes, no shell, as the watchdogs do. Empty where nothing is said.
    pub fn process(&self) -> Vec<String> {
        let process = self.get("fprocess").or_else(|| self.get("function_process"));
        process.map(words).unwrap_or_default()
    }

    /// The settings of the contract `stdio` in that mode; `None` is the classic watchdog.
    pub fn set_stdio(&self, mode: Option<Mode>, contract: &mut ContractSpec) {
        let mut set = |name: &str, value: Value| contract.options.insert(name.to_owned(), value);
        if mode == Some(Mode::Streaming) {
            set("mode", json!("streaming"));
        }
        // Only the classic watchdog mixes standard error into the answer, and only it echoes the content type.
        if mode.is_some() {
            set("combine_output", json!(false));
            set("content_type", json!(self.get("content_type").unwrap_or("application/octet-stream")));
            return;
        }
        for name in ["combine_output", "cgi_headers", "marshal_request"] {
            if let Some(yes) = self.yes(name) {
                set(name, json!(yes));
            }
        }
        if let Some(content_type) = self.get("content_type") {
            set("content_type", json!(content_type));
        }
    }

    /// Whether the contract `http` is to send a request when all of it is there; `None`: not said.
    pub fn buffers_requests(&self) -> Option<bool> {
        let said = [self.yes("http_buffer_req_body"), self.yes("buffer_http")];
        said.into_iter().flatten().reduce(|one, other| one || other)
    }

    /// Where the process of the mode `http` listens, such as `http://127.0.0.1:3000`.
    ///
    /// # Errors
    /// For what is no such address.
    pub fn upstream(&self) -> Result<Option<Upstream>, Fault> {
        let said = ["http_upstream_url", "upstream_url"]
            .into_iter()
            .find_map(|variable| self.get(variable).map(|address| (variable, address)));
        let Some((variable, address)) = said else { return Ok(None) };
        let bare = address.strip_prefix("http://").unwrap_or(address);
        let (authority, path) = bare.find('/').map_or((bare, ""), |slash| bare.split_at(slash));
        let Ok(authority) = authority.parse::<Authority>() else {
            return Err(bad_upstream(variable, address, "is not an address"));
        };
        let port = match authority.port_u16() {
            Some(port) => port,
            None if authority.as_str() == authority.host() => 80,
            None => return Err(bad_upstream(variable, address, "has no valid port")),
        };
        Ok(Some(Upstream {
            variable,
            address: address.to_owned(),
            host: authority.host().to_owned(),
            port,
            path: path.trim_end_matches('/').to_owned(),
        }))
    }

    /// The fault of the mode `http` without an upstream.
    pub fn no_upstream() -> Fault {
        let fault = "is missing; say where the process listens, for example http://127.0.0.1:3000";
        Fault { variable: "upstream_url", fault: fault.to_owned() }
    }

    /// Calls that are taken at a time; those past it are turned away. `None`: any number.
    ///
    /// # Errors
    /// For what is no number.
    pub fn max_in_flight(&self) -> Result<Option<u32>, Fault> {
        Ok(self.whole_number("max_inflight")?.filter(|limit| *limit > 0))
    }

    /// A duration: `1m30s`, or seconds.
    ///
    /// # Errors
    /// For what is none.
    pub fn duration(&self, name: &'static str) -> Result<Option<Duration>, Fault> {
        self.read(name, duration::parse, "a duration such as 30s")
    }

    /// A whole number.
    ///
    /// # Errors
    /// For what is none.
    pub fn whole_number(&self, name: &'static str) -> Result<Option<u32>, Fault> {
        self.read(name, |text| text.parse().ok(), "a whole number")
    }

    /// The watchdogs take `true` and `1` for yes and everything else for no.
    pub fn yes(&self, name: &str) -> Option<bool> {
        self.get(name).map(|value| matches!(value, "true" | "1"))
    }

    fn read<T>(
        &self,
        name: &'static str,
        parse: impl Fn(&str) -> Option<T>,
        wanted: &str,
    ) -> Result<Option<T>, Fault> {
        let Some(text) = self.get(name) else { return Ok(None) };
        match parse(text) {
            Some(value) => Ok(Some(value)),
            None => Err(Fault { variable: name, fault: format!("{text:?} is not {wanted}") }),
        }
    }
}

/// A command, split on spaces.
pub fn words(command: &str) -> Vec<String> {
    command.split_whitespace().map(str::to_owned).collect()
}

fn bad_upstream(variable: &'static str, address: &str, fault: &str) -> Fault {
    let fault = format!("{address:?} {fault}; it should be such as http://127.0.0.1:3000");
    Fault { variable, fault }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn variables<const N: usize>(set: [(&str, &str); N]) -> BTreeMap<String, String> {
        set.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
    }

    fn upstream(address: &str) -> Result<Option<Upstream>, Fault> {
        Variables(&variables([("upstream_url", address)])).upstream()
    }

    #[test]
    fn where_the_process_listens() {
        for (address, host, port, path, local) in [
            ("http://127.0.0.1:3000", "127.0.0.1", 3000, "", true),
            ("http://127.0.0.1:3000/", "127.0.0.1", 3000, "", true),
            ("localhost:81", "localhost", 81, "", true),
            ("http://[::1]", "[::1]", 80, "", true),
            ("http://there:82/base/", "there", 82, "/base", false),
        ] {
            let read = upstream(address).unwrap().unwrap();
            let got = (read.host.as_str(), read.port, read.path.as_str(), read.is_local());
            assert_eq!(got, (host, port, path, local), "{address}");
        }
        assert_eq!(upstream(" "), Ok(None));
        for bad in ["http://127.0.0.1:99999", "https://127.0.0.1", "http://", "a b"] {
            assert_eq!(upstream(bad).unwrap_err().variable, "upstream_url", "{bad}");
        }
    }

    #[test]
    fn the_later_name_of_an_upstream_wins() {
        let both = variables([("upstream_url", "http://a:1"), ("http_upstream_url", "http://b:2")]);
        assert_eq!(Variables(&both).upstream().unwrap().unwrap().port, 2);
    }

    #[test]
    fn a_mode_that_no_watchdog_has_is_the_functions_own() {
        let mode = |text| Variables(&variables([("mode", text)])).mode();
        assert_eq!(mode("static"), Ok(Some(Mode::Static)));
        assert_eq!(mode("production"), Ok(None));
        assert_eq!(mode(""), Ok(None));
        assert!(mode("inproc").is_err());
    }

    #[test]
    fn blank_variables_say_nothing_and_wrong_ones_are_named() {
        let set =
            variables([("exec_timeout", " "), ("max_inflight", "0"), ("port", "x"), ("buffer_http", "1")]);
        let set = Variables(&set);
        assert_eq!(set.duration("exec_timeout"), Ok(None));
        assert_eq!(set.max_in_flight(), Ok(None));
        assert_eq!(set.whole_number("port").unwrap_err().to_string(), "port: \"x\" is not a whole number");
        assert_eq!(set.buffers_requests(), Some(true));
    }

    proptest! {
        #[test]
        fn no_address_makes_it_panic(address in "(http://)?[0-9a-z.:/@\\[\\]]{0,24}|\\PC{0,24}") {
            let _ = upstream(&address);
        }
    }
}

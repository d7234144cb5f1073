//! The variables that set up OpenFaaS' watchdogs.
#![no_main]

use libfuzzer_sys::fuzz_target;
use std::collections::BTreeMap;
use xebec_contracts::watchdog::{Variables, words};

const NAMES: [&str; 8] = [
    "mode",
    "fprocess",
    "upstream_url",
    "http_upstream_url",
    "exec_timeout",
    "write_timeout",
    "max_inflight",
    "http_buffer_req_body",
];

fuzz_target!(|text: &str| {
    let named =
        NAMES.iter().zip(text.split('\n')).map(|(name, value)| ((*name).to_owned(), value.to_owned()));
    let map: BTreeMap<String, String> = named.collect();
    let variables = Variables(&map);
    let _ = (variables.mode(), variables.upstream(), variables.max_in_flight(), variables.buffers_requests());
    for name in ["exec_timeout", "write_timeout"] {
        let _ = variables.duration(name);
    }
    assert!(variables.process().iter().chain(&words(text)).all(|word| !word.is_empty()));
});

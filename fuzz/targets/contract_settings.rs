//! Settings of contracts, durations among them, as a manifest gives them.
#![no_main]

use libfuzzer_sys::fuzz_target;
use serde_json::{Map, Value, json};
use xebec_contracts::contract;
use xebec_core::revision::RevisionSpec;

fuzz_target!(|text: &str| {
    let Ok(options) = serde_json::from_str::<Map<String, Value>>(text) else { return };
    for name in ["stdio", "http", "wasi-http", "init-run"] {
        let spec = json!({
            "workload": {"type": "image", "reference": "i"}, "environment": "e", "command": ["c"],
            "contract": {"name": name, "options": options}, "variables": {}, "secrets": [], "limits": {},
            "read_only_root": false,
        });
        let spec: RevisionSpec = serde_json::from_value(spec).expect("a revision of an image");
        let contract = contract(name).expect("there is a contract of that name");
        if let Err(error) = contract.check(&spec) {
            assert!(error.code.starts_with("XB1"), "{error}");
        }
    }
});

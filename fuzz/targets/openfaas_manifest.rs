//! The files of `faas-cli`: variables replaced, read, and made into deployments.
#![no_main]

use libfuzzer_sys::fuzz_target;
use xebec_manifest_openfaas::{Selection, Stack, Substituted, environment_file, substitute};

fuzz_target!(|text: &str| {
    let known = |name: &str| match name.len() {
        0..=2 => Some("v".repeat(name.len())),
        3 => Some("${VAR:-x}\n- &a [*a]".to_owned()),
        _ => None,
    };
    let _ = environment_file(text);
    let _ = Selection::regex(text).map(|selection| selection.takes(text));
    for source in [Ok(Substituted::verbatim(text.to_owned())), substitute(text, &known)] {
        let Ok(source) = source else { continue };
        let lines = text.split('\n').count();
        if let Err(faults) = Stack::read(&source) {
            assert!(!faults.is_empty());
            assert!(faults.iter().all(|fault| fault.line <= lines.max(1)), "{faults:?}");
        }
    }
});

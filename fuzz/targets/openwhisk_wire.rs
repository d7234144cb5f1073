//! What OpenWhisk's clients send, and what is stored of it: reads without panicking, and keeps what it read.
#![no_main]

use libfuzzer_sys::fuzz_target;
use serde::{Serialize, de::DeserializeOwned};
use xebec_api_openwhisk::wire::{
    action::{Action, ActionPut},
    exec::{Exec, is_base64},
    limits::{ActionLimits, NamespaceLimits},
    name::{FullName, is_name, is_path},
    package::{Package, PackagePut},
    parameters::Parameters,
    rule::{Rule, RulePut},
    trigger::{Trigger, TriggerPut},
    version::SemVer,
};

/// What is written of something is read as the same again.
fn kept<T: DeserializeOwned + Serialize + PartialEq + std::fmt::Debug>(text: &str) {
    let Ok(read) = serde_json::from_str::<T>(text) else { return };
    let written = serde_json::to_string(&read).expect("what was read can be written");
    let again: T = serde_json::from_str(&written).unwrap_or_else(|error| panic!("{error}: {written}"));
    assert_eq!(read, again, "{written}");
}

fuzz_target!(|text: &str| {
    let _ = serde_json::from_str::<ActionPut>(text);
    let _ = serde_json::from_str::<PackagePut>(text);
    let _ = serde_json::from_str::<TriggerPut>(text);
    let _ = serde_json::from_str::<RulePut>(text);
    kept::<Action>(text);
    kept::<Exec>(text);
    kept::<Package>(text);
    kept::<Trigger>(text);
    kept::<Rule>(text);
    kept::<Parameters>(text);
    kept::<ActionLimits>(text);
    kept::<NamespaceLimits>(text);
    kept::<FullName>(text);
    kept::<SemVer>(text);
    let _ = (is_name(text), is_path(text), is_base64(text));
    if let Some(name) = FullName::parse(text) {
        assert_eq!(FullName::parse(&name.to_string()), Some(name));
    }
});

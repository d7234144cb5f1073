//! What OpenFaaS' clients send, and the small languages in it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use xebec_api_openfaas::{
    names::{check_secret_name, namespace_of, split_qualified, tenant_of},
    quantity,
    wire::{
        AlertWebhook, DeleteFunctionRequest, FunctionDeployment, FunctionNamespace, ScaleServiceRequest,
        Secret,
    },
};

fuzz_target!(|text: &str| {
    let _ = serde_json::from_str::<FunctionDeployment>(text);
    let _ = serde_json::from_str::<DeleteFunctionRequest>(text);
    let _ = serde_json::from_str::<ScaleServiceRequest>(text);
    let _ = serde_json::from_str::<AlertWebhook>(text);
    let _ = serde_json::from_str::<Secret>(text);
    if let Ok(read) = serde_json::from_str::<FunctionNamespace>(text) {
        let written = serde_json::to_string(&read).expect("what was read can be written");
        assert_eq!(serde_json::from_str::<FunctionNamespace>(&written).ok(), Some(read));
    }
    let _ = check_secret_name(text);
    if let Some((name, namespace)) = split_qualified(text) {
        assert!(!name.is_empty() && !namespace.is_empty() && text.starts_with(name));
    }
    assert!(quantity::parse(text).is_none_or(f64::is_finite), "{text:?}");
    // Tenants and namespaces stand for each other, but that the unnamed one has a name.
    let tenant = tenant_of(text);
    assert_eq!(tenant_of(namespace_of(&tenant)), tenant);
});

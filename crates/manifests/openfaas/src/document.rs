//! A function as the OpenFaaS API takes it.

use crate::stack::{Function, Resources};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// The annotation that says of which stack a function is, so that it can be removed with it.
pub const STACK_ANNOTATION: &str = "xebec.dev/stack";

/// A function with all that its file leaves to others.
#[derive(Clone, Debug)]
pub struct Resolved<'a> {
    /// What the file says.
    pub function: &'a Function,
    /// The namespace; empty: the default one.
    pub namespace: &'a str,
    /// All of its variables, those of files included.
    pub environment: BTreeMap<String, String>,
    /// What is run in place of an image, as the API has it.
    pub source: Option<Value>,
    /// The name of the stack that it belongs to.
    pub stack: Option<&'a str>,
}

/// The body of a deployment. What is empty is left out.
pub fn document(resolved: &Resolved<'_>) -> Value {
    let Resolved { function, namespace, environment, source, stack } = resolved;
    let mut annotations = function.annotations.clone();
    if let Some(stack) = stack {
        annotations.insert(STACK_ANNOTATION.to_owned(), (*stack).to_owned());
    }
    let mut fields = Map::new();
    let mut put = |name: &str, value: Value| {
        let empty = match &value {
            Value::Null | Value::Bool(false) => true,
            Value::String(text) => text.is_empty(),
            Value::Array(items) => items.is_empty(),
            Value::Object(fields) => fields.is_empty(),
            _ => false,
        };
        if !empty {
            fields.insert(name.to_owned(), value);
        }
    };
    let text = |field: &Option<crate::Field>| json!(field.as_ref().map_or("", |field| &field.text));
    put("service", json!(function.name));
    put("image", text(&function.image));
    put("namespace", json!(namespace));
    // What the image's watchdog would run is not what runs from source.
    put("envProcess", if source.is_none() { text(&function.fprocess) } else { Value::Null });
    put("envVars", json!(environment));
    put("constraints", json!(function.constraints));
    put("secrets", json!(function.secrets));
    put("labels", json!(function.labels));
    put("annotations", json!(annotations));
    put("limits", resources(&function.limits));
    put("requests", resources(&function.requests));
    put("readOnlyRootFilesystem", json!(function.read_only_root));
    put("source", source.clone().unwrap_or_default());
    Value::Object(fields)
}

fn resources(resources: &Resources) -> Value {
    let fields = [("memory", &resources.memory), ("cpu", &resources.cpu)];
    let given = fields.into_iter().filter(|(_, text)| !text.is_empty());
    given.map(|(name, text)| (name.to_owned(), json!(text))).collect::<Map<_, _>>().into()
}

//! Sequences and conductors, where clients see no more than their result.

use crate::support::{
    Server,
    openwhisk::{Whisk, value},
};
use serde_json::{Value, json};

fn sequence(whisk: &Whisk<'_>, name: &str, components: &[&str]) {
    let components: Vec<_> = components.iter().map(|name| format!("/_/{name}")).collect();
    let body = json!({"exec": {"kind": "sequence", "components": components}});
    whisk.put(&format!("actions/{name}?overwrite=true"), &body).ok();
}

fn conductor(whisk: &Whisk<'_>, name: &str, code: &str) {
    let annotations = json!({"annotations": [{"key": "conductor", "value": true}]});
    whisk.action(name, "nodejs:default", code, &annotations);
}

/// The records a record's log names, in their order.
fn components(whisk: &Whisk<'_>, record: &Value) -> Vec<Value> {
    let record = whisk.activation(record["activationId"].as_str().unwrap());
    record["logs"].as_array().unwrap().iter().map(|id| whisk.activation(id.as_str().unwrap())).collect()
}

#[test]
fn a_sequence_stops_where_a_component_fails() {
    let server = Server::start();
    let whisk = Whisk::new(&server);
    whisk.node("pass", "function main (params) { return params }");
    whisk.node("throws", "function main () { throw new Error('no such luck') }");
    whisk.node("list", "function main () { return [3, 1, 2] }");
    whisk.action("sorted", "nodejs:default", "function main (list) { return list.sort() }", &json!({}));
    sequence(&whisk, "fails", &["pass", "throws", "pass"]);
    let failed = whisk.call("fails", &json!({"a": 1}));
    assert_eq!(failed.status, 502, "{failed}");
    let record = failed.json();
    assert_eq!(record["response"]["status"], "action developer error", "{record}");
    assert_eq!(components(&whisk, &record).len(), 2);
    sequence(&whisk, "arrays", &["list", "sorted"]);
    assert_eq!(whisk.call("arrays", &json!({})).ok(), json!([1, 2, 3]));

    // Parameters of a component's own lie below what the step before it answered.
    whisk.action(
        "own",
        "nodejs:default",
        "function main (params) { return params }",
        &json!({"parameters": [{"key": "a", "value": "own"}, {"key": "b", "value": "own"}]}),
    );
    sequence(&whisk, "parameters", &["pass", "own"]);
    assert_eq!(whisk.result("parameters", &json!({"a": "given"})), json!({"a": "given", "b": "own"}));
    let read = whisk.get("actions/parameters").ok();
    assert!(value(&read["parameters"], "_actions").is_array(), "{read}");

    let many = vec!["/_/pass"; 51];
    whisk
        .put("actions/long", &json!({"exec": {"kind": "sequence", "components": many}}))
        .refused(400, "Too many actions in the sequence.");
}

#[test]
fn a_conductor_decides_step_by_step() {
    let server = Server::start();
    let whisk = Whisk::new(&server);
    whisk.node("triple", "function main ({ value }) { return { value: value * 3 } }");
    whisk.node("increment", "function main ({ value }) { return { value: value + 1 } }");
    conductor(&whisk, "compose", "function main (params) {
        switch (params.step || 0) {
            case 0: return { action: 'triple', params: { value: params.value }, state: { step: 1, kept: 'x' } }
            case 1: return { action: 'increment', params: { value: params.value }, state: { step: 2, kept: params.kept } }
            default: return { params: { value: params.value, kept: params.kept } }
        }
    }");
    let record = whisk.call("compose", &json!({"value": 3})).ok();
    assert_eq!(record["response"]["result"], json!({"value": 10, "kept": "x"}));
    assert_eq!(value(&record["annotations"], "conductor"), &json!(true), "{record}");
    assert_eq!(value(&record["annotations"], "topmost"), &json!(true), "{record}");
    let parts = components(&whisk, &record);
    let names: Vec<_> = parts.iter().map(|part| part["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["compose", "triple", "compose", "increment", "compose"]);
    for part in &parts {
        assert_eq!(part["cause"], record["activationId"], "{part}");
        assert_eq!(value(&part["annotations"], "causedBy"), "sequence", "{part}");
    }

    conductor(&whisk, "plain", "function main (params) { return { said: params.a } }");
    assert_eq!(whisk.result("plain", &json!({"a": 1})), json!({"said": 1}));
    conductor(
        &whisk,
        "lost",
        "function main (params) {
        return params.error ? { params: { told: params.error } } : { action: 'ghost' }
    }",
    );
    let namespace = whisk.namespace();
    let lost = whisk.result("lost", &json!({}));
    assert_eq!(
        lost,
        json!({"told": format!("Failed to resolve action with name '{namespace}/ghost' during composition.")})
    );
    conductor(&whisk, "endless", "function main () { return { action: 'increment', params: { value: 1 } } }");
    let endless = whisk.call("endless", &json!({}));
    assert_eq!(endless.status, 502, "{endless}");
    assert_eq!(
        endless.json()["response"]["result"]["error"],
        "Too many actions in the composition.",
        "{endless}"
    );

    sequence(&whisk, "both", &["compose", "increment"]);
    assert_eq!(whisk.result("both", &json!({"value": 1})), json!({"value": 5}));
    conductor(
        &whisk,
        "outer",
        "function main (params) {
        return params.done ? { params } : { action: 'compose', params, state: { done: true } }
    }",
    );
    assert_eq!(whisk.result("outer", &json!({"value": 1}))["value"], 4);
}

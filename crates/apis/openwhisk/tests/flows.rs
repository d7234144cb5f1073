//! Sequences, conductors and triggers.

#![allow(clippy::unwrap_used)]

mod support;

use http::Method;
use serde_json::{Value, json};
use std::time::{Duration, Instant};
use support::{World, api, owner};
use xebec_api_openwhisk::{Options, wire::limits::SystemLimits};

/// The longest that anything may take.
const PATIENCE: Duration = Duration::from_secs(60);

async fn activation(world: &World, id: &str) -> Value {
    let since = Instant::now();
    loop {
        let answered = world.get(&format!("activations/{id}")).await;
        if answered.status == 200 {
            return answered.json();
        }
        assert!(since.elapsed() < PATIENCE, "{id} never came");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn bound(world: &World, name: &str, code: &str, value: &str) {
    let parameters = json!([{"key": name, "value": value}]);
    world
        .put(&format!("actions/{name}"), json!({"exec": support::node(code), "parameters": parameters}))
        .await
        .ok();
}

async fn sequence(world: &World, name: &str, components: &[&str]) {
    let exec = json!({"kind": "sequence", "components": components});
    world.put(&format!("actions/{name}"), json!({"exec": exec})).await.ok();
}

fn annotation(activation: &Value, key: &str) -> Option<Value> {
    let annotations = activation["annotations"].as_array().unwrap();
    annotations.iter().find(|annotation| annotation["key"] == key).map(|found| found["value"].clone())
}

#[tokio::test]
async fn a_sequence_hands_results_on() {
    let world = World::new().await;
    bound(&world, "one", "echo", "1").await;
    bound(&world, "two", "echo", "2").await;
    sequence(&world, "inner", &["/_/two"]).await;
    sequence(&world, "outer", &["/_/one", "/guest/inner"]).await;
    let answered = world.post("actions/outer?blocking=true", json!({"p": 0})).await.ok();
    assert_eq!(answered["response"]["result"], json!({"p": 0, "one": "1", "two": "2"}));
    assert_eq!(annotation(&answered, "kind"), Some(json!("sequence")));
    assert_eq!(annotation(&answered, "topmost"), Some(json!(true)));
    assert_eq!(annotation(&answered, "path"), Some(json!("guest/outer")));
    assert!(answered.get("cause").is_none());
    let components = answered["logs"].as_array().unwrap();
    assert_eq!(components.len(), 2);

    let kept = activation(&world, answered["activationId"].as_str().unwrap()).await;
    for same in ["logs", "response", "name", "duration"] {
        assert_eq!(kept[same], answered[same], "{same}");
    }
    let one = activation(&world, components[0].as_str().unwrap()).await;
    assert_eq!((&one["name"], &one["cause"]), (&json!("one"), &answered["activationId"]));
    assert_eq!(annotation(&one, "causedBy"), Some(json!("sequence")));
    assert_eq!(annotation(&one, "topmost"), None);
    let inner = activation(&world, components[1].as_str().unwrap()).await;
    assert_eq!((&inner["name"], annotation(&inner, "topmost")), (&json!("inner"), Some(json!(false))));
    assert_eq!(annotation(&inner, "causedBy"), Some(json!("sequence")));
    assert_eq!(inner["logs"].as_array().unwrap().len(), 1);
    let bare = world.post("actions/outer?blocking=true&result=true", json!({})).await.ok();
    assert_eq!(bare, json!({"one": "1", "two": "2"}));
    let later = world.post("actions/outer", json!({})).await;
    assert_eq!(later.status, 202);
    let kept = activation(&world, later.json()["activationId"].as_str().unwrap()).await;
    assert_eq!(kept["response"]["result"], json!({"one": "1", "two": "2"}));
}

#[tokio::test]
async fn a_sequence_ends_with_an_error() {
    let world = World::new().await;
    world.action("bad", r#"return {"error": "no"}"#).await;
    world.action("crash", r#"fail 502 {"error": "it broke"}"#).await;
    world.action("never", "echo").await;
    for (first, error, status) in
        [("bad", "no", "application error"), ("crash", "it broke", "action developer error")]
    {
        sequence(&world, &format!("with-{first}"), &[&format!("/_/{first}"), "/_/never"]).await;
        let answered = world.post(&format!("actions/with-{first}?blocking=true"), json!({})).await;
        assert_eq!(answered.status, 502, "{answered:?}");
        let answered = answered.json();
        assert_eq!(answered["response"]["result"], json!({"error": error}));
        assert_eq!(answered["response"]["status"], status);
        assert_eq!(answered["logs"].as_array().unwrap().len(), 1);
    }
    sequence(&world, "hollow", &["/_/never"]).await;
    world.delete("actions/never").await.ok();
    let answered = world.post("actions/hollow?blocking=true", json!({})).await;
    assert_eq!(answered.status, 502);
    assert_eq!(answered.json()["response"]["result"]["error"], "Sequence component does not exist.");
}

#[tokio::test]
async fn arrays_travel_through_sequences() {
    let world = World::new().await;
    world.action("list", "return [1,2]").await;
    bound(&world, "echo", "echo", "x").await;
    sequence(&world, "seq", &["/_/list", "/_/echo"]).await;
    assert_eq!(world.post("actions/seq?blocking=true", json!({})).await.ok(), json!([1, 2]));
}

async fn conductor(world: &World, name: &str, code: &str) {
    let annotations = json!([{"key": "conductor", "value": true}]);
    world
        .put(&format!("actions/{name}"), json!({"exec": support::node(code), "annotations": annotations}))
        .await
        .ok();
}

#[tokio::test]
async fn a_conductor_says_what_comes_next() {
    let world = World::new().await;
    // It always asks for the same, until what that answers ends it.
    world.action("last", r#"return {"error": "enough"}"#).await;
    conductor(&world, "final", r#"return {"params": {"done": true}}"#).await;
    let answered = world.post("actions/final?blocking=true", json!({"p": 1})).await.ok();
    assert_eq!(answered["response"]["result"], json!({"done": true}));
    assert_eq!(annotation(&answered, "conductor"), Some(json!(true)));
    assert_eq!(annotation(&answered, "kind"), Some(json!("sequence")));
    assert_eq!(annotation(&answered, "topmost"), Some(json!(true)));
    let own = activation(&world, answered["logs"][0].as_str().unwrap()).await;
    assert_eq!((&own["name"], &own["cause"]), (&json!("final"), &answered["activationId"]));
    assert_eq!(annotation(&own, "kind"), Some(json!("nodejs:20")));
    assert_eq!(annotation(&own, "conductor"), None);

    // An action that hands its parameters on is a conductor by what it is called with.
    conductor(&world, "by-input", "echo").await;
    bound(&world, "step", "echo", "x").await;
    let answered = world
        .post(
            "actions/by-input?blocking=true",
            json!({"action": "step", "params": {"a": 1}, "state": {"s": 2}}),
        )
        .await
        .ok();
    assert_eq!(answered["response"]["result"], json!({"a": 1, "step": "x", "s": 2}));
    assert_eq!(answered["logs"].as_array().unwrap().len(), 3, "itself, the step, itself");
    let missing = world.post("actions/by-input?blocking=true", json!({"action": "/_/none"})).await;
    let error = missing.json()["response"]["result"]["error"].clone();
    assert_eq!(error, "Failed to resolve action with name 'guest/none' during composition.");
    let theirs = world.post("actions/by-input?blocking=true", json!({"action": "/other/a"})).await;
    let error = theirs.json()["response"]["result"]["error"].clone();
    assert_eq!(error, "Failed entitlement check for action with name 'other/a' during composition.");
    let invalid = world.post("actions/by-input?blocking=true", json!({"action": 7})).await;
    let error = invalid.json()["response"]["result"]["error"].clone();
    assert_eq!(error, "Failed to parse action name from json value 7 during composition.");
}

#[tokio::test]
async fn flows_have_an_end() {
    let limits = SystemLimits { sequence_length: 3, ..SystemLimits::default() };
    let world = World::with(Options { limits, ..Options::default() }, true).await;
    world.action("step", "echo").await;
    conductor(&world, "forever", r#"return {"action": "step"}"#).await;
    let answered = world.post("actions/forever?blocking=true", json!({})).await;
    assert_eq!(answered.status, 502, "{answered:?}");
    assert_eq!(answered.json()["response"]["result"]["error"], "Too many actions in the composition.");
}

async fn trigger(world: &World, rules: &[(&str, &str)]) {
    let parameters = json!([{"key": "t", "value": "trigger"}, {"key": "p", "value": "trigger"}]);
    world.put("triggers/t", json!({"parameters": parameters})).await.ok();
    for (rule, action) in rules {
        let body = json!({"trigger": "/_/t", "action": format!("/_/{action}")});
        world.put(&format!("rules/{rule}"), body).await.ok();
    }
}

#[tokio::test]
async fn a_trigger_calls_the_actions_of_its_rules() {
    let world = World::new().await;
    bound(&world, "one", "echo", "1").await;
    bound(&world, "two", "echo", "2").await;
    trigger(&world, &[("r1", "one"), ("r2", "two"), ("r3", "one")]).await;
    world.post("rules/r2", json!({"status": "inactive"})).await;
    let fired = world.post("triggers/t", json!({"p": "payload"})).await;
    assert_eq!(fired.status, 202, "{fired:?}");
    let id = fired.json()["activationId"].as_str().unwrap().to_owned();
    assert_eq!(fired.headers["x-openwhisk-activation-id"], id.as_str());
    let kept = activation(&world, &id).await;
    assert_eq!((&kept["name"], &kept["namespace"]), (&json!("t"), &json!("guest")));
    assert!(kept.get("end").is_none() && kept.get("duration").is_none());
    assert_eq!(kept["response"]["result"], json!({"p": "payload"}));
    assert_eq!(kept["response"]["success"], true);
    let entries: Vec<Value> = kept["logs"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| serde_json::from_str(entry.as_str().unwrap()).unwrap())
        .collect();
    assert_eq!(entries.len(), 3);
    assert_eq!((&entries[0]["rule"], &entries[0]["action"]), (&json!("guest/r1"), &json!("guest/one")));
    assert_eq!((&entries[0]["statusCode"], &entries[0]["success"]), (&json!(0), &json!(true)));
    let inactive = "Rule 'guest/r2' is inactive, action 'guest/two' was not activated.";
    assert_eq!((&entries[1]["error"], &entries[1]["statusCode"]), (&json!(inactive), &json!(1)));
    let called = activation(&world, entries[0]["activationId"].as_str().unwrap()).await;
    let mut result = called["response"]["result"].clone();
    assert!(result["__ow_headers"].is_object());
    assert!(result["__ow_headers"].get("authorization").is_none());
    result.as_object_mut().unwrap().remove("__ow_headers");
    assert_eq!(result, json!({"p": "payload", "t": "trigger", "one": "1"}));
    assert!(called.get("cause").is_none());
    let summary = world.get("activations?name=t").await.ok();
    assert!(summary[0].get("statusCode").is_none());
}

#[tokio::test]
async fn a_trigger_without_active_rules_leaves_nothing() {
    let world = World::new().await;
    world.action("one", "echo").await;
    trigger(&world, &[]).await;
    assert_eq!(world.post("triggers/t", json!({})).await.status, 204);
    trigger_with_inactive(&world).await;
    let fired = world.send(Method::POST, &api("triggers/t"), "").await;
    assert_eq!((fired.status.as_u16(), fired.body.as_str()), (204, ""));
    assert_eq!(world.get("activations?name=t").await.ok(), json!([]));
}

async fn trigger_with_inactive(world: &World) {
    world.put("rules/r", json!({"trigger": "/_/t", "action": "/_/one"})).await.ok();
    world.post("rules/r", json!({"status": "inactive"})).await;
}

#[tokio::test]
async fn what_cannot_be_fired_is_refused() {
    let limits = SystemLimits { fires_per_minute: 1, ..SystemLimits::default() };
    let world = World::with(Options { limits, ..Options::default() }, true).await;
    world.action("one", "echo").await;
    trigger(&world, &[("r", "one")]).await;
    assert_eq!(
        world.post("triggers/none", json!({})).await.error(404),
        "The requested resource does not exist."
    );
    let path = "/api/v1/namespaces/guest/triggers/t";
    let theirs = world.send_as(owner("other"), None, Method::POST, path, "").await;
    assert_eq!(theirs.error(403), "The supplied authentication is not authorized to access 'guest/t'.");
    let bad = world.send(Method::POST, &api("triggers/t"), "[1]").await.error(400);
    assert_eq!(bad, "The request content was malformed:\nJSON object expected");
    let since = Instant::now();
    let refused = loop {
        let fired = world.post("triggers/t", json!({})).await;
        if fired.status != 202 {
            break fired.error(429);
        }
        assert!(since.elapsed() < PATIENCE, "none was refused");
    };
    assert_eq!(refused, "Too many requests in the last minute (count: 2, allowed: 1).");
}

#[tokio::test]
async fn a_rule_whose_action_is_gone_is_told_of() {
    let world = World::new().await;
    world.action("one", "echo").await;
    trigger(&world, &[("r", "one")]).await;
    world.delete("actions/one").await.ok();
    let fired = world.post("triggers/t", json!({})).await;
    assert_eq!(fired.status, 202, "{fired:?}");
    let kept = activation(&world, fired.json()["activationId"].as_str().unwrap()).await;
    let entry: Value = serde_json::from_str(kept["logs"][0].as_str().unwrap()).unwrap();
    assert_eq!(entry["error"], "The requested resource does not exist.");
    assert_eq!((&entry["success"], &entry["statusCode"]), (&json!(false), &json!(1)));
}

#[tokio::test]
async fn a_conductor_keeps_what_its_binding_tells_it() {
    let world = World::new().await;
    world.put("packages/pkg", json!({})).await.ok();
    conductor(&world, "pkg/by-input", "echo").await;
    world.action("fresh", r#"return {"fresh": true}"#).await;
    let binding =
        json!({"binding": {"namespace": "_", "name": "pkg"}, "parameters": [{"key": "b", "value": 1}]});
    world.put("packages/mine", binding).await.ok();
    let path = "actions/mine/by-input?blocking=true&result=true";
    let result = world.post(path, json!({"action": "fresh"})).await.ok();
    assert_eq!(result, json!({"fresh": true, "b": 1}), "the last run is told it, too");
}

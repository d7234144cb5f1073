//! Calls of actions, and what became of them.

#![allow(clippy::unwrap_used)]

mod support;

use http::{Method, Request};
use serde_json::{Value, json};
use std::time::{Duration, Instant};
use support::{Answered, GUEST, World, api, key, owner};
use xebec_api_openwhisk::{Options, wire::limits::SystemLimits};
use xebec_core::{
    Body,
    auth::{Principal, Role},
};

/// The longest that anything may take.
const PATIENCE: Duration = Duration::from_secs(60);

fn annotation(activation: &Value, key: &str) -> Option<Value> {
    let annotations = activation["annotations"].as_array().unwrap();
    annotations.iter().find(|annotation| annotation["key"] == key).map(|found| found["value"].clone())
}

/// Asks until there is an answer other than 404.
async fn found(world: &World, path: &str) -> Value {
    let since = Instant::now();
    loop {
        let answered = world.get(path).await;
        if answered.status == 200 {
            return answered.json();
        }
        assert_eq!(answered.status, 404, "{answered:?}");
        assert!(since.elapsed() < PATIENCE, "{path} never came");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn record(world: &World, answered: &Answered) -> Value {
    let id = answered.headers["x-openwhisk-activation-id"].to_str().unwrap();
    found(world, &format!("activations/{id}")).await
}

#[tokio::test]
async fn a_blocking_call_answers_with_the_activation() {
    let world = World::new().await;
    world.action("hello", "print hey").await;
    let answered = world.post("actions/hello?blocking=true&result=false", json!({"a": 1})).await;
    let activation = answered.ok();
    assert_eq!(activation["name"], "hello");
    assert_eq!(activation["namespace"], "guest");
    assert_eq!(activation["subject"], "guest");
    assert_eq!(activation["version"], "0.0.1");
    assert_eq!(activation["publish"], false);
    assert_eq!(activation["logs"], json!([]));
    let response = json!({"result": {"a": 1}, "size": 7, "status": "success", "success": true});
    assert_eq!(activation["response"], response);
    assert_eq!(annotation(&activation, "path"), Some(json!("guest/hello")));
    assert_eq!(annotation(&activation, "kind"), Some(json!("nodejs:20")));
    assert_eq!(annotation(&activation, "timeout"), Some(json!(false)));
    assert_eq!(annotation(&activation, "limits").unwrap()["memory"], 256);
    assert!(annotation(&activation, "waitTime").unwrap().is_u64());
    assert_eq!(activation["activationId"].as_str().unwrap(), answered.headers["x-openwhisk-activation-id"]);

    let kept = record(&world, &answered).await;
    for same in ["name", "namespace", "subject", "version", "publish", "activationId", "start", "response"] {
        assert_eq!(kept[same], activation[same], "{same}");
    }
    let lines = kept["logs"].as_array().unwrap();
    assert!(lines[0].as_str().unwrap().ends_with(" stdout: hey"), "{lines:?}");
    assert_eq!(lines[0].as_str().unwrap().find("stdout"), Some(31));
    let id = kept["activationId"].as_str().unwrap();
    assert_eq!(world.get(&format!("activations/{id}/logs")).await.ok()["logs"], kept["logs"]);
    assert_eq!(world.get(&format!("activations/{id}/result")).await.ok(), response);
}

#[tokio::test]
async fn results_alone_and_arrays() {
    let world = World::new().await;
    world.action("echo", "echo").await;
    world.action("list", "return [1,2]").await;
    assert_eq!(
        world.post("actions/echo?blocking=true&result=true", json!({"a": 1})).await.body,
        r#"{"a":1}"#
    );
    assert_eq!(world.send(Method::POST, &api("actions/echo?blocking=true&result=true"), "").await.body, "{}");
    assert_eq!(
        world.post("actions/list?blocking=true", json!({})).await.ok(),
        json!([1, 2]),
        "bare, though unasked"
    );
}

#[tokio::test]
async fn failures_have_their_statuses_and_words() {
    let world = World::new().await;
    for (name, code, error, status) in [
        ("own", r#"return {"error": {"of": "mine"}}"#, json!({"of": "mine"}), "application error"),
        ("crash", r#"fail 502 {"error": "it broke"}"#, json!("it broke"), "action developer error"),
        (
            "text",
            "raw 7",
            json!("The action did not produce a valid JSON or JSON Array response: 7"),
            "action developer error",
        ),
        ("init", "bad init", json!("it cannot be initialised"), "action developer error"),
    ] {
        world.action(name, code).await;
        let answered = world.post(&format!("actions/{name}?blocking=true"), json!({})).await;
        assert_eq!(answered.status, 502, "{name}: {answered:?}");
        let activation = answered.json();
        assert_eq!(activation["response"]["result"]["error"], error, "{name}");
        assert_eq!(activation["response"]["status"], status, "{name}");
        assert_eq!(activation["response"]["success"], false);
        assert!(activation.get("code").is_none(), "clients tell errors of the platform by it");
        let kept = record(&world, &answered).await;
        assert_eq!(kept["response"]["result"]["error"], error, "{name}, as it was kept");
        assert_eq!(kept["response"]["status"], status, "{name}, as it was kept");
        let bare = world.post(&format!("actions/{name}?blocking=true&result=true"), json!({})).await;
        assert_eq!((bare.status.as_u16(), bare.json()["error"].clone()), (502, error));
    }
    let listed = world.get("activations?name=own").await.ok();
    assert_eq!((&listed[0]["statusCode"], listed.as_array().unwrap().len()), (&json!(1), 2));
}

#[tokio::test]
async fn parameters_lie_under_payloads() {
    let world = World::new().await;
    let bound = |value: &str| json!([{"key": "p", "value": value}, {"key": value, "value": 1}]);
    let package = json!({"parameters": bound("package"), "publish": true});
    world.put("packages/pkg", package).await.ok();
    let exec = support::node("echo");
    let action = json!({"exec": exec, "parameters": [{"key": "p", "value": "action"}, {"key": "i", "value": 1, "init": true}]});
    world.put("actions/pkg/a", action).await.ok();
    world.put("actions/pkg/plain", json!({"exec": exec})).await.ok();
    let binding = json!({"binding": {"namespace": "_", "name": "pkg"}, "parameters": bound("binding")});
    world.put("packages/mine", binding).await.ok();
    let call = async |name: &str, payload: Value| {
        world.post(&format!("actions/{name}?blocking=true&result=true"), payload).await.ok()
    };
    assert_eq!(call("pkg/plain", json!({})).await, json!({"p": "package", "package": 1}));
    assert_eq!(call("pkg/a", json!({})).await, json!({"p": "action", "package": 1}));
    assert_eq!(call("mine/plain", json!({})).await, json!({"p": "binding", "package": 1, "binding": 1}));
    assert_eq!(
        call("mine/a", json!({"p": "payload"})).await,
        json!({"p": "payload", "package": 1, "binding": 1})
    );

    let answered = world.post("actions/mine/a?blocking=true", json!({})).await;
    assert_eq!(annotation(&answered.ok(), "path"), Some(json!("guest/pkg/a")));
    assert_eq!(annotation(&answered.ok(), "binding"), Some(json!("guest/mine")));
    record(&world, &answered).await;
    let through = world.get("activations?name=mine/a").await.ok();
    assert_eq!(through.as_array().unwrap().len(), 2);

    let last = json!({"exec": exec, "annotations": [{"key": "final", "value": true}], "parameters": [{"key": "p", "value": 1}, {"key": "free", "value": null}]});
    world.put("actions/last", last).await.ok();
    let refused = "Request defines parameters that are not allowed (e.g., reserved properties).";
    assert_eq!(world.post("actions/last?blocking=true", json!({"p": 2})).await.error(400), refused);
    assert_eq!(call("last", json!({"free": 2})).await, json!({"p": 1, "free": 2}));
}

#[tokio::test]
async fn actions_are_told_of_the_call() {
    let world = World::new().await;
    world.put("packages/pkg", json!({})).await.ok();
    world.action("pkg/told", "message").await;
    let request = |path: &str| {
        Request::post(path)
            .header("x-request-id", "my transaction")
            .header("authorization", "Basic dTprZXk=")
            .header("x-xebec-run-api-key", "forged")
            .extension(Principal::Local)
            .body(Body::full("{\"a\": 1}"))
            .unwrap()
    };
    let path = api("actions/pkg/told?blocking=true&result=true");
    let message = world.request(request(&path)).await.ok();
    assert_eq!(message["value"], json!({"a": 1}));
    assert_eq!(message["namespace"], "guest");
    assert_eq!(message["action_name"], "/guest/pkg/told");
    assert_eq!(message["action_version"], "0.0.1");
    assert_eq!(message["transaction_id"], "my transaction");
    assert_eq!(message["activation_id"].as_str().unwrap().len(), 32);
    assert!(message["deadline"].as_str().unwrap().parse::<i64>().unwrap() > 1_600_000_000_000);
    assert!(message.get("api_key").is_none(), "{message}");

    let asks = json!({"annotations": [{"key": "provide-api-key", "value": true}]});
    world.put("actions/pkg/told?overwrite=true", asks).await.ok();
    assert_eq!(world.request(request(&path)).await.ok()["api_key"], "u:key");
}

#[tokio::test]
async fn what_cannot_be_called_is_refused() {
    let options = Options {
        limits: SystemLimits { payload_bytes: 1000, ..SystemLimits::default() },
        ..Options::default()
    };
    let world = World::with(options, true).await;
    world.action("echo", "echo").await;
    assert_eq!(
        world.post("actions/none", json!({})).await.error(404),
        "The requested resource does not exist."
    );
    let large = json!({"a": "x".repeat(2000)});
    let bytes = large.to_string().len();
    let too_large = world.post("actions/echo", large).await.error(413);
    assert_eq!(too_large, format!("Request larger than allowed: {bytes} > 1000 bytes."));
    for bad in ["{", "3", "[1]", "{} {}"] {
        let answered = world.send(Method::POST, &api("actions/echo?blocking=true"), bad).await;
        assert!(answered.error(400).starts_with("The request content was malformed:\n"), "{bad}");
    }
    for bad in ["0", "60001", "x", "-1"] {
        let path = format!("actions/echo?blocking=true&timeout={bad}");
        let error = world.post(&path, json!({})).await.error(400);
        assert!(error.ends_with("Timeout must be number of milliseconds up to 60000."), "{error}");
    }
    let error = world.post("actions/echo?blocking=perhaps", json!({})).await.error(400);
    assert!(error.contains("'blocking' was malformed"), "{error}");
    let theirs = world
        .send_as(owner("other"), None, Method::POST, "/api/v1/namespaces/guest/actions/echo", json!({}))
        .await;
    assert_eq!(theirs.error(403), "The supplied authentication is not authorized to access 'guest/echo'.");
    let nobody = Principal::Anonymous;
    assert_eq!(world.send_as(nobody, None, Method::POST, &api("actions/echo"), "").await.status, 401);
    let caller = key(Role::Invoke, Some("guest"));
    let called = world.send_as(caller, None, Method::POST, &api("actions/echo?blocking=true"), "").await;
    assert_eq!(called.status, 200, "a key that may only call may call");
}

#[tokio::test]
async fn what_nobody_waits_for_is_done_all_the_same() {
    let world = World::new().await;
    world.action("echo", "echo").await;
    let answered = world.post("actions/echo", json!({"a": 1})).await;
    assert_eq!(answered.status, 202);
    assert_eq!(
        answered.json()["activationId"].as_str().unwrap(),
        answered.headers["x-openwhisk-activation-id"]
    );
    let kept = record(&world, &answered).await;
    assert_eq!(kept["response"]["result"], json!({"a": 1}));
    assert_eq!(kept["activationId"], answered.json()["activationId"]);
}

#[tokio::test]
async fn a_call_that_takes_longer_goes_on() {
    let world = World::new().await;
    world.action("slow", "sleep 300").await;
    let answered = world.post("actions/slow?blocking=true&timeout=1", json!({"a": 1})).await;
    assert_eq!(answered.status, 202, "{answered:?}");
    assert_eq!(record(&world, &answered).await["response"]["result"], json!({"a": 1}));
}

#[tokio::test]
async fn a_client_that_goes_away_ends_nothing() {
    let world = World::new().await;
    world.action("slow", "sleep 300").await;
    {
        let call = world.post("actions/slow?blocking=true", json!({"a": 1}));
        // Until it is on its way, and no longer.
        let started = async {
            while world.local.started.lock().unwrap().is_empty() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::select! {
            biased;
            () = started => {}
            // It may be over already on a slow machine; then this tells nothing, and nothing wrong.
            _ = call => {}
        }
    }
    let since = Instant::now();
    let listed = loop {
        let listed = world.get("activations?name=slow&docs=true").await.ok();
        if listed.as_array().is_some_and(|listed| !listed.is_empty()) {
            break listed;
        }
        assert!(since.elapsed() < PATIENCE, "it was given up");
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    assert_eq!(listed[0]["response"]["result"], json!({"a": 1}), "{listed}");
}

#[tokio::test]
async fn activations_are_listed() {
    let world = World::new().await;
    world.action("one", "echo").await;
    world.action("two", "echo").await;
    let mut ids = Vec::new();
    for name in ["one", "two", "one"] {
        let answered = world.post(&format!("actions/{name}?blocking=true"), json!({})).await;
        let kept = record(&world, &answered).await;
        ids.push(kept["activationId"].clone());
    }
    let list = async |query: &str| {
        let listed = world.get(&format!("activations{query}")).await.ok();
        listed.as_array().unwrap().iter().map(|one| one["activationId"].clone()).collect::<Vec<_>>()
    };
    let newest_first: Vec<_> = ids.iter().rev().cloned().collect();
    assert_eq!(list("").await, newest_first);
    assert_eq!(list("?limit=2").await, newest_first[..2]);
    assert_eq!(list("?limit=2&skip=2").await, newest_first[2..]);
    assert_eq!(list("?limit=0").await, newest_first, "all");
    assert_eq!(list("?name=two").await, newest_first[1..2]);
    assert_eq!(list("?name=none").await, [] as [Value; 0]);
    assert_eq!(world.get("activations?count=true").await.ok(), json!({"activations": 3}));
    assert_eq!(world.get("activations?count=true&name=one&skip=1").await.ok(), json!({"activations": 1}));
    let first =
        found(&world, &format!("activations/{}", ids[0].as_str().unwrap())).await["start"].as_i64().unwrap();
    assert_eq!(list(&format!("?since={first}")).await, newest_first, "what began just then counts");
    assert!(list(&format!("?upto={first}")).await.contains(&ids[0]));
    assert_eq!(list(&format!("?upto={}", first - 1)).await, [] as [Value; 0]);
    let whole = world.get("activations?docs=true&limit=1").await.ok();
    assert_eq!(whole[0]["response"]["result"], json!({}));
    assert!(whole[0]["logs"].is_array() && whole[0].get("statusCode").is_none());
    let summary = world.get("activations?limit=1").await.ok();
    assert_eq!((&summary[0]["statusCode"], summary[0].get("response")), (&json!(0), None));
    let other =
        world.send_as(owner("other"), None, Method::GET, "/api/v1/namespaces/_/activations", "").await;
    assert_eq!(other.ok(), json!([]), "others' are theirs");
}

#[tokio::test]
async fn lists_say_what_they_do_not_understand() {
    let world = World::new().await;
    for (query, wanted) in [
        ("limit=201", "The value '201' is not in the range of 0 to 200 for activations."),
        ("limit=x", "The value 'x' is not an integer for activations."),
        ("skip=-1", "The value '-1' is not greater than or equal to 0 for activations."),
        ("name=a/b/c", "Parameter may be a 'simple' name or 'package-name/simple' name: a/b/c"),
        ("since=yesterday", "Parameter is not a valid value for epoch seconds: yesterday"),
        ("count=true&docs=true", "The parameter 'docs' is not permitted with 'count'."),
    ] {
        let error = world.get(&format!("activations?{query}")).await.error(400);
        assert!(error.ends_with(wanted), "{query}: {error}");
    }
    assert_eq!(world.get("activations/abc").await.error(400), "Activation id length is 3 but must be 32.");
    let capitals = "A".repeat(32);
    assert_eq!(
        world.get(&format!("activations/{capitals}")).await.error(400),
        "The activation id is not valid."
    );
    let unknown = "0".repeat(32);
    assert_eq!(
        world.get(&format!("activations/{unknown}")).await.error(404),
        "The requested resource does not exist."
    );
    world.action("echo", "echo").await;
    let answered = world.post("actions/echo?blocking=true", json!({})).await;
    let id = record(&world, &answered).await["activationId"].as_str().unwrap().to_owned();
    let path = format!("/api/v1/namespaces/_/activations/{id}");
    let theirs = world.send_as(owner("other"), Some(GUEST), Method::GET, &path, "").await;
    assert_eq!(theirs.error(404), "The requested resource does not exist.");
    assert_eq!(world.delete(&format!("activations/{id}")).await.status, 405);
}

#[tokio::test]
async fn namespaces_may_do_so_much_at_a_time() {
    let limits = SystemLimits { concurrent_invocations: 1, ..SystemLimits::default() };
    let world = World::with(Options { limits, ..Options::default() }, true).await;
    world.action("slow", "sleep 60000").await;
    let first = world.post("actions/slow?blocking=true&timeout=1", json!({})).await;
    assert_eq!(first.status, 202, "it goes on, and counts");
    for path in ["actions/slow?blocking=true", "actions/slow"] {
        let refused = world.post(path, json!({})).await.error(429);
        assert_eq!(refused, "Too many concurrent requests in flight (count: 1, allowed: 1).");
    }
}

#[tokio::test]
async fn namespaces_may_do_so_much_in_a_minute() {
    let limits = SystemLimits { invocations_per_minute: 2, ..SystemLimits::default() };
    let world = World::with(Options { limits, ..Options::default() }, true).await;
    world.action("echo", "echo").await;
    let since = Instant::now();
    let refused = loop {
        let answered = world.post("actions/echo", json!({})).await;
        if answered.status != 202 {
            break answered.error(429);
        }
        assert!(since.elapsed() < PATIENCE, "none was refused");
    };
    assert_eq!(refused, "Too many requests in the last minute (count: 3, allowed: 2).");
}

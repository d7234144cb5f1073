//! `kill -9` in the middle of calls that were answered already.

use crate::support::{
    Server, eventually,
    openwhisk::{Whisk, value},
};
use serde_json::json;

/// Never answers by itself within the test.
const NEVER: &str =
    "function main () { console.log('began'); return new Promise(done => setTimeout(done, 290000)) }";

#[test]
fn a_blocking_call_that_had_turned_into_202_ends_as_a_record() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start_in(folder.path(), &[]);
    let whisk = Whisk::new(&server);
    whisk.action("never", "nodejs:default", NEVER, &json!({"limits": {"timeout": 300_000}}));
    whisk.node("quick", "function main () { return { quick: true } }");
    let sequence = json!({"exec": {"kind": "sequence", "components": ["/_/quick", "/_/never"]}});
    whisk.put("actions/chain", &sequence).ok();
    let ids: Vec<String> = ["never", "chain"]
        .iter()
        .map(|name| {
            let answer = whisk.post(&format!("actions/{name}?blocking=true&timeout=200"), &json!({}));
            assert_eq!(answer.status, 202, "{answer}");
            answer.json()["activationId"].as_str().unwrap().to_owned()
        })
        .collect();
    assert_eq!(whisk.get(&format!("activations/{}", ids[0])).status, 404, "it runs still");
    server.kill();

    let server = Server::start_in(folder.path(), &[]);
    let whisk = Whisk::new(&server);
    for (id, name) in ids.iter().zip(["never", "chain"]) {
        let record = whisk.activation(id);
        assert_eq!(record["name"], name, "{record}");
        assert_eq!(record["response"]["status"], "whisk internal error", "{record}");
        assert_eq!(record["response"]["success"], false, "{record}");
        let error = record["response"]["result"]["error"].as_str().unwrap();
        assert!(error.contains("interrupted"), "{error}");
        let listed = whisk.get(&format!("activations?name={name}")).ok();
        let of_it: Vec<_> =
            listed.as_array().unwrap().iter().filter(|entry| entry["activationId"] == id.as_str()).collect();
        assert_eq!(of_it.len(), 1, "{listed}");
        assert_eq!(of_it[0]["statusCode"], 3, "{listed}");
    }
    // Nothing was run again: what was there is over, and a call made now is the first one of this server.
    let fresh = whisk.call("quick", &json!({})).ok();
    assert!(value(&fresh["annotations"], "initTime").is_number(), "it had no instance: {fresh}");
    let again = whisk.get("activations?name=never").ok();
    assert!(again.as_array().unwrap().iter().all(|entry| entry["statusCode"] == 3), "{again}");
}

#[test]
fn an_accepted_call_is_not_lost_and_not_made_twice() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start_in(folder.path(), &[]);
    let whisk = Whisk::new(&server);
    whisk.action("never", "nodejs:default", NEVER, &json!({"limits": {"timeout": 300_000}}));
    let answer = whisk.post("actions/never", &json!({}));
    assert_eq!(answer.status, 202, "{answer}");
    let id = answer.json()["activationId"].as_str().unwrap().to_owned();
    eventually("it has begun", || whisk.in_flight("never"));
    server.kill();
    let server = Server::start_in(folder.path(), &[]);
    let whisk = Whisk::new(&server);
    let record = whisk.activation(&id);
    assert_eq!(record["response"]["status"], "whisk internal error", "{record}");
    let listed = whisk.get("activations?name=never").ok();
    assert_eq!(listed.as_array().unwrap().len(), 1, "{listed}");
}

#[test]
fn an_alarm_goes_on_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start_in(folder.path(), &[]);
    let whisk = Whisk::new(&server);
    whisk.node("tick", "function main (params) { return params }");
    whisk.put("triggers/clock", &json!({})).ok();
    whisk.put("rules/r", &json!({"trigger": "/_/clock", "action": "/_/tick"})).ok();
    let feed = json!({
        "lifecycleEvent": "CREATE", "triggerName": "/_/clock", "authKey": whisk.key,
        "cron": "* * * * * *", "trigger_payload": {"tick": true},
    });
    let authorization = whisk.authorization();
    let headers = [("authorization", authorization.as_str()), ("content-type", "application/json")];
    let path = "/api/v1/namespaces/whisk.system/actions/alarms/alarm?blocking=true";
    whisk.raw("POST", path, &headers, feed.to_string().as_bytes()).ok();
    server.kill();
    let server = Server::start_in(folder.path(), &[]);
    let whisk = Whisk::new(&server);
    let marker = whisk.call("tick", &json!({"tick": false})).ok();
    eventually("it fires again", || {
        let records = whisk.get(&format!("activations?name=tick&docs=true&since={}", marker["start"])).ok();
        records.as_array().unwrap().iter().any(|record| record["response"]["result"]["tick"] == true)
    });
}

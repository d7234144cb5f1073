//! What `wsk` sends for its commands, and what it reads of the answers.

#![allow(clippy::unwrap_used)]

mod support;

use http::Method;
use serde_json::json;
use support::{GUEST, World};
use xebec_core::auth::Principal;

/// `wsk action create hello hello.js; wsk action get hello; wsk action update hello -p a 1; wsk action list;
/// wsk action delete hello`
#[tokio::test]
async fn the_life_of_an_action() {
    let world = World::new().await;
    let code = "function main(params) { return params }";
    let created = world
        .put(
            "actions/hello?overwrite=false",
            json!({"namespace": "_", "name": "hello", "exec": {"kind": "nodejs:default", "code": code}}),
        )
        .await
        .ok();
    assert_eq!(created["namespace"], "guest");
    assert_eq!(created["name"], "hello");
    assert_eq!(created["version"], "0.0.1");
    assert_eq!(created["publish"], false);
    assert_eq!(created["exec"], json!({"kind": "nodejs:20", "code": code, "binary": false}));
    assert_eq!(created["limits"], json!({"timeout": 60000, "memory": 256, "logs": 10, "concurrency": 1}));
    assert_eq!(
        created["annotations"],
        json!([{"key": "provide-api-key", "value": false}, {"key": "exec", "value": "nodejs:20"}])
    );
    assert_eq!(created["parameters"], json!([]));
    assert!(created["updated"].as_i64().unwrap() > 1_600_000_000_000);

    let again = world.put("actions/hello?overwrite=false", json!({"exec": support::node("echo")})).await;
    assert_eq!(again.error(409), "resource already exists");

    let without = world.get("actions/hello?code=false").await.ok();
    assert_eq!(without["exec"], json!({"kind": "nodejs:20", "binary": false}));
    assert_eq!(world.get("actions/hello").await.ok()["exec"]["code"], code);

    let updated = world
        .put(
            "actions/hello?overwrite=true",
            json!({"namespace": "_", "name": "hello", "parameters": [{"key": "a", "value": 1}]}),
        )
        .await
        .ok();
    assert_eq!(updated["version"], "0.0.2");
    assert_eq!(updated["parameters"], json!([{"key": "a", "value": 1}]));
    assert_eq!(updated["exec"]["code"], code);

    let listed = world.get("actions?limit=30&skip=0").await.ok();
    assert_eq!(listed.as_array().unwrap().len(), 1);
    assert_eq!(listed[0]["exec"], json!({"binary": false}));
    assert_eq!(listed[0]["limits"]["memory"], 256);
    assert!(listed[0].get("parameters").is_none());
    assert_eq!(world.get("actions?count=true").await.ok(), json!({"actions": 1}));

    assert_eq!(world.delete("actions/hello").await.ok()["version"], "0.0.2");
    assert_eq!(world.get("actions/hello").await.error(404), "The requested resource does not exist.");
    assert_eq!(world.delete("actions/hello").await.error(404), "The requested resource does not exist.");
    assert_eq!(world.get("actions?limit=0&skip=0").await.ok(), json!([]));
}

/// `wsk action update --web true` sends all annotations back, those of the server too; `--annotation` merges.
#[tokio::test]
async fn annotations_merge() {
    let world = World::new().await;
    world.action("web", "echo").await;
    let merged = world
        .put(
            "actions/web?overwrite=true",
            json!({"annotations": [
                {"key": "web-export", "value": true},
                {"key": "raw-http", "value": false},
                {"key": "final", "value": true},
                {"key": "exec", "value": "python:3"},
                {"key": "provide-api-key", "value": true},
            ]}),
        )
        .await
        .ok();
    let of = |action: &serde_json::Value, key: &str| {
        let all = action["annotations"].as_array().unwrap().clone();
        all.into_iter().find(|annotation| annotation["key"] == key).map(|mut found| found["value"].take())
    };
    assert_eq!(of(&merged, "web-export"), Some(json!(true)));
    assert_eq!(of(&merged, "exec"), Some(json!("nodejs:20")));
    assert_eq!(of(&merged, "provide-api-key"), Some(json!(true)));
    let fewer = world
        .put(
            "actions/web?overwrite=true",
            json!({"delAnnotations": ["raw-http", "final"], "annotations": [{"key": "more", "value": 1}]}),
        )
        .await
        .ok();
    assert_eq!(of(&fewer, "raw-http"), None);
    assert_eq!(of(&fewer, "final"), None);
    assert_eq!(of(&fewer, "web-export"), Some(json!(true)));
    assert_eq!(of(&fewer, "more"), Some(json!(1)));
}

/// `wsk package create`, `wsk package bind`, `wsk package get`, `wsk action list pk`, `wsk package delete`
#[tokio::test]
async fn the_life_of_a_package() {
    let world = World::new().await;
    let body = json!({"namespace": "_", "name": "pk", "parameters": [{"key": "p", "value": "package"}]});
    let made = world.put("packages/pk?overwrite=false", body).await.ok();
    assert_eq!(made["binding"], json!({}));
    assert_eq!(made["version"], "0.0.1");
    world.action("pk/one", "echo").await;
    let feed = json!({"exec": support::node("echo"), "annotations": [{"key": "feed", "value": true}]});
    world.put("actions/pk/feed", feed).await.ok();

    let got = world.get("packages/pk").await.ok();
    assert_eq!(got["actions"][0]["name"], "one");
    assert_eq!(got["actions"][0]["version"], "0.0.1");
    assert_eq!(got["feeds"][0]["name"], "feed");
    let listed = world.get("actions/pk/?limit=30&skip=0").await.ok();
    assert_eq!(listed.as_array().unwrap().len(), 2);
    assert!(listed.as_array().unwrap().iter().all(|action| action["namespace"] == "guest/pk"));
    assert_eq!(world.get("packages?limit=30&skip=0").await.ok()[0]["binding"], false);

    // `wsk package bind /_/pk bound -p b 1`
    let bound =
        json!({"binding": {"namespace": "_", "name": "pk"}, "parameters": [{"key": "b", "value": 1}]});
    let bound = world.put("packages/bound?overwrite=false", bound).await.ok();
    assert_eq!(bound["binding"], json!({"namespace": "guest", "name": "pk"}));
    assert_eq!(
        bound["annotations"],
        json!([{"key": "binding", "value": {"namespace": "guest", "name": "pk"}}])
    );
    let got = world.get("packages/bound").await.ok();
    assert_eq!(got["parameters"], json!([{"key": "p", "value": "package"}, {"key": "b", "value": 1}]));
    assert_eq!(got["actions"][0]["name"], "one");
    // Through the binding, an action is told what both bind.
    let action = world.get("actions/bound/one?code=false").await.ok();
    assert_eq!(action["namespace"], "guest/pk");
    assert_eq!(action["parameters"], json!([{"key": "p", "value": "package"}, {"key": "b", "value": 1}]));
    let through = world.put("actions/bound/new", json!({"exec": support::node("echo")})).await;
    assert_eq!(through.error(400), "Operation not permitted on package binding.");

    for (path, body, status, says) in [
        ("packages/default", json!({}), 400, "Package name 'default' is reserved."),
        (
            "packages/pk?overwrite=true",
            json!({"binding": {"namespace": "_", "name": "bound"}}),
            400,
            "Cannot bind to another package binding.",
        ),
        (
            "packages/new",
            json!({"binding": {"namespace": "_", "name": "none"}}),
            400,
            "Binding references a package that does not exist.",
        ),
    ] {
        assert_eq!(world.put(path, body).await.error(status), says);
    }
    world.put("packages/other", json!({})).await.ok();
    let converted = json!({"binding": {"namespace": "_", "name": "other"}});
    assert_eq!(
        world.put("packages/pk?overwrite=true", converted).await.error(409),
        "Resource is a package and cannot be converted into a binding."
    );

    assert_eq!(
        world.delete("packages/pk").await.error(409),
        "Package not empty (contains 2 entities). Set force param or delete package contents."
    );
    world.delete("packages/bound").await.ok();
    world.delete("packages/pk?force=true").await.ok();
    assert_eq!(world.get("actions/pk/one").await.error(404), "The requested resource does not exist.");
    assert_eq!(world.get("actions").await.ok(), json!([]));
}

/// `wsk trigger create t -p a 1; wsk rule create r t hello; wsk rule disable r; wsk rule get r; wsk trigger get t`
#[tokio::test]
async fn triggers_and_rules() {
    let world = World::new().await;
    world.action("hello", "echo").await;
    let trigger = json!({"name": "t", "parameters": [{"key": "a", "value": 1}]});
    let made = world.put("triggers/t?overwrite=false", trigger).await.ok();
    assert_eq!(made["limits"], json!({}));
    assert!(made.get("rules").is_none());

    let rule = json!({"name": "r", "status": "", "trigger": "/_/t", "action": "/_/hello"});
    let made = world.put("rules/r?overwrite=false", rule.clone()).await.ok();
    assert_eq!(made["status"], "active");
    assert_eq!(made["trigger"], json!({"path": "guest", "name": "t"}));
    assert_eq!(made["action"], json!({"path": "guest", "name": "hello"}));
    assert_eq!(
        world.put("rules/r?overwrite=false", rule.clone()).await.error(409),
        "resource already exists"
    );

    let active = json!({"guest/r": {"action": {"path": "guest", "name": "hello"}, "status": "active"}});
    assert_eq!(world.get("triggers/t").await.ok()["rules"], active);
    assert!(world.get("rules?limit=30&skip=0").await.ok()[0].get("status").is_none());

    for _ in 0..2 {
        let off = world.post("rules/r", json!({"status": "inactive", "trigger": null, "action": null})).await;
        assert_eq!((off.status.as_u16(), off.body.as_str()), (200, ""));
    }
    assert_eq!(world.get("rules/r").await.ok()["status"], "inactive");
    // An update keeps the status and raises the version.
    let updated = world.put("rules/r?overwrite=true", rule).await.ok();
    assert_eq!((&updated["status"], &updated["version"]), (&json!("inactive"), &json!("0.0.2")));
    let bad = world.post("rules/r", json!({"status": "maybe"})).await.error(400);
    assert!(bad.starts_with("The request content was malformed:"), "{bad}");

    // A trigger that is made anew has no rules, until they are enabled again.
    world.post("rules/r", json!({"status": "active"})).await;
    world.delete("triggers/t").await.ok();
    assert_eq!(world.get("rules/r").await.ok()["status"], "inactive");
    assert_eq!(
        world.post("rules/r", json!({"status": "active"})).await.error(404),
        "Only rules with existing triggers can be activated"
    );
    world.put("triggers/t", json!({})).await.ok();
    assert!(world.get("triggers/t").await.ok().get("rules").is_none());
    world.post("rules/r", json!({"status": "active"})).await;
    assert_eq!(world.get("triggers/t").await.ok()["rules"], active);

    assert_eq!(world.delete("rules/r").await.ok()["status"], "inactive");
    assert!(world.get("triggers/t").await.ok().get("rules").is_none());
    for (body, says) in [
        (json!({"trigger": "/_/none", "action": "/_/hello"}), "trigger /guest/none does not exist"),
        (json!({"trigger": "/_/t", "action": "/_/none"}), "action /guest/none does not exist"),
        (json!({"trigger": "/_/t"}), "rule requires a valid trigger and a valid action"),
    ] {
        assert_eq!(world.put("rules/bad", body).await.error(400), says);
    }
}

/// `wsk trigger create t --feed f`: the client checks the feed, the server its name alone.
#[tokio::test]
async fn feeds_of_triggers() {
    let world = World::new().await;
    let fed = |feed: serde_json::Value| json!({"annotations": [{"key": "feed", "value": feed}]});
    for bad in [json!("not//a feed!"), json!(""), json!(7)] {
        assert_eq!(world.put("triggers/t", fed(bad)).await.error(400), "Feed name is not valid");
    }
    world.put("triggers/t", fed(json!("/whisk.system/alarms/alarm"))).await.ok();
}

/// A name is one thing, whichever collection it is in.
#[tokio::test]
async fn names_are_unique_over_collections() {
    let world = World::new().await;
    world.action("a", "echo").await;
    world.put("triggers/t", json!({})).await.ok();
    world.put("packages/p", json!({})).await.ok();
    let other = "Resource by this name exists but is not in this collection.";
    for path in ["triggers/a", "packages/a", "packages/t"] {
        assert_eq!(world.put(path, json!({})).await.error(409), other, "{path}");
    }
    for path in ["actions/t", "actions/p"] {
        assert_eq!(world.put(path, json!({"exec": support::node("echo")})).await.error(409), other, "{path}");
        assert_eq!(world.get(path).await.error(409), other, "{path}");
        assert_eq!(world.delete(path).await.error(409), other, "{path}");
    }
    for path in ["triggers/a", "rules/a", "packages/a"] {
        assert_eq!(world.get(path).await.error(409), other, "{path}");
    }
}

/// `wsk property get`, `wsk namespace list`
#[tokio::test]
async fn what_the_server_says_of_itself() {
    let world = World::new().await;
    let version = world.send_as(Principal::Anonymous, None, Method::GET, "/api/v1", "").await.ok();
    assert_eq!(version["description"], "OpenWhisk API");
    assert_eq!(version["api_version"], "1.0.0");
    assert!(version["build"].is_string() && version["buildno"].is_string());
    assert_eq!(world.get("/api/v1/namespaces").await.ok(), json!(["guest"]));
    assert_eq!(world.get("/api/v1/namespaces/").await.ok(), json!(["guest"]));
    let system =
        world.send_as(Principal::Local, Some(support::SYSTEM), Method::GET, "/api/v1/namespaces", "").await;
    assert_eq!(system.ok(), json!(["whisk.system"]));
    let nobody = world.send_as(Principal::Anonymous, None, Method::GET, "/api/v1/namespaces", "").await;
    assert_eq!(nobody.headers["www-authenticate"], "Basic realm=\"OpenWhisk secure realm\"");
    assert_eq!(
        nobody.error(401),
        "The resource requires authentication, which was not supplied with the request"
    );
    let bad = world.send_as(Principal::Anonymous, Some(GUEST), Method::GET, "/api/v1/namespaces", "").await;
    assert_eq!(bad.error(401), "The supplied authentication is invalid");
    let pong = world.send_as(Principal::Anonymous, None, Method::GET, "/ping", "").await;
    assert_eq!(pong.body, "pong");
    let limits = world.get("limits").await.ok();
    assert_eq!(limits["invocationsPerMinute"], 600_000);
    assert_eq!(limits["maxActionMemory"], 512);
}

/// Every answer names its transaction, and lets pages of any origin read it.
#[tokio::test]
async fn transactions_and_pages() {
    let world = World::new().await;
    let ask = |id: Option<&'static str>| {
        let mut request = http::Request::get("/api/v1/namespaces/_/actions/none");
        if let Some(id) = id {
            request = request.header("x-request-id", id);
        }
        let mut request = request.body(xebec_core::Body::empty()).unwrap();
        request.extensions_mut().insert(Principal::Local);
        request
    };
    let own = world.request(ask(Some("my-own"))).await;
    assert_eq!(own.json()["code"], "my-own");
    assert_eq!(own.headers["x-request-id"], "my-own");
    assert_eq!(own.headers["access-control-allow-origin"], "*");
    assert_eq!(own.headers["access-control-allow-methods"], "GET, DELETE, POST, PUT, HEAD");
    let systems = world.request(ask(Some("sid_me"))).await;
    assert_ne!(systems.json()["code"], "sid_me");
    let made = world.request(ask(None)).await;
    assert_eq!(made.json()["code"].as_str().unwrap().len(), 32);
    let options =
        world.send_as(Principal::Anonymous, None, Method::OPTIONS, "/api/v1/namespaces/_/actions", "");
    let options = options.await;
    assert_eq!((options.status.as_u16(), options.body.as_str()), (200, ""));
    let key =
        world.send_as(Principal::Local, Some(GUEST), Method::PATCH, "/api/v1/namespaces/_/actions/x", "");
    assert!(key.await.error(405).starts_with("HTTP method not allowed"));
}

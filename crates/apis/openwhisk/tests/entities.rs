//! Corners of the entities: what is refused and how, what others may see, what outlives a restart.

#![allow(clippy::unwrap_used)]

mod support;

use http::Method;
use serde_json::{Value, json};
use support::{GUEST, World, key, node, owner};
use xebec_api_openwhisk::Options;
use xebec_core::{
    Tenant,
    auth::{Principal, Role},
    ports::control::Control as _,
};

#[tokio::test]
async fn actions_that_cannot_be() {
    let world = World::without_containers().await;
    let malformed = |fault: &str| format!("The request content was malformed:\n{fault}");
    for (body, status, says) in [
        (json!({}), 400, "exec undefined".to_owned()),
        (json!({"exec": {"kind": "nodejs:20"}}), 400, malformed("'code' must be a string")),
        (json!({"exec": {"code": "x"}}), 400, malformed("'kind' must be a string defined in 'exec'")),
        (json!({"exec": {"kind": "sequence"}}), 400, malformed("'components' must be defined")),
        (json!({"exec": {"kind": "blackbox"}}), 400, malformed("'image' must be a string")),
        (json!({"exec": node("x"), "version": "x"}), 400, malformed("semantic version malformed")),
        (json!({"exec": node("x"), "parameters": {}}), 400, malformed("parameters malformed!")),
        (json!({"exec": node("x"), "annotations": [{"key": "k"}]}), 400, malformed("parameters malformed!")),
        (
            json!({"exec": {"kind": "cobol:1", "code": "x"}}),
            400,
            malformed(
                "The specified runtime 'cobol:1' is not supported by this platform. Valid values are: 'nodejs:18', 'nodejs:20'",
            ),
        ),
        // Known, and nothing here could run it.
        (
            json!({"exec": {"kind": "java:8", "code": "x", "main": "M"}}),
            400,
            malformed("The specified runtime 'java:8' is not supported by this platform."),
        ),
        (
            json!({"exec": {"kind": "blackbox", "image": "some/image"}}),
            400,
            "The image 'some/image' cannot be run".to_owned(),
        ),
        (
            json!({"exec": node("x"), "limits": {"memory": 64}}),
            400,
            "memory size 64 MB below allowed threshold of 128 MB".to_owned(),
        ),
        (
            json!({"exec": node("x"), "limits": {"memory": 1024}}),
            400,
            "memory size 1024 MB exceeds allowed threshold of 512 MB".to_owned(),
        ),
        (
            json!({"exec": node("x"), "limits": {"logs": 11}}),
            400,
            "log size 11 MB exceeds allowed threshold of 10 MB".to_owned(),
        ),
        (
            json!({"exec": node("x"), "limits": {"timeout": 99}}),
            400,
            "duration 99 milliseconds below allowed threshold of 100 milliseconds".to_owned(),
        ),
        (
            json!({"exec": node("x"), "limits": {"timeout": 300_001}}),
            400,
            "duration 300001 milliseconds exceeds allowed threshold of 300000 milliseconds".to_owned(),
        ),
        (
            json!({"exec": node("x"), "limits": {"concurrency": 201}}),
            400,
            "concurrency 201 exceeds allowed threshold of 200".to_owned(),
        ),
        (
            json!({"exec": node("x"), "limits": {"instances": 1001}}),
            400,
            "Max action instance concurrency must not exceed your namespace concurrency of 1000.".to_owned(),
        ),
        (json!({"exec": node("unusable code")}), 400, "the code is unusable".to_owned()),
        (
            json!({"exec": node("x"), "parameters": [{"key": "k", "value": "v".repeat(1 << 20)}]}),
            413,
            "parameters larger than allowed: 1048579 > 1048576 bytes.".to_owned(),
        ),
        (
            json!({"exec": node("x"), "annotations": [{"key": "k", "value": "v".repeat(1 << 20)}]}),
            413,
            "annotations larger than allowed: 1048579 > 1048576 bytes.".to_owned(),
        ),
        (
            json!({"exec": node("x"), "parameters": [{"key": "a=b", "value": 1, "init": true}]}),
            400,
            malformed("the parameter \"a=b\" cannot be a variable"),
        ),
    ] {
        let shown: String = body.to_string().chars().take(200).collect();
        let error = world.put("actions/bad", body).await.error(status);
        assert!(error.starts_with(&says), "{shown}: {error}");
    }
    for (text, says) in [("nonsense", "Object expected"), ("[]", "Object expected"), ("{\"a\":", "EOF")] {
        let error = world.send(Method::PUT, "/api/v1/namespaces/_/actions/bad", text).await.error(400);
        assert!(error.starts_with(&malformed(says)), "{text}: {error}");
    }
    let illegal = "The name of the entity contains illegal characters.";
    for name in ["%20x", "x%20", "a%2Fb%20", "%C3%A4", "-x", "a%24b"] {
        let error = world.put(&format!("actions/{name}"), json!({"exec": node("x")})).await.error(400);
        assert_eq!(error, illegal, "{name}");
    }
    let long = "n".repeat(257);
    let error = world.put(&format!("actions/{long}"), json!({"exec": node("x")})).await.error(400);
    assert_eq!(error, "Name segement longer than allowed: 257 > 256.");
    assert_eq!(world.get("actions").await.ok(), json!([]));
    world.put("actions/a%20name%20of%20_words%20%26%20@signs.-", json!({"exec": node("x")})).await.ok();
    assert_eq!(world.get("actions").await.ok()[0]["name"], "a name of _words & @signs.-");
}

#[tokio::test]
async fn code_that_is_too_large() {
    let mut options = Options::default();
    options.limits.code_bytes = 100;
    let world = World::with(options, false).await;
    let error = world.put("actions/large", json!({"exec": node(&"x".repeat(101))})).await.error(413);
    assert_eq!(error, "exec larger than allowed: 101 > 100 bytes.");
    world.put("actions/large", json!({"exec": node(&"x".repeat(100))})).await.ok();
    let huge = format!("{{\"exec\": {}}}", " ".repeat(6 << 20));
    let error = world.send(Method::PUT, "/api/v1/namespaces/_/actions/huge", &*huge).await.error(413);
    assert!(error.starts_with(&format!("Request larger than allowed: {} > ", huge.len())), "{error}");
}

/// Code comes back as it was sent, and `binary` says whether it was Base64.
#[tokio::test]
async fn code_comes_back() {
    let world = World::new().await;
    for (code, binary) in [
        ("function main() { return { a: '\u{1F980}' } }", false),
        ("UEsDBBQAAAAIAA==", true),
        ("f0VMRgIBAQA=", true),
        ("abcd", true),
        ("abc", false),
        ("", false),
        ("a b\n\tc\u{0}", false),
    ] {
        let made = world.put("actions/code?overwrite=true", json!({"exec": node(code)})).await.ok();
        assert_eq!((&made["exec"]["code"], &made["exec"]["binary"]), (&json!(code), &json!(binary)));
        assert_eq!(world.get("actions/code").await.ok()["exec"], made["exec"]);
        assert_eq!(world.get("actions").await.ok()[0]["exec"]["binary"], binary);
    }
    let jar = json!({"exec": {"kind": "java:default", "jar": "UEsDBBQAAAAIAA==", "main": "Hello"}});
    let made = world.put("actions/jar", jar).await.ok();
    assert_eq!(
        made["exec"],
        json!({"kind": "java:8", "code": "UEsDBBQAAAAIAA==", "binary": true, "main": "Hello"})
    );
    let error = world.put("actions/none", json!({"exec": {"kind": "java:8", "code": "x"}})).await.error(400);
    assert!(error.contains("'main' must be a string defined in 'exec' for 'java:8' actions"), "{error}");
}

#[tokio::test]
async fn images() {
    let world = World::new().await;
    let image = json!({"exec": {"kind": "blackbox", "image": "some/image:1"}});
    let made = world.put("actions/image", image).await.ok();
    assert_eq!(made["exec"], json!({"kind": "blackbox", "image": "some/image:1", "binary": false}));
    let native = json!({"exec": {
        "kind": "blackbox", "image": "openwhisk/dockerskeleton", "code": "#!/bin/sh\necho '{}'", "main": "m"
    }});
    let made = world.put("actions/native", native.clone()).await.ok();
    assert_eq!(made["exec"]["image"], "openwhisk/dockerskeleton");
    assert_eq!(made["exec"]["code"], native["exec"]["code"]);
    // Both run somewhere else: one in a container, one in an environment that stands in for its image.
    let without = World::without_containers().await;
    without.put("actions/native", native).await.ok();
    let empty = json!({"exec": {"kind": "blackbox", "image": "openwhisk/dockerskeleton"}});
    let error = without.put("actions/empty", empty).await.error(400);
    assert!(error.contains("run here with code only"), "{error}");
}

#[tokio::test]
async fn sequences() {
    let world = World::new().await;
    world.action("a", "echo").await;
    world.put("packages/p", json!({})).await.ok();
    world.put("packages/b", json!({"binding": {"namespace": "_", "name": "p"}})).await.ok();
    world.action("p/x", "echo").await;
    let of = |components: &[&str]| json!({"exec": {"kind": "sequence", "components": components}});
    let mut body = of(&["/_/a", "/guest/p/x"]);
    body["parameters"] = json!([{"key": "dropped", "value": 1}]);
    let made = world.put("actions/s", body).await.ok();
    assert_eq!(made["exec"], json!({"kind": "sequence", "components": ["/guest/a", "/guest/p/x"]}));
    assert_eq!(made["parameters"], json!([{"key": "_actions", "value": ["/guest/a", "/guest/p/x"]}]));
    assert_eq!(made["annotations"][1], json!({"key": "exec", "value": "sequence"}));
    // Parameters of a sequence are its components, whatever an update says.
    let same =
        world.put("actions/s?overwrite=true", json!({"parameters": [{"key": "k", "value": 1}]})).await.ok();
    assert_eq!(same["parameters"], made["parameters"]);

    for (components, says) in [
        (vec![], "No component specified for the sequence."),
        (vec!["/_/none"], "Sequence component does not exist."),
        (vec!["/_/new"], "Sequence component does not exist."),
        (vec!["/_/a"; 51], "Too many actions in the sequence."),
    ] {
        assert_eq!(world.put("actions/new", of(&components)).await.error(400), says, "{components:?}");
    }
    world.put("actions/most", of(&["/_/a"; 50])).await.ok();
    // Twice 26 within, through another sequence.
    world.put("actions/half", of(&["/_/a"; 26])).await.ok();
    assert_eq!(
        world.put("actions/new", of(&["/_/half", "/_/half"])).await.error(400),
        "Too many actions in the sequence."
    );
    world.put("actions/outer", of(&["/_/half", "/_/a"])).await.ok();
    for (name, through) in [("half", "/_/outer"), ("half", "/_/half"), ("a", "/_/s")] {
        let error = world.put(&format!("actions/{name}?overwrite=true"), of(&[through])).await.error(400);
        assert_eq!(error, "Sequence may not refer to itself.", "{name} {through}");
    }
    let error = world.put("actions/p/x?overwrite=true", of(&["/_/b/x"])).await.error(400);
    assert_eq!(error, "Sequence may not refer to itself.");
    // It becomes an ordinary action, and its parameter does not stay.
    let plain = world.put("actions/s?overwrite=true", json!({"exec": node("echo")})).await.ok();
    assert_eq!(plain["parameters"], json!([]));
}

#[tokio::test]
async fn lists_and_their_bounds() {
    let world = World::new().await;
    for number in 0..35 {
        world.put(&format!("triggers/t{number:02}"), json!({})).await.ok();
    }
    let names = |list: Value| -> Vec<String> {
        list.as_array().unwrap().iter().map(|one| one["name"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(names(world.get("triggers").await.ok()).len(), 30);
    assert_eq!(names(world.get("triggers?limit=0").await.ok()).len(), 35);
    assert_eq!(names(world.get("triggers/?limit=2&skip=34").await.ok()).len(), 1);
    assert_eq!(world.get("triggers?count=true").await.ok(), json!({"triggers": 35}));
    assert_eq!(world.get("triggers?count=true&skip=30").await.ok(), json!({"triggers": 5}));
    // What was changed last comes first.
    let before = world.get("triggers/t07").await.ok()["updated"].as_i64().unwrap();
    while world.put("triggers/t07?overwrite=true", json!({})).await.ok()["updated"].as_i64().unwrap()
        == before
    {}
    assert_eq!(names(world.get("triggers?limit=1").await.ok()), ["t07"]);
    let all = world.get("triggers?limit=0").await.ok();
    let updated: Vec<i64> =
        all.as_array().unwrap().iter().map(|one| one["updated"].as_i64().unwrap()).collect();
    assert!(updated.is_sorted_by(|a, b| a >= b), "{updated:?}");
    for (query, says) in [
        ("limit=201", "The value '201' is not in the range of 0 to 200 for triggers."),
        ("limit=-1", "The value '-1' is not in the range of 0 to 200 for triggers."),
        ("limit=x", "The value 'x' is not an integer for triggers."),
        ("skip=-1", "The value '-1' is not greater than or equal to 0 for triggers."),
        ("skip=", "The value '' is not an integer for triggers."),
    ] {
        let error = world.get(&format!("triggers?{query}")).await.error(400);
        assert!(error.ends_with(says), "{query}: {error}");
    }
}

/// What belongs to somebody else.
#[tokio::test]
async fn other_namespaces() {
    let world = World::new().await;
    let (alice, bob) = (owner("alice"), owner("bob"));
    let send = |who: &Principal, method: Method, path: &str, body: Value| {
        let (who, path) = (who.clone(), format!("/api/v1/namespaces/{path}"));
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let world = &world;
        async move { world.send_as(who, Some(GUEST), method, &path, &*body).await }
    };
    send(
        &alice,
        Method::PUT,
        "_/packages/open",
        json!({"publish": true, "parameters": [{"key": "p", "value": 1}]}),
    )
    .await
    .ok();
    send(&alice, Method::PUT, "_/packages/shut", json!({})).await.ok();
    for package in ["open/", "shut/", ""] {
        send(&alice, Method::PUT, &format!("_/actions/{package}a"), json!({"exec": node("echo")})).await.ok();
    }
    let refused = |what: &str| format!("The supplied authentication is not authorized to access '{what}'.");
    for (method, path, what) in [
        (Method::GET, "alice/actions", "alice"),
        (Method::GET, "alice/triggers", "alice"),
        (Method::GET, "alice/rules", "alice"),
        (Method::GET, "alice/limits", "alice"),
        (Method::GET, "alice/actions/a", "alice/a"),
        (Method::GET, "alice/actions/shut/a", "alice/shut/a"),
        (Method::GET, "alice/actions/none/a", "alice/none/a"),
        (Method::GET, "alice/packages/shut", "alice/shut"),
        (Method::GET, "alice/packages/none", "alice/none"),
        (Method::GET, "alice/triggers/none", "alice/none"),
        (Method::DELETE, "alice/actions/a", "alice/a"),
        (Method::DELETE, "alice/actions/open/a", "alice/open/a"),
        (Method::DELETE, "alice/packages/open", "alice/open"),
        (Method::DELETE, "alice/triggers/none", "alice/none"),
        (Method::DELETE, "alice/rules/none", "alice/none"),
        (Method::PUT, "alice/actions/open/b", "alice/open/b"),
        (Method::PUT, "alice/packages/open", "alice/open"),
        (Method::PUT, "alice/triggers/t", "alice/t"),
        (Method::PUT, "alice/rules/r", "alice/r"),
        (Method::POST, "alice/rules/r", "alice/r"),
    ] {
        let error = send(&bob, method.clone(), path, json!({})).await.error(403);
        assert_eq!(error, refused(what), "{method} {path}");
    }
    let mine = send(&bob, Method::GET, "alice/packages", Value::Null).await.ok();
    assert_eq!(mine.as_array().unwrap().len(), 1);
    assert_eq!(mine[0]["name"], "open");
    let shared = send(&bob, Method::GET, "alice/packages/open", Value::Null).await.ok();
    assert_eq!(shared["actions"][0]["name"], "a");
    assert_eq!(
        send(&bob, Method::GET, "alice/actions/open/a", Value::Null).await.ok()["namespace"],
        "alice/open"
    );
    assert_eq!(
        send(&bob, Method::GET, "alice/actions/open/", Value::Null).await.ok().as_array().unwrap().len(),
        1
    );

    let bound =
        json!({"binding": {"namespace": "alice", "name": "open"}, "parameters": [{"key": "p", "value": 2}]});
    send(&bob, Method::PUT, "_/packages/mine", bound).await.ok();
    let through = send(&bob, Method::GET, "_/actions/mine/a", Value::Null).await.ok();
    assert_eq!(through["parameters"], json!([{"key": "p", "value": 2}]));
    for (binding, what) in [("shut", "alice/shut"), ("none", "alice/none")] {
        let body = json!({"binding": {"namespace": "alice", "name": binding}});
        let error = send(&bob, Method::PUT, "_/packages/other", body).await.error(403);
        assert_eq!(error, refused(what));
    }
    // What was shared and is not any more.
    send(&alice, Method::PUT, "_/packages/open?overwrite=true", json!({"publish": false})).await.ok();
    for path in ["_/actions/mine/a", "_/packages/mine", "_/actions/mine/"] {
        assert_eq!(send(&bob, Method::GET, path, Value::Null).await.status, 403, "{path}");
    }
    // An action of one's own may name only what one may call.
    let sequence = json!({"exec": {"kind": "sequence", "components": ["/alice/a"]}});
    assert_eq!(send(&bob, Method::PUT, "_/actions/s", sequence).await.error(403), refused("alice/a"));
    send(&bob, Method::PUT, "_/triggers/t", json!({})).await.ok();
    let rule = json!({"trigger": "/_/t", "action": "/alice/a"});
    assert_eq!(send(&bob, Method::PUT, "_/rules/r", rule).await.error(403), refused("alice/a"));

    // An administrator may do all of it; a key that may only call, none of it.
    let admin = key(Role::Admin, None);
    send(&admin, Method::GET, "alice/actions", Value::Null).await.ok();
    let caller = key(Role::Invoke, Some("alice"));
    assert_eq!(send(&caller, Method::GET, "_/actions", Value::Null).await.error(403), refused("alice"));
    assert_eq!(send(&caller, Method::GET, "_/actions/a", Value::Null).await.error(403), refused("alice/a"));
    let error = send(&bob, Method::GET, "%C3%A4/actions", Value::Null).await.error(400);
    assert_eq!(error, "The namespace contains illegal characters.");
}

/// Limits of a namespace: set by an administrator, obeyed at once.
#[tokio::test]
async fn limits_of_a_namespace() {
    let world = World::new().await;
    let send = |who: Principal, method: Method, body: Value| {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let world = &world;
        async move { world.send_as(who, Some(GUEST), method, "/api/v1/namespaces/alice/limits", &*body).await }
    };
    let (alice, admin) = (owner("alice"), key(Role::Admin, None));
    let own = json!({
        "invocationsPerMinute": 7, "allowedKinds": ["python:3.11"], "maxActionMemory": 300,
        "maxParameterSize": "2 KB", "storeActivations": false
    });
    send(alice.clone(), Method::PUT, own.clone()).await.error(403);
    send(admin.clone(), Method::PUT, own).await.ok();
    let limits = send(alice.clone(), Method::GET, Value::Null).await.ok();
    assert_eq!(limits["invocationsPerMinute"], 7);
    assert_eq!(limits["concurrentInvocations"], 1000);
    assert_eq!(limits["maxActionMemory"], 300);
    assert_eq!(limits["maxParameterSize"], "2048 B");
    assert_eq!(limits["allowedKinds"], json!(["python:3.11"]));
    assert_eq!(limits["storeActivations"], false);
    let put = |body: Value| {
        let (alice, world) = (alice.clone(), &world);
        async move { world.send_as(alice, Some(GUEST), Method::PUT, "/api/v1/namespaces/_/actions/a", body).await }
    };
    assert_eq!(
        put(json!({"exec": node("x")})).await.error(403),
        "The supplied authentication is not authorized to access actions of kind 'nodejs:20'."
    );
    let python = json!({"kind": "python:3.11", "code": "x"});
    assert_eq!(
        put(json!({"exec": python, "limits": {"memory": 301}})).await.error(400),
        "memory size 301 MB exceeds allowed threshold of 300 MB"
    );
    let large = json!({"exec": python, "parameters": [{"key": "k", "value": "v".repeat(2048)}]});
    assert!(put(large).await.error(413).starts_with("parameters larger than allowed: 2051 > 2048"));
    put(json!({"exec": python})).await.ok();
    send(admin, Method::DELETE, Value::Null).await.ok();
    assert_eq!(send(alice, Method::GET, Value::Null).await.ok()["invocationsPerMinute"], 600_000);
}

/// Everything is there again after a restart, and what another server writes is seen.
#[tokio::test]
async fn what_outlives_a_restart() {
    let world = World::new().await;
    world
        .put(
            "packages/p",
            json!({"parameters": [{"key": "k", "value": 1, "init": true, "encryption": "aes"}]}),
        )
        .await
        .ok();
    world.action("p/a", "echo").await;
    world.put("triggers/t", json!({})).await.ok();
    world.put("rules/r", json!({"trigger": "/_/t", "action": "/_/p/a"})).await.ok();
    world.action("conductor", "echo").await;
    let conducts = json!({"annotations": [{"key": "conductor", "value": true}]});
    world.put("actions/conductor?overwrite=true", conducts).await.ok();
    let paths =
        ["packages/p", "actions/p/a", "actions/conductor", "triggers/t", "rules/r", "limits", "actions"];
    let mut before = Vec::new();
    for path in paths {
        before.push(world.get(path).await.ok());
    }
    assert_eq!(
        before[0]["parameters"][0],
        json!({"key": "k", "value": 1, "init": true, "encryption": "aes"})
    );
    let mut world = world;
    world.door = world.another_door().await;
    for (path, before) in paths.iter().zip(before) {
        assert_eq!(world.get(path).await.ok(), before, "{path}");
    }
}

/// What another server writes is seen, and so is what it deletes.
#[tokio::test]
async fn two_servers() {
    let mut world = World::new().await;
    let other = world.another_door().await;
    world.put("packages/p", json!({})).await.ok();
    world.action("p/a", "echo").await;
    world.put("triggers/t", json!({})).await.ok();
    world.put("rules/r", json!({"trigger": "/_/t", "action": "/_/p/a"})).await.ok();
    let paths = ["packages/p", "actions/p/a", "triggers/t", "rules/r"];
    let first = std::mem::replace(&mut world.door, other);
    for path in paths {
        until(&world, path, 200).await;
    }
    let other = std::mem::replace(&mut world.door, first);
    for path in ["rules/r", "triggers/t", "actions/p/a", "packages/p"] {
        world.delete(path).await.ok();
    }
    world.door = other;
    for path in paths {
        until(&world, path, 404).await;
    }
}

/// What is marked for it an action is told when it starts, its package's too; a change is seen by the next call.
#[tokio::test]
async fn variables_of_actions() {
    let world = World::new().await;
    let init = |key: &str, value: Value| json!({"key": key, "value": value, "init": true});
    let package =
        json!({"parameters": [init("A", json!(1)), init("B", json!(null)), init("C", json!("below"))]});
    world.put("packages/p", package).await.ok();
    let own = json!({
        "exec": node("variables"),
        "parameters": [init("C", json!("own")), init("D", json!({"x": [true]})), {"key": "E", "value": 1}],
    });
    world.put("actions/p/a", own).await.ok();
    let told = world.post("actions/p/a?blocking=true&result=true", json!({})).await.ok();
    let expected = json!({
        "A": "1", "B": "", "C": "own", "D": "{\"x\":[true]}", "__OW_API_HOST": "http://127.0.0.1:8080"
    });
    assert_eq!(told, expected);
    let package = json!({"parameters": [init("A", json!(2))]});
    world.put("packages/p?overwrite=true", package).await.ok();
    let told = world.post("actions/p/a?blocking=true&result=true", json!({})).await.ok();
    assert_eq!((&told["A"], told.get("B")), (&json!("2"), None));
    assert_eq!(world.get("actions/p/a").await.ok()["version"], "0.0.1");
}

/// A conductor is two functions, and one again when it is none any more.
#[tokio::test]
async fn conductors_come_and_go() {
    let world = World::new().await;
    let functions = || -> Vec<String> {
        let all = world.engine.functions(Some(&Tenant::new("guest")), Some("openwhisk"));
        all.into_iter().map(|view| view.function.key.name.to_string()).collect()
    };
    let conducts = |value: bool| json!({"annotations": [{"key": "conductor", "value": value}]});
    world.action("c", "return {\"params\": {\"done\": 1}}").await;
    assert_eq!(functions(), ["c"]);
    world.put("actions/c?overwrite=true", conducts(true)).await.ok();
    assert_eq!(functions(), ["c", "c#code"]);
    assert_eq!(world.get("actions?count=true").await.ok(), json!({"actions": 1}));
    let done = world.post("actions/c?blocking=true&result=true", json!({})).await.ok();
    assert_eq!(done, json!({"done": 1}));
    world.put("actions/c?overwrite=true", conducts(false)).await.ok();
    assert_eq!(functions(), ["c"]);
    let done = world.post("actions/c?blocking=true&result=true", json!({})).await.ok();
    assert_eq!(done, json!({"params": {"done": 1}}));
    world.put("actions/c?overwrite=true", conducts(true)).await.ok();
    world.delete("actions/c").await.ok();
    assert_eq!(functions(), [""; 0]);
}

/// Waits until a path answers with a status.
async fn until(world: &World, path: &str, status: u16) {
    let asked = async {
        while world.get(path).await.status != status {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    };
    let waited = tokio::time::timeout(std::time::Duration::from_secs(60), asked).await;
    assert!(waited.is_ok(), "{path} never answered {status}");
}

/// `GET /` tells `wskdeploy` which kinds there are: those that run here.
#[tokio::test]
async fn kinds_by_what_the_machine_has() {
    use xebec_core::ports::door::Door as _;
    let with = World::new().await;
    let without = World::without_containers().await;
    let kinds = |world: &World| -> Vec<String> {
        let greeting = Value::Object(world.door.greeting());
        let families = greeting["runtimes"].as_object().unwrap().clone();
        families.keys().cloned().collect()
    };
    assert!(kinds(&with).contains(&"java".to_owned()));
    assert!(!kinds(&without).contains(&"java".to_owned()));
    assert!(kinds(&without).contains(&"nodejs".to_owned()));
    let greeting = Value::Object(with.door.greeting());
    let node = greeting["runtimes"]["nodejs"].as_array().unwrap().clone();
    let default: Vec<_> = node.iter().filter(|kind| kind["default"] == true).collect();
    assert_eq!(default.len(), 1);
    assert_eq!(default[0]["kind"], "nodejs:20");
    assert_eq!(greeting["api_paths"], json!(["/api/v1"]));
    let docs = with.get("/api/v1/api-docs").await.ok();
    assert_eq!(docs["swagger"], "2.0");
    assert_eq!(
        docs["paths"]["/namespaces/{namespace}/rules/{ruleName}"]["parameters"][1]["name"],
        "ruleName"
    );
}

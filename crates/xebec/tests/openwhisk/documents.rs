//! What the server says of itself, who may ask, and how it refuses.

use crate::support::{
    Server,
    openwhisk::{KEY, Whisk, value},
    text,
};
use serde_json::json;

const NODE: &str = "function main (params) { return params }";

#[test]
fn what_clients_read_first() {
    let server = Server::start();
    let whisk = Whisk::new(&server);
    let root = whisk.raw("GET", "/", &[("accept", "application/json")], b"");
    assert!(root.header("content-type").starts_with("application/json"), "{root}");
    let root = root.ok();
    assert_eq!(root["api_paths"], json!(["/api/v1"]));
    for family in ["nodejs", "python"] {
        let kinds = root["runtimes"][family].as_array().unwrap_or_else(|| panic!("{family}: {root}"));
        assert_eq!(kinds.iter().filter(|kind| kind["default"] == true).count(), 1, "{kinds:?}");
        assert!(kinds.iter().all(|kind| kind["kind"].as_str().unwrap().starts_with(family)), "{kinds:?}");
    }
    assert!(root["limits"].is_object(), "{root}");
    let api = whisk.raw("GET", "/api/v1", &[], b"").ok();
    assert_eq!(api["api_version"], "1.0.0");
    assert_eq!(api["api_version_path"], "v1");
    assert!(api["build"].is_string() && api["buildno"].is_string(), "{api}");
    assert_eq!(whisk.raw("GET", "/ping", &[], b"").text(), "pong");
    assert_eq!(whisk.raw("GET", "/api/v1/api-docs", &[], b"").ok()["swagger"], "2.0");
}

#[test]
fn who_may_ask() {
    let server = Server::start();
    let pair = server.ok(&["key", "create", "--openwhisk", "--tenant", "acme"]);
    let pair = pair.split_whitespace().find(|word| word.len() == 101 && word.contains(':'));
    let acme = Whisk { server: &server, key: pair.expect("it prints the pair").to_owned() };
    assert_eq!(acme.namespace(), "acme");
    acme.node("mine", NODE);
    assert_eq!(acme.result("mine", &json!({"a": 1})), json!({"a": 1}));

    let stranger = Whisk::new(&server);
    let refused = stranger.get("actions");
    assert_eq!(refused.status, 401, "{refused}");
    assert_eq!(refused.header("www-authenticate"), "Basic realm=\"OpenWhisk secure realm\"", "{refused}");
    assert!(refused.json()["error"].is_string() && refused.json()["code"].is_string(), "{refused}");
    assert_eq!(stranger.raw("GET", "/api/v1/namespaces/_/actions", &[], b"").status, 401);

    let authorization = acme.authorization();
    let other = |method, path: &str| {
        let path = format!("/api/v1/namespaces/guest/{path}");
        acme.raw(method, &path, &[("authorization", &authorization)], b"")
    };
    for (method, path) in [("GET", "actions/mine"), ("PUT", "packages/p"), ("DELETE", "rules/r")] {
        let answer = other(method, path);
        assert_eq!(answer.status, 403, "{method} {path}: {answer}");
    }
}

#[test]
fn a_credential_from_elsewhere() {
    let server = Server::start();
    let properties = format!("APIHOST=old.example\nAUTH={KEY}\nNAMESPACE=_\n");
    let taken = server.cli_with(&["key", "import", "--tenant", "acme"], properties.as_bytes());
    assert!(taken.status.success(), "{}", text(&taken));
    let user = Whisk::new(&server);
    assert_eq!(user.namespace(), "acme");
    assert_eq!(user.get("actions").ok(), json!([]));
    let other = Whisk { server: &server, key: KEY.replace("abc", "xyz") };
    assert_eq!(other.get("actions").status, 401);
}

#[test]
fn two_namespaces_and_what_one_publishes() {
    let server = Server::start();
    let mut keys = Vec::new();
    for tenant in ["ada", "grace"] {
        let said = server.ok(&["key", "create", "--openwhisk", "--tenant", tenant]);
        let pair = said.split_whitespace().find(|word| word.len() == 101 && word.contains(':')).unwrap();
        keys.push(Whisk { server: &server, key: pair.to_owned() });
    }
    let [ada, grace] = &keys[..] else { panic!() };
    ada.put("packages/shared", &json!({"publish": true, "parameters": [{"key": "from", "value": "ada"}]}))
        .ok();
    ada.node("shared/tell", NODE);
    ada.node("private", NODE);
    let authorization = grace.authorization();
    let at_ada = |method, path: &str, body: &[u8]| {
        let headers = [("authorization", authorization.as_str()), ("content-type", "application/json")];
        grace.raw(method, &format!("/api/v1/namespaces/ada/{path}"), &headers, body)
    };
    assert_eq!(at_ada("GET", "packages/shared", b"").ok()["actions"][0]["name"], "tell");
    let record = at_ada("POST", "actions/shared/tell?blocking=true", b"{}").ok();
    assert_eq!(record["response"]["result"], json!({"from": "ada"}));
    assert_eq!(record["namespace"], "grace", "a record belongs to who called");
    assert_eq!(value(&record["annotations"], "path"), "ada/shared/tell");
    assert_eq!(at_ada("GET", "actions/private", b"").status, 403);
    assert_eq!(at_ada("POST", "actions/private", b"{}").status, 403);
    assert_eq!(at_ada("DELETE", "packages/shared", b"").status, 403);
    assert_eq!(at_ada("GET", "actions", b"").status, 403);
    grace.put("packages/bound", &json!({"binding": {"namespace": "ada", "name": "shared"}})).ok();
    assert_eq!(grace.result("bound/tell", &json!({})), json!({"from": "ada"}));
    assert!(ada.get("activations").ok().as_array().unwrap().is_empty(), "they are not the owner's");
}

#[test]
fn errors_and_the_ids_of_transactions() {
    let server = Server::start();
    let whisk = Whisk::new(&server);
    whisk.get("actions/ghost").refused(404, "The requested resource does not exist.");
    let mine = whisk.send_with("GET", "actions/ghost", &[("x-request-id", "my-own-id")], b"");
    assert_eq!(mine.json()["code"], "my-own-id");
    mine.refused(404, "The requested resource does not exist.");
    let system = whisk.send_with("GET", "actions/ghost", &[("x-request-id", "sid_invokerWarmup")], b"");
    assert_ne!(system.header("x-request-id"), "sid_invokerWarmup", "{system}");

    for bad in [&b"{"[..], b"[]", b"\"text\"", b"{\"exec\": 5}"] {
        let answer = whisk.send_with("PUT", "actions/bad", &[], bad);
        assert_eq!(answer.status, 400, "{answer}");
        let said = answer.json()["error"].as_str().unwrap().to_owned();
        assert!(said.starts_with("The request content was malformed:"), "{said}");
    }
    whisk.node("echo", NODE);
    let answer = whisk.send_with("POST", "actions/echo?blocking=true", &[], b"[1]");
    assert_eq!(answer.status, 400, "{answer}");
    for name in ["-first", "trailing%20", "a%3Fb"] {
        assert_eq!(
            whisk
                .put(&format!("actions/{name}"), &json!({"exec": {"kind": "nodejs:default", "code": NODE}}))
                .status,
            400,
            "{name}"
        );
    }
    let long = "n".repeat(257);
    assert_eq!(whisk.put(&format!("packages/{long}"), &json!({})).status, 400);
    whisk.put("packages/default", &json!({})).refused(400, "Package name 'default' is reserved.");
    for (query, text) in [
        ("limit=201", "The value '201' is not in the range of 0 to 200 for triggers."),
        ("limit=many", "The value 'many' is not an integer for triggers."),
        ("skip=-1", "The value '-1' is not greater than or equal to 0 for triggers."),
    ] {
        let answer = whisk.get(&format!("triggers?{query}"));
        assert_eq!(answer.status, 400, "{answer}");
        assert!(answer.text().contains(text), "{answer}");
    }
    let ghost = whisk.raw("GET", "/api/v1/nowhere", &[], b"");
    assert_eq!(ghost.status, 404, "{ghost}");
}

#[test]
fn browsers_may_ask_from_anywhere() {
    let server = Server::start();
    let whisk = Whisk::new(&server);
    let answer = whisk.get("actions");
    assert_eq!(answer.header("access-control-allow-origin"), "*", "{answer}");
    assert_eq!(answer.header("access-control-allow-methods"), "GET, DELETE, POST, PUT, HEAD", "{answer}");
    let asked =
        whisk.raw("OPTIONS", "/api/v1/namespaces/_/actions", &[("origin", "https://example.com")], b"");
    assert_eq!(asked.status, 200, "{asked}");
}

#[test]
fn entities_keep_what_they_were_told() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start_in(folder.path(), &[]);
    let whisk = Whisk::new(&server);
    let body = json!({
        "exec": {"kind": "nodejs:default", "code": NODE},
        "parameters": [{"key": "a", "value": {"deep": [1, null]}}, {"key": "E", "value": 1, "init": true}],
        "annotations": [{"key": "about", "value": ["x"]}],
        "version": "1.2.3", "publish": true,
    });
    let created = whisk.put("actions/kept", &body).ok();
    assert_eq!(created["version"], "1.2.3");
    assert_eq!(created["publish"], true);
    assert_eq!(created["parameters"], body["parameters"]);
    assert_eq!(value(&created["annotations"], "about"), &json!(["x"]));
    let dropped = whisk.put("actions/kept?overwrite=true", &json!({"delAnnotations": ["about"]})).ok();
    assert_eq!(dropped["version"], "1.2.4");
    assert_eq!(value(&dropped["annotations"], "about"), &json!(null));
    assert_eq!(dropped["exec"]["code"].as_str().unwrap_or(NODE), NODE);
    assert_eq!(whisk.get("actions/kept?code=false").ok()["exec"].get("code"), None);

    let old = json!({"exec": {"kind": "nodejs:default", "jar": NODE}, "limits": {"instances": 2}});
    assert_eq!(whisk.put("actions/old", &old).ok()["limits"]["instances"], 2);
    assert_eq!(whisk.get("actions/old").ok()["exec"]["code"], NODE);
    // Trigger annotations are replaced as a whole; those of actions merge.
    whisk.put("triggers/t", &json!({"annotations": [{"key": "a", "value": 1}]})).ok();
    let replaced =
        whisk.put("triggers/t?overwrite=true", &json!({"annotations": [{"key": "b", "value": 2}]}));
    assert_eq!(replaced.ok()["annotations"], json!([{"key": "b", "value": 2}]));
    whisk
        .put("triggers/f", &json!({"annotations": [{"key": "feed", "value": "//"}]}))
        .refused(400, "Feed name is not valid");
    whisk
        .put("packages/kept", &json!({}))
        .refused(409, "Resource by this name exists but is not in this collection.");
    assert_eq!(whisk.put("actions/t", &json!({"exec": body["exec"]})).status, 409);

    // Everything outlives the server.
    server.kill();
    let server = Server::start_in(folder.path(), &[]);
    let whisk = Whisk::new(&server);
    assert_eq!(whisk.get("actions/kept").ok()["version"], "1.2.4");
    assert_eq!(whisk.get("triggers/t").ok()["annotations"], json!([{"key": "b", "value": 2}]));
    assert_eq!(whisk.result("kept", &json!({"x": 1}))["x"], 1);
}

#[test]
fn rules_take_names_and_objects_and_what_wsk_sends_beside() {
    let server = Server::start();
    let whisk = Whisk::new(&server);
    whisk.node("echo", NODE);
    whisk.put("triggers/t", &json!({})).ok();
    let namespace = whisk.namespace();
    let wsk = json!({"name": "r", "status": "", "trigger": "/_/t", "action": "/_/echo"});
    assert_eq!(whisk.put("rules/r", &wsk).ok()["status"], "active");
    let objects =
        json!({"trigger": {"path": namespace, "name": "t"}, "action": {"path": namespace, "name": "echo"}});
    assert_eq!(whisk.put("rules/r?overwrite=true", &objects).ok()["version"], "0.0.2");
    let off = whisk.post("rules/r", &json!({"status": "inactive", "trigger": null, "action": null}));
    assert_eq!((off.status, off.text().as_str()), (200, ""), "{off}");
    assert_eq!(whisk.get("rules/r").ok()["status"], "inactive");
    let wrong = whisk.post("rules/r", &json!({"status": "sideways"}));
    assert_eq!(wrong.status, 400, "{wrong}");
    assert_eq!(whisk.post("triggers/t", &json!({})).status, 204, "no rule is active");
    whisk.post("rules/r", &json!({"status": "active"}));
    let fired = whisk.post("triggers/t", &json!({}));
    assert_eq!(fired.status, 202, "{fired}");
    let id = fired.json()["activationId"].as_str().unwrap().to_owned();
    assert_eq!(fired.header("x-openwhisk-activation-id"), id);
    assert_eq!(whisk.activation(&id)["logs"].as_array().unwrap().len(), 1);
}

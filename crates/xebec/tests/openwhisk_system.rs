//! What comes with OpenWhisk's door, on the real server: alarms over a restart, the API gateway, its credentials.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on panics")]

mod support;

use serde_json::{Value, json};
use std::{path::Path, time::Instant};
use support::{
    Server, eventually,
    openwhisk::{KEY, Whisk},
};

/// Enough for tests that look often.
const PLENTY: &str = "[openwhisk]\ninvocations-per-minute = 100000\nfires-per-minute = 100000\n";

fn server(folder: &Path) -> Server {
    std::fs::write(folder.join("xebec.toml"), PLENTY).unwrap();
    Server::start_in(folder, &[])
}

fn feed(whisk: &Whisk<'_>, event: &str, more: &Value) -> Value {
    let mut told = json!({"lifecycleEvent": event, "triggerName": "/_/tick", "authKey": whisk.key});
    support::openwhisk::merge(&mut told, more);
    let authorization = whisk.authorization();
    let headers = [("authorization", authorization.as_str()), ("content-type", "application/json")];
    let path = "/api/v1/namespaces/whisk.system/actions/alarms/alarm?blocking=true&result=true";
    whisk.raw("POST", path, &headers, told.to_string().as_bytes()).json()
}

/// How often the trigger was fired.
fn fired(whisk: &Whisk<'_>) -> u64 {
    whisk.get("activations?name=tick&count=true&limit=0").ok()["activations"].as_u64().unwrap()
}

#[test]
fn alarms_go_on_over_a_restart_and_make_up_for_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let first = server(folder.path());
    let whisk = Whisk::new(&first);
    let annotations = json!([{"key": "feed", "value": "/whisk.system/alarms/alarm"}]);
    whisk.put("triggers/tick", &json!({ "annotations": annotations })).ok();
    let rule = json!({"trigger": "/_/tick", "action": "/whisk.system/utils/echo", "status": ""});
    whisk.put("rules/heard", &rule).ok();
    let begin = Instant::now();
    let made = feed(&whisk, "CREATE", &json!({"cron": "* * * * * *", "trigger_payload": {"at": "once"}}));
    assert_eq!(made, json!({"status": "success"}));
    eventually("it fires", || fired(&whisk) > 0);
    first.kill();

    let second = server(folder.path());
    let whisk = Whisk::new(&second);
    let read = feed(&whisk, "READ", &json!({}));
    assert_eq!((&read["config"]["cron"], &read["status"]["active"]), (&json!("* * * * * *"), &json!(true)));
    let before = fired(&whisk);
    eventually("it fires again", || fired(&whisk) > before);
    // One time is one call: more than there were seconds there cannot be, however long nobody was there.
    let count = fired(&whisk);
    assert!(count <= begin.elapsed().as_secs() + 1, "{count} in {:?}", begin.elapsed());
    let heard = || whisk.get("activations?name=utils/echo&docs=true&limit=1").ok();
    eventually("its rule is heard", || !heard().as_array().unwrap().is_empty());
    assert_eq!(heard()[0]["response"]["result"]["at"], "once");

    assert_eq!(feed(&whisk, "DELETE", &json!({})), json!({"status": "success"}));
    let gone = feed(&whisk, "READ", &json!({}));
    assert_eq!(gone["error"]["error"], "could not find trigger /guest/tick in the database");
}

fn apimgmt(
    whisk: &Whisk<'_>,
    method: &str,
    action: &str,
    query: &str,
    body: &Value,
) -> support::openwhisk::Answer {
    let authorization = whisk.authorization();
    let headers = [("authorization", authorization.as_str()), ("content-type", "application/json")];
    let path = format!("/api/v1/web/whisk.system/apimgmt/{action}.http?accesstoken=DUMMY%20TOKEN&{query}");
    let body = if body.is_null() { String::new() } else { body.to_string() };
    whisk.raw(method, &path, &headers, body.as_bytes())
}

#[test]
fn credentials_of_openwhisk_and_routes_of_their_namespaces() {
    let folder = tempfile::tempdir().unwrap();
    let first = server(folder.path());
    let pair = first.ok(&["key", "create", "--openwhisk", "--tenant", "acme"]).trim().to_owned();
    assert_eq!(pair.split_once(':').map(|(uuid, key)| (uuid.len(), key.len())), Some((36, 64)), "{pair}");
    // As soon as there is a key, others are strangers.
    Whisk::new(&first).get("actions").refused(401, "The supplied authentication is invalid");
    let wskprops = format!("APIHOST=localhost\nAUTH={KEY}\n");
    let taken = first.cli_with(&["key", "import", "--tenant", "guest"], wskprops.as_bytes());
    assert!(taken.status.success(), "{taken:?}");
    assert!(!support::text(&taken).contains(&KEY[37..]), "it is not repeated");
    let again = first.cli_with(&["key", "import", "--tenant", "guest"], KEY.as_bytes());
    assert!(!again.status.success() && support::text(&again).contains("XB5009"), "{again:?}");
    let listed = first.ok(&["key", "ls"]);
    assert!(
        listed.contains(&pair[..36]) && listed.contains(&KEY[..36]) && !listed.contains(&pair[37..]),
        "{listed}"
    );
    assert_eq!(Whisk::new(&first).namespace(), "guest");
    let acme = Whisk { server: &first, key: pair.clone() };
    assert_eq!(acme.namespace(), "acme");

    // A sequence needs nothing that this machine might not have.
    let sequence = json!({"exec": {"kind": "sequence", "components": ["/whisk.system/utils/echo"]},
        "annotations": [{"key": "web-export", "value": true}]});
    acme.put("actions/shown", &sequence).ok();
    let endpoint = json!({"apidoc": {"namespace": "_", "gatewayBasePath": "/shop", "gatewayPath": "/items",
        "gatewayMethod": "GET", "id": "API:_:/shop", "apiName": "Shop",
        "action": {"name": "shown", "namespace": "_", "backendMethod": "POST", "authkey": pair,
            "backendUrl": format!("{}/api/v1/web/_/default/shown.http", first.url)}}});
    let made = apimgmt(&acme, "POST", "createApi", "responsetype=json", &endpoint).ok();
    let url = made["gwApiUrl"].as_str().unwrap().to_owned();
    assert_eq!(url, format!("{}/api/acme/shop", first.url));
    let asked =
        |server: &Server, path: &str| support::http("GET", &format!("{}{path}", server.url), &[], b"");
    let (status, body) = asked(&first, "/api/acme/shop/items?color=red");
    let told: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!((status, &told["color"], &told["__ow_method"]), (200, &json!("red"), &json!("get")));
    assert_eq!(asked(&first, "/api/guest/shop/items").0, 404);
    first.kill();

    let second = server(folder.path());
    assert_eq!(asked(&second, "/api/acme/shop/items").0, 200);
    let acme = Whisk { server: &second, key: pair.clone() };
    let listed = apimgmt(&acme, "GET", "getApi", "limit=30&skip=0", &Value::Null).ok();
    assert_eq!(listed["apis"][0]["value"]["apidoc"], made["apidoc"]);
    let others = apimgmt(&Whisk::new(&second), "GET", "getApi", "", &Value::Null).ok();
    assert_eq!(others["apis"], json!([]));
    assert_eq!(apimgmt(&acme, "DELETE", "deleteApi", "basepath=/shop", &Value::Null).ok(), json!({}));
    assert_eq!(asked(&second, "/api/acme/shop/items").0, 404);

    second.ok(&["key", "revoke", &pair[..36]]);
    assert_eq!(acme.get("actions").status, 401);
    assert_eq!(Whisk::new(&second).namespace(), "guest");
}

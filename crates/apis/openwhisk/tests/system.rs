//! What comes with the server: the packages of `whisk.system`, alarms, and the API gateway.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on panics")]

mod support;

use http::Method;
use serde_json::{Value, json};
use std::time::{Duration, Instant};
use support::{GUEST, World, node, owner};
use xebec_api_openwhisk::{Options, wire::limits::SystemLimits};
use xebec_core::auth::Principal;

/// How long anything may take on a slow machine.
const PATIENCE: Duration = Duration::from_secs(60);

async fn until<T>(what: &str, mut holds: impl AsyncFnMut() -> Option<T>) -> T {
    let begin = Instant::now();
    loop {
        if let Some(value) = holds().await {
            return value;
        }
        assert!(begin.elapsed() < PATIENCE, "{what} did not come");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// A server that lets tests look as often as they like.
async fn world() -> World {
    let plenty = SystemLimits {
        invocations_per_minute: 1_000_000,
        fires_per_minute: 1_000_000,
        concurrent_invocations: 1_000,
        ..SystemLimits::default()
    };
    World::with(Options { limits: plenty, ..Options::default() }, false).await
}

/// Calls an action of `whisk.system` and waits; its result.
async fn call(world: &World, action: &str, told: Value) -> Value {
    let path = format!("/api/v1/namespaces/whisk.system/actions/{action}?blocking=true&result=true");
    world.post(&path, told).await.json()
}

#[tokio::test]
async fn what_is_shared_is_listed_read_called_bound_and_put_into_sequences() {
    let world = world().await;
    let names = |listed: &Value| -> Vec<String> {
        let listed = listed.as_array().unwrap().iter();
        listed.map(|entity| entity["name"].as_str().unwrap().to_owned()).collect()
    };
    let packages = world.get("/api/v1/namespaces/whisk.system/packages").await.ok();
    let mut listed = names(&packages);
    listed.sort();
    assert_eq!(listed, ["alarms", "samples", "utils"]);
    let alarms = world.get("/api/v1/namespaces/whisk.system/packages/alarms").await.ok();
    let mut feeds = names(&alarms["feeds"]);
    feeds.sort();
    assert_eq!(feeds, ["alarm", "interval", "once"]);
    assert_eq!(world.get("/api/v1/namespaces/whisk.system/packages/apimgmt").await.status, 403);

    let echo = world.get("/api/v1/namespaces/whisk.system/actions/utils/echo").await.ok();
    assert_eq!(echo["exec"]["kind"], "nodejs:20");
    assert!(echo["exec"]["code"].as_str().unwrap().contains("function main"));
    let bare = world.get("/api/v1/namespaces/whisk.system/actions/samples/greeting?code=false").await.ok();
    assert!(bare["exec"].get("code").is_none());

    assert_eq!(call(&world, "utils/sort", json!({"lines": ["b", "a"]})).await["lines"], json!(["a", "b"]));
    assert_eq!(call(&world, "utils/namespace", json!({})).await["namespace"], "guest");
    let failed = world
        .post("/api/v1/namespaces/whisk.system/actions/utils/smash?blocking=true", json!({"a": 1}))
        .await;
    assert_eq!(failed.status, 502);
    assert_eq!(failed.json()["response"]["status"], "application error");

    let binding = json!({"binding": {"namespace": "whisk.system", "name": "utils"},
        "parameters": [{"key": "separator", "value": ";"}]});
    assert_eq!(world.put("packages/mine", binding).await.status, 200);
    let split = world.post("actions/mine/split?blocking=true&result=true", json!({"payload": "b;a"})).await;
    assert_eq!(split.ok()["lines"], json!(["b", "a"]));
    let steps = json!(["/_/mine/split", "/whisk.system/utils/sort", "/whisk.system/utils/cat"]);
    let sequence = json!({"exec": {"kind": "sequence", "components": steps}});
    assert_eq!(world.put("actions/sorted", sequence).await.status, 200);
    let sorted = world.post("actions/sorted?blocking=true&result=true", json!({"payload": "b;a"})).await;
    assert_eq!(sorted.ok()["payload"], "a\nb");

    let write = json!({"exec": node("return {}")});
    let theirs = world.put("/api/v1/namespaces/whisk.system/actions/utils/echo?overwrite=true", write).await;
    assert_eq!(theirs.status, 403);
}

#[tokio::test]
async fn what_comes_with_the_server_is_deployed_once() {
    let world = world().await;
    call(&world, "utils/date", json!({})).await;
    let deployed = |world: &World| {
        let all = xebec_core::ports::control::Control::functions(world.engine.as_ref(), None, None);
        all.iter().map(|view| (view.function.key.clone(), view.function.updated)).collect::<Vec<_>>()
    };
    let before = deployed(&world);
    assert!(before.iter().any(|(key, _)| key.name == "alarms/once"));
    let another = world.another_door().await;
    let mut request =
        http::Request::get("/api/v1/namespaces/whisk.system/actions/utils/date").body("".into()).unwrap();
    request.extensions_mut().insert(Principal::Local);
    let answer = xebec_core::ports::door::Door::handle(&another, request).await;
    assert_eq!(answer.status(), 200);
    assert_eq!(deployed(&world), before);
}

async fn feed(world: &World, feed: &str, event: &str, told: Value) -> Value {
    let mut all = json!({"lifecycleEvent": event, "triggerName": "/_/tick", "authKey": GUEST});
    all.as_object_mut().unwrap().extend(told.as_object().unwrap().clone());
    call(world, &format!("alarms/{feed}"), all).await
}

async fn trigger_with_rule(world: &World) {
    let trigger = json!({"annotations": [{"key": "feed", "value": "/whisk.system/alarms/alarm"}]});
    assert_eq!(world.put("triggers/tick", trigger).await.status, 200);
    let rule = json!({"trigger": "/_/tick", "action": "/whisk.system/utils/echo", "status": ""});
    assert_eq!(world.put("rules/r", rule).await.status, 200);
}

async fn echoes(world: &World) -> Vec<Value> {
    let listed = world.get("activations?name=utils/echo&docs=true").await.ok();
    listed.as_array().unwrap().iter().map(|activation| activation["response"]["result"].clone()).collect()
}

#[tokio::test]
async fn an_alarm_is_made_read_changed_paused_and_removed() {
    let world = world().await;
    let missing = feed(&world, "alarm", "CREATE", json!({"cron": "0 0 * * *"})).await;
    assert_eq!(missing["error"]["error"], "Trigger authentication request failed.");
    trigger_with_rule(&world).await;
    let success = json!({"status": "success"});
    let none = feed(&world, "alarm", "READ", json!({})).await;
    assert_eq!(none["error"]["error"], "could not find trigger /guest/tick in the database");
    assert_eq!(
        feed(&world, "alarm", "CREATE", json!({"cron": "0 0 * * *", "trigger_payload": {"a": 1}})).await,
        success
    );
    let read = feed(&world, "alarm", "READ", json!({})).await;
    assert_eq!(
        read["config"],
        json!({"name": "tick", "namespace": "guest", "payload": {"a": 1}, "cron": "0 0 * * *", "strict": false})
    );
    assert_eq!(read["status"]["active"], true);
    assert_eq!(feed(&world, "alarm", "PAUSE", json!({})).await, success);
    assert_eq!(feed(&world, "alarm", "READ", json!({})).await["status"]["active"], false);
    assert_eq!(feed(&world, "alarm", "UNPAUSE", json!({})).await, success);
    assert_eq!(feed(&world, "alarm", "READ", json!({})).await["status"]["active"], true);
    assert_eq!(feed(&world, "alarm", "UPDATE", json!({"timezone": "Europe/Berlin"})).await, success);
    assert_eq!(feed(&world, "alarm", "READ", json!({})).await["config"]["timezone"], "Europe/Berlin");
    let wrong = feed(&world, "alarm", "UPDATE", json!({"cron": "never"})).await;
    assert_eq!(wrong["error"]["error"], "cron pattern 'never' is not valid");
    assert_eq!(feed(&world, "alarm", "RENAME", json!({})).await["error"], "unsupported lifecycleEvent");
    let nobodys = call(&world, "alarms/alarm", json!({"lifecycleEvent": "READ"})).await;
    assert_eq!(nobodys["error"]["error"], "no trigger name parameter was provided");
    // Whose trigger it is said to be does not matter: only the caller's own are looked for.
    let stranger = world
        .send_as(
            owner("stranger"),
            Some(GUEST),
            Method::POST,
            "/api/v1/namespaces/whisk.system/actions/alarms/alarm?blocking=true&result=true",
            json!({"lifecycleEvent": "READ", "triggerName": "/guest/tick"}),
        )
        .await;
    assert_eq!(stranger.json()["error"]["error"], "Trigger authentication request failed.");
    // As clients do: first the feed's end, then the trigger's; the former may find the trigger gone already.
    assert_eq!(world.delete("triggers/tick").await.status, 200);
    assert_eq!(feed(&world, "alarm", "DELETE", json!({})).await, success);
    let again = feed(&world, "alarm", "DELETE", json!({})).await;
    assert_eq!(again["error"]["error"], "could not find trigger /guest/tick in the database");
}

#[tokio::test]
async fn an_alarm_fires_so_many_times_and_then_says_so() {
    let world = world().await;
    world.schedules.start().await.unwrap();
    trigger_with_rule(&world).await;
    let told = json!({"cron": "* * * * * *", "maxTriggers": 2, "trigger_payload": "now"});
    assert_eq!(feed(&world, "alarm", "CREATE", told).await, json!({"status": "success"}));
    let status = until("the end of the alarm", async || {
        let status = feed(&world, "alarm", "READ", json!({})).await["status"].clone();
        (status["active"] == false).then_some(status)
    })
    .await;
    assert_eq!(status["reason"]["message"], "Automatically disabled after reaching max triggers");
    let seen = until("both calls", async || Some(echoes(&world).await).filter(|seen| seen.len() >= 2)).await;
    assert_eq!(seen.len(), 2);
    assert!(seen.iter().all(|result| result["payload"] == "now"), "{seen:?}");
}

#[tokio::test]
async fn what_fires_once_takes_its_trigger_and_rules_with_it_where_that_is_wished() {
    let world = world().await;
    world.schedules.start().await.unwrap();
    trigger_with_rule(&world).await;
    // Soon; where that has passed before it is looked at, a little later.
    let mut wait = 2;
    loop {
        let soon = jiff::Timestamp::now() + jiff::SignedDuration::from_secs(wait);
        let told = json!({"date": soon.as_millisecond(), "deleteAfterFire": "rules"});
        let made = feed(&world, "once", "CREATE", told).await;
        if made == json!({"status": "success"}) {
            break;
        }
        assert!(made["error"]["error"].as_str().unwrap().ends_with("must be in the future"), "{made}");
        wait *= 2;
    }
    until("the end of the trigger", async || (world.get("triggers/tick").await.status == 404).then_some(()))
        .await;
    until("the end of the rule", async || (world.get("rules/r").await.status == 404).then_some(())).await;
    until("the call", async || (echoes(&world).await.len() == 1).then_some(())).await;
    let gone = feed(&world, "once", "DELETE", json!({})).await;
    assert_eq!(gone["error"]["error"], "could not find trigger /guest/tick in the database");
}

#[tokio::test]
async fn an_alarm_without_its_trigger_switches_itself_off() {
    let world = world().await;
    world.schedules.start().await.unwrap();
    trigger_with_rule(&world).await;
    assert_eq!(feed(&world, "alarm", "CREATE", json!({"cron": "* * * * * *"})).await["status"], "success");
    assert_eq!(world.delete("triggers/tick").await.status, 200);
    // Another one of that name finds the alarm as it was left.
    let alarm = xebec_core::FunctionKey::new(&xebec_core::Tenant::new("guest"), "openwhisk-alarms", "tick");
    until("the alarm's end", async || {
        let control: &dyn xebec_core::ports::control::Control = world.engine.as_ref();
        let document = control.document(&alarm).await.unwrap().unwrap();
        (document.spec["status"]["active"] == false).then_some(())
    })
    .await;
    trigger_with_rule_again(&world).await;
    let status = feed(&world, "alarm", "READ", json!({})).await["status"].clone();
    assert_eq!(status["reason"]["statusCode"], 404);
    assert_eq!(feed(&world, "alarm", "UPDATE", json!({"cron": "0 0 1 1 *"})).await["status"], "success");
    assert_eq!(feed(&world, "alarm", "READ", json!({})).await["status"]["active"], true);
}

async fn trigger_with_rule_again(world: &World) {
    assert_eq!(world.put("triggers/tick", json!({})).await.status, 200);
}

fn endpoint(base: &str, path: &str, method: &str, action: &str) -> Value {
    let url = format!("http://ow.example/api/v1/web/_/default/{action}.http");
    json!({"apidoc": {"namespace": "_", "gatewayBasePath": base, "gatewayPath": path, "gatewayMethod": method,
        "id": format!("API:_:{base}"), "apiName": "Shop", "pathParameters": [{"name": "id", "in": "path"}],
        "action": {"name": action, "namespace": "_", "backendMethod": "POST", "backendUrl": url, "authkey": GUEST}}})
}

const CREATE: &str =
    "/api/v1/web/whisk.system/apimgmt/createApi.http?accesstoken=DUMMY%20TOKEN&responsetype=";
const GET: &str = "/api/v1/web/whisk.system/apimgmt/getApi.http?accesstoken=DUMMY%20TOKEN&limit=30&skip=0";
const DELETE: &str = "/api/v1/web/whisk.system/apimgmt/deleteApi.http?accesstoken=DUMMY%20TOKEN";

/// A web action that answers what it is told.
async fn web_action(world: &World, name: &str, code: &str) {
    let annotations = json!([{"key": "web-export", "value": true}]);
    let made =
        world.put(&format!("actions/{name}"), json!({"exec": node(code), "annotations": annotations})).await;
    assert_eq!(made.status, 200, "{made:?}");
}

#[tokio::test]
async fn routes_come_answer_and_go() {
    let world = world().await;
    web_action(&world, "show", "message").await;
    let made =
        world.post(&format!("{CREATE}http"), endpoint("/shop", "/items/{id}", "GET", "show")).await.ok();
    assert_eq!(made["gwApiActivated"], true);
    assert!(made["gwApiUrl"].as_str().unwrap().ends_with("/api/guest/shop"), "{made}");
    assert!(made["apidoc"]["paths"]["/items/{id}"]["get"].is_object(), "{made}");
    world.post(&format!("{CREATE}json"), endpoint("/shop", "/items", "POST", "show")).await.ok();

    let listed = world.get(GET).await.ok();
    let listed = listed["apis"].as_array().unwrap();
    assert_eq!(listed.len(), 1);
    assert_eq!(listed[0]["value"]["apidoc"]["paths"].as_object().unwrap().len(), 2);
    assert_eq!(world.get(&format!("{GET}&basepath=Shop")).await.ok()["apis"].as_array().unwrap().len(), 1);
    assert_eq!(world.get(&format!("{GET}&basepath=/other")).await.ok()["apis"], json!([]));

    let posted = world.post("/api/guest/shop/items?color=red", json!({"size": 3})).await.ok();
    let told = &posted["value"];
    assert_eq!((&told["color"], &told["size"]), (&json!("red"), &json!(3)));
    assert_eq!((&told["__ow_method"], &told["__ow_path"]), (&json!("post"), &json!("")));
    assert!(
        told["__ow_headers"]["x-forwarded-url"].is_null()
            || told["__ow_headers"]["x-forwarded-url"].is_string()
    );
    for (method, path, message) in [
        (Method::PUT, "/api/guest/shop/items", "Error: Whoops. Verb not supported."),
        (Method::GET, "/api/guest/other", "Error: Not found."),
        (Method::GET, "/api/nobody/shop/items", "Error: Not found."),
        (Method::GET, "/api/guest", "Error: Not found."),
    ] {
        let refused = world.send(method, path, "").await;
        assert_eq!(refused.status, 404, "{path}");
        assert_eq!(refused.json(), json!({"status": 404, "message": message}));
    }
    let asked = world.send(Method::OPTIONS, "/api/guest/shop/items", "").await;
    assert_eq!((asked.status.as_u16(), asked.body.as_str()), (200, ""));
    assert_eq!(asked.headers["access-control-allow-origin"], "*");

    let gone = world
        .send(Method::DELETE, &format!("{DELETE}&basepath=/shop&relpath=/items&operation=POST"), "")
        .await;
    assert_eq!(gone.ok(), json!({}));
    assert_eq!(world.post("/api/guest/shop/items", json!({})).await.status, 404);
    let missing = world.send(Method::DELETE, &format!("{DELETE}&basepath=/shop&relpath=/items"), "").await;
    assert_eq!(missing.status, 502);
    assert_eq!(missing.json()["error"], "API deletion failure: path '/items' does not exist in the API");
    assert_eq!(world.send(Method::DELETE, &format!("{DELETE}&basepath=Shop"), "").await.ok(), json!({}));
    let missing = world.send(Method::DELETE, &format!("{DELETE}&basepath=/shop"), "").await;
    assert_eq!(missing.json()["error"], "API deletion failure: API '/shop' does not exist.");
    assert_eq!(world.get(GET).await.ok()["apis"], json!([]));
}

#[tokio::test]
async fn path_parameters_methods_and_headers_reach_the_action() {
    let world = world().await;
    web_action(
        &world,
        "told",
        r#"return {"statusCode": 203, "headers": {"x-own": "1"}, "body": "<b>hi</b>"}"#,
    )
    .await;
    web_action(&world, "show", "message").await;
    world.post(&format!("{CREATE}http"), endpoint("/shop", "/items/{id}", "GET", "told")).await.ok();
    let told = world.send(Method::GET, "/api/guest/shop/items/7", "").await;
    assert_eq!((told.status.as_u16(), told.body.as_str()), (203, "<b>hi</b>"));
    assert_eq!(told.headers["x-own"], "1");
    assert_eq!(told.headers["access-control-allow-credentials"], "true");

    // A document as users write it, with what is set for the action.
    let target = "https://ow.example/api/v1/web/guest/default/show.json$(request.path)";
    let swagger = json!({"swagger": "2.0", "basePath": "/own", "info": {"title": "Own", "version": "1"},
        "paths": {"/a": {"get": {"operationId": "getA"}}},
        "x-ibm-configuration": {"cors": {"enabled": false}, "assembly": {"execute": [{"operation-switch": {"case": [
            {"operations": ["getA"], "execute": [{"invoke": {"target-url": target, "verb": "PUT"}},
                {"set-variable": {"actions": [{"set": "message.headers.X-Extra", "value": "e"}]}}]}]}}]}}});
    let made = world
        .post(&format!("{CREATE}json"), json!({"apidoc": {"namespace": "_", "swagger": swagger.to_string()}}))
        .await;
    assert_eq!(made.ok()["apidoc"], swagger, "what was written is what is read");
    let shown = world.send(Method::GET, "/api/guest/own/a?x=1", "").await;
    assert!(!shown.headers.contains_key("access-control-allow-origin"), "{shown:?}");
    let told = shown.ok()["value"].clone();
    assert_eq!((&told["__ow_method"], &told["__ow_path"]), (&json!("put"), &json!("/own/a")));
    assert_eq!((&told["__ow_headers"]["x-extra"], &told["x"]), (&json!("e"), &json!("1")));
}

#[tokio::test]
async fn what_the_gateway_cannot_do_is_refused() {
    let world = world().await;
    let refused = async |body: Value| {
        let answer = world.post(&format!("{CREATE}json"), body).await;
        assert_eq!(answer.status, 502, "{answer:?}");
        answer.json()["error"].as_str().unwrap().to_owned()
    };
    assert_eq!(refused(json!({})).await, "apidoc is required.");
    let with = |field: &str, value: Value| {
        let mut swagger =
            json!({"swagger": "2.0", "basePath": "/b", "info": {"title": "x"}, "paths": {"/a": {}}});
        swagger[field] = value;
        json!({"apidoc": {"namespace": "_", "swagger": swagger}})
    };
    let secured = with("securityDefinitions", json!({"client_id": {"type": "apiKey", "name": "X-Id"}}));
    let sentence = refused(secured).await;
    assert!(sentence.starts_with("API creation failure: securityDefinitions"), "{sentence}");
    assert!(refused(with("x-ibm-rate-limit", json!([{"rate": 1}]))).await.contains("x-ibm-rate-limit"));
    assert!(refused(with("basePath", json!("b"))).await.contains("must begin with '/'"));
    assert!(refused(endpoint("/b", "/{id}", "GET", "x")).await.contains("response type of '.http'"));

    let anonymous = world.send_as(Principal::Anonymous, None, Method::GET, GET, "").await;
    assert_eq!(
        (anonymous.status.as_u16(), anonymous.json()),
        (502, json!({"error": "Invalid authentication."}))
    );
    let anonymous =
        world.send_as(Principal::Anonymous, None, Method::POST, &format!("{CREATE}json"), json!({})).await;
    assert_eq!(anonymous.json()["error"], "A valid auth key is required.");
}

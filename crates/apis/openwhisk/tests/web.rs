//! Web actions.

#![allow(clippy::unwrap_used)]

mod support;

use http::{Method, Request, request::Builder};
use serde_json::{Value, json};
use support::{Answered, World, owner};
use xebec_core::{Body, auth::Principal};

const WEB: &str = "/api/v1/web/guest/default";

/// Makes a web action.
async fn web(world: &World, name: &str, code: &str, more: Value) {
    let mut annotations = vec![json!({"key": "web-export", "value": true})];
    let more = more.as_object().unwrap();
    annotations.extend(more.iter().map(|(key, value)| json!({"key": key, "value": value})));
    let body = json!({"exec": support::node(code), "annotations": annotations});
    world.put(&format!("actions/{name}"), body).await.ok();
}

async fn send(world: &World, request: Builder, body: &'static str) -> Answered {
    world.request(request.extension(Principal::Anonymous).body(Body::full(body)).unwrap()).await
}

async fn get(world: &World, path: &str) -> Answered {
    send(world, Request::get(path), "").await
}

#[tokio::test]
async fn actions_see_the_request() {
    let world = World::new().await;
    web(&world, "echo", "echo", json!({})).await;
    let request = Request::patch(format!("{WEB}/echo.json/more/of%20it?q=1&both=query"))
        .header("content-type", "application/json")
        .header("x-mine", "A");
    let seen = send(&world, request, r#"{"b": [2], "both": "body"}"#).await.ok();
    assert_eq!(seen["__ow_method"], "patch");
    assert_eq!(seen["__ow_path"], "/more/of%20it");
    assert_eq!(seen["__ow_headers"]["x-mine"], "A");
    assert_eq!(seen["__ow_headers"]["content-type"], "application/json");
    assert_eq!((&seen["q"], &seen["b"], &seen["both"]), (&json!("1"), &json!([2]), &json!("body")));
    assert!(seen.get("__ow_user").is_none(), "nobody in particular");
    let form =
        Request::post(format!("{WEB}/echo.json")).header("content-type", "application/x-www-form-urlencoded");
    assert_eq!(send(&world, form, "a=1+2&b=%26").await.ok()["a"], "1 2");
    let text = Request::post(format!("{WEB}/echo.json")).header("content-type", "text/plain");
    assert_eq!(send(&world, text, "hey").await.ok()["__ow_body"], "hey");
}

#[tokio::test]
async fn the_caller_is_named_where_there_is_one() {
    let world = World::new().await;
    web(&world, "echo", "echo", json!({})).await;
    let call = async |principal, key| {
        let path = format!("{WEB}/echo.json");
        world.send_as(principal, key, Method::GET, &path, "").await.ok()
    };
    let seen = call(owner("visitor"), Some("u:k")).await;
    assert_eq!(seen["__ow_user"], "visitor");
    assert!(seen["__ow_headers"].get("authorization").is_none(), "the key of others is theirs");
    let own = call(owner("guest"), Some("u:k")).await;
    assert!(own["__ow_headers"].get("authorization").is_some());
    let bad = call(Principal::Anonymous, Some("u:bad")).await;
    assert!(bad.get("__ow_user").is_none());
    assert!(
        bad["__ow_headers"].get("authorization").is_some(),
        "it is none of ours, but may be the action's"
    );
    assert!(call(Principal::Local, None).await.get("__ow_user").is_none(), "none was sent");
}

#[tokio::test]
async fn raw_ones_get_it_as_it_was_sent() {
    let world = World::new().await;
    web(&world, "raw", "echo", json!({"raw-http": true})).await;
    let request =
        Request::post(format!("{WEB}/raw.json?a=1&b=%20")).header("content-type", "application/json");
    let seen = send(&world, request, "{}").await.ok();
    assert_eq!((&seen["__ow_query"], &seen["__ow_body"]), (&json!("a=1&b=%20"), &json!("e30=")));
    assert!(seen.get("a").is_none());
}

#[tokio::test]
async fn answers_are_what_actions_say() {
    let world = World::new().await;
    let result = r#"return {"statusCode": 201, "headers": {"Set-Cookie": ["a=1", "b=2"], "content-type": "image/png"}, "body": "aGV5"}"#;
    web(&world, "http", result, json!({})).await;
    let answered = get(&world, &format!("{WEB}/http")).await;
    assert_eq!((answered.status.as_u16(), answered.body.as_str()), (201, "hey"));
    assert_eq!(answered.headers["content-type"], "image/png");
    assert_eq!(answered.headers.get_all("set-cookie").iter().count(), 2);
    assert_eq!(answered.headers["access-control-allow-origin"], "*");
    assert_eq!(
        answered.headers["access-control-allow-methods"],
        "OPTIONS, GET, DELETE, POST, PUT, HEAD, PATCH"
    );
    assert!(answered.headers.contains_key("x-openwhisk-activation-id"));
    assert_eq!(get(&world, &format!("{WEB}/http.text")).await.body, "aGV5");
    assert_eq!(get(&world, &format!("{WEB}/http.json")).await.ok()["statusCode"], 201);
    let html = get(&world, &format!("{WEB}/http.html")).await;
    assert_eq!(html.headers["content-type"], "text/html; charset=UTF-8");
    web(&world, "empty", "return {}", json!({})).await;
    assert_eq!(get(&world, &format!("{WEB}/empty")).await.status, 204);
    assert_eq!(
        get(&world, &format!("{WEB}/empty.html")).await.error(400),
        "Response is not valid 'text/html'."
    );
    let missing = "Response does not include requested property.";
    assert_eq!(get(&world, &format!("{WEB}/empty.text")).await.error(404), missing);
    web(&world, "bad", r#"return {"statusCode": "x"}"#, json!({})).await;
    assert_eq!(get(&world, &format!("{WEB}/bad")).await.error(400), "Response is not valid 'message/http'.");
    let other = r#"return {"headers": {"content-type": "text/plain"}, "body": {}}"#;
    web(&world, "other", other, json!({})).await;
    let error = get(&world, &format!("{WEB}/other")).await.error(400);
    assert_eq!(error, "Response type in header did not match generated content type.");
}

#[tokio::test]
async fn failures_are_answered_as_actions_say_or_not_at_all() {
    let world = World::new().await;
    let own = r#"return {"error": {"statusCode": 418, "body": "short and stout"}}"#;
    web(&world, "own", own, json!({})).await;
    let answered = get(&world, &format!("{WEB}/own")).await;
    assert_eq!((answered.status.as_u16(), answered.body.as_str()), (418, "short and stout"));
    web(&world, "text", r#"return {"error": "no"}"#, json!({})).await;
    let error = get(&world, &format!("{WEB}/text.json")).await.error(400);
    assert_eq!(error, "Response is not valid 'application/json'.");
    assert_eq!(get(&world, &format!("{WEB}/text.text")).await.body, "no");
    web(&world, "crash", r#"fail 502 {"error": "secret"}"#, json!({})).await;
    let error = get(&world, &format!("{WEB}/crash")).await.error(400);
    assert_eq!(error, "There was an error processing your request.");
}

#[tokio::test]
async fn what_is_no_web_action_is_not_there() {
    let world = World::new().await;
    world.action("private", "echo").await;
    for path in ["default/private", "default/none", "nopkg/x", "default", "default/", "default/.json"] {
        let error = get(&world, &format!("/api/v1/web/guest/{path}")).await.error(404);
        assert_eq!(error, "The requested resource does not exist.", "{path}");
    }
    web(&world, "open", "echo", json!({})).await;
    assert_eq!(get(&world, "/api/v1/web/other/default/open").await.status, 404);
    let odd = Request::builder().method("TRACE").uri(format!("{WEB}/open"));
    assert_eq!(send(&world, odd, "").await.status, 405);
    world.put("packages/pkg", json!({"parameters": [{"key": "p", "value": 1}]})).await.ok();
    web(&world, "pkg/open", "echo", json!({})).await;
    assert_eq!(get(&world, "/api/v1/web/guest/pkg/open.json").await.ok()["p"], 1);
}

#[tokio::test]
async fn some_parameters_are_not_for_callers() {
    let world = World::new().await;
    let body = json!({
        "exec": support::node("echo"),
        "parameters": [{"key": "p", "value": 1}],
        "annotations": [{"key": "web-export", "value": true}, {"key": "final", "value": true}],
    });
    world.put("actions/last", body).await.ok();
    let refused = "Request defines parameters that are not allowed (e.g., reserved properties).";
    assert_eq!(get(&world, &format!("{WEB}/last.json?p=2")).await.error(400), refused);
    assert_eq!(get(&world, &format!("{WEB}/last.json?__ow_user=me")).await.error(400), refused);
    let answered = get(&world, &format!("{WEB}/last.json?q=2")).await.ok();
    assert_eq!((&answered["p"], &answered["q"]), (&json!(1), &json!("2")));
}

#[tokio::test]
async fn actions_may_ask_who_calls() {
    let world = World::new().await;
    web(&world, "users", "return {\"body\": \"in\"}", json!({"require-whisk-auth": true})).await;
    web(&world, "word", "return {\"body\": \"in\"}", json!({"require-whisk-auth": 123})).await;
    let refused = get(&world, &format!("{WEB}/users")).await;
    assert_eq!(refused.status, 401);
    assert_eq!(refused.headers["www-authenticate"], "Basic realm=\"OpenWhisk secure realm\"");
    assert_eq!(refused.headers["access-control-allow-origin"], "*", "so that pages may read why");
    let path = format!("{WEB}/users");
    assert_eq!(world.send_as(owner("visitor"), Some("u:k"), Method::GET, &path, "").await.body, "in");
    assert_eq!(get(&world, &format!("{WEB}/word")).await.status, 401);
    let says = Request::get(format!("{WEB}/word")).header("X-Require-Whisk-Auth", "123");
    assert_eq!(send(&world, says, "").await.body, "in");
}

#[tokio::test]
async fn pages_of_other_origins_ask_first() {
    let world = World::new().await;
    web(&world, "plain", "echo", json!({"require-whisk-auth": true})).await;
    web(&world, "own", r#"return {"headers": {"x-own": "1"}}"#, json!({"web-custom-options": true})).await;
    let ask = |name: &str| {
        Request::options(format!("{WEB}/{name}")).header("access-control-request-headers", "x-mine")
    };
    let answered = send(&world, ask("plain"), "").await;
    assert_eq!((answered.status.as_u16(), answered.body.as_str()), (200, ""));
    assert_eq!(answered.headers["access-control-allow-headers"], "x-mine");
    let answered = send(&world, ask("own"), "").await;
    assert_eq!((answered.status.as_u16(), &answered.headers["x-own"]), (204, &"1".parse().unwrap()));
    for method in [ask("own"), Request::get(format!("{WEB}/own"))] {
        assert!(!send(&world, method, "").await.headers.contains_key("access-control-allow-origin"));
    }
}

#[tokio::test]
async fn they_run_as_their_owners() {
    let world = World::new().await;
    web(&world, "told", "message", json!({})).await;
    let path = format!("{WEB}/told.json");
    let message = world.send_as(owner("visitor"), Some("u:k"), Method::GET, &path, "").await.ok();
    assert_eq!((&message["namespace"], &message["action_name"]), (&json!("guest"), &json!("/guest/told")));
    assert!(message.get("api_key").is_none());
}

//! The requests that `faas-cli` sends, in the order in which it sends them, and what it makes of the answers.

mod support;

use http::{Method, Request, StatusCode};
use serde_json::json;
use support::{Back, Engine, send, send_as};
use xebec_api_openfaas::OpenFaas;
use xebec_core::{
    Body, Tenant,
    auth::{Access, Credential, Principal, Role},
    function::FunctionUsage,
    log::{LogLine, LogStream},
    ports::door::Door as _,
};

const FUNCTIONS: &str = "/system/functions";

/// `faas-cli deploy --image … --name env --fprocess env --env A=b --label … --annotation … --secret s1
/// --memory-limit 128Mi --cpu-limit 100m --readonly`
const DEPLOY: &str = concat!(
    r#"{"service":"env","image":"ghcr.io/openfaas/alpine:latest","envProcess":"env","envVars":{"A":"b"},"#,
    r#""secrets":["s1"],"labels":{"com.openfaas.scale.min":"2"},"annotations":{"topic":"t"},"#,
    r#""limits":{"memory":"128Mi","cpu":"100m"},"readOnlyRootFilesystem":true}"#
);

/// `faas-cli up` with a stack.yaml.
const UP: &str = concat!(
    r#"{"service":"cows","image":"ghcr.io/openfaas/alpine:latest","envProcess":"cat","#,
    r#""envVars":{"write_timeout":"10s"},"constraints":["node.role=x"],"labels":{},"annotations":{},"#,
    r#""requests":{"memory":"20Mi","cpu":"10m"}}"#
);

async fn up(door: &OpenFaas) -> Back {
    send(door, Method::POST, FUNCTIONS, UP).await
}

#[tokio::test]
async fn deploy_tries_put_and_falls_back_to_post() {
    let engine = Engine::new();
    let door = engine.door();
    assert_eq!(send(&door, Method::PUT, FUNCTIONS, UP).await.status, StatusCode::NOT_FOUND);
    assert_eq!(up(&door).await.status, StatusCode::ACCEPTED);
    assert_eq!(send(&door, Method::PUT, FUNCTIONS, UP).await.status, StatusCode::ACCEPTED);
}

#[tokio::test]
async fn what_is_described_is_what_was_deployed() {
    let engine = Engine::new();
    let door = engine.door();
    send(&door, Method::POST, "/system/secrets", r#"{"name":"s1","value":"v"}"#).await;
    let mut written: serde_json::Value = serde_json::from_str(DEPLOY).unwrap();
    written["aFieldOfNextYear"] = json!({"x": [1, 2]});
    let deployed = send(&door, Method::POST, FUNCTIONS, &written.to_string()).await;
    assert_eq!((deployed.status, deployed.body.as_str()), (StatusCode::ACCEPTED, ""));

    let described = send(&door, Method::GET, "/system/function/env?usage=1", "").await;
    assert_eq!(described.header("content-type"), "application/json");
    assert_eq!(
        described.json(),
        json!({
            "name": "env",
            "namespace": "openfaas-fn",
            "image": "ghcr.io/openfaas/alpine:latest",
            "envProcess": "env",
            "envVars": {"A": "b"},
            "secrets": ["s1"],
            "labels": {"com.openfaas.scale.min": "2"},
            "annotations": {"topic": "t"},
            "limits": {"memory": "128Mi", "cpu": "100m"},
            "readOnlyRootFilesystem": true,
            "aFieldOfNextYear": {"x": [1, 2]},
            "createdAt": "2026-01-02T03:04:05Z",
            "invocationCount": 7,
            "replicas": 2,
            "availableReplicas": 1,
        })
    );
    let listed = send(&door, Method::GET, FUNCTIONS, "").await;
    assert_eq!(listed.json(), json!([described.json()]));
}

#[tokio::test]
async fn usage_is_shown_to_those_who_ask() {
    let engine = Engine::new();
    let door = engine.door();
    up(&door).await;
    let key = engine.deployed("default", "cows").view.function.key;
    let usage = FunctionUsage { cpu_millis: 12.5, cpu_seconds: 1.0, memory_bytes: 8 << 20 };
    engine.usages.lock().unwrap().insert(key, usage);
    let shown = send(&door, Method::GET, "/system/function/cows?usage=1", "").await.json();
    assert_eq!(shown["usage"], json!({"cpu": 12.5, "totalMemoryBytes": 8388608.0}));
    for path in ["/system/function/cows", "/system/function/cows?usage=0"] {
        assert!(send(&door, Method::GET, path, "").await.json().get("usage").is_none(), "{path}");
    }
}

#[tokio::test]
async fn lists_are_lists_when_they_are_empty() {
    let door = Engine::new().door();
    for path in [FUNCTIONS, "/system/functions?namespace=staging", "/system/functions/", "/system/secrets"] {
        let listed = send(&door, Method::GET, path, "").await;
        assert_eq!((listed.status, listed.json()), (StatusCode::OK, json!([])), "{path}");
    }
}

#[tokio::test]
async fn what_is_deployed_again_or_never_was() {
    let door = Engine::new().door();
    up(&door).await;
    let again = up(&door).await;
    assert_eq!(again.status, StatusCode::INTERNAL_SERVER_ERROR);
    assert!(again.body.starts_with("unable create Deployment: "), "{}", again.body);
    for (method, path, body) in [
        (Method::GET, "/system/function/ghost", ""),
        (Method::DELETE, FUNCTIONS, r#"{"functionName":"ghost"}"#),
        (Method::GET, "/system/logs?name=ghost&follow=true&tail=-1", ""),
    ] {
        let back = send(&door, method, path, body).await;
        assert_eq!(back.status, StatusCode::NOT_FOUND, "{path}");
        assert_eq!(back.body, "no such function: ghost.openfaas-fn\n");
    }
    let scaled = send(&door, Method::POST, "/system/scale-function/ghost", r#"{"replicas":1}"#).await;
    assert_eq!(scaled.status, StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(scaled.body, "Unable to lookup function deployment ghost\n");
}

#[tokio::test]
async fn a_missing_secret_refuses_the_deploy() {
    let back = send(&Engine::new().door(), Method::POST, FUNCTIONS, DEPLOY).await;
    assert_eq!(back.status, StatusCode::BAD_REQUEST);
    assert!(back.body.starts_with("unable to fetch secrets: ") && back.body.ends_with('\n'), "{}", back.body);
}

#[tokio::test]
async fn a_name_that_another_door_has_is_refused_with_a_sentence() {
    let engine = Engine::new();
    engine.put("default", "native", "cows");
    let back = up(&engine.door()).await;
    assert_eq!(back.status, StatusCode::CONFLICT);
    assert!(back.body.contains("another door"), "{}", back.body);
}

#[tokio::test]
async fn an_image_that_nothing_can_run_is_refused_with_what_to_do() {
    let body = r#"{"service":"figlet","image":"ghcr.io/openfaas/figlet:latest"}"#;
    let back = send(&Engine::new().door(), Method::POST, FUNCTIONS, body).await;
    assert_eq!(back.status, StatusCode::BAD_REQUEST);
    assert!(back.body.contains("figlet:latest") && back.body.contains("[[images]]"), "{}", back.body);
}

#[tokio::test]
async fn removing_takes_the_namespace_from_body_or_query() {
    let engine = Engine::new();
    let door = engine.door();
    for (query, namespace) in [("?namespace=staging", ""), ("", r#","namespace":"staging""#)] {
        engine.put("staging", "openfaas", "fn");
        let body = format!(r#"{{"functionName":"fn"{namespace}}}"#);
        let back = send(&door, Method::DELETE, &format!("{FUNCTIONS}{query}"), &body).await;
        assert_eq!((back.status, back.body.as_str()), (StatusCode::ACCEPTED, ""));
        assert!(engine.deployed.lock().unwrap().is_empty());
    }
    let body = r#"{"functionName":"fn","namespace":"a"}"#;
    let back = send(&door, Method::DELETE, "/system/functions?namespace=b", body).await;
    assert_eq!(back.status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn scaling() {
    let engine = Engine::new();
    let door = engine.door();
    up(&door).await;
    let body = r#"{"serviceName":"cows","replicas":3}"#;
    let back = send(&door, Method::POST, "/system/scale-function/cows", body).await;
    assert_eq!(back.status, StatusCode::ACCEPTED);
    let scaled = engine.scaled.lock().unwrap().clone();
    assert_eq!(scaled.len(), 1);
    assert_eq!((scaled[0].0.name.as_str(), scaled[0].1), ("cows", 3));
}

#[tokio::test]
async fn secrets_have_the_codes_that_the_client_reads() {
    let engine = Engine::new();
    let door = engine.door();
    let body = r#"{"name":"s1","value":"v"}"#;
    for (method, body, status) in [
        (Method::PUT, body, 404),
        (Method::DELETE, r#"{"name":"s1"}"#, 404),
        (Method::POST, body, 202),
        (Method::POST, body, 409),
        (Method::PUT, r#"{"name":"s1","rawValue":"AAH/","value":"v"}"#, 202),
        (Method::POST, r#"{"name":"../s1","value":"v"}"#, 422),
        (Method::POST, r#"{"name":"s2","rawValue":"%"}"#, 400),
    ] {
        let back = send(&door, method.clone(), "/system/secrets", body).await;
        assert_eq!(back.status.as_u16(), status, "{method} {body}: {}", back.body);
        assert_eq!(back.body.is_empty(), !matches!(status, 400 | 422));
    }
    let key = (Tenant::default(), "s1".to_owned());
    assert_eq!(engine.secrets.lock().unwrap()[&key], &[0u8, 1, 255][..]);
    let listed = send(&door, Method::GET, "/system/secrets", "").await;
    assert_eq!(listed.json(), json!([{"name": "s1", "namespace": "openfaas-fn"}]));

    send(&door, Method::POST, FUNCTIONS, DEPLOY).await;
    let used = send(&door, Method::DELETE, "/system/secrets", r#"{"name":"s1"}"#).await;
    assert_eq!(used.status, StatusCode::CONFLICT);
    send(&door, Method::DELETE, FUNCTIONS, r#"{"functionName":"env"}"#).await;
    let gone = send(&door, Method::DELETE, "/system/secrets", r#"{"name":"s1"}"#).await;
    assert_eq!(gone.status, StatusCode::ACCEPTED);
}

#[tokio::test]
async fn logs_are_a_line_of_json_each() {
    let engine = Engine::new();
    let door = engine.door();
    up(&door).await;
    let line = |text: &str| LogLine {
        time: "2026-01-02T03:04:05.5Z".parse().unwrap(),
        function: engine.deployed("default", "cows").view.function.key,
        instance: "cows-1".into(),
        invocation: None,
        stream: LogStream::Stderr,
        text: text.into(),
    };
    engine.lines.lock().unwrap().extend([line("one \"quoted\""), line("two")]);
    let back = send(&door, Method::GET, "/system/logs?follow=true&name=cows&tail=-1", "").await;
    assert_eq!(back.status, StatusCode::OK);
    assert_eq!(
        back.body,
        concat!(
            r#"{"name":"cows","namespace":"openfaas-fn","instance":"cows-1","#,
            r#""timestamp":"2026-01-02T03:04:05.5Z","text":"one \"quoted\""}"#,
            "\n",
            r#"{"name":"cows","namespace":"openfaas-fn","instance":"cows-1","#,
            r#""timestamp":"2026-01-02T03:04:05.5Z","text":"two"}"#,
            "\n",
        )
    );
}

#[tokio::test]
async fn logs_go_as_far_back_as_asked() {
    let engine = Engine::new();
    let door = engine.door();
    up(&door).await;
    let before = jiff::Timestamp::now();
    for query in [
        "follow=true&tail=-1",
        "follow=false&tail=5",
        "follow=false&tail=-1&since=2026-11-21T23%3A56%3A41Z",
        "tail=7&since=2026-11-21T23%3A56%3A41%2B01%3A00&instance=i-1",
    ] {
        let back = send(&door, Method::GET, &format!("/system/logs?name=cows&{query}"), "").await;
        assert_eq!(back.status, StatusCode::OK, "{}", back.body);
    }
    let asked = engine.log_queries.lock().unwrap().clone();
    let five_minutes_ago = asked[0].0.since.unwrap();
    let back = before.duration_since(five_minutes_ago).as_secs();
    assert!((290..=300).contains(&back), "{back}");
    assert_eq!((asked[0].0.tail, asked[0].1), (None, true));
    assert_eq!((asked[1].0.tail, asked[1].0.since, asked[1].1), (Some(5), None, false));
    let since = |text: &str| Some(text.parse::<jiff::Timestamp>().unwrap());
    assert_eq!((asked[2].0.tail, asked[2].0.since), (None, since("2026-11-21T23:56:41Z")));
    assert_eq!((asked[3].0.tail, asked[3].0.since), (Some(7), since("2026-11-21T22:56:41Z")));
    assert_eq!(asked[3].0.instance.as_deref(), Some("i-1"));
    for bad in ["", "name=cows&tail=many", "name=cows&since=yesterday"] {
        let back = send(&door, Method::GET, &format!("/system/logs?{bad}"), "").await;
        assert_eq!(back.status, StatusCode::BAD_REQUEST, "{bad}");
    }
}

#[tokio::test]
async fn info_has_what_version_prints() {
    let back = send(&Engine::new().door(), Method::GET, "/system/info", "").await;
    let info = back.json();
    assert_eq!(info["provider"]["provider"], "xebec");
    assert_eq!(info["provider"]["version"]["release"], "1.2.3");
    assert_eq!(info["version"]["release"], "1.2.3");
    assert!(info["arch"].is_string() && info["provider"]["orchestration"].is_string());
    let engine = Engine::new();
    engine.put("staging", "openfaas", "fn");
    let counted = send(&engine.door(), Method::GET, "/system/telemetry", "").await.json();
    assert_eq!((&counted["functions"], &counted["replicas"]), (&json!(1), &json!(1)));
}

#[tokio::test]
async fn the_originals_page_is_elsewhere() {
    let back = send(&Engine::new().door(), Method::GET, "/ui/", "").await;
    assert_eq!((back.status, back.header("location")), (StatusCode::TEMPORARY_REDIRECT, "/"));
}

#[tokio::test]
async fn malformed_json_is_refused_with_line_and_reason() {
    let door = Engine::new().door();
    for (body, reason) in [
        ("{\n\"service\": }", "expected value at line 2 column 12"),
        (r#"{"service": 5}"#, "invalid type: integer `5`, expected a string at line 1 column 13"),
        (r#"{"service":"a","envVars":{"A":1}}"#, "expected a string at line 1"),
        ("", "EOF while parsing"),
        ("[]", "at line 1"),
    ] {
        for method in [Method::POST, Method::PUT] {
            let back = send(&door, method, FUNCTIONS, body).await;
            assert_eq!(back.status, StatusCode::BAD_REQUEST, "{body}");
            assert!(back.body.contains(reason), "{body}: {}", back.body);
        }
    }
    let large = format!(r#"{{"service":"{}"}}"#, "x".repeat(3 << 20));
    let back = send(&door, Method::POST, FUNCTIONS, &large).await;
    assert_eq!(back.status, StatusCode::PAYLOAD_TOO_LARGE);
}

#[tokio::test]
async fn go_clients_write_null_for_what_is_empty() {
    let body = concat!(
        r#"{"service":"n","image":"ghcr.io/openfaas/alpine:3","envProcess":"cat","envVars":null,"#,
        r#""constraints":null,"secrets":null,"labels":null,"annotations":null,"limits":null}"#
    );
    let engine = Engine::new();
    let door = engine.door();
    assert_eq!(send(&door, Method::POST, FUNCTIONS, body).await.status, StatusCode::ACCEPTED);
    let shown = send(&door, Method::GET, "/system/function/n", "").await.json();
    assert!(shown.get("labels").is_none(), "{shown}");
}

#[tokio::test]
async fn paths_and_methods_that_are_not_there() {
    let door = Engine::new().door();
    for (method, path, status) in [
        (Method::GET, "/system/", 404),
        (Method::GET, "/system/nothing", 404),
        (Method::GET, "/system/function", 404),
        (Method::PATCH, FUNCTIONS, 405),
        (Method::GET, "/system/scale-function/x", 405),
        (Method::GET, "/system/alert", 405),
        (Method::POST, "/system/telemetry", 405),
        (Method::PATCH, "/system/namespace/a", 405),
        (Method::POST, "/oauth/token", 501),
        (Method::POST, "/async-function/x", 501),
        (Method::GET, "/function/", 404),
    ] {
        let back = send(&door, method, path, "").await;
        assert_eq!(back.status.as_u16(), status, "{path}");
    }
}

#[tokio::test]
async fn without_credentials_management_is_closed() {
    let engine = Engine::new();
    let door = engine.door();
    for path in [FUNCTIONS, "/system/secrets", "/system/namespaces", "/system/namespace/openfaas-fn"] {
        let request = Request::builder().uri(path).body(Body::empty()).unwrap();
        let back = send_as(&door, Principal::Anonymous, request).await;
        assert_eq!(back.status, StatusCode::UNAUTHORIZED, "{path}");
        assert_eq!(back.body, "invalid credentials");
        assert_eq!(back.header("www-authenticate"), "Basic realm=\"Restricted\"");
    }
}

#[tokio::test]
async fn a_key_is_confined_to_its_tenant() {
    let engine = Engine::new();
    engine.put("staging", "openfaas", "fn");
    let door = engine.door();
    let key = Principal::Key { id: "k".into(), role: Role::Manage, tenant: Some(Tenant::new("staging")) };
    let get = |path: &str| Request::builder().uri(path).body(Body::empty()).unwrap();
    let login = send_as(&door, key.clone(), get(FUNCTIONS)).await;
    assert_eq!(login.json()[0]["name"], "fn");
    let other = send_as(&door, key.clone(), get("/system/functions?namespace=openfaas-fn")).await;
    assert_eq!(other.status, StatusCode::FORBIDDEN);
    let namespaces = send_as(&door, key.clone(), get("/system/namespaces")).await;
    assert_eq!(namespaces.json(), json!(["staging"]));
    let post = Request::post(FUNCTIONS).body(Body::full(UP)).unwrap();
    assert_eq!(send_as(&door, key, post).await.status, StatusCode::FORBIDDEN);
}

#[test]
fn the_gateway_learns_what_a_request_wants() {
    let door = Engine::new().door();
    let parts = |path: &str| {
        let request = Request::builder().uri(path).header("authorization", "Bearer").body(());
        request.unwrap().into_parts().0
    };
    assert_eq!(door.access(&parts("/system/functions")), Access::Management);
    assert_eq!(door.access(&parts("/function/env")), Access::Invocation);
    assert_eq!(door.credential(&parts("/system/functions")), Credential::None);
}

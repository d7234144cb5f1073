//! What deployments become.

#![allow(clippy::unwrap_used)]

mod support;

use proptest::prelude::*;
use serde_json::{Value, json};
use std::time::Duration;
use support::Engine;
use xebec_api_openfaas::{
    deployment,
    wire::{FunctionDeployment, from_json, function_status},
};
use xebec_core::{
    Error, Tenant,
    document::Expect,
    names::Address,
    policy::{Delivery, Metric, Policy, Scaling, Visibility},
    ports::control::Deployment,
    schedule::{Missed, When},
    workload::Workload,
};

fn compile(fields: Value) -> Result<Deployment, Error> {
    let mut document = json!({
        "service": "fn",
        "image": "ghcr.io/openfaas/alpine:latest",
        "envProcess": "cat",
    });
    for (name, value) in fields.as_object().unwrap() {
        document[name] = value.clone();
    }
    let request: FunctionDeployment = serde_json::from_value(document.clone()).unwrap();
    deployment(&*Engine::new(), &Tenant::default(), &request, document, Expect::Any)
}

fn with_variables(variables: Value) -> Result<Deployment, Error> {
    compile(json!({ "envVars": variables }))
}

fn with_labels(labels: Value) -> Result<Policy, Error> {
    compile(json!({ "labels": labels })).map(|deployment| deployment.policy)
}

#[test]
fn a_plain_deployment() {
    let compiled = compile(json!({"constraints": ["x"], "readOnlyRootFilesystem": true})).unwrap();
    assert_eq!(compiled.key.to_string(), "default/openfaas/fn");
    assert_eq!(compiled.addresses, [Address::new("function", &Tenant::default(), "fn")]);
    let revision = compiled.revision;
    let image = Workload::image("ghcr.io/openfaas/alpine:latest");
    assert_eq!((revision.workload, revision.environment.as_str()), (image, "exec"));
    assert_eq!((revision.contract.name.as_str(), revision.contract.options.len()), ("stdio", 0));
    assert_eq!(revision.command, ["cat"]);
    assert_eq!(revision.variables["fprocess"], "cat");
    assert_eq!(revision.variables["OPENFAAS_NAME"], "fn");
    assert!(revision.read_only_root);
    assert_eq!(revision.limits.concurrency, 100);
    let policy = compiled.policy;
    assert_eq!((policy.min_instances, policy.max_instances), (1, 20));
    assert_eq!((policy.scaling, policy.max_in_flight), (Scaling::default(), None));
    assert_eq!(compiled.document["constraints"], json!(["x"]));
}

#[test]
fn the_process_is_split_on_spaces_and_no_shell() {
    let command = |fields| compile(fields).unwrap().revision.command;
    assert_eq!(command(json!({"envProcess": " sh -c 'echo  hi' "})), ["sh", "-c", "'echo", "hi'"]);
    let variable = json!({"envProcess": "", "envVars": {"fprocess": "env -0"}});
    assert_eq!(command(variable), ["env", "-0"]);
    let both = json!({"envProcess": "cat", "envVars": {"fprocess": "env"}});
    assert_eq!(command(both), ["cat"]);
    let missing = compile(json!({"envProcess": ""})).unwrap_err();
    assert!(missing.message.contains("envProcess"), "{missing}");
}

#[test]
fn the_classic_watchdogs_settings() {
    let options = |variables| with_variables(variables).unwrap().revision.contract.options;
    let set = options(json!({
        "combine_output": "false", "cgi_headers": "0", "content_type": "text/csv", "marshal_request": "true",
    }));
    assert_eq!(set["combine_output"], json!(false));
    assert_eq!(set["cgi_headers"], json!(false));
    assert_eq!(set["content_type"], json!("text/csv"));
    assert_eq!(set["marshal_request"], json!(true));
    let own = with_variables(json!({"mode": "production"})).unwrap().revision;
    assert_eq!((own.contract.name.as_str(), own.variables["mode"].as_str()), ("stdio", "production"));
}

#[test]
fn the_modes_of_of_watchdog() {
    let contract = |variables| with_variables(variables).map(|compiled| compiled.revision.contract);
    for name in ["upstream_url", "http_upstream_url"] {
        let http =
            contract(json!({"mode": "http", name: "http://127.0.0.1:3000/", "ready_path": "/ok"})).unwrap();
        assert_eq!((http.name.as_str(), &http.options["port"]), ("http", &json!(3000)));
        assert_eq!(http.options["ready_path"], json!("/ok"));
    }
    let streaming = contract(json!({"mode": "streaming"})).unwrap();
    assert_eq!((streaming.name.as_str(), &streaming.options["mode"]), ("stdio", &json!("streaming")));
    let serializing = contract(json!({"mode": "serializing"})).unwrap();
    assert_eq!(serializing.name, "stdio");
    assert_eq!(serializing.options.get("mode"), None);
    assert_eq!(serializing.options["content_type"], json!("application/octet-stream"));
    assert_eq!(serializing.options["combine_output"], json!(false));
    for bad in [
        json!({"mode": "http"}),
        json!({"mode": "http", "upstream_url": "http://example.org:80"}),
        json!({"mode": "http", "upstream_url": "http://127.0.0.1:99999"}),
        json!({"mode": "http", "upstream_url": "http://127.0.0.1:3000/base"}),
        json!({"mode": "static"}),
        json!({"mode": "inproc"}),
    ] {
        let error = contract(bad.clone()).unwrap_err();
        assert!(error.message.starts_with("envVars."), "{bad}: {error}");
    }
}

#[test]
fn timeouts_become_clocks() {
    let clock = |variables| with_variables(variables).unwrap().revision.limits.clocks;
    let seconds = Duration::from_secs;
    for (variables, wanted) in [
        (json!({"exec_timeout": "90"}), seconds(90)),
        (json!({"exec_timeout": "1m30s", "write_timeout": "2m", "read_timeout": "2m"}), seconds(90)),
        (json!({"exec_timeout": "2m", "write_timeout": "5s"}), seconds(5)),
        (json!({"exec_timeout": "0", "write_timeout": "10s"}), seconds(10)),
        (json!({"exec_timeout": "0"}), seconds(86_400)),
    ] {
        let clocks = clock(variables.clone());
        assert_eq!((clocks.run, clocks.first_byte), (wanted, wanted), "{variables}");
    }
    let untouched = clock(json!({"read_timeout": "5s"}));
    assert_eq!(untouched, xebec_core::limits::Clocks::default());
    let error = with_variables(json!({"exec_timeout": "soon"})).unwrap_err();
    assert_eq!(error.message, r#"envVars.exec_timeout: "soon" is not a duration such as 30s"#);
}

#[test]
fn max_inflight_bounds_each_instance_and_all_of_them() {
    let variables = json!({"max_inflight": "4"});
    let compiled = compile(json!({"envVars": variables, "labels": {"com.openfaas.scale.max": "3"}})).unwrap();
    assert_eq!(compiled.revision.limits.concurrency, 4);
    assert_eq!(compiled.policy.max_in_flight, Some(12));
    let unlimited = with_variables(json!({"max_inflight": "0"})).unwrap();
    assert_eq!(unlimited.policy.max_in_flight, None);
    assert!(with_variables(json!({"max_inflight": "-1"})).is_err());
}

#[test]
fn limits_and_requests() {
    let limits =
        |limits: Value| compile(json!({ "limits": limits })).map(|compiled| compiled.revision.limits);
    let read = limits(json!({"memory": "128Mi", "cpu": "100m"})).unwrap();
    assert_eq!((read.memory_bytes, read.cpu_millis), (Some(128 << 20), Some(100)));
    let read = limits(json!({"memory": "0.5Gi", "cpu": "1.5"})).unwrap();
    assert_eq!((read.memory_bytes, read.cpu_millis), (Some(512 << 20), Some(1500)));
    for (bad, field) in [
        (json!({"memory": "lots"}), "limits.memory"),
        (json!({"memory": "20m"}), "limits.memory"),
        (json!({"cpu": "0"}), "limits.cpu"),
        (json!({"nvidia.com/gpu": "1"}), "limits.nvidia.com/gpu"),
    ] {
        let error = limits(bad).unwrap_err();
        assert!(error.message.starts_with(field), "{error}");
    }
    let requests = compile(json!({"requests": {"memory": "64Mi"}})).unwrap();
    assert_eq!(requests.revision.limits.memory_bytes, None);
    assert!(compile(json!({"requests": {"memory": "lots"}})).is_err());
}

fn scaling(metric: Metric, target: f64, proportion: f64) -> Scaling {
    Scaling { metric, target: Some(target), proportion, ..Scaling::default() }
}

#[test]
fn labels_become_policy() {
    let bounds = with_labels(json!({"com.openfaas.scale.min": "2", "com.openfaas.scale.max": "4"})).unwrap();
    assert_eq!((bounds.min_instances, bounds.max_instances), (2, 4));
    assert_eq!(with_labels(json!({"com.openfaas.scale.min": "30"})).unwrap().max_instances, 30);
    let zero = with_labels(json!({
        "com.openfaas.scale.zero": "true", "com.openfaas.scale.zero-duration": "2m",
    }))
    .unwrap();
    assert_eq!((zero.min_instances, zero.keep_alive_seconds), (0, Some(120)));
    let zero = with_labels(json!({"com.openfaas.scale.zero": "true"})).unwrap();
    assert_eq!(zero.keep_alive_seconds, Some(900));
    let rate = with_labels(json!({"com.openfaas.scale.type": "rps"})).unwrap();
    assert_eq!(rate.scaling, scaling(Metric::Rate, 50.0, 0.9));
    let rate = with_labels(json!({
        "com.openfaas.scale.target": "10", "com.openfaas.scale.target-proportion": "0.5",
    }))
    .unwrap();
    assert_eq!(rate.scaling, scaling(Metric::Rate, 10.0, 0.5));
    let capacity = with_labels(json!({
        "com.openfaas.scale.type": "capacity",
        "com.openfaas.scale.target": "20",
        "com.openfaas.scale.target-proportion": "1",
    }))
    .unwrap();
    assert_eq!(capacity.scaling, scaling(Metric::Concurrency, 20.0, 1.0));
    for (kind, metric) in [("cpu", Metric::Cpu), ("queue", Metric::Queue)] {
        let policy = with_labels(json!({"com.openfaas.scale.type": kind, "com.openfaas.scale.target": "7"}));
        assert_eq!(policy.unwrap().scaling, scaling(metric, 7.0, 0.9), "{kind}");
    }
    let window =
        with_labels(json!({"com.openfaas.scale.down.window": "2m", "com.openfaas.scale.factor": "0"}));
    assert_eq!(window.unwrap().scaling, Scaling { down_window_seconds: 120, ..Scaling::default() });
    for (name, value) in [
        ("min", "-1"),
        ("min", "many"),
        ("max", "0"),
        ("zero", "yes"),
        ("zero-duration", "soon"),
        ("type", "memory"),
        ("factor", "101"),
        ("factor", "-1"),
        ("down.window", "6m"),
        ("down.window", "soon"),
        ("target", "0"),
        ("target", "NaN"),
    ] {
        let label = format!("com.openfaas.scale.{name}");
        let error = with_labels(json!({ label.as_str(): value })).unwrap_err();
        assert!(error.message.starts_with(&label) || name == "target", "{error}");
    }
    let crossed = json!({"com.openfaas.scale.min": "5", "com.openfaas.scale.max": "4"});
    assert!(with_labels(crossed).is_err());
}

#[test]
fn servers_say_when_they_are_ready() {
    let ready_at = |path: &str, mode: &str| {
        compile(json!({
            "annotations": {"com.openfaas.ready.http.path": path},
            "envVars": {"mode": mode, "upstream_url": "http://127.0.0.1:3000"},
        }))
        .map(|compiled| compiled.revision.contract.options.get("ready_path").cloned())
    };
    assert_eq!(ready_at("/here", "http").unwrap(), Some(json!("/here")));
    assert_eq!(ready_at("/here", "streaming").unwrap(), None);
    assert!(ready_at("here", "http").unwrap_err().message.contains("com.openfaas.ready.http.path"));
}

#[test]
fn who_may_call() {
    let visibility = |annotation: Option<&str>, jwt_auth: Option<&str>| {
        let mut fields = json!({"annotations": {}, "envVars": {}});
        if let Some(value) = annotation {
            fields["annotations"]["xebec.visibility"] = json!(value);
        }
        if let Some(value) = jwt_auth {
            fields["envVars"]["jwt_auth"] = json!(value);
        }
        compile(fields).map(|compiled| compiled.policy.visibility)
    };
    for (annotation, jwt_auth, wanted) in [
        (None, None, Visibility::Public),
        (Some("public"), None, Visibility::Public),
        (None, Some("false"), Visibility::Public),
        (Some("authenticated"), None, Visibility::Authenticated),
        (None, Some("true"), Visibility::Authenticated),
        (Some("authenticated"), Some("1"), Visibility::Authenticated),
    ] {
        assert_eq!(visibility(annotation, jwt_auth).unwrap(), wanted, "{annotation:?} {jwt_auth:?}");
    }
    for (annotation, jwt_auth) in [(Some("secret"), None), (Some("public"), Some("true"))] {
        let error = visibility(annotation, jwt_auth).unwrap_err();
        assert!(error.message.starts_with("annotations.xebec.visibility"), "{error}");
    }
    // The image's own watchdog must not ask a service that is not here.
    let variables = json!({"jwt_auth": "true", "jwt_auth_debug": "true", "mine": "1"});
    let names: Vec<_> = with_variables(variables).unwrap().revision.variables.into_keys().collect();
    assert_eq!(names, ["OPENFAAS_NAME", "fprocess", "mine"]);
}

#[test]
fn secrets_are_files() {
    let mounts = compile(json!({"secrets": ["api-key", "api-key", "db"]})).unwrap().revision.secrets;
    let paths: Vec<_> = mounts.iter().map(|mount| mount.path.as_deref().unwrap()).collect();
    assert_eq!(paths, ["/var/openfaas/secrets/api-key", "/var/openfaas/secrets/db"]);
    assert!(compile(json!({"secrets": ["../../etc/passwd"]})).is_err());
}

#[test]
fn names_that_are_not_allowed() {
    for name in ["", "A", "a.b", "a/b", "-a", &"x".repeat(64)] {
        assert_eq!(compile(json!({ "service": name })).unwrap_err().code, "XB1001", "{name}");
    }
    assert_eq!(compile(json!({"image": ""})).unwrap_err().message, "image is missing");
    assert!(with_variables(json!({"A=B": "c"})).is_err());
    assert!(with_variables(json!({"A": "b\u{0}c"})).is_err());
}

/// The names that are read; values at random are what a stranger sends.
fn setting() -> impl Strategy<Value = (&'static str, &'static str)> {
    prop::sample::select(vec![
        ("envVars", "mode"),
        ("envVars", "upstream_url"),
        ("envVars", "exec_timeout"),
        ("envVars", "write_timeout"),
        ("envVars", "max_inflight"),
        ("envVars", "fprocess"),
        ("labels", "com.openfaas.scale.min"),
        ("labels", "com.openfaas.scale.max"),
        ("labels", "com.openfaas.scale.target"),
        ("labels", "com.openfaas.scale.zero-duration"),
        ("limits", "memory"),
        ("limits", "cpu"),
    ])
}

proptest! {
    #[test]
    fn no_setting_makes_a_deploy_panic(
        settings in prop::collection::vec((setting(), "\\PC{0,12}|[0-9.]{1,24}[a-zA-Z]{0,2}|http|http://[0-9.:]{0,20}"), 0..6)
    ) {
        let mut fields = json!({});
        for ((place, name), value) in settings {
            fields[place][name] = json!(value);
        }
        match compile(fields) {
            Ok(compiled) => {
                let policy = compiled.policy;
                prop_assert!(policy.max_instances >= 1 && policy.max_instances >= policy.min_instances);
                prop_assert!(compiled.revision.limits.concurrency >= 1);
                prop_assert!(compiled.revision.limits.clocks.run <= Duration::from_secs(86_400).max(Duration::from_secs(300)));
            }
            Err(error) => prop_assert!(error.code.starts_with("XB1"), "{}", error),
        }
    }

    #[test]
    fn no_bytes_make_reading_panic(bytes in prop::collection::vec(any::<u8>(), 0..64), text in "[\\[\\]{}\":,a-z0-9]{0,40}") {
        let _ = from_json::<FunctionDeployment>(&bytes);
        let _ = from_json::<FunctionDeployment>(text.as_bytes());
    }

    #[test]
    fn what_is_written_is_read_back(extra in prop::collection::btree_map("x[a-z]{1,8}", any::<i64>(), 0..5)) {
        let engine = Engine::new();
        engine.put("default", "openfaas", "fn");
        let view = engine.deployed("default", "fn").view;
        let mut written = json!({"service": "fn", "image": "i", "labels": {}});
        for (name, value) in &extra {
            written[name] = json!(value);
        }
        let status = function_status(&written, &view, "openfaas-fn");
        for (name, value) in written.as_object().unwrap() {
            let name = if name == "service" { "name" } else { name };
            prop_assert_eq!(&status[name], value);
        }
    }
}

fn with_annotations(annotations: Value) -> Result<Policy, Error> {
    compile(json!({ "annotations": annotations })).map(|deployment| deployment.policy)
}

#[test]
fn queues_and_retries() {
    let plain = with_annotations(json!({"com.example": "x"})).unwrap();
    assert_eq!(plain.delivery, Delivery::default());
    let of = |annotations| with_annotations(annotations).unwrap().delivery;
    assert_eq!(of(json!({"com.openfaas.queue": "slow-fns"})).queue, "slow-fns");
    let some = of(json!({"com.openfaas.retry.codes": "429, 503"})).retry;
    assert_eq!((some.attempts, some.min_wait_ms, some.max_wait_ms), (100, 10_000, 120_000));
    assert_eq!(some.codes, [429, 503]);
    let all = of(json!({
        "com.openfaas.retry.attempts": "7",
        "com.openfaas.retry.min_wait": "500ms",
        "com.openfaas.retry.max_wait": "5m",
    }))
    .retry;
    assert_eq!((all.attempts, all.min_wait_ms, all.max_wait_ms), (7, 500, 300_000));
    assert_eq!(all.codes, [408, 429, 500, 502, 503, 504]);
    assert_eq!(of(json!({"com.openfaas.retry.min_wait": "5m"})).retry.max_wait_ms, 300_000);
    for (name, value) in [
        ("com.openfaas.queue", ""),
        ("com.openfaas.queue", "a b"),
        ("com.openfaas.retry.attempts", "0"),
        ("com.openfaas.retry.attempts", "many"),
        ("com.openfaas.retry.attempts", "5000"),
        ("com.openfaas.retry.codes", "2xx"),
        ("com.openfaas.retry.codes", "99"),
        ("com.openfaas.retry.min_wait", "soon"),
        ("com.openfaas.retry.max_wait", "1s"),
        ("com.openfaas.retry.backoff", "full"),
    ] {
        let error = with_annotations(json!({ name: value })).unwrap_err();
        let named = error.message.starts_with(&format!("annotations.{name}: "));
        assert!(error.code == "XB1004" && named, "{name}={value}: {error}");
    }
}

#[test]
fn the_cron_connectors_annotations() {
    let of = |topic: &str, schedule: &str| with_annotations(json!({"topic": topic, "schedule": schedule}));
    assert!(of("payments", "nonsense").unwrap().schedules.is_empty(), "another connector's");
    assert!(with_annotations(json!({"schedule": "nonsense"})).unwrap().schedules.is_empty());
    let [schedule] = &of("cron-function", "*/5 * * * *").unwrap().schedules[..] else { panic!("one") };
    assert_eq!((schedule.name.as_str(), schedule.missed), ("cron", Missed::Skip));
    assert_eq!(schedule.when, When::Cron { cron: "*/5 * * * *".into(), zone: None });
    assert_eq!((schedule.call.method.as_str(), schedule.call.body.as_str()), ("POST", ""));
    assert_eq!(schedule.call.headers["X-Topic"], "cron-function");
    let several = of("payments, cron-function", "@daily; TZ=Europe/Berlin 0 9 * * 1-5;").unwrap().schedules;
    let names: Vec<_> = several.iter().map(|schedule| schedule.name.as_str()).collect();
    assert_eq!(names, ["cron", "cron-2"]);
    assert!(of("cron-function", "@every 5m").is_ok());
    for (schedule, says) in [
        ("", "it is empty"),
        ("* * * *", "4 fields, 5 are needed"),
        ("* * * * * *", "6 fields, 5 are needed"),
        ("61 * * * *", "61"),
        ("@reboot", "no descriptor"),
        ("TZ=Nowhere/Land 0 0 * * *", "no time zone"),
    ] {
        let error = of("cron-function", schedule).unwrap_err();
        assert!(error.message.starts_with("annotations.schedule: "), "{error}");
        assert!(error.to_string().contains(says), "{schedule}: {error}");
    }
    let missing = with_annotations(json!({"topic": "cron-function"})).unwrap_err();
    assert!(missing.message.starts_with("annotations.schedule: it is missing"), "{missing}");
}

//! Grafana's dashboards and Prometheus' rules against the metrics of a server that has done some of everything.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on panics")]

#[path = "dashboards/promql.rs"]
mod promql;
mod support;
#[path = "dashboards/yaml.rs"]
mod yaml;

use promql::Exposed;
use serde_json::{Value, json};
use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};
use support::{Server, eventually};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../dashboards")
}

/// All dashboards, by file name.
fn dashboards() -> Vec<(String, Value)> {
    let files = std::fs::read_dir(folder()).unwrap().map(|file| file.unwrap().path());
    let boards = files.filter(|path| path.extension().is_some_and(|extension| extension == "json"));
    let read = |path: PathBuf| {
        let text = std::fs::read_to_string(&path).unwrap();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let board = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{name}: {error}"));
        (name, board)
    };
    boards.map(read).collect()
}

/// A server's metrics, once it has done some of everything.
fn exposed() -> (Server, Exposed) {
    let server = Server::start();
    let call = |method: &str, path: &str, headers: &[(&str, &str)], body: &str| {
        let token = format!("Bearer {}", server.token());
        let headers = [headers, &[("authorization", token.as_str())]].concat();
        support::http(method, &format!("{}{path}", server.url), &headers, body.as_bytes())
    };
    let manifest = "name = \"echo\"\nenvironment = \"exec\"\ncommand = [\"/app/echo.sh\"]\n\
                    async = { retry = { attempts = 1 } }\n";
    let script = "#!/bin/sh\nbody=$(cat)\n[ \"$body\" = fail ] && exit 3\nprintf %s \"$body\"\n";
    server.deploy(manifest, &[("echo.sh", script)]);
    let of_openfaas = json!({
        "service": "cat", "image": "ghcr.io/openfaas/alpine:latest", "envProcess": "cat",
        "labels": {
            "com.openfaas.scale.type": "rps", "com.openfaas.scale.target": "50", "com.openfaas.scale.max": "3",
        },
    });
    let (status, answer) = call("POST", "/system/functions", &[], &of_openfaas.to_string());
    assert_eq!(status, 202, "{}", String::from_utf8_lossy(&answer));
    assert_eq!(call("POST", "/function/cat", &[], "x").0, 200);
    assert_eq!(call("POST", "/xebec/v1/functions/cat/pause", &[], "").0, 204);
    assert_eq!(call("POST", "/async-function/cat", &[], "x").0, 202);
    assert_eq!(call("POST", "/function/echo", &[], "x").0, 200);
    assert_ne!(call("POST", "/function/echo", &[], "fail").0, 200);
    assert_eq!(call("POST", "/function/nobody", &[], "x").0, 404);
    let later = [("x-xebec-async", "true"), ("x-xebec-delay", "1h")];
    assert_eq!(call("POST", "/xebec/v1/functions/echo/invoke", &later, "x").0, 202);
    assert_eq!(call("POST", "/xebec/v1/functions/echo/invoke", &later[..1], "fail").0, 202);
    // Environments that keep instances ahead do so from their first deploy on; what cannot be run here is no blank.
    let blanks = support::has("python3");
    if blanks {
        server.deploy(
            &support::python("blank", ""),
            &[("handler.py", "def handle(event, context):\n    return 'x'\n")],
        );
    }
    let mut text = String::new();
    eventually("its metrics tell of all that", || {
        text = String::from_utf8(call("GET", "/metrics", &[], "").1).unwrap();
        let blank = !blanks || text.contains("xebec_blanks{");
        let seen = ["xebec_dead_letters_total{", "xebec_queue_messages{", "queue_worker_pending_messages{"]
            .iter()
            .all(|series| text.contains(series));
        seen && blank
    });
    if !blanks {
        text.push_str("xebec_blanks{environment=\"python\"} 0\n");
    }
    let exposed = Exposed::read(&text);
    (server, exposed)
}

/// A query as Grafana sends it: with its variables filled in.
fn filled(query: &str) -> String {
    let mut filled = query.replace("$__rate_interval", "5m").replace("$__range", "1h");
    for variable in ["$tenant", "$function_name", "$function", "$queue"] {
        filled = filled.replace(variable, "x");
    }
    assert!(!filled.contains('$'), "an unknown variable: {filled}");
    filled
}

/// The labels that a legend names: `{{label}}`.
fn legend(text: &str) -> BTreeSet<String> {
    text.split("{{").skip(1).map(|after| after.split("}}").next().unwrap().trim().to_owned()).collect()
}

#[test]
fn every_query_asks_for_what_there_is() {
    let (_server, exposed) = exposed();
    let mut queries = 0;
    let mut faults = Vec::new();
    for (file, board) in dashboards() {
        for panel in board["panels"].as_array().unwrap() {
            let title = panel["title"].as_str().unwrap();
            for target in panel["targets"].as_array().into_iter().flatten() {
                queries += 1;
                let query = target["expr"].as_str().unwrap();
                match exposed.check(&filled(query)) {
                    Ok(labels) => {
                        let named = legend(target["legendFormat"].as_str().unwrap_or_default());
                        if let Some(label) = named.difference(&labels).next() {
                            faults.push(format!("{file}, {title}: its legend names {label}, of {labels:?}"));
                        }
                    }
                    Err(fault) => faults.push(format!("{file}, {title}: {fault}\n    {query}")),
                }
            }
        }
        for variable in board["templating"]["list"].as_array().unwrap() {
            if variable["type"] == "query" {
                queries += 1;
                let query = filled(variable["definition"].as_str().unwrap());
                let values =
                    query.strip_prefix("label_values(").and_then(|rest| rest.strip_suffix(')')).unwrap();
                let (series, label) = values.rsplit_once(", ").unwrap();
                let fault = exposed.check(series).and_then(|labels| {
                    if labels.contains(label) { Ok(()) } else { Err(format!("there is no label {label}")) }
                });
                if let Err(fault) = fault {
                    faults.push(format!("{file}, variable {}: {fault}", variable["name"]));
                }
            }
        }
    }
    assert!(queries > 60, "only {queries} queries were found");
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn every_rule_asks_for_what_there_is() {
    let (_server, exposed) = exposed();
    let rules = yaml::read(&std::fs::read_to_string(folder().join("alerts.yaml")).unwrap());
    let mut names = BTreeSet::new();
    for group in rules["groups"].as_array().unwrap() {
        assert!(group["name"].is_string());
        for rule in group["rules"].as_array().unwrap() {
            let name = rule["alert"].as_str().unwrap();
            assert!(names.insert(name.to_owned()), "{name} is there twice");
            let known = ["alert", "expr", "for", "labels", "annotations"];
            let unknown = rule.as_object().unwrap().keys().find(|key| !known.contains(&key.as_str()));
            assert_eq!(unknown, None, "{name}");
            let labels = exposed.check(rule["expr"].as_str().unwrap());
            let labels = labels.unwrap_or_else(|fault| panic!("{name}: {fault}"));
            assert!(rule["annotations"]["summary"].is_string() && rule["labels"]["severity"].is_string());
            for text in rule["annotations"].as_object().unwrap().values() {
                for after in text.as_str().unwrap().split("$labels.").skip(1) {
                    let label: String =
                        after.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
                    assert!(labels.contains(&label), "{name} names the label {label}, of {labels:?}");
                }
            }
        }
    }
    assert!(names.len() >= 5);
}

#[test]
fn dashboards_can_be_provisioned() {
    let (mut boards, mut taken) = (0, BTreeSet::new());
    for (file, board) in dashboards() {
        boards += 1;
        assert!(taken.insert(board["uid"].as_str().unwrap().to_owned()), "{file}: its uid is another's, too");
        assert!(board["title"].is_string() && board["schemaVersion"].is_u64(), "{file}");
        // An id is the database's of one installation.
        assert!(board["id"].is_null(), "{file}");
        let variables = board["templating"]["list"].as_array().unwrap();
        assert!(variables.iter().any(|v| v["name"] == "datasource" && v["type"] == "datasource"), "{file}");
        let (mut ids, mut places) = (BTreeSet::new(), Vec::new());
        for panel in board["panels"].as_array().unwrap() {
            let title = panel["title"].as_str().unwrap();
            assert!(ids.insert(panel["id"].as_u64().unwrap()), "{file}, {title}: its id is another's, too");
            let at = |side: &str| panel["gridPos"][side].as_u64().unwrap();
            let place = (at("x"), at("y"), at("x") + at("w"), at("y") + at("h"));
            assert!(place.2 <= 24, "{file}, {title} is too wide");
            for (other, taken) in &places {
                let (l, t, r, b): &(u64, u64, u64, u64) = taken;
                let apart = place.0 >= *r || place.2 <= *l || place.1 >= *b || place.3 <= *t;
                assert!(apart, "{file}: {title} lies on {other}");
            }
            places.push((title, place));
            if panel["type"] != "row" {
                assert_eq!(panel["datasource"]["uid"], "${datasource}", "{file}, {title}");
                assert!(!panel["targets"].as_array().unwrap().is_empty(), "{file}, {title}");
            }
        }
    }
    assert_eq!(boards, 4);
    let provider = yaml::read(&std::fs::read_to_string(folder().join("provisioning.yaml")).unwrap());
    assert_eq!(provider["providers"][0]["type"], "file");
}

#[test]
fn wrong_queries_are_found() {
    let exposed = Exposed::read(
        "# TYPE a_total counter\na_total{b=\"c\"} 1\n# TYPE d gauge\nd 2\n\
         # TYPE h histogram\nh_bucket{b=\"c\",le=\"+Inf\"} 1\nh_sum{b=\"c\"} 1\nh_count{b=\"c\"} 1\n",
    );
    for good in [
        "rate(a_total[5m])",
        "sum by (b) (rate(a_total{b=\"c\"}[5m])) / sum by (b) (increase(h_count[5m]))",
        "histogram_quantile(0.5, sum by (b, le) (rate(h_bucket[5m])))",
        "d > 1",
    ] {
        exposed.check(good).unwrap_or_else(|fault| panic!("{good}: {fault}"));
    }
    for (bad, why) in [
        ("rate(renamed_total[5m])", "nothing is exposed as renamed_total"),
        ("a_total{x=\"y\"}", "has no label x"),
        ("sum by (x) (a_total)", "by x"),
        ("rate(d[5m])", "is no counter"),
        ("histogram_quantile(0.5, sum by (b) (rate(h_bucket[5m])))", "needs the label le"),
        ("sum by (b) (a_total) / sum(d)", "never match"),
        ("sum((", ""),
    ] {
        let fault = exposed.check(bad).expect_err(bad);
        assert!(fault.contains(why), "{bad}: {fault}");
    }
}

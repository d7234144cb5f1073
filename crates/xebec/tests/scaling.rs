//! Scaling on the real binary, metric by metric.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on panics")]

mod support;

use serde_json::Value;
use std::time::Duration;
use support::{Server, eventually, exchange, http, text};
use tokio::runtime::Runtime;

/// Deploys a program that is run for each call.
fn deploy(server: &Server, program: &str, more: &str) {
    let manifest =
        format!("name = \"f\"\nenvironment = \"exec\"\ncommand = [\"sh\", \"-c\", \"{program}\"]\n{more}");
    server.deploy(&manifest, &[("unused", "x")]);
}

/// How the function is doing.
fn seen(server: &Server) -> Value {
    let url = format!("{}/xebec/v1/functions/f", server.url);
    let bearer = format!("Bearer {}", server.token());
    let (status, body) = http("GET", &url, &[("authorization", &bearer)], b"");
    assert_eq!(status, 200, "{}", String::from_utf8_lossy(&body));
    serde_json::from_slice(&body).unwrap()
}

fn ready(server: &Server) -> u64 {
    seen(server)["live"]["ready"].as_u64().unwrap()
}

fn metrics(server: &Server) -> String {
    let bearer = format!("Bearer {}", server.token());
    let (_, body) = http("GET", &format!("{}/metrics", server.url), &[("authorization", &bearer)], b"");
    String::from_utf8(body).unwrap()
}

/// Calls that go on until this is dropped; each is made again when it ends, with whatever answer.
struct Calls(Option<Runtime>);

impl Calls {
    fn make(server: &Server, count: usize) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let runtime = Runtime::new().unwrap();
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        for _ in 0..count {
            let (client, url) = (client.clone(), server.function("f"));
            runtime.spawn(async move {
                loop {
                    if client.post(&url).body("x").send().await.is_err() {
                        tokio::time::sleep(Duration::from_millis(50)).await;
                    }
                }
            });
        }
        Self(Some(runtime))
    }
}

impl Drop for Calls {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

#[test]
fn by_calls_in_flight_and_back_to_zero() {
    let server = Server::start();
    let scale = "[limits]\nconcurrency = 10\ntimeout = \"10m\"\n\
                 [scale]\nmax = 4\ntarget = 2\nproportion = 1.0\nkeep-alive = \"1s\"\n";
    deploy(&server, "sleep 600", scale);
    assert_eq!(ready(&server), 0);
    let calls = Calls::make(&server, 8);
    eventually("8 calls, 2 for each instance", || ready(&server) == 4);
    let shown = server.ok(&["describe", "f"]);
    assert!(shown.contains("0 to 4 instances by concurrency, 100 % of 2 calls for each"), "{shown}");
    drop(calls);
    eventually("nobody calls any more", || ready(&server) == 0);
}

#[test]
fn by_calls_per_second() {
    let server = Server::start();
    let scale = "[limits]\nconcurrency = 100\n[scale]\nmax = 3\nmetric = \"rate\"\ntarget = 0.5\n";
    deploy(&server, "cat", scale);
    let _calls = Calls::make(&server, 4);
    eventually("more than 1 call per second, 0.5 for each instance", || ready(&server) == 3);
    let metrics = metrics(&server);
    let series = "{tenant=\"default\",door=\"native\",function=\"f\"";
    assert!(metrics.contains(&format!("xebec_scaling_target{series},metric=\"rate\"}} 0.5\n")), "{metrics}");
    assert!(metrics.contains(&format!("xebec_scaling_load{series},metric=\"rate\"}} ")), "{metrics}");
    assert!(metrics.contains(&format!("xebec_instances_desired{series}}} 3\n")), "{metrics}");
}

#[test]
fn by_processor_time() {
    let server = Server::start();
    let scale = "[limits]\nconcurrency = 100\ntimeout = \"10m\"\n\
                 [scale]\nmax = 3\nmetric = \"cpu\"\ntarget = 10\n";
    deploy(&server, "while :; do :; done", scale);
    let _calls = Calls::make(&server, 1);
    eventually("it runs", || ready(&server) > 0);
    if seen(&server)["usage"]["memory_bytes"] == 0 {
        xebec_skipped::skipped!("no control group tells what an instance uses");
        return;
    }
    eventually("more than 20 thousandths of a core, 10 for each instance", || ready(&server) == 3);
    let usage = seen(&server)["usage"].clone();
    assert!(usage["cpu_seconds"].as_f64().unwrap() > 0.0, "{usage}");
    eventually("it is in the metrics", || {
        let metrics = metrics(&server);
        let line = metrics.lines().find(|line| line.starts_with("xebec_cpu_seconds_total{"));
        let used = line.and_then(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok());
        used.is_some_and(|seconds| seconds > 0.0)
    });
}

#[test]
fn by_what_waits_in_its_queue() {
    let server = Server::start();
    let scale = "[limits]\nconcurrency = 100\ntimeout = \"10m\"\n[async]\nconcurrency = 4\n\
                 [scale]\nmax = 3\nmetric = \"queue\"\ntarget = 2\n";
    deploy(&server, "sleep 600", scale);
    let url = format!("{}/xebec/v1/functions/f/invoke", server.url);
    for _ in 0..12 {
        let (status, _, body) = exchange("POST", &url, &[("x-xebec-async", "true")], b"");
        assert_eq!(status, 202, "{}", String::from_utf8_lossy(&body));
    }
    // Four run, which one instance has room for; eight wait.
    eventually("as many as there may be", || ready(&server) == 3);
    assert_eq!(seen(&server)["live"]["desired"], 3);
}

#[test]
fn wrong_values_are_explained() {
    let server = Server::start();
    for (scale, said) in [
        ("metric = \"cpu\"", "thousandths of a core"),
        ("target = 0.5", "scale.proportion"),
        ("metric = \"queue\"\ndown-window = \"1h\"", "scale.down-window"),
        ("metric = \"moon\"", "moon"),
    ] {
        let manifest =
            format!("name = \"f\"\nenvironment = \"exec\"\ncommand = [\"cat\"]\n[scale]\n{scale}\n");
        let folder = support::function(&manifest, &[("unused", "x")]);
        let output = server.cli(&["deploy", folder.path().to_str().unwrap()]);
        assert!(!output.status.success());
        assert!(text(&output).contains(said), "{scale}: {}", text(&output));
    }
}

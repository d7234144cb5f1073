//! Spans and metrics of the real binary, taken by a collector.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on panics")]

mod support;
// Others need not decode what is exported.
#[path = "support/collector.rs"]
mod collector;

use collector::{Collector, Told as _, attribute};
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use support::{
    Server, eventually, exchange, http, signal,
    sink::{Reply, Sink},
};

/// The trace that a caller is in.
const TRACE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
const TRACE_ID: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

/// A server that exports at once to this collector, told so by the standard variables.
fn exporting(collector: &Collector, more: &[(&str, &str)]) -> (Server, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let server = exporting_in(folder.path(), collector, more);
    (server, folder)
}

fn exporting_in(folder: &std::path::Path, collector: &Collector, more: &[(&str, &str)]) -> Server {
    let endpoint = collector.sink.url("");
    let mut variables = vec![
        ("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint.as_str()),
        ("OTEL_BSP_SCHEDULE_DELAY", "20"),
        ("OTEL_METRIC_EXPORT_INTERVAL", "100"),
        // However slow the machine: what is sent twice would be there twice.
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "60000"),
        ("OTEL_BSP_EXPORT_TIMEOUT", "60000"),
        ("NO_PROXY", "127.0.0.1"),
    ];
    variables.retain(|(name, _)| more.iter().all(|(other, _)| other != name));
    variables.extend(more);
    Server::try_start_as(&folder.join("data"), &[], &variables).unwrap_or_else(|log| panic!("{log}"))
}

/// A function that answers with what it was told in variables, the request's headers among it.
fn deploy_echo(server: &Server, name: &str) {
    let manifest = format!(
        "name = \"{name}\"\nenvironment = \"exec\"\ncommand = [\"env\"]\n[scale]\nkeep-alive = \"1h\"\n"
    );
    server.deploy(&manifest, &[("unused", "x")]);
}

fn deploy_script(server: &Server, name: &str, code: &str, more: &str) {
    let manifest = format!("name = \"{name}\"\nenvironment = \"exec\"\ncommand = [\"/app/run\"]\n{more}");
    server.deploy(&manifest, &[("run", &format!("#!/bin/sh\n{code}\n"))]);
}

/// Calls a function that answers with its variables; returns the trace context that it saw.
fn call(server: &Server, name: &str, headers: &[(&str, &str)]) -> String {
    let (status, body) = http("GET", &server.function(name), headers, b"");
    let body = String::from_utf8_lossy(&body).into_owned();
    assert_eq!(status, 200, "{body}");
    let seen = body.lines().find(|line| line.to_ascii_lowercase().starts_with("http_traceparent="));
    seen.and_then(|line| line.split_once('=')).unwrap_or_else(|| panic!("no context: {body}")).1.to_owned()
}

/// Calls a function until its span has arrived, which is the last one of a call.
fn wait_for(collector: &Collector, name: &str, count: usize) {
    eventually(&format!("{count} spans {name:?} arrive"), || collector.named(name).len() >= count);
}

const SERVER: &str = "GET /function/{*path}";

#[test]
fn a_call_is_one_trace_and_its_cold_start_is_in_it() {
    let collector = Collector::new();
    let more = [
        ("OTEL_SERVICE_NAME", "shop"),
        ("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment=test%20bed"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer%20t0ken"),
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip"),
    ];
    let (server, _folder) = exporting(&collector, &more);
    deploy_echo(&server, "echo");
    let seen = call(&server, "echo", &[("traceparent", TRACE), ("tracestate", "vendor=1")]);
    wait_for(&collector, SERVER, 1);
    let (request, wait, start, sent) = (
        collector.span(SERVER),
        collector.span("wait echo"),
        collector.span("start echo"),
        collector.span("call echo"),
    );
    assert!(request.is(SpanKind::Server) && wait.is(SpanKind::Internal) && sent.is(SpanKind::Client));
    assert!(request.traceparent().contains(TRACE_ID) && request.trace_state == "vendor=1");
    assert_eq!(request.parent_span_id, [0, 0xf0, 0x67, 0xaa, 0x0b, 0xa9, 0x02, 0xb7], "the caller's span");
    assert!(wait.is_below(&request) && start.is_below(&wait) && sent.is_below(&request));
    assert!(collector.span("start a sandbox").is_below(&start));
    assert!(collector.span("become ready").is_below(&start));
    assert_eq!(seen, sent.traceparent(), "the function is below the span of its call");
    for (name, value) in [
        ("http.request.method", "GET"),
        ("http.route", "/function/{*path}"),
        ("http.response.status_code", "200"),
        ("url.path", "/function/echo"),
        ("url.scheme", "http"),
        ("server.address", "127.0.0.1"),
        ("faas.name", "echo"),
        ("faas.trigger", "http"),
        ("faas.coldstart", "true"),
        ("xebec.outcome", "success"),
    ] {
        assert_eq!(request.told(name), value, "{name} of {request:?}");
    }
    assert_eq!(request.told("faas.invocation_id").len(), 36);
    assert!(
        collector
            .spans()
            .iter()
            .all(|span| !span.failed() && span.end_time_unix_nano >= span.start_time_unix_nano)
    );
    let resource = collector.resource().attributes;
    assert_eq!(attribute(&resource, "service.name").as_deref(), Some("shop"));
    assert_eq!(attribute(&resource, "deployment.environment").as_deref(), Some("test bed"));
    assert!(attribute(&resource, "service.instance.id").is_some());
    let arrived = &collector.taken("/v1/traces")[0];
    assert_eq!(arrived.header("authorization"), Some("Bearer t0ken"));

    // Warm, and nobody said anything of a trace: it begins one.
    let seen = call(&server, "echo", &[]);
    wait_for(&collector, SERVER, 2);
    let request = collector.named(SERVER).into_iter().find(|span| span.parent_span_id.is_empty()).unwrap();
    assert_eq!(request.told("faas.coldstart"), "false");
    let sent = collector.named("call echo").into_iter().find(|span| span.is_below(&request)).unwrap();
    assert_eq!(seen, sent.traceparent());
    assert_eq!(collector.named("start echo").len(), 1, "nothing had to be started");
}

#[test]
fn failures_are_told() {
    let collector = Collector::new();
    let (server, _folder) = exporting(&collector, &[]);
    deploy_script(&server, "bad", "exit 3", "");
    let manifest = "name = \"dead\"\nenvironment = \"http\"\ncommand = [\"/app/run\"]\n";
    server.deploy(manifest, &[("run", "#!/bin/sh\nexit 4\n")]);
    let (bad, _) = http("GET", &server.function("bad"), &[], b"");
    let (dead, _) = http("GET", &server.function("dead"), &[], b"");
    assert!(bad >= 500 && dead >= 500, "{bad} {dead}");
    wait_for(&collector, SERVER, 2);
    let requests = collector.named(SERVER);
    let of = |name: &str| requests.iter().find(|span| span.told("faas.name") == name).unwrap();
    assert!(of("bad").failed() && of("dead").failed());
    assert_eq!(of("bad").told("http.response.status_code"), bad.to_string());
    assert_eq!(of("dead").told("xebec.outcome"), "failed_init");
    let sent = collector.span("call bad");
    assert!(sent.failed() && sent.is_below(of("bad")) && !sent.told("error.type").is_empty());
    assert!(collector.named("call dead").is_empty(), "it was never sent");
    eventually("the start that failed is told", || !collector.named("start dead").is_empty());
    let start = collector.named("start dead").remove(0);
    assert!(start.failed() && start.status.unwrap().message.contains("before it took calls"));
}

#[test]
fn a_trace_goes_on_across_the_queue_and_a_kill() {
    let collector = Collector::new();
    let folder = tempfile::tempdir().unwrap();
    let sink = Sink::new();
    let server = exporting_in(folder.path(), &collector, &[]);
    let retry = "[async.retry]\nattempts = 100\nmin-wait = \"1s\"\nmax-wait = \"1s\"\n";
    deploy_script(&server, "later", "exit 1", retry);
    let url = format!("{}/xebec/v1/functions/later/invoke", server.url);
    let callback = sink.url("/done?token=secret");
    let wishes = [("x-xebec-async", "true"), ("x-xebec-callback", &*callback), ("traceparent", TRACE)];
    let (status, _, body) = exchange("POST", &url, &wishes, b"x");
    assert_eq!(status, 202, "{}", String::from_utf8_lossy(&body));
    wait_for(&collector, "process later", 1);
    wait_for(&collector, "enqueue later", 1);
    let enqueue = collector.span("enqueue later");
    let above = || collector.named("POST /xebec/v1/{*path}").into_iter().find(|span| enqueue.is_below(span));
    eventually("the request's span arrives", || above().is_some());
    server.kill();
    let server = exporting_in(folder.path(), &collector, &[]);
    deploy_script(&server, "later", "env", retry);
    eventually("the result arrives", || sink.count() == 1);
    wait_for(&collector, "POST", 1);
    let request = above().unwrap();
    assert!(request.traceparent().contains(TRACE_ID));
    assert!(enqueue.is(SpanKind::Producer));
    let id = enqueue.told("messaging.message.id");
    assert_eq!(request.told("faas.invocation_id"), id);
    let attempts = collector.named("process later");
    for attempt in &attempts {
        assert!(attempt.is_below(&enqueue) && attempt.is(SpanKind::Consumer), "{attempt:?}");
        assert_eq!(
            (attempt.told("faas.invocation_id"), attempt.told("faas.trigger")),
            (id.clone(), "pubsub".into())
        );
    }
    assert!(attempts[0].failed() && attempts[0].told("xebec.attempt") == "1", "{:?}", attempts[0]);
    let well: Vec<_> = attempts.iter().filter(|attempt| !attempt.failed()).collect();
    assert_eq!(well.len(), 1, "{attempts:?}");
    assert!(collector.named("call later").iter().any(|span| span.is_below(well[0])));
    let post = collector.span("POST");
    assert!(post.is_below(well[0]) && post.is(SpanKind::Client));
    assert_eq!(post.told("url.full"), sink.url("/done"), "what may be secret is left out");
    assert_eq!(sink.arrived()[0].header("traceparent"), Some(post.traceparent().as_str()));
    drop(server);
}

#[test]
fn a_schedule_begins_a_trace() {
    let collector = Collector::new();
    let (server, _folder) = exporting(&collector, &[]);
    deploy_echo(&server, "tick");
    server.ok(&["schedule", "create", "often", "--function", "tick", "--every", "1s"]);
    wait_for(&collector, "process tick", 1);
    wait_for(&collector, "enqueue tick", 1);
    let attempt = collector.named("process tick").remove(0);
    let enqueued = collector.named("enqueue tick");
    let enqueue = enqueued.iter().find(|span| attempt.is_below(span)).unwrap();
    assert!(enqueue.parent_span_id.is_empty(), "nobody called");
    assert_eq!(
        (enqueue.told("faas.trigger"), enqueue.told("xebec.schedule")),
        ("timer".into(), "often".into())
    );
    assert_eq!(attempt.told("faas.trigger"), "timer");
}

#[test]
fn callers_and_the_sampler_decide_what_is_recorded() {
    let collector = Collector::new();
    let none = [("OTEL_TRACES_SAMPLER", "parentbased_traceidratio"), ("OTEL_TRACES_SAMPLER_ARG", "0")];
    let (server, _folder) = exporting(&collector, &none);
    deploy_echo(&server, "echo");
    let seen = call(&server, "echo", &[]);
    assert!(seen.ends_with("-00"), "{seen}");
    let unsampled = TRACE.replace("-01", "-00");
    assert_eq!(call(&server, "echo", &[("traceparent", &unsampled)]), unsampled);
    call(&server, "echo", &[("traceparent", TRACE)]);
    wait_for(&collector, SERVER, 1);
    assert!(
        collector.spans().iter().all(|span| span.traceparent().contains(TRACE_ID)),
        "{:?}",
        collector.names()
    );
    drop(server);

    let half = [("OTEL_TRACES_SAMPLER", "traceidratio"), ("OTEL_TRACES_SAMPLER_ARG", "0.5")];
    let collector = Collector::new();
    let (server, _folder) = exporting(&collector, &half);
    deploy_echo(&server, "echo");
    // The share is decided by the lowest bits of the trace's id, whatever the caller says.
    let high = "00-4bf92f3577b34da6f3ce929d0e0e4736-00f067aa0ba902b7-01";
    let low = "00-4bf92f3577b34da613ce929d0e0e4736-00f067aa0ba902b7-00";
    assert!(call(&server, "echo", &[("traceparent", high)]).ends_with("-00"));
    assert!(call(&server, "echo", &[("traceparent", low)]).ends_with("-01"));
    wait_for(&collector, SERVER, 1);
    // Of the requests that deployed it, half began a trace that is recorded, too.
    let has = |context: &str| collector.spans().iter().any(|span| span.traceparent()[..35] == context[..35]);
    assert!(has(low) && !has(high), "{:?}", collector.names());
}

#[test]
fn metrics_are_what_is_shown() {
    let collector = Collector::new();
    let only = [("OTEL_TRACES_EXPORTER", "none")];
    let (server, _folder) = exporting(&collector, &only);
    deploy_echo(&server, "echo");
    for _ in 0..3 {
        assert_eq!(http("GET", &server.function("echo"), &[], b"").0, 200);
    }
    eventually("the durations of requests arrive", || {
        collector.count("http.server.request.duration", "http.route", "/function/{*path}") == 3
    });
    eventually("the durations of calls arrive", || {
        collector.count("faas.invoke_duration", "faas.name", "echo") == 3
    });
    eventually("our own arrive", || {
        collector.count("xebec_invocation_duration_seconds", "function", "echo") == 3
    });
    assert_eq!(collector.metric("http.server.request.duration").unwrap().unit, "s");
    assert!(collector.metric("process_resident_memory_bytes").is_some());
    assert!(collector.metric("gateway_function_invocation_total").is_some());
    let (_, shown) = http("GET", &format!("{}/metrics", server.url), &[], b"");
    let shown = String::from_utf8(shown).unwrap();
    assert!(shown.contains("http_server_request_duration_seconds_count{"), "{shown}");
    assert!(collector.taken("/v1/traces").is_empty(), "spans were not wanted");
}

#[test]
fn what_waits_is_sent_before_the_end() {
    let collector = Collector::new();
    let late = [("OTEL_BSP_SCHEDULE_DELAY", "86400000"), ("OTEL_METRIC_EXPORT_INTERVAL", "86400000")];
    let (mut server, _folder) = exporting(&collector, &late);
    deploy_echo(&server, "echo");
    call(&server, "echo", &[]);
    assert_eq!(collector.sink.count(), 0);
    server.terminate();
    assert!(server.wait().success(), "{}", server.log());
    assert!(collector.names().contains(&"call echo".to_owned()), "{:?}", collector.names());
    assert_eq!(collector.count("faas.invoke_duration", "faas.name", "echo"), 1);
}

/// Calls a function many times, each of which must succeed, until something was dropped for that reason.
fn until_dropped(server: &Server, reason: &str) {
    let series = format!("xebec_telemetry_dropped_total{{signal=\"spans\",reason=\"{reason}\"}} ");
    eventually("something is dropped", || {
        call(server, "echo", &[]);
        let (_, shown) = http("GET", &format!("{}/metrics", server.url), &[], b"");
        let shown = String::from_utf8(shown).unwrap();
        let line = shown.lines().find_map(|line| line.strip_prefix(&*series));
        line.unwrap_or_else(|| panic!("no {series}in {shown}")) != "0"
    });
}

/// A queue that is full at once, and little patience.
const SMALL: [(&str, &str); 4] = [
    ("OTEL_BSP_MAX_QUEUE_SIZE", "8"),
    ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "4"),
    ("OTEL_BSP_EXPORT_TIMEOUT", "300"),
    ("OTEL_EXPORTER_OTLP_TIMEOUT", "100"),
];

#[test]
fn a_collector_that_hangs_holds_up_nobody() {
    let collector = Collector::with(|_, _| Reply::Hang(support::PATIENCE));
    let patient =
        [SMALL[0], SMALL[1], ("OTEL_BSP_EXPORT_TIMEOUT", "60000"), ("OTEL_EXPORTER_OTLP_TIMEOUT", "60000")];
    let (mut server, _folder) = exporting(&collector, &patient);
    deploy_echo(&server, "echo");
    until_dropped(&server, "queue_full");
    // It is not waited for at the end either, for longer than a few seconds.
    server.terminate();
    assert!(server.wait().success(), "{}", server.log());
    let collector = Collector::with(|_, _| Reply::Hang(support::PATIENCE));
    let (server, _folder) = exporting(&collector, &SMALL);
    deploy_echo(&server, "echo");
    until_dropped(&server, "late");
    eventually("the log says so", || server.log().contains("instead of being exported"));
}

#[test]
fn a_collector_that_is_away_or_talks_nonsense_harms_nobody() {
    for endpoint in ["http://127.0.0.1:1", "http://does-not-exist.invalid:4318"] {
        let away = [SMALL[0], SMALL[1], SMALL[2], SMALL[3], ("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint)];
        let (server, _folder) = exporting(&Collector::new(), &away);
        deploy_echo(&server, "echo");
        until_dropped(&server, "late");
    }
    let reset = Collector::with(|_, _| Reply::Reset);
    let (server, _folder) = exporting(&reset, &SMALL);
    deploy_echo(&server, "echo");
    until_dropped(&server, "late");
    let garbage = Collector::with(|_, _| Reply::Raw(b"SSH-2.0-OpenSSH_9.2\r\n\0\xff\xff".to_vec()));
    let (server, _folder) = exporting(&garbage, &SMALL);
    deploy_echo(&server, "echo");
    until_dropped(&server, "late");
    // It says that it took them, with a body that is none of OTLP.
    let odd = Collector::with(|_, _| {
        Reply::Raw(
            b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\nconnection: close\r\n\r\n\xff\xff\xff\xff".to_vec(),
        )
    });
    let (server, _folder) = exporting(&odd, &[]);
    deploy_echo(&server, "echo");
    call(&server, "echo", &[]);
    wait_for(&odd, SERVER, 1);
}

#[test]
fn refused_ones_are_counted() {
    let collector = Collector::with(|_, _| Reply::Status(400, String::new()));
    let (server, _folder) = exporting(&collector, &[]);
    deploy_echo(&server, "echo");
    until_dropped(&server, "refused");
    // A partial success: one span of each message.
    let partial = Collector::with(|_, _| {
        Reply::Raw(
            b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\nconnection: close\r\n\r\n\x0a\x02\x08\x01".to_vec(),
        )
    });
    let (server, _folder) = exporting(&partial, &[]);
    deploy_echo(&server, "echo");
    until_dropped(&server, "refused");
}

#[test]
fn a_collector_that_asks_for_patience_gets_all() {
    let busy = |number: usize, _: &support::sink::Arrived| match number {
        0 => Reply::Status(429, "retry-after: 1\r\n".to_owned()),
        1 => Reply::Status(503, String::new()),
        2 => Reply::Status(502, "retry-after: 0\r\n".to_owned()),
        _ => Reply::Status(200, String::new()),
    };
    let collector = Collector::with(busy);
    let patient = [("OTEL_METRICS_EXPORTER", "none"), ("OTEL_BSP_EXPORT_TIMEOUT", "60000")];
    let (server, _folder) = exporting(&collector, &patient);
    deploy_echo(&server, "echo");
    call(&server, "echo", &[]);
    wait_for(&collector, SERVER, 1);
    wait_for(&collector, "call echo", 1);
    let (_, shown) = http("GET", &format!("{}/metrics", server.url), &[], b"");
    let shown = String::from_utf8(shown).unwrap();
    for line in shown.lines().filter(|line| line.starts_with("xebec_telemetry_dropped_total")) {
        assert!(line.ends_with(" 0"), "{line}");
    }
}

#[test]
fn the_file_says_it_too_and_what_is_wrong_is_refused() {
    let collector = Collector::new();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("xebec.toml");
    let text = format!("[telemetry]\nendpoint = \"{}\"\nservice-name = \"filed\"\n", collector.sink.url(""));
    std::fs::write(&file, text).unwrap();
    let (data, config) = (folder.path().join("data"), file.to_str().unwrap());
    let now = [("OTEL_BSP_SCHEDULE_DELAY", "20"), ("NO_PROXY", "127.0.0.1")];
    let server = Server::try_start_as(&data, &["--config", config], &now).unwrap();
    deploy_echo(&server, "echo");
    call(&server, "echo", &[]);
    wait_for(&collector, SERVER, 1);
    assert_eq!(attribute(&collector.resource().attributes, "service.name").as_deref(), Some("filed"));
    server.kill();
    let wrong = [("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")];
    let said = Server::try_start_as(&data, &["--config", config], &wrong).err().unwrap();
    assert!(
        said.contains("OTEL_EXPORTER_OTLP_PROTOCOL must be http/protobuf") && said.contains("4318"),
        "{said}"
    );
    std::fs::write(&file, "[telemetry]\nendpoint = \"collector:4318\"\n").unwrap();
    let said = Server::try_start_as(&data, &["--config", config], &[]).err().unwrap();
    assert!(said.contains("[telemetry] endpoint"), "{said}");
    let missing =
        [("OTEL_EXPORTER_OTLP_ENDPOINT", "https://127.0.0.1:1"), ("OTEL_EXPORTER_OTLP_CERTIFICATE", "/none")];
    let said = Server::try_start_as(&data, &[], &missing).err().unwrap();
    assert!(said.contains("/none") && said.contains("XB6061"), "{said}");
}

#[test]
fn memory_stays_bounded_while_nobody_takes_anything() {
    let few = [
        ("OTEL_BSP_MAX_QUEUE_SIZE", "256"),
        ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "64"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "60000"),
        ("OTEL_BSP_EXPORT_TIMEOUT", "60000"),
    ];
    let collector = Collector::with(|_, _| Reply::Hang(support::PATIENCE));
    let (server, _folder) = exporting(&collector, &few);
    deploy_echo(&server, "echo");
    let resident = || {
        let status = std::fs::read_to_string(format!("/proc/{}/status", server.pid())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
        line.split_ascii_whitespace().nth(1).unwrap().parse::<u64>().unwrap()
    };
    let flood = |times: u32| {
        support::block_on(async {
            let client = reqwest::Client::builder().no_proxy().build().unwrap();
            for _ in 0..times {
                // No such function: a span without a process for each.
                let request = client.get(format!("{}/function/none/{}", server.url, "x".repeat(1000)));
                let sent = request.header("user-agent", "y".repeat(1000)).send().await.unwrap();
                assert_eq!(sent.status(), 404);
            }
        });
    };
    flood(400);
    let before = resident();
    flood(4000);
    let after = resident();
    // So many more spans of two KiB and more each would be ten MiB.
    assert!(after < before + 6 * 1024, "{before} KiB became {after} KiB");
    signal(server.pid(), "KILL");
}

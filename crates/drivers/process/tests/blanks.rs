//! Blanks: workers started ahead, made instances later.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]

mod support;

use std::time::Duration;
use support::{Function, Place};
use xebec_core::ports::driver::Driver as _;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn blanks_become_functions() {
    let Some(place) = Place::launch().await else { return };
    for (environment, function) in [
        (
            "python",
            Function::python(
                "import os\nprint('loading')\ndef handle(req):\n    print('called')\n    return req + os.environ['A'] + os.getcwd()",
            ),
        ),
        (
            "node",
            Function::node(
                "console.log('loading')\nmodule.exports = e => { console.log('called'); return e.body + process.env.A + process.cwd() }",
            ),
        ),
    ] {
        let Some(environment) = place.environment(environment) else { continue };
        let blank = place.driver.start_blank(environment.clone()).await.unwrap();
        assert!(blank.inner.alive());
        let function = function.variable("A", "1").limits(|limits| limits.memory_bytes = Some(200 << 20));
        let deployed = place.deploy(&function).await.unwrap();
        let open = place.open_blank(blank, &deployed).await;
        assert_eq!(open.call("x").await, (200, "x1/app".to_owned()));
        open.lines.wait_for("loading\ncalled").await;
        open.io.destroy().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_limits_of_the_function_hold_in_a_blank() {
    let Some(place) = Place::launch().await else { return };
    let Some(environment) = place.environment("python") else { return };
    let source = "def handle(req):\n    return str(len(bytearray(int(req) << 20)))";
    let function = Function::python(source).limits(|limits| limits.memory_bytes = Some(128 << 20));
    let deployed = place.deploy(&function).await.unwrap();
    let open = place.open_blank(place.driver.start_blank(environment).await.unwrap(), &deployed).await;
    assert_eq!(open.call("10").await.0, 200);
    let killed = match open.try_call("400").await {
        Ok((status, _)) => status == 500 && open.lines.text().contains("MemoryError"),
        Err(_) => open.io.exited().await.out_of_memory,
    };
    assert!(killed);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_blank_cannot_become_is_started_anew() {
    let Some(place) = Place::launch().await else { return };
    let Some(environment) = place.environment("python") else { return };
    let blank = place.driver.start_blank(environment).await.unwrap();
    // `MALLOC_…` is read before any code of the worker's runs.
    let function = Function::python("def handle(req):\n    import os\n    return open('/proc/self/environ').read().count('MALLOC_ARENA_MAX=1')")
        .variable("MALLOC_ARENA_MAX", "1");
    let deployed = place.deploy(&function).await.unwrap();
    assert_eq!(place.open_blank(blank, &deployed).await.call("").await, (200, "1".to_owned()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn code_that_cannot_be_loaded_in_a_blank_ends_it_with_its_trace() {
    let Some(place) = Place::launch().await else { return };
    let Some(environment) = place.environment("python") else { return };
    let deployed = place.deploy(&Function::python("import nothing_of_this_name")).await.unwrap();
    let blank = place.driver.start_blank(environment).await.unwrap();
    let (start, lines) = place.start(&deployed);
    let io = place.driver.specialize(blank, start).await.unwrap();
    let exit = tokio::time::timeout(support::PATIENCE, io.exited()).await.unwrap();
    assert_eq!(exit.code, Some(1));
    assert!(lines.text().contains("No module named 'nothing_of_this_name'"), "{}", lines.text());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dropped_blank_is_gone() {
    let Some(place) = Place::launch_with(|options| options.blank_time = Duration::from_secs(50)).await else {
        return;
    };
    let Some(environment) = place.environment("python") else { return };
    let blanks = [
        place.driver.start_blank(environment.clone()).await.unwrap(),
        place.driver.start_blank(environment).await.unwrap(),
    ];
    assert!(blanks.iter().all(|blank| blank.inner.alive()));
    drop(blanks);
    place.driver.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn python_is_forked_where_it_can_be() {
    let Some(place) = Place::launch().await else { return };
    let Some(environment) = place.environment("python") else { return };
    // A fork still has the command line of its zygote, which found the workers on the host.
    let source = "import os, sys, json, random\ndef handle(req):\n    return json.dumps([\n        \
                  '/opt/xebec/runtimes' in open('/proc/self/cmdline').read(), random.random(), os.getuid(),\n        \
                  sorted(os.listdir('/proc/self/fd')), [k for k in os.environ if k.startswith('XEBEC')]])";
    let deployed = place.deploy(&Function::python(source)).await.unwrap();
    let mut seen = Vec::new();
    for _ in 0..3 {
        let blank = place.driver.start_blank(environment.clone()).await.unwrap();
        let open = place.open_blank(blank, &deployed).await;
        let (status, answer) = open.call("").await;
        assert_eq!(status, 200);
        let answer: serde_json::Value = serde_json::from_str(&answer).unwrap();
        let forked = answer[0] == false;
        if !forked {
            xebec_skipped::skipped!("there is no zygote on this machine");
            return;
        }
        assert_ne!(answer[2], 0, "{answer}");
        assert!(answer[3].as_array().unwrap().len() < 12, "descriptors came along: {answer}");
        assert_eq!(answer[4], serde_json::json!([]));
        seen.push(answer[1].clone());
        open.io.destroy().await;
    }
    seen.dedup();
    assert_eq!(seen.len(), 3, "forks have the same random numbers: {seen:?}");
}

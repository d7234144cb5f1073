//! Functions as containers of a real engine: what they get, what they see, what holds them.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]

mod support;

use bytes::Bytes;
use std::{path::Path, time::Duration};
use support::{Function, GUEST, Place, engine::TestEngine, image::Image};
use xebec_core::{
    log::LogStream,
    ports::{
        driver::Driver as _,
        instance::{Command, Endpoint, IoError},
    },
};
use xebec_driver_docker::{DefaultLimits, Reach};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cold_then_warm() {
    let Some(place) = Place::launch().await else { return };
    let open = place.run(&Function::guest()).await;
    assert_eq!(open.call("/", "hello").await, (200, "hello".to_owned()));
    let began = std::time::Instant::now();
    for _ in 0..20 {
        assert_eq!(open.call("/", "again").await.1, "again");
    }
    let warm = began.elapsed() / 20;
    println!("cold start {:?}, warm call {warm:?}, memory {:?}", open.took, open.io.usage().await);
    assert!(warm < open.took, "a warm call took {warm:?}, the cold start {:?}", open.took);
    open.lines.wait_for(LogStream::Stdout, "serving on 8080").await;
    if let Some(first) = open.io.usage().await {
        assert!(first.memory_bytes > 64 << 10 && !first.cpu.is_zero(), "{first:?}");
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
        while open.io.usage().await.is_none_or(|usage| usage.cpu <= first.cpu) {
            assert!(std::time::Instant::now() < deadline, "calls take no time: {first:?}");
            open.call("/", "again").await;
        }
    }
    open.io.destroy().await;
    assert_eq!(open.io.usage().await, None);
    assert!(!open.io.exited().await.out_of_memory);
    assert!(matches!(open.io.connect(&Endpoint::Port(8080)).await, Err(IoError::Exited(_))));
    place.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_port_and_a_path_that_says_ready() {
    let Some(place) = Place::launch().await else { return };
    let function = Function::guest().change(|spec| {
        spec.contract.options.insert("port".into(), 3000.into());
        spec.contract.options.insert("ready_path".into(), "/slow/1".into());
        spec.variables.insert("PORT".into(), "3000".into());
        spec.variables.insert("GUEST_WAIT_MS".into(), "300".into());
    });
    let open = place.run(&function).await;
    assert_eq!(open.call("/", "x").await.1, "x");
    assert!(open.took >= Duration::from_millis(300), "{:?}", open.took);
    place.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn through_a_published_port() {
    let Some(place) = Place::launch_with(|options| options.reach = Reach::Published).await else { return };
    let function = Function::guest().secret("/run/secrets/a", b"sent").change(|spec| {
        spec.variables.insert("GUEST_WAIT_MS".into(), "400".into());
    });
    let open = place.run(&function).await;
    assert_eq!(open.call("/file/run/secrets/a", "").await, (200, "sent".to_owned()));
    let read_only = function.change(|spec| spec.read_only_root = true);
    let error = place.deploy(&read_only).await.map(drop).unwrap_err();
    assert!(error.code == "XB3001" && error.message.starts_with("secrets:"), "{error}");
    // The engine's proxy takes connections long before anybody listens behind it.
    assert!(open.took >= Duration::from_millis(400), "{:?}", open.took);
    assert_eq!(open.call("/", "x").await, (200, "x".to_owned()));
    assert!(matches!(open.io.connect(&Endpoint::Port(9)).await, Err(IoError::Unsupported { .. })));
    place.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn variables_and_command() {
    let Some(place) = Place::launch().await else { return };
    let open = place
        .run(&Function::guest().change(|spec| {
            spec.variables.insert("GREETING".into(), "a = b\nä".into());
        }))
        .await;
    assert_eq!(open.call("/env", "GREETING").await, (200, "a = b\nä".to_owned()));
    assert_eq!(open.call("/env", "HOME").await.0, 200);
    let error =
        match place.try_open(&place.deploy(&Function::guest().command(&["/nothing"])).await.unwrap()).await {
            Err((error, _)) => error,
            Ok(_) => panic!("a program that is not there was started"),
        };
    assert!(error.contains("/nothing"), "{error}");
    place.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn secrets_are_files_and_nothing_else() {
    let Some(place) = Place::launch().await else { return };
    let function = Function::guest()
        .secret("/var/openfaas/secrets/a", b"first")
        .secret("/run/secrets/b", b"second\0\xff")
        .change(|spec| spec.read_only_root = true);
    let open = place.run(&function).await;
    assert_eq!(open.call("/file/var/openfaas/secrets/a", "").await, (200, "first".to_owned()));
    assert_eq!(open.call("/file/run/secrets/b", "").await.1, "second\0\u{fffd}");
    assert_eq!(open.call("/write/run/secrets/b", "changed").await.0, 500);
    let docker = TestEngine::shared().await.unwrap().docker().await;
    let name = format!("xebec-{}-{}", place.installation(), open.io.id());
    let seen =
        docker.inspect_container(&name, None::<bollard::query_parameters::InspectContainerOptions>).await;
    let seen = format!("{:?}", seen.unwrap());
    assert!(!seen.contains("first") && !seen.contains("second"));
    open.io.destroy().await;
    let left = walk(place.secrets.path());
    assert!(left.iter().all(|path| !path.is_file()), "{left:?}");
    place.end().await;
}

/// All below a folder.
fn walk(folder: &Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(walk(&path));
        }
        found.push(path);
    }
    found
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_may_be_written() {
    let Some(place) = Place::launch().await else { return };
    let open = place.run(&Function::guest().change(|spec| spec.read_only_root = true)).await;
    assert_eq!(open.call("/write/tmp/a", "x").await.0, 200);
    let (status, error) = open.call("/write/a", "x").await;
    assert!(status == 500 && error.contains("Read-only"), "{error}");
    assert!(open.io.write_file(Path::new("/etc/x"), Bytes::from_static(b"x")).await.is_err());

    let open = place.run(&Function::guest()).await;
    assert_eq!(open.call("/write/a", "x").await.0, 200);
    open.io.write_file(Path::new("/etc/x"), Bytes::from_static(b"brought")).await.unwrap();
    assert_eq!(open.call("/file/etc/x", "").await.1, "brought");

    let scratch = Function::guest().change(|spec| spec.limits.scratch_bytes = Some(1 << 20));
    let open = place.run(&scratch).await;
    let (status, error) = open.call("/write/tmp/a", &"x".repeat(2 << 20)).await;
    assert!(status == 500 && error.contains("No space"), "{error}");
    place.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn limits_as_they_are_seen_inside() {
    let Some(place) = Place::launch().await else { return };
    let function = Function::guest().change(|spec| {
        spec.limits.processes = Some(20);
        spec.limits.cpu_millis = Some(100);
    });
    let open = place.run(&function).await;
    let started: usize = open.call("/threads/50", "").await.1.parse().unwrap();
    assert!((2..20).contains(&started), "{started} threads under a limit of 20");
    // A tenth of a core: nine tenths of the time it is held back.
    let run: u64 = open.call("/spin/1000", "").await.1.parse().unwrap();
    assert!(run < 500, "{run} ms of a second were run under a limit of 100");
    place.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_given_that_was_not_asked_for() {
    let Some(place) = Place::launch().await else { return };
    let open = place.run(&Function::guest()).await;
    let status = open.call("/file/proc/self/status", "").await.1;
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
        line.trim_start_matches(':').trim().to_owned()
    };
    for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
        assert_eq!(u64::from_str_radix(&field(set), 16).unwrap(), 0, "{set}");
    }
    assert_eq!((field("NoNewPrivs").as_str(), field("Seccomp").as_str()), ("1", "2"));
    // The image did not say who to be.
    assert!(field("Uid").starts_with('0'));
    let report = place.driver.report();
    assert!(report.usable && !report.shares_host_network);
    let enforced = |name: &str| report.features.iter().find(|f| f.name == name).unwrap().enforced;
    for name in ["memory limit", "process limit", "system call filter", "secrets in memory only"] {
        assert!(enforced(name), "{name}");
    }
    assert!(!enforced("own user") && !enforced("host apart from functions"));
    place.end().await;

    let as_app = |options: &mut xebec_driver_docker::DockerOptions| {
        options.user = Some("1000:1000".to_owned());
        options.capabilities = vec!["NET_BIND_SERVICE".to_owned()];
    };
    let Some(place) = Place::launch_with(as_app).await else { return };
    let open = place.run(&Function::guest().secret("/run/secrets/a", b"mine")).await;
    let status = open.call("/file/proc/self/status", "").await.1;
    assert!(status.contains("Uid:\t1000\t1000") && status.contains("CapBnd:\t0000000000000400"), "{status}");
    assert_eq!(open.call("/file/run/secrets/a", "").await.1, "mine");
    place.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_image_s_own_user_and_stop_signal() {
    let Some(place) = Place::launch().await else { return };
    let docker = TestEngine::shared().await.unwrap().docker().await;
    Image { user: "app", stop_signal: "SIGKILL", ..Image::named("xebec-tests/own:1") }.load(&docker).await;
    let open = place.run(&Function::of("xebec-tests/own:1")).await;
    assert!(open.call("/file/proc/self/status", "").await.1.contains("Uid:\t1000\t1000"));
    open.session.close(Duration::from_secs(10)).await;
    assert_eq!(open.io.exited().await.signal, Some(9));
    place.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lines_come_as_they_are_printed() {
    let Some(place) = Place::launch().await else { return };
    let open = place.run(&Function::guest()).await;
    open.call("/print/one", "").await;
    open.lines.wait_for(LogStream::Stdout, "one").await;
    open.lines.wait_for(LogStream::Stderr, "one as an error").await;
    for number in 0..200 {
        open.call(&format!("/print/{number}"), "").await;
    }
    open.lines.wait_for(LogStream::Stdout, "199").await;
    open.lines.wait_for(LogStream::Stderr, "199 as an error").await;
    let count = open.lines.0.lock().len();
    assert_eq!(count, 1 + 2 * 201, "none is missing and none comes twice");
    place.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_in_flight_ends_before_the_stop() {
    let Some(place) = Place::launch().await else { return };
    let open = place.run(&Function::guest()).await;
    let (call, ()) = tokio::join!(open.call("/slow/500", ""), async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        open.session.close(Duration::from_secs(20)).await;
    });
    assert_eq!(call, (200, "late".to_owned()));
    assert!(open.io.exited().await.is_success());
    open.lines.wait_for(LogStream::Stdout, "told to stop").await;

    let stubborn = Function::guest().change(|spec| {
        spec.variables.insert("GUEST_TERM".into(), "ignore".into());
    });
    let open = place.run(&stubborn).await;
    open.session.close(Duration::from_millis(300)).await;
    open.io.destroy().await;
    assert_eq!(open.io.exited().await.signal, Some(9));
    place.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_driver_cannot() {
    let Some(place) = Place::launch_with(|options| {
        options.default_limits = DefaultLimits { memory_bytes: 64 << 20, ..DefaultLimits::default() };
    })
    .await
    else {
        return;
    };
    let refused = |change: fn(&mut xebec_core::revision::RevisionSpec)| Function::of(GUEST).change(change);
    for (function, field) in [
        (refused(|spec| spec.handler = Some("x".into())), "handler:"),
        (refused(|spec| spec.limits.memory_bytes = Some(1)), "limits.memory_bytes:"),
        (Function::of("Not A Name"), "image:"),
        (Function::guest().secret("relative", b""), "secrets.s0.path:"),
    ] {
        let error = place.deploy(&function).await.map(drop).unwrap_err();
        assert!(error.code == "XB3001" && error.message.starts_with(field), "{error}");
    }
    let open = place.run(&Function::guest()).await;
    let socket = Endpoint::Socket("/run/x".into());
    assert!(matches!(open.io.connect(&socket).await, Err(IoError::Unsupported { .. })));
    assert!(matches!(open.io.spawn(Command::default()).await, Err(IoError::Unsupported { .. })));
    assert!(open.io.take_stdio().is_none());
    assert!(
        place.driver.start_blank(place.deploy(&Function::guest()).await.unwrap().environment).await.is_err()
    );
    place.end().await;
}

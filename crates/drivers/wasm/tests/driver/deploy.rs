//! What is deployed: accepted or refused, compiled once, found again, collected.

use crate::guest::{COMMAND, HELLO, Host, environment, post, revision, text};
use bytes::Bytes;
use std::{
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};
use xebec_conformance::small_disk::{fill, on_small_disk};
use xebec_core::{
    ports::driver::Driver as _,
    revision::{ContractSpec, Revision, RevisionSpec, SecretMount},
    workload::Workload,
};
use xebec_driver_wasm::{WasmDriver, WasmOptions};

type Change<'a> = &'a dyn Fn(&mut RevisionSpec);

fn hello(change: impl FnOnce(&mut RevisionSpec)) -> (Bytes, Revision) {
    let code = Bytes::from_static(HELLO.as_bytes());
    let revision = revision(&code, change);
    (code, revision)
}

#[tokio::test]
async fn what_cannot_be_honoured_is_refused_by_name() {
    let host = Host::new();
    let secret = |path: &str| SecretMount {
        name: "password".to_owned(),
        version: 1,
        path: Some(path.to_owned()),
        variable: None,
    };
    let network = |spec: &mut RevisionSpec| {
        spec.contract.options.insert("network".to_owned(), true.into());
    };
    let refused = |change: &dyn Fn(&mut RevisionSpec)| {
        host.driver.accepts(&hello(change).1, &environment()).err().map(|error| (error.code, error.message))
    };
    assert_eq!(refused(&|_| {}), None);
    assert_eq!(refused(&|spec| spec.secrets = vec![secret("/run/secrets/password")]), None);
    let changes: [(&str, Change<'_>); 5] = [
        ("workload", &|spec| spec.workload = Workload::image("alpine")),
        ("contract", &|spec| spec.contract = ContractSpec::named("http")),
        ("limits.cpu_millis", &|spec| spec.limits.cpu_millis = Some(100)),
        ("secrets", &|spec| spec.secrets = vec![secret("password")]),
        ("contract.options.network", &network),
    ];
    for (field, change) in changes {
        let (code, message) = refused(change).unwrap();
        assert_eq!(code, "XB3001", "{field}");
        assert!(message.starts_with(field), "{message}");
    }
    let mut open = environment();
    open.contract.options.insert("network".to_owned(), true.into());
    assert!(host.driver.accepts(&hello(network).1, &open).is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_fitting_component_is_refused_at_deploy_time() {
    let host = Host::new();
    let stdio = |spec: &mut RevisionSpec| spec.contract = ContractSpec::named("stdio");
    let greedy = HELLO.replace(r#"(memory (export "memory") 2)"#, r#"(memory (export "memory") 4096)"#);
    let unknown = r#"(component (import "acme:rockets/launch@1.0.0" (instance (export "go" (func)))))"#;
    let cases: [(&str, Change<'_>, &str); 6] = [
        ("not wasm at all", &|_| {}, "neither"),
        ("(component (export \"x\" (func 0)))", &|_| {}, "unknown func"),
        (unknown, &|_| {}, "acme:rockets/launch"),
        (HELLO, &stdio, "wasi-http"),
        (COMMAND, &|_| {}, "stdio"),
        (&greedy, &|_| {}, "256 MiB"),
    ];
    for (code, change, said) in cases {
        let code = Bytes::copy_from_slice(code.as_bytes());
        let error = host.prepare(&revision(&code, change), &code).await.unwrap_err();
        assert_eq!(error.code, "XB3002", "{error}");
        assert!(error.to_string().contains(said), "{said:?} is not in: {error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn compiling_happens_once() {
    let host = Host::new();
    let (code, first) = hello(|_| {});
    let steps = host.prepare(&first, &code).await.unwrap();
    assert!(steps[0].starts_with("compiling ") && steps[1].starts_with("compiled in "), "{steps:?}");
    assert!(host.prepare(&first, &code).await.unwrap().is_empty());
    let (_, second) = hello(|spec| drop(spec.variables.insert("A".to_owned(), "b".to_owned())));
    assert_ne!(first.digest, second.digest);
    assert!(host.prepare(&second, &code).await.unwrap().is_empty(), "the same code is compiled once");
    let mode = std::fs::metadata(host.directory.path().join("wasm")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_code_deployed_twice_at_once_is_compiled_once() {
    let host = Host::new();
    let (code, revision) = hello(|_| {});
    let (one, two) = tokio::join!(host.prepare(&revision, &code), host.prepare(&revision, &code));
    assert_eq!(one.unwrap().len() + two.unwrap().len(), 2);
}

/// The compiled files.
fn compiled(host: &Host) -> Vec<PathBuf> {
    let files = std::fs::read_dir(host.directory.path().join("wasm")).unwrap();
    files
        .map(|file| file.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == "cwasm"))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_prepared_survives_a_restart_and_a_newer_engine() {
    let mut host = Host::new();
    let (code, revision) = hello(|_| {});
    assert_eq!(host.start(&revision).await.err().unwrap().code, "XB3005", "nothing is prepared yet");
    host.prepare(&revision, &code).await.unwrap();

    host.driver = WasmDriver::new(WasmOptions::new(host.directory.path()));
    let began = SystemTime::now();
    let running = host.start(&revision).await.unwrap();
    assert!(text(running.io.request(post("/", "ahoy")).await.unwrap()).await.ends_with("ahoy"));
    assert!(std::fs::metadata(&compiled(&host)[0]).unwrap().modified().unwrap() < began);

    // Another engine does not find a file of its own; and one that is not compiled code is not run.
    for rubbish in [false, true] {
        let file = compiled(&host).remove(0);
        std::fs::remove_file(&file).unwrap();
        if rubbish {
            std::fs::write(&file, b"rubbish").unwrap();
        }
        host.driver = WasmDriver::new(WasmOptions::new(host.directory.path()));
        assert_eq!(host.start(&revision).await.err().unwrap().code, "XB3005");
        assert_eq!(host.prepare(&revision, &code).await.unwrap().len(), 2, "it is compiled again");
        assert!(host.start(&revision).await.is_ok());
    }
}

/// Makes all that was prepared an hour old.
pub(crate) fn grow_old(directory: &Path) {
    let past = SystemTime::now() - Duration::from_secs(3600);
    for part in ["wasm", "wasm/revisions"] {
        for file in std::fs::read_dir(directory.join(part)).unwrap() {
            let file = std::fs::File::open(file.unwrap().path()).unwrap();
            file.set_modified(past).unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn only_what_nothing_points_at_is_collected() {
    let host = Host::new();
    let (code, keep) = hello(|_| {});
    let (_, same_code) = hello(|spec| drop(spec.variables.insert("A".to_owned(), "b".to_owned())));
    let other_code = Bytes::from_static(COMMAND.as_bytes());
    let gone = revision(&other_code, |spec| spec.contract = ContractSpec::named("stdio"));
    for (revision, code) in [(&keep, &code), (&same_code, &code), (&gone, &other_code)] {
        host.prepare(revision, code).await.unwrap();
    }
    // What is fresh may belong to a deploy that is not recorded yet.
    assert_eq!(host.driver.collect(&|_| false).await.unwrap(), 0);
    assert_eq!(compiled(&host).len(), 2);

    grow_old(host.directory.path());
    assert!(host.driver.collect(&|revision| *revision == keep.digest).await.unwrap() > 1000);
    assert_eq!(compiled(&host).len(), 1);
    assert!(host.start(&keep).await.is_ok());
    assert_eq!(host.start(&gone).await.err().unwrap().code, "XB3005");
}

#[test]
fn a_full_disk_is_told_and_leaves_nothing_behind() {
    on_small_disk("deploy::a_full_disk_is_told_and_leaves_nothing_behind", 8, |disk| {
        let host = Host::on(tempfile::tempdir_in(disk).unwrap(), 4);
        let (code, revision) = hello(|_| {});
        let filling = fill(disk);
        tokio::runtime::Runtime::new().unwrap().block_on(async {
            let error = host.prepare(&revision, &code).await.unwrap_err();
            assert_eq!(error.code, "XB4002", "{error}");
            std::fs::remove_file(filling).unwrap();
            host.prepare(&revision, &code).await.unwrap();
            assert!(host.start(&revision).await.is_ok());
            let left = std::fs::read_dir(host.directory.path().join("wasm")).unwrap();
            let left =
                left.filter(|file| file.as_ref().unwrap().path().extension().is_some_and(|e| e == "part"));
            assert_eq!(left.count(), 0);
        });
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shutdown_ends_every_instance() {
    let host = Host::new();
    let running = host.run(HELLO, |_| {}).await;
    assert!(host.driver.report().usable);
    host.driver.shutdown().await;
    assert_eq!(running.io.exited().await.signal, Some(9));
}

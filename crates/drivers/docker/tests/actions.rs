//! Images that are handed their code: by their contract, cold or as a blank that waited.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]

mod support;

use bollard::query_parameters::InspectContainerOptions;
use bytes::Bytes;
use serde_json::{Value, json};
use std::{sync::Arc, time::Instant};
use support::{Deployed, Function, GUEST, Open, PATIENCE, Place, engine::TestEngine, environment, until};
use xebec_contracts::Brings;
use xebec_core::{
    Digest,
    environment::{BlankSource, Blanks, Environment},
    log::LogStream,
    ports::driver::{Blank, Driver as _},
    revision::ContractSpec,
    workload::{ArchiveFormat, PackedCode, Workload},
};

const SOURCE: &str = "function main";

fn code() -> Workload {
    Workload::Code { archive: Digest::of(SOURCE), format: ArchiveFormat::Single, bytes: SOURCE.len() as u64 }
}

fn brings(source: &'static str) -> Brings {
    Brings {
        function: "hello".to_owned(),
        handler: Some("start".to_owned()),
        variables: [("A".to_owned(), "told".to_owned())].into(),
        code: Some((ArchiveFormat::Single, Bytes::from_static(source.as_bytes()))),
    }
}

/// An environment of the guest's image, with blanks.
fn runtime() -> Environment {
    Environment {
        name: "guest".to_owned(),
        image: Some(GUEST.to_owned()),
        contract: ContractSpec::named("init-run"),
        variables: [("A".to_owned(), "there".to_owned())].into(),
        blanks: Some(Blanks { keep: 1, from: BlankSource::Started }),
        concurrency: 1,
        ..environment()
    }
}

/// A function of that environment.
fn function() -> Function {
    let function = Function { environment: runtime(), brings: brings(SOURCE), ..Function::guest() };
    function.change(|spec| {
        spec.workload = code();
        spec.environment = "guest".to_owned();
        spec.contract = ContractSpec::named("init-run");
        spec.handler = Some("start".to_owned());
        spec.limits.concurrency = 1;
        spec.limits.memory_bytes = Some(64 << 20);
    })
}

async fn run(open: &Open, value: &str) -> Value {
    let (status, answer) = open.call("/", value).await;
    assert_eq!(status, 200, "{answer}");
    serde_json::from_str(&answer).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_image_that_a_function_names_with_code_for_it() {
    let Some(place) = Place::launch().await else { return };
    let named = function().change(|spec| {
        let archive = Digest::of(SOURCE);
        let packed = PackedCode { archive, format: ArchiveFormat::Single, bytes: SOURCE.len() as u64 };
        spec.workload = Workload::Image { reference: GUEST.to_owned(), code: Some(packed) };
        spec.contract = ContractSpec::named("init-run");
        spec.handler = Some("start".to_owned());
        spec.variables = [("A".to_owned(), "own".to_owned())].into();
    });
    let named = Function { environment: Environment { image: None, blanks: None, ..runtime() }, ..named };
    let open = place.run(&named).await;
    let said = run(&open, "{\"a\": 1}").await;
    let env = json!({"A": "told"});
    let expected = json!({"name": "hello", "main": "start", "code": SOURCE, "binary": false, "env": env});
    assert_eq!(
        (&said["init"], &said["run"]["value"], &said["variable"]),
        (&expected, &json!({"a": 1}), &json!("own"))
    );
    open.lines.wait_for(LogStream::Stdout, "running").await;
    assert_eq!(run(&open, "[1]").await["run"]["value"], json!([1]));

    let broken = place.deploy(&Function { brings: brings("broken"), ..named }).await.unwrap();
    let (error, lines) = place.try_open(&broken).await.map(drop).unwrap_err();
    assert!(error.contains("status 502") && error.contains("the code is broken"), "{error}");
    lines.wait_for(LogStream::Stdout, "cannot compile").await;
    place.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn code_for_the_image_of_an_environment() {
    let Some(place) = Place::launch().await else { return };
    let open = place.run(&function()).await;
    let said = run(&open, "{}").await;
    assert_eq!((&said["init"]["code"], &said["variable"]), (&json!(SOURCE), &json!("there")));
    place.end().await;
}

/// Makes a blank an instance.
async fn specialised(place: &Place, deployed: &Deployed, blank: Blank) -> Open {
    let (start, lines) = place.start(deployed);
    let (id, started) = (start.instance.clone(), Instant::now());
    let io = place.driver.specialize(blank, start).await.unwrap();
    assert_eq!(*io.id(), id);
    place.talk(deployed, io, lines, started, PATIENCE).await.unwrap_or_else(|(error, _)| panic!("{error}"))
}

/// The containers that run here, by name, with the memory that they may use.
async fn containers(place: &Place) -> Vec<(String, i64)> {
    let docker = TestEngine::shared().await.unwrap().docker().await;
    let mut found = Vec::new();
    for container in
        docker.list_containers(None::<bollard::query_parameters::ListContainersOptions>).await.unwrap()
    {
        let id = container.id.unwrap();
        let inspected = docker.inspect_container(&id, None::<InspectContainerOptions>).await;
        let Ok(inspected) = inspected else { continue };
        let (name, host) = (inspected.name.unwrap(), inspected.host_config.unwrap());
        if name.contains(&place.installation()) {
            found.push((name, host.memory.unwrap()));
        }
    }
    found
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_blank_becomes_an_instance() {
    let Some(place) = Place::launch().await else { return };
    let deployed = place.deploy(&function()).await.unwrap();
    let environment = Arc::new(runtime());
    let blank = place.driver.start_blank(environment.clone()).await.unwrap();
    assert!(blank.inner.alive());
    let before = containers(&place).await;
    assert!(before.len() == 1 && before[0].0.contains("blank-guest") && before[0].1 > 64 << 20, "{before:?}");
    let open = specialised(&place, &deployed, blank).await;
    // It is the same container, with what the function may use.
    assert_eq!(containers(&place).await, [(before[0].0.clone(), 64 << 20)]);
    let said = run(&open, "{}").await;
    assert_eq!((&said["init"]["code"], &said["init"]["env"]), (&json!(SOURCE), &json!({"A": "told"})));
    // What it printed while it was nobody's belongs to its function, and so does what it prints now.
    open.lines.wait_for(LogStream::Stdout, "serving on 8080").await;
    open.lines.wait_for(LogStream::Stdout, "running").await;
    open.io.destroy().await;
    assert!(containers(&place).await.is_empty());
    place.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn blanks_that_do_not_fit() {
    let Some(place) = Place::launch().await else { return };
    let environment = Arc::new(runtime());
    let read_only = function().change(|spec| {
        spec.workload = code();
        spec.environment = "guest".to_owned();
        spec.contract = ContractSpec::named("init-run");
        spec.read_only_root = true;
    });
    for function in [read_only, function().secret("/run/secrets/a", b"hidden")] {
        let deployed = place.deploy(&function).await.unwrap();
        let blank = place.driver.start_blank(environment.clone()).await.unwrap();
        let open = specialised(&place, &deployed, blank).await;
        assert_eq!(run(&open, "{}").await["init"]["code"], SOURCE);
        // A container of its own was started instead, and the blank goes.
        let only_its_own = async || {
            let found = containers(&place).await;
            found.len() == 1 && !found[0].0.contains("blank")
        };
        until("the blank to be removed", only_its_own).await;
        open.io.destroy().await;
    }
    // One that nobody took goes, too; one of an image that is not here does not come about.
    drop(place.driver.start_blank(environment).await.unwrap());
    until("the blank to be removed", async || containers(&place).await.is_empty()).await;
    for image in [None, Some("xebec-tests/nothing:1".to_owned())] {
        let error = place.driver.start_blank(Arc::new(Environment { image, ..runtime() })).await.map(drop);
        assert_eq!(error.unwrap_err().code, "XB3004");
    }
    place.end().await;
}

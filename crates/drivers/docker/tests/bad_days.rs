//! What goes wrong, on a real engine, and how it ends in an orderly way.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]

mod support;

use bollard::query_parameters::{ListContainersOptionsBuilder, RemoveContainerOptionsBuilder};
use std::{collections::HashMap, time::Duration};
use support::{Function, GUEST, Place, engine::TestEngine, image::Image, until};
use xebec_core::{
    Outcome,
    outcome::FunctionFault,
    ports::{
        driver::Driver as _,
        instance::{Endpoint, IoError},
    },
};

/// How many containers of an installation there are, running or not.
async fn count(docker: &bollard::Docker, installation: &str) -> usize {
    let label = format!("dev.xebec.installation={installation}");
    let filters = HashMap::from([("label".to_owned(), vec![label])]);
    let options = ListContainersOptionsBuilder::default().all(true).filters(&filters).build();
    docker.list_containers(Some(options)).await.unwrap().len()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_in_the_middle() {
    let Some(place) = Place::launch().await else { return };
    let open = place.run(&Function::guest()).await;
    let error = open.try_call("/exit/7", "x").await.unwrap_err();
    assert!(matches!(error.outcome, Outcome::FunctionError(FunctionFault::Crash)), "{error:?}");
    assert_eq!(open.io.exited().await.code, Some(7));
    assert!(matches!(open.io.connect(&Endpoint::Port(8080)).await, Err(IoError::Exited(_))));
    open.io.destroy().await;
    place.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn out_of_memory() {
    let Some(place) = Place::launch().await else { return };
    let small = Function::guest().change(|spec| spec.limits.memory_bytes = Some(32 << 20));
    let open = place.run(&small).await;
    assert_eq!(open.call("/memory/8", "").await.1, "8");
    let error = open.try_call("/memory/100", "").await.unwrap_err();
    assert!(matches!(error.outcome, Outcome::FunctionError(_)), "{error:?}");
    let exit = open.io.exited().await;
    assert!(exit.out_of_memory && exit.signal == Some(9), "{exit:?}");
    place.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_ends_at_its_start() {
    let Some(place) = Place::launch().await else { return };
    let deployed = place.deploy(&Function::guest().command(&["/guest", "fail"])).await.unwrap();
    let Err((error, lines)) = place.try_open(&deployed).await else { panic!("it took calls") };
    assert!(error.contains("exited with code 3"), "{error}");
    // Both streams to their ends; which of them comes first is chance.
    let mut said: Vec<_> = lines.0.lock().iter().map(|(_, text)| text.clone()).collect();
    said.sort();
    assert_eq!(said, ["reading the settings", "there are none: giving up"]);
    let docker = TestEngine::shared().await.unwrap().docker().await;
    assert_eq!(count(&docker, &place.installation()).await, 0);
    place.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_never_listens() {
    let Some(place) = Place::launch().await else { return };
    let deployed = place.deploy(&Function::guest().command(&["/guest", "silent"])).await.unwrap();
    let Err((error, _)) = place.try_open_within(&deployed, Duration::from_secs(2)).await else {
        panic!("it took calls")
    };
    assert_eq!(error, "it did not open in time");
    let docker = TestEngine::shared().await.unwrap().docker().await;
    assert_eq!(count(&docker, &place.installation()).await, 0);
    place.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_at_once() {
    let Some(place) = Place::launch().await else { return };
    let deployed = place.deploy(&Function::guest()).await.unwrap();
    let opened = futures_util::future::join_all((0..8).map(|_| place.open(&deployed))).await;
    let answers = futures_util::future::join_all(opened.iter().map(|open| open.call("/", "x"))).await;
    assert!(answers.iter().all(|answer| answer.1 == "x"));
    futures_util::future::join_all(opened.iter().map(|open| open.io.destroy())).await;
    let docker = TestEngine::shared().await.unwrap().docker().await;
    assert_eq!(count(&docker, &place.installation()).await, 0);
    place.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_waits_any_more() {
    let Some(place) = Place::launch().await else { return };
    let docker = TestEngine::shared().await.unwrap().docker().await;
    let deployed = place.deploy(&Function::guest().secret("/run/secrets/a", b"x")).await.unwrap();
    let installation = place.installation();
    for wait in [1, 20, 60, 120, 200] {
        let (start, _) = place.start(&deployed);
        let given_up = tokio::time::timeout(Duration::from_millis(wait), place.driver.start(start)).await;
        // One that was just in time is dropped, which ends it as well.
        drop(given_up);
    }
    // What was begun is brought to its end and then removed.
    until("the first container", async || count(&docker, &installation).await > 0 || has_no_secrets(&place))
        .await;
    until("all of them removed", async || count(&docker, &installation).await == 0 && has_no_secrets(&place))
        .await;
    place.end().await;
}

fn has_no_secrets(place: &Place) -> bool {
    let folder = place.secrets.path().join(format!("xebec-{}", place.installation()));
    std::fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_none())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_container_is_removed_behind_our_back() {
    let Some(place) = Place::launch().await else { return };
    let docker = TestEngine::shared().await.unwrap().docker().await;
    let open = place.run(&Function::guest()).await;
    let name = format!("xebec-{}-{}", place.installation(), open.io.id());
    let force = RemoveContainerOptionsBuilder::default().force(true).build();
    docker.remove_container(&name, Some(force)).await.unwrap();
    assert_eq!(open.io.exited().await.signal, Some(9));
    open.io.destroy().await;
    // And the network: the next start makes it again.
    docker.remove_network(&format!("xebec-{}", place.installation())).await.unwrap();
    let deployed = place.deploy(&Function::guest()).await.unwrap();
    let open = place.open(&deployed).await;
    assert_eq!(open.call("/", "x").await.1, "x");
    assert_eq!(open.lines.text(), "serving on 8080\n");
    place.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_an_earlier_run_left_behind() {
    let Some(place) = Place::launch().await else { return };
    let docker = TestEngine::shared().await.unwrap().docker().await;
    let deployed = place.deploy(&Function::guest().secret("/run/secrets/a", b"x")).await.unwrap();
    let open = place.open(&deployed).await;
    let installation = place.installation();
    assert_eq!(count(&docker, &installation).await, 1);
    // Another installation on the same engine is let alone.
    let other = Place::launch().await.unwrap();
    let theirs = other.run(&Function::guest()).await;

    // As after a kill: nothing was shut down, and the same data is opened again.
    let Place { driver, data, socket, secrets, .. } = place;
    let again =
        Place::at(socket, data, |options| options.secrets_directory = secrets.path().to_owned()).await;
    assert!(std::fs::read_dir(secrets.path()).unwrap().next().is_none());
    until("the orphan removed", async || count(&docker, &installation).await == 0).await;
    assert!(open.io.exited().await.code.is_none());
    assert_eq!(theirs.call("/", "still here").await.1, "still here");
    // What was prepared is still known.
    let opened = again.open(&deployed).await;
    assert_eq!(opened.call("/", "x").await.1, "x");
    drop((driver, open));
    again.end().await;
    other.end().await;
    assert_eq!(count(&docker, &installation).await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_engine_at_all_until_there_is_one() {
    let nowhere = tempfile::tempdir().unwrap();
    let place = Place::at(nowhere.path().join("s"), tempfile::tempdir().unwrap(), |_| {}).await;
    assert!(!place.driver.report().usable);
    let error = place.deploy(&Function::of("a:1")).await.map(drop).unwrap_err();
    assert_eq!(error.code, "XB3003", "{error}");
    assert!(error.hint.as_ref().unwrap().contains("docker.io"), "{error}");
    // What cannot be honoured is said first, engine or not.
    assert_eq!(place.deploy(&Function::of("No Name")).await.map(drop).unwrap_err().code, "XB3001");
    place.driver.shutdown().await;

    let Some(engine) = TestEngine::shared().await else { return };
    std::os::unix::fs::symlink(&engine.socket, nowhere.path().join("s")).unwrap();
    Image::named(GUEST).load(&engine.docker().await).await;
    let open = place.run(&Function::guest()).await;
    assert_eq!(open.call("/", "x").await.1, "x");
    assert!(place.driver.report().usable);
    place.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_engine_goes_and_comes_back() {
    let Some(engine) = TestEngine::own().await else { return };
    Image::named(GUEST).load(&engine.docker().await).await;
    let place = Place::on(&engine, |_| {}).await;
    let deployed = place.deploy(&Function::guest()).await.unwrap();
    let (lasting, dying, removed) =
        (place.open(&deployed).await, place.open(&deployed).await, place.open(&deployed).await);
    engine.stop().await;
    // Containers go on without it, and so do calls.
    assert_eq!(lasting.call("/", "without").await.1, "without");
    until("the engine missed", async || !place.driver.report().usable).await;
    let error = place.driver.start(place.start(&deployed).0).await.map(drop).unwrap_err();
    assert!(error.code == "XB3004" && error.message.contains("does not answer"), "{error}");
    // One that ends meanwhile is noticed by whoever wants to talk to it.
    assert!(dying.try_call("/exit/4", "").await.is_err());
    until("its end noticed", async || {
        matches!(dying.io.connect(&Endpoint::Port(8080)).await, Err(IoError::Exited(_)))
    })
    .await;
    dying.io.exited().await;
    // One that is not wanted any more is not waited for.
    tokio::time::timeout(Duration::from_secs(5), removed.io.destroy()).await.unwrap();

    engine.start().await;
    let docker = engine.docker().await;
    until("what was left removed", async || count(&docker, &place.installation()).await == 2).await;
    assert_eq!(lasting.call("/", "again").await.1, "again");
    until("the engine found", async || place.driver.report().usable).await;
    // What it prints from now on is read again.
    until("its lines again", async || {
        lasting.call("/print/heard", "").await;
        lasting.lines.text().contains("heard\n")
    })
    .await;
    let next = place.open(&deployed).await;
    assert_eq!(next.call("/", "next").await.1, "next");
    // Its end is still noticed.
    assert!(lasting.try_call("/exit/5", "").await.is_err());
    assert_eq!(lasting.io.exited().await.code, Some(5));
    place.end().await;
}

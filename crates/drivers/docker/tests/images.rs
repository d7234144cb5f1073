//! Images and the registries that they come from.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]

mod support;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use std::time::Duration;
use support::{
    Function, GUEST, PATIENCE, Place, Told,
    engine::TestEngine,
    image::Image,
    registry::{PASSWORD, Registry, USER},
};
use tokio::{net::TcpListener, time::timeout};
use xebec_core::{
    ErrorKind,
    ports::driver::{Driver as _, Prepare, Silent},
    workload::Workload,
};
use xebec_driver_docker::{Credentials, DockerOptions, Pull};

fn with_credentials(registry: &Registry, password: &str) -> impl FnOnce(&mut DockerOptions) {
    let credentials = Credentials { username: USER.to_owned(), password: password.to_owned() };
    let host = registry.host.clone();
    move |options| drop(options.credentials.insert(host, credentials))
}

/// An image's file that tells one from the other.
async fn version(place: &Place, deployed: &support::Deployed) -> String {
    let open = place.open(deployed).await;
    let version = open.call("/file/version", "").await.1;
    open.io.destroy().await;
    version
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tag_that_moves_changes_nothing_that_is_deployed() {
    let Some(engine) = TestEngine::shared().await else { return };
    let Some(registry) = Registry::launch().await else { return };
    let docker = engine.docker().await;
    let name = format!("{}/moving/guest:1", registry.host);
    Image { version: "old", ..Image::named("moving/old:1") }.load(&docker).await;
    registry.take(&docker, "moving/old:1", "moving/guest:1").await;

    let place = Place::on(engine, with_credentials(&registry, PASSWORD)).await;
    let told = Told::default();
    let pinned = place.deploy_telling(&Function::of(&name), &told).await.unwrap();
    let Workload::Image { reference, .. } = &pinned.revision.spec.workload else { panic!() };
    assert!(reference.starts_with(&format!("{name}@sha256:")), "{reference}");
    assert!(told.0.lock().iter().any(|line| line.starts_with("Status: Downloaded")), "{:?}", told.0.lock());
    // Without the pin the note alone keeps the image.
    let noted = place.deploy(&Function { pinned: false, ..Function::of(&name) }).await.unwrap();
    assert_eq!(version(&place, &pinned).await, "old");

    Image { version: "new", ..Image::named("moving/new:1") }.load(&docker).await;
    registry.take(&docker, "moving/new:1", "moving/guest:1").await;
    let newer = place.deploy(&Function::of(&name)).await.unwrap();
    assert_ne!(newer.revision.digest, pinned.revision.digest);
    assert_eq!(version(&place, &newer).await, "new");
    assert_eq!(version(&place, &pinned).await, "old");
    assert_eq!(version(&place, &noted).await, "old");

    // Removed behind our back: a start says so, preparing brings the same one back.
    let found = docker.inspect_image(reference.replace(":1@", "@").as_str()).await.unwrap();
    docker
        .remove_image(&found.id.unwrap(), None::<bollard::query_parameters::RemoveImageOptions>, None)
        .await
        .unwrap();
    for deployed in [&pinned, &noted] {
        let request = Prepare {
            revision: &deployed.revision,
            environment: &deployed.environment,
            code: None,
            progress: &Silent,
        };
        if let Err(error) = place.driver.start(place.start(deployed).0).await {
            assert_eq!(error.code, "XB3005", "{error}");
        }
        place.driver.prepare(request).await.unwrap();
        assert_eq!(version(&place, deployed).await, "old");
    }

    // Nothing points at them any more: they go, and what is live stays.
    let live = newer.revision.digest;
    let freed = place.driver.collect(&|digest| *digest == live).await.unwrap();
    assert!(freed > 0);
    assert_eq!(version(&place, &newer).await, "new");
    assert!(docker.inspect_image(reference.replace(":1@", "@").as_str()).await.is_err());
    assert_eq!(place.driver.collect(&|digest| *digest == live).await.unwrap(), 0);
    assert!(place.driver.collect(&|_| false).await.unwrap() > 0);
    let error = place.driver.start(place.start(&newer).0).await.map(drop).unwrap_err();
    assert_eq!(error.code, "XB3005", "{error}");
    place.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn credentials_good_and_bad() {
    let Some(engine) = TestEngine::shared().await else { return };
    let Some(registry) = Registry::launch().await else { return };
    let docker = engine.docker().await;
    Image { version: "private", ..Image::named("private/made:1") }.load(&docker).await;
    registry.take(&docker, "private/made:1", "private/guest:1").await;
    let name = format!("{}/private/guest:1", registry.host);

    let place = Place::on(engine, |_| {}).await;
    let error = place.deploy(&Function::of(&name)).await.map(drop).unwrap_err();
    assert_eq!((error.code, error.kind), ("XB3002", ErrorKind::Refused), "{error}");
    let expected = format!("docker login {}", registry.host);
    assert!(error.hint.as_ref().unwrap().contains(&expected), "{error}");
    // As docker login leaves them.
    let auth = STANDARD.encode(format!("{USER}:{PASSWORD}"));
    let config = format!(r#"{{"auths": {{"{}": {{"auth": "{auth}"}}}}}}"#, registry.host);
    std::fs::write(place.data.path().join("config.json"), config).unwrap();
    let deployed = place.deploy(&Function::of(&name)).await.unwrap();
    assert_eq!(version(&place, &deployed).await, "private");
    place.end().await;

    let place = Place::on(engine, with_credentials(&registry, "wrong")).await;
    let error = place.deploy(&Function::of(&name)).await.map(drop).unwrap_err();
    assert_eq!((error.code, error.kind), ("XB3002", ErrorKind::Refused), "{error}");
    assert!(error.hint.as_ref().unwrap().contains("not good enough") && !error.to_string().contains("wrong"));
    place.end().await;

    let place = Place::on(engine, with_credentials(&registry, PASSWORD)).await;
    for missing in ["private/guest:2", "private/nothing:1"] {
        let error = place.deploy(&Function::of(&format!("{}/{missing}", registry.host))).await.map(drop);
        let error = error.unwrap_err();
        assert_eq!((error.code, error.kind), ("XB3002", ErrorKind::Invalid), "{error}");
        assert!(error.message.contains(missing), "{error}");
    }
    place.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_registry_that_is_not_there() {
    let Some(place) = Place::launch_with(|options| options.pull = Pull::Missing).await else { return };
    // What is here needs no registry.
    place.run(&Function::of(GUEST)).await.io.destroy().await;
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let error = place.deploy(&Function::of(&format!("{closed}/a:1"))).await.map(drop).unwrap_err();
    assert_eq!((error.code, error.kind), ("XB3002", ErrorKind::Unavailable), "{error}");
    assert!(error.message.contains("refused"), "{error}");
    place.end().await;
}

/// Takes connections and never says anything.
async fn silent_registry() -> (TcpListener, String) {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let name = format!("{}/silent/guest:1", silent.local_addr().unwrap());
    (silent, name)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_registry_that_says_nothing() {
    let Some(place) = Place::launch_with(|options| options.pull_time = Duration::from_secs(1)).await else {
        return;
    };
    let (_silent, name) = silent_registry().await;
    let told = Told::default();
    let error = place.deploy_telling(&Function::of(&name), &told).await.map(drop).unwrap_err();
    assert_eq!((error.code, error.kind), ("XB3002", ErrorKind::Unavailable), "{error}");
    assert!(error.message.contains("was not pulled within 1 s"), "{error}");
    assert_eq!(*told.0.lock(), [format!("pulling {name}")]);
    place.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pull_that_is_broken_off() {
    let Some(engine) = TestEngine::own().await else { return };
    let place = Place::on(&engine, |_| {}).await;
    let (silent, name) = silent_registry().await;
    let function = Function::of(&name);
    let pulling = place.deploy(&function);
    let stopped = async {
        // The engine is at it when it is stopped.
        let _asked = timeout(PATIENCE, silent.accept()).await.expect("nobody pulls").unwrap();
        engine.stop().await;
    };
    let (pulled, ()) = tokio::join!(pulling, stopped);
    let error = pulled.map(drop).unwrap_err();
    assert_eq!((error.code, error.kind), ("XB3002", ErrorKind::Unavailable), "{error}");
    let error = place.deploy(&Function::guest()).await.map(drop).unwrap_err();
    assert!(error.code == "XB3002" && error.message.contains("does not answer"), "{error}");

    engine.start().await;
    Image::named(GUEST).load(&engine.docker().await).await;
    assert_eq!(place.run(&Function::guest()).await.call("/", "again").await.1, "again");
    place.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_image_that_there_is_no_room_for() {
    let Some(engine) = TestEngine::shared().await else { return };
    let Some(registry) = Registry::launch().await else { return };
    let Some(small) = TestEngine::on_small_disk(48).await else { return };
    let docker = engine.docker().await;
    let large = "large ".repeat(12 << 20);
    Image { version: &large, ..Image::named("large/made:1") }.load(&docker).await;
    registry.take(&docker, "large/made:1", "large/guest:1").await;

    let place = Place::on(&small, with_credentials(&registry, PASSWORD)).await;
    let function = Function::of(&format!("{}/large/guest:1", registry.host));
    let error = place.deploy(&function).await.map(drop).unwrap_err();
    assert_eq!((error.code, error.kind), ("XB4002", ErrorKind::Unavailable), "{error}");
    assert!(error.hint.as_ref().unwrap().contains("docker image prune"), "{error}");
    // The engine itself is well.
    assert!(place.driver.report().usable);
    place.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn images_that_do_not_fit() {
    let Some(place) = Place::launch().await else { return };
    let docker = TestEngine::shared().await.unwrap().docker().await;
    Image { architecture: "s390x", ..Image::named("xebec-tests/other:1") }.load(&docker).await;
    let error = place.deploy(&Function::of("xebec-tests/other:1")).await.map(drop).unwrap_err();
    assert_eq!(error.code, "XB3002");
    assert!(error.message.contains("linux/s390x"), "{error}");

    Image { volume: "/data", ..Image::named("xebec-tests/volume:1") }.load(&docker).await;
    let function = Function::of("xebec-tests/volume:1");
    assert_eq!(place.run(&function).await.call("/write/data/a", "x").await.0, 200);
    let read_only = function.change(|spec| spec.read_only_root = true);
    let error = place.deploy(&read_only).await.map(drop).unwrap_err();
    assert!(error.code == "XB3001" && error.message.starts_with("read_only_root:"), "{error}");
    place.end().await;
}

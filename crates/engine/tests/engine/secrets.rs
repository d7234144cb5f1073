//! Secrets: encrypted at rest, opened for instances, kept for as long as a revision has them.

use crate::world::{World, key};
use xebec_core::{
    Tenant,
    document::Expect,
    ports::{
        control::{Control, Deployment},
        driver::Silent,
    },
    revision::SecretMount,
    rules::traffic::Traffic,
};

fn mount(deployment: &mut Deployment) {
    deployment.revision.secrets = vec![SecretMount {
        name: "token".to_owned(),
        version: 0,
        path: Some("/run/secrets/token".to_owned()),
        variable: None,
    }];
}

async fn put(world: &World, value: &'static str, expect: Expect) -> Result<u64, &'static str> {
    let put = world.engine.put_secret(&Tenant::default(), "token", value.into(), expect).await;
    put.map(|info| info.version).map_err(|error| error.code)
}

#[tokio::test(start_paused = true)]
async fn a_changed_secret_makes_a_new_revision() {
    let world = World::new();
    let mut deployment = world.deployment("f").await;
    mount(&mut deployment);
    assert_eq!(world.engine.deploy(deployment, &Silent).await.unwrap_err().code, "XB2005");

    assert_eq!(put(&world, "one", Expect::Absent).await, Ok(1));
    assert_eq!(put(&world, "one", Expect::Absent).await, Err("XB2001"));
    let first = world.deploy("f", mount).await.function;
    assert_eq!(world.deploy("f", mount).await.function.revisions.len(), 1, "nothing changed");
    assert_eq!(put(&world, "one", Expect::Any).await, Ok(1), "the same value is no change");
    assert_eq!(put(&world, "two", Expect::Any).await, Ok(2));
    let second = world.deploy("f", mount).await.function;
    assert_eq!(second.revisions.len(), 2);

    world.text("f", "/sleep?1").await;
    // Rolled back, the older revision sees what it was made with, also after garbage was collected.
    world.engine.collect_garbage().await.unwrap();
    world.engine.set_traffic(&key("f"), Traffic::all_to(first.revisions[0].digest)).await.unwrap();
    world.text("f", "/sleep?1").await;
    let started = world.script.started.lock();
    let seen: Vec<_> = started.iter().map(|start| start.secrets[0].value.clone()).collect();
    assert_eq!(seen, ["two", "one"]);
    assert_eq!(started[0].secrets[0].path.as_deref(), Some("/run/secrets/token"));
}

#[tokio::test(start_paused = true)]
async fn values_are_not_stored_in_the_open_and_names_are_listed() {
    let world = World::new();
    put(&world, "hunter2hunter2", Expect::Any).await.unwrap();
    let stored = world.store.text();
    assert!(!stored.contains("hunter2"), "{stored}");
    assert!(
        !stored
            .contains(&base64::Engine::encode(&base64::engine::general_purpose::STANDARD, "hunter2hunter2"))
    );
    let listed = world.engine.secrets(&Tenant::default()).await.unwrap();
    assert_eq!((listed.len(), listed[0].name.as_str(), listed[0].version), (1, "token", 1));
    assert!(world.engine.secrets(&Tenant::new("other")).await.unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_secret_in_use_is_not_deleted() {
    let world = World::new();
    put(&world, "one", Expect::Any).await.unwrap();
    world.deploy("f", mount).await;
    let tenant = Tenant::default();
    let refused = world.engine.delete_secret(&tenant, "token").await.unwrap_err();
    assert_eq!(refused.code, "XB2008");
    assert!(refused.message.contains("\"f\""), "{refused}");
    world.engine.remove(&key("f")).await.unwrap();
    world.engine.delete_secret(&tenant, "token").await.unwrap();
    assert_eq!(world.engine.delete_secret(&tenant, "token").await.unwrap_err().code, "XB2005");
}

#[tokio::test(start_paused = true)]
async fn names_and_sizes() {
    let world = World::new();
    let tenant = Tenant::default();
    for name in ["", "..", "a/b", &"x".repeat(300)] {
        let put = world.engine.put_secret(&tenant, name, "v".into(), Expect::Any).await;
        assert_eq!(put.unwrap_err().code, "XB1001", "{name}");
    }
    let large = vec![0; 2 * 1024 * 1024].into();
    assert_eq!(world.engine.put_secret(&tenant, "l", large, Expect::Any).await.unwrap_err().code, "XB1006");
}

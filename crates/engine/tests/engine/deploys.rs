//! Deploying: what is refused, what is kept, what a restart brings back.

use crate::world::{World, eventually, key};
use futures_util::{StreamExt as _, future::join_all};
use std::{
    sync::{Arc, atomic::Ordering::SeqCst},
    time::Duration,
};
use xebec_core::{
    Digest, FunctionKey, Tenant,
    document::Expect,
    names::Address,
    policy::{Policy, Scaling},
    ports::{
        control::{Control, Deployment, Happening},
        driver::Silent,
    },
    rules::traffic::Traffic,
    workload::Workload,
};

async fn refused(world: &World, change: impl FnOnce(&mut Deployment)) -> (&'static str, String) {
    let mut deployment = world.deployment("f").await;
    change(&mut deployment);
    let error = world.engine.deploy(deployment, &Silent).await.unwrap_err();
    (error.code, error.to_string())
}

#[tokio::test(start_paused = true)]
async fn what_is_refused() {
    let world = World::new();
    assert_eq!(refused(&world, |d| d.expect = Expect::Present).await.0, "XB2002");
    let (code, text) = refused(&world, |d| d.revision.environment = "cobol".to_owned()).await;
    assert!(code == "XB2004" && text.contains("there are: blank, plain"), "{text}");
    assert_eq!(refused(&world, |d| d.revision.contract.name = "telepathy".to_owned()).await.0, "XB1003");
    let option = |d: &mut Deployment| drop(d.revision.contract.options.insert("x".to_owned(), 1.into()));
    assert_eq!(refused(&world, option).await.0, "XB1003");
    assert_eq!(refused(&world, |d| d.revision.read_only_root = true).await.0, "XB3001");
    assert_eq!(refused(&world, |d| d.policy.max_instances = 0).await.0, "XB1004");
    assert_eq!(refused(&world, |d| d.policy.min_instances = 99).await.0, "XB1004");
    let over = Scaling { proportion: 1.5, ..Scaling::default() };
    assert_eq!(refused(&world, |d| d.policy.scaling = over).await.0, "XB1004");
    assert_eq!(refused(&world, |d| d.policy.max_rate = Some(f64::NAN)).await.0, "XB1004");
    assert_eq!(refused(&world, |d| d.revision.limits.concurrency = 0).await.0, "XB1004");
    assert_eq!(refused(&world, |d| d.revision.limits.clocks.run = Duration::ZERO).await.0, "XB1004");
    let image = |reference: &str| Workload::image(reference.to_owned());
    let (code, text) = refused(&world, |d| {
        d.revision.environment.clear();
        d.revision.workload = image("unknown/x");
    })
    .await;
    assert!(code == "XB2004" && text.contains("[[images]]"), "{text}");
    let unknown = |d: &mut Deployment| {
        if let Workload::Code { archive, .. } = &mut d.revision.workload {
            *archive = Digest::of("never stored");
        }
    };
    assert_eq!(refused(&world, unknown).await.0, "XB4010");
    assert!(world.engine.functions(None, None).is_empty());
    assert_eq!((world.store.count("function"), world.store.count("revision")), (0, 0));

    world.deploy("f", |_| {}).await;
    assert_eq!(refused(&world, |d| d.expect = Expect::Absent).await.0, "XB2001");
    assert_eq!(refused(&world, |d| d.expect = Expect::Version(999)).await.0, "XB4001");
}

#[tokio::test(start_paused = true)]
async fn images_that_an_environment_stands_in_for() {
    let world = World::new();
    world
        .deploy("f", |d| {
            d.revision.environment.clear();
            d.revision.workload = Workload::image("known/x:1");
        })
        .await;
    assert_eq!(world.text("f", "/sleep?1").await, "slept");
}

#[tokio::test(start_paused = true)]
async fn what_a_name_means_is_part_of_the_revision() {
    let world = World::new();
    let image = |d: &mut Deployment| {
        d.revision.environment.clear();
        d.revision.workload = Workload::image("known/x:1");
    };
    let first = world.deploy("f", image).await.function.revisions;
    assert_eq!(world.deploy("f", image).await.function.revisions, first);
    // The same name, pushed again.
    world.script.pushed.store(1, SeqCst);
    let second = world.deploy("f", image).await.function.revisions;
    assert_eq!((first.len(), second.len()), (1, 2));
    assert_eq!(second[0].digest, first[0].digest);
    let prepared = world.script.prepared.lock().clone();
    assert_eq!(prepared, [first[0].digest, first[0].digest, second[1].digest]);
}

#[tokio::test(start_paused = true)]
async fn an_address_belongs_to_one_function() {
    let world = World::new();
    world.deploy("f", |_| {}).await;
    let address = Address::new("function", &Tenant::default(), "f");
    assert_eq!(world.engine.at(&address), Some(key("f")));
    let (code, text) =
        refused(&world, |d| d.key = FunctionKey::new(&Tenant::default(), "openfaas", "f")).await;
    assert!(code == "XB2003" && text.contains("native API"), "{text}");
    world.deploy("f", |d| d.addresses.clear()).await;
    assert_eq!(world.engine.at(&address), None);
    world.deploy("f", |d| d.key.door = "openfaas".into()).await;
    assert_eq!(world.engine.at(&address).unwrap().door, "openfaas");
    // Another tenant's space is another one.
    let other = Tenant::new("other");
    world
        .deploy("f", |d| {
            d.key.tenant = other.clone();
            d.addresses = vec![Address::new("function", &other, "f")];
        })
        .await;
    assert_eq!(world.engine.functions(Some(&other), None).len(), 1);
    assert_eq!(world.engine.functions(None, Some("openfaas")).len(), 1);
    assert_eq!(world.engine.functions(None, None).len(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_full_disk_acknowledges_nothing_and_reads_go_on() {
    let world = World::new();
    world.deploy("f", |_| {}).await;
    world.store.full.store(true, SeqCst);
    assert_eq!(refused(&world, |d| d.revision.handler = Some("x".to_owned())).await.0, "XB4002");
    let other = Address::new("function", &Tenant::default(), "other");
    assert_eq!(refused(&world, |d| d.addresses = vec![other.clone()]).await.0, "XB4002");
    assert_eq!(world.engine.at(&other), None, "what was not stored is not claimed");
    assert_eq!(world.engine.remove(&key("f")).await.unwrap_err().code, "XB4002");
    assert_eq!(world.view("f").function.revisions.len(), 1);
    assert_eq!(world.text("f", "/sleep?1").await, "slept");
}

#[tokio::test(start_paused = true)]
async fn the_history_is_bounded_and_traffic_keeps_its_revisions() {
    let world = World::new();
    let first = world.deploy("f", |_| {}).await.function.revisions[0].digest;
    let handler = |n: u32| move |d: &mut Deployment| d.revision.handler = Some(format!("h{n}"));
    assert_eq!(world.deploy("f", |_| {}).await.function.revisions.len(), 1, "unchanged");
    let function = world.deploy("f", handler(1)).await.function;
    assert_eq!(function.revisions.len(), 2);

    // Rolled back, then changed in policy only: the split stays with what is unchanged and has traffic.
    world.engine.set_traffic(&key("f"), Traffic::all_to(first)).await.unwrap();
    let function = world.deploy("f", |_| {}).await.function;
    assert_eq!(function.traffic, Traffic::all_to(first));
    assert_eq!(function.latest().map(|latest| (latest.digest, latest.number)), Some((first, 3)));

    let halves = |other| {
        let share = |revision| xebec_core::rules::traffic::Share { revision, percent: 50 };
        Traffic::new(vec![share(first), share(other)]).unwrap()
    };
    let second = world.deploy("f", handler(2)).await.function.latest().unwrap().digest;
    world.engine.set_traffic(&key("f"), halves(second)).await.unwrap();
    let function = world.deploy("f", handler(2)).await.function;
    assert_eq!(function.traffic, halves(second), "a split in progress goes on");

    for n in 3..40 {
        world.deploy("f", handler(n)).await;
    }
    let function = world.view("f").function;
    assert_eq!(function.revisions.len(), 20);
    assert!(function.revisions.windows(2).all(|pair| pair[0].number < pair[1].number));
    assert!(world.store.count("revision") > 20);
    world.engine.collect_garbage().await.unwrap();
    assert_eq!(world.store.count("revision"), 20);
    let spec = world.engine.revision(&function.latest().unwrap().digest).await.unwrap().unwrap();
    assert_eq!(spec.handler.as_deref(), Some("h39"));
}

#[tokio::test(start_paused = true)]
async fn concurrent_deploys_of_one_function_go_one_after_the_other() {
    let world = World::new();
    world.script.prepare_ms.store(100, SeqCst);
    let deploys = (0..10).map(|n| world.deploy("f", move |d| d.revision.handler = Some(format!("h{n}"))));
    join_all(deploys).await;
    let function = world.view("f").function;
    assert_eq!(function.revisions.iter().map(|r| r.number).collect::<Vec<_>>(), (1..=10).collect::<Vec<_>>());
    let new = (0..10).map(|_| async {
        let mut deployment = world.deployment("g").await;
        deployment.expect = Expect::Absent;
        world.engine.deploy(deployment, &Silent).await.is_ok()
    });
    assert_eq!(join_all(new).await.into_iter().filter(|made| *made).count(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_restart_brings_everything_back() {
    let world = World::new();
    let first = world.deploy("f", |_| {}).await.function.revisions[0].digest;
    world
        .deploy("f", |d| {
            d.revision.handler = Some("new".to_owned());
            d.labels.insert("team".to_owned(), "blue".to_owned());
        })
        .await;
    world.engine.set_traffic(&key("f"), Traffic::all_to(first)).await.unwrap();
    world.deploy("warm", |d| d.policy.min_instances = 1).await;
    world.deploy("gone", |_| {}).await;
    world.engine.remove(&key("gone")).await.unwrap();
    for n in 0..1200 {
        world.deploy(&format!("many-{n}"), |d| d.revision.environment = "blank".to_owned()).await;
    }
    let before = world.view("f").function;

    let world = world.restarted().await;
    assert_eq!(world.view("f").function, before);
    assert_eq!(world.engine.functions(None, None).len(), 1202);
    assert!(world.engine.at(&Address::new("function", &Tenant::default(), "many-1199")).is_some());
    assert_eq!(world.call("f", "/echo").await.unwrap().revision, first);
    let document = world.engine.document(&key("f")).await.unwrap().unwrap();
    assert_eq!(document.spec, serde_json::json!({ "name": "f" }));
    eventually("what is kept warm starts", || world.view("warm").live.ready == 1).await;
    eventually("blanks are kept", || world.script.blanks.load(SeqCst) == 2).await;
}

#[tokio::test(start_paused = true)]
async fn a_new_revision_takes_over_and_the_old_one_drains() {
    let world = Arc::new(World::new());
    world.deploy("f", |_| {}).await;
    let long = tokio::spawn({
        let world = world.clone();
        async move { world.text("f", "/sleep?30000").await }
    });
    eventually("in flight", || world.view("f").live.in_flight == 1).await;
    let new = world.deploy("f", |d| d.revision.handler = Some("new".to_owned())).await.function;
    let new = new.latest().unwrap().digest;
    assert_eq!(world.call("f", "/echo").await.unwrap().revision, new);
    assert_eq!(world.script.alive.load(SeqCst), 2);
    assert_eq!(long.await.unwrap(), "slept");
    eventually("the old one is gone", || world.script.alive.load(SeqCst) == 1).await;
    assert_eq!(world.call("f", "/echo").await.unwrap().revision, new);
    assert_eq!(world.script.starts(), 2);
}

#[tokio::test(start_paused = true)]
async fn events_tell_what_happens() {
    let world = World::new();
    let events = world.engine.events();
    world.deploy("f", |d| d.policy.keep_alive_seconds = Some(1)).await;
    world.text("f", "/sleep?1").await;
    eventually("gone", || world.script.alive.load(SeqCst) == 0).await;
    world.engine.remove(&key("f")).await.unwrap();
    let told: Vec<_> = events.take(4).collect().await;
    assert!(matches!(told[0].what, Happening::Deployed { .. }));
    assert!(matches!(told[1].what, Happening::InstanceReady { .. }));
    assert!(matches!(told[2].what, Happening::InstanceGone { .. }));
    assert_eq!((&told[3].what, &told[3].function), (&Happening::Removed, &key("f")));
}

#[tokio::test(start_paused = true)]
async fn policy_alone_makes_no_revision() {
    let world = World::new();
    world.deploy("f", |_| {}).await;
    let policy = Policy { max_rate: Some(1.0), ..Policy::default() };
    let view = world.engine.set_policy(&key("f"), policy.clone()).await.unwrap();
    assert_eq!((view.function.revisions.len(), view.function.policy), (1, policy));
    world.text("f", "/sleep?1").await;
    world.call("f", "/echo").await.unwrap_err();
    let nonsense = Policy { max_instances: 0, ..Policy::default() };
    assert_eq!(world.engine.set_policy(&key("f"), nonsense).await.unwrap_err().code, "XB1004");
    assert_eq!(world.engine.set_policy(&key("g"), Policy::default()).await.unwrap_err().code, "XB2002");
}

//! Tenants that were written down: kept over a restart, and not deleted under what belongs to them.

use crate::world::{World, key};
use std::collections::BTreeMap;
use xebec_core::{Tenant, document::Expect, ports::control::Control};

fn map(key: &str, value: &str) -> BTreeMap<String, String> {
    BTreeMap::from([(key.to_owned(), value.to_owned())])
}

#[tokio::test(start_paused = true)]
async fn what_was_written_down_is_there_after_a_restart() {
    let world = World::new();
    let (one, two) = (Tenant::new("one"), Tenant::new("two"));
    let put = |labels, expect| world.engine.put_tenant(&one, labels, map("a", "b"), expect);
    assert_eq!(put(map("x", "1"), Expect::Present).await.unwrap_err().code, "XB2002");
    put(map("x", "1"), Expect::Absent).await.unwrap();
    assert_eq!(put(map("x", "2"), Expect::Absent).await.unwrap_err().code, "XB2001");
    let changed = put(map("x", "3"), Expect::Present).await.unwrap();
    assert_eq!((changed.labels, changed.annotations), (map("x", "3"), map("a", "b")));
    world.engine.put_tenant(&two, BTreeMap::new(), BTreeMap::new(), Expect::Any).await.unwrap();
    let large = world.engine.put_tenant(&two, map("x", &"y".repeat(300_000)), BTreeMap::new(), Expect::Any);
    assert_eq!(large.await.unwrap_err().code, "XB1004");

    let world = world.restarted().await;
    let names: Vec<_> = world.engine.tenants().await.unwrap().into_iter().map(|info| info.name).collect();
    assert_eq!(names, [one.clone(), two.clone()]);
    assert_eq!(world.engine.tenant(&one).await.unwrap().unwrap().labels, map("x", "3"));
    world.engine.delete_tenant(&one).await.unwrap();
    assert_eq!(world.engine.tenant(&one).await.unwrap(), None);
    assert_eq!(world.engine.delete_tenant(&one).await.unwrap_err().code, "XB2002");
}

#[tokio::test(start_paused = true)]
async fn what_holds_something_is_not_deleted() {
    let world = World::new();
    let tenant = Tenant::default();
    world.engine.put_tenant(&tenant, BTreeMap::new(), BTreeMap::new(), Expect::Any).await.unwrap();
    world.deploy("f", |_| {}).await;
    world.engine.put_secret(&tenant, "s", "v".into(), Expect::Any).await.unwrap();
    let refused = world.engine.delete_tenant(&tenant).await.unwrap_err();
    assert_eq!(refused.code, "XB2019");
    assert!(refused.message.contains("functions: 1, secrets: 1"), "{refused}");
    world.engine.remove(&key("f")).await.unwrap();
    assert_eq!(world.engine.delete_tenant(&tenant).await.unwrap_err().code, "XB2019");
    world.engine.delete_secret(&tenant, "s").await.unwrap();
    world.engine.delete_tenant(&tenant).await.unwrap();
}

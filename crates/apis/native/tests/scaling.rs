//! How a function is scaled, over the wire.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on panics")]

mod support;

use serde_json::{Value, json};
use support::World;
use xebec_core::{
    FunctionKey, Tenant,
    policy::{Metric, Policy, Scaling},
};

async fn put(world: &World, scale: Value) -> support::Back {
    let manifest = json!({"name": "f", "image": "i", "scale": scale});
    world.send("PUT", "/xebec/v1/functions/f", &[], &manifest.to_string()).await
}

async fn deployed(scale: Value) -> Policy {
    let world = World::new();
    let back = put(&world, scale.clone()).await;
    assert_eq!(back.status, 200, "{}", back.body);
    let read = world.send("GET", "/xebec/v1/functions/f", &[], "").await.json();
    assert_eq!(read["manifest"]["scale"], scale, "what was written is read back");
    world.engine.policy(&FunctionKey::new(&Tenant::default(), "native", "f"))
}

#[tokio::test]
async fn what_is_left_out_is_as_usual() {
    assert_eq!(deployed(json!({"max": 3})).await.scaling, Scaling::default());
    for metric in Metric::ALL {
        let scale = json!({"metric": metric.name(), "target": 20.0});
        let expected = Scaling { target: Some(20.0), ..Scaling::by(metric) };
        assert_eq!(deployed(scale).await.scaling, expected);
    }
    assert_eq!(deployed(json!({"metric": "queue"})).await.scaling, Scaling::by(Metric::Queue));
}

#[tokio::test]
async fn everything_can_be_said() {
    let scale = json!({
        "min": 1, "max": 9, "metric": "cpu", "target": 500.0, "proportion": 0.9, "down-window": "120s",
        "keep-alive": "900s",
    });
    let policy = deployed(scale).await;
    let expected =
        Scaling { metric: Metric::Cpu, target: Some(500.0), proportion: 0.9, down_window_seconds: 120 };
    assert_eq!(policy.scaling, expected);
    assert_eq!((policy.min_instances, policy.max_instances, policy.keep_alive_seconds), (1, 9, Some(900)));
}

#[tokio::test]
async fn what_makes_no_sense_is_named() {
    let world = World::new();
    for (scale, code, named) in [
        (json!({"metric": "rate"}), "XB1004", "needs scale.target"),
        (json!({"metric": "cpu"}), "XB1004", "needs scale.target"),
        (json!({"metric": "mood", "target": 1.0}), "XB1008", "mood"),
        (json!({"target": 0.7}), "XB1004", "scale.target is 0.7"),
        (json!({"metric": "queue", "target": 0}), "XB1004", "scale.target"),
        (json!({"metric": "rate", "target": -1}), "XB1004", "scale.target"),
        (json!({"proportion": 1.5}), "XB1004", "scale.proportion"),
        (json!({"proportion": 0}), "XB1004", "scale.proportion"),
        (json!({"down-window": "6m"}), "XB1004", "scale.down-window"),
        (json!({"down-window": "soon"}), "XB1008", "soon"),
        (json!({"min": 3, "max": 2}), "XB1004", "scale.max"),
        (json!({"window": "6m"}), "XB1008", "window"),
    ] {
        let message = put(&world, scale.clone()).await.error(400, code);
        assert!(message.contains(named), "{scale}: {message}");
    }
}

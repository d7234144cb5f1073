//! Chains.

use crate::world::{World, until};
use serde_json::{Value, json};
use std::time::Duration;
use xebec_core::{
    Outcome,
    limits::Clock,
    outcome::{FunctionFault, PlatformFault},
    rules::hops,
};
use xebec_flows::Bounds;

fn add(n: u64) -> impl Fn(Value) -> Value {
    move |input| json!({ "n": input["n"].as_u64().unwrap_or_default() + n })
}

#[tokio::test]
async fn hands_each_result_on() {
    let world = World::new();
    world.plain("one", add(1));
    world.plain("big-ten", add(10));
    world.chain("both", &["one", "big-ten", "one"]);
    let called = world.call("both", json!({ "n": 5 })).await.unwrap();
    assert_eq!(called.value, json!({ "n": 17 }));
    assert_eq!(called.outcome(), Outcome::Success);
    assert_eq!(world.called(), ["one", "big-ten", "one"]);
    let seen = world.engine.seen.lock().clone();
    assert_eq!(called.components(), seen[1..].iter().map(|seen| seen.id).collect::<Vec<_>>());
    assert!(seen[1..].iter().all(|seen| seen.cause == Some(called.id)));
    assert!(seen[1..].iter().all(|seen| hops::hops(&seen.headers) == 2), "each is one call below the flow");
    assert_eq!(called.remarks.details["memory"], 512);
    let took = called.remarks.details["duration_ms"].as_u64().unwrap();
    assert!((15..27_000).contains(&took), "three times starting and answering, and no waiting: {took}");
    world.journal_is_empty().await;
    let record = world.disk.record(&called.id).unwrap();
    assert_eq!(record.noted.unwrap().details["kind"], "outermost");
    assert_eq!(world.disk.records.lock().len(), 4);
}

#[tokio::test]
async fn an_error_ends_it_and_is_its_result() {
    let world = World::new();
    world.plain("one", add(1));
    world.plain("bad", |_| json!({ "error": "no" }));
    world.chain("steps", &["one", "bad", "one"]);
    let called = world.call("steps", json!({})).await.unwrap();
    assert_eq!(
        (called.value.clone(), called.outcome()),
        (json!({ "error": "no" }), Outcome::ApplicationError)
    );
    assert_eq!(world.called(), ["one", "bad"]);
    assert_eq!(called.components().len(), 2);
    let crash = Outcome::FunctionError(FunctionFault::Crash);
    world.failing("broken", crash);
    world.chain("breaks", &["broken", "one"]);
    let called = world.call("breaks", json!({})).await.unwrap();
    assert_eq!((called.value["error"].as_str(), called.outcome()), (Some("it ended as crash"), crash));
    world.chain("misses", &["one", "nothing"]);
    let called = world.call("misses", json!({})).await.unwrap();
    assert_eq!(called.value, json!({ "error": "there is no nothing" }));
    assert_eq!((called.components().len(), called.outcome()), (1, Outcome::ApplicationError));
    world.journal_is_empty().await;
}

#[tokio::test]
async fn is_turned_away_only_as_long_as_nothing_has_run() {
    let world = World::new();
    let outcome = Outcome::PlatformError(PlatformFault::Overloaded);
    world.failing("full", outcome);
    world.plain("one", add(1));
    world.chain("at once", &["full", "one"]);
    world.chain("nested", &["at once"]);
    for name in ["at once", "nested"] {
        assert_eq!(
            world.call(name, json!({})).await.unwrap().outcome(),
            outcome,
            "{name} may be tried again"
        );
    }
    world.chain("later", &["one", "full"]);
    world.chain("later still", &["later"]);
    for name in ["later", "later still"] {
        let ended = world.call(name, json!({})).await.unwrap().outcome();
        assert_eq!(ended, Outcome::PlatformError(PlatformFault::Internal), "{name} has run");
    }
}

#[tokio::test]
async fn chains_in_chains_are_calls_of_their_own() {
    let world = World::new();
    world.plain("one", add(1));
    world.plain("big", add(2));
    world.chain("inner", &["big", "one"]);
    world.chain("outer", &["one", "inner", "one"]);
    let called = world.call("outer", json!({})).await.unwrap();
    assert_eq!(called.value, json!({ "n": 5 }));
    let inner = &world.seen("inner")[0];
    assert_eq!(called.components()[1], inner.id);
    assert_eq!(called.remarks.details["memory"], 512, "the most of all that is below it");
    assert_eq!(world.seen("big")[0].cause, Some(inner.id));
    world.journal_is_empty().await;
    let record = world.disk.record(&inner.id).unwrap().noted.unwrap();
    assert_eq!(crate::world::components(&record.details).len(), 2);
    // What the inner one took is told by itself, not by the time that it was under way.
    let inner_ms = record.details["duration_ms"].as_u64().unwrap();
    assert!(called.remarks.details["duration_ms"].as_u64().unwrap() >= inner_ms + 10);
}

#[tokio::test]
async fn steps_are_bounded_over_nested_chains() {
    let world = World::with(Bounds { steps: 5, ..Bounds::default() });
    world.plain("one", add(1));
    world.chain("three", &["one"; 3]);
    world.chain("five", &["one"; 5]);
    world.chain("six", &["three", "three"]);
    assert_eq!(world.call("five", json!({})).await.unwrap().value, json!({ "n": 5 }));
    let called = world.call("six", json!({})).await.unwrap();
    assert_eq!(
        (called.value.clone(), called.outcome()),
        (json!({ "error": "LongChain(5)" }), Outcome::ApplicationError)
    );
    assert_eq!(world.called().len(), 5 + 5);
}

#[tokio::test]
async fn a_chain_of_itself_ends() {
    let world = World::new();
    world.chain("again", &["again"]);
    let called = world.call("again", json!({})).await.unwrap();
    assert_eq!(called.outcome(), Outcome::PlatformError(PlatformFault::Loop));
    assert_eq!(world.seen("again").len(), usize::from(hops::MAX_HOPS));
    world.journal_is_empty().await;
}

#[tokio::test]
async fn calls_in_all_are_bounded() {
    // Two flows, the first asked twice and making one call, the second asked once.
    for (calls, result) in [(6, json!({ "n": 1 })), (5, json!({ "error": "TooManyCalls(5)" }))] {
        let world = World::with(Bounds { calls, ..Bounds::default() });
        world.plain("one", add(1));
        world.conductor("asks", |input| match input["n"].as_u64() {
            Some(_) => input,
            None => json!({ "next": "one" }),
        });
        world.chain("outer", &["asks", "asks"]);
        assert_eq!(world.call("outer", json!({})).await.unwrap().value, result);
    }
    let world = World::with(Bounds { calls: 4, ..Bounds::default() });
    world.plain("one", add(1));
    world.chain("three", &["one"; 3]);
    world.chain("four", &["three", "one"]);
    let called = world.call("four", json!({})).await.unwrap();
    assert_eq!(called.value["error"], "TooManyCalls(4)", "a nested chain is a call itself");
}

#[tokio::test(start_paused = true)]
async fn time_is_bounded() {
    let time = Duration::from_millis(50);
    let world = World::with(Bounds { time, ..Bounds::default() });
    world.hanging("hangs");
    world.chain("slow", &["hangs", "hangs"]);
    let called = world.call("slow", json!({})).await.unwrap();
    assert_eq!(called.outcome(), Outcome::FunctionError(FunctionFault::Timeout(Clock::Run)));
    assert_eq!(world.called(), ["hangs"]);
    world.journal_is_empty().await;
}

#[tokio::test]
async fn dropping_it_gives_up_its_step_and_names_what_was_called() {
    let world = World::new();
    world.plain("one", add(1));
    world.hanging("hangs");
    world.chain("slow", &["one", "hangs", "one"]);
    {
        let call = world.call_as("slow", json!({}));
        tokio::pin!(call);
        let begun = until(|| world.called().len() == 2);
        tokio::select! {
            _ = &mut call => panic!("it answered"),
            () = begun => {}
        }
    }
    assert_eq!(*world.engine.running.lock(), 0, "what ran is dropped with it");
    world.journal_is_empty().await;
    let id = world.seen("slow")[0].id;
    let record = world.disk.record(&id).unwrap();
    assert_eq!(record.outcome, Outcome::PlatformError(PlatformFault::Cancelled));
    let steps = crate::world::components(&record.noted.unwrap().details);
    assert_eq!(steps, [world.seen("one")[0].id, world.seen("hangs")[0].id]);
    assert!(steps.iter().all(|step| world.disk.record(step).is_some()));
}

#[tokio::test]
async fn settings_are_checked() {
    let (chain, conduct) = World::new().flows();
    for wrong in
        [json!({}), json!({ "steps": [] }), json!({ "steps": [""] }), json!({ "steps": vec!["a"; 51] })]
    {
        let error = chain.check(&wrong).unwrap_err();
        assert!(error.code == "XB1003" && error.message.contains("steps"), "{error}");
    }
    chain.check(&json!({ "steps": vec!["a"; 50], "more": 1 })).unwrap();
    assert_eq!(conduct.check(&json!({ "with": "" })).unwrap_err().code, "XB1003");
    conduct.check(&json!({ "with": "a" })).unwrap();
}

//! Conductors.

use crate::world::World;
use serde_json::{Value, json};
use xebec_core::{
    Outcome,
    outcome::{FunctionFault, PlatformFault},
};
use xebec_flows::Bounds;

/// A conductor that asks for these, one after the other, and then ends with what the last one answered.
fn asks_for(steps: Vec<Value>) -> impl Fn(Value) -> Value {
    move |mut input| {
        let at = input["at"].as_u64().unwrap_or_default() as usize;
        if let Some(object) = input.as_object_mut() {
            object.remove("at");
        }
        match steps.get(at) {
            Some(step) => json!({ "next": step, "with": input, "state": { "at": at + 1 } }),
            None => json!({ "with": input }),
        }
    }
}

fn add(n: u64) -> impl Fn(Value) -> Value {
    move |input| json!({ "n": input["n"].as_u64().unwrap_or_default() + n })
}

#[tokio::test]
async fn is_asked_before_and_after_each_step() {
    let world = World::new();
    world.plain("one", add(1));
    world.conductor("c", asks_for(vec![json!("one"), json!("one")]));
    let called = world.call("c", json!({ "n": 40 })).await.unwrap();
    assert_eq!((called.value.clone(), called.outcome()), (json!({ "n": 42 }), Outcome::Success));
    assert_eq!(world.called(), ["c!", "one", "c!", "one", "c!"]);
    let seen = world.engine.seen.lock().clone();
    assert_eq!(called.components(), seen[1..].iter().map(|seen| seen.id).collect::<Vec<_>>());
    assert!(seen[1..].iter().all(|seen| seen.cause == Some(called.id)));
    assert_eq!(seen[3].input, json!({ "n": 41, "at": 1 }), "the state lies over the result");
    world.journal_is_empty().await;
    assert_eq!(world.disk.records.lock().len(), 6);
}

#[tokio::test]
async fn ends_with_its_input_field_or_all_that_it_said() {
    for (said, result) in [
        (json!({ "a": 1 }), json!({ "a": 1 })),
        (json!({ "with": { "a": 1 }, "b": 2 }), json!({ "a": 1 })),
        (json!({ "with": 7, "state": 1 }), json!({ "value": 7 })),
        (json!({ "with": [1] }), json!({ "value": [1] })),
        (json!([1, 2]), json!([1, 2])),
        (json!({}), json!({})),
    ] {
        let world = World::new();
        let says = said.clone();
        world.conductor("c", move |_| says.clone());
        let called = world.call("c", json!({ "x": 1 })).await.unwrap();
        assert_eq!((called.value.clone(), called.outcome()), (result, Outcome::Success), "{said}");
    }
}

#[tokio::test]
async fn what_is_no_object_is_boxed() {
    let world = World::new();
    world.plain("lists", |_| json!([1, 2]));
    world.conductor("c", |input| match input.get("state") {
        None => json!({ "next": "lists", "with": "text", "state": 5 }),
        Some(_) => input,
    });
    let called = world.call("c", json!({})).await.unwrap();
    assert_eq!(world.seen("lists")[0].input, json!({ "value": "text" }));
    assert_eq!(world.seen("c!")[1].input, json!({ "value": [1, 2], "state": 5 }));
    assert_eq!(called.value["value"], json!([1, 2]));
    // Without a state, the result is handed on as it is; without an input, the step gets an empty object.
    let world = World::new();
    world.plain("lists", |input| json!([input]));
    world.conductor("c", |input| if input.is_array() { input } else { json!({ "next": "lists" }) });
    assert_eq!(world.call("c", json!({ "x": 1 })).await.unwrap().value, json!([{}]));
}

#[tokio::test]
async fn is_told_what_went_wrong_and_may_go_on() {
    let world = World::new();
    world.plain("bad", |_| json!({ "error": "no" }));
    world.failing("broken", Outcome::FunctionError(FunctionFault::Crash));
    for (step, told) in [
        (json!("bad"), "no"),
        (json!("broken"), "it ended as crash"),
        (json!("nothing"), "there is no nothing"),
        (json!(null), "null is no name"),
        (json!({ "a": 1 }), "{\"a\":1} is no name"),
    ] {
        let asked = step.clone();
        world.conductor("c", move |input| match input.get("error") {
            None => json!({ "next": asked, "state": { "s": 1 } }),
            Some(error) => json!({ "handled": error, "s": input["s"] }),
        });
        let called = world.call("c", json!({})).await.unwrap();
        assert_eq!(called.value, json!({ "handled": told, "s": 1 }), "{step}");
        assert_eq!(called.outcome(), Outcome::Success);
    }
}

#[tokio::test]
async fn its_own_error_ends_it() {
    let world = World::new();
    world.conductor("c", |_| json!({ "error": "mine" }));
    let called = world.call("c", json!({})).await.unwrap();
    assert_eq!(
        (called.value.clone(), called.outcome()),
        (json!({ "error": "mine" }), Outcome::ApplicationError)
    );
    // One that says what is next goes on, error or not.
    world.plain("one", add(1));
    world.conductor("c", |input| match input.get("n") {
        None => json!({ "error": "mine", "next": "one" }),
        Some(_) => input,
    });
    assert_eq!(world.call("c", json!({})).await.unwrap().value, json!({ "n": 1 }));
}

#[tokio::test]
async fn what_the_platform_could_not_call_ends_it() {
    let world = World::new();
    let outcome = Outcome::PlatformError(PlatformFault::Unavailable);
    world.failing("away", outcome);
    world.conductor("c", |_| json!({ "next": "away" }));
    let called = world.call("c", json!({})).await.unwrap();
    let internal = Outcome::PlatformError(PlatformFault::Internal);
    assert_eq!((called.outcome(), world.seen("c!").len()), (internal, 1), "the conductor has run");
    world.journal_is_empty().await;
}

#[tokio::test]
async fn may_ask_for_so_many_steps_and_then_still_say_what_of() {
    let world = World::with(Bounds { steps: 3, ..Bounds::default() });
    world.plain("one", add(1));
    world.conductor("fits", asks_for(vec![json!("one"); 3]));
    assert_eq!(world.call("fits", json!({})).await.unwrap().value, json!({ "n": 3 }));
    world.conductor("many", asks_for(vec![json!("one"); 4]));
    let called = world.call("many", json!({})).await.unwrap();
    assert_eq!(called.value["error"], "LongConduct(3)", "it was told, and said no more");
    assert_eq!(world.seen("one").len(), 6);
    // One that does not listen is asked 2n+1 times in all.
    world.conductor("deaf", |_| json!({ "next": "one" }));
    let called = world.call("deaf", json!({})).await.unwrap();
    assert_eq!(
        (called.value["error"].as_str(), called.outcome()),
        (Some("LongConduct(3)"), Outcome::ApplicationError)
    );
    assert_eq!((world.seen("deaf!").len(), world.seen("one").len()), (7, 9));
}

#[tokio::test]
async fn nested_conductors_share_what_they_may_ask_for() {
    let world = World::with(Bounds { steps: 3, ..Bounds::default() });
    world.plain("one", add(1));
    world.conductor("inner", asks_for(vec![json!("one"); 2]));
    world.conductor("once", asks_for(vec![json!("inner"), json!("one")]));
    assert_eq!(world.call("once", json!({})).await.unwrap().value, json!({ "n": 3 }));
    world.conductor("twice", asks_for(vec![json!("inner"), json!("inner")]));
    let called = world.call("twice", json!({})).await.unwrap();
    assert_eq!(called.value["error"], "LongConduct(3)");
    // In a chain, each has its own.
    world.chain("chain", &["inner", "inner"]);
    assert_eq!(world.call("chain", json!({})).await.unwrap().value, json!({ "n": 4 }));
    // And a chain below a conductor is one step.
    world.chain("three", &["one"; 3]);
    world.conductor("chains", asks_for(vec![json!("three"); 3]));
    assert_eq!(world.call("chains", json!({})).await.unwrap().value, json!({ "n": 9 }));
}

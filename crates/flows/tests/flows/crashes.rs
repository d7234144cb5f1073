//! The machine fails at every point where it can, in flows of any shape.

use crate::{
    storage::{Disk, Machine},
    world::{Seen, World, components, soon},
};
use proptest::prelude::*;
use serde_json::{Value, json};
use std::{collections::HashMap, sync::Arc, time::Duration};
use xebec_core::{InvocationId, Outcome, outcome::PlatformFault};
use xebec_flows::Bounds;

/// The shape of a flow. Every function in it is called at most once by it.
#[derive(Clone, Debug)]
enum Shape {
    Plain,
    Fails,
    Chain(Vec<Shape>),
    Conductor(Vec<Shape>),
}

fn shape() -> impl Strategy<Value = Shape> {
    let leaf = prop_oneof![6 => Just(Shape::Plain), 1 => Just(Shape::Fails)];
    leaf.prop_recursive(3, 12, 4, |inner| {
        let steps = proptest::collection::vec(inner, 1..4);
        prop_oneof![steps.clone().prop_map(Shape::Chain), steps.prop_map(Shape::Conductor)]
    })
}

fn flow() -> impl Strategy<Value = Shape> {
    proptest::collection::vec(shape(), 1..4)
        .prop_flat_map(|steps| prop_oneof![Just(Shape::Chain(steps.clone())), Just(Shape::Conductor(steps))])
}

/// Deploys it and returns its name.
fn deploy(world: &World, shape: &Shape, count: &mut usize) -> String {
    *count += 1;
    let name = format!("f{count}");
    match shape {
        Shape::Plain => world.plain(&name, |_| json!({})),
        Shape::Fails => world.plain(&name, |_| json!({ "error": "as it was asked to" })),
        Shape::Chain(steps) => {
            let steps: Vec<_> = steps.iter().map(|step| deploy(world, step, count)).collect();
            world.chain(&name, &steps.iter().map(String::as_str).collect::<Vec<_>>());
        }
        Shape::Conductor(steps) => {
            let steps: Vec<_> = steps.iter().map(|step| deploy(world, step, count)).collect();
            world.conductor(&name, move |input: Value| {
                let at = input["at"].as_u64().unwrap_or_default() as usize;
                match steps.get(at) {
                    Some(step) => json!({ "next": step, "state": { "at": at + 1 } }),
                    None => json!({ "done": true }),
                }
            });
        }
    }
    name
}

/// What there was to see of a flow until the machine failed at `point`, or it was over; the number of points that
/// were passed.
fn run(shape: &Shape, point: usize, disk: &Arc<Disk>) -> (Vec<Seen>, usize, bool) {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    let machine = Machine::failing_at(point);
    let (seen, over) = runtime.block_on(async {
        let world = World::on(disk, &machine, Bounds::default(), soon());
        let name = deploy(&world, shape, &mut 0);
        let over = tokio::select! {
            biased;
            () = machine.failure() => false,
            over = async {
                world.call(&name, json!({})).await.unwrap();
                // Until everything is put away, or that fails.
                while world.journal.runs() > 0 {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
                true
            } => over,
        };
        let seen = world.engine.seen.lock().clone();
        (seen, over)
    });
    (seen, machine.passed(), over)
}

/// Starts the server again over the same disk; `point` as before. Whether it got through.
fn restart(disk: &Arc<Disk>, point: usize) -> bool {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    let machine = Machine::failing_at(point);
    runtime.block_on(async {
        let world = World::on(disk, &machine, Bounds::default(), soon());
        tokio::select! {
            biased;
            () = machine.failure() => false,
            found = world.journal.end_interrupted() => {
                found.unwrap();
                assert!(world.engine.seen.lock().is_empty(), "nothing is called again");
                assert_eq!(world.engine.records.replaced.load(std::sync::atomic::Ordering::SeqCst), 0);
                true
            }
        }
    })
}

/// No step was made twice; each run that was written down has its record, which names steps that have theirs.
fn check(disk: &Disk, seen: &[Seen], began: &[InvocationId]) {
    let mut calls: HashMap<&str, usize> = HashMap::new();
    for call in seen {
        *calls.entry(&call.name).or_default() += 1;
        let flow = call.cause.is_none_or(|cause| disk.record(&cause).is_some());
        assert!(flow, "{} was called by a flow that left no trace", call.name);
    }
    for (name, calls) in calls {
        assert!(name.ends_with('!') || calls == 1, "{name} was called {calls} times");
    }
    assert!(disk.documents.lock().is_empty(), "the journal is empty");
    for id in began {
        let record = disk.record(id).expect("a run that was written down has a record");
        let interrupted = record.outcome == Outcome::PlatformError(PlatformFault::Internal);
        assert_eq!(interrupted, record.message.is_some());
        let named = components(&record.noted.unwrap().details);
        if interrupted {
            let records = disk.records.lock();
            let mut parts: Vec<_> =
                records.values().filter(|part| part.noted.as_ref().unwrap().cause == Some(*id)).collect();
            parts.sort_by_key(|part| (part.received, part.id));
            assert_eq!(named, parts.iter().map(|part| part.id).collect::<Vec<_>>());
        }
    }
}

fn stop_everywhere(shape: &Shape) {
    let sound = Arc::new(Disk::default());
    let (_, points, over) = run(shape, usize::MAX, &sound);
    assert!(over);
    assert!(sound.documents.lock().is_empty());
    for point in 1..=points {
        let disk = Arc::new(Disk::default());
        let (seen, _, over) = run(shape, point, &disk);
        assert!(!over, "{point} of {points}");
        let began: Vec<InvocationId> =
            disk.documents.lock().keys().map(|key| key.name.parse().unwrap()).collect();
        // The server ends while it starts, too: later each time.
        let mut again = 1;
        while !restart(&disk, again) {
            again += 3;
        }
        check(&disk, &seen, &began);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_step_is_made_twice_and_each_run_has_one_record(shape in flow()) {
        stop_everywhere(&shape);
    }
}

#[test]
fn a_plain_chain_survives_every_stop() {
    stop_everywhere(&Shape::Chain(vec![
        Shape::Plain,
        Shape::Chain(vec![Shape::Plain]),
        Shape::Conductor(vec![Shape::Fails]),
    ]));
}

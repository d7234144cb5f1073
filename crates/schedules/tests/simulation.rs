//! Servers that come, are killed at any step and come again, on a clock that jumps: every time that is due becomes
//! one message.

#![allow(clippy::unwrap_used)]

mod support;

use jiff::SignedDuration;
use proptest::prelude::*;
use std::{collections::BTreeSet, sync::Arc};
use support::{Life, World, every, f};
use xebec_core::{document::Expect, ports::schedules::Schedules as _, schedule::Missed, schedule::Schedule};

/// What happens next.
#[derive(Clone, Debug)]
enum Step {
    /// A server comes that is killed after so many steps, its last one done or not.
    Comes(u64, bool),
    /// A server leaves in good order.
    Leaves,
    /// Time passes, in seconds.
    Passes(u64),
    /// The clock jumps, by so many seconds.
    Jumps(i64),
}

fn steps(jumps: bool) -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        3 => (1u64..60, any::<bool>()).prop_map(|(steps, done)| Step::Comes(steps, done)),
        1 => Just(Step::Leaves),
        4 => (1u64..60).prop_map(Step::Passes),
        1 => (-300i64..300).prop_map(move |by| Step::Jumps(if jumps { by } else { 0 })),
    ];
    prop::collection::vec(step, 1..30)
}

async fn play(steps: Vec<Step>) -> World {
    let world = World::new();
    world.functions.deploy("g", vec![Schedule { missed: Missed::All, ..every("own", "11s") }]);
    let maker = world.server().await;
    for (name, missed) in [("all", Missed::All), ("once", Missed::Once), ("skip", Missed::Skip)] {
        maker.put(&f(), Schedule { missed, ..every(name, "7s") }, Expect::Any).await.unwrap();
    }
    maker.shutdown().await;
    let mut servers = Vec::new();
    for step in steps {
        match step {
            Step::Comes(steps, done) => {
                let life = Life::new(steps, done);
                servers.push((world.mortal(&life).await, Arc::clone(&life)));
                servers.retain(|(_, life)| !life.is_over());
                servers.truncate(3);
            }
            Step::Leaves => {
                if let Some((server, _)) = servers.pop() {
                    server.shutdown().await;
                }
            }
            Step::Passes(seconds) => {
                world.pass(seconds).await;
                servers.retain(|(_, life)| !life.is_over());
            }
            Step::Jumps(by) => world.clock.jump(SignedDuration::from_secs(by)),
        }
    }
    // All is seen to by one that stays.
    let heir = world.server().await;
    world.pass(600).await;
    heir.shutdown().await;
    world
}

fn run(steps: Vec<Step>) -> World {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    runtime.block_on(play(steps))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn none_twice_and_none_lost(steps in steps(false)) {
        let world = run(steps);
        for (name, interval) in [("all", 7), ("g.own", 11)] {
            let dues = world.sink.dues(name);
            let first = *dues.first().unwrap();
            for (n, due) in dues.iter().enumerate() {
                let expected = first + SignedDuration::from_secs(interval * n as i64);
                prop_assert_eq!(*due, expected, "{}: none lost, none twice, in order", name);
            }
        }
        for name in ["once", "skip"] {
            let dues = world.sink.dues(name);
            prop_assert!(dues.windows(2).all(|pair| pair[0] < pair[1]), "{}: {:?}", name, dues);
            prop_assert!(dues.len() >= 85, "{} of them in the last ten minutes", dues.len());
        }
    }

    #[test]
    fn none_twice_whatever_the_clock_does(steps in steps(true)) {
        let world = run(steps);
        for name in ["all", "g.own", "once", "skip"] {
            let dues = world.sink.dues(name);
            let different: BTreeSet<_> = dues.iter().collect();
            prop_assert_eq!(different.len(), dues.len(), "{}", name);
        }
        for accepted in world.sink.all() {
            prop_assert!(accepted.due.is_none_or(|due| due <= accepted.at), "none early");
        }
    }
}

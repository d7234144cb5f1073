//! Several targets measured in turns, so that they share the machine's moods.

use crate::{
    load::{self, Plan, target::Target},
    report::Tally,
};
use std::time::Duration;

const ROUNDS: u32 = 5;
const TIMEOUT: Duration = Duration::from_secs(30);

/// What each target gave: its tally, and answers per second.
pub(super) struct Turn {
    pub(super) tally: Tally,
    pub(super) rate: f64,
}

pub(super) async fn get(url: &str) -> Result<Target, String> {
    Target::new(url, "GET", &[], None)?.resolve(false).await
}

pub(super) async fn post(url: &str, body: &str) -> Result<Target, String> {
    Target::new(url, "POST", &[], Some(body))?.resolve(false).await
}

/// A closed loop on each target in turn; `measure` is the time that each gets.
pub(super) async fn closed(
    targets: &[&Target],
    connections: usize,
    measure: Duration,
) -> Result<Vec<Turn>, String> {
    let mut turns: Vec<Turn> = targets.iter().map(|_| Turn { tally: Tally::new(), rate: 0.0 }).collect();
    for round in 0..ROUNDS {
        for (target, turn) in targets.iter().zip(&mut turns) {
            let warm_up = if round == 0 { Duration::from_millis(500) } else { Duration::from_millis(20) };
            let plan = Plan { connections, rate: None, measure: measure / ROUNDS, warm_up, timeout: TIMEOUT };
            let (tally, report) = load::run(target, plan).await;
            turn.rate += report.rate / f64::from(ROUNDS);
            turn.tally.merge(&tally);
        }
    }
    for (target, turn) in targets.iter().zip(&turns) {
        if turn.tally.bad() > 0 || turn.tally.latencies.len() == 0 {
            return Err(format!(
                "{} failed: statuses {:?}, errors {:?}",
                target.url, turn.tally.statuses, turn.tally.errors
            ));
        }
    }
    Ok(turns)
}

//! The free edition's own scaling, for functions that no label scales otherwise: what succeeds more often than
//! five times a second gets a step more instances, and another one while that goes on.
//!
//! It comes on top of the engine's scaling by calls in flight, and never against it. A step is made only where
//! calls are in flight for it: of instances that nothing is left for, the original's rule has many. What a step
//! brought stays for a minute after the last one; then the load alone decides.

use crate::{DOOR, metrics::Metrics, translate::steps};
use std::{collections::HashMap, sync::Arc, time::Duration};
use tokio::time::Instant;
use xebec_core::{function::FunctionView, names::Address, ports::control::Control};

/// How often it looks. A rate is that of the two spans between three looks.
const EVERY: Duration = Duration::from_secs(5);

/// How long after a step the next one may follow.
const REPEAT: Duration = Duration::from_secs(30);

/// Calls per second that succeed; above it, a step is due.
const RATE: f64 = 5.0;

/// Looks at what was counted, again and again.
pub(crate) async fn look_regularly(control: Arc<dyn Control>, metrics: Arc<Metrics>) {
    let mut watch = Watch::default();
    loop {
        tokio::time::sleep(EVERY).await;
        for address in watch.due(metrics.successes(), Instant::now()) {
            step(&*control, &address).await;
        }
    }
}

async fn step(control: &dyn Control, address: &Address) {
    let Some(view) = control.at(address).and_then(|key| control.function(&key)) else { return };
    if !applies(&view) {
        return;
    }
    // A label that makes no sense was refused when it was deployed.
    let Ok(Some(instances)) = steps::up_by_rule(&view) else { return };
    if let Err(error) = control.scale(&view.function.key, instances).await {
        tracing::debug!(function = %view.function.key, %error, "a step was not made");
    }
}

/// Whether a function is scaled by steps, and a step would find something to do.
fn applies(view: &FunctionView) -> bool {
    let live = &view.live;
    view.function.key.door == DOOR
        && !steps::scaled_otherwise(&view.function.labels)
        && live.in_flight + live.waiting > live.ready + live.starting
}

/// Who succeeds how often.
#[derive(Debug, Default)]
struct Watch(HashMap<Address, Seen>);

#[derive(Debug)]
struct Seen {
    /// What was counted at the last looks, the newest last.
    looks: [Option<(Instant, u64)>; 2],
    /// It was above the rate when it was last looked at.
    above: bool,
    stepped: Option<Instant>,
}

impl Watch {
    /// Takes what was counted until now; returns those who get a step.
    fn due(&mut self, counted: Vec<(Address, u64)>, now: Instant) -> Vec<Address> {
        let mut before = std::mem::take(&mut self.0);
        let mut due = Vec::new();
        for (address, count) in counted {
            let fresh = || Seen { looks: [None, None], above: false, stepped: None };
            let mut seen = before.remove(&address).unwrap_or_else(fresh);
            if seen.look(count, now) {
                due.push(address.clone());
            }
            self.0.insert(address, seen);
        }
        due
    }
}

impl Seen {
    /// Whether a step is due: it was above the rate at the last look, and is now.
    fn look(&mut self, count: u64, now: Instant) -> bool {
        let oldest = self.looks[0].or(self.looks[1]);
        self.looks = [self.looks[1], Some((now, count))];
        let Some((then, less)) = oldest else { return false };
        let span = now.saturating_duration_since(then).max(EVERY).as_secs_f64();
        let above = count.saturating_sub(less) as f64 / span > RATE;
        let rests = self.stepped.is_some_and(|stepped| now.saturating_duration_since(stepped) < REPEAT);
        let due = above && std::mem::replace(&mut self.above, above) && !rests;
        if due {
            self.stepped = Some(now);
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use xebec_core::Tenant;

    /// The looks, counted from 0, at which steps are due for a function that succeeds so often per second.
    fn steps_at(rates: &[u64]) -> Vec<usize> {
        let (mut watch, address) = (Watch::default(), Address::new("function", &Tenant::default(), "f"));
        let (mut count, begun) = (0, Instant::now());
        let mut steps = Vec::new();
        for (at, rate) in rates.iter().enumerate() {
            count += rate * EVERY.as_secs();
            let now = begun + EVERY * u32::try_from(at).unwrap();
            if !watch.due(vec![(address.clone(), count)], now).is_empty() {
                steps.push(at);
            }
        }
        steps
    }

    #[test]
    fn what_stays_above_the_rate_gets_a_step_every_half_minute() {
        assert_eq!(steps_at(&[0, 6, 6, 6, 6, 6, 6, 6, 6, 6]), [2, 8]);
        assert_eq!(steps_at(&[0, 5, 5, 5, 5, 5, 5, 5, 5, 5]), [0usize; 0], "it is not above");
        assert_eq!(steps_at(&[0, 100, 0, 0, 0, 0]), [2], "for as long as the rate is one of ten seconds");
        assert_eq!(steps_at(&[0, 0, 0, 6, 0, 0]), [0usize; 0], "one span of three alone is nothing");
        assert_eq!(steps_at(&[10_000]), [0usize; 0], "what there is at first says nothing of a rate");
    }

    #[test]
    fn those_who_are_gone_are_forgotten() {
        let (mut watch, address) = (Watch::default(), Address::new("function", &Tenant::default(), "f"));
        watch.due(vec![(address, 5)], Instant::now());
        assert_eq!(watch.0.len(), 1);
        watch.due(Vec::new(), Instant::now());
        assert!(watch.0.is_empty());
    }
}

//! What a seed stands for: who sends what, how functions behave, and what goes wrong.

use crate::random::Random;
use jiff::Timestamp;
use std::time::Duration;
use xebec_core::{
    FunctionKey, InvocationId, Outcome, Tenant,
    limits::Clock,
    message::{Call, Guarantee, Idempotency, Lane, Message, Payload, Target},
    outcome::{FunctionFault, PlatformFault},
    ports::queue::{BatchRules, LaneRules},
    rules::retry::{Ending, Jitter, Retry},
};

/// How the function of a lane behaves for the time being.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Mood {
    Healthy,
    Flaky,
    Broken,
    /// The platform refuses most calls.
    Busy,
    /// Calls take longer than leases do.
    Slow,
}

const MOODS: [Mood; 5] = [Mood::Healthy, Mood::Flaky, Mood::Broken, Mood::Busy, Mood::Slow];

/// All that is drawn once.
pub(crate) struct Plan {
    pub(crate) lanes: Vec<Lane>,
    pub(crate) moods: Vec<Mood>,
    pub(crate) messages: usize,
    pub(crate) workers: usize,
    /// Claims that a worker has at a time.
    pub(crate) slots: usize,
    pub(crate) lease: Duration,
    /// Milliseconds between what goes wrong, about.
    pub(crate) trouble_ms: u64,
    pub(crate) at_most_once: f64,
    pub(crate) keyed: f64,
    pub(crate) batches: f64,
}

impl Plan {
    pub(crate) fn draw(random: &mut Random) -> Self {
        let mut lanes = Vec::new();
        for tenant in 0..random.between(1, 3) {
            let tenant = Tenant::new(format!("t{tenant}"));
            for name in 0..random.between(1, 3) {
                let function = FunctionKey::new(&tenant, "native", &format!("f{name}"));
                let queue = if random.chance(0.5) { "default" } else { "jobs" };
                lanes.push(Lane::function(queue, &function));
            }
            if random.chance(0.2) {
                lanes.push(Lane { tenant, queue: "shared".into(), target: Target::Consumer });
            }
        }
        let moods = lanes.iter().map(|_| *random.pick(&MOODS)).collect();
        Self {
            moods,
            lanes,
            messages: random.between(10, 40) as usize,
            workers: random.between(1, 4) as usize,
            slots: random.between(1, 4) as usize,
            lease: Duration::from_millis(*random.pick(&[200, 1000, 5000])),
            trouble_ms: *random.pick(&[50, 300, 2000]),
            at_most_once: *random.pick(&[0.0, 0.3, 1.0]),
            keyed: *random.pick(&[0.0, 0.4, 0.9]),
            batches: *random.pick(&[0.0, 0.0, 0.5]),
        }
    }

    pub(crate) fn any_mood(&self, random: &mut Random) -> Mood {
        *random.pick(&MOODS)
    }

    pub(crate) fn rules(&self, random: &mut Random) -> LaneRules {
        let batch = random.maybe(self.batches, |random| BatchRules {
            size: random.between(1, 4) as u32,
            wait: Duration::from_millis(random.below(300)),
        });
        LaneRules { concurrency: *random.pick(&[0, 1, 1, 2, 16]), batch }
    }

    /// A message of some lane.
    pub(crate) fn message(&self, random: &mut Random, number: u64, now: Timestamp) -> Message {
        let lane = random.pick(&self.lanes).clone();
        let delay = if random.chance(0.2) { random.below(20_000) } else { 0 };
        let due = now + Duration::from_millis(delay);
        let retry = Retry {
            attempts: random.between(1, 4) as u32,
            min_wait_ms: random.between(10, 500),
            max_wait_ms: random.between(500, 20_000),
            jitter: *random.pick(&[Jitter::Exponential, Jitter::Full, Jitter::Equal]),
            honour_retry_after: random.chance(0.5),
            patience_ms: random.between(1, 600_000),
            ..Retry::default()
        };
        let at_most_once = random.chance(self.at_most_once);
        Message {
            key: random.maybe(self.keyed, |random| format!("k{}", random.below(2)).into()),
            priority: if random.chance(0.3) { random.below(10) as u8 } else { 5 },
            expires: random.maybe(0.2, |random| due + Duration::from_millis(random.below(5000))),
            idempotency: random.maybe(0.2, |random| Idempotency {
                key: format!("i{}", random.below(3)).into(),
                window_ms: random.below(10_000),
            }),
            retry: Some(retry),
            guarantee: Some(if at_most_once { Guarantee::AtMostOnce } else { Guarantee::AtLeastOnce }),
            due,
            ..plain(number, lane, now)
        }
    }
}

/// A message without wishes.
pub(crate) fn plain(number: u64, lane: Lane, now: Timestamp) -> Message {
    let call = Call {
        method: "POST".into(),
        uri: "/".to_owned(),
        headers: http::HeaderMap::new(),
        body: Payload::Inline(bytes::Bytes::new()),
    };
    Message {
        id: InvocationId(uuid::Uuid::from_u128(u128::from(number))),
        retry: Some(Retry::default()),
        ..Message::new(lane, call, now)
    }
}

/// How an attempt goes: how long it takes, and how it ends.
pub(crate) fn attempt(random: &mut Random, mood: Mood, lease: Duration) -> (Duration, Ending) {
    let ended = |outcome| Ending { outcome, status: None, retry_after: None };
    let answered = |status: u16| {
        let outcome = if status >= 500 { Outcome::ApplicationError } else { Outcome::Success };
        Ending { outcome, status: Some(status), retry_after: None }
    };
    let fault = |random: &mut Random| {
        ended(Outcome::FunctionError(*random.pick(&[
            FunctionFault::Timeout(Clock::Run),
            FunctionFault::Crash,
            FunctionFault::OutOfMemory,
            FunctionFault::FailedInit,
            FunctionFault::BadResponse,
        ])))
    };
    let refusal = |random: &mut Random| {
        let after = random.maybe(0.3, |random| Duration::from_millis(random.below(3000)));
        let fault = *random.pick(&[PlatformFault::Overloaded, PlatformFault::Unavailable]);
        Ending { retry_after: after, ..ended(Outcome::PlatformError(fault)) }
    };
    let mut ending = match mood {
        Mood::Healthy | Mood::Slow => answered(*random.pick(&[200, 202, 404])),
        Mood::Flaky => match random.below(6) {
            0 => fault(random),
            1 => answered(503),
            2 => refusal(random),
            3 => ended(Outcome::PlatformError(*random.pick(&[
                PlatformFault::NotFound,
                PlatformFault::Loop,
                PlatformFault::Internal,
            ]))),
            _ => answered(200),
        },
        Mood::Broken if random.chance(0.5) => fault(random),
        Mood::Broken => answered(*random.pick(&[500, 501, 503])),
        Mood::Busy if random.chance(0.8) => refusal(random),
        Mood::Busy => answered(200),
    };
    if ending.status == Some(503) && random.chance(0.5) {
        ending.retry_after = Some(Duration::from_secs(random.below(8)));
    }
    let longest = if mood == Mood::Slow { 3 * lease } else { lease / 2 };
    (longest.mul_f64(random.unit()), ending)
}

/// Whether an attempt that ended so got as far as the function.
pub(crate) fn reaches(ending: &Ending) -> bool {
    !matches!(
        ending.outcome,
        Outcome::PlatformError(
            PlatformFault::Overloaded
                | PlatformFault::Unavailable
                | PlatformFault::NotFound
                | PlatformFault::Loop
        )
    )
}

//! Whether a message that ran is done, runs again, or is a dead letter; and whether one may begin at all.

use crate::{
    message::Guarantee,
    outcome::{Outcome, PlatformFault},
    rules::backoff::Backoff,
};
use compact_str::CompactString;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::{fmt, time::Duration};

/// What is tried again, how often, and after how long.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Retry {
    /// Attempts in all, the first included; at least 1.
    pub attempts: u32,
    /// Statuses of answers that are tried again.
    pub codes: Vec<u16>,
    /// Outcomes without an answer that are tried again, by [`Outcome::name`]. What the platform was too busy
    /// or not ready for is always tried again, and uses up no attempt.
    pub outcomes: Vec<CompactString>,
    /// The wait after the first failure, in milliseconds; it doubles from there.
    pub min_wait_ms: u64,
    /// The longest wait, in milliseconds.
    pub max_wait_ms: u64,
    /// How waits are spread.
    pub jitter: Jitter,
    /// Whether an answer's `Retry-After` lengthens the wait (up to [`Retry::LONGEST_ASKED`]).
    pub honour_retry_after: bool,
    /// For how long what the platform was too busy or not ready for is tried again, in milliseconds, from when
    /// the message was first due.
    pub patience_ms: u64,
}

impl Retry {
    /// The longest wait that an answer may ask for.
    pub const LONGEST_ASKED: Duration = Duration::from_secs(3600);

    fn backoff(&self) -> Backoff {
        let first = Duration::from_millis(self.min_wait_ms);
        Backoff { first, most: Duration::from_millis(self.max_wait_ms).max(first) }
    }

    fn wait(&self, failures: u32, chance: f64) -> Duration {
        match self.jitter {
            Jitter::Exponential => self.backoff().delay(failures),
            Jitter::Equal => self.backoff().jittered(failures, chance),
            Jitter::Full => {
                let chance = if chance.is_finite() { chance.clamp(0.0, 1.0) } else { 1.0 };
                let whole = self.backoff().delay(failures);
                // Of very long waits a product is rounded, upwards too.
                whole.mul_f64(chance).min(whole)
            }
        }
    }
}

impl Default for Retry {
    /// Five attempts over about 15 seconds, for whatever may pass; six hours of patience with the platform.
    fn default() -> Self {
        Self {
            attempts: 5,
            codes: vec![408, 429, 500, 502, 503, 504],
            outcomes: ["timeout", "crash", "out_of_memory", "failed_init", "bad_response", "internal"]
                .map(CompactString::from)
                .into(),
            min_wait_ms: 1000,
            max_wait_ms: 120_000,
            jitter: Jitter::Equal,
            honour_retry_after: true,
            patience_ms: 6 * 3600 * 1000,
        }
    }
}

/// How waits are spread, so that those who failed together do not come back together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Jitter {
    /// Not at all.
    Exponential,
    /// Over the whole wait.
    Full,
    /// Over its upper half.
    #[default]
    Equal,
}

/// How an attempt ended.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ending {
    /// Its outcome.
    pub outcome: Outcome,
    /// The answer's status, where there was one.
    pub status: Option<u16>,
    /// When the answer, or the platform, said that it may be worth trying again.
    pub retry_after: Option<Duration>,
}

/// What becomes of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// It succeeded.
    Done,
    /// It runs again after this wait. `counts`: the attempt that failed is one of those it may have.
    Again {
        /// From now.
        after: Duration,
        /// Whether the attempt was used up.
        counts: bool,
    },
    /// It never runs again by itself.
    Dead(Death),
}

/// Why a message is a dead letter.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, utoipa::ToSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Death {
    /// All its attempts failed.
    Exhausted,
    /// It failed in a way that is not tried again.
    Failed,
    /// It had not begun when it expired.
    Expired,
    /// A crash interrupted it, and it may run at most once.
    Interrupted,
    /// Whatever ran it ended, again and again.
    Poison,
    /// It is the last of too long a chain of calls.
    Loop,
}

impl Death {
    /// Its name: `exhausted`, `failed`, …
    pub fn name(self) -> &'static str {
        match self {
            Self::Exhausted => "exhausted",
            Self::Failed => "failed",
            Self::Expired => "expired",
            Self::Interrupted => "interrupted",
            Self::Poison => "poison",
            Self::Loop => "loop",
        }
    }
}

impl fmt::Display for Death {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What a message has been through.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct History {
    /// Attempts that ended and count.
    pub failures: u32,
    /// Attempts that the platform ended before the function saw them.
    pub refusals: u32,
    /// Claims whose lease ran out: a crash, or a defect.
    pub interruptions: u32,
}

/// Interruptions that a message may survive, however few attempts it has.
pub const MAX_INTERRUPTIONS: u32 = 4;

/// Whether a claimed message may begin.
pub fn may_begin(
    guarantee: Guarantee,
    retry: &Retry,
    history: History,
    expires: Option<Timestamp>,
    now: Timestamp,
) -> Result<(), Death> {
    if history.interruptions > 0 && guarantee == Guarantee::AtMostOnce {
        return Err(Death::Interrupted);
    }
    if history.interruptions > MAX_INTERRUPTIONS.max(retry.attempts) {
        return Err(Death::Poison);
    }
    // Only what never began can expire: the rest ends by its attempts.
    let untouched = history.failures == 0 && history.interruptions == 0;
    if untouched && expires.is_some_and(|expires| expires <= now) {
        return Err(Death::Expired);
    }
    Ok(())
}

/// What becomes of a message whose attempt ended. `history` is that before this attempt, `age` counts from
/// when the message was first due, `chance` lies in 0..1.
pub fn decide(
    guarantee: Guarantee,
    retry: &Retry,
    history: History,
    ending: &Ending,
    age: Duration,
    chance: f64,
) -> Next {
    if let Outcome::PlatformError(fault) = ending.outcome {
        return platform(guarantee, retry, history, fault, ending, age, chance);
    }
    let again = match ending.status {
        Some(status) => retry.codes.contains(&status),
        None => retry.outcomes.iter().any(|name| name == ending.outcome.name()),
    };
    if !again && ending.outcome.is_success() {
        return Next::Done;
    }
    if !again || guarantee == Guarantee::AtMostOnce {
        return Next::Dead(Death::Failed);
    }
    let failures = history.failures.saturating_add(1);
    if failures >= retry.attempts.max(1) {
        return Next::Dead(Death::Exhausted);
    }
    Next::Again { after: after(retry, failures, ending, chance), counts: true }
}

/// What never reached the function may run again whatever was promised: it has not run yet.
fn platform(
    guarantee: Guarantee,
    retry: &Retry,
    history: History,
    fault: PlatformFault,
    ending: &Ending,
    age: Duration,
    chance: f64,
) -> Next {
    match fault {
        PlatformFault::Overloaded | PlatformFault::Unavailable => {
            if age >= Duration::from_millis(retry.patience_ms) {
                return Next::Dead(Death::Exhausted);
            }
            let refusals = history.refusals.saturating_add(1);
            Next::Again { after: after(retry, refusals, ending, chance), counts: false }
        }
        PlatformFault::Loop => Next::Dead(Death::Loop),
        // A defect of ours in the middle of a call: like a crash of the function.
        PlatformFault::Internal
            if guarantee == Guarantee::AtLeastOnce
                && retry.outcomes.iter().any(|name| name == "internal") =>
        {
            let failures = history.failures.saturating_add(1);
            if failures >= retry.attempts.max(1) {
                return Next::Dead(Death::Exhausted);
            }
            Next::Again { after: after(retry, failures, ending, chance), counts: true }
        }
        _ => Next::Dead(Death::Failed),
    }
}

fn after(retry: &Retry, failures: u32, ending: &Ending, chance: f64) -> Duration {
    let own = retry.wait(failures, chance);
    match ending.retry_after {
        Some(asked) if retry.honour_retry_after => own.max(asked.min(Retry::LONGEST_ASKED)),
        _ => own,
    }
}

#[cfg(test)]
mod tests;

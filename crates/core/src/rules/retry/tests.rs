use super::*;
use crate::{limits::Clock, outcome::FunctionFault};
use proptest::prelude::*;

const FAULTS: [FunctionFault; 5] = [
    FunctionFault::Timeout(Clock::Run),
    FunctionFault::Crash,
    FunctionFault::OutOfMemory,
    FunctionFault::FailedInit,
    FunctionFault::BadResponse,
];

const PLATFORM: [PlatformFault; 9] = [
    PlatformFault::NotFound,
    PlatformFault::Forbidden,
    PlatformFault::Overloaded,
    PlatformFault::Unavailable,
    PlatformFault::TooLarge,
    PlatformFault::Cancelled,
    PlatformFault::BadRequest,
    PlatformFault::Loop,
    PlatformFault::Internal,
];

fn ended(outcome: Outcome) -> Ending {
    Ending { outcome, status: None, retry_after: None }
}

fn answered(status: u16) -> Ending {
    let outcome = if status >= 500 { Outcome::ApplicationError } else { Outcome::Success };
    Ending { outcome, status: Some(status), retry_after: None }
}

fn first(guarantee: Guarantee, ending: &Ending) -> Next {
    decide(guarantee, &Retry::default(), History::default(), ending, Duration::ZERO, 1.0)
}

#[test]
fn what_becomes_of_an_attempt_by_how_it_ended() {
    use Guarantee::{AtLeastOnce, AtMostOnce};
    let second = Duration::from_secs(1);
    let again = Next::Again { after: second, counts: true };
    let refused = Next::Again { after: second, counts: false };
    let failed = Next::Dead(Death::Failed);
    for (status, at_least, at_most) in [
        (200, Next::Done, Next::Done),
        (302, Next::Done, Next::Done),
        (404, Next::Done, Next::Done),
        (408, again, failed),
        (429, again, failed),
        (500, again, failed),
        (501, failed, failed),
        (503, again, failed),
    ] {
        assert_eq!(first(AtLeastOnce, &answered(status)), at_least, "{status}");
        assert_eq!(first(AtMostOnce, &answered(status)), at_most, "{status}");
    }
    assert_eq!(first(AtMostOnce, &ended(Outcome::Success)), Next::Done, "contracts without a status");
    for fault in FAULTS {
        assert_eq!(first(AtLeastOnce, &ended(Outcome::FunctionError(fault))), again, "{fault:?}");
        assert_eq!(first(AtMostOnce, &ended(Outcome::FunctionError(fault))), failed, "{fault:?}");
    }
    for fault in PLATFORM {
        let (at_least, at_most) = match fault {
            PlatformFault::Overloaded | PlatformFault::Unavailable => (refused, refused),
            PlatformFault::Loop => (Next::Dead(Death::Loop), Next::Dead(Death::Loop)),
            PlatformFault::Internal => (again, failed),
            _ => (failed, failed),
        };
        assert_eq!(first(AtLeastOnce, &ended(Outcome::PlatformError(fault))), at_least, "{fault:?}");
        assert_eq!(first(AtMostOnce, &ended(Outcome::PlatformError(fault))), at_most, "{fault:?}");
    }
}

#[test]
fn only_what_the_policy_names_is_tried_again() {
    let retry = Retry { codes: vec![200], outcomes: vec!["crash".into()], ..Retry::default() };
    let next = |ending: &Ending| {
        decide(Guarantee::AtLeastOnce, &retry, History::default(), ending, Duration::ZERO, 0.0)
    };
    assert!(matches!(next(&answered(200)), Next::Again { .. }), "an answer may mean: not yet");
    assert_eq!(next(&answered(500)), Next::Dead(Death::Failed));
    let crash = ended(Outcome::FunctionError(FunctionFault::Crash));
    assert!(matches!(next(&crash), Next::Again { .. }));
    let memory = ended(Outcome::FunctionError(FunctionFault::OutOfMemory));
    assert_eq!(next(&memory), Next::Dead(Death::Failed));
    assert_eq!(next(&ended(Outcome::PlatformError(PlatformFault::Internal))), Next::Dead(Death::Failed));
}

#[test]
fn patience_with_the_platform_ends() {
    let busy = ended(Outcome::PlatformError(PlatformFault::Overloaded));
    let retry = Retry { attempts: 1, patience_ms: 1000, ..Retry::default() };
    let history = History { refusals: 1_000_000, ..History::default() };
    let next = |ms| decide(Guarantee::AtMostOnce, &retry, history, &busy, Duration::from_millis(ms), 1.0);
    assert_eq!(next(999), Next::Again { after: Duration::from_secs(120), counts: false });
    assert_eq!(next(1000), Next::Dead(Death::Exhausted));
}

#[test]
fn retry_after_is_honoured_up_to_an_hour_where_the_policy_says_so() {
    let asks = |seconds| Ending { retry_after: Some(Duration::from_secs(seconds)), ..answered(503) };
    let after = |retry: &Retry, seconds| {
        let history = History::default();
        decide(Guarantee::AtLeastOnce, retry, history, &asks(seconds), Duration::ZERO, 1.0)
    };
    let again = |seconds| Next::Again { after: Duration::from_secs(seconds), counts: true };
    let honours = Retry::default();
    assert_eq!(after(&honours, 0), again(1), "it never shortens the wait");
    assert_eq!(after(&honours, 30), again(30));
    assert_eq!(after(&honours, 86_400), again(3600));
    assert_eq!(after(&Retry { honour_retry_after: false, ..honours }, 30), again(1));
}

#[test]
fn what_may_begin() {
    use Guarantee::{AtLeastOnce, AtMostOnce};
    let now = Timestamp::UNIX_EPOCH;
    let (past, future) = (Some(now), Some(Timestamp::MAX));
    let history = |failures, refusals, interruptions| History { failures, refusals, interruptions };
    for (guarantee, history, expires, wanted) in [
        (AtMostOnce, history(0, 0, 0), None, Ok(())),
        (AtMostOnce, history(0, 9, 0), future, Ok(())),
        (AtMostOnce, history(0, 0, 1), None, Err(Death::Interrupted)),
        (AtMostOnce, history(0, 0, 1), past, Err(Death::Interrupted)),
        (AtLeastOnce, history(0, 0, 0), past, Err(Death::Expired)),
        (AtLeastOnce, history(0, 7, 0), past, Err(Death::Expired)),
        (AtLeastOnce, history(1, 0, 0), past, Ok(())),
        (AtLeastOnce, history(0, 0, 1), past, Ok(())),
        (AtLeastOnce, history(0, 0, 5), None, Ok(())),
        (AtLeastOnce, history(0, 0, 6), None, Err(Death::Poison)),
    ] {
        let retry = Retry::default();
        assert_eq!(may_begin(guarantee, &retry, history, expires, now), wanted, "{guarantee:?} {history:?}");
    }
    let patient = Retry { attempts: 9, ..Retry::default() };
    assert_eq!(may_begin(AtLeastOnce, &patient, history(0, 0, 9), None, now), Ok(()));
    let hasty = Retry { attempts: 1, ..Retry::default() };
    assert_eq!(may_begin(AtLeastOnce, &hasty, history(0, 0, MAX_INTERRUPTIONS), None, now), Ok(()));
    assert_eq!(may_begin(AtLeastOnce, &hasty, history(0, 0, 5), None, now), Err(Death::Poison));
}

fn jitter() -> impl Strategy<Value = Jitter> {
    prop_oneof![Just(Jitter::Exponential), Just(Jitter::Full), Just(Jitter::Equal)]
}

fn retry() -> impl Strategy<Value = Retry> {
    let code = prop_oneof![Just(200u16), Just(404), Just(429), Just(500), Just(503)];
    let name = prop_oneof![Just("timeout"), Just("crash"), Just("out_of_memory"), Just("internal")];
    (
        0u32..8,
        proptest::collection::vec(code, 0..4),
        proptest::collection::vec(name.prop_map(CompactString::from), 0..4),
        prop_oneof![0u64..100_000, Just(u64::MAX)],
        prop_oneof![0u64..1_000_000, Just(u64::MAX)],
        jitter(),
        any::<bool>(),
        0u64..10_000,
    )
        .prop_map(|(attempts, codes, outcomes, min, max, jitter, honour_retry_after, patience_ms)| {
            Retry {
                attempts,
                codes,
                outcomes,
                min_wait_ms: min,
                max_wait_ms: max,
                jitter,
                honour_retry_after,
                patience_ms,
            }
        })
}

fn ending() -> impl Strategy<Value = Ending> {
    let status = prop_oneof![Just(200u16), Just(404), Just(429), Just(500), Just(503)];
    let without = prop_oneof![
        Just(Outcome::Success),
        (0..FAULTS.len()).prop_map(|index| Outcome::FunctionError(FAULTS[index])),
        (0..PLATFORM.len()).prop_map(|index| Outcome::PlatformError(PLATFORM[index])),
    ];
    let any = prop_oneof![status.prop_map(answered), without.prop_map(ended)];
    let asks = proptest::option::of((0u64..20_000).prop_map(Duration::from_secs));
    (any, asks).prop_map(|(ending, retry_after)| Ending { retry_after, ..ending })
}

fn reached_the_function(ending: &Ending) -> bool {
    !matches!(ending.outcome, Outcome::PlatformError(PlatformFault::Overloaded | PlatformFault::Unavailable))
}

proptest! {
    /// A message that is tried again for as long as the rules say so, however its attempts end.
    #[test]
    fn never_more_attempts_than_it_may_have(
        retry in retry(),
        at_most_once in any::<bool>(),
        endings in proptest::collection::vec((ending(), 0.0f64..1.0), 1..60),
    ) {
        let guarantee = if at_most_once { Guarantee::AtMostOnce } else { Guarantee::AtLeastOnce };
        let (mut history, mut reached, mut age) = (History::default(), 0, Duration::ZERO);
        for (ending, chance) in endings {
            let patient = age < Duration::from_millis(retry.patience_ms);
            reached += u32::from(reached_the_function(&ending));
            match decide(guarantee, &retry, history, &ending, age, chance) {
                Next::Again { after, counts } => {
                    prop_assert_eq!(counts, reached_the_function(&ending));
                    prop_assert!(counts || patient);
                    let tries = if counts { &mut history.failures } else { &mut history.refusals };
                    *tries += 1;
                    age = age.saturating_add(after);
                }
                Next::Done => { prop_assert!(ending.outcome.is_success()); break; }
                Next::Dead(death) => {
                    if death == Death::Exhausted && reached_the_function(&ending) {
                        prop_assert_eq!(reached, retry.attempts.max(1));
                    }
                    break;
                }
            }
        }
        prop_assert!(reached <= retry.attempts.max(1), "{} of {}", reached, retry.attempts);
        prop_assert!(!at_most_once || reached <= 1);
    }

    #[test]
    fn waits_lie_within_their_bounds(
        retry in retry(),
        ending in ending(),
        failures in 0u32..6,
        chance in prop_oneof![-1.0f64..2.0, Just(f64::NAN), Just(f64::INFINITY)],
    ) {
        let history = History { failures, ..History::default() };
        let next = decide(Guarantee::AtLeastOnce, &retry, history, &ending, Duration::ZERO, chance);
        let Next::Again { after, .. } = next else { return Ok(()) };
        let longest = Duration::from_millis(retry.max_wait_ms.max(retry.min_wait_ms));
        let asked = ending.retry_after.filter(|_| retry.honour_retry_after).unwrap_or_default();
        let asked = asked.min(Retry::LONGEST_ASKED);
        prop_assert!(after <= longest.max(asked), "{:?}", after);
        prop_assert!(after >= asked);
        let tries = if reached_the_function(&ending) { failures + 1 } else { 1 };
        let whole = retry.backoff().delay(tries);
        match retry.jitter {
            Jitter::Exponential => prop_assert_eq!(after, whole.max(asked)),
            // A nanosecond is lost where an odd number of them is halved.
            Jitter::Equal => prop_assert!(after + Duration::from_nanos(2) >= whole / 2),
            Jitter::Full => {}
        }
    }
}

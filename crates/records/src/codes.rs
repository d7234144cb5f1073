//! Outcomes and streams as small numbers. A number once given keeps its meaning.

use xebec_core::{
    Outcome,
    limits::Clock,
    log::LogStream,
    outcome::{FunctionFault, PlatformFault},
};

/// The number of success, which indexes of failures leave out.
pub(crate) const SUCCESS: i64 = 0;

/// The number of defects.
const INTERNAL: i64 = 14;

/// The clock is only used by timeouts.
const OUTCOMES: [fn(Clock) -> Outcome; 16] = [
    |_| Outcome::Success,
    |_| Outcome::ApplicationError,
    |clock| Outcome::FunctionError(FunctionFault::Timeout(clock)),
    |_| Outcome::FunctionError(FunctionFault::Crash),
    |_| Outcome::FunctionError(FunctionFault::OutOfMemory),
    |_| Outcome::FunctionError(FunctionFault::FailedInit),
    |_| Outcome::FunctionError(FunctionFault::BadResponse),
    |_| Outcome::PlatformError(PlatformFault::NotFound),
    |_| Outcome::PlatformError(PlatformFault::Forbidden),
    |_| Outcome::PlatformError(PlatformFault::Overloaded),
    |_| Outcome::PlatformError(PlatformFault::Unavailable),
    |_| Outcome::PlatformError(PlatformFault::TooLarge),
    |_| Outcome::PlatformError(PlatformFault::Cancelled),
    |_| Outcome::PlatformError(PlatformFault::BadRequest),
    |_| Outcome::PlatformError(PlatformFault::Internal),
    |_| Outcome::PlatformError(PlatformFault::Loop),
];

const CLOCKS: [Clock; 4] = [Clock::Wait, Clock::Start, Clock::FirstByte, Clock::Run];

const STREAMS: [LogStream; 3] = [LogStream::Stdout, LogStream::Stderr, LogStream::Platform];

/// An outcome's number, and its clock's.
pub(crate) fn of_outcome(outcome: &Outcome) -> (i64, Option<i64>) {
    let clock = match outcome {
        Outcome::FunctionError(FunctionFault::Timeout(clock)) => Some(*clock),
        _ => None,
    };
    // An outcome that is newer than this table counts as a defect.
    let number = of_name(outcome.name()).unwrap_or(INTERNAL);
    (number, clock.and_then(|clock| position(&CLOCKS, |known| *known == clock)))
}

/// The number of the outcome with that name.
pub(crate) fn of_name(name: &str) -> Option<i64> {
    position(&OUTCOMES, |outcome| outcome(Clock::Run).name() == name)
}

/// The outcome of a number.
pub(crate) fn outcome(number: i64, clock: Option<i64>) -> Outcome {
    let clock = clock.and_then(|clock| at(&CLOCKS, clock)).unwrap_or(Clock::Run);
    at(&OUTCOMES, number).map_or(Outcome::PlatformError(PlatformFault::Internal), |outcome| outcome(clock))
}

/// The names of all outcomes, for those who gave a wrong one.
pub(crate) fn names() -> String {
    OUTCOMES.map(|outcome| outcome(Clock::Run).name()).join(", ")
}

/// A stream's number.
pub(crate) fn of_stream(stream: LogStream) -> i64 {
    position(&STREAMS, |known| *known == stream).unwrap_or(STREAMS.len() as i64 - 1)
}

/// The stream of a number.
pub(crate) fn stream(number: i64) -> LogStream {
    at(&STREAMS, number).unwrap_or(LogStream::Platform)
}

fn position<T>(table: &[T], wanted: impl Fn(&T) -> bool) -> Option<i64> {
    table.iter().position(wanted).map(|position| position as i64)
}

fn at<T: Copy>(table: &[T], number: i64) -> Option<T> {
    usize::try_from(number).ok().and_then(|number| table.get(number)).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_outcome_comes_back() {
        for make in OUTCOMES {
            for clock in CLOCKS {
                let (number, clock_number) = of_outcome(&make(clock));
                assert_eq!(outcome(number, clock_number), make(clock));
            }
        }
        assert_eq!(of_outcome(&Outcome::Success), (SUCCESS, None));
        assert_eq!(of_name("timeout"), Some(2));
        assert_eq!(of_name("sunshine"), None);
    }

    #[test]
    fn every_stream_comes_back() {
        for known in STREAMS {
            assert_eq!(stream(of_stream(known)), known);
        }
    }
}

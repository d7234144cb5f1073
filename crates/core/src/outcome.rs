//! How an invocation ended. Each door maps outcomes to its own status codes, in one place.

use crate::limits::Clock;
use serde::{Deserialize, Serialize};
use std::fmt;

/// How an invocation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case", tag = "outcome", content = "cause")]
pub enum Outcome {
    /// The function answered.
    Success,
    /// The function answered, and its answer says that it failed (HTTP 5xx and the like).
    ApplicationError,
    /// The function did not answer as its contract asks.
    FunctionError(FunctionFault),
    /// The platform did not get as far as the function, or lost it.
    PlatformError(PlatformFault),
}

/// Why a function did not answer as its contract asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case", tag = "fault", content = "clock")]
pub enum FunctionFault {
    /// One of its clocks ran out.
    Timeout(Clock),
    /// The process ended, or exited non-zero, in the middle of a call.
    Crash,
    /// It was killed for its memory.
    OutOfMemory,
    /// It never came to take calls.
    FailedInit,
    /// Its answer was not what the contract asks.
    BadResponse,
}

/// Why the platform did not get as far as the function.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum PlatformFault {
    /// No such function.
    NotFound,
    /// It may not be called with these credentials.
    Forbidden,
    /// A queue is full, a quota used up, or a slot did not come in time.
    Overloaded,
    /// Nothing that could run it is there; the server is stopping.
    Unavailable,
    /// The request is larger than the function takes.
    TooLarge,
    /// The caller went away.
    Cancelled,
    /// The request is not one that the function's contract can carry.
    BadRequest,
    /// It is the last of too long a chain of calls.
    Loop,
    /// A defect, or the machine failed.
    Internal,
}

impl Outcome {
    /// Its name in records, metrics and logs: `success`, `application_error`, `timeout`, `crash`, `loop`, …
    pub fn name(&self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::ApplicationError => "application_error",
            Self::FunctionError(FunctionFault::Timeout(_)) => "timeout",
            Self::FunctionError(FunctionFault::Crash) => "crash",
            Self::FunctionError(FunctionFault::OutOfMemory) => "out_of_memory",
            Self::FunctionError(FunctionFault::FailedInit) => "failed_init",
            Self::FunctionError(FunctionFault::BadResponse) => "bad_response",
            Self::PlatformError(PlatformFault::NotFound) => "not_found",
            Self::PlatformError(PlatformFault::Forbidden) => "forbidden",
            Self::PlatformError(PlatformFault::Overloaded) => "overloaded",
            Self::PlatformError(PlatformFault::Unavailable) => "unavailable",
            Self::PlatformError(PlatformFault::TooLarge) => "too_large",
            Self::PlatformError(PlatformFault::Cancelled) => "cancelled",
            Self::PlatformError(PlatformFault::BadRequest) => "bad_request",
            Self::PlatformError(PlatformFault::Loop) => "loop",
            Self::PlatformError(PlatformFault::Internal) => "internal",
        }
    }

    /// Whether the function answered and did not say that it failed.
    pub fn is_success(&self) -> bool {
        matches!(self, Self::Success)
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

//! How a call ended, as OpenWhisk says it: four codes, their words, their HTTP statuses and their sentences.

use bytes::Bytes;
use http::StatusCode;
use serde_json::{Value, json, value::RawValue};
use std::time::Duration;
use xebec_core::{
    InvokeError, Outcome,
    limits::Clock,
    outcome::FunctionFault,
    record::{InvocationRecord, Remarks},
};

/// How an activation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Code {
    /// The action answered.
    Success = 0,
    /// The action answered that it failed.
    ApplicationError = 1,
    /// The action did not answer as it has to.
    DeveloperError = 2,
    /// The platform failed.
    WhiskError = 3,
}

impl Code {
    /// The code of an outcome.
    pub(crate) fn of(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Success => Self::Success,
            Outcome::ApplicationError => Self::ApplicationError,
            Outcome::FunctionError(_) => Self::DeveloperError,
            Outcome::PlatformError(_) => Self::WhiskError,
        }
    }

    /// Its words, as activations have them.
    pub(crate) fn status(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::ApplicationError => "application error",
            Self::DeveloperError => "action developer error",
            Self::WhiskError => "whisk internal error",
        }
    }

    /// The status of a blocking call.
    pub(crate) fn http(self) -> StatusCode {
        match self {
            Self::Success => StatusCode::OK,
            Self::ApplicationError | Self::DeveloperError => StatusCode::BAD_GATEWAY,
            Self::WhiskError => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}

/// What an activation answered.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Ending {
    pub(crate) outcome: Outcome,
    /// JSON text.
    pub(crate) result: Bytes,
    /// The bytes of the action's own answer, where there was one.
    pub(crate) size: Option<u64>,
}

impl Ending {
    /// Of a function that answered.
    pub(crate) fn answered(remarks: Option<&Remarks>, body: Bytes) -> Self {
        let outcome = remarks.and_then(|remarks| remarks.outcome).unwrap_or(Outcome::Success);
        Self::of(outcome, None, body, None)
    }

    /// Of a call without an answer. `timeout` is what the action's limits allow.
    pub(crate) fn failed(error: &InvokeError, timeout: Option<Duration>) -> Self {
        Self::of(error.outcome, Some(&error.message), error.output.clone(), timeout)
    }

    /// Of a call that was recorded.
    pub(crate) fn recorded(record: &InvocationRecord, timeout: Option<Duration>) -> Self {
        let answer = record.noted.as_ref().map(|noted| noted.answer.clone()).unwrap_or_default();
        let mut ending = Self::of(record.outcome, record.message.as_deref(), answer, timeout);
        if matches!(Code::of(record.outcome), Code::Success | Code::ApplicationError) {
            ending.size = Some(record.response_bytes);
        }
        ending
    }

    fn of(outcome: Outcome, message: Option<&str>, said: Bytes, timeout: Option<Duration>) -> Self {
        let size = (!said.is_empty()).then_some(said.len() as u64);
        let has_result = match Code::of(outcome) {
            Code::Success | Code::ApplicationError => serde_json::from_slice::<&RawValue>(&said).is_ok(),
            // What the action said counts where it says what went wrong.
            Code::DeveloperError | Code::WhiskError => says_error(&said),
        };
        if has_result {
            return Self { outcome, result: said, size };
        }
        let sentence = sentence(outcome, message, &said, timeout);
        Self { outcome, result: json!({ "error": sentence }).to_string().into(), size }
    }

    /// Its code.
    pub(crate) fn code(&self) -> Code {
        Code::of(self.outcome)
    }

    /// Its result as it stands.
    pub(crate) fn raw(&self) -> Option<&RawValue> {
        serde_json::from_slice(&self.result).ok()
    }

    /// Its result is an array: clients get those bare.
    pub(crate) fn is_array(&self) -> bool {
        self.result.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'[')
    }
}

/// An action that is gone.
const NO_RESPONSE: &str = "The action did not produce a valid response and exited unexpectedly.";

fn says_error(said: &[u8]) -> bool {
    matches!(serde_json::from_slice(said), Ok(Value::Object(object)) if object.contains_key("error"))
}

/// What went wrong, where the action did not say so itself.
fn sentence(outcome: Outcome, message: Option<&str>, said: &[u8], timeout: Option<Duration>) -> String {
    let Outcome::FunctionError(fault) = outcome else {
        return message.map_or_else(|| "The result of the activation is not kept.".to_owned(), str::to_owned);
    };
    match fault {
        FunctionFault::Timeout(clock) => {
            let during = if clock == Clock::Start { " during initialization." } else { "." };
            let limit = timeout
                .map_or_else(String::new, |timeout| format!(" of {} milliseconds", timeout.as_millis()));
            format!("The action exceeded its time limits{limit}{during}")
        }
        FunctionFault::Crash => NO_RESPONSE.to_owned(),
        // The connection broke before an answer, and nobody saw the process end.
        FunctionFault::BadResponse if said.is_empty() => NO_RESPONSE.to_owned(),
        FunctionFault::OutOfMemory => "The action exhausted its memory and was aborted.".to_owned(),
        FunctionFault::FailedInit => match message {
            Some(message) if message.contains("exceeded its time limits") => message.to_owned(),
            _ if !said.is_empty() => {
                format!("The action failed during initialization: {}", String::from_utf8_lossy(said))
            }
            _ => "The action did not initialize and exited unexpectedly.".to_owned(),
        },
        FunctionFault::BadResponse => {
            let said = String::from_utf8_lossy(said);
            format!("The action did not produce a valid JSON or JSON Array response: {said}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use xebec_core::{InvocationId, outcome::PlatformFault};

    fn failed(outcome: Outcome, output: &'static str) -> (u16, &'static str, String) {
        let mut error = InvokeError::new(InvocationId::new(), outcome, "the engine's words");
        error.output = Bytes::from_static(output.as_bytes());
        let ending = Ending::failed(&error, Some(Duration::from_millis(3000)));
        let result: Value = serde_json::from_slice(&ending.result).unwrap();
        (ending.code().http().as_u16(), ending.code().status(), result["error"].as_str().unwrap().to_owned())
    }

    #[test]
    fn every_outcome_has_its_words() {
        use FunctionFault::{BadResponse, Crash, FailedInit, OutOfMemory, Timeout};
        let developer = |fault, output, sentence: &str| {
            let wanted = (502, "action developer error", sentence.to_owned());
            assert_eq!(failed(Outcome::FunctionError(fault), output), wanted);
        };
        developer(Timeout(Clock::Run), "", "The action exceeded its time limits of 3000 milliseconds.");
        let during = "The action exceeded its time limits of 3000 milliseconds during initialization.";
        developer(Timeout(Clock::Start), "", during);
        developer(Crash, "", "The action did not produce a valid response and exited unexpectedly.");
        developer(Crash, r#"{"error": "my own"}"#, "my own");
        developer(OutOfMemory, "", "The action exhausted its memory and was aborted.");
        developer(FailedInit, "", "The action did not initialize and exited unexpectedly.");
        developer(FailedInit, r#"{"error": "no main"}"#, "no main");
        developer(FailedInit, "x", "The action failed during initialization: x");
        developer(BadResponse, "", "The action did not produce a valid response and exited unexpectedly.");
        developer(BadResponse, "7", "The action did not produce a valid JSON or JSON Array response: 7");
        let whisk = failed(Outcome::PlatformError(PlatformFault::Internal), "");
        assert_eq!(whisk, (500, "whisk internal error", "the engine's words".to_owned()));
    }

    #[test]
    fn answers_are_results() {
        let ending = Ending::answered(None, Bytes::from_static(b" [1]"));
        assert!(ending.is_array() && ending.code() == Code::Success && ending.size == Some(4));
        let remarks = Remarks { outcome: Some(Outcome::ApplicationError), ..Remarks::default() };
        let ending = Ending::answered(Some(&remarks), Bytes::from_static(br#"{"error": 1}"#));
        assert_eq!((ending.code().http(), ending.is_array()), (StatusCode::BAD_GATEWAY, false));
        assert_eq!(ending.raw().unwrap().get(), r#"{"error": 1}"#);
    }
}

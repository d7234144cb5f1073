//! How a command ends when it does not succeed.

/// It failed.
const FAILED: u8 = 1;
/// It was called wrongly.
const MISUSED: u8 = 2;

/// What to tell the person, and the exit code.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) message: String,
    pub(crate) detail: Vec<String>,
    pub(crate) hint: Option<String>,
    pub(crate) exit: u8,
}

impl Failure {
    /// The command failed.
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), detail: Vec::new(), hint: None, exit: FAILED }
    }

    /// The command was called wrongly.
    pub(crate) fn misuse(message: impl Into<String>) -> Self {
        Self { exit: MISUSED, ..Self::new(message) }
    }

    /// It failed, and what there was to say has been said.
    pub(crate) fn silent() -> Self {
        Self::new("")
    }

    pub(crate) fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Adds what a file operation was about to an I/O error.
    pub(crate) fn io(what: impl std::fmt::Display) -> impl FnOnce(std::io::Error) -> Self {
        let what = what.to_string();
        move |error| Self::new(format!("{what}: {error}"))
    }
}

impl From<xebec_core::Error> for Failure {
    fn from(error: xebec_core::Error) -> Self {
        Self {
            message: format!("{} [{}]", error.message, error.code),
            detail: Vec::new(),
            hint: error.hint,
            exit: FAILED,
        }
    }
}

//! The error of management calls: what went wrong, under a code that stays, with what to do about it.

use std::fmt;

/// What kind of fault an [`Error`] is. Doors map it to their status codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// The request can never succeed as it is.
    Invalid,
    /// Something named in it does not exist.
    NotFound,
    /// It exists already, or has changed since it was read.
    Conflict,
    /// Well-formed, but this installation will not do it (no driver, a quota, a policy).
    Refused,
    /// No credentials, or not good enough.
    Forbidden,
    /// A limit on size or rate was passed.
    TooLarge,
    /// It may succeed later: something needed is away, or busy, or full.
    Unavailable,
    /// A defect, or the machine failed us.
    Internal,
}

/// A management error with a stable code (`XBnnnn`), a sentence, and where there is one a hint.
///
/// Codes: 1xxx input, 2xxx functions and revisions, 3xxx drivers and sandboxes, 4xxx state,
/// 5xxx authentication, 6xxx configuration and start-up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    /// What kind it is.
    pub kind: ErrorKind,
    /// Its stable code.
    pub code: &'static str,
    /// What went wrong, lower case, without a full stop.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
}

impl Error {
    /// An error without a hint.
    pub fn new(kind: ErrorKind, code: &'static str, message: impl Into<String>) -> Self {
        Self { kind, code, message: message.into(), hint: None }
    }

    /// Adds what to do about it.
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The input is at fault.
    pub fn invalid(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Invalid, code, message)
    }

    /// A named thing does not exist.
    pub fn not_found(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(ErrorKind::NotFound, code, message)
    }

    /// A defect, or the machine failed.
    pub fn internal(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Internal, code, message)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        match &self.hint {
            Some(hint) => write!(f, " ({hint})"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Error {}

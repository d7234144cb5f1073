//! `stdio`: a process per call.

/// The contract.
pub struct Stdio;

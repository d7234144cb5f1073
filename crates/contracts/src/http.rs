//! `http`: a web server inside.

/// The contract.
pub struct Http;

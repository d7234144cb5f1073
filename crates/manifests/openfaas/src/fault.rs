//! What is wrong with a file, and where.

/// Something wrong with a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The line it is in, from 1; 0: the file as a whole.
    pub line: usize,
    /// What is wrong, and what to do instead.
    pub message: String,
}

impl Fault {
    /// Something wrong in a line.
    pub fn new(line: usize, message: impl Into<String>) -> Self {
        Self { line, message: message.into() }
    }
}

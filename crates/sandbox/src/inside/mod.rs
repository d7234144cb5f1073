//! What runs inside a sandbox before and beside the function: its init, its starter, and what they set up.

pub(crate) mod confine;
pub(crate) mod init;
pub(crate) mod landlock;
pub(crate) mod root;
pub(crate) mod seccomp;
pub(crate) mod starter;
mod vfork;

//! What can go wrong with sandboxes.

use crate::exec::SandboxExit;

/// What went wrong.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// This system has no sandboxes.
    #[error("sandboxes need Linux; on this system functions run as WebAssembly only")]
    Unsupported,
    /// The spawner could not be launched.
    #[error("the spawner cannot be launched: {0}")]
    Launch(String),
    /// The spawner's process has ended; every sandbox went with it.
    #[error("the spawner has ended")]
    SpawnerGone,
    /// A sandbox could not be made, or something about it could not be set.
    #[error("cannot {what}: {why}")]
    Failed {
        /// What was being done.
        what: String,
        /// Why it failed.
        why: String,
    },
    /// The specification is at fault.
    #[error("{0}")]
    Invalid(String),
    /// The program does not exist inside, or cannot be started; why.
    #[error("cannot start {program:?}: {why}")]
    NoProgram {
        /// What was to be started.
        program: String,
        /// Why not.
        why: String,
    },
    /// The sandbox has ended.
    #[error("the sandbox has ended: {0}")]
    Ended(SandboxExit),
    /// The operating system said no (`ConnectionRefused`: nothing listens there).
    #[error(transparent)]
    System(#[from] std::io::Error),
}

//! Zygotes.

use super::{Process, Sandbox, Spawner};
use crate::{Exec, SandboxError};

/// A zygote.
#[derive(Clone, Debug)]
pub struct Zygote(());

impl Zygote {
    pub(super) async fn start(_spawner: &Spawner, _exec: Exec) -> Result<Self, SandboxError> {
        Err(SandboxError::Failed { what: "start a zygote".to_owned(), why: "not here yet".to_owned() })
    }

    /// Forks it into a sandbox.
    ///
    /// # Errors
    /// As [`Sandbox::spawn`].
    pub async fn fork_into(&self, _sandbox: &Sandbox, _exec: Exec) -> Result<Process, SandboxError> {
        Err(SandboxError::SpawnerGone)
    }

    /// Whether it still runs.
    pub fn alive(&self) -> bool {
        false
    }
}

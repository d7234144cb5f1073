//! The server's side: handles to the spawner, to sandboxes and to the processes in them.

mod calls;
mod check;
mod fate;
mod places;
mod process;
mod sandbox;
mod spawner;
mod starter;
mod usage;
mod zygote;

pub use process::Process;
pub use sandbox::Sandbox;
pub use spawner::Spawner;
pub use usage::SandboxUsage;
pub use zygote::Zygote;

use std::time::Duration;

/// How long a spawner, an init or a starter may take to answer.
const ANSWER_DEADLINE: Duration = Duration::from_secs(20);
/// How long ending a sandbox may take.
const END_DEADLINE: Duration = Duration::from_secs(10);

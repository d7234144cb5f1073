//! Zygotes: one warmed interpreter per environment, forked into sandboxes.
//!
//! A fork shares its memory with its parent and takes a few milliseconds, where starting an interpreter and
//! loading what functions need takes a hundred. Where there is no zygote, workers are started one by one.

use crate::{driver::Inner, layout, programs::Program};
use std::{collections::HashMap, sync::Arc, time::Duration};
use tokio::{sync::Mutex, time::Instant};
use xebec_core::environment::{BlankSource, Environment};
use xebec_sandbox::{Exec, Process, Sandbox, SandboxError, Zygote};

/// How long one that failed is left alone.
const PAUSE: Duration = Duration::from_secs(60);

/// The zygotes, by environment.
#[derive(Default)]
pub(crate) struct Zygotes(Mutex<HashMap<String, Slot>>);

enum Slot {
    Running(Zygote),
    Failed(Instant),
}

/// Whether a zygote is worth waiting for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Need {
    /// A blank is being made, and nobody waits for it yet: start one.
    Start,
    /// Somebody waits: only one that runs already.
    Running,
}

impl Inner {
    /// Starts a worker in a sandbox, by a fork if it can be.
    pub(crate) async fn run_worker(
        &self,
        environment: &Environment,
        programs: &[Arc<Program>],
        sandbox: &Sandbox,
        exec: Exec,
        need: Need,
    ) -> Result<Process, SandboxError> {
        if let Some(zygote) = self.zygote(environment, programs, need).await {
            match zygote.fork_into(sandbox, exec.clone()).await {
                Err(error) if sandbox.ended().is_none() => self.give_up(environment, &error).await,
                result => return result,
            }
        }
        sandbox.spawn(exec).await
    }

    async fn zygote(
        &self,
        environment: &Environment,
        programs: &[Arc<Program>],
        need: Need,
    ) -> Option<Zygote> {
        if environment.blanks.as_ref().is_none_or(|blanks| blanks.from != BlankSource::Zygote) {
            return None;
        }
        let mut slots = match need {
            Need::Start => self.zygotes.0.lock().await,
            Need::Running => self.zygotes.0.try_lock().ok()?,
        };
        match slots.get(&environment.name) {
            Some(Slot::Running(zygote)) if zygote.alive() => return Some(zygote.clone()),
            Some(Slot::Failed(at)) if at.elapsed() < PAUSE => return None,
            _ if need == Need::Running => return None,
            _ => {}
        }
        let program = layout::program_of(&environment.command, programs);
        let mut variables = layout::basic_variables(programs);
        variables.extend(environment.variables.clone());
        let exec = Exec {
            // It runs outside of any sandbox, where the workers are somewhere else.
            argv: layout::command(&environment.command, program, &self.runtimes),
            variables,
            ..Exec::default()
        };
        let (slot, zygote) = match self.spawner.zygote(exec).await {
            Ok(zygote) => (Slot::Running(zygote.clone()), Some(zygote)),
            Err(error) => {
                tracing::warn!(environment = environment.name, %error, "there is no zygote; blanks are started one by one");
                (Slot::Failed(Instant::now()), None)
            }
        };
        slots.insert(environment.name.clone(), slot);
        zygote
    }

    async fn give_up(&self, environment: &Environment, error: &SandboxError) {
        tracing::warn!(environment = environment.name, %error, "a zygote could not be forked; blanks are started one by one");
        self.zygotes.0.lock().await.insert(environment.name.clone(), Slot::Failed(Instant::now()));
    }
}

//! The same interface where there are no sandboxes: launching says so, and nothing else can be reached.

use crate::{
    Bind, Enforcement, Exec, ProcessExit, SandboxError, SandboxExit, SandboxLimits, SandboxSpec,
    SpawnerOptions,
};
use std::{
    convert::Infallible,
    path::{Path, PathBuf},
};
use tokio::net::{TcpStream, UnixStream, unix::pipe};

/// Never returns: there is nothing to run.
pub fn spawner_main() -> ! {
    eprintln!("{}", SandboxError::Unsupported);
    std::process::exit(1)
}

/// Makes sandboxes.
#[derive(Clone, Debug)]
pub struct Spawner(Infallible);

impl Spawner {
    /// Always fails here.
    ///
    /// # Errors
    /// [`SandboxError::Unsupported`].
    pub async fn launch(_options: SpawnerOptions) -> Result<Self, SandboxError> {
        Err(SandboxError::Unsupported)
    }

    /// What its sandboxes enforce.
    pub fn enforcement(&self) -> &Enforcement {
        match self.0 {}
    }

    /// Whether its process still runs.
    pub fn alive(&self) -> bool {
        match self.0 {}
    }

    /// Makes a sandbox.
    ///
    /// # Errors
    /// None can happen.
    pub async fn create(&self, _spec: SandboxSpec) -> Result<Sandbox, SandboxError> {
        match self.0 {}
    }

    /// Starts a zygote.
    ///
    /// # Errors
    /// None can happen.
    pub async fn zygote(&self, _exec: Exec) -> Result<Zygote, SandboxError> {
        match self.0 {}
    }

    /// Ends every sandbox and itself.
    pub async fn shutdown(&self) {
        match self.0 {}
    }
}

/// A sandbox.
#[derive(Clone, Debug)]
pub struct Sandbox(Infallible);

impl Sandbox {
    /// Its name.
    pub fn id(&self) -> &str {
        match self.0 {}
    }

    /// Where a path inside is found on this system.
    pub fn translate(&self, _inside: &Path) -> PathBuf {
        match self.0 {}
    }

    /// Starts a process inside.
    ///
    /// # Errors
    /// None can happen.
    pub async fn spawn(&self, _exec: Exec) -> Result<Process, SandboxError> {
        match self.0 {}
    }

    /// Adds a bind.
    ///
    /// # Errors
    /// None can happen.
    pub async fn bind(&self, _bind: Bind) -> Result<(), SandboxError> {
        match self.0 {}
    }

    /// Sets limits.
    ///
    /// # Errors
    /// None can happen.
    pub async fn set_limits(&self, _limits: SandboxLimits) -> Result<(), SandboxError> {
        match self.0 {}
    }

    /// Writes a file inside.
    ///
    /// # Errors
    /// None can happen.
    pub async fn write_file(&self, _inside: &Path, _contents: &[u8], _mode: u32) -> Result<(), SandboxError> {
        match self.0 {}
    }

    /// Its run directory, on the host.
    pub fn run_directory(&self) -> &Path {
        match self.0 {}
    }

    /// Connects to a port inside.
    ///
    /// # Errors
    /// None can happen.
    pub async fn connect(&self, _port: u16) -> Result<TcpStream, SandboxError> {
        match self.0 {}
    }

    /// Connects to a socket inside.
    ///
    /// # Errors
    /// None can happen.
    pub async fn connect_socket(&self, _inside: &Path) -> Result<UnixStream, SandboxError> {
        match self.0 {}
    }

    /// Signals every process inside.
    ///
    /// # Errors
    /// None can happen.
    pub async fn signal_all(&self, _signal: i32) -> Result<(), SandboxError> {
        match self.0 {}
    }

    /// Ends it without waiting.
    pub fn kill(&self) {
        match self.0 {}
    }

    /// Completes when it has ended.
    pub async fn exited(&self) -> SandboxExit {
        match self.0 {}
    }

    /// How it ended, if it has.
    pub fn ended(&self) -> Option<SandboxExit> {
        match self.0 {}
    }

    /// Whether it has a way out.
    pub fn has_way_out(&self) -> bool {
        match self.0 {}
    }

    /// What it uses.
    pub fn usage(&self) -> Option<SandboxUsage> {
        match self.0 {}
    }

    /// Ends it.
    pub async fn destroy(&self) {
        match self.0 {}
    }
}

/// A process inside a sandbox.
#[derive(Debug)]
pub struct Process {
    /// Its standard input.
    pub stdin: Option<pipe::Sender>,
    /// Its standard output.
    pub stdout: Option<pipe::Receiver>,
    /// Its standard error.
    pub stderr: Option<pipe::Receiver>,
    never: Infallible,
}

impl Process {
    /// Its process id inside.
    pub fn pid(&self) -> i32 {
        match self.never {}
    }

    /// Completes when it has ended.
    pub async fn wait(&mut self) -> ProcessExit {
        match self.never {}
    }

    /// Kills it and everything it started.
    pub fn kill(&self) {
        match self.never {}
    }
}

/// A warmed interpreter that is forked into sandboxes.
#[derive(Clone, Debug)]
pub struct Zygote(Infallible);

impl Zygote {
    /// Forks it into a sandbox.
    ///
    /// # Errors
    /// None can happen.
    pub async fn fork_into(&self, _sandbox: &Sandbox, _exec: Exec) -> Result<Process, SandboxError> {
        match self.0 {}
    }

    /// Whether it still runs.
    pub fn alive(&self) -> bool {
        match self.0 {}
    }
}

/// What a sandbox uses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SandboxUsage {
    /// Processor time used.
    pub cpu: std::time::Duration,
    /// Memory held.
    pub memory_bytes: u64,
}

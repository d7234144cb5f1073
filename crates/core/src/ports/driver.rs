//! Where instances run.

use crate::{
    digest::Digest,
    environment::Environment,
    error::Error,
    names::FunctionKey,
    ports::instance::{InstanceId, InstanceIo, Lines},
    revision::{Revision, RevisionSpec},
};
use async_trait::async_trait;
use bytes::Bytes;
use std::{any::Any, sync::Arc};

/// Where instances run.
///
/// A revision's way: [`accepts`](Driver::accepts), [`pin`](Driver::pin) and [`prepare`](Driver::prepare) at
/// deploy time, then [`start`](Driver::start) as often as instances are needed – or, where a blank of its
/// environment is at hand, [`specialize`](Driver::specialize), which is the faster half of a start.
#[async_trait]
pub trait Driver: Send + Sync {
    /// Its name, as environments name it.
    fn name(&self) -> &'static str;

    /// Whether it could run this revision.
    ///
    /// # Errors
    /// `XB3001`, naming the field that it cannot honour and what to do instead.
    fn accepts(&self, revision: &Revision, environment: &Environment) -> Result<(), Error>;

    /// Replaces names in a revision that may mean something else later, an image's tag above all, by what they
    /// mean now, before the revision gets its digest.
    ///
    /// # Errors
    /// As [`prepare`](Driver::prepare).
    async fn pin(&self, _spec: &mut RevisionSpec, _progress: &dyn Progress) -> Result<(), Error> {
        Ok(())
    }

    /// Does all that a start must not wait for: unpacks code, installs dependencies, compiles. What was
    /// prepared is kept by digest, across restarts. Preparing twice does nothing the second time.
    ///
    /// # Errors
    /// `XB3002` (the code or its dependencies are at fault; the message ends with the tool's last lines),
    /// `XB3003` (a program of the host is missing), `XB4002` (disk full).
    async fn prepare(&self, request: Prepare<'_>) -> Result<(), Error>;

    /// Starts an instance; it need not take calls yet when this returns, its contract finds out.
    /// Dropping the future gives everything back.
    ///
    /// # Errors
    /// `XB3004`, with the reason; `XB3005` where what was prepared is not there (any more): prepare again.
    async fn start(&self, start: Start) -> Result<Arc<dyn InstanceIo>, Error>;

    /// Starts a blank of an environment that has [`Environment::blanks`].
    ///
    /// # Errors
    /// `XB3004`.
    async fn start_blank(&self, environment: Arc<Environment>) -> Result<Blank, Error>;

    /// Makes a blank an instance: brings code, variables and secrets.
    ///
    /// # Errors
    /// `XB3004`; the blank is gone then.
    async fn specialize(&self, blank: Blank, start: Start) -> Result<Arc<dyn InstanceIo>, Error>;

    /// Deletes what was prepared for revisions that `live` does not know; returns bytes freed.
    // `for<'d>` is spelt out: `async_trait` would make the digest's lifetime a parameter of the method.
    async fn collect(&self, live: &(dyn for<'d> Fn(&'d Digest) -> bool + Sync)) -> Result<u64, Error>;

    /// What it enforces, and what it could not and why.
    fn report(&self) -> DriverReport;

    /// Ends every instance and gives everything back.
    async fn shutdown(&self);
}

/// What to prepare.
pub struct Prepare<'a> {
    /// The revision.
    pub revision: &'a Revision,
    /// Its environment.
    pub environment: &'a Environment,
    /// Its code, for [`crate::workload::Workload::Code`].
    pub code: Option<Bytes>,
    /// Told what is being done, line by line.
    pub progress: &'a dyn Progress,
}

/// What to start.
#[derive(Clone)]
pub struct Start {
    /// The instance's id.
    pub instance: InstanceId,
    /// Whose instance it is.
    pub function: FunctionKey,
    /// What it runs.
    pub revision: Arc<Revision>,
    /// How.
    pub environment: Arc<Environment>,
    /// The secrets that the revision mounts, opened.
    pub secrets: Vec<OpenSecret>,
    /// Where its lines go.
    pub lines: Lines,
}

/// A secret, opened, on its way into an instance. Never printed.
#[derive(Clone)]
pub struct OpenSecret {
    /// Its name.
    pub name: String,
    /// The file it appears as, absolute.
    pub path: Option<String>,
    /// The variable it appears as.
    pub variable: Option<String>,
    /// Its value.
    pub value: Bytes,
}

impl std::fmt::Debug for OpenSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "OpenSecret({})", self.name)
    }
}

/// A started but unspecialised instance of an environment. Dropping it ends it.
pub struct Blank {
    /// The environment's name.
    pub environment: String,
    /// The driver's own.
    pub inner: Box<dyn BlankInner>,
}

/// A driver's own half of a blank.
pub trait BlankInner: Any + Send + Sync {
    /// Whether it can still become an instance.
    fn alive(&self) -> bool;
    /// Itself, for the driver to take back.
    fn into_any(self: Box<Self>) -> Box<dyn Any + Send + Sync>;
}

/// Told what is being done during a deploy.
pub trait Progress: Send + Sync {
    /// One line for people, e.g. `installing 12 packages`.
    fn step(&self, line: &str);
}

/// Progress that nobody follows.
pub struct Silent;

impl Progress for Silent {
    fn step(&self, _line: &str) {}
}

/// What a driver enforces, and what it could not and why.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize, utoipa::ToSchema)]
pub struct DriverReport {
    /// Its name.
    pub driver: String,
    /// It can start instances.
    pub usable: bool,
    /// One line per protection or ability.
    pub features: Vec<Feature>,
    /// Functions share the host's network: management then always needs a credential.
    pub shares_host_network: bool,
}

/// One protection or ability.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize, utoipa::ToSchema)]
pub struct Feature {
    /// E.g. `memory limit`.
    pub name: String,
    /// It is enforced.
    pub enforced: bool,
    /// By what, or why not and what to do about it.
    pub detail: String,
}

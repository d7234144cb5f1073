//! The contracts: the protocols spoken with functions' code, each a state machine over what a driver
//! offers of an instance ([`InstanceIo`]).
//!
//! | contract | module | a call is |
//! |---|---|---|
//! | `stdio` | [`stdio`] | a process: body on standard input, answer on standard output |
//! | `http` | [`http`] | a request to a web server inside |
//! | `wasi-http` | [`wasi_http`] | a request handed to a component in this process |
//! | `init-run` | [`init_run`] | JSON to an OpenWhisk action: `POST /run`, a line, or a process |
//! | `builtin` | [`builtin`] | a request handed to a part of the server |
//!
//! [`watchdog`] reads the variables that say the same to OpenFaaS' watchdogs.

use async_trait::async_trait;
use bytes::Bytes;
use http_body_util::LengthLimitError;
use std::{collections::BTreeMap, sync::Arc, time::Duration};
use xebec_core::{
    Body, Error, InvocationId, Outcome,
    body::CollectError,
    limits::Limits,
    outcome::PlatformFault,
    ports::instance::{InstanceIo, Lines},
    revision::{ContractSpec, RevisionSpec},
    slot::{Slot, SlotOwner},
    workload::ArchiveFormat,
};

pub mod builtin;
pub mod duration;
pub mod http;
mod in_flight;
mod in_process;
pub mod init_run;
pub mod lines;
mod one_connection;
mod settings;
pub mod stdio;
pub mod wasi_http;
pub mod watchdog;

/// A protocol spoken with functions' code.
#[async_trait]
pub trait Contract: Send + Sync {
    /// Its name, as revisions name it.
    fn name(&self) -> &'static str;

    /// Checks a revision's settings at deploy time.
    ///
    /// # Errors
    /// `XB1003`, naming the setting, what it may be, and what it was.
    fn check(&self, revision: &RevisionSpec) -> Result<(), Error>;

    /// Brings a started instance to the point where it takes calls, and announces its slots. The caller
    /// holds the start clock and drops the future when it runs out.
    ///
    /// # Errors
    /// When the instance ended, or is not what the contract asks.
    async fn open(&self, opening: Opening) -> Result<Arc<dyn Session>, StartError>;
}

/// What a contract gets to work with.
pub struct Opening {
    /// The instance.
    pub io: Arc<dyn InstanceIo>,
    /// The contract's settings.
    pub spec: ContractSpec,
    /// The command of a revision that brings its own, else its environment's.
    pub command: Vec<String>,
    /// What the instance may use; `concurrency` is how many slots it has.
    pub limits: Limits,
    /// Where slots are announced.
    pub slots: Arc<dyn SlotOwner>,
    /// Where lines go that the contract reads itself (`stdio`: a process's standard error).
    pub lines: Lines,
    /// What contracts hand over that bring the code themselves.
    pub brings: Brings,
}

/// What an instance is to run, for contracts that tell it.
#[derive(Clone, Debug, Default)]
pub struct Brings {
    /// The function's name.
    pub function: String,
    /// Which of the code's entry points is called.
    pub handler: Option<String>,
    /// Environment variables.
    pub variables: BTreeMap<String, String>,
    /// The code, of a [`xebec_core::workload::Workload::Image`] that has some: how it is packed, and its bytes.
    pub code: Option<(ArchiveFormat, Bytes)>,
}

/// An instance that takes calls.
#[async_trait]
pub trait Session: Send + Sync {
    /// Sends one call and hands back the answer as it streams. The slot goes back on the contract's own
    /// event. Dropping the future, or the answer's body before its end, cancels the call: `stdio` kills the
    /// process; `http` closes the connection and retires the instance unless it is idle again within a grace;
    /// code that cannot be interrupted runs on, its slot busy. An answer that breaks off in the middle ends
    /// with an [`AnswerError`] as its body's error.
    async fn call(&self, call: Call) -> Result<::http::Response<Body>, CallError>;

    /// Takes no more calls: lets the instance finish what it has (it gets no more than `grace`) and asks it
    /// to stop. The caller destroys it afterwards.
    async fn close(&self, grace: Duration);
}

/// One call on its way to an instance.
#[derive(Debug)]
pub struct Call {
    /// Its id.
    pub id: InvocationId,
    /// The right to send it.
    pub slot: Slot,
    /// What is sent. Extensions may carry hyper's `OnUpgrade`.
    pub request: ::http::Request<Body>,
}

/// A call that got no answer.
#[derive(Debug)]
pub struct CallError {
    /// How it ended.
    pub outcome: Outcome,
    /// Why, in a sentence without a full stop.
    pub message: String,
    /// What the function had written to its answer.
    pub output: Bytes,
    /// Its exit code, where a process ended.
    pub exit_code: Option<i32>,
    /// The request, where no byte of it was sent: it can go to another instance.
    pub unsent: Option<Box<::http::Request<Body>>>,
}

impl CallError {
    /// A call that ended in `outcome`, its request gone.
    pub fn new(outcome: Outcome, message: impl Into<String>) -> Self {
        Self { outcome, message: message.into(), output: Bytes::new(), exit_code: None, unsent: None }
    }
}

/// How an answer ended that broke off after its head: the error of its body.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct AnswerError {
    /// How it ended.
    pub outcome: Outcome,
    /// Why, in a sentence without a full stop.
    pub message: String,
}

/// How long a call took at the instance, in seconds: set on the answers of `stdio` and `http`.
pub const DURATION_HEADER: ::http::HeaderName = ::http::HeaderName::from_static("x-duration-seconds");

/// The value of [`DURATION_HEADER`]: seconds with six decimals.
pub fn duration_value(taken: Duration) -> ::http::HeaderValue {
    let mut text = bytes::BytesMut::with_capacity(16);
    // Writing into memory cannot fail, and digits with a point are a valid value.
    let _ = std::fmt::Write::write_fmt(
        &mut text,
        format_args!("{}.{:06}", taken.as_secs(), taken.subsec_micros()),
    );
    ::http::HeaderValue::from_maybe_shared(text.freeze())
        .unwrap_or_else(|_| ::http::HeaderValue::from_static("0"))
}

/// Whose fault it is that a request's body broke off: the sender's, who sent too much or went away.
pub(crate) fn broken_request(error: &(dyn std::error::Error + 'static)) -> (Outcome, String) {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if matches!(error.downcast_ref(), Some(CollectError::TooLarge(_))) || error.is::<LengthLimitError>() {
            return (Outcome::PlatformError(PlatformFault::TooLarge), error.to_string());
        }
        cause = error.source();
    }
    (Outcome::PlatformError(PlatformFault::Cancelled), format!("the request's body broke off: {error}"))
}

/// An instance that did not come to take calls. The engine adds the log tail.
#[derive(Clone, Debug, Default, thiserror::Error)]
#[error("{message}")]
pub struct StartError {
    /// Why, in a sentence without a full stop.
    pub message: String,
    /// What the function said about it, in its contract's own form.
    pub output: Bytes,
    /// It took longer than the contract's own limit.
    pub late: bool,
}

impl StartError {
    /// One about which the function said nothing.
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), ..Self::default() }
    }
}

/// The contract of that name.
pub fn contract(name: &str) -> Option<Arc<dyn Contract>> {
    match name {
        "stdio" => Some(Arc::new(stdio::Stdio)),
        "http" => Some(Arc::new(http::Http)),
        "wasi-http" => Some(Arc::new(wasi_http::WasiHttp)),
        "init-run" => Some(Arc::new(init_run::InitRun)),
        "builtin" => Some(Arc::new(builtin::Builtin)),
        _ => None,
    }
}

//! `stdio`: a process per call. The request's body is its standard input, its standard output is the answer.
//!
//! A process need not read its input, and it is told about the request in variables (`Http_*`, see
//! `variables`). The call ends when the process has ended: with success if it exited with 0. What it
//! leaves running behind it is killed.
//!
//! | setting | | default |
//! |---|---|---|
//! | `mode` | `buffered`: the answer is sent when the process has ended, and is a crash if it failed. `streaming`: 200 at once, the output as it comes | `buffered` |
//! | `cgi_headers` | set the `Http_*` variables | `true` |
//! | `combine_output` | standard error is part of the answer; else it goes to the log | `true`, streaming `false` |
//! | `content_type` | the answer's content type | the request's, else `text/plain` |
//! | `exec_timeout` | the process is killed after it | none |
//! | `marshal_request` | standard input is JSON: `{"header": {…}, "body": {"raw": base64}}` | `false` |
//! | `max_answer_bytes` | the largest buffered answer | 64 MiB |
//! | `max_line_bytes` | what is longer in the log is cut there | 16 KiB |
//!
//! In the streaming mode a process that exits with a code other than 0 still ends its answer properly, since
//! the 200 is long sent; the log says so. One that is killed breaks it off.

use crate::{
    Call, CallError, Contract, DURATION_HEADER, Opening, Session, StartError, broken_request, duration_value,
    in_flight::{Counted, InFlight},
    lines::LineReader,
    settings::Settings,
};
use ::http::{HeaderValue, Response, header::CONTENT_TYPE};
use async_trait::async_trait;
use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};
use xebec_core::{
    Body, Error, Outcome,
    limits::Clock,
    log::{LogStream, MAX_LINE_BYTES},
    outcome::{FunctionFault, PlatformFault},
    ports::instance::{Command, InstanceIo, IoError, Lines},
    revision::{ContractSpec, RevisionSpec},
    slot::{Retire, Slot},
};

mod buffered;
mod input;
mod marshalled;
pub(crate) mod process;
mod streaming;
mod variables;

/// The contract.
pub struct Stdio;

#[async_trait]
impl Contract for Stdio {
    fn name(&self) -> &'static str {
        "stdio"
    }

    fn check(&self, revision: &RevisionSpec) -> Result<(), Error> {
        Options::read(&revision.contract).map(|_| ())
    }

    async fn open(&self, opening: Opening) -> Result<Arc<dyn Session>, StartError> {
        let options = Options::read(&opening.spec).map_err(|error| StartError::new(error.to_string()))?;
        if opening.command.is_empty() {
            return Err(StartError::new("there is no command to run for each call"));
        }
        opening.slots.announce(opening.limits.concurrency);
        Ok(Arc::new(StdioSession {
            io: opening.io,
            options,
            command: opening.command,
            request_bytes: opening.limits.request_bytes,
            lines: opening.lines,
            in_flight: Arc::default(),
        }))
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    Buffered,
    Streaming,
}

/// The settings, read.
struct Options {
    mode: Mode,
    variables: bool,
    combine_output: bool,
    content_type: Option<HeaderValue>,
    exec_timeout: Option<Duration>,
    marshal_request: bool,
    max_answer_bytes: usize,
    max_line_bytes: usize,
}

impl Options {
    fn read(spec: &ContractSpec) -> Result<Self, Error> {
        let mut settings = Settings::of(spec);
        let mode =
            settings.choice("mode", &[("buffered", Mode::Buffered), ("streaming", Mode::Streaming)])?;
        let options = Self {
            mode,
            variables: settings.flag("cgi_headers")?.unwrap_or(true),
            combine_output: settings.flag("combine_output")?.unwrap_or(mode == Mode::Buffered),
            content_type: settings.read("content_type", "a content type", |value| {
                HeaderValue::from_str(value.as_str().filter(|text| !text.is_empty())?).ok()
            })?,
            exec_timeout: settings.duration("exec_timeout")?,
            marshal_request: settings.flag("marshal_request")?.unwrap_or(false),
            max_answer_bytes: settings
                .number("max_answer_bytes", 1..=1 << 32)?
                .and_then(|bytes| usize::try_from(bytes).ok())
                .unwrap_or(64 << 20),
            max_line_bytes: settings
                .number("max_line_bytes", 1..=1 << 24)?
                .and_then(|bytes| usize::try_from(bytes).ok())
                .unwrap_or(MAX_LINE_BYTES),
        };
        settings.finish()?;
        Ok(options)
    }
}

struct StdioSession {
    io: Arc<dyn InstanceIo>,
    options: Options,
    command: Vec<String>,
    request_bytes: u64,
    lines: Lines,
    in_flight: Arc<InFlight>,
}

#[async_trait]
impl Session for StdioSession {
    async fn call(&self, call: Call) -> Result<Response<Body>, CallError> {
        let started = Instant::now();
        let lease = Lease { slot: Some(call.slot), _counted: self.in_flight.enter().0 };
        let mut request = call.request;
        let content_type = self.content_type(&request);
        let input = if self.options.marshal_request {
            Some(marshalled::marshal(&mut request, self.request_bytes).await?)
        } else {
            input::at_hand(request.body_mut())
        };
        let command = Command {
            argv: self.command.clone(),
            variables: if self.options.variables { variables::of(&request) } else { BTreeMap::default() },
            directory: None,
            combine_output: self.options.combine_output,
            input: input.clone(),
            result: false,
        };
        let child = match self.io.spawn(command).await {
            Ok(child) => child,
            Err(error) => return Err(not_started(error, request, lease)),
        };
        let body = input.map_or_else(|| request.into_body(), Body::full);
        let process = process::Process::new(child, body, |stderr| {
            LineReader::new(stderr, self.lines.clone(), LogStream::Stderr, self.options.max_line_bytes)
        })?;
        let mut response = Response::new(Body::empty());
        response.headers_mut().insert(CONTENT_TYPE, content_type);
        let time_left = self.options.exec_timeout.map(|limit| limit.saturating_sub(started.elapsed()));
        match self.options.mode {
            Mode::Buffered => {
                let answer = buffered::answer(process, self.options.max_answer_bytes, time_left).await?;
                *response.body_mut() = Body::full(answer);
                response.headers_mut().insert(DURATION_HEADER, duration_value(started.elapsed()));
            }
            Mode::Streaming => {
                let lines = self.lines.clone();
                *response.body_mut() = Body::stream(streaming::Output::new(process, time_left, lines, lease));
            }
        }
        Ok(response)
    }

    async fn close(&self, grace: Duration) {
        self.in_flight.drained(grace).await;
    }
}

impl StdioSession {
    fn content_type(&self, request: &::http::Request<Body>) -> HeaderValue {
        let own = self.options.content_type.as_ref();
        own.or_else(|| request.headers().get(CONTENT_TYPE))
            .cloned()
            .unwrap_or_else(|| HeaderValue::from_static("text/plain"))
    }
}

/// A call's hold on the instance. However the call ends, its process is killed at the latest then, so the
/// slot is free for the next.
struct Lease {
    slot: Option<Slot>,
    _counted: Counted,
}

impl Lease {
    fn retire(mut self, why: Retire) {
        if let Some(slot) = self.slot.take() {
            slot.retire(why);
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Some(slot) = self.slot.take() {
            slot.free();
        }
    }
}

/// A call whose process could not be started. Nothing of the request was sent.
fn not_started(error: IoError, request: ::http::Request<Body>, lease: Lease) -> CallError {
    let outcome = match &error {
        IoError::NoProgram { .. } => Outcome::FunctionError(FunctionFault::FailedInit),
        IoError::Exited(exit) if exit.out_of_memory => Outcome::FunctionError(FunctionFault::OutOfMemory),
        IoError::Exited(_) => Outcome::FunctionError(FunctionFault::Crash),
        IoError::OutOfMemory => Outcome::FunctionError(FunctionFault::OutOfMemory),
        _ => Outcome::PlatformError(PlatformFault::Internal),
    };
    if matches!(error, IoError::Exited(_)) {
        lease.retire(Retire::Exited);
    }
    let mut failed = CallError::new(outcome, error.to_string());
    failed.unsent = Some(Box::new(request));
    failed
}

/// What stops a process in the middle.
pub(crate) enum Stopped {
    /// The request's body broke off.
    Input(xebec_core::BodyError),
    /// Its output could not be read.
    Output(std::io::Error),
}

impl Stopped {
    pub(crate) fn into_outcome(self) -> (Outcome, String) {
        match self {
            Self::Input(error) => broken_request(&*error),
            Self::Output(error) => (
                Outcome::PlatformError(PlatformFault::Internal),
                format!("cannot read what the process writes: {error}"),
            ),
        }
    }
}

fn timed_out(limit_message: &str) -> (Outcome, String) {
    (Outcome::FunctionError(FunctionFault::Timeout(Clock::Run)), limit_message.to_owned())
}

const TIMED_OUT: &str = "the process was killed: it ran longer than its exec_timeout";

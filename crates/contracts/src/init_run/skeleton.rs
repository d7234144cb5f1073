//! Mode `exec`: the contract is the proxy of OpenWhisk's docker skeleton, a process per call.

use super::{Options, Terms, answer, message::Read, result_line::LastLine};
use crate::{
    Call, CallError, Opening, Session, StartError,
    in_flight::InFlight,
    lines::{LineReader, hand_on},
    stdio::{Stopped, process::Process},
};
use ::http::Response;
use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use std::{future::poll_fn, sync::Arc, task::Poll, time::Duration};
use xebec_core::{
    Body, Outcome,
    log::{LogStream, MAX_LINE_BYTES},
    outcome::{FunctionFault, PlatformFault},
    ports::instance::{Command, Exit, InstanceIo, IoError, Lines},
    slot::{Retire, Slot},
};

/// The program that is started where nothing else is said.
const PROGRAM: &str = "/app/exec";

/// The longest argument that Linux takes. What is longer comes on standard input only.
const MAX_ARGUMENT: usize = 131_071;

pub(super) fn open(opening: Opening, options: Options) -> Result<Arc<dyn Session>, StartError> {
    let terms = Terms::of(&opening, &options);
    let command = match opening.command {
        command if command.is_empty() => vec![PROGRAM.to_owned()],
        command => command,
    };
    opening.slots.announce(opening.limits.concurrency.max(1));
    let Opening { io, lines, .. } = opening;
    Ok(Arc::new(Skeleton { io, terms, command, lines, in_flight: Arc::default() }))
}

struct Skeleton {
    io: Arc<dyn InstanceIo>,
    terms: Terms,
    command: Vec<String>,
    lines: Lines,
    in_flight: Arc<InFlight>,
}

#[async_trait]
impl Session for Skeleton {
    async fn call(&self, call: Call) -> Result<Response<Body>, CallError> {
        let _counted = self.in_flight.enter().0;
        let Terms { request_bytes, run_clock, max_answer_bytes } = self.terms;
        let answered = match Read::whole(call.request, request_bytes, call.id, run_clock).await {
            // Given up in the middle, the slot is dropped: an action that was stopped is not used again.
            Ok(read) => self.run(read, max_answer_bytes).await,
            Err(failed) => Err(failed),
        };
        settle(call.slot, &answered);
        answered
    }

    async fn close(&self, grace: Duration) {
        self.in_flight.drained(grace).await;
    }
}

fn settle(slot: Slot, answered: &Result<Response<Body>, CallError>) {
    match answered.as_ref().map_err(|failed| failed.outcome) {
        Err(Outcome::FunctionError(FunctionFault::Crash | FunctionFault::OutOfMemory)) => {
            slot.retire(Retire::Exited);
        }
        Err(Outcome::FunctionError(_)) => slot.retire(Retire::Broken),
        _ => slot.free(),
    }
}

impl Skeleton {
    async fn run(&self, read: Read, max_bytes: usize) -> Result<Response<Body>, CallError> {
        let value = read.value.clone();
        let mut argv = self.command.clone();
        if value.len() <= MAX_ARGUMENT {
            argv.push(String::from_utf8_lossy(&value).into_owned());
        }
        let command =
            Command { argv, variables: read.variables(), input: Some(value.clone()), ..Command::default() };
        let child = match self.io.spawn(command).await {
            Ok(child) => child,
            Err(error) => return Err(not_started(&error, read)),
        };
        let log = |stderr| LineReader::new(stderr, self.lines.clone(), LogStream::Stderr, MAX_LINE_BYTES);
        let process = Process::new(child, Body::full(value), log)?;
        let (exit, said) = self.watch(process, max_bytes).await.map_err(|stopped| {
            let (outcome, message) = stopped.into_outcome();
            CallError::new(outcome, message)
        })?;
        // How it exits says nothing where it gave a result.
        answer::result(said, max_bytes).map_err(|failed| self.no_result(failed, exit))
    }

    /// Runs the process to its end: how it ended, and the last line of what it printed.
    async fn watch(&self, mut process: Process, max_bytes: usize) -> Result<(Exit, answer::Said), Stopped> {
        let mut last = LastLine::new(max_bytes, |line: &[u8]| self.print(line));
        let mut buffer = BytesMut::new();
        let exit = poll_fn(|cx| {
            loop {
                match process.poll(cx, &mut buffer) {
                    Poll::Ready(Ok(None)) => {
                        last.feed(&buffer);
                        buffer.clear();
                    }
                    Poll::Ready(Ok(Some(exit))) => return Poll::Ready(Ok(exit)),
                    Poll::Ready(Err(stopped)) => return Poll::Ready(Err(stopped)),
                    Poll::Pending => return Poll::Pending,
                }
            }
        });
        let exit = exit.await?;
        Ok((exit, last.end()))
    }

    fn print(&self, line: &[u8]) {
        hand_on(&self.lines, LogStream::Stdout, line, MAX_LINE_BYTES);
    }

    /// What the last line was is for the log then.
    fn no_result(&self, failed: CallError, exit: Exit) -> CallError {
        if !failed.output.is_empty() {
            self.print(&failed.output);
        }
        let output = answer::object("The action did not return a dictionary or array.");
        let fault = match exit {
            Exit { out_of_memory: true, .. } => FunctionFault::OutOfMemory,
            exit if !exit.is_success() => FunctionFault::Crash,
            _ => return CallError { output, ..failed },
        };
        let outcome = Outcome::FunctionError(fault);
        CallError {
            outcome,
            output,
            message: format!("the process {exit}"),
            exit_code: exit.code,
            unsent: None,
        }
    }
}

/// A call whose process could not be started. Nothing of the request was sent.
fn not_started(error: &IoError, read: Read) -> CallError {
    let (outcome, output) = match error {
        IoError::NoProgram { .. } => (
            Outcome::FunctionError(FunctionFault::FailedInit),
            answer::object("The action failed to generate or locate a binary. See logs for details."),
        ),
        IoError::Exited(Exit { out_of_memory: true, .. }) | IoError::OutOfMemory => {
            (Outcome::FunctionError(FunctionFault::OutOfMemory), Bytes::new())
        }
        IoError::Exited(_) => (Outcome::FunctionError(FunctionFault::Crash), Bytes::new()),
        _ => (Outcome::PlatformError(PlatformFault::Internal), Bytes::new()),
    };
    let mut failed = CallError::new(outcome, error.to_string());
    failed.output = output;
    if !matches!(error, IoError::NoProgram { .. }) {
        failed.unsent = Some(read.unsent());
    }
    failed
}

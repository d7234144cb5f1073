//! The buffered mode: the answer is there when the process has ended.

use super::{Stopped, TIMED_OUT, process::Process, timed_out};
use crate::CallError;
use bytes::{Bytes, BytesMut};
use std::{future::poll_fn, task::Poll, time::Duration};
use xebec_core::{Outcome, outcome::FunctionFault, ports::instance::Exit};

enum End {
    Exited(Exit),
    Stopped(Stopped),
    TooMuch,
}

/// Runs the process to its end and returns what it wrote.
pub(super) async fn answer(
    mut process: Process,
    max_bytes: usize,
    time_left: Option<Duration>,
) -> Result<Bytes, CallError> {
    let mut output = BytesMut::new();
    let run = poll_fn(|cx| {
        loop {
            match process.poll(cx, &mut output) {
                Poll::Ready(Ok(None)) if output.len() > max_bytes => return Poll::Ready(End::TooMuch),
                Poll::Ready(Ok(None)) => {}
                Poll::Ready(Ok(Some(exit))) => return Poll::Ready(End::Exited(exit)),
                Poll::Ready(Err(stopped)) => return Poll::Ready(End::Stopped(stopped)),
                Poll::Pending => return Poll::Pending,
            }
        }
    });
    let end = match time_left {
        None => Some(run.await),
        Some(time) => tokio::time::timeout(time, run).await.ok(),
    };
    let (outcome, message) = match end {
        Some(End::Exited(exit)) if exit.is_success() => return Ok(output.freeze()),
        Some(End::Exited(exit)) => {
            let fault = if exit.out_of_memory { FunctionFault::OutOfMemory } else { FunctionFault::Crash };
            let mut failed = CallError::new(Outcome::FunctionError(fault), format!("the process {exit}"));
            failed.exit_code = exit.code;
            failed.output = output.freeze();
            return Err(failed);
        }
        Some(End::Stopped(stopped)) => stopped.into_outcome(),
        Some(End::TooMuch) => {
            output.truncate(0);
            let message = format!("the answer is larger than {max_bytes} bytes (max_answer_bytes)");
            (Outcome::FunctionError(FunctionFault::BadResponse), message)
        }
        None => timed_out(TIMED_OUT),
    };
    let mut failed = CallError::new(outcome, message);
    failed.output = output.freeze();
    Err(failed)
}

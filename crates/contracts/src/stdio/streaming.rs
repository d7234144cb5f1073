//! The streaming mode: the output is the answer's body as it comes.

use super::{Lease, TIMED_OUT, process::Process, timed_out};
use crate::AnswerError;
use bytes::{Bytes, BytesMut};
use http_body::{Body, Frame};
use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};
use tokio::time::{Sleep, sleep};
use xebec_core::{
    BodyError, Outcome,
    log::LogStream,
    outcome::FunctionFault,
    ports::instance::{Exit, Lines},
};

/// What is read at a time.
const FRAME_BYTES: usize = 16 * 1024;

/// A process's output. Dropped before its end, it kills the process.
pub(super) struct Output {
    running: Option<(Process, Lease)>,
    buffer: BytesMut,
    time_left: Option<Pin<Box<Sleep>>>,
    lines: Lines,
}

impl Output {
    pub(super) fn new(process: Process, time_left: Option<Duration>, lines: Lines, lease: Lease) -> Self {
        Self {
            running: Some((process, lease)),
            buffer: BytesMut::with_capacity(FRAME_BYTES),
            time_left: time_left.map(|time| Box::pin(sleep(time))),
            lines,
        }
    }

    fn end(&mut self, exit: Exit) -> Option<Result<Frame<Bytes>, BodyError>> {
        self.running = None;
        if exit.is_success() {
            return None;
        }
        self.lines.line(LogStream::Platform, &format!("the process {exit}"));
        let fault = match exit {
            Exit { out_of_memory: true, .. } => FunctionFault::OutOfMemory,
            // Its own way to say that something is amiss; what it wrote is whole.
            Exit { code: Some(_), .. } => return None,
            _ => FunctionFault::Crash,
        };
        Some(Err(broken((Outcome::FunctionError(fault), format!("the process {exit}")))))
    }

    fn stop(&mut self, why: (Outcome, String)) -> Option<Result<Frame<Bytes>, BodyError>> {
        self.running = None;
        Some(Err(broken(why)))
    }
}

fn broken((outcome, message): (Outcome, String)) -> BodyError {
    Box::new(AnswerError { outcome, message })
}

impl Body for Output {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        if let Some(sleep) = &mut this.time_left
            && this.running.is_some()
            && sleep.as_mut().poll(cx).is_ready()
        {
            return Poll::Ready(this.stop(timed_out(TIMED_OUT)));
        }
        let Some((process, _)) = &mut this.running else { return Poll::Ready(None) };
        match process.poll(cx, &mut this.buffer) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Ok(None)) => Poll::Ready(Some(Ok(Frame::data(this.buffer.split().freeze())))),
            Poll::Ready(Ok(Some(exit))) => Poll::Ready(this.end(exit)),
            Poll::Ready(Err(stopped)) => Poll::Ready(this.stop(stopped.into_outcome())),
        }
    }
}

//! One call's process: fed, read and waited for together, in the task of the call.

use super::Stopped;
use crate::{CallError, lines::LineReader};
use bytes::{Bytes, BytesMut};
use futures_util::future::BoxFuture;
use http_body::Body as _;
use std::{
    future::Future,
    io,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::{Sleep, sleep},
};
use tokio_util::io::poll_read_buf;
use xebec_core::{
    Body, Outcome,
    outcome::PlatformFault,
    ports::instance::{Child, Exit},
};

/// How long the output is read on after the process has ended while something that it left running holds
/// it open. Then that is killed, too.
const LINGER: Duration = Duration::from_millis(250);

/// The least room that is offered for one read.
const READ_BYTES: usize = 8 * 1024;

/// A running process. Dropping it kills it and everything it started.
pub(crate) struct Process {
    input: Option<Input>,
    output: Option<Box<dyn AsyncRead + Send + Unpin>>,
    errors: Option<LineReader>,
    ending: Ending,
    linger: Option<Pin<Box<Sleep>>>,
}

/// The process itself, until and after its end.
enum Ending {
    Awaited(BoxFuture<'static, (Box<dyn Child>, Exit)>),
    /// What it left running lives as long as the child is kept.
    Ended(Option<Box<dyn Child>>, Exit),
}

struct Input {
    body: Body,
    chunk: Bytes,
    to: Box<dyn AsyncWrite + Send + Unpin>,
}

impl Process {
    pub(crate) fn new(
        mut child: Box<dyn Child>,
        body: Body,
        log: impl FnOnce(Box<dyn AsyncRead + Send + Unpin>) -> LineReader,
    ) -> Result<Self, CallError> {
        let streams = child.take_streams().ok_or_else(|| {
            CallError::new(
                Outcome::PlatformError(PlatformFault::Internal),
                "the process has no standard streams",
            )
        })?;
        // Where nothing is left to be written, standard input is closed at once.
        let input = (!child.input_taken() && !body.is_end_stream()).then_some(Input {
            body,
            chunk: Bytes::new(),
            to: streams.stdin,
        });
        Ok(Self {
            input,
            output: Some(streams.stdout),
            errors: streams.stderr.map(log),
            ending: Ending::Awaited(Box::pin(async move {
                let exit = child.wait().await;
                (child, exit)
            })),
            linger: None,
        })
    }

    /// Moves everything on. Ready with `None` when output was added to `buffer`, with how it ended when
    /// nothing more will come.
    pub(crate) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut BytesMut,
    ) -> Poll<Result<Option<Exit>, Stopped>> {
        self.poll_input(cx).map_err(Stopped::Input)?;
        if let Some(errors) = &mut self.errors
            && errors.poll(cx).is_ready()
        {
            self.errors = None;
        }
        if let Some(output) = &mut self.output {
            buffer.reserve(READ_BYTES);
            match poll_read_buf(Pin::new(output), cx, buffer) {
                Poll::Ready(Ok(1..)) => return Poll::Ready(Ok(None)),
                Poll::Ready(Ok(0)) => self.output = None,
                Poll::Ready(Err(error)) => return Poll::Ready(Err(Stopped::Output(error))),
                Poll::Pending => {}
            }
        }
        self.poll_end(cx).map(|exit| Ok(Some(exit)))
    }

    /// Ready when the process has ended and its output has, too.
    fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<Exit> {
        if let Ending::Awaited(wait) = &mut self.ending {
            let (child, exit) = ready!(wait.as_mut().poll(cx));
            self.ending = Ending::Ended(Some(child), exit);
            // Nobody is there any more to read it.
            self.input = None;
        }
        let Ending::Ended(child, exit) = &mut self.ending else { return Poll::Pending };
        if self.output.is_none() && self.errors.is_none() {
            return Poll::Ready(*exit);
        }
        if child.is_some() {
            let linger = self.linger.get_or_insert_with(|| Box::pin(sleep(LINGER)));
            ready!(linger.as_mut().poll(cx));
            *child = None;
            linger.as_mut().reset(tokio::time::Instant::now() + LINGER);
        }
        // Killed, it closes the streams. Should something have escaped, this is the last wait for it.
        if let Some(linger) = &mut self.linger {
            ready!(linger.as_mut().poll(cx));
        }
        Poll::Ready(*exit)
    }

    /// Writes what the request brings to standard input, as far as it takes it.
    fn poll_input(&mut self, cx: &mut Context<'_>) -> Result<(), xebec_core::BodyError> {
        let Some(input) = &mut self.input else { return Ok(()) };
        match input.poll(cx) {
            Poll::Pending => Ok(()),
            Poll::Ready(result) => {
                self.input = None;
                result
            }
        }
    }
}

impl Input {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), xebec_core::BodyError>> {
        loop {
            while !self.chunk.is_empty() {
                match ready!(Pin::new(&mut self.to).poll_write(cx, &self.chunk)) {
                    Ok(written) if written > 0 => drop(self.chunk.split_to(written)),
                    // It does not read its input (any more): its own affair.
                    _ => return Poll::Ready(Ok(())),
                }
            }
            match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
                Some(Ok(frame)) => self.chunk = frame.into_data().unwrap_or_default(),
                Some(Err(error)) => return Poll::Ready(Err(error)),
                None => {
                    let _: Result<(), io::Error> = ready!(Pin::new(&mut self.to).poll_shutdown(cx));
                    return Poll::Ready(Ok(()));
                }
            }
        }
    }
}

//! What a process prints while it lives, cut into lines – and all of it, when a call's answer is there.

use crate::lines::LineReader;
use parking_lot::Mutex;
use std::{
    future::poll_fn,
    sync::Arc,
    task::{Context, Poll, Waker},
};
use tokio::{io::AsyncRead, task::coop::unconstrained};
use xebec_core::{
    log::{LogStream, MAX_LINE_BYTES},
    ports::instance::Lines,
};

type Stream = Box<dyn AsyncRead + Send + Unpin>;

/// A process's standard output and error.
pub(super) struct Printed(Mutex<State>);

struct State {
    readers: Vec<LineReader>,
    /// Whom the streams wake: the task that reads them.
    reader: Option<Waker>,
}

impl Printed {
    /// Reads them in a task of their own until both have ended.
    pub(super) fn follow(stdout: Stream, stderr: Option<Stream>, lines: &Lines) -> Arc<Self> {
        let reader = |from, stream| LineReader::new(from, lines.clone(), stream, MAX_LINE_BYTES);
        let mut readers = vec![reader(stdout, LogStream::Stdout)];
        readers.extend(stderr.map(|stderr| reader(stderr, LogStream::Stderr)));
        let printed = Arc::new(Self(Mutex::new(State { readers, reader: None })));
        let read = printed.clone();
        tokio::spawn(poll_fn(move |cx| {
            let mut state = read.0.lock();
            state.reader = Some(cx.waker().clone());
            state.poll(cx)
        }));
        printed
    }

    /// Hands on what is there already. A process that prints and then answers has its lines in time so.
    pub(super) async fn catch_up(&self) {
        // Unconstrained, since what is there must be read now.
        unconstrained(poll_fn(|_| {
            let mut state = self.0.lock();
            // The streams go on waking the task that reads them.
            if let Some(reader) = state.reader.clone() {
                let _ = state.poll(&mut Context::from_waker(&reader));
            }
            Poll::Ready(())
        }))
        .await;
    }
}

impl State {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.readers.retain_mut(|reader| reader.poll(cx).is_pending());
        if self.readers.is_empty() { Poll::Ready(()) } else { Poll::Pending }
    }
}

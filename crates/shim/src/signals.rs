//! What the shim is told by signals.

use crate::{children::Children, server::Server};
use rustix::process::Signal;
use std::{future::Future, io, sync::Arc};
use tokio::signal::unix::{Signal as Notices, SignalKind, signal};

/// Takes in every process that ends, as long as the shim runs.
pub(crate) fn reap(children: Arc<Children>) -> io::Result<impl Future<Output = ()>> {
    let mut ended = signal(SignalKind::child())?;
    Ok(async move {
        while ended.recv().await.is_some() {
            children.reap();
        }
    })
}

/// How the shim was told to stop.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Told {
    /// By whoever runs it, and senders have yet to see it.
    Terminate,
    /// From a terminal, where nobody waits.
    Interrupt,
}

/// What the shim is told from outside. A first process has no default handlers: all that counts is named here.
pub(crate) struct Signals {
    terminate: Notices,
    interrupt: Notices,
    hang_up: Notices,
    user_1: Notices,
    user_2: Notices,
}

impl Signals {
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hang_up: signal(SignalKind::hangup())?,
            user_1: signal(SignalKind::user_defined1())?,
            user_2: signal(SignalKind::user_defined2())?,
        })
    }

    /// Waits until it is told to stop, and passes on to the server what else it is told.
    pub(crate) async fn stop(&mut self, server: Option<&Server>) -> Told {
        loop {
            let pass_on = tokio::select! {
                _ = self.terminate.recv() => return Told::Terminate,
                _ = self.interrupt.recv() => return Told::Interrupt,
                _ = self.hang_up.recv() => Signal::HUP,
                _ = self.user_1.recv() => Signal::USR1,
                _ = self.user_2.recv() => Signal::USR2,
            };
            if let Some(server) = server {
                server.process.signal(pass_on);
            }
        }
    }
}

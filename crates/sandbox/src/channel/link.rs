//! The server's end of a channel, in its async runtime.

use super::{Message, Receiver, send};
use rustix::io::ioctl_fionbio;
use std::{
    io,
    os::fd::{BorrowedFd, OwnedFd},
};
use tokio::io::{Interest, unix::AsyncFd};

/// The server's end of a channel.
#[derive(Debug)]
pub(crate) struct Link(AsyncFd<OwnedFd>);

impl Link {
    pub(crate) fn new(socket: OwnedFd) -> io::Result<Self> {
        ioctl_fionbio(&socket, true)?;
        // SAFETY: an `OwnedFd` names the same open descriptor until it is dropped, and nothing closes it else.
        Ok(Self(unsafe { AsyncFd::register(socket)? }))
    }

    /// Sends one message, waiting for room.
    pub(crate) async fn send(&self, body: &[u8], descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
        self.0.async_io(Interest::WRITABLE, |socket| send(socket, body, descriptors)).await
    }

    /// Sends one message if there is room now.
    pub(crate) fn try_send(&self, body: &[u8]) -> io::Result<()> {
        send(self.0.get_ref(), body, &[])
    }

    /// The next message; `None` when the other end is closed.
    pub(crate) async fn receive(&self, receiver: &mut Receiver) -> io::Result<Option<Message>> {
        self.0.async_io(Interest::READABLE, |socket| receiver.receive(socket)).await
    }
}

//! The way out of a sandbox's network, without a change to the host's.
//!
//! Inside the network namespace there is a tunnel with a default route. What is sent into it comes out of a
//! descriptor here, in the server, where a TCP stack (`smoltcp`) answers in the name of whatever address was
//! meant, and plain sockets of the server carry the bytes on. So every connection passes [`policy`], and an
//! ordinary user's sandbox gets out as root's does.
//!
//! A connection is answered only once its far end has: one that is refused, or that policy refuses, is refused
//! inside, too. Buffers are of fixed size and nothing is read that there is no room for, so a slow far end
//! slows the sender inside down and nothing else. Flows are bounded in number and end when idle.

mod addresses;
mod packet;
mod policy;
mod stack;
mod tcp;
mod udp;

use std::{
    io,
    os::fd::OwnedFd,
    sync::{Arc, LazyLock},
};
use tokio::task::AbortHandle;

/// The way out of one sandbox; closed by dropping it.
#[derive(Debug)]
pub(crate) struct Way(AbortHandle);

/// Serves a tunnel.
pub(crate) fn open(tunnel: OwnedFd) -> io::Result<Way> {
    static HOST: LazyLock<Arc<addresses::Host>> = LazyLock::new(Arc::default);
    let stack = stack::Stack::new(tunnel, Arc::clone(&HOST))?;
    Ok(Way(tokio::spawn(stack).abort_handle()))
}

impl Drop for Way {
    fn drop(&mut self) {
        self.0.abort();
    }
}

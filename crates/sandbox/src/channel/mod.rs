//! Messages with descriptors over a Unix socket pair.
//!
//! `SOCK_SEQPACKET` keeps messages apart. What would not fit into a socket's buffer travels in a memfd, so
//! that the socket itself only ever carries small packets.

use rustix::{
    fs::{MemfdFlags, fstat, memfd_create},
    io::Errno,
    net::{
        AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags,
        SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg, sendmsg,
        socketpair,
    },
};
use std::{
    fs::File,
    io::{self, IoSlice, IoSliceMut, Read, Seek, Write},
    mem::MaybeUninit,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

mod link;

pub(crate) use link::Link;

/// The largest body that a packet carries itself.
const MAX_PACKET: usize = 32 * 1024;
/// The largest body at all: an environment block or a file to write.
pub(crate) const MAX_BODY: usize = 64 * 1024 * 1024;
/// The most descriptors of one message; one more may carry the body.
pub(crate) const MAX_DESCRIPTORS: usize = 64;

const BODY_INLINE: u8 = 0;
const BODY_IN_MEMFD: u8 = 1;

/// What came in.
#[derive(Debug, Default)]
pub(crate) struct Message {
    pub(crate) body: Vec<u8>,
    pub(crate) descriptors: Vec<OwnedFd>,
}

/// Two connected ends.
pub(crate) fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?)
}

/// Sends one message whole, or fails; `WouldBlock` where the socket does not block.
pub(crate) fn send(socket: impl AsFd, body: &[u8], descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
    if body.len() > MAX_BODY || descriptors.len() > MAX_DESCRIPTORS {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "the message is too large"));
    }
    if body.len() <= MAX_PACKET {
        return send_packet(socket.as_fd(), BODY_INLINE, body, descriptors);
    }
    let memory = memory_file(body)?;
    let mut all = descriptors.to_vec();
    all.push(memory.as_fd());
    send_packet(socket.as_fd(), BODY_IN_MEMFD, &[], &all)
}

fn send_packet(
    socket: BorrowedFd<'_>,
    tag: u8,
    body: &[u8],
    descriptors: &[BorrowedFd<'_>],
) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS + 1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() && !control.push(SendAncillaryMessage::ScmRights(descriptors)) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "too many descriptors"));
    }
    let parts = [IoSlice::new(std::slice::from_ref(&tag)), IoSlice::new(body)];
    loop {
        match sendmsg(socket, &parts, &mut control, SendFlags::NOSIGNAL) {
            Ok(_) => return Ok(()),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Receives messages, reusing its buffer.
#[derive(Debug)]
pub(crate) struct Receiver(Box<[u8]>);

impl Receiver {
    pub(crate) fn new() -> Self {
        Self(vec![0; MAX_PACKET + 1].into_boxed_slice())
    }

    /// The next message; `None` when the other end is closed.
    pub(crate) fn receive(&mut self, socket: impl AsFd) -> io::Result<Option<Message>> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS + 1))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let received = loop {
            let mut parts = [IoSliceMut::new(&mut self.0)];
            match recvmsg(socket.as_fd(), &mut parts, &mut control, RecvFlags::CMSG_CLOEXEC) {
                Ok(received) => break received,
                Err(Errno::INTR) => {}
                Err(Errno::CONNRESET) => return Ok(None),
                Err(error) => return Err(error.into()),
            }
        };
        let mut descriptors: Vec<OwnedFd> = Vec::new();
        for part in control.drain() {
            if let RecvAncillaryMessage::ScmRights(rights) = part {
                descriptors.extend(rights);
            }
        }
        if received.bytes == 0 {
            return Ok(None);
        }
        if received.flags.intersects(ReturnFlags::TRUNC | ReturnFlags::CTRUNC) {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "a message was cut short"));
        }
        let body = match self.0[0] {
            BODY_INLINE => self.0[1..received.bytes].to_vec(),
            _ => {
                let memory = descriptors
                    .pop()
                    .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "a message lost its body"))?;
                read_memory_file(memory)?
            }
        };
        Ok(Some(Message { body, descriptors }))
    }
}

fn memory_file(body: &[u8]) -> io::Result<OwnedFd> {
    let mut file = File::from(memfd_create("xebec-message", MemfdFlags::CLOEXEC)?);
    file.write_all(body)?;
    Ok(file.into())
}

fn read_memory_file(memory: OwnedFd) -> io::Result<Vec<u8>> {
    let size = usize::try_from(fstat(&memory)?.st_size).unwrap_or(usize::MAX);
    if size > MAX_BODY {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "a message is too large"));
    }
    let mut file = File::from(memory);
    file.rewind()?;
    let mut body = Vec::with_capacity(size);
    file.read_to_end(&mut body)?;
    Ok(body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_keep_their_bounds_and_descriptors() {
        let (ours, theirs) = pair().unwrap();
        let large = vec![7; 3 * MAX_PACKET];
        send(&ours, b"one", &[ours.as_fd()]).unwrap();
        send(&ours, &large, &[ours.as_fd(), theirs.as_fd()]).unwrap();
        send(&ours, b"", &[]).unwrap();
        let mut receiver = Receiver::new();
        let one = receiver.receive(&theirs).unwrap().unwrap();
        assert_eq!((one.body.as_slice(), one.descriptors.len()), (b"one".as_slice(), 1));
        let two = receiver.receive(&theirs).unwrap().unwrap();
        assert_eq!((two.body, two.descriptors.len()), (large, 2));
        assert!(receiver.receive(&theirs).unwrap().unwrap().body.is_empty());
        drop((ours, one.descriptors, two.descriptors));
        assert!(receiver.receive(&theirs).unwrap().is_none());
    }

    #[test]
    fn what_is_too_large_is_refused() {
        let (ours, _theirs) = pair().unwrap();
        assert!(send(&ours, &[], &vec![ours.as_fd(); MAX_DESCRIPTORS + 1]).is_err());
    }
}

//! Datagrams on their way out and back.

use super::packet::{Ends, write_datagram};
use rustix::net::SendFlags;
use std::{
    collections::HashMap,
    io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    task::{Context, Poll},
    time::{Duration, Instant},
};
use tokio::{io::ReadBuf, net::UdpSocket};

/// Flows of one sandbox at once.
const MOST: usize = 256;
/// A flow without a datagram for so long is over.
const IDLE: Duration = Duration::from_secs(60);
/// What comes back in one turn, at most.
const TURN: usize = 32;

#[derive(Default)]
pub(super) struct Datagrams {
    flows: HashMap<Ends, Flow>,
}

struct Flow {
    socket: UdpSocket,
    last: Instant,
}

impl Datagrams {
    /// Sends a datagram on. `route` says where to. What cannot be sent is lost, as datagrams are.
    pub(super) fn send(&mut self, ends: Ends, payload: &[u8], route: impl FnOnce() -> Option<SocketAddr>) {
        if !self.flows.contains_key(&ends) {
            if self.flows.len() >= MOST {
                return;
            }
            let Some(socket) = route().and_then(|target| open(target).ok()) else { return };
            self.flows.insert(ends, Flow { socket, last: Instant::now() });
        }
        if let Some(flow) = self.flows.get_mut(&ends) {
            flow.last = Instant::now();
            // Straight to the kernel: a socket just made is not known to be writable yet.
            let _ = rustix::net::send(&flow.socket, payload, SendFlags::DONTWAIT | SendFlags::NOSIGNAL);
        }
    }

    /// Packets that came back, one after the other, while `deliver` has room.
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
        mut deliver: impl FnMut(Vec<u8>) -> bool,
    ) -> bool {
        let mut moved = false;
        self.flows.retain(|ends, flow| {
            for _ in 0..TURN {
                let mut room = ReadBuf::new(buffer);
                match flow.socket.poll_recv(cx, &mut room) {
                    Poll::Ready(Ok(())) => {
                        moved = true;
                        flow.last = Instant::now();
                        let packet = write_datagram(ends, room.filled());
                        if packet.is_none_or(|packet| !deliver(packet)) {
                            break;
                        }
                    }
                    // E.g. refused: the flow may still be of use.
                    Poll::Ready(Err(_)) => moved = true,
                    Poll::Pending => break,
                }
            }
            flow.last.elapsed() < IDLE
        });
        moved
    }

    pub(super) fn is_empty(&self) -> bool {
        self.flows.is_empty()
    }
}

fn open(target: SocketAddr) -> io::Result<UdpSocket> {
    let any: SocketAddr = match target {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let socket = std::net::UdpSocket::bind(any)?;
    socket.connect(target)?;
    socket.set_nonblocking(true)?;
    UdpSocket::from_std(socket)
}

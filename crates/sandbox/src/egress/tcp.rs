//! One connection: a socket of the stack inside, a socket of the server outside.

use smoltcp::{
    socket::tcp::{CongestionControl, Socket, SocketBuffer, State},
    wire::IpListenEndpoint,
};
use std::{
    io,
    net::SocketAddr,
    pin::Pin,
    task::{Context, Poll},
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};

/// How long the far end may take to answer.
const CONNECT: Duration = Duration::from_secs(30);
/// A connection on which nothing moves for so long is over.
const IDLE: Duration = Duration::from_secs(15 * 60);
/// A connection of which one side is closed already, for so long.
const HALF_IDLE: Duration = Duration::from_secs(60);
/// What lies in the stack, each way.
const BUFFER: usize = 64 * 1024;

/// A far end that has not answered yet.
pub(super) type Connecting = Pin<Box<dyn Future<Output = io::Result<TcpStream>> + Send>>;

/// Asks the far end.
pub(super) fn connect(target: SocketAddr) -> Connecting {
    Box::pin(async move {
        let stream = tokio::time::timeout(CONNECT, TcpStream::connect(target)).await??;
        stream.set_nodelay(true)?;
        Ok(stream)
    })
}

/// The stack's socket for a connection to `outside`, waiting for its first packet.
pub(super) fn listen(outside: SocketAddr) -> Option<Socket<'static>> {
    let buffer = || SocketBuffer::new(vec![0; BUFFER]);
    let mut socket = Socket::new(buffer(), buffer());
    socket.set_nagle_enabled(false);
    socket.set_ack_delay(None);
    socket.set_congestion_control(CongestionControl::None);
    socket.listen(IpListenEndpoint::from(outside)).ok()?;
    Some(socket)
}

/// A connection whose far end has answered.
pub(super) struct Flow {
    outside: TcpStream,
    /// All that came from inside was sent on, and its end, too.
    sent_all: bool,
    /// All that came from outside lies in the stack, and its end, too.
    got_all: bool,
    last: Instant,
}

impl Flow {
    pub(super) fn new(outside: TcpStream) -> Self {
        Self { outside, sent_all: false, got_all: false, last: Instant::now() }
    }

    /// Moves what can be moved; whether anything was.
    pub(super) fn pump(&mut self, socket: &mut Socket<'_>, cx: &mut Context<'_>) -> bool {
        let moved = self.send(socket, cx) | self.receive(socket, cx);
        if moved {
            self.last = Instant::now();
        } else if self.last.elapsed() > if self.sent_all || self.got_all { HALF_IDLE } else { IDLE } {
            socket.abort();
        }
        moved
    }

    /// From inside to outside.
    fn send(&mut self, socket: &mut Socket<'_>, cx: &mut Context<'_>) -> bool {
        let mut moved = false;
        while socket.can_recv() {
            let outside = Pin::new(&mut self.outside);
            let written = socket.recv(|bytes| match outside.poll_write(cx, bytes) {
                Poll::Ready(Ok(count)) => (count, Ok(count)),
                Poll::Ready(Err(error)) => (0, Err(error)),
                Poll::Pending => (0, Ok(0)),
            });
            match written {
                Ok(Ok(0)) => return moved,
                Ok(Ok(_)) => moved = true,
                Ok(Err(_)) | Err(_) => {
                    socket.abort();
                    return true;
                }
            }
        }
        let inside_ended = matches!(
            socket.state(),
            State::CloseWait | State::LastAck | State::Closing | State::TimeWait | State::Closed
        );
        if inside_ended && !self.sent_all && Pin::new(&mut self.outside).poll_shutdown(cx).is_ready() {
            self.sent_all = true;
            moved = true;
        }
        moved
    }

    /// From outside to inside.
    fn receive(&mut self, socket: &mut Socket<'_>, cx: &mut Context<'_>) -> bool {
        let mut moved = false;
        while !self.got_all && socket.can_send() {
            let outside = Pin::new(&mut self.outside);
            let read = socket.send(|room| {
                let mut room = ReadBuf::new(room);
                match outside.poll_read(cx, &mut room) {
                    Poll::Ready(Ok(())) => (room.filled().len(), Some(Ok(room.filled().len()))),
                    Poll::Ready(Err(error)) => (0, Some(Err(error))),
                    Poll::Pending => (0, None),
                }
            });
            match read {
                Ok(None) => return moved,
                Ok(Some(Ok(0))) => {
                    self.got_all = true;
                    socket.close();
                }
                Ok(Some(Ok(_))) => {}
                Ok(Some(Err(_))) | Err(_) => socket.abort(),
            }
            moved = true;
        }
        moved
    }
}

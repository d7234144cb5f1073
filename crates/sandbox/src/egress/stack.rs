//! The stack of one sandbox: a future that is polled when its tunnel, a socket or a clock has something, and
//! then moves all that can be moved.

use super::{
    addresses::Host,
    packet::{self, Ends, Kind},
    tcp::{self, Connecting, Flow},
    udp::Datagrams,
};
use crate::spawner::network::{MTU, RESOLVER};
use rustix::io::ioctl_fionbio;
use smoltcp::{
    iface::{Config, Interface, PollResult, SocketHandle, SocketSet},
    phy::{Device, DeviceCapabilities, Medium, RxToken, TxToken},
    socket::tcp::{Socket, State},
    time::Instant as StackInstant,
    wire::{HardwareAddress, IpCidr, Ipv4Cidr, Ipv6Cidr},
};
use std::{
    collections::{HashMap, VecDeque},
    hash::{BuildHasher, Hasher},
    io,
    net::{Ipv6Addr, SocketAddr},
    os::fd::OwnedFd,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};
use tokio::{io::unix::AsyncFd, time::Sleep};

/// Connections of one sandbox at once.
const MOST: usize = 256;
/// Packets on their way into the tunnel.
const OUTBOX: usize = 64;
/// Rounds of one turn: then others have theirs.
const ROUNDS: usize = 32;
/// How often idle flows are looked for.
const SWEEP: Duration = Duration::from_secs(5);
/// The far end of the tunnel by IPv6; nothing is served there, it only stands for the route.
const FAR_V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0x7865, 0x6265, 0x63, 0, 0, 0, 1);

pub(super) struct Stack {
    tunnel: AsyncFd<OwnedFd>,
    host: Arc<Host>,
    interface: Interface,
    sockets: SocketSet<'static>,
    queues: Queues,
    connecting: HashMap<Ends, (Vec<u8>, Connecting)>,
    open: HashMap<Ends, (SocketHandle, Flow)>,
    datagrams: Datagrams,
    buffer: Box<[u8]>,
    began: Instant,
    alarm: Pin<Box<Sleep>>,
}

impl Stack {
    pub(super) fn new(tunnel: OwnedFd, host: Arc<Host>) -> io::Result<Self> {
        ioctl_fionbio(&tunnel, true)?;
        let mut queues = Queues::default();
        let mut config = Config::new(HardwareAddress::Ip);
        config.random_seed = std::hash::RandomState::new().build_hasher().finish();
        let mut interface = Interface::new(config, &mut queues, StackInstant::ZERO);
        // Every address is ours, as far as the sandbox can tell.
        interface.set_any_ip(true);
        interface.update_ip_addrs(|addresses| {
            let _ = addresses.push(IpCidr::Ipv4(Ipv4Cidr::new(RESOLVER, 30)));
            let _ = addresses.push(IpCidr::Ipv6(Ipv6Cidr::new(FAR_V6, 64)));
        });
        let routes = interface.routes_mut();
        let _ = routes.add_default_ipv4_route(RESOLVER);
        let _ = routes.add_default_ipv6_route(FAR_V6);
        Ok(Self {
            // SAFETY: an `OwnedFd` names the same open descriptor until it is dropped.
            tunnel: unsafe { AsyncFd::register(tunnel)? },
            host,
            interface,
            sockets: SocketSet::new(Vec::new()),
            queues,
            connecting: HashMap::new(),
            open: HashMap::new(),
            datagrams: Datagrams::default(),
            buffer: vec![0; usize::from(MTU)].into_boxed_slice(),
            began: Instant::now(),
            alarm: Box::pin(tokio::time::sleep(SWEEP)),
        })
    }

    fn now(&self) -> StackInstant {
        StackInstant::from_micros(i64::try_from(self.began.elapsed().as_micros()).unwrap_or(i64::MAX))
    }

    /// Lets the stack work on what lies in its queues and sockets.
    fn work(&mut self) -> bool {
        let now = self.now();
        self.interface.poll(now, &mut self.queues, &mut self.sockets) == PollResult::SocketStateChanged
    }

    /// Reads packets while there are any and there is room for what they lead to.
    fn read_tunnel(&mut self, cx: &mut Context<'_>) -> io::Result<bool> {
        let mut moved = false;
        while self.queues.out.len() < OUTBOX {
            let Poll::Ready(ready) = self.tunnel.poll_read_ready(cx) else { break };
            let read = ready?.try_io(|tunnel| Ok(rustix::io::read(tunnel, &mut self.buffer[..])?));
            match read {
                Ok(Ok(count)) => {
                    moved = true;
                    self.take(count);
                }
                Ok(Err(error)) => return Err(error),
                Err(_) => {}
            }
        }
        Ok(moved)
    }

    fn take(&mut self, count: usize) {
        let packet = &self.buffer[..count];
        match packet::read(packet) {
            Some(Kind::TcpSyn(ends)) => {
                let known = self.connecting.contains_key(&ends) || self.open.contains_key(&ends);
                let full = self.connecting.len() + self.open.len() >= MOST;
                match if known || full { None } else { self.host.route(ends.outside) } {
                    Some(target) => {
                        self.connecting.insert(ends, (packet.to_vec(), tcp::connect(target)));
                    }
                    // Sent again while we wait for the far end, or for room.
                    None if self.connecting.contains_key(&ends) || (full && !known) => {}
                    // To no socket at all: the stack refuses it.
                    None => self.deliver(count),
                }
            }
            Some(Kind::Tcp(ends)) if !self.connecting.contains_key(&ends) => self.deliver(count),
            Some(Kind::Udp(ends, payload)) => {
                let host = &self.host;
                self.datagrams.send(ends, payload, || host.route(ends.outside));
            }
            _ => {}
        }
    }

    fn deliver(&mut self, count: usize) {
        self.queues.come.push_back(self.buffer[..count].to_vec());
        self.work();
    }

    /// Answers connections whose far end has answered.
    fn poll_connecting(&mut self, cx: &mut Context<'_>) -> bool {
        let mut answered = Vec::new();
        self.connecting.retain(|ends, (syn, connecting)| match connecting.as_mut().poll(cx) {
            Poll::Ready(result) => {
                answered.push((*ends, std::mem::take(syn), result));
                false
            }
            Poll::Pending => true,
        });
        let any = !answered.is_empty();
        for (ends, syn, result) in answered {
            let socket = result.ok().and_then(|stream| Some((tcp::listen(ends.outside)?, stream)));
            let added = socket.map(|(socket, stream)| (self.sockets.add(socket), stream));
            // With no socket that waits for it, the first packet makes the stack refuse the connection.
            self.queues.come.push_back(syn);
            self.work();
            let Some((handle, stream)) = added else { continue };
            let taken = self.sockets.get::<Socket<'_>>(handle).remote_endpoint();
            if taken.is_some_and(|inside| SocketAddr::from(inside) == ends.inside) {
                self.open.insert(ends, (handle, Flow::new(stream)));
            } else {
                self.sockets.remove(handle);
            }
        }
        any
    }

    fn poll_open(&mut self, cx: &mut Context<'_>) -> bool {
        let mut moved = false;
        let sockets = &mut self.sockets;
        self.open.retain(|_, (handle, flow)| {
            let socket = sockets.get_mut::<Socket<'_>>(*handle);
            moved |= flow.pump(socket, cx);
            // A socket that was closed by force keeps its far end until it has said so.
            let over = match socket.state() {
                State::Closed => socket.remote_endpoint().is_none(),
                State::TimeWait => true,
                _ => false,
            };
            if over {
                sockets.remove(*handle);
            }
            !over
        });
        moved
    }

    fn poll_datagrams(&mut self, cx: &mut Context<'_>) -> bool {
        let out = &mut self.queues.out;
        self.datagrams.poll(cx, &mut self.buffer, |packet| {
            // What is too much is lost, as datagrams are.
            if out.len() < 2 * OUTBOX && packet.len() <= usize::from(MTU) {
                out.push_back(packet);
            }
            out.len() < OUTBOX
        })
    }

    fn write_tunnel(&mut self, cx: &mut Context<'_>) -> io::Result<bool> {
        let mut moved = false;
        while let Some(packet) = self.queues.out.front() {
            let Poll::Ready(ready) = self.tunnel.poll_write_ready(cx) else { break };
            match ready?.try_io(|tunnel| Ok(rustix::io::write(tunnel, packet)?)) {
                Ok(Ok(_)) => {
                    self.queues.out.pop_front();
                    moved = true;
                }
                // The tunnel is down, or refuses this one packet.
                Ok(Err(error)) if error.raw_os_error() == Some(libc::EIO) => return Err(error),
                Ok(Err(_)) => {
                    self.queues.out.pop_front();
                }
                Err(_) => {}
            }
        }
        Ok(moved)
    }

    fn poll_all(&mut self, cx: &mut Context<'_>) -> io::Result<bool> {
        let read = self.read_tunnel(cx)?;
        let answered = self.poll_connecting(cx);
        let pumped = self.poll_open(cx);
        let datagrams = self.poll_datagrams(cx);
        let worked = self.work();
        let written = self.write_tunnel(cx)?;
        Ok(read || answered || pumped || datagrams || worked || written)
    }

    /// When there is something to do even though nothing moves.
    fn set_alarm(&mut self) {
        let now = self.now();
        let stack = self.interface.poll_delay(now, &self.sockets).map(Duration::from);
        let sweep = (!self.open.is_empty() || !self.datagrams.is_empty()).then_some(SWEEP);
        let next = stack.into_iter().chain(sweep).min().unwrap_or(Duration::from_secs(3600));
        self.alarm.as_mut().reset(tokio::time::Instant::now() + next.max(Duration::from_millis(1)));
    }
}

impl Future for Stack {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let stack = self.get_mut();
        loop {
            let mut rounds = 0;
            loop {
                match stack.poll_all(cx) {
                    Ok(true) => {}
                    Ok(false) => break,
                    Err(error) => {
                        tracing::debug!(%error, "a sandbox's tunnel is gone");
                        return Poll::Ready(());
                    }
                }
                rounds += 1;
                if rounds == ROUNDS {
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
            }
            stack.set_alarm();
            ready!(stack.alarm.as_mut().poll(cx));
        }
    }
}

/// The packets that the stack takes and gives.
#[derive(Default)]
struct Queues {
    come: VecDeque<Vec<u8>>,
    out: VecDeque<Vec<u8>>,
}

struct Come(Vec<u8>);
struct Out<'a>(&'a mut VecDeque<Vec<u8>>);

impl RxToken for Come {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        f(&self.0)
    }
}

impl TxToken for Out<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, length: usize, f: F) -> R {
        let mut packet = vec![0; length];
        let result = f(&mut packet);
        self.0.push_back(packet);
        result
    }
}

impl Device for Queues {
    type RxToken<'a> = Come;
    type TxToken<'a> = Out<'a>;

    fn receive(&mut self, _: StackInstant) -> Option<(Come, Out<'_>)> {
        let packet = self.come.pop_front()?;
        Some((Come(packet), Out(&mut self.out)))
    }

    fn transmit(&mut self, _: StackInstant) -> Option<Out<'_>> {
        (self.out.len() < OUTBOX).then_some(Out(&mut self.out))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ip;
        capabilities.max_transmission_unit = usize::from(MTU);
        capabilities
    }
}

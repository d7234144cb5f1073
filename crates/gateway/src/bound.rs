//! The gateway while it listens: accepting, draining, ending.

use crate::{
    connection,
    gateway::Shared,
    io::{Stream, farewell},
    options::GatewayOptions,
    refusal::Refusal,
    state::{ConnectionState, Wish},
};
use rustix::net::sockopt;
use std::{io, net::SocketAddr, sync::Arc, time::Duration};
use tokio::{
    net::{TcpListener, TcpSocket, TcpStream},
    sync::watch,
    task::JoinSet,
};
use xebec_core::{Error, error::ErrorKind};

/// Connections that the kernel keeps for us while we are busy.
const BACKLOG: u32 = 1024;

/// When a silent client's machine is asked whether it is still there, how often again, and how many times.
const PROBE_AFTER: Duration = Duration::from_secs(60);
const PROBE_EVERY: Duration = Duration::from_secs(15);
const PROBES: u32 = 4;

/// A gateway whose ports are open.
pub struct Bound {
    shared: Arc<Shared>,
    listeners: Vec<(TcpListener, SocketAddr)>,
    wish: watch::Sender<Wish>,
}

/// Ends a gateway from elsewhere. Cheap to clone.
#[derive(Clone)]
pub struct Handle(watch::Sender<Wish>);

impl Handle {
    /// Takes nothing new, lets what is in flight finish, up to the grace.
    pub fn drain(&self) {
        self.raise(Wish::Drain);
    }

    /// Ends at once.
    pub fn now(&self) {
        self.raise(Wish::Now);
    }

    fn raise(&self, wish: Wish) {
        self.0.send_if_modified(|current| {
            let higher = wish > *current;
            *current = (*current).max(wish);
            higher
        });
    }
}

/// How serving ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Served {
    /// Connections that were cut, because the grace was over or it had to end at once.
    pub cut: usize,
}

impl Bound {
    pub(crate) async fn open(shared: Arc<Shared>) -> Result<Self, Error> {
        let options = &shared.options;
        if options.listen.is_empty() {
            return Err(Error::invalid("XB6011", "there is no address to listen on"));
        }
        let mut listeners = Vec::new();
        for &address in &options.listen {
            let closed = options.insecure || shared.keys.has_issued_keys();
            if !closed && !address.ip().to_canonical().is_loopback() {
                return Err(unguarded(address));
            }
            let listener = listen(address).map_err(|error| cannot_listen(address, &error))?;
            let address = listener.local_addr().map_err(|error| cannot_listen(address, &error))?;
            listeners.push((listener, address));
        }
        warn_of(options, &listeners);
        Ok(Self { shared, listeners, wish: watch::Sender::new(Wish::Serve) })
    }

    /// Where it listens, with the ports that were chosen.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.listeners.iter().map(|(_, address)| *address).collect()
    }

    /// What ends it.
    pub fn handle(&self) -> Handle {
        Handle(self.wish.clone())
    }

    /// Serves until `shutdown` completes or the handle says so; then stops accepting, lets what is in flight
    /// finish for as long as the grace allows, and returns.
    pub async fn serve(self, shutdown: impl Future<Output = ()>) -> Served {
        let Self { shared, listeners, wish } = self;
        let mut told = wish.subscribe();
        let mut accepting = JoinSet::new();
        for (listener, local) in listeners {
            accepting.spawn(accept(shared.clone(), listener, local));
        }
        tokio::select! {
            () = shutdown => {}
            _ = told.wait_for(|wish| *wish > Wish::Serve) => {}
        }
        shared.readiness.set_unready("is shutting down");
        // Also closes the ports: whoever comes now is refused by the kernel.
        accepting.shutdown().await;
        let register = &shared.register;
        register.tell(Wish::Drain);
        let in_flight = register.in_flight();
        if in_flight > 0 {
            tracing::info!(in_flight, grace = ?shared.options.grace, "waiting for calls in flight");
        }
        tokio::select! {
            () = register.emptied() => {}
            () = tokio::time::sleep(shared.options.grace) => {}
            _ = told.wait_for(|wish| *wish > Wish::Drain) => {}
        }
        let cut = register.len();
        if cut > 0 {
            tracing::warn!(connections = cut, "ending with connections still open");
            register.tell(Wish::Now);
        }
        Served { cut }
    }
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    // A port whose last connections are still dying down is free for us.
    socket.set_reuseaddr(true)?;
    // Finds out about clients whose machine or network is gone: a tunnel, or a client that listens to a long
    // answer, may be silent for as long as it likes. Accepted connections inherit it.
    sockopt::set_socket_keepalive(&socket, true)?;
    sockopt::set_tcp_keepidle(&socket, PROBE_AFTER)?;
    sockopt::set_tcp_keepintvl(&socket, PROBE_EVERY)?;
    sockopt::set_tcp_keepcnt(&socket, PROBES)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

async fn accept(shared: Arc<Shared>, listener: TcpListener, local: SocketAddr) {
    let mut told = false;
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                told = false;
                take(&shared, stream, peer, local);
            }
            // It went away while it waited in the backlog.
            Err(error) if is_of_one_connection(&error) => {}
            // Out of file descriptors, most likely: some will be free soon, and trying at once would spin.
            Err(error) => {
                if !std::mem::replace(&mut told, true) {
                    tracing::warn!(%error, %local, "cannot accept connections at the moment");
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

fn take(shared: &Arc<Shared>, stream: TcpStream, peer: SocketAddr, local: SocketAddr) {
    let state = Arc::new(ConnectionState::new(peer, local));
    match shared.register.enter(&state) {
        Some(place) => {
            tokio::spawn(connection::serve(shared.clone(), stream, state, place));
        }
        None if shared.tls.is_none() => {
            if let Some(place) = shared.register.refuse() {
                let refusal = Refusal::TOO_MANY_CONNECTIONS.raw();
                tokio::spawn(farewell(Stream::Plain(stream), refusal, place));
            }
        }
        // Saying it within TLS would take a handshake: the very work there is no room for.
        None => {}
    }
}

fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

fn cannot_listen(address: SocketAddr, error: &io::Error) -> Error {
    let unavailable =
        |code, message: String, hint: &str| Error::new(ErrorKind::Unavailable, code, message).with_hint(hint);
    match error.kind() {
        io::ErrorKind::AddrInUse => unavailable(
            "XB6010",
            format!("address in use: {address}"),
            "another program listens there, perhaps another xebec: stop it, or choose another address with --listen",
        ),
        io::ErrorKind::AddrNotAvailable => unavailable(
            "XB6011",
            format!("cannot listen on {address}: this machine has no such address"),
            "listen on 127.0.0.1, or on an address that one of its interfaces has",
        ),
        io::ErrorKind::PermissionDenied => unavailable(
            "XB6011",
            format!("cannot listen on {address}: not permitted"),
            "ports below 1024 need privileges: choose a higher one with --listen",
        ),
        _ => unavailable(
            "XB6011",
            format!("cannot listen on {address}: {error}"),
            "choose another address with --listen",
        ),
    }
}

fn unguarded(address: SocketAddr) -> Error {
    Error::new(
        ErrorKind::Refused,
        "XB6012",
        format!("will not listen on {address}: other machines could reach it, and no key was issued"),
    )
    .with_hint(
        "issue one with `xebec key create`, listen on 127.0.0.1, or give --insecure to trust everybody",
    )
}

fn warn_of(options: &GatewayOptions, listeners: &[(TcpListener, SocketAddr)]) {
    let reachable = listeners.iter().any(|(_, address)| !address.ip().to_canonical().is_loopback());
    if options.insecure && reachable && !options.strict {
        tracing::warn!("--insecure: as long as no key is issued, whoever reaches this server may manage it");
    }
    if reachable && options.tls.is_none() {
        tracing::warn!("keys travel in the clear: other machines can reach this server, and TLS is off");
    }
}

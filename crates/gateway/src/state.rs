//! What one connection counts, and the register of all that are open.

use crate::watch::Seen;
use futures_util::task::AtomicWaker;
use parking_lot::Mutex;
use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
};
use tokio::sync::Notify;

/// What connections are asked to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Wish {
    /// Go on.
    Serve = 0,
    /// Finish what is in flight, take nothing new.
    Drain = 1,
    /// End.
    Now = 2,
}

/// One connection's addresses and counters. Its own task writes them; others may look.
pub(crate) struct ConnectionState {
    /// Who sends.
    pub(crate) peer: SocketAddr,
    /// The listener it came to.
    pub(crate) local: SocketAddr,
    /// Both ends are loopback.
    pub(crate) loopback: bool,
    wish: AtomicU8,
    waker: AtomicWaker,
    multiplexed: AtomicBool,
    /// A request was begun since bytes last came in at rest: what is written now answers it.
    answering: AtomicBool,
    late: AtomicBool,
    linger: AtomicBool,
    blocked: AtomicBool,
    read: AtomicU64,
    read_at_rest: AtomicU64,
    written: AtomicU64,
    begun: AtomicU64,
    pieces: AtomicU64,
    active: AtomicU32,
    untaken: AtomicU32,
}

impl ConnectionState {
    pub(crate) fn new(peer: SocketAddr, local: SocketAddr) -> Self {
        // A listener on all IPv6 addresses sees IPv4 peers as mapped ones.
        let peer = SocketAddr::new(peer.ip().to_canonical(), peer.port());
        let loopback = peer.ip().is_loopback() && local.ip().to_canonical().is_loopback();
        Self {
            peer,
            local,
            loopback,
            wish: AtomicU8::new(Wish::Serve as u8),
            waker: AtomicWaker::new(),
            multiplexed: AtomicBool::default(),
            answering: AtomicBool::default(),
            late: AtomicBool::default(),
            linger: AtomicBool::default(),
            blocked: AtomicBool::default(),
            read: AtomicU64::default(),
            read_at_rest: AtomicU64::default(),
            written: AtomicU64::default(),
            begun: AtomicU64::default(),
            pieces: AtomicU64::default(),
            active: AtomicU32::default(),
            untaken: AtomicU32::default(),
        }
    }

    /// The counters as they stand.
    pub(crate) fn seen(&self) -> Seen {
        Seen {
            multiplexed: self.multiplexed.load(Relaxed),
            read: self.read.load(Relaxed),
            read_at_rest: self.read_at_rest.load(Relaxed),
            begun: self.begun.load(Relaxed),
            active: self.active.load(Relaxed),
            untaken: self.untaken.load(Relaxed),
            pieces: self.pieces.load(Relaxed),
            blocked: self.blocked.load(Relaxed),
            written: self.written.load(Relaxed),
        }
    }

    /// What it is asked to do; `context` is woken when that changes.
    pub(crate) fn wish(&self, context: &std::task::Context<'_>) -> Wish {
        self.waker.register(context.waker());
        match self.wish.load(Relaxed) {
            0 => Wish::Serve,
            1 => Wish::Drain,
            _ => Wish::Now,
        }
    }

    fn tell(&self, wish: Wish) {
        self.wish.fetch_max(wish as u8, Relaxed);
        self.waker.wake();
    }

    /// Bytes came in.
    pub(crate) fn took(&self, bytes: &[u8]) {
        let read = self.read.load(Relaxed);
        if read == 0 && bytes.starts_with(b"PRI ") {
            self.multiplexed.store(true, Relaxed);
        }
        self.read.store(read + bytes.len() as u64, Relaxed);
        // Blocked: the end of the answer before is still to be written.
        if self.active.load(Relaxed) == 0 && !self.blocked.load(Relaxed) {
            self.answering.store(false, Relaxed);
        }
    }

    /// Bytes went out.
    pub(crate) fn gave(&self, bytes: usize) {
        self.written.store(self.written.load(Relaxed) + bytes as u64, Relaxed);
    }

    /// Whether bytes wait that the socket does not take.
    pub(crate) fn set_blocked(&self, blocked: bool) {
        self.blocked.store(blocked, Relaxed);
    }

    /// Whether what is written now answers a request (rather than bytes that were none).
    pub(crate) fn is_answering(&self) -> bool {
        self.answering.load(Relaxed)
    }

    /// The head came too slowly: whoever reads next says so and closes.
    pub(crate) fn set_late(&self) {
        self.late.store(true, Relaxed);
    }

    pub(crate) fn is_late(&self) -> bool {
        self.late.load(Relaxed)
    }

    /// The client may still be sending when the connection closes: reads that on for a while, since closing
    /// at once would destroy the answer on its way.
    pub(crate) fn set_linger(&self) {
        self.linger.store(true, Relaxed);
    }

    pub(crate) fn lingers(&self) -> bool {
        self.linger.load(Relaxed)
    }
}

/// A request under way: counted until it is dropped, with the end of its answer.
pub(crate) struct Serving {
    state: Arc<ConnectionState>,
    untaken: bool,
}

impl Serving {
    pub(crate) fn begin(state: Arc<ConnectionState>) -> Self {
        state.active.fetch_add(1, Relaxed);
        state.begun.fetch_add(1, Relaxed);
        state.answering.store(true, Relaxed);
        Self { state, untaken: false }
    }

    /// The client was given a piece of the answer, or asks for the next one.
    pub(crate) fn set_untaken(&mut self, untaken: bool) {
        if untaken {
            self.state.pieces.fetch_add(1, Relaxed);
        }
        if untaken == self.untaken {
            return;
        }
        self.untaken = untaken;
        if untaken {
            self.state.untaken.fetch_add(1, Relaxed);
        } else {
            self.state.untaken.fetch_sub(1, Relaxed);
        }
    }

    /// The connection became a tunnel: it stays in use until it closes.
    pub(crate) fn into_tunnel(mut self) {
        self.set_untaken(false);
        self.state.active.fetch_add(1, Relaxed);
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.set_untaken(false);
        if self.state.active.fetch_sub(1, Relaxed) == 1 {
            self.state.read_at_rest.store(self.state.read.load(Relaxed), Relaxed);
        }
    }
}

/// All open connections.
pub(crate) struct Register {
    open: Mutex<HashMap<u64, Arc<ConnectionState>>>,
    next: AtomicU64,
    limit: usize,
    refused: AtomicU64,
    /// Refusals that are still being said.
    refusing: AtomicUsize,
    emptied: Notify,
}

/// How many refusals may be said at a time; whoever comes beyond is closed without a word.
const REFUSALS: usize = 64;

impl Register {
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            open: Mutex::default(),
            next: AtomicU64::default(),
            limit,
            refused: AtomicU64::default(),
            refusing: AtomicUsize::default(),
            emptied: Notify::new(),
        }
    }

    /// Enters a connection, if there is room.
    pub(crate) fn enter(self: &Arc<Self>, state: &Arc<ConnectionState>) -> Option<Place> {
        let mut open = self.open.lock();
        if open.len() >= self.limit {
            self.refused.fetch_add(1, Relaxed);
            return None;
        }
        let id = self.next.fetch_add(1, Relaxed);
        open.insert(id, state.clone());
        Some(Place(Held::Open(self.clone(), id)))
    }

    /// A place to say a refusal from, if there is room for that.
    pub(crate) fn refuse(self: &Arc<Self>) -> Option<Place> {
        let place = Place(Held::Refusal(self.clone()));
        (self.refusing.fetch_add(1, Relaxed) < REFUSALS).then_some(place)
    }

    /// Tells all connections.
    pub(crate) fn tell(&self, wish: Wish) {
        for state in self.open.lock().values() {
            state.tell(wish);
        }
    }

    /// How many are open.
    pub(crate) fn len(&self) -> usize {
        self.open.lock().len()
    }

    /// How many were turned away.
    pub(crate) fn refused(&self) -> u64 {
        self.refused.load(Relaxed)
    }

    /// Requests under way on all of them.
    pub(crate) fn in_flight(&self) -> u64 {
        self.open.lock().values().map(|state| u64::from(state.active.load(Relaxed))).sum()
    }

    /// Waits until none is open.
    pub(crate) async fn emptied(&self) {
        loop {
            let emptied = self.emptied.notified();
            if self.len() == 0 {
                return;
            }
            emptied.await;
        }
    }
}

/// A connection's place in the register, given back by dropping it.
pub(crate) struct Place(Held);

enum Held {
    Open(Arc<Register>, u64),
    Refusal(Arc<Register>),
}

impl Drop for Place {
    fn drop(&mut self) {
        match &self.0 {
            Held::Open(register, id) => {
                let mut open = register.open.lock();
                let left = open.remove(id);
                let empty = open.is_empty();
                // What it held is dropped outside the lock.
                drop(open);
                drop(left);
                if empty {
                    register.emptied.notify_waiters();
                }
            }
            Held::Refusal(register) => {
                register.refusing.fetch_sub(1, Relaxed);
            }
        }
    }
}

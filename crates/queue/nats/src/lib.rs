//! The queue on NATS JetStream.
//!
//! All messages lie in one stream, one subject each; a subject's last record is the message with its standing,
//! and the only one that is kept. Whatever changes a message writes its record anew on the condition that it is
//! still the one that was seen (`Nats-Expected-Last-Subject-Sequence`), and what belongs together goes in one
//! atomic batch. So however many workers there are, and however far behind each may be, a message is claimed by
//! one, settled once, and never lost between two steps.
//!
//! Every worker follows the stream with a single consumer and knows from it what waits, runs and is dead:
//! whose turn it is, what is due, which leases ran out. What `list`, `stats`,
//! `paused`, `redrive` and `discard` go by may therefore be a little behind what other
//! workers wrote (milliseconds, as a rule); a worker's own writes are always in it. `get` and
//! `cancel` ask the server.
//!
//! With several workers, each message belongs to one of them, and the others leave it to that one for a tenth of
//! a second; turns within a lane are then exact among the messages of one worker. That a lane or a tenant has no
//! more claims than it may is exact for one worker; several, claiming in the same instant, may exceed it by what
//! they claimed in that instant. That of messages with the same key only one runs, in order, is exact always.
//!
//! Idempotency keys, pauses and the locks of messages with the same key lie in the same stream, as records of their
//! own, those that need not stay with a time to live: so they change together with the messages they are about.
//! At most 1000 records can be accepted at once (a message, one more where it has an idempotency key): the server's
//! own bound.
//!
//! The server must be version 2.12 or newer, and sync before it acknowledges (`sync_interval: always`): both are
//! checked whenever it is connected to.

mod claim;
mod enqueue;
mod errors;
mod index;
mod lanes;
mod link;
mod log;
mod manage;
mod options;
mod queue;
mod requirements;
mod settle;
mod shared;
mod watch;
mod wire;
mod workers;

pub use options::{Login, NatsOptions, NatsTls};
pub use queue::NatsQueue;

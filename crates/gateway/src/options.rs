//! How a gateway listens, whom it trusts, and what it allows a client to take.

use std::{net::SocketAddr, path::PathBuf, time::Duration};
use xebec_core::ports::tracer::Traces;

/// How a gateway listens and whom it trusts.
#[derive(Clone, Debug)]
pub struct GatewayOptions {
    /// Where it listens. Port 0 takes any free one; [`crate::Bound::addresses`] tells which.
    pub listen: Vec<SocketAddr>,
    /// HTTPS on all listeners; `None`: plain HTTP.
    pub tls: Option<Tls>,
    /// Trusts whoever can reach it as long as no key was issued, wherever it listens.
    pub insecure: bool,
    /// Functions can reach its port (they share the host's network), so that loopback proves nothing:
    /// management always needs a token. Stronger than `insecure`.
    pub strict: bool,
    /// Names under which browsers may reach it while no key is issued, besides loopback names and literal
    /// addresses; `*` allows all.
    pub hosts: Vec<String>,
    /// Shows `/metrics` to everybody, also where management needs a key.
    pub public_metrics: bool,
    /// Where the spans of requests go.
    pub traces: Traces,
    /// Durations of requests are counted, in `http_server_request_duration_seconds`.
    pub durations: bool,
    /// What one client may take.
    pub limits: Limits,
    /// How long calls in flight may go on once the gateway was told to stop.
    pub grace: Duration,
}

impl Default for GatewayOptions {
    fn default() -> Self {
        Self {
            listen: vec![SocketAddr::from(([127, 0, 0, 1], 8080))],
            tls: None,
            insecure: false,
            strict: false,
            hosts: Vec::new(),
            public_metrics: false,
            traces: Traces::default(),
            durations: false,
            limits: Limits::default(),
            grace: Duration::from_secs(30),
        }
    }
}

/// Where the certificate comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tls {
    /// A PEM chain and its PEM key.
    Files {
        /// The chain, the server's own certificate first.
        certificate: PathBuf,
        /// Its key.
        key: PathBuf,
    },
    /// Made at the first start and kept in this directory.
    SelfSigned {
        /// Where it is kept: `certificate.pem` and `key.pem`.
        directory: PathBuf,
        /// Names and addresses it is for, besides `localhost`, `127.0.0.1` and `::1`.
        names: Vec<String>,
    },
}

/// What one client may take: sizes, and times after which a silent one is let go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Connections at a time, over all listeners. Past it: 503.
    pub connections: usize,
    /// HTTP/2 requests at a time on one connection.
    pub streams: u32,
    /// A request's head, in bytes; at least 8 KiB. Past it: 431.
    pub head_bytes: usize,
    /// Header fields of a request. Past it: 431.
    pub headers: usize,
    /// Path and query, in bytes. Past it: 414.
    pub target_bytes: usize,
    /// A request's body, in bytes, whatever its function would take. Past it: 413.
    pub body_bytes: u64,
    /// From a request's first byte to the end of its head. Past it: 408.
    pub head_time: Duration,
    /// Between two pieces of a body, until the answer begins. Past it: 408.
    pub body_time: Duration,
    /// For the client to take a piece of an answer. Past it the connection is cut.
    pub answer_time: Duration,
    /// An idle connection is kept so long.
    pub idle_time: Duration,
    /// For a TLS handshake.
    pub handshake_time: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 16 * 1024,
            streams: 256,
            head_bytes: 64 * 1024,
            headers: 100,
            target_bytes: 16 * 1024,
            body_bytes: 1024 * 1024 * 1024,
            head_time: Duration::from_secs(10),
            body_time: Duration::from_secs(30),
            answer_time: Duration::from_secs(60),
            idle_time: Duration::from_secs(75),
            handshake_time: Duration::from_secs(10),
        }
    }
}

impl Limits {
    /// How often a connection looks at its own clocks: often enough that a limit is kept to a quarter.
    pub(crate) fn tick(&self) -> Duration {
        let shortest = self.head_time.min(self.answer_time).min(self.idle_time);
        (shortest / 4).clamp(Duration::from_millis(5), Duration::from_secs(5))
    }
}

//! The gateway before it listens: its parts, checked and put together.

use crate::{
    bound::Bound,
    counters::Counters,
    durations::Durations,
    guard::Guard,
    keys::KeyRing,
    options::GatewayOptions,
    own::{self, Readiness},
    state::{ConnectionState, Register},
    table::DoorTable,
    tls,
};
use hyper_util::{
    rt::{TokioExecutor, TokioTimer},
    server::conn::auto,
};
use std::{sync::Arc, time::Duration};
use tokio_rustls::TlsAcceptor;
use xebec_core::{Error, ports::door::Door};

/// What appends series to `/metrics`.
pub type Metrics = Arc<dyn Fn(&mut String) + Send + Sync>;

/// What a gateway is made of.
pub struct GatewayParts {
    /// The front doors.
    pub doors: Vec<Arc<dyn Door>>,
    /// Who may do what.
    pub keys: Arc<KeyRing>,
    /// Series besides the gateway's own and the doors', e.g. the engine's.
    pub metrics: Vec<Metrics>,
    /// How it listens and whom it trusts.
    pub options: GatewayOptions,
}

/// Listeners, TLS, limits, authentication and telemetry around the front doors.
pub struct Gateway {
    shared: Arc<Shared>,
}

/// What all connections share, and none changes.
pub(crate) struct Shared {
    pub(crate) table: DoorTable,
    pub(crate) keys: Arc<KeyRing>,
    pub(crate) guard: Guard,
    pub(crate) metrics: Vec<Metrics>,
    pub(crate) options: GatewayOptions,
    pub(crate) tls: Option<TlsAcceptor>,
    pub(crate) http: auto::Builder<TokioExecutor>,
    pub(crate) counters: Counters,
    pub(crate) durations: Option<Arc<Durations>>,
    pub(crate) register: Arc<Register>,
    pub(crate) readiness: Readiness,
}

impl Gateway {
    /// Checks what can be checked before listening: the doors' claims and the certificate.
    ///
    /// # Errors
    /// `XB6013` where doors quarrel over a path, `XB6014` for a certificate that cannot be used.
    pub fn new(parts: GatewayParts) -> Result<Self, Error> {
        let GatewayParts { doors, keys, metrics, options } = parts;
        let tls = options.tls.as_ref().map(tls::acceptor).transpose()?;
        let shared = Shared {
            counters: Counters::new(doors.len()),
            durations: options.durations.then(Arc::default),
            table: DoorTable::new(doors)?,
            keys,
            guard: Guard::new(&options.hosts),
            metrics,
            tls,
            http: http(&options),
            register: Arc::new(Register::new(options.limits.connections)),
            readiness: Readiness::starting(),
            options,
        };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// Where the server says that it can serve calls.
    pub fn readiness(&self) -> Readiness {
        self.shared.readiness.clone()
    }

    /// All series that `/metrics` shows.
    pub fn metrics(&self) -> Metrics {
        let shared = Arc::clone(&self.shared);
        Arc::new(move |out: &mut String| own::write_metrics(&shared, out))
    }

    /// Opens its ports; what connects waits until [`Bound::serve`].
    ///
    /// # Errors
    /// `XB6010` address in use, `XB6011` it cannot be listened on, `XB6012` it is no loopback address and
    /// there are no keys.
    pub async fn bind(self) -> Result<Bound, Error> {
        Bound::open(self.shared).await
    }
}

impl Shared {
    /// Whether whoever uses this connection counts as local as long as no key was issued.
    pub(crate) fn trusts(&self, state: &ConnectionState) -> bool {
        !self.options.strict && (state.loopback || self.options.insecure)
    }

    /// Whether what this connection sends needs no credential.
    pub(crate) fn is_open(&self, state: &ConnectionState) -> bool {
        self.trusts(state) && !self.keys.has_issued_keys()
    }

    /// A door's name, or the gateway's own.
    pub(crate) fn name(&self, door: Option<usize>) -> &'static str {
        door.map_or("gateway", |index| self.table.doors()[index].name())
    }
}

/// HTTP as the options want it. What a client must do in time, its connection watches itself.
fn http(options: &GatewayOptions) -> auto::Builder<TokioExecutor> {
    let limits = &options.limits;
    let mut http = auto::Builder::new(TokioExecutor::new());
    // A head that does not fit its buffer is too large. 8 KiB is the least the library takes.
    let head = limits.head_bytes.max(8 * 1024);
    http.http1().timer(TokioTimer::new()).header_read_timeout(None).max_buf_size(head);
    // Its own default costs no allocation.
    if limits.headers > 100 {
        http.http1().max_headers(limits.headers);
    }
    http.http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(limits.streams)
        .max_header_list_size(u32::try_from(head).unwrap_or(u32::MAX))
        .keep_alive_interval(Duration::from_secs(20))
        .keep_alive_timeout(Duration::from_secs(20));
    http
}

//! Requests that guests send.

use std::future::Future;
use wasmtime_wasi_http::{Error, RequestOptions, WasiBody, WasiHttpHooks};

/// Bytes of an answer that a guest may write at a time, and writes that wait for the host: together they
/// bound what the host holds for a guest whose client reads slowly.
const WRITE_BYTES: usize = 64 * 1024;
const WAITING_WRITES: usize = 16;

/// What a guest may send where. Nothing, unless its environment allows it.
pub(crate) struct Outgoing {
    pub(crate) allowed: bool,
}

type Sent = (http::Response<WasiBody>, Box<dyn Future<Output = Result<(), Error>> + Send>);

impl WasiHttpHooks for Outgoing {
    fn send_request(
        &mut self,
        _request: http::Request<WasiBody>,
        _options: Option<RequestOptions>,
        _sent: Box<dyn Future<Output = Result<(), Error>> + Send>,
    ) -> Box<dyn Future<Output = Result<Sent, Error>> + Send> {
        Box::new(async { Err(Error::HttpRequestDenied) })
    }

    fn p2_outgoing_body_buffer_chunks(&mut self) -> usize {
        WAITING_WRITES
    }

    fn p2_outgoing_body_chunk_size(&mut self) -> usize {
        WRITE_BYTES
    }
}

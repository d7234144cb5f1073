//! One structured line per request, at debug, and nothing at all where nobody listens.

use http::{StatusCode, request::Parts};
use std::{net::SocketAddr, time::Instant};

/// A request's line, written when its answer has gone out or was given up.
pub(crate) struct AccessLine {
    began: Instant,
    peer: SocketAddr,
    method: http::Method,
    /// Without the query, which may hold what is nobody's business.
    path: String,
    version: http::Version,
    door: &'static str,
    status: Option<StatusCode>,
    bytes: u64,
    broken: Option<String>,
}

impl AccessLine {
    /// A line, where anybody listens to the target `xebec::access`.
    pub(crate) fn begin(request: &Parts, peer: SocketAddr) -> Option<Self> {
        if !tracing::enabled!(target: "xebec::access", tracing::Level::DEBUG) {
            return None;
        }
        Some(Self {
            began: Instant::now(),
            peer,
            method: request.method.clone(),
            path: request.uri.path().to_owned(),
            version: request.version,
            door: "",
            status: None,
            bytes: 0,
            broken: None,
        })
    }

    pub(crate) fn set_answer(&mut self, door: &'static str, status: StatusCode) {
        self.door = door;
        self.status = Some(status);
    }

    pub(crate) fn add_bytes(&mut self, bytes: usize) {
        self.bytes += bytes as u64;
    }

    pub(crate) fn set_broken(&mut self, error: &(dyn std::error::Error + Send + Sync)) {
        self.broken = Some(error.to_string());
    }
}

impl Drop for AccessLine {
    fn drop(&mut self) {
        tracing::debug!(
            target: "xebec::access",
            peer = %self.peer,
            method = %self.method,
            path = self.path,
            version = ?self.version,
            door = self.door,
            // No status: the client went away before there was one.
            status = self.status.map(|status| status.as_u16()),
            bytes = self.bytes,
            micros = u64::try_from(self.began.elapsed().as_micros()).unwrap_or(u64::MAX),
            broken = self.broken,
        );
    }
}

//! `wasi-http`: a component in this process.

/// The contract.
pub struct WasiHttp;

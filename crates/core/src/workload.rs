//! What there is to run.

use crate::digest::Digest;
use serde::{Deserialize, Serialize};

/// What there is to run. A driver says which of these it can.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "type")]
pub enum Workload {
    /// Files, run by an environment.
    Code {
        /// The blob with the files: an archive, or a single file.
        archive: Digest,
        /// How to read the blob.
        format: ArchiveFormat,
        /// Its size in bytes, as stored.
        bytes: u64,
    },
    /// A container image, by reference.
    Image {
        /// As the user wrote it, e.g. `ghcr.io/openfaas/alpine:latest`.
        reference: String,
    },
    /// A whole pod template, opaque to everything but the driver that runs it.
    Pod {
        /// The template.
        template: serde_json::Value,
    },
}

/// How a code blob is packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ArchiveFormat {
    /// `tar` compressed by zstd; what our own command line sends.
    TarZstd,
    /// `tar` compressed by gzip.
    TarGzip,
    /// Plain `tar`.
    Tar,
    /// One WebAssembly module or component.
    Wasm,
}

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
        /// Code that an instance of it is handed by its contract when it starts.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        code: Option<PackedCode>,
    },
    /// Code that is part of the server: see [`crate::ports::builtin`].
    Builtin {
        /// Which.
        name: String,
        /// What it is told, in its own shape.
        #[serde(default)]
        settings: serde_json::Value,
    },
    /// A whole pod template, opaque to everything but the driver that runs it.
    Pod {
        /// The template.
        template: serde_json::Value,
    },
}

impl Workload {
    /// An image that brings all it needs.
    pub fn image(reference: impl Into<String>) -> Self {
        Self::Image { reference: reference.into(), code: None }
    }

    /// The blob with its code, if it has one.
    pub fn archive(&self) -> Option<Digest> {
        match self {
            Self::Code { archive, .. } => Some(*archive),
            Self::Image { code, .. } => code.as_ref().map(|code| code.archive),
            Self::Pod { .. } | Self::Builtin { .. } => None,
        }
    }
}

/// Code in a blob.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PackedCode {
    /// The blob: an archive, or a single file.
    pub archive: Digest,
    /// How to read it.
    pub format: ArchiveFormat,
    /// Its size in bytes, as stored.
    pub bytes: u64,
}

/// What the file of [`ArchiveFormat::Single`] is called in the code's root.
pub const SINGLE_FILE: &str = "exec";

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
    /// `zip`.
    Zip,
    /// One file as it is, source or program; it becomes [`SINGLE_FILE`] in the code's root, and may be executed.
    Single,
    /// One WebAssembly module or component.
    Wasm,
}

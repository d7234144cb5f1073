//! Reading the bodies of requests of management.

use super::Call;
use crate::{
    Shared,
    errors::Rejection,
    wire::{limits::EffectiveLimits, parameters::Parameters},
};
use bytes::Bytes;
use http::header;
use serde::de::DeserializeOwned;
use xebec_core::{Body, body::CollectError};

/// What a body may be beside code and parameters.
const REST: u64 = 64 * 1024;

/// The largest body of a rule, and of what else is small.
pub(super) const SMALL: u64 = 4 * 1024 * 1024;

/// The largest body that an action, with its code, may be described by. Within JSON, text takes more room.
pub(super) fn most(shared: &Shared, limits: &EffectiveLimits) -> u64 {
    let code = shared.options.limits.code_bytes;
    code + code / 4 + 4 * limits.parameter_bytes() + REST
}

/// Reads a body whole.
///
/// # Errors
/// 413 past `limit`.
pub(crate) async fn read(call: &Call, body: Body, limit: u64) -> Result<Bytes, Rejection> {
    let told =
        call.head.headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
    body.collect(limit).await.map_err(|error| match (error, told) {
        (CollectError::TooLarge(limit), Some(length)) if length > limit => {
            Rejection::too_large("Request", length, limit)
        }
        (error, _) => Rejection::from(error),
    })
}

/// Reads a body that is a JSON object; nothing stands for an empty one.
///
/// # Errors
/// 400, saying what is wrong with it.
pub(crate) fn parse<T: DeserializeOwned>(bytes: &Bytes) -> Result<T, Rejection> {
    let bytes: &[u8] = if bytes.is_empty() { b"{}" } else { bytes };
    if bytes.iter().find(|byte| !byte.is_ascii_whitespace()) != Some(&b'{') {
        return Err(Rejection::malformed("Object expected"));
    }
    serde_json::from_slice(bytes).map_err(Rejection::malformed)
}

/// Whether parameters and annotations are not too much.
///
/// # Errors
/// 413, naming what is.
pub(super) fn check_sizes(
    limits: &EffectiveLimits,
    parameters: Option<&Parameters>,
    annotations: Option<&Parameters>,
) -> Result<(), Rejection> {
    let most = limits.parameter_bytes();
    for (name, given) in [("parameters", parameters), ("annotations", annotations)] {
        let bytes = given.map_or(0, |given| given.bytes() as u64);
        if bytes > most {
            return Err(Rejection::too_large(name, bytes, most));
        }
    }
    Ok(())
}

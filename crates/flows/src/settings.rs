//! Reading what a flow is told, and what it is called with.

use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde_json::Value;
use xebec_core::{Body, Error, ErrorKind, body::CollectError};

/// The settings of a flow.
pub(crate) fn read<T: DeserializeOwned>(settings: &Value) -> Result<T, Error> {
    T::deserialize(settings).map_err(|error| Error::invalid("XB1003", format!("settings: {error}")))
}

/// All of the body that a flow is called with.
pub(crate) async fn body(body: Body, limit: u64) -> Result<Bytes, Error> {
    body.collect(limit).await.map_err(|error| match error {
        CollectError::TooLarge(_) => Error::new(ErrorKind::TooLarge, "XB2012", error.to_string()),
        CollectError::Broken(_) => Error::invalid("XB1003", error.to_string()),
    })
}

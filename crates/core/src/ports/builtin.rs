//! Functions that are part of the server: deployed, called, recorded as any other.

use crate::{body::Body, error::Error, invocation::Called};
use async_trait::async_trait;
use http::{Request, Response};
use serde_json::Value;

/// Code that is part of the server and is called as a function.
#[async_trait]
pub trait Builtin: Send + Sync {
    /// Checks what a function of it is told, at deploy time.
    ///
    /// # Errors
    /// `XB1003`, naming the setting.
    fn check(&self, settings: &Value) -> Result<(), Error>;

    /// Answers one call. Any number at a time; dropping the future gives the call up. The answer may carry
    /// [`crate::record::Remarks`].
    ///
    /// # Errors
    /// What ends the call as a platform error.
    async fn call(
        &self,
        called: Called,
        settings: &Value,
        request: Request<Body>,
    ) -> Result<Response<Body>, Error>;
}

//! Calling functions.

use crate::invocation::{Answer, Invocation, InvokeError};
use async_trait::async_trait;

/// Calls functions. The engine does; flows and doors ask it.
#[async_trait]
pub trait Invoker: Send + Sync {
    /// Calls one, and answers when the head of its answer is there. Dropping the future, or the answer's
    /// body before its end, cancels the call as its contract allows.
    async fn invoke(&self, invocation: Invocation) -> Result<Answer, Box<InvokeError>>;
}

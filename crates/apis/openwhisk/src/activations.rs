//! What became of calls.

use crate::{Shared, errors::Rejection, routes::Call};
use http::Response;
use std::sync::Arc;
use xebec_core::{Body, Tenant};

/// `…/activations[/id[/result|/logs]]`; `rest` is what follows `activations`.
pub(crate) async fn handle(
    _shared: &Arc<Shared>,
    _call: &Call,
    _namespace: &Tenant,
    _rest: &[&str],
) -> Result<Response<Body>, Rejection> {
    Err(Rejection::no_such_route())
}

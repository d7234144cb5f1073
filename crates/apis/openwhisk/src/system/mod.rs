//! The packages of `whisk.system`, and the API gateway.

use crate::{Shared, errors::Rejection};
use http::{Request, Response};
use std::sync::Arc;
use xebec_core::Body;

/// `/api/{tenant}/…`: routes of the API gateway.
pub(crate) async fn gateway(_shared: &Arc<Shared>, _request: Request<Body>) -> Response<Body> {
    Rejection::no_such_route().answer("")
}

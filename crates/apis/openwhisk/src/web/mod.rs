//! Web actions.

use crate::{Shared, errors::Rejection};
use http::{Request, Response};
use std::sync::Arc;
use xebec_core::Body;

/// `/api/v1/web/…`.
pub(crate) async fn handle(_shared: &Arc<Shared>, _request: Request<Body>) -> Response<Body> {
    Rejection::no_such_route().answer("")
}

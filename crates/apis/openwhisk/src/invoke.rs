//! Calls of actions.

use crate::{Shared, errors::Rejection, routes::Call, wire::name::FullName};
use http::Response;
use std::sync::Arc;
use xebec_core::Body;

/// `POST …/actions/[package/]name`.
pub(crate) async fn action(
    _shared: &Arc<Shared>,
    _call: &Call,
    _name: FullName,
    _body: Body,
) -> Result<Response<Body>, Rejection> {
    Err(Rejection::no_such_route())
}

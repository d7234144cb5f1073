//! Keys: issued, listed, revoked, by administrators.

use super::{
    State,
    caller::{Caller, Failure, Json, Path},
};
use crate::wire::KeyAnswer;
use axum::{Json as Answer, extract::State as Shared};
use http::StatusCode;
use std::sync::Arc;
use xebec_core::auth::{KeyInfo, KeyRequest};

/// All keys, oldest first; for administrators
#[utoipa::path(
    get,
    path = "/keys",
    tag = "keys",
    responses((status = 200, description = "The keys, without their tokens", body = Vec<KeyInfo>))
)]
pub(super) async fn list(
    caller: Caller,
    Shared(state): Shared<Arc<State>>,
) -> Result<Answer<Vec<KeyInfo>>, Failure> {
    caller.must_be_admin()?;
    Ok(Answer(state.keys.list().await?))
}

/// Issue a key; for administrators
#[utoipa::path(
    post,
    path = "/keys",
    tag = "keys",
    responses((status = 201, description = "The key, and its token, this once", body = KeyAnswer))
)]
pub(super) async fn issue(
    caller: Caller,
    Shared(state): Shared<Arc<State>>,
    Json(request): Json<KeyRequest>,
) -> Result<(StatusCode, Answer<KeyAnswer>), Failure> {
    caller.must_be_admin()?;
    let (key, token) = state.keys.issue(request).await?;
    Ok((StatusCode::CREATED, Answer(KeyAnswer { key, token })))
}

/// Revoke a key; for administrators
#[utoipa::path(
    delete,
    path = "/keys/{id}",
    tag = "keys",
    params(("id", description = "The key's id")),
    responses((status = 204, description = "It is of no use any more"))
)]
pub(super) async fn revoke(
    caller: Caller,
    Shared(state): Shared<Arc<State>>,
    Path(id): Path<String>,
) -> Result<StatusCode, Failure> {
    caller.must_be_admin()?;
    state.keys.revoke(&id).await?;
    Ok(StatusCode::NO_CONTENT)
}

//! Keys: issued, listed, revoked, by administrators.

use super::{
    State,
    caller::{Caller, Failure, Json},
};
use crate::wire::KeyAnswer;
use axum::{
    Json as Answer,
    extract::{Path, State as Shared},
};
use http::StatusCode;
use std::sync::Arc;
use xebec_core::auth::{KeyInfo, KeyRequest};

pub(super) async fn list(
    caller: Caller,
    Shared(state): Shared<Arc<State>>,
) -> Result<Answer<Vec<KeyInfo>>, Failure> {
    caller.must_be_admin()?;
    Ok(Answer(state.keys.list().await?))
}

pub(super) async fn issue(
    caller: Caller,
    Shared(state): Shared<Arc<State>>,
    Json(request): Json<KeyRequest>,
) -> Result<(StatusCode, Answer<KeyAnswer>), Failure> {
    caller.must_be_admin()?;
    let (key, token) = state.keys.issue(request).await?;
    Ok((StatusCode::CREATED, Answer(KeyAnswer { key, token })))
}

pub(super) async fn revoke(
    caller: Caller,
    Shared(state): Shared<Arc<State>>,
    Path(id): Path<String>,
) -> Result<StatusCode, Failure> {
    caller.must_be_admin()?;
    state.keys.revoke(&id).await?;
    Ok(StatusCode::NO_CONTENT)
}

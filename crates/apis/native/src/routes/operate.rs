//! Running the installation.

use super::{
    State,
    caller::{Caller, Failure, Json},
};
use crate::{
    describe,
    wire::{BackupRequest, Info},
};
use axum::{
    Json as Answer,
    extract::State as Shared,
    response::{IntoResponse as _, Response},
};
use http::header;
use std::{path::Path, sync::Arc};
use xebec_core::{Error, ports::control::EnvironmentInfo};

/// The server, and what its drivers enforce
#[utoipa::path(
    get,
    path = "/info",
    tag = "operate",
    responses((status = 200, description = "About the server", body = Info))
)]
pub(super) async fn info(_caller: Caller, Shared(state): Shared<Arc<State>>) -> Answer<Info> {
    Answer(Info {
        version: state.version.to_owned(),
        started: state.started,
        functions: state.control.functions(None, None).len(),
        drivers: state.control.drivers(),
    })
}

/// This description
#[utoipa::path(
    get,
    path = "/openapi.json",
    tag = "operate",
    responses((status = 200, description = "OpenAPI 3.1", body = serde_json::Value))
)]
pub(super) async fn description(Shared(state): Shared<Arc<State>>) -> Response {
    let description = state.description.get_or_init(|| describe::json(state.parts.version));
    ([(header::CONTENT_TYPE, "application/json")], description.clone()).into_response()
}

/// Environments, and whether this machine has what they need
#[utoipa::path(
    get,
    path = "/environments",
    tag = "operate",
    responses((status = 200, description = "The environments, sorted by name", body = Vec<EnvironmentInfo>))
)]
pub(super) async fn environments(
    _caller: Caller,
    Shared(state): Shared<Arc<State>>,
) -> Answer<Vec<EnvironmentInfo>> {
    Answer(state.control.environments())
}

/// What `POST /xebec/v1/collect-garbage` answers.
#[derive(serde::Serialize, utoipa::ToSchema)]
pub(super) struct Freed {
    /// Bytes that were freed.
    bytes: u64,
}

/// Delete what nothing points at; for administrators
#[utoipa::path(
    post,
    path = "/collect-garbage",
    tag = "operate",
    responses((status = 200, description = "It is deleted", body = Freed))
)]
pub(super) async fn collect_garbage(
    caller: Caller,
    Shared(state): Shared<Arc<State>>,
) -> Result<Answer<Freed>, Failure> {
    caller.must_be_admin()?;
    Ok(Answer(Freed { bytes: state.control.collect_garbage().await? }))
}

/// Write a complete backup; for administrators
#[utoipa::path(
    post,
    path = "/backup",
    tag = "operate",
    responses((status = 200, description = "It is complete", body = BackupRequest))
)]
pub(super) async fn backup(
    caller: Caller,
    Shared(state): Shared<Arc<State>>,
    Json(request): Json<BackupRequest>,
) -> Result<Answer<BackupRequest>, Failure> {
    caller.must_be_admin()?;
    let directory = Path::new(&request.directory);
    if !directory.is_absolute() {
        return Err(Error::invalid("XB1012", "the backup directory must be an absolute path").into());
    }
    (state.backup)(directory.to_owned()).await?;
    Ok(Answer(request))
}

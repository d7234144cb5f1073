//! Running the installation.

use super::{
    State,
    caller::{Caller, Failure, Json},
};
use crate::wire::{BackupRequest, Info};
use axum::{Json as Answer, extract::State as Shared};
use std::{path::Path, sync::Arc};
use xebec_core::{Error, ports::control::EnvironmentInfo};

pub(super) async fn info(_caller: Caller, Shared(state): Shared<Arc<State>>) -> Answer<Info> {
    Answer(Info {
        version: state.version.to_owned(),
        started: state.started,
        functions: state.control.functions(None, None).len(),
        drivers: state.control.drivers(),
    })
}

pub(super) async fn environments(
    _caller: Caller,
    Shared(state): Shared<Arc<State>>,
) -> Answer<Vec<EnvironmentInfo>> {
    Answer(state.control.environments())
}

#[derive(serde::Serialize)]
pub(super) struct Freed {
    bytes: u64,
}

pub(super) async fn collect_garbage(
    caller: Caller,
    Shared(state): Shared<Arc<State>>,
) -> Result<Answer<Freed>, Failure> {
    caller.must_be_admin()?;
    Ok(Answer(Freed { bytes: state.control.collect_garbage().await? }))
}

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

//! Schedules: made, listed, changed, paused, fired, deleted.

use super::{
    State,
    caller::{Caller, Failure, Json, Path},
    functions, invoke,
};
use crate::{
    translate,
    wire::{ErrorBody, ScheduleRequest},
};
use axum::{Json as Answer, extract::State as Shared, response::Response};
use http::{HeaderMap, StatusCode, header};
use std::sync::Arc;
use xebec_core::{Error, document::Expect, message::Receipt, schedule::ScheduleView};

/// Schedules, with their next and last times
#[utoipa::path(
    get,
    path = "/schedules",
    tag = "schedules",
    responses((status = 200, description = "The schedules", body = Vec<ScheduleView>))
)]
pub(super) async fn list(
    caller: Caller,
    Shared(state): Shared<Arc<State>>,
) -> Result<Answer<Vec<ScheduleView>>, Failure> {
    Ok(Answer(state.schedules()?.list(Some(&caller.tenant)).await?))
}

/// One schedule
#[utoipa::path(
    get,
    path = "/schedules/{name}",
    tag = "schedules",
    params(("name", description = "The schedule's name; of one in a manifest `<function>.<schedule>`")),
    responses((status = 200, description = "The schedule", body = ScheduleView))
)]
pub(super) async fn read(
    caller: Caller,
    Shared(state): Shared<Arc<State>>,
    Path(name): Path<String>,
) -> Result<Answer<ScheduleView>, Failure> {
    let view = state.schedules()?.get(&caller.tenant, &name).await?;
    view.map(Answer).ok_or_else(|| {
        Failure(
            Error::not_found("XB2015", format!("there is no schedule {name:?}"))
                .with_hint("xebec schedule ls lists what there is"),
        )
    })
}

/// Make or change a schedule
#[utoipa::path(
    put,
    path = "/schedules/{name}",
    tag = "schedules",
    params(
        ("name", description = "The schedule's name"),
        ("if-none-match" = Option<String>, Header, description = "`*`: it must be new"),
    ),
    responses(
        (status = 200, description = "The schedule", body = ScheduleView),
        (status = 409, description = "It is there already, or part of a manifest", body = ErrorBody),
        (status = 422, description = "A bound is reached", body = ErrorBody),
    )
)]
pub(super) async fn write(
    caller: Caller,
    Shared(state): Shared<Arc<State>>,
    Path(name): Path<String>,
    headers: HeaderMap,
    Json(mut request): Json<ScheduleRequest>,
) -> Result<Answer<ScheduleView>, Failure> {
    let wanted = &mut request.schedule;
    if wanted.name.is_empty() {
        wanted.name = name.as_str().into();
    }
    if *wanted.name != *name {
        let message = format!("the path names {name:?}, the schedule {:?}", wanted.name);
        return Err(Error::invalid("XB1012", message).into());
    }
    let schedule = translate::schedule(wanted)?;
    let function = functions::find(&state, &caller.tenant, &request.function)?;
    let must_be_new = headers.get(header::IF_NONE_MATCH).is_some_and(|value| value == "*");
    let expect = if must_be_new { Expect::Absent } else { Expect::Any };
    Ok(Answer(state.schedules()?.put(&function, schedule, expect).await?))
}

/// Delete a schedule
#[utoipa::path(
    delete,
    path = "/schedules/{name}",
    tag = "schedules",
    params(("name", description = "The schedule's name; of one in a manifest `<function>.<schedule>`")),
    responses(
        (status = 204, description = "It is gone"),
        (status = 409, description = "It is part of a manifest", body = ErrorBody),
    )
)]
pub(super) async fn remove(
    caller: Caller,
    Shared(state): Shared<Arc<State>>,
    Path(name): Path<String>,
) -> Result<StatusCode, Failure> {
    state.schedules()?.delete(&caller.tenant, &name).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Pause a schedule
#[utoipa::path(
    post,
    path = "/schedules/{name}/pause",
    tag = "schedules",
    params(("name", description = "The schedule's name; of one in a manifest `<function>.<schedule>`")),
    responses((status = 200, description = "The schedule", body = ScheduleView))
)]
pub(super) async fn pause(
    caller: Caller,
    Shared(state): Shared<Arc<State>>,
    Path(name): Path<String>,
) -> Result<Answer<ScheduleView>, Failure> {
    Ok(Answer(state.schedules()?.pause(&caller.tenant, &name, true).await?))
}

/// Resume a schedule
#[utoipa::path(
    post,
    path = "/schedules/{name}/resume",
    tag = "schedules",
    params(("name", description = "The schedule's name; of one in a manifest `<function>.<schedule>`")),
    responses((status = 200, description = "The schedule", body = ScheduleView))
)]
pub(super) async fn resume(
    caller: Caller,
    Shared(state): Shared<Arc<State>>,
    Path(name): Path<String>,
) -> Result<Answer<ScheduleView>, Failure> {
    Ok(Answer(state.schedules()?.pause(&caller.tenant, &name, false).await?))
}

/// Fire a schedule now, beside its times
#[utoipa::path(
    post,
    path = "/schedules/{name}/fire",
    tag = "schedules",
    params(("name", description = "The schedule's name; of one in a manifest `<function>.<schedule>`")),
    responses((status = 202, description = "The call is accepted", body = Receipt))
)]
pub(super) async fn fire(
    caller: Caller,
    Shared(state): Shared<Arc<State>>,
    Path(name): Path<String>,
) -> Result<Response, Failure> {
    let receipt = state.schedules()?.fire(&caller.tenant, &name).await?;
    Ok(invoke::accepted(&caller.tenant, &receipt).map(axum::body::Body::new))
}

//! Queues: what is in them, paused and resumed; and functions' messages likewise.

use super::{
    State,
    caller::{Caller, Failure, Path},
    messages,
};
use crate::wire::Paused;
use axum::{Json as Answer, extract::State as Shared};
use http::StatusCode;
use std::sync::Arc;
use xebec_core::{
    Tenant,
    ports::queue::{LaneStats, Place},
};

/// What waits, runs and is dead, for each function's share of each queue
#[utoipa::path(
    get,
    path = "/queues",
    tag = "queues",
    responses((status = 200, description = "Sorted by queue and target", body = Vec<LaneStats>))
)]
pub(super) async fn list(
    caller: Caller,
    Shared(state): Shared<Arc<State>>,
) -> Result<Answer<Vec<LaneStats>>, Failure> {
    Ok(Answer(state.deliveries()?.queues(Some(&caller.tenant)).await?))
}

/// What is paused, also where nothing waits
#[utoipa::path(
    get,
    path = "/pauses",
    tag = "queues",
    responses((status = 200, description = "The pauses", body = Vec<Paused>))
)]
pub(super) async fn paused(
    caller: Caller,
    Shared(state): Shared<Arc<State>>,
) -> Result<Answer<Vec<Paused>>, Failure> {
    let places = state.deliveries()?.paused().await?;
    Ok(Answer(places.into_iter().filter_map(|place| of_tenant(place, &caller.tenant)).collect()))
}

fn of_tenant(place: Place, wanted: &Tenant) -> Option<Paused> {
    match place {
        Place::Queue { tenant, name } => (tenant == *wanted).then_some(Paused::Queue(name)),
        Place::Function(key) => (key.tenant == *wanted).then(|| Paused::Function(key.name.into())),
    }
}

/// Begin no more messages of a queue
#[utoipa::path(
    post,
    path = "/queues/{name}/pause",
    tag = "queues",
    params(("name", description = "The queue's name")),
    responses((status = 204, description = "It is paused, over restarts too"))
)]
pub(super) async fn pause(
    caller: Caller,
    Shared(state): Shared<Arc<State>>,
    Path(name): Path<String>,
) -> Result<StatusCode, Failure> {
    let place = queue(caller, name)?;
    state.deliveries()?.pause(&place).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// End the pause of a queue
#[utoipa::path(
    post,
    path = "/queues/{name}/resume",
    tag = "queues",
    params(("name", description = "The queue's name")),
    responses((status = 204, description = "Its messages begin again"))
)]
pub(super) async fn resume(
    caller: Caller,
    Shared(state): Shared<Arc<State>>,
    Path(name): Path<String>,
) -> Result<StatusCode, Failure> {
    let place = queue(caller, name)?;
    state.deliveries()?.resume(&place).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Begin no more of a function's messages
#[utoipa::path(
    post,
    path = "/functions/{name}/pause",
    tag = "queues",
    params(("name", description = "The function's name")),
    responses((status = 204, description = "It is paused, over restarts too"))
)]
pub(super) async fn pause_function(
    caller: Caller,
    Shared(state): Shared<Arc<State>>,
    Path(name): Path<String>,
) -> Result<StatusCode, Failure> {
    let key = super::functions::find(&state, &caller.tenant, &name)?;
    state.deliveries()?.pause(&Place::Function(key)).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// End the pause of a function's messages
#[utoipa::path(
    post,
    path = "/functions/{name}/resume",
    tag = "queues",
    params(("name", description = "The function's name")),
    responses((status = 204, description = "They begin again"))
)]
pub(super) async fn resume_function(
    caller: Caller,
    Shared(state): Shared<Arc<State>>,
    Path(name): Path<String>,
) -> Result<StatusCode, Failure> {
    // A pause may outlive its function, and must be possible to end.
    let key = messages::named(&state, &caller.tenant, &name);
    state.deliveries()?.resume(&Place::Function(key)).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Doors that came from elsewhere may name queues more freely than ours, so length is all that is checked.
fn queue(caller: Caller, name: String) -> Result<Place, Failure> {
    if name.is_empty() || name.len() > xebec_core::names::MAX_NAME_BYTES {
        let message = format!("a queue's name has 1 to {} bytes", xebec_core::names::MAX_NAME_BYTES);
        return Err(xebec_core::Error::invalid("XB1001", message).into());
    }
    Ok(Place::Queue { tenant: caller.tenant, name })
}

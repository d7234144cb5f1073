//! Functions: deploy, list, read, remove, split traffic, roll back.

use super::{
    State,
    caller::{Caller, Failure, Json, Path},
};
use crate::{
    DOOR,
    describe::Octets,
    errors, translate,
    wire::{
        CodeAnswer, DeployEvent, ErrorBody, FunctionAnswer, Manifest, RevisionAnswer, RollbackRequest,
        TrafficRequest,
    },
};
use axum::{
    Json as Answer,
    extract::State as Shared,
    response::{IntoResponse, Response, Sse, sse},
};
use futures_util::{Stream, StreamExt as _};
use http::{HeaderMap, StatusCode, header};
use std::{convert::Infallible, sync::Arc, time::Duration};
use tokio::sync::mpsc;
use xebec_core::{
    Body, Error, FunctionKey, Tenant,
    function::FunctionView,
    ports::{control::Deployment, driver::Progress},
    rules::traffic::{Share, Traffic},
};

/// Steps of a deploy that may wait for a slow reader; more are dropped, they are only for people.
const STEPS: usize = 256;

/// All functions of the tenant, of every door
#[utoipa::path(
    get,
    path = "/functions",
    tag = "functions",
    responses((status = 200, description = "Sorted by door and name", body = Vec<FunctionAnswer>))
)]
pub(super) async fn list(caller: Caller, Shared(state): Shared<Arc<State>>) -> Answer<Vec<FunctionAnswer>> {
    let views = state.control.functions(Some(&caller.tenant), None);
    Answer(views.into_iter().map(|view| answer(view, None)).collect())
}

/// One function
#[utoipa::path(
    get,
    path = "/functions/{name}",
    tag = "functions",
    params(("name", description = "The function's name")),
    responses((status = 200, description = "The function", body = FunctionAnswer))
)]
pub(super) async fn read(
    caller: Caller,
    Shared(state): Shared<Arc<State>>,
    Path(name): Path<String>,
) -> Result<Answer<FunctionAnswer>, Failure> {
    let key = find(&state, &caller.tenant, &name)?;
    let view = state.control.function(&key).ok_or_else(|| missing(&name))?;
    let manifest = state
        .control
        .document(&key)
        .await?
        .filter(|_| key.door == DOOR)
        .and_then(|document| serde_json::from_value(document.spec).ok());
    let usage = state.control.usage(&key).await;
    Ok(Answer(FunctionAnswer { usage, ..answer(view, manifest) }))
}

/// Remove a function with its revisions
///
/// Calls in flight end by themselves.
#[utoipa::path(
    delete,
    path = "/functions/{name}",
    tag = "functions",
    params(("name", description = "The function's name")),
    responses((status = 204, description = "It is gone"))
)]
pub(super) async fn remove(
    caller: Caller,
    Shared(state): Shared<Arc<State>>,
    Path(name): Path<String>,
) -> Result<StatusCode, Failure> {
    let key = find(&state, &caller.tenant, &name)?;
    state.control.remove(&key).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Store code for a later deploy
///
/// Takes a tar archive (zstd, gzip or plain) or a WebAssembly file, and keeps it by digest.
#[utoipa::path(
    post,
    path = "/code",
    tag = "functions",
    request_body(content = Octets, content_type = "application/octet-stream"),
    responses((status = 200, description = "It is stored", body = CodeAnswer))
)]
pub(super) async fn store_code(
    _caller: Caller,
    Shared(state): Shared<Arc<State>>,
    body: axum::body::Body,
) -> Result<Answer<CodeAnswer>, Failure> {
    let limited = http_body_util::Limited::new(body, usize::try_from(state.code_bytes).unwrap_or(usize::MAX));
    let (digest, bytes) = state.control.put_code(Body::stream(limited)).await?;
    Ok(Answer(CodeAnswer { digest, bytes }))
}

/// Deploy a function
///
/// With `Accept: text/event-stream` the answer tells the progress: the `data` of its events are `DeployEvent`s, and
/// what fails after it began is the last of them.
#[utoipa::path(
    put,
    path = "/functions/{name}",
    tag = "functions",
    params(("name", description = "The function's name")),
    responses(
        (status = 200, description = "It is deployed", content(
            (FunctionAnswer = "application/json"),
            (DeployEvent = "text/event-stream"),
        )),
        (status = 409, description = "Another door has the name", body = ErrorBody),
        (status = 422, description = "This installation will not run it", body = ErrorBody),
    )
)]
pub(super) async fn deploy(
    caller: Caller,
    Shared(state): Shared<Arc<State>>,
    Path(name): Path<String>,
    headers: HeaderMap,
    Json(mut manifest): Json<Manifest>,
) -> Result<Response, Failure> {
    if manifest.name.is_empty() {
        manifest.name.clone_from(&name);
    }
    if manifest.name != name {
        let message = format!("the path names {name:?}, the manifest {:?}", manifest.name);
        return Err(Error::invalid("XB1001", message).into());
    }
    let deployment = translate::deployment(&*state.control, &caller.tenant, &manifest)?;
    for schedule in &deployment.policy.schedules {
        state.schedules()?.check(schedule)?;
    }
    let follows = headers
        .get(header::ACCEPT)
        .and_then(|accept| accept.to_str().ok())
        .is_some_and(|accept| accept.contains("text/event-stream"));
    if follows {
        let events = followed(Arc::clone(&state), deployment, manifest);
        return Ok(Sse::new(events)
            .keep_alive(sse::KeepAlive::new().interval(Duration::from_secs(10)))
            .into_response());
    }
    let view = state.control.deploy(deployment, &xebec_core::ports::driver::Silent).await?;
    Ok(Answer(answer(view, Some(manifest))).into_response())
}

struct Steps(mpsc::Sender<DeployEvent>);

impl Progress for Steps {
    fn step(&self, line: &str) {
        // A reader that is too slow misses steps; the deploy does not wait for it.
        let _ = self.0.try_send(DeployEvent::Step { line: line.to_owned() });
    }
}

/// A deploy as events. It goes on when the reader goes away: half a deploy helps nobody.
fn followed(
    state: Arc<State>,
    deployment: Deployment,
    manifest: Manifest,
) -> impl Stream<Item = Result<sse::Event, Infallible>> {
    let (sender, receiver) = mpsc::channel(STEPS);
    tokio::spawn(async move {
        let last = match state.control.deploy(deployment, &Steps(sender.clone())).await {
            Ok(view) => DeployEvent::Done { function: Box::new(answer(view, Some(manifest))) },
            Err(error) => DeployEvent::Failed { error: errors::body(&error) },
        };
        // Nobody reads any more: nobody to tell.
        let _ = sender.send(last).await;
    });
    futures_util::stream::unfold(receiver, |mut receiver| async move {
        receiver.recv().await.map(|event| (event, receiver))
    })
    .map(|event| Ok(sse::Event::default().json_data(event).unwrap_or_default()))
}

/// A function's revisions, newest first, with their share of the traffic
#[utoipa::path(
    get,
    path = "/functions/{name}/revisions",
    tag = "functions",
    params(("name", description = "The function's name")),
    responses((status = 200, description = "The revisions", body = Vec<RevisionAnswer>))
)]
pub(super) async fn revisions(
    caller: Caller,
    Shared(state): Shared<Arc<State>>,
    Path(name): Path<String>,
) -> Result<Answer<Vec<RevisionAnswer>>, Failure> {
    let view = view(&state, &caller.tenant, &name)?;
    Ok(Answer(RevisionAnswer::list(&view.function.revisions, view.function.traffic.shares())))
}

/// Split calls over revisions
#[utoipa::path(
    put,
    path = "/functions/{name}/traffic",
    tag = "functions",
    params(("name", description = "The function's name")),
    responses((status = 200, description = "The revisions, as calls are split now", body = Vec<RevisionAnswer>))
)]
pub(super) async fn set_traffic(
    caller: Caller,
    Shared(state): Shared<Arc<State>>,
    Path(name): Path<String>,
    Json(request): Json<TrafficRequest>,
) -> Result<Answer<Vec<RevisionAnswer>>, Failure> {
    let view = view(&state, &caller.tenant, &name)?;
    let share = |share: crate::wire::NumberedShare| {
        Ok(Share { revision: numbered(&view, share.revision)?, percent: share.percent })
    };
    let shares = request.shares.into_iter().map(share).collect::<Result<_, Error>>()?;
    let view = state.control.set_traffic(&view.function.key, Traffic::new(shares)?).await?;
    Ok(Answer(RevisionAnswer::list(&view.function.revisions, view.function.traffic.shares())))
}

/// Send all calls to an older revision
#[utoipa::path(
    post,
    path = "/functions/{name}/rollback",
    tag = "functions",
    params(("name", description = "The function's name")),
    responses((status = 200, description = "The revisions, as calls are split now", body = Vec<RevisionAnswer>))
)]
pub(super) async fn rollback(
    caller: Caller,
    Shared(state): Shared<Arc<State>>,
    Path(name): Path<String>,
    Json(request): Json<RollbackRequest>,
) -> Result<Answer<Vec<RevisionAnswer>>, Failure> {
    let view = view(&state, &caller.tenant, &name)?;
    let function = &view.function;
    let target = match request.to {
        Some(number) => numbered(&view, number)?,
        None => {
            let serving = |entry: &&xebec_core::function::RevisionEntry| {
                function.traffic.shares().iter().any(|share| share.revision == entry.digest)
            };
            let newest = function.revisions.iter().rev().find(serving).map_or(0, |entry| entry.number);
            let before = function.revisions.iter().rev().find(|entry| entry.number < newest);
            before.map(|entry| entry.digest).ok_or_else(|| {
                Error::invalid("XB2007", format!("{name} has no revision older than {newest}"))
            })?
        }
    };
    let view = state.control.set_traffic(&function.key, Traffic::all_to(target)).await?;
    Ok(Answer(RevisionAnswer::list(&view.function.revisions, view.function.traffic.shares())))
}

/// What `POST …/scale` takes.
#[derive(serde::Deserialize, utoipa::ToSchema)]
#[schema(examples(json!({"instances": 2})))]
#[serde(deny_unknown_fields)]
pub(super) struct ScaleRequest {
    /// How many are wanted now.
    instances: u32,
}

/// Ask for instances now
///
/// Within the policy's bounds; scaling goes on from there.
#[utoipa::path(
    post,
    path = "/functions/{name}/scale",
    tag = "functions",
    params(("name", description = "The function's name")),
    responses((status = 202, description = "They are asked for"))
)]
pub(super) async fn scale(
    caller: Caller,
    Shared(state): Shared<Arc<State>>,
    Path(name): Path<String>,
    Json(request): Json<ScaleRequest>,
) -> Result<StatusCode, Failure> {
    let key = find(&state, &caller.tenant, &name)?;
    state.control.scale(&key, request.instances).await?;
    Ok(StatusCode::ACCEPTED)
}

fn numbered(view: &FunctionView, number: u64) -> Result<xebec_core::Digest, Error> {
    let found = view.function.revisions.iter().find(|entry| entry.number == number);
    found.map(|entry| entry.digest).ok_or_else(|| {
        Error::invalid("XB2007", format!("{} has no revision {number}", view.function.key.name))
            .with_hint("xebec revisions lists what it has")
    })
}

fn view(state: &State, tenant: &Tenant, name: &str) -> Result<FunctionView, Error> {
    let key = find(state, tenant, name)?;
    state.control.function(&key).ok_or_else(|| missing(name))
}

/// A function by name: of this door, or of whichever door has it at `/function/<name>`.
pub(super) fn find(state: &State, tenant: &Tenant, name: &str) -> Result<FunctionKey, Error> {
    let own = FunctionKey::new(tenant, DOOR, name);
    if state.control.function(&own).is_some() {
        return Ok(own);
    }
    let shared = xebec_core::names::Address::new(translate::FUNCTION_SPACE, tenant, name);
    state.control.at(&shared).ok_or_else(|| missing(name))
}

fn missing(name: &str) -> Error {
    Error::not_found("XB2002", format!("there is no function {name:?}"))
        .with_hint("xebec ls lists what is deployed")
}

fn answer(view: FunctionView, manifest: Option<Manifest>) -> FunctionAnswer {
    let key = &view.function.key;
    FunctionAnswer {
        name: key.name.to_string(),
        tenant: key.tenant.to_string(),
        door: key.door.to_string(),
        manifest,
        usage: None,
        view,
    }
}

//! Invocations: listed, exported, followed, shown with their logs, made again.

use super::{
    State,
    caller::{Caller, Failure, Path, Query},
    messages,
    observe::until_stop,
};
use crate::wire::{ErrorBody, InvocationAnswer, ReplayAnswer};
use axum::{
    Json as Answer,
    body::Body as AxumBody,
    extract::State as Shared,
    response::{IntoResponse, Response},
};
use futures_util::{Stream, StreamExt as _, stream};
use http::{HeaderMap, Request, StatusCode, header};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::{convert::Infallible, sync::Arc};
use utoipa_axum::{router::OpenApiRouter, routes};
use xebec_core::{
    Body, Error, ErrorKind, InvocationId,
    log::LogQuery,
    message::{Call, Payload, Source, Submission},
    ports::control::Control,
    record::{Followed, InvocationRecord, RecordPage, RecordQuery},
    rules::hops,
};

/// Lines of JSON.
const NDJSON: &str = "application/x-ndjson";

/// Records of an export that are held at a time.
const EXPORT_PAGE: u32 = 500;

/// The routes of this file; `/records` is what `/invocations` was called at first.
pub(super) fn routes() -> OpenApiRouter<Arc<State>> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(show))
        .routes(routes!(replay))
        .routes(routes!(list_records))
        .routes(routes!(record))
}

#[derive(Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
struct Parameters {
    /// Of the function of this name.
    function: Option<String>,
    /// That ended so: `success`, `application_error`, `timeout`, `crash`, …
    outcome: Option<String>,
    /// Received at or after.
    since: Option<Timestamp>,
    /// Received before.
    until: Option<Timestamp>,
    /// Of at least this attempt: with 1 all that outlived their caller, with 2 those that were tried again.
    attempt: Option<u32>,
    /// At most so many; of a page at most 1000.
    limit: Option<u32>,
    /// Where the previous page ended.
    cursor: Option<String>,
    /// Those that come, as they end.
    #[serde(default)]
    follow: bool,
}

/// Calls that have ended, newest first
///
/// With `Accept: application/x-ndjson` all that match, streamed as lines of JSON; an answer that breaks off is not all.
/// With `follow=true` lines of JSON: the last `limit` calls (0), oldest first, then each as it ends.
#[utoipa::path(
    get,
    path = "/invocations",
    tag = "invocations",
    params(Parameters),
    responses(
        (status = 200, description = "A page of them; or lines", content(
            (RecordPage = "application/json"),
            (Followed = "application/x-ndjson"),
        )),
    )
)]
async fn list(
    caller: Caller,
    Shared(state): Shared<Arc<State>>,
    Query(wanted): Query<Parameters>,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    // Records outlive their function.
    let function = wanted.function.map(|name| messages::named(&state, &caller.tenant, &name));
    let query = RecordQuery {
        tenant: Some(caller.tenant),
        function,
        outcome: wanted.outcome,
        since: wanted.since,
        until: wanted.until,
        attempt: wanted.attempt,
        limit: wanted.limit,
        cursor: wanted.cursor,
        ..RecordQuery::default()
    };
    let accepted = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    if wanted.follow {
        follow(state, query).await
    } else if accepted.into_iter().any(|accepted| accepted.contains(NDJSON)) {
        export(Arc::clone(&state.control), query).await
    } else {
        Ok(Answer(state.control.records(query).await?).into_response())
    }
}

/// The older name of `/invocations`
#[utoipa::path(
    get,
    path = "/records",
    tag = "invocations",
    params(Parameters),
    responses((status = 200, description = "As of `/invocations`", content(
        (RecordPage = "application/json"),
        (Followed = "application/x-ndjson"),
    )))
)]
async fn list_records(
    caller: Caller,
    state: Shared<Arc<State>>,
    wanted: Query<Parameters>,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    list(caller, state, wanted, headers).await
}

fn line(value: &impl Serialize) -> Vec<u8> {
    let mut json = serde_json::to_vec(value).unwrap_or_default();
    json.push(b'\n');
    json
}

/// All that match, at most `limit`, newest first, a page at a time: the next one is read when the client has
/// taken the one before. Should one fail the answer breaks off, so that it is not taken for a whole one.
async fn export(control: Arc<dyn Control>, query: RecordQuery) -> Result<Response, Failure> {
    let left = query.limit.map_or(u64::MAX, u64::from);
    // The first is read before anything is answered: what is wrong with the question is told as an error.
    let first = export_page(&control, query.clone(), left).await?;
    let pages = stream::try_unfold(Some((first, left)), move |state| {
        let (control, query) = (Arc::clone(&control), query.clone());
        async move {
            let Some((page, left)) = state else { return Ok::<_, Error>(None) };
            let left = left.saturating_sub(page.records.len() as u64);
            let lines: Vec<u8> = page.records.iter().flat_map(line).collect();
            let next = match page.cursor {
                Some(cursor) if left > 0 => {
                    let query = RecordQuery { cursor: Some(cursor), ..query };
                    Some((export_page(&control, query, left).await?, left))
                }
                _ => None,
            };
            Ok(Some((lines, next)))
        }
    });
    Ok(ndjson(pages))
}

async fn export_page(control: &Arc<dyn Control>, query: RecordQuery, left: u64) -> Result<RecordPage, Error> {
    let limit = u32::try_from(left).unwrap_or(u32::MAX).min(EXPORT_PAGE);
    control.records(RecordQuery { limit: Some(limit), ..query }).await
}

/// The last `limit` ones, oldest first (none where it does not say), and those that come.
async fn follow(state: Arc<State>, query: RecordQuery) -> Result<Response, Failure> {
    let past = query.limit.unwrap_or(0) as usize;
    let (page, live) = state.control.follow_records(query).await?;
    let mut before = page.records;
    before.truncate(past);
    before.reverse();
    let before = stream::iter(before).map(|record| Followed::Record(Box::new(record)));
    let lines = before.chain(live).map(|followed| Ok::<_, Infallible>(line(&followed)));
    Ok(ndjson(until_stop(state, lines)))
}

fn ndjson<E>(lines: impl Stream<Item = Result<Vec<u8>, E>> + Send + 'static) -> Response
where
    E: Into<Box<dyn std::error::Error + Send + Sync>> + 'static,
{
    ([(header::CONTENT_TYPE, NDJSON)], AxumBody::from_stream(lines)).into_response()
}

/// One call without its logs: the older form
#[utoipa::path(
    get,
    path = "/records/{id}",
    tag = "invocations",
    params(("id" = InvocationId, Path, description = "The id of the call")),
    responses((status = 200, description = "The call", body = InvocationRecord))
)]
async fn record(
    caller: Caller,
    Shared(state): Shared<Arc<State>>,
    Path(id): Path<InvocationId>,
) -> Result<Answer<InvocationRecord>, Failure> {
    Ok(Answer(find(&state, &caller, &id).await?))
}

/// One call that has ended, with what its function printed meanwhile
#[utoipa::path(
    get,
    path = "/invocations/{id}",
    tag = "invocations",
    params(("id" = InvocationId, Path, description = "The id of the call")),
    responses((status = 200, description = "The call", body = InvocationAnswer))
)]
async fn show(
    caller: Caller,
    Shared(state): Shared<Arc<State>>,
    Path(id): Path<InvocationId>,
) -> Result<Answer<InvocationAnswer>, Failure> {
    let record = find(&state, &caller, &id).await?;
    let logs = state.control.logs(LogQuery { invocation: Some(id), ..LogQuery::default() }, false).await?;
    let replayable = request_of(&state, &id, false).await?.is_some();
    Ok(Answer(InvocationAnswer { record, replayable, logs: logs.collect().await }))
}

/// Make a call again, as one that outlives its caller
#[utoipa::path(
    post,
    path = "/invocations/{id}/replay",
    tag = "invocations",
    params(("id" = InvocationId, Path, description = "The id of the call")),
    responses(
        (status = 202, description = "It is accepted, with an id of its own", body = ReplayAnswer),
        (status = 422, description = "Its request was not kept", body = ErrorBody),
    )
)]
async fn replay(
    caller: Caller,
    Shared(state): Shared<Arc<State>>,
    Path(id): Path<InvocationId>,
) -> Result<(StatusCode, Answer<ReplayAnswer>), Failure> {
    let record = find(&state, &caller, &id).await?;
    let deliveries = state.deliveries()?;
    let Some((call, body)) = request_of(&state, &id, true).await? else {
        let message = format!("the request of invocation {id} was not kept");
        return Err(Error::new(ErrorKind::Refused, "XB2018", message)
            .with_hint("keep-requests in [records] of xebec.toml has the requests of later calls kept")
            .into());
    };
    let mut request = Request::builder().method(call.method.as_str()).uri(call.uri.as_str());
    if let Some(headers) = request.headers_mut() {
        *headers = call.headers;
        // Nobody's call leads to this one.
        headers.remove(hops::HOPS_HEADER);
    }
    let request = request.body(body).map_err(|error| {
        Error::internal("XB4003", format!("the request of {id} is not as it was written: {error}"))
    })?;
    let mut submission = Submission::new(record.function, caller.principal, request);
    submission.source = Source::Replay(id);
    let receipt = deliveries.submit(submission).await?;
    Ok((StatusCode::ACCEPTED, Answer(ReplayAnswer { id: receipt.id, replay_of: id })))
}

/// A record of the tenant; another's is none.
async fn find(state: &State, caller: &Caller, id: &InvocationId) -> Result<InvocationRecord, Error> {
    let record = state.control.record(id).await?;
    record.filter(|record| record.function.tenant == caller.tenant).ok_or_else(|| {
        Error::not_found("XB2009", format!("there is no record of invocation {id}"))
            .with_hint("a call is recorded when it has ended; xebec queue show tells of one that waits")
    })
}

/// A call's request, from its message while there is one, else as it was kept; its body only `with_body`.
async fn request_of(
    state: &State,
    id: &InvocationId,
    with_body: bool,
) -> Result<Option<(Call, Body)>, Error> {
    if let Some(deliveries) = &state.deliveries
        && let Some(entry) = deliveries.message(id).await?
    {
        let body = if with_body { deliveries.body(id).await? } else { Body::empty() };
        return Ok(Some((entry.message.call, body)));
    }
    let call = state.control.kept_request(id).await?;
    Ok(call.map(|call| {
        let body = match &call.body {
            Payload::Inline(bytes) => Body::full(bytes.clone()),
            Payload::Blob { .. } => Body::empty(),
        };
        (call, body)
    }))
}

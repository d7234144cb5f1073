//! Logs, records and events, at hand or as they come.

use super::{
    State,
    caller::{Caller, Failure},
    functions,
};
use axum::{
    Json as Answer,
    extract::{Path, Query, State as Shared},
    response::{IntoResponse, Response, Sse, sse},
};
use futures_util::{Stream, StreamExt as _, future};
use http::header;
use jiff::Timestamp;
use serde::Deserialize;
use std::{
    convert::Infallible,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};
use xebec_core::{
    Error, InvocationId,
    log::LogQuery,
    record::{InvocationRecord, RecordPage, RecordQuery},
};

#[derive(Deserialize)]
pub(super) struct LogParameters {
    #[serde(default)]
    follow: bool,
    tail: Option<u32>,
    since: Option<Timestamp>,
    instance: Option<String>,
    invocation: Option<InvocationId>,
}

/// Lines as JSON, one per line.
pub(super) async fn logs(
    caller: Caller,
    Shared(state): Shared<Arc<State>>,
    Path(name): Path<String>,
    Query(wanted): Query<LogParameters>,
) -> Result<Response, Failure> {
    let query = LogQuery {
        function: Some(functions::find(&state, &caller.tenant, &name)?),
        instance: wanted.instance,
        invocation: wanted.invocation,
        since: wanted.since,
        tail: wanted.tail,
    };
    let lines = state.control.logs(query, wanted.follow).await?.map(|line| {
        let mut json = serde_json::to_vec(&line).unwrap_or_default();
        json.push(b'\n');
        Ok::<_, Infallible>(json)
    });
    let body = axum::body::Body::from_stream(until_stop(state, lines));
    Ok(([(header::CONTENT_TYPE, "application/x-ndjson")], body).into_response())
}

#[derive(Deserialize)]
pub(super) struct RecordParameters {
    function: Option<String>,
    outcome: Option<String>,
    since: Option<Timestamp>,
    until: Option<Timestamp>,
    limit: Option<u32>,
    cursor: Option<String>,
}

pub(super) async fn records(
    caller: Caller,
    Shared(state): Shared<Arc<State>>,
    Query(wanted): Query<RecordParameters>,
) -> Result<Answer<RecordPage>, Failure> {
    let function = wanted.function.map(|name| functions::find(&state, &caller.tenant, &name)).transpose()?;
    let query = RecordQuery {
        tenant: Some(caller.tenant),
        function,
        outcome: wanted.outcome,
        since: wanted.since,
        until: wanted.until,
        attempt: None,
        limit: wanted.limit,
        cursor: wanted.cursor,
    };
    Ok(Answer(state.control.records(query).await?))
}

pub(super) async fn record(
    caller: Caller,
    Shared(state): Shared<Arc<State>>,
    Path(id): Path<InvocationId>,
) -> Result<Answer<InvocationRecord>, Failure> {
    let record = state.control.record(&id).await?;
    record
        .filter(|record| record.function.tenant == caller.tenant)
        .map(Answer)
        .ok_or_else(|| Failure(Error::not_found("XB2009", format!("there is no record of invocation {id}"))))
}

/// What happens to the tenant's functions from now on, as server-sent events.
pub(super) async fn events(caller: Caller, Shared(state): Shared<Arc<State>>) -> Response {
    let tenant = caller.tenant;
    let events = state
        .control
        .events()
        .filter(move |event| future::ready(event.function.tenant == tenant))
        .map(|event| Ok::<_, Infallible>(sse::Event::default().json_data(&*event).unwrap_or_default()));
    let events = until_stop(state, events);
    Sse::new(events).keep_alive(sse::KeepAlive::new().interval(Duration::from_secs(10))).into_response()
}

/// Ends a stream that would go on forever when the server stops, so that draining does not wait for it.
fn until_stop<S: Stream + Send + 'static>(
    state: Arc<State>,
    stream: S,
) -> impl Stream<Item = S::Item> + Send {
    let stopped = async move {
        while !state.stopping.load(Ordering::Relaxed) {
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    stream.take_until(stopped)
}

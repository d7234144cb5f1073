//! Logs and events, at hand or as they come.

use super::{
    State,
    caller::{Caller, Failure, Path, Query},
    functions,
};
use axum::{
    extract::State as Shared,
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
    InvocationId,
    log::{LogLine, LogQuery},
    ports::control::Event,
};

#[derive(Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct LogParameters {
    /// Then those that come, until the answer is dropped.
    #[serde(default)]
    follow: bool,
    /// Only the last so many of those at hand, at most 10,000.
    tail: Option<u32>,
    /// At or after this moment.
    since: Option<Timestamp>,
    /// Of this instance.
    instance: Option<String>,
    /// Of this call.
    invocation: Option<InvocationId>,
}

/// What a function printed, one line of JSON for each
#[utoipa::path(
    get,
    path = "/functions/{name}/logs",
    tag = "observe",
    params(("name", description = "The function's name"), LogParameters),
    responses((status = 200, description = "The lines, oldest first", body = LogLine, content_type = "application/x-ndjson"))
)]
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

/// What happens to the tenant's functions from now on
///
/// Server-sent events; the `data` of each is an `Event`.
#[utoipa::path(
    get,
    path = "/events",
    tag = "observe",
    responses((status = 200, description = "The events as they happen", body = Event, content_type = "text/event-stream"))
)]
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
pub(super) fn until_stop<S: Stream + Send + 'static>(
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

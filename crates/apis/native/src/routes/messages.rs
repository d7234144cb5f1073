//! Messages: listed, shown, cancelled; dead letters redriven and discarded.

use super::{
    State,
    caller::{Caller, Failure, Json, Path, Query},
    functions,
};
use crate::{
    DOOR,
    describe::Octets,
    wire::{Count, DeadLetterRequest, MessageAnswer, MessageList, Preview},
};
use axum::{
    Json as Answer,
    extract::State as Shared,
    response::{IntoResponse, Response},
};
use base64::Engine as _;
use http::{HeaderName, header};
use http_body_util::BodyExt as _;
use serde::Deserialize;
use std::sync::Arc;
use xebec_core::{
    Body, Error, FunctionKey, InvocationId, Tenant,
    ports::queue::{Entry, EntryQuery, Selection},
};

/// How much of a body is shown with its message, in bytes.
const PREVIEW_BYTES: usize = 4096;

#[derive(Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct ListParameters {
    /// `waiting`, `running` or `dead`.
    state: Option<String>,
    /// In the queue of this name.
    queue: Option<String>,
    /// For the function of this name.
    function: Option<String>,
    /// At most so many.
    limit: Option<u32>,
    /// Where the previous page ended.
    cursor: Option<String>,
}

/// Messages, oldest accepted first
#[utoipa::path(
    get,
    path = "/messages",
    tag = "messages",
    params(ListParameters),
    responses((status = 200, description = "A page of them", body = MessageList))
)]
pub(super) async fn list(
    caller: Caller,
    Shared(state): Shared<Arc<State>>,
    Query(wanted): Query<ListParameters>,
) -> Result<Answer<MessageList>, Failure> {
    let function = wanted.function.map(|name| named(&state, &caller.tenant, &name));
    let query = EntryQuery {
        which: Selection { tenant: Some(caller.tenant), queue: wanted.queue, function, ids: None },
        state: wanted.state,
        limit: wanted.limit,
        cursor: wanted.cursor,
    };
    Ok(Answer(state.deliveries()?.messages(&query).await?.into()))
}

/// One message, with its headers and how its body begins
#[utoipa::path(
    get,
    path = "/messages/{id}",
    tag = "messages",
    params(("id" = InvocationId, Path, description = "The id of the call")),
    responses((status = 200, description = "The message", body = MessageAnswer))
)]
pub(super) async fn show(
    caller: Caller,
    Shared(state): Shared<Arc<State>>,
    Path(id): Path<InvocationId>,
) -> Result<Answer<MessageAnswer>, Failure> {
    let entry = find(&state, &caller.tenant, &id).await?;
    // It may have ended meanwhile; then there is nothing to preview.
    let body = match state.deliveries()?.body(&id).await {
        Ok(body) => preview(body).await,
        Err(_) => None,
    };
    Ok(Answer(MessageAnswer::whole(entry, body)))
}

/// A message's whole body
#[utoipa::path(
    get,
    path = "/messages/{id}/body",
    tag = "messages",
    params(("id" = InvocationId, Path, description = "The id of the call")),
    responses((status = 200, description = "Its bytes", body = Octets, content_type = "application/octet-stream"))
)]
pub(super) async fn body(
    caller: Caller,
    Shared(state): Shared<Arc<State>>,
    Path(id): Path<InvocationId>,
) -> Result<Response, Failure> {
    find(&state, &caller.tenant, &id).await?;
    let body = state.deliveries()?.body(&id).await?;
    // Never as what its sender says it is: a browser would run it with our origin.
    let headers = [
        (header::CONTENT_TYPE, "application/octet-stream"),
        (HeaderName::from_static("x-content-type-options"), "nosniff"),
    ];
    Ok((headers, axum::body::Body::new(body)).into_response())
}

/// Take back a message
///
/// One that waits goes; one that runs is stopped as far as its contract allows; a dead letter is discarded.
#[utoipa::path(
    delete,
    path = "/messages/{id}",
    tag = "messages",
    params(("id" = InvocationId, Path, description = "The id of the call")),
    responses((status = 200, description = "The message as it was", body = MessageAnswer))
)]
pub(super) async fn cancel(
    caller: Caller,
    Shared(state): Shared<Arc<State>>,
    Path(id): Path<InvocationId>,
) -> Result<Answer<MessageAnswer>, Failure> {
    find(&state, &caller.tenant, &id).await?;
    Ok(Answer(MessageAnswer::new(state.deliveries()?.cancel(&id).await?)))
}

/// Make dead letters wait again, as if they were new
#[utoipa::path(
    post,
    path = "/dead-letters/redrive",
    tag = "messages",
    responses((status = 200, description = "How many", body = Count))
)]
pub(super) async fn redrive(
    caller: Caller,
    Shared(state): Shared<Arc<State>>,
    Json(request): Json<DeadLetterRequest>,
) -> Result<Answer<Count>, Failure> {
    if request.rate == Some(0) {
        return Err(Error::invalid("XB1013", "rate must be at least 1 a second").into());
    }
    let rate = request.rate;
    let which = selection(&state, caller.tenant, request)?;
    Ok(Answer(Count { count: state.deliveries()?.redrive(&which, rate).await? }))
}

/// Delete dead letters
#[utoipa::path(
    post,
    path = "/dead-letters/discard",
    tag = "messages",
    responses((status = 200, description = "How many", body = Count))
)]
pub(super) async fn discard(
    caller: Caller,
    Shared(state): Shared<Arc<State>>,
    Json(request): Json<DeadLetterRequest>,
) -> Result<Answer<Count>, Failure> {
    if request.rate.is_some() {
        return Err(Error::invalid("XB1013", "rate is for redriving").into());
    }
    let which = selection(&state, caller.tenant, request)?;
    Ok(Answer(Count { count: state.deliveries()?.discard(&which).await? }))
}

/// What is meant. Nothing said does not mean everything: that must be said.
fn selection(state: &State, tenant: Tenant, request: DeadLetterRequest) -> Result<Selection, Error> {
    let DeadLetterRequest { ids, queue, function, all, rate: _ } = request;
    let conditions = ids.is_some() || queue.is_some() || function.is_some();
    if all == conditions {
        let message = if all { "all goes without conditions" } else { "which dead letters is not said" };
        return Err(Error::invalid("XB1013", message).with_hint("give ids, queue or function, or all: true"));
    }
    let function = function.map(|name| named(state, &tenant, &name));
    Ok(Selection { tenant: Some(tenant), queue, function, ids })
}

/// A function by name; its messages may outlive it.
pub(super) fn named(state: &State, tenant: &Tenant, name: &str) -> FunctionKey {
    functions::find(state, tenant, name).unwrap_or_else(|_| FunctionKey::new(tenant, DOOR, name))
}

/// A message of the tenant; another's is none.
async fn find(state: &State, tenant: &Tenant, id: &InvocationId) -> Result<Entry, Error> {
    let entry = state.deliveries()?.message(id).await?;
    entry.filter(|entry| entry.message.lane.tenant == *tenant).ok_or_else(|| {
        Error::not_found("XB4021", format!("there is no message {id}"))
            .with_hint(format!("if it has ended, xebec invocations show {id} says how"))
    })
}

/// How a body begins; nothing where it cannot be read.
async fn preview(mut body: Body) -> Option<Preview> {
    let mut bytes = Vec::new();
    while bytes.len() <= PREVIEW_BYTES {
        let Some(frame) = body.frame().await else { break };
        if let Ok(data) = frame.ok()?.into_data() {
            bytes.extend_from_slice(&data[..data.len().min(PREVIEW_BYTES + 1)]);
        }
    }
    let more = bytes.len() > PREVIEW_BYTES;
    bytes.truncate(PREVIEW_BYTES);
    let text = match std::str::from_utf8(&bytes) {
        Ok(text) => Some(text.to_owned()),
        // The cut may go through the middle of a character.
        Err(error) if more && error.error_len().is_none() => {
            Some(String::from_utf8_lossy(&bytes[..error.valid_up_to()]).into_owned())
        }
        Err(_) => None,
    };
    let base64 = text.is_none().then(|| base64::engine::general_purpose::STANDARD.encode(&bytes));
    Some(Preview { text, base64, more })
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn of(bytes: impl Into<Vec<u8>>) -> Preview {
        preview(Body::full(bytes.into())).await.unwrap()
    }

    #[tokio::test]
    async fn previews_text_and_bytes() {
        assert_eq!(of("hé").await, Preview { text: Some("hé".into()), base64: None, more: false });
        assert_eq!(of([0xff, 0]).await, Preview { text: None, base64: Some("/wA=".into()), more: false });
        let long = of("é".repeat(PREVIEW_BYTES) + "x").await;
        assert!(long.more && long.text.unwrap().len() == PREVIEW_BYTES);
        let odd = of("x".to_owned() + &"é".repeat(PREVIEW_BYTES)).await;
        assert!(odd.more && odd.text.unwrap().len() == PREVIEW_BYTES - 1);
    }
}

//! `/async-function/<name>[.<namespace>][/<path>][?<query>]`: calls that are answered before they are made, and
//! `DELETE /async-function/<call id>`, which takes one back.

use crate::{
    ASYNC_CALLS, OpenFaas,
    call::{CALL_ID, Callee, DURATION, SERVED_BY, START_TIME, Target, id_value, prepare_headers, seconds},
    errors,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode};
use jiff::Timestamp;
use std::time::Instant;
use uuid::Uuid;
use xebec_core::{
    Body, InvocationId,
    auth::Principal,
    message::{Destination, Destinations, Field, Form, Recipient, Submission},
    ports::{deliveries::Deliveries, door::Peer},
};

const CALLBACK_URL: HeaderName = HeaderName::from_static("x-callback-url");

/// The id that the server knows a call by, where its caller gave it one of their own.
const OWN_ID: HeaderName = HeaderName::from_static("x-xebec-call-id");

/// The methods of this path.
const METHODS: &str = "POST, DELETE";

impl OpenFaas {
    /// Accepts a call, or takes one back.
    pub(crate) async fn async_call(&self, request: Request<Body>) -> Response<Body> {
        let Some(deliveries) = &self.deliveries else {
            return errors::not_implemented("asynchronous invocation");
        };
        let since = Instant::now();
        let mut response = match *request.method() {
            Method::POST => self.submit(&**deliveries, request, since).await,
            Method::DELETE => cancel(&**deliveries, request).await,
            _ => errors::no_such_method(METHODS),
        };
        response.headers_mut().entry(DURATION).or_insert_with(|| seconds(since));
        response.headers_mut().insert(SERVED_BY, self.served_by.clone());
        response
    }

    async fn submit(
        &self,
        deliveries: &dyn Deliveries,
        mut request: Request<Body>,
        since: Instant,
    ) -> Response<Body> {
        let uri = std::mem::take(request.uri_mut());
        let Some(target) = Target::of(&uri, ASYNC_CALLS) else { return errors::no_such_route() };
        // The original accepts calls of functions that it does not know, and drops them later. Its clients take any
        // 2xx for success, and everything else for a failure that they report: so they learn of a wrong name.
        let Callee { labels, address, function, principal } = match self.callee(&target, &mut request) {
            Ok(callee) => callee,
            Err(refusal) => return *refusal,
        };
        let anonymous = principal == Principal::Anonymous;
        let peer = request.extensions().get::<Peer>().copied();
        let start_time = HeaderValue::from(u64::try_from(Timestamp::now().as_nanosecond()).unwrap_or(0));
        let id = InvocationId::new();
        let given = request.headers().contains_key(CALL_ID);
        let call_id = prepare_headers(request.headers_mut(), id, peer, &uri, &start_time);
        let destinations = match callback(request.headers(), given.then_some(&call_id)) {
            Ok(destinations) => destinations,
            Err(refusal) => return *refusal,
        };
        // What the function shall see is the same as if it were called at once; the worker makes it a POST.
        let mut submission = Submission { id, ..Submission::new(function, principal, request) };
        submission.wishes.destinations = destinations;

        let running = self.metrics.start(&address, labels, since);
        let queue =
            self.control.function(&submission.function).map(|view| view.function.policy.delivery.queue);
        let mut response = match deliveries.submit(submission).await {
            Ok(_) => {
                self.metrics.queues.submitted(queue.as_deref().unwrap_or_default());
                errors::empty(StatusCode::ACCEPTED)
            }
            Err(error) => errors::enqueue(&error, &labels, anonymous),
        };
        running.finish(response.status().as_u16());
        let headers = response.headers_mut();
        headers.insert(CALL_ID, call_id);
        headers.insert(START_TIME, start_time);
        if given {
            headers.insert(OWN_ID, id_value(id));
        }
        response
    }
}

/// Where the result goes: the answer as it is, with headers that say of which call.
fn callback(headers: &HeaderMap, call_id: Option<&HeaderValue>) -> Result<Destinations, Box<Response<Body>>> {
    let Some(url) = headers.get(CALLBACK_URL).filter(|url| !url.is_empty()) else {
        return Ok(Destinations::default());
    };
    let url = url.to_str().ok().filter(|url| {
        let scheme = url.split_once("://").map(|(scheme, _)| scheme.to_ascii_lowercase());
        matches!(scheme.as_deref(), Some("http" | "https"))
    });
    let Some(url) = url else { return Err(Box::new(errors::bad_callback())) };
    let id = match call_id.map(HeaderValue::to_str) {
        Some(Ok(given)) => Field::Text(given.into()),
        _ => Field::Id,
    };
    let destination = Destination {
        to: Recipient::Url(url.to_owned()),
        form: Form::Answer,
        headers: vec![
            ("X-Call-Id".into(), id),
            ("X-Duration-Seconds".into(), Field::Seconds),
            ("X-Function-Status".into(), Field::Status),
            ("X-Function-Name".into(), Field::FunctionName),
            ("X-Retry".into(), Field::Retries),
            ("X-Retry-Max".into(), Field::Attempts),
        ],
    };
    Ok(Destinations { on_success: vec![destination.clone()], on_failure: vec![destination] })
}

/// Takes back a call that waits or runs. Whoever may call what is not public in its tenant may do so.
async fn cancel(deliveries: &dyn Deliveries, request: Request<Body>) -> Response<Body> {
    let (request, _) = request.into_parts();
    let text = request.uri.path().strip_prefix(ASYNC_CALLS).unwrap_or_default();
    let Ok(id) = Uuid::try_parse(text).map(InvocationId) else { return errors::no_such_call(text) };
    let principal = request.extensions.get::<Principal>().unwrap_or(&Principal::Anonymous);
    if *principal == Principal::Anonymous {
        return errors::unauthorized();
    }
    let there = match deliveries.message(&id).await {
        Ok(there) => there.filter(|entry| principal.may_invoke(&entry.message.lane.tenant)),
        Err(error) => return errors::management(&error),
    };
    if there.is_none() {
        return errors::no_such_call(text);
    }
    match deliveries.cancel(&id).await {
        Ok(_) => errors::empty(StatusCode::ACCEPTED),
        // It ended in between.
        Err(error) if error.code == "XB4021" => errors::no_such_call(text),
        Err(error) => errors::management(&error),
    }
}

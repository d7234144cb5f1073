//! `/function/<name>[.<namespace>][/<path>][?<query>]`: the way of every call, so nothing here that need not be.

use crate::{
    CALLS, OpenFaas, errors,
    metrics::{CallLabels, Running},
    names::{FUNCTION_SPACE, split_qualified, tenant_of},
    tokens,
};
use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri, header, uri::PathAndQuery,
};
use http_body::{Body as _, Frame, SizeHint};
use jiff::Timestamp;
use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Instant,
};
use xebec_contracts::duration;
use xebec_core::{
    Answer, Body, BodyError, FunctionKey, Invocation, InvocationId,
    auth::Principal,
    headers::named_by_connection,
    names::{Address, Tenant},
    ports::door::Peer,
};

pub(crate) const CALL_ID: HeaderName = HeaderName::from_static("x-call-id");
pub(crate) const START_TIME: HeaderName = HeaderName::from_static("x-start-time");
pub(crate) const DURATION: HeaderName = HeaderName::from_static("x-duration-seconds");
pub(crate) const SERVED_BY: HeaderName = HeaderName::from_static("x-served-by");
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const TIMEOUT: HeaderName = HeaderName::from_static("x-timeout");

/// The methods that calls may have.
const METHODS: &str = "GET, POST, PUT, PATCH, DELETE, HEAD, OPTIONS";

/// Headers that concern one connection and not the call.
const HOP_BY_HOP: [HeaderName; 8] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    HeaderName::from_static("proxy-connection"),
    header::TE,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

impl OpenFaas {
    /// Answers a call.
    pub(crate) async fn call(&self, mut request: Request<Body>) -> Response<Body> {
        let uri = std::mem::take(request.uri_mut());
        let Some(target) = Target::of(&uri, CALLS) else { return errors::no_such_route() };
        if !may_be_called_with(request.method()) {
            return errors::no_such_method(METHODS);
        }
        let Callee { labels, address, function, principal } = match self.callee(&target, &mut request) {
            Ok(callee) => callee,
            Err(refusal) => return *refusal,
        };
        let anonymous = principal == Principal::Anonymous;
        let mut invocation = Invocation::new(function, principal, request);
        let since = Instant::now();
        let start_time = HeaderValue::from(u64::try_from(invocation.received.as_nanosecond()).unwrap_or(0));
        let call_id = prepare(&mut invocation, &uri, &start_time);
        let asked_type = invocation.request.headers().get(header::CONTENT_TYPE).cloned();

        let running = self.metrics.start(&address, labels, since);
        let mut response = match self.invoker.invoke(invocation).await {
            Ok(answer) => pass_on(answer, asked_type, running),
            Err(error) => {
                let response = errors::call(&error, &labels, anonymous);
                running.finish(response.status().as_u16());
                response
            }
        };
        let headers = response.headers_mut();
        headers.entry(CALL_ID).or_insert(call_id);
        headers.entry(START_TIME).or_insert(start_time);
        headers.entry(DURATION).or_insert_with(|| seconds(since));
        headers.insert(SERVED_BY, self.served_by.clone());
        response
    }
}

impl OpenFaas {
    /// Who is called and by whom; the request's URI becomes what the function shall see.
    pub(crate) fn callee<'a>(
        &self,
        target: &Target<'a>,
        request: &mut Request<Body>,
    ) -> Result<Callee<'a>, Box<Response<Body>>> {
        let labels = CallLabels { name: target.name, namespace: target.namespace };
        let tenant = tenant_of(target.namespace);
        let address = Address::new(FUNCTION_SPACE, &tenant, target.name);
        let Some(function) = self.control.at(&address) else {
            return Err(Box::new(errors::cannot_call(target.name, target.namespace)));
        };
        let Some(inner) = target.inner() else { return Err(Box::new(errors::no_such_route())) };
        *request.uri_mut() = inner;
        let principal = self.caller(request, target, &tenant);
        // With a credential of this server, the function could do what its caller may.
        if matches!(principal, Principal::Key { .. })
            || bearer(request.headers()).is_some_and(tokens::is_ours)
        {
            request.headers_mut().remove(header::AUTHORIZATION);
        }
        Ok(Callee { labels, address, function, principal })
    }

    /// On whose behalf a call comes. The gateway knows keys, but not the tokens that are given for them here.
    fn caller(&self, request: &Request<Body>, target: &Target<'_>, tenant: &Tenant) -> Principal {
        match request.extensions().get::<Principal>() {
            Some(known) if *known != Principal::Anonymous => known.clone(),
            _ => self.holder(request.headers(), target, tenant).unwrap_or(Principal::Anonymous),
        }
    }

    fn holder(&self, headers: &HeaderMap, target: &Target<'_>, tenant: &Tenant) -> Option<Principal> {
        let token = bearer(headers)?;
        let exchange = self.exchange.as_ref()?;
        exchange.tokens.holder(token, target.name, target.namespace, tenant, Timestamp::now())
    }
}

/// A bearer's token.
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// Who is called, and by whom.
pub(crate) struct Callee<'a> {
    pub(crate) labels: CallLabels<'a>,
    pub(crate) address: Address,
    pub(crate) function: FunctionKey,
    pub(crate) principal: Principal,
}

/// What a call's URI says.
pub(crate) struct Target<'a> {
    pub(crate) name: &'a str,
    pub(crate) namespace: &'a str,
    /// What the function shall see: path and query after the name.
    rest: &'a str,
}

impl<'a> Target<'a> {
    pub(crate) fn of(uri: &'a Uri, prefix: &str) -> Option<Self> {
        let text = uri.path_and_query()?.as_str().strip_prefix(prefix)?;
        let (qualified, rest) = text.split_at(text.find(['/', '?']).unwrap_or(text.len()));
        let (name, namespace) = split_qualified(qualified)?;
        Some(Self { name, namespace, rest })
    }

    /// The URI as the function sees it.
    pub(crate) fn inner(&self) -> Option<Uri> {
        let path = match self.rest.as_bytes().first() {
            None => PathAndQuery::from_static("/"),
            Some(b'/') => PathAndQuery::try_from(self.rest).ok()?,
            Some(_) => PathAndQuery::from_maybe_shared(Bytes::from(format!("/{}", self.rest))).ok()?,
        };
        Some(Uri::from(path))
    }
}

fn may_be_called_with(method: &Method) -> bool {
    matches!(
        *method,
        Method::GET
            | Method::POST
            | Method::PUT
            | Method::PATCH
            | Method::DELETE
            | Method::HEAD
            | Method::OPTIONS
    )
}

/// Makes the request what the function shall see, and returns the call's id as callers see it.
fn prepare(invocation: &mut Invocation, uri: &Uri, start_time: &HeaderValue) -> HeaderValue {
    let peer = invocation.request.extensions().get::<Peer>().copied();
    let headers = invocation.request.headers_mut();
    let call_id = prepare_headers(headers, invocation.id, peer, uri, start_time);
    invocation.timeout =
        headers.get(TIMEOUT).and_then(|value| duration::parse(value.to_str().ok()?)).filter(|t| !t.is_zero());
    call_id
}

/// Makes headers what the function shall see, and returns the call's id as callers see it.
pub(crate) fn prepare_headers(
    headers: &mut HeaderMap,
    id: InvocationId,
    peer: Option<Peer>,
    uri: &Uri,
    start_time: &HeaderValue,
) -> HeaderValue {
    drop_hop_by_hop(headers, headers_ask_for_upgrade);
    if !headers.contains_key(header::HOST)
        && let Some(authority) = uri.authority()
        && let Ok(host) = HeaderValue::from_str(authority.as_str())
    {
        headers.insert(header::HOST, host);
    }
    if !headers.contains_key(FORWARDED_HOST)
        && let Some(host) = headers.get(header::HOST).cloned()
    {
        headers.insert(FORWARDED_HOST, host);
    }
    if !headers.contains_key(FORWARDED_FOR)
        && let Some(Peer(peer)) = peer
        && let Ok(peer) = HeaderValue::try_from(peer.to_string())
    {
        headers.insert(FORWARDED_FOR, peer);
    }
    headers.insert(START_TIME, start_time.clone());
    headers.entry(CALL_ID).or_insert_with(|| id_value(id)).clone()
}

pub(crate) fn id_value(id: InvocationId) -> HeaderValue {
    let mut buffer = [0; uuid::fmt::Hyphenated::LENGTH];
    // An encoded UUID is hexadecimal digits and hyphens, which every header value may hold.
    HeaderValue::from_str(id.0.hyphenated().encode_lower(&mut buffer)).unwrap_or(HeaderValue::from_static(""))
}

/// The function's answer, as callers get it.
fn pass_on(answer: Answer, asked_type: Option<HeaderValue>, running: Running) -> Response<Body> {
    let mut response = answer.response;
    let status = response.status();
    let headers = response.headers_mut();
    drop_hop_by_hop(headers, |_| status == StatusCode::SWITCHING_PROTOCOLS);
    let may_have_body =
        !status.is_informational() && status != StatusCode::NO_CONTENT && status != StatusCode::NOT_MODIFIED;
    if may_have_body && !headers.contains_key(header::CONTENT_TYPE) {
        let plain = || HeaderValue::from_static("text/plain");
        headers.insert(header::CONTENT_TYPE, asked_type.unwrap_or_else(plain));
    }
    follow(response, running)
}

/// Counts a call as ended when its answer is through.
pub(crate) fn follow(response: Response<Body>, running: Running) -> Response<Body> {
    let status = response.status().as_u16();
    if response.body().is_end_stream() || response.body().replay().is_some() {
        running.finish(status);
        return response;
    }
    response.map(|body| Body::stream(Counted { body, running: Some((running, status)) }))
}

/// Drops the headers of one connection, and those that `Connection` names. An upgrade keeps its two.
fn drop_hop_by_hop(headers: &mut HeaderMap, upgrades: impl FnOnce(&HeaderMap) -> bool) {
    for name in named_by_connection(headers) {
        if !HOP_BY_HOP.contains(&name) {
            headers.remove(name);
        }
    }
    let keep = upgrades(headers);
    for name in &HOP_BY_HOP {
        if !(keep && (name == header::CONNECTION || name == header::UPGRADE)) {
            headers.remove(name);
        }
    }
}

fn headers_ask_for_upgrade(headers: &HeaderMap) -> bool {
    headers.contains_key(header::UPGRADE)
        && headers
            .get(header::CONNECTION)
            .and_then(|value| value.to_str().ok())
            .is_some_and(|value| value.split(',').any(|part| part.trim().eq_ignore_ascii_case("upgrade")))
}

pub(crate) fn seconds(since: Instant) -> HeaderValue {
    HeaderValue::try_from(format!("{:.6}", since.elapsed().as_secs_f64()))
        .unwrap_or(HeaderValue::from_static("0"))
}

/// A body that counts its call as ended when it ends, or is dropped.
struct Counted {
    body: Body,
    running: Option<(Running, u16)>,
}

impl http_body::Body for Counted {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let frame = Pin::new(&mut self.body).poll_frame(cx);
        if matches!(frame, Poll::Ready(None | Some(Err(_)))) {
            self.finish();
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Counted {
    fn finish(&mut self) {
        if let Some((running, code)) = self.running.take() {
            running.finish(code);
        }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.finish();
    }
}

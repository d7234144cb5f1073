//! The way of a request through the gateway: match, principal, door.

use crate::{
    account::Account,
    body::{Answer, Fate, Limited},
    gateway::Shared,
    own,
    refusal::{Refusal, json, sentence},
    state::{ConnectionState, Serving},
    trace,
};
use futures_util::FutureExt as _;
use http::{Method, Request, Response, StatusCode, request::Parts};
use http_body::Body as _;
use hyper::body::Incoming;
use std::{convert::Infallible, panic::AssertUnwindSafe, sync::Arc};
use xebec_core::{
    Body, Error,
    auth::{Access, Credential, Keys as _, Principal, Role},
    error::ErrorKind,
    ports::door::{Door, Peer},
};

/// Answers one request.
pub(crate) async fn answer(
    shared: Arc<Shared>,
    state: Arc<ConnectionState>,
    request: Request<Incoming>,
) -> Result<Response<Answer>, Infallible> {
    let serving = Serving::begin(state.clone());
    let (mut parts, body) = request.into_parts();
    let door = shared.table.find(parts.uri.path());
    let mut account = Account::begin(&shared, door, &mut parts, state.peer);
    // A defect in one door must not take the connection, and with it other requests, down.
    let routed = AssertUnwindSafe(route(&shared, &state, door, parts, body)).catch_unwind().await;
    let response = routed.unwrap_or_else(|_| {
        tracing::error!(door = shared.name(door), "a request made its door panic");
        Refusal::DEFECT.answer()
    });
    shared.counters.count(door, response.status());
    if let Some(account) = &mut account {
        account.set_answer(shared.name(door), response.status());
    }
    let becomes_tunnel = response.status() == StatusCode::SWITCHING_PROTOCOLS;
    Ok(response.map(|body| match becomes_tunnel {
        true => Answer::tunnel(body, serving, account),
        false => Answer::new(body, serving, account),
    }))
}

async fn route(
    shared: &Shared,
    state: &Arc<ConnectionState>,
    door: Option<usize>,
    mut parts: Parts,
    body: Incoming,
) -> Response<Body> {
    if let Err(refusal) = check_sizes(shared, &parts, &body) {
        state.set_linger();
        return refusal.answer();
    }
    let Some(door) = door.map(|index| &shared.table.doors()[index]) else {
        return own::answer(shared, state, &parts);
    };
    let principal = match admit(shared, state, door.as_ref(), &parts) {
        Ok(principal) => principal,
        Err(refused) => {
            if !body.is_end_stream() {
                state.set_linger();
            }
            return *refused;
        }
    };
    trace::settle(&mut parts.headers);
    parts.extensions.insert(principal);
    parts.extensions.insert(Peer(state.peer));
    if body.is_end_stream() {
        return door.handle(Request::from_parts(parts, Body::empty())).await;
    }
    let limits = &shared.options.limits;
    let fate = Fate::default();
    let body = Body::stream(Limited::new(body, limits, fate.clone(), state.clone()));
    let response = door.handle(Request::from_parts(parts, body)).await;
    // The door could not know why its body broke off; the client shall.
    match fate.fault() {
        Some(refusal) => refusal.answer(),
        None => {
            fate.set_answered();
            response
        }
    }
}

fn check_sizes(shared: &Shared, parts: &Parts, body: &Incoming) -> Result<(), Refusal> {
    let limits = &shared.options.limits;
    if parts.method == Method::CONNECT || !parts.uri.path().starts_with('/') {
        return Err(Refusal::NO_TARGET);
    }
    if parts.uri.path_and_query().is_some_and(|target| target.as_str().len() > limits.target_bytes) {
        return Err(Refusal::TARGET_TOO_LONG);
    }
    if parts.headers.len() > limits.headers {
        return Err(Refusal::HEAD_TOO_LARGE);
    }
    if body.size_hint().lower() > limits.body_bytes {
        return Err(Refusal::BODY_TOO_LARGE);
    }
    Ok(())
}

/// On whose behalf a request comes, or the answer that turns it away.
fn admit(
    shared: &Shared,
    state: &ConnectionState,
    door: &dyn Door,
    parts: &Parts,
) -> Result<Principal, Box<Response<Body>>> {
    match door.access(parts) {
        Access::Management => manager(shared, state, parts, || door.credential(parts)).map_err(|error| {
            match error.code {
                // Which page asks is nothing that a framework's own errors have words for.
                "XB5005" | "XB5006" => Box::new(forbidden(&error)),
                _ => Box::new(door.refuse(&error)),
            }
        }),
        Access::Invocation | Access::Open => Ok(caller(shared, state, parts, door)),
    }
}

/// Who manages.
///
/// # Errors
/// `XB5001` without a good credential, `XB5004` where it may only call, `XB5005` and `XB5006` for web pages.
pub(crate) fn manager(
    shared: &Shared,
    state: &ConnectionState,
    parts: &Parts,
    credential: impl FnOnce() -> Credential,
) -> Result<Principal, Error> {
    shared.guard.check_origin(parts, state.local)?;
    let principal = shared.keys.authenticate(&credential(), shared.trusts(state))?;
    match principal {
        Principal::Local => shared.guard.check_host(parts)?,
        Principal::Key { role: Role::Invoke, .. } => {
            return Err(Error::new(
                ErrorKind::Forbidden,
                "XB5004",
                "this key may call functions, not manage them",
            )
            .with_hint("use a key of the role manage or admin"));
        }
        _ => {}
    }
    Ok(principal)
}

/// Who calls. A credential that is none of ours is the function's own business: many clients send one along.
fn caller(shared: &Shared, state: &ConnectionState, parts: &Parts, door: &dyn Door) -> Principal {
    if shared.is_open(state) {
        return if shared.guard.allows(parts, state.local) { Principal::Local } else { Principal::Anonymous };
    }
    match door.credential(parts) {
        Credential::None => Principal::Anonymous,
        credential => shared.keys.authenticate(&credential, false).unwrap_or(Principal::Anonymous),
    }
}

/// 403 with a sentence.
pub(crate) fn forbidden(error: &Error) -> Response<Body> {
    json(StatusCode::FORBIDDEN, sentence(error.code, &error.message, error.hint.as_deref()))
}

//! `/api/v1/…`: management, and the way to everything else.

pub(crate) mod actions;
pub(crate) mod body;
mod docs;
pub(crate) mod info;
mod limits;
mod list;
pub(crate) mod packages;
pub(crate) mod query;
pub(crate) mod rules;
pub(crate) mod triggers;

use crate::{
    Shared, activations,
    caller::Caller,
    errors::{self, Rejection},
    fire, invoke,
    wire::name::{FullName, MAX_NAME, is_name},
};
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, header, request::Parts as Head,
};
use percent_encoding::percent_decode_str;
use query::Query;
use std::sync::Arc;
use xebec_core::{Body, Error, Tenant};

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// What the server itself begins its transactions' ids with: nobody else may.
const SYSTEM_TRANSACTION: &str = "sid_";

/// The longest transaction id that is taken over.
const MAX_TRANSACTION: usize = 256;

/// A call of management, with what all of them need to know.
pub(crate) struct Call {
    pub(crate) head: Head,
    pub(crate) query: Query,
    pub(crate) caller: Caller,
    /// The transaction's id.
    pub(crate) transaction: String,
}

/// Answers what comes under `/api/v1`, web actions aside.
pub(crate) async fn handle(shared: &Arc<Shared>, request: Request<Body>) -> Response<Body> {
    let transaction = transaction_of(request.headers());
    let (head, body) = request.into_parts();
    let mut response = if head.method == Method::OPTIONS {
        errors::empty(StatusCode::OK)
    } else {
        let answer = route(shared, head, body, &transaction).await;
        answer.unwrap_or_else(|rejection| rejection.answer(&transaction))
    };
    allow_pages(response.headers_mut());
    tell_transaction(response.headers_mut(), &transaction);
    response
}

/// Answers what administrators and load balancers ask.
pub(crate) fn admin(request: Request<Body>) -> Response<Body> {
    let transaction = transaction_of(request.headers());
    let (head, _) = request.into_parts();
    let mut response = if head.method == Method::OPTIONS {
        errors::empty(StatusCode::OK)
    } else {
        info::admin(&head).unwrap_or_else(|rejection| rejection.answer(&transaction))
    };
    allow_pages(response.headers_mut());
    tell_transaction(response.headers_mut(), &transaction);
    response
}

/// The answer to who may not do what they want, where the gateway found that out.
pub(crate) fn refused(error: &Error) -> Response<Body> {
    let transaction = new_transaction();
    let rejection = match error.code {
        "XB5001" => Rejection::unauthorized(),
        _ => Rejection::from(error.clone()),
    };
    let mut response = rejection.answer(&transaction);
    allow_pages(response.headers_mut());
    tell_transaction(response.headers_mut(), &transaction);
    response
}

/// The id of the transaction that a request belongs to: its own, or a new one.
pub(crate) fn transaction_of(headers: &HeaderMap) -> String {
    let given = headers.get(REQUEST_ID).and_then(|id| id.to_str().ok());
    let usable =
        |id: &&str| !id.is_empty() && id.len() <= MAX_TRANSACTION && !id.starts_with(SYSTEM_TRANSACTION);
    given.filter(usable).map_or_else(new_transaction, str::to_owned)
}

fn new_transaction() -> String {
    uuid::Uuid::new_v4().simple().to_string()
}

/// Tells the client which transaction it was.
pub(crate) fn tell_transaction(headers: &mut HeaderMap, transaction: &str) {
    if let Ok(id) = HeaderValue::try_from(transaction) {
        headers.insert(REQUEST_ID, id);
    }
}

/// Lets pages of any origin use the API, with credentials that they send themselves.
fn allow_pages(headers: &mut HeaderMap) {
    for (name, value) in [
        (header::ACCESS_CONTROL_ALLOW_ORIGIN, "*"),
        (
            header::ACCESS_CONTROL_ALLOW_HEADERS,
            "Authorization, Origin, X-Requested-With, Content-Type, Accept, User-Agent",
        ),
        (header::ACCESS_CONTROL_ALLOW_METHODS, "GET, DELETE, POST, PUT, HEAD"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
}

async fn route(
    shared: &Arc<Shared>,
    head: Head,
    body: Body,
    transaction: &str,
) -> Result<Response<Body>, Rejection> {
    let segments = segments(head.uri.path())?;
    let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
    // `actions/` lists as `actions` does; `actions/package/` lists a package, and is no action's name.
    let (segments, slash) = match segments.split_last() {
        Some((&"", before)) => (before, true),
        _ => (&segments[..], false),
    };
    if let Some(answer) = info::open(shared, &head, segments) {
        return answer;
    }
    let caller = Caller::of(&head)?;
    let query = Query::of(&head.uri)?;
    let call = Call { head, query, caller, transaction: transaction.to_owned() };
    match segments {
        ["namespaces"] => info::namespaces(&call),
        ["namespaces", namespace, rest @ ..] => {
            let namespace = call.caller.namespace_of(namespace)?;
            collection(shared, &call, namespace, rest, slash, body).await
        }
        _ => Err(Rejection::no_such_route()),
    }
}

async fn collection(
    shared: &Arc<Shared>,
    call: &Call,
    namespace: Tenant,
    rest: &[&str],
    slash: bool,
    body: Body,
) -> Result<Response<Body>, Rejection> {
    for name in rest.iter().skip(1) {
        check_name(name)?;
    }
    // `HEAD` is `GET` whose body nobody sends.
    let method = match &call.head.method {
        &Method::HEAD => &Method::GET,
        method => method,
    };
    match (rest, slash) {
        (["actions"], _) => match *method {
            Method::GET => actions::list(shared, call, &namespace),
            _ => Err(Rejection::no_such_method("GET")),
        },
        (["actions", package], true) => match *method {
            Method::GET => actions::list_package(shared, call, &namespace, package),
            _ => Err(Rejection::no_such_method("GET")),
        },
        (["actions", name], false) => {
            action(shared, call, FullName::new(&namespace, name), method, body).await
        }
        (["actions", package, name], false) => {
            action(shared, call, FullName::packaged(&namespace, package, name), method, body).await
        }
        (["packages"], _) => match *method {
            Method::GET => packages::list(shared, call, &namespace),
            _ => Err(Rejection::no_such_method("GET")),
        },
        (["packages", name], false) => {
            let name = FullName::new(&namespace, name);
            match *method {
                Method::GET => packages::get(shared, call, &name),
                Method::PUT => packages::put(shared, call, name, body).await,
                Method::DELETE => packages::delete(shared, call, name).await,
                _ => Err(Rejection::no_such_method("GET, PUT, DELETE")),
            }
        }
        (["triggers"], _) => match *method {
            Method::GET => triggers::list(shared, call, &namespace),
            _ => Err(Rejection::no_such_method("GET")),
        },
        (["triggers", name], false) => {
            let name = FullName::new(&namespace, name);
            match *method {
                Method::GET => triggers::get(shared, call, &name),
                Method::PUT => triggers::put(shared, call, name, body).await,
                Method::DELETE => triggers::delete(shared, call, name).await,
                Method::POST => fire::trigger(shared, call, name, body).await,
                _ => Err(Rejection::no_such_method("GET, PUT, DELETE, POST")),
            }
        }
        (["rules"], _) => match *method {
            Method::GET => rules::list(shared, call, &namespace),
            _ => Err(Rejection::no_such_method("GET")),
        },
        (["rules", name], false) => {
            let name = FullName::new(&namespace, name);
            match *method {
                Method::GET => rules::get(shared, call, &name),
                Method::PUT => rules::put(shared, call, name, body).await,
                Method::DELETE => rules::delete(shared, call, name).await,
                Method::POST => rules::set_status(shared, call, name, body).await,
                _ => Err(Rejection::no_such_method("GET, PUT, DELETE, POST")),
            }
        }
        (["activations", rest @ ..], _) => activations::handle(shared, call, &namespace, rest).await,
        (["limits"], _) => limits::handle(shared, call, &namespace, body).await,
        _ => Err(Rejection::no_such_route()),
    }
}

async fn action(
    shared: &Arc<Shared>,
    call: &Call,
    name: FullName,
    method: &Method,
    body: Body,
) -> Result<Response<Body>, Rejection> {
    match *method {
        Method::POST => invoke::action(shared, call, name, body).await,
        Method::GET => actions::get(shared, call, &name).await,
        Method::PUT => actions::put(shared, call, name, body).await,
        Method::DELETE => actions::delete(shared, call, name).await,
        _ => Err(Rejection::no_such_method("GET, PUT, DELETE, POST")),
    }
}

/// A name as a path gives it.
fn check_name(name: &str) -> Result<(), Rejection> {
    if is_name(name) {
        return Ok(());
    }
    let length = name.chars().count();
    Err(Rejection::bad_request(if length > MAX_NAME {
        format!("Name segement longer than allowed: {length} > {MAX_NAME}.")
    } else {
        "The name of the entity contains illegal characters.".to_owned()
    }))
}

/// The segments of a path after `/api/v1/`.
fn segments(path: &str) -> Result<Vec<String>, Rejection> {
    let rest = path.strip_prefix(crate::API_ROOT).unwrap_or_default();
    let rest = rest.strip_prefix('/').unwrap_or(rest);
    let decoded = rest.split('/').map(|segment| percent_decode_str(segment).decode_utf8());
    let segments = decoded.map(|segment| segment.map(std::borrow::Cow::into_owned)).collect();
    let segments: Result<Vec<String>, _> = segments;
    segments.map_err(|_| Rejection::bad_request("The path is not UTF-8."))
}

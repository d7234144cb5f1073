//! What actions that are part of the server are told, and how they answer.

use http::{HeaderValue, Request, Response, header};
use serde_json::{Map, Value, json};
use xebec_core::{Body, Error, Outcome, invocation::Called, names::Tenant, record::Remarks};

/// The most that a call is given, in bytes; the door refuses more before it comes here.
const MOST: u64 = 8 * 1024 * 1024;

/// What an action says: its result, or why it failed.
pub(super) type Said = Result<Value, Value>;

/// Why an action failed, in words.
pub(super) fn fault(text: impl Into<String>) -> Value {
    Value::String(text.into())
}

/// What a call is told; nothing is `{}`.
///
/// # Errors
/// Where it is no JSON, or cannot be read.
pub(super) async fn told(request: Request<Body>) -> Result<Value, Error> {
    let bytes = request.into_body().collect(MOST).await;
    let bytes = bytes.map_err(|error| Error::invalid("XB1008", error.to_string()))?;
    if bytes.is_empty() {
        return Ok(json!({}));
    }
    serde_json::from_slice(&bytes).map_err(|error| Error::invalid("XB1008", error.to_string()))
}

/// What a call is told, as an object.
///
/// # Errors
/// As [`told`].
pub(super) async fn arguments(request: Request<Body>) -> Result<Map<String, Value>, Error> {
    Ok(match told(request).await? {
        Value::Object(object) => object,
        _ => Map::new(),
    })
}

/// The answer; what failed is the application's error.
pub(super) fn answer(said: Said) -> Response<Body> {
    let (result, outcome) = match said {
        Ok(result) => {
            let failed = result.get("error").is_some();
            (result, failed.then_some(Outcome::ApplicationError))
        }
        Err(error) => (json!({ "error": error }), Some(Outcome::ApplicationError)),
    };
    let mut response = Response::new(Body::full(result.to_string()));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if outcome.is_some() {
        response.extensions_mut().insert(Remarks { outcome, details: Value::Null });
    }
    response
}

/// The namespace on whose behalf a call is made.
pub(super) fn namespace(called: &Called) -> Tenant {
    let filed = called.note.as_ref().and_then(|note| note.filed.as_ref());
    filed.map_or_else(|| called.function.tenant.clone(), |filed| filed.tenant.clone())
}

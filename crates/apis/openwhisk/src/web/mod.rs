//! Web actions: actions that answer HTTP themselves, called by anyone, on behalf of those whose they are.

mod input;
mod media;
mod output;
mod target;

pub(crate) use input::{Unfit as UnfitRequest, headers};
pub(crate) use output::Unfit as UnfitResult;

use crate::{
    Shared,
    caller::Caller,
    entities::{Resolved, Right},
    errors::{self, Rejection},
    invoke::{Context, Waited, read, tell_activation, wait_for},
    outcome::{Code, Ending},
    routes::{tell_transaction, transaction_of},
    wire::{
        name::{FullName, is_name},
        parameters::Parameters,
    },
};
use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, header, request::Parts as Head,
};
use serde_json::Value;
use std::{borrow::Cow, sync::Arc};
use target::Target;
use xebec_core::{Body, Tenant, auth::Credential, ports::door::credential_of};

/// The annotation of actions that are web actions.
const WEB_EXPORT: &str = "web-export";
/// The annotation of those that get query and body as they were sent.
const RAW_HTTP: &str = "raw-http";
/// The annotation of those that answer pages of other origins themselves.
const CUSTOM_OPTIONS: &str = "web-custom-options";
/// The annotation of those that not everyone may call.
const REQUIRE_AUTH: &str = "require-whisk-auth";

/// Where callers say what such an action asks for.
const REQUIRED_AUTH: HeaderName = HeaderName::from_static("x-require-whisk-auth");

const METHODS: [Method; 7] =
    [Method::OPTIONS, Method::GET, Method::DELETE, Method::POST, Method::PUT, Method::HEAD, Method::PATCH];

const ALLOWED_METHODS: &str = "OPTIONS, GET, DELETE, POST, PUT, HEAD, PATCH";
const ALLOWED_HEADERS: HeaderValue =
    HeaderValue::from_static("Authorization, Origin, X-Requested-With, Content-Type, Accept, User-Agent");

/// `/api/v1/web/…`.
pub(crate) async fn handle(shared: &Arc<Shared>, request: Request<Body>) -> Response<Body> {
    let transaction = transaction_of(request.headers());
    let (head, body) = request.into_parts();
    let answered = answer(shared, &head, body, &transaction).await;
    let mut response = answered.unwrap_or_else(|rejection| rejection.answer(&transaction));
    tell_transaction(response.headers_mut(), &transaction);
    response
}

async fn answer(
    shared: &Arc<Shared>,
    head: &Head,
    body: Body,
    transaction: &str,
) -> Result<Response<Body>, Rejection> {
    if !METHODS.contains(&head.method) {
        return Err(Rejection::no_such_method(ALLOWED_METHODS));
    }
    let target = Target::of(head.uri.path()).ok_or_else(Rejection::not_found)?;
    let owner = Caller::owner(&Tenant::new(&target.namespace));
    let action = find(shared, &owner, &target)?;
    let answers_pages = is_true(&action.action.annotations, CUSTOM_OPTIONS);
    if !answers_pages && head.method == Method::OPTIONS {
        let mut response = errors::empty(StatusCode::OK);
        allow_pages(response.headers_mut(), &head.headers);
        return Ok(response);
    }
    let web = Web { shared, head, target: &target, owner: &owner, action: &action, transaction };
    let answered = web.call(body).await;
    let mut response = answered.unwrap_or_else(|rejection| rejection.answer(transaction));
    if !answers_pages {
        allow_pages(response.headers_mut(), &head.headers);
    }
    Ok(response)
}

/// The web action that a path names. What is none is not there.
fn find(shared: &Arc<Shared>, owner: &Caller, target: &Target) -> Result<Arc<Resolved>, Rejection> {
    let names = [Some(&target.namespace), target.package.as_ref(), Some(&target.action)];
    if !names.into_iter().flatten().all(|name| is_name(name)) {
        return Err(Rejection::not_found());
    }
    let name = FullName::of_local(&owner.namespace, &target.name());
    let found = shared.entities.resolve(owner, &name, Right::Call).map_err(|_| Rejection::not_found())?;
    if is_true(&found.action.annotations, WEB_EXPORT) { Ok(found) } else { Err(Rejection::not_found()) }
}

fn is_true(annotations: &Parameters, key: &str) -> bool {
    annotations.get(key) == Some(&Value::Bool(true))
}

/// A request of a web action.
struct Web<'a> {
    shared: &'a Arc<Shared>,
    head: &'a Head,
    target: &'a Target,
    owner: &'a Caller,
    action: &'a Arc<Resolved>,
    transaction: &'a str,
}

impl Web<'_> {
    async fn call(&self, body: Body) -> Result<Response<Body>, Rejection> {
        let limits = self.shared.limits(&self.owner.namespace);
        let body = read(&self.head.headers, body, limits.payload_bytes()).await?;
        let user = user(self.head);
        // So that an action that answers pages itself hears what they ask.
        let asks = self.head.method == Method::OPTIONS;
        if !asks && !may_call(&self.action.action.annotations, &self.head.headers, user.is_some()) {
            return Err(Rejection::unauthorized());
        }
        let arguments = self.arguments(&body, user.as_ref())?;
        let context = Context {
            caller: self.owner,
            transaction: self.transaction,
            part: false,
            keep: limits.stores_activations().then(|| limits.result_bytes()),
        };
        let ready = self.action.calls.ready(&context, arguments);
        let in_flight = self.shared.throttle.invocation(&self.owner.namespace, &limits)?;
        let (id, answered) = match wait_for(self.shared, ready, in_flight, self.shared.options.wait).await? {
            Waited::Later(id) => (id, Err(Rejection::not_ready())),
            Waited::Ended(activation) => (activation.id, self.turned(&activation.ending)),
        };
        let mut response = answered.unwrap_or_else(|rejection| rejection.answer(self.transaction));
        tell_activation(response.headers_mut(), &id);
        Ok(response)
    }

    fn arguments(&self, body: &Bytes, user: Option<&Caller>) -> Result<Bytes, Rejection> {
        let defaults = &self.action.calls.defaults;
        let request = input::Request {
            method: &self.head.method,
            headers: &self.shown_headers(user),
            path: &self.target.path,
            query: self.head.uri.query().unwrap_or_default(),
            body,
            user: user.map(|user| user.namespace.as_str()),
        };
        let raw = is_true(&self.action.action.annotations, RAW_HTTP);
        let arguments = input::arguments(&request, raw, |name| defaults.locks(name))?;
        Ok(defaults.merged(&Value::Object(arguments).to_string().into())?)
    }

    /// The headers that the action sees. With a key of this server, an action of others could do what its caller
    /// may.
    fn shown_headers(&self, user: Option<&Caller>) -> Cow<'_, HeaderMap> {
        match user {
            Some(user) if user.namespace != self.owner.namespace => {
                let mut headers = self.head.headers.clone();
                headers.remove(header::AUTHORIZATION);
                Cow::Owned(headers)
            }
            _ => Cow::Borrowed(&self.head.headers),
        }
    }

    /// What the call's end is answered as.
    fn turned(&self, ending: &Ending) -> Result<Response<Body>, Rejection> {
        let mut result: Value =
            serde_json::from_slice(&ending.result).map_err(|_| Rejection::not_processed())?;
        let result = match ending.code() {
            Code::Success => result,
            // What an action says of its failure is answered as its success would be.
            Code::ApplicationError => match &mut result {
                Value::Object(fields) => fields.remove("error").ok_or_else(Rejection::no_property)?,
                _ => return Err(Rejection::no_property()),
            },
            Code::DeveloperError | Code::WhiskError => return Err(Rejection::not_processed()),
        };
        Ok(output::answer(result, self.target.extension)?)
    }
}

/// Whoever sent good credentials, whether they were asked for or not.
fn user(head: &Head) -> Option<Caller> {
    match credential_of(head) {
        Credential::None => None,
        _ => Caller::of(head).ok(),
    }
}

/// Whether an action lets a request through: it may ask for a user of the server, or for a word of its own.
fn may_call(annotations: &Parameters, headers: &HeaderMap, is_user: bool) -> bool {
    let says =
        |word: &str| headers.get(&REQUIRED_AUTH).is_some_and(|said| same(said.as_bytes(), word.as_bytes()));
    match annotations.get(REQUIRE_AUTH) {
        None | Some(Value::Bool(false)) => true,
        Some(Value::Bool(true)) => is_user,
        Some(Value::String(word)) => says(word),
        Some(Value::Number(number)) => says(&number.to_string()),
        Some(Value::Null | Value::Array(_) | Value::Object(_)) => false,
    }
}

/// Whether two words are the same, in a time that does not tell where they differ.
fn same(one: &[u8], other: &[u8]) -> bool {
    one.len() == other.len() && one.iter().zip(other).fold(0, |differs, (a, b)| differs | (a ^ b)) == 0
}

/// Lets pages of all origins read the answer, unless the action itself says who may.
fn allow_pages(headers: &mut HeaderMap, asked: &HeaderMap) {
    let wanted = asked.get(header::ACCESS_CONTROL_REQUEST_HEADERS).cloned().unwrap_or(ALLOWED_HEADERS);
    for (name, value) in [
        (header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*")),
        (header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static(ALLOWED_METHODS)),
        (header::ACCESS_CONTROL_ALLOW_HEADERS, wanted),
    ] {
        headers.entry(name).or_insert(value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::parameters::Parameter;
    use serde_json::json;

    #[test]
    fn actions_may_ask_who_calls() {
        let asks = |required: Option<Value>, word: Option<&'static str>, is_user| {
            let mut annotations = Parameters::default();
            if let Some(required) = required {
                annotations.set(Parameter::new(REQUIRE_AUTH, required));
            }
            let mut headers = HeaderMap::new();
            if let Some(word) = word {
                headers.insert(REQUIRED_AUTH, HeaderValue::from_static(word));
            }
            may_call(&annotations, &headers, is_user)
        };
        assert!(asks(None, None, false) && asks(Some(json!(false)), None, false));
        assert!(asks(Some(json!(true)), None, true) && !asks(Some(json!(true)), Some("true"), false));
        assert!(
            asks(Some(json!("word")), Some("word"), false) && !asks(Some(json!("word")), Some("Word"), true)
        );
        assert!(asks(Some(json!(1234567890123_u64)), Some("1234567890123"), false));
        assert!(
            !asks(Some(json!(1)), None, true)
                && !asks(Some(json!(null)), None, true)
                && !asks(Some(json!({})), Some("{}"), true)
        );
    }

    #[test]
    fn pages_of_other_origins_may_read_answers() {
        let mut asked = HeaderMap::new();
        asked.insert(header::ACCESS_CONTROL_REQUEST_HEADERS, HeaderValue::from_static("x-mine"));
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("https://a.example"));
        allow_pages(&mut headers, &asked);
        assert_eq!(
            headers[header::ACCESS_CONTROL_ALLOW_ORIGIN],
            "https://a.example",
            "the action's own word"
        );
        assert_eq!(headers[header::ACCESS_CONTROL_ALLOW_HEADERS], "x-mine");
        assert_eq!(headers[header::ACCESS_CONTROL_ALLOW_METHODS], ALLOWED_METHODS);
        assert_eq!(headers.len(), 3);
    }
}

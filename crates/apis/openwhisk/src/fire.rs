//! Triggers, when they are fired: each is a function, and what it does is call the actions of its rules.

use crate::{
    Shared,
    activations::{details::Details, shape::activation_id},
    caller::Caller,
    entities::Right,
    errors::{self, Rejection},
    invoke::{Context, accepted, on_behalf, read, submission},
    payload::{Defaults, Malformed, Shape, fields, shape},
    routes::Call,
    web,
    wire::{
        name::FullName,
        rule::{Rule, Status},
        trigger::Trigger,
    },
};
use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri, header};
use serde_json::{Value, json};
use std::sync::{Arc, Weak};
use xebec_core::{
    Body, Error, ErrorKind, Invocation, InvocationId, InvokeError,
    invocation::Called,
    message::Submission,
    ports::builtin::Builtin,
    record::{Filed, Note, Remarks},
};
use xebec_flows::FanOut;

/// What the actions that a trigger calls are told of the request that fired it.
const HEADERS: &str = "__ow_headers";

/// The longest payload of a trigger that fires by itself.
const LONGEST: u64 = 16 * 1024 * 1024;

/// `POST …/triggers/name`.
pub(crate) async fn trigger(
    shared: &Arc<Shared>,
    call: &Call,
    name: FullName,
    body: Body,
) -> Result<Response<Body>, Rejection> {
    let caller = &call.caller;
    if !caller.owns(&name.namespace) {
        return Err(Rejection::forbidden(name));
    }
    let limits = shared.limits(&caller.namespace);
    let payload = read(&call.head.headers, body, limits.payload_bytes()).await?;
    let mut shown = call.head.headers.clone();
    // What actions of others' could do with it is nothing that a trigger needs.
    shown.remove(header::AUTHORIZATION);
    let event = Event { caller, transaction: &call.transaction, headers: Some(&shown) };
    match fire(shared, &event, &name, payload).await? {
        Some(id) => Ok(accepted(&id)),
        None => Ok(errors::empty(StatusCode::NO_CONTENT)),
    }
}

/// What fires a trigger.
pub(crate) struct Event<'a> {
    /// On whose behalf.
    pub(crate) caller: &'a Caller,
    /// The transaction's id.
    pub(crate) transaction: &'a str,
    /// The request's, where there was one.
    pub(crate) headers: Option<&'a HeaderMap>,
}

/// Fires a trigger, and answers when the calls of its rules are on disk or refused. `None`: none of its rules is
/// active, and nothing is kept of it.
///
/// # Errors
/// Where it was not fired.
pub(crate) async fn fire(
    shared: &Arc<Shared>,
    event: &Event<'_>,
    name: &FullName,
    payload: Bytes,
) -> Result<Option<InvocationId>, Rejection> {
    let trigger = shared.entities.named::<Trigger>(&name.namespace, &name.name)?;
    let payload = match shape(&payload)? {
        Shape::Object => payload,
        Shape::Empty => Bytes::from_static(b"{}"),
        Shape::Array => return Err(Malformed("JSON object expected".to_owned()).into()),
    };
    let namespace = &event.caller.namespace;
    let limits = shared.limits(namespace);
    shared.throttle.fire(namespace, &limits)?;
    if shared.entities.rules_of(&trigger).iter().all(|rule| rule.status == Status::Inactive) {
        return Ok(None);
    }
    let keep = limits.stores_activations().then(|| limits.result_bytes());
    let invocation = invocation(event, &trigger, payload, keep);
    let (id, invoker) = (invocation.id, shared.invoker.clone());
    // It goes on whether its caller is still there or not.
    let fired = tokio::spawn(async move {
        let answer = invoker.invoke(invocation).await?;
        let _ = answer.response.into_body().collect(LONGEST).await;
        Ok::<_, Box<InvokeError>>(())
    });
    match fired.await {
        Ok(Ok(())) => Ok(Some(id)),
        Ok(Err(error)) => Err(Rejection::of_call(&error).unwrap_or_else(Rejection::internal)),
        Err(_) => Err(Rejection::internal()),
    }
}

fn invocation(event: &Event<'_>, trigger: &Trigger, payload: Bytes, keep: Option<u64>) -> Invocation {
    let name = trigger.full_name();
    let function = name.function();
    let details = Details {
        subject: event.caller.subject().into(),
        path: name.to_string().into(),
        version: trigger.version.to_string().into(),
        fired: Some(Vec::new()),
        ..Details::default()
    };
    let filed = Filed { tenant: event.caller.namespace.clone(), name: trigger.name.clone() };
    let mut request = Request::new(Body::full(payload));
    *request.method_mut() = Method::POST;
    *request.uri_mut() = Uri::from_static("/");
    request.extensions_mut().insert(Firing {
        caller: event.caller.clone(),
        transaction: event.transaction.to_owned(),
        headers: event.headers.map_or_else(|| json!({}), web::headers),
    });
    let mut invocation = Invocation::new(function.clone(), on_behalf(event.caller, &function), request);
    invocation.note = Some(Arc::new(Note {
        filed: keep.map(|_| filed),
        cause: None,
        // It is made of plain fields, so there is nothing that could fail.
        details: serde_json::to_value(details).unwrap_or_default(),
        answer_bytes: keep.unwrap_or_default(),
    }));
    invocation
}

/// What a trigger is told of what fired it, beside the payload.
#[derive(Clone)]
struct Firing {
    caller: Caller,
    transaction: String,
    headers: Value,
}

/// The part of the server that triggers are. Called by the door it does what the trigger's rules say, and answers
/// with the payload. Called by anything else, a schedule or a message, it has the door fire the trigger.
pub(crate) struct Triggers(pub(crate) Weak<Shared>);

#[async_trait]
impl Builtin for Triggers {
    fn check(&self, _settings: &Value) -> Result<(), Error> {
        Ok(())
    }

    async fn call(
        &self,
        called: Called,
        _settings: &Value,
        mut request: Request<Body>,
    ) -> Result<Response<Body>, Error> {
        let Some(shared) = self.0.upgrade() else {
            return Err(Error::new(ErrorKind::Unavailable, "XB2010", "the server is stopping"));
        };
        let name = FullName::of_function(&called.function);
        let firing = request.extensions_mut().remove::<Firing>();
        let payload = request.into_body().collect(LONGEST).await;
        let payload = payload.map_err(|error| Error::invalid("XB1007", error.to_string()))?;
        match firing {
            Some(firing) => activate(&shared, &firing, &name, payload).await,
            None => by_itself(&shared, &name, payload).await,
        }
    }
}

async fn by_itself(shared: &Arc<Shared>, name: &FullName, payload: Bytes) -> Result<Response<Body>, Error> {
    let owner = Caller::owner(&name.namespace);
    let event = Event { caller: &owner, transaction: "", headers: None };
    let fired = fire(shared, &event, name, payload).await;
    let id = fired.map_err(|rejection| {
        Error::new(
            ErrorKind::Unavailable,
            "XB2120",
            format!("the trigger was not fired: {}", rejection.message),
        )
    })?;
    Ok(match id {
        Some(id) => errors::json(StatusCode::OK, &json!({ "activationId": activation_id(&id) })),
        None => errors::empty(StatusCode::NO_CONTENT),
    })
}

async fn activate(
    shared: &Arc<Shared>,
    firing: &Firing,
    name: &FullName,
    payload: Bytes,
) -> Result<Response<Body>, Error> {
    let gone = || Error::not_found("XB2002", format!("there is no trigger {name}"));
    let trigger = shared.entities.one::<Trigger>(&name.namespace, &name.name).ok_or_else(gone)?;
    let arguments = arguments(&trigger, &firing.headers, &payload)
        .map_err(|Malformed(fault)| Error::invalid("XB1008", fault))?;
    let rules = shared.entities.rules_of(&trigger);
    let mut submissions = Vec::new();
    let planned: Vec<_> = rules
        .iter()
        .map(|rule| plan(shared, firing, rule, &arguments).map(|submission| submissions.push(submission)))
        .collect();
    let sent = FanOut::new(shared.deliveries.clone()).submit(submissions).await;
    let mut sent = sent.into_iter();
    let entries: Vec<String> = rules
        .iter()
        .zip(planned)
        .map(|(rule, planned)| {
            let outcome = planned.and_then(|()| match sent.next().map(|sent| (sent.id, sent.outcome)) {
                Some((_, Ok(receipt))) => Ok(receipt.id),
                Some((_, Err(error))) => Err(Rejection::of_submission(&error)),
                None => Err(Rejection::internal()),
            });
            entry(rule, outcome)
        })
        .collect();
    let mut response = Response::new(Body::full(payload));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response.extensions_mut().insert(Remarks { outcome: None, details: json!({ "fired": entries }) });
    Ok(response)
}

/// What the actions are called with: the payload over the request's headers, and that over the trigger's own
/// parameters.
fn arguments(trigger: &Trigger, headers: &Value, payload: &Bytes) -> Result<Bytes, Malformed> {
    let own = trigger.parameters.iter().map(|parameter| (parameter.key.as_str(), &parameter.value, true));
    let has_headers = headers.as_object().is_some_and(|headers| !headers.is_empty());
    let headers = has_headers.then_some((HEADERS, headers, true));
    fields(payload)?;
    Defaults::of(own.chain(headers), false).merged(payload)
}

/// The call of a rule's action, or why there is none.
fn plan(
    shared: &Arc<Shared>,
    firing: &Firing,
    rule: &Rule,
    arguments: &Bytes,
) -> Result<Submission, Rejection> {
    if rule.status == Status::Inactive {
        let (rule, action) = (rule.full_name(), &rule.action);
        return Err(Rejection::bad_request(format!(
            "Rule '{rule}' is inactive, action '{action}' was not activated."
        )));
    }
    let caller = &firing.caller;
    let resolved = shared.entities.resolve(caller, &rule.action, Right::Call)?;
    let limits = shared.limits(&caller.namespace);
    let arguments = resolved.calls.defaults.under(arguments)?;
    let context = Context {
        caller,
        transaction: &firing.transaction,
        part: false,
        keep: limits.stores_activations().then(|| limits.result_bytes()),
    };
    shared.throttle.submission(&caller.namespace, &limits)?;
    Ok(submission(resolved.calls.ready(&context, arguments)))
}

/// What the trigger's record says of a rule.
fn entry(rule: &Rule, outcome: Result<InvocationId, Rejection>) -> String {
    let mut entry = json!({
        "rule": rule.full_name().to_string(),
        "action": rule.action.to_string(),
        "success": outcome.is_ok(),
    });
    match outcome {
        Ok(id) => {
            entry["statusCode"] = 0.into();
            entry["activationId"] = activation_id(&id).into();
        }
        Err(rejection) => {
            // What is our fault counts as ours.
            entry["statusCode"] = if rejection.status.is_server_error() { 3 } else { 1 }.into();
            entry["error"] = rejection.message.into();
        }
    }
    entry.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{parameters::Parameter, version::SemVer};
    use xebec_core::Tenant;

    fn rule() -> Rule {
        let ns = Tenant::new("ns");
        Rule {
            namespace: ns.clone(),
            name: "r".into(),
            trigger: FullName::new(&ns, "t"),
            action: FullName::packaged(&ns, "pkg", "a"),
            version: SemVer::default(),
            publish: false,
            annotations: Default::default(),
            updated: 0,
            status: Status::Active,
            attached: uuid::Uuid::nil(),
        }
    }

    #[test]
    fn entries_tell_what_came_of_rules() {
        let read = |entry: String| serde_json::from_str::<Value>(&entry).unwrap();
        let id: InvocationId = "01970000-0000-7000-8000-00000000abcd".parse().unwrap();
        assert_eq!(
            read(entry(&rule(), Ok(id))),
            json!({"rule": "ns/r", "action": "ns/pkg/a", "statusCode": 0, "success": true, "activationId": "0197000000007000800000000000abcd"})
        );
        assert_eq!(
            read(entry(&rule(), Err(Rejection::not_found()))),
            json!({"rule": "ns/r", "action": "ns/pkg/a", "statusCode": 1, "success": false, "error": "The requested resource does not exist."})
        );
        assert_eq!(read(entry(&rule(), Err(Rejection::internal())))["statusCode"], 3);
    }

    #[test]
    fn the_payload_lies_over_all() {
        let mut trigger = Trigger {
            namespace: Tenant::new("ns"),
            name: "t".into(),
            parameters: Default::default(),
            version: SemVer::default(),
            publish: false,
            annotations: Default::default(),
            updated: 0,
            id: uuid::Uuid::nil(),
        };
        trigger.parameters.set(Parameter::new("a", 1));
        trigger.parameters.set(Parameter::new("b", 1));
        let called = |headers: Value, payload: &'static str| -> Value {
            let bytes = arguments(&trigger, &headers, &Bytes::from_static(payload.as_bytes())).unwrap();
            serde_json::from_slice(&bytes).unwrap()
        };
        assert_eq!(called(json!({}), r#"{"b": 2}"#), json!({"a": 1, "b": 2}));
        assert_eq!(
            called(json!({"host": "h"}), "{}"),
            json!({"a": 1, "b": 1, "__ow_headers": {"host": "h"}})
        );
    }
}

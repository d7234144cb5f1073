//! What all calls of an action have in common, worked out once: a call adds who makes it and what with.

use crate::{
    activations::details::Details,
    caller::Caller,
    payload::Defaults,
    translate::{conductors_code, is_conductor},
    wire::{action::Action, name::FullName, parameters::Parameters},
};
use bytes::Bytes;
use compact_str::{CompactString, ToCompactString as _};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri, header};
use serde_json::Value;
use std::sync::Arc;
use xebec_core::{
    Body, FunctionKey, Tenant,
    auth::{Principal, Role},
    record::{Filed, Note},
};

/// The annotation of actions whose parameters calls may not override.
const FINAL: &str = "final";
/// The annotation of actions that are told by which key they were called.
const PROVIDE_API_KEY: &str = "provide-api-key";

const NAMESPACE: HeaderName = HeaderName::from_static("x-xebec-run-namespace");
const ACTION_NAME: HeaderName = HeaderName::from_static("x-xebec-run-action-name");
const ACTION_VERSION: HeaderName = HeaderName::from_static("x-xebec-run-action-version");
const TRANSACTION_ID: HeaderName = HeaderName::from_static("x-xebec-run-transaction-id");
const API_KEY: HeaderName = HeaderName::from_static("x-xebec-run-api-key");

const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// Of an answer so much is kept at most, as a multiple of what a result may be: text that is quoted in JSON is
/// longer than it was.
const QUOTED: u64 = 6;

/// What an action is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Made {
    /// Code.
    Code,
    /// Other actions, one after the other.
    Sequence,
    /// What its code asks for.
    Conductor,
}

/// What all calls of an action have in common.
#[derive(Debug)]
pub(crate) struct Calls {
    /// What its parameters are laid under.
    pub(crate) defaults: Defaults,
    pub(crate) made: Made,
    name: FullName,
    /// Where its calls are filed.
    filed: CompactString,
    details: Details,
    action_name: HeaderValue,
    version: HeaderValue,
    provides_key: bool,
}

/// On whose behalf a call is made, and as part of what.
pub(crate) struct Context<'a> {
    pub(crate) caller: &'a Caller,
    /// The transaction's id.
    pub(crate) transaction: &'a str,
    /// It is part of a sequence or of what a conductor does.
    pub(crate) part: bool,
    /// The most that is kept of its result, in bytes; `None`: it is not recorded.
    pub(crate) keep: Option<u64>,
}

/// A call that is ready to be made.
pub(crate) struct Ready {
    /// On whose behalf.
    pub(crate) namespace: Tenant,
    pub(crate) function: FunctionKey,
    pub(crate) principal: Principal,
    pub(crate) request: Request<Body>,
    /// What is known of it, which its note has as JSON.
    pub(crate) details: Details,
    pub(crate) note: Note,
}

impl Calls {
    /// Of an action under the name that it is called by, with all that it is bound to.
    pub(crate) fn of(
        name: &FullName,
        action: &Action,
        parameters: &Parameters,
        binding: Option<&CompactString>,
    ) -> Self {
        let is_final = action.annotations.get(FINAL) == Some(&Value::Bool(true));
        let made = match action.exec.components() {
            Some(_) => Made::Sequence,
            None if is_conductor(action) => Made::Conductor,
            None => Made::Code,
        };
        let arguments = parameters.iter().filter(|parameter| !parameter.init || is_final);
        let whole = action.full_name();
        let path = whole.to_compact_string();
        let text = |text: &str| HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static(""));
        Self {
            // What a sequence is bound to is told to none of its components.
            defaults: Defaults::of(
                arguments.map(|parameter| {
                    (parameter.key.as_str(), &parameter.value, !parameter.init && made != Made::Sequence)
                }),
                is_final,
            ),
            made,
            name: whole,
            filed: name.local(),
            action_name: text(&format!("/{path}")),
            version: text(&action.version.to_string()),
            provides_key: action.annotations.is_truthy(PROVIDE_API_KEY, true),
            details: Details {
                path,
                version: action.version.to_compact_string(),
                kind: Some(action.exec.kind().into()),
                limits: Some(action.limits),
                binding: binding.cloned(),
                ..Details::default()
            },
        }
    }

    /// A call with `arguments`, which have the parameters in them.
    pub(crate) fn ready(&self, context: &Context<'_>, arguments: Bytes) -> Ready {
        self.to(self.made, self.name.function(), context, arguments)
    }

    /// The same of a conductor's own code.
    pub(crate) fn ready_code(&self, context: &Context<'_>, arguments: Bytes) -> Ready {
        self.to(Made::Code, conductors_code(&self.name), context, arguments)
    }

    fn to(&self, made: Made, function: FunctionKey, context: &Context<'_>, arguments: Bytes) -> Ready {
        let caller = context.caller;
        let details = Details {
            subject: caller.subject().into(),
            topmost: (made != Made::Code).then_some(!context.part),
            conductor: made == Made::Conductor,
            kind: match made {
                Made::Conductor => Some(crate::wire::exec::SEQUENCE.into()),
                Made::Code | Made::Sequence => self.details.kind.clone(),
            },
            ..self.details.clone()
        };
        let filed = Filed { tenant: caller.namespace.clone(), name: self.filed.clone() };
        Ready {
            namespace: caller.namespace.clone(),
            principal: on_behalf(caller, &function),
            function,
            request: self.request(made, context, arguments),
            note: Note {
                filed: context.keep.map(|_| filed),
                cause: None,
                // It is made of plain fields, so there is nothing that could fail.
                details: serde_json::to_value(&details).unwrap_or_default(),
                answer_bytes: context.keep.unwrap_or(0).saturating_mul(QUOTED),
            },
            details,
        }
    }

    fn request(&self, made: Made, context: &Context<'_>, arguments: Bytes) -> Request<Body> {
        let mut request = Request::new(Body::full(arguments));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = Uri::from_static("/");
        let headers = request.headers_mut();
        headers.insert(header::CONTENT_TYPE, JSON);
        headers.insert(ACTION_NAME, self.action_name.clone());
        headers.insert(ACTION_VERSION, self.version.clone());
        let text = |text: &str| HeaderValue::try_from(text).ok();
        if let Some(namespace) = text(context.caller.namespace.as_str()) {
            headers.insert(NAMESPACE, namespace);
        }
        if let Some(transaction) = text(context.transaction) {
            headers.insert(TRANSACTION_ID, transaction);
        }
        // What is made of others hands the key down to those that are told it.
        if (self.provides_key || made != Made::Code)
            && let Some(mut key) = context.caller.key.as_deref().and_then(text)
        {
            key.set_sensitive(true);
            headers.insert(API_KEY, key);
        }
        request
    }
}

/// Who makes a step of a flow, by what the flow was called with.
pub(crate) fn handed_down(namespace: &Tenant, headers: &HeaderMap) -> (Caller, String) {
    let text = |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
    let caller = Caller { key: text(API_KEY).map(Arc::from), ..Caller::owner(namespace) };
    (caller, text(TRANSACTION_ID).unwrap_or_default().to_owned())
}

/// As whom a function is called: whether they may was found out, and it may be someone else's.
pub(crate) fn on_behalf(caller: &Caller, function: &FunctionKey) -> Principal {
    if caller.principal.may_invoke(&function.tenant) {
        return caller.principal.clone();
    }
    let id = match &caller.principal {
        Principal::Key { id, .. } => id.clone(),
        Principal::Anonymous | Principal::Local => CompactString::default(),
    };
    Principal::Key { id, role: Role::Invoke, tenant: Some(function.tenant.clone()) }
}

//! `POST /oauth/token`: a token for a key, by the exchange of RFC 8693 as OpenFaaS' clients ask for it.
//!
//! What is exchanged is a key of this installation. With the scope `function` the answer is a token that calls
//! the functions in `audience` for a short while. Without a scope, where clients want to manage, it is the key
//! itself, which they have already.

use crate::{
    OpenFaas, errors,
    names::tenant_of,
    tokens::{self, Tokens},
};
use axum::extract::Query;
use http::{HeaderValue, Method, Request, Response, StatusCode, Uri, header};
use jiff::Timestamp;
use serde_json::json;
use std::sync::Arc;
use xebec_core::{
    Body,
    auth::{Credential, Keys, Principal},
};

const EXCHANGE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";

/// The largest request for a token.
const MAX_BODY: u64 = 64 * 1024;

/// The most functions that one token is for.
const MAX_AUDIENCE: usize = 64;

/// What tokens are given for, and what makes them.
pub(crate) struct Exchange {
    pub(crate) keys: Arc<dyn Keys>,
    pub(crate) tokens: Tokens,
}

/// Why there is no token, in the words of RFC 6749 and 8693.
type Refusal = (&'static str, String);

impl OpenFaas {
    /// Answers `/oauth/token`.
    pub(crate) async fn token(&self, request: Request<Body>) -> Response<Body> {
        let Some(exchange) = &self.exchange else { return errors::not_implemented("exchanging tokens") };
        if *request.method() != Method::POST {
            return errors::no_such_method("POST");
        }
        let principal = request.extensions().get::<Principal>().cloned();
        let Ok(body) = request.into_body().collect(MAX_BODY).await else {
            return refused(&("invalid_request", "the body is too large, or broke off".to_owned()));
        };
        match exchange.answer(principal, &body) {
            Ok(response) => response,
            Err(refusal) => refused(&refusal),
        }
    }
}

impl Exchange {
    fn answer(&self, principal: Option<Principal>, body: &[u8]) -> Result<Response<Body>, Refusal> {
        let form = Form::read(body)?;
        let grant = form.one("grant_type").unwrap_or_default();
        if grant != EXCHANGE {
            return Err((
                "unsupported_grant_type",
                format!("grant_type is {grant:?}: only {EXCHANGE} is known"),
            ));
        }
        let subject = form.one("subject_token").unwrap_or_default();
        if subject.is_empty() {
            return Err((
                "invalid_request",
                "subject_token is missing: it is a key of this server".to_owned(),
            ));
        }
        let holder = self.holder(principal, subject)?;
        let scopes: Vec<&str> = form.one("scope").unwrap_or_default().split_whitespace().collect();
        match scopes[..] {
            [] => Ok(granted(subject, None, "")),
            ["function"] => {
                let audience = audience(&form, &holder)?;
                let (key, tenant) = match &holder {
                    Principal::Key { id, tenant, .. } => (id.as_str(), tenant.as_ref()),
                    Principal::Local | Principal::Anonymous => ("local", None),
                };
                let token = self.tokens.issue(key, tenant, audience, Timestamp::now());
                Ok(granted(&token, Some(tokens::LIFETIME), "function"))
            }
            _ => Err(("invalid_scope", format!("scope is {}: only function is known", scopes.join(" ")))),
        }
    }

    /// Whose key it is. Where none was ever issued, whoever is here by a local connection may do all, whatever
    /// key is sent.
    fn holder(&self, principal: Option<Principal>, subject: &str) -> Result<Principal, Refusal> {
        if principal == Some(Principal::Local) {
            return Ok(Principal::Local);
        }
        let key = Credential::Bearer(subject.to_owned());
        self.keys.authenticate(&key, false).map_err(|_| {
            ("invalid_grant", "subject_token is no key of this server, has ended or was revoked".to_owned())
        })
    }
}

/// Which functions the token shall be for: all that the key may call, where none is named.
fn audience(form: &Form, holder: &Principal) -> Result<Vec<String>, Refusal> {
    let named: Vec<String> = form.all("audience").map(str::to_owned).collect();
    if named.len() > MAX_AUDIENCE {
        return Err(("invalid_request", format!("a token is for {MAX_AUDIENCE} functions at most")));
    }
    for function in &named {
        let Some((namespace, _)) = function.split_once(':') else {
            return Err(("invalid_target", format!("audience {function:?} is not <namespace>:<function>")));
        };
        if namespace != "*" && !holder.may_invoke(&tenant_of(namespace)) {
            return Err(("invalid_target", format!("the key may not call functions of {namespace:?}")));
        }
    }
    Ok(if named.is_empty() { vec!["*".to_owned()] } else { named })
}

/// A form, as it is posted.
struct Form(Vec<(String, String)>);

impl Form {
    /// A form in a body is written as a query in a URI is.
    fn read(body: &[u8]) -> Result<Self, Refusal> {
        let fault = || ("invalid_request", "the body is not a form".to_owned());
        let text = std::str::from_utf8(body).map_err(|_| fault())?;
        let uri = Uri::try_from(format!("/?{text}")).map_err(|_| fault())?;
        let Query(fields) = Query::try_from_uri(&uri).map_err(|_| fault())?;
        Ok(Self(fields))
    }

    fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    fn one(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

fn granted(token: &str, expires_in: Option<i64>, scope: &str) -> Response<Body> {
    let mut answer = json!({
        "access_token": token,
        "issued_token_type": ACCESS_TOKEN,
        "token_type": "Bearer",
        "scope": scope,
    });
    if let Some(seconds) = expires_in {
        answer["expires_in"] = json!(seconds);
    }
    written(StatusCode::OK, &answer)
}

fn refused((error, description): &Refusal) -> Response<Body> {
    written(StatusCode::BAD_REQUEST, &json!({ "error": error, "error_description": description }))
}

fn written(status: StatusCode, answer: &serde_json::Value) -> Response<Body> {
    let mut response = Response::new(Body::full(answer.to_string()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

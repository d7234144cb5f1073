//! `/system/…`: management.

mod alert;
mod functions;
mod info;
mod logs;
mod namespaces;
mod secrets;

use crate::{
    OpenFaas, errors,
    names::{namespace_of, tenant_of},
    wire::from_json,
};
use axum::extract::Query;
use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header, request::Parts};
use serde::Deserialize;
use serde_json::Value;
use xebec_core::{
    Body, Error, Tenant, auth::Principal, body::CollectError, error::ErrorKind, names::check_dns_label,
};

/// The largest body of a management call. Kubernetes keeps no larger secret, and manifests are far smaller.
const MAX_BODY: u64 = 2 * 1024 * 1024;

impl OpenFaas {
    /// Answers a management call.
    pub(crate) async fn system(&self, request: Request<Body>) -> Response<Body> {
        let (parts, body) = request.into_parts();
        let call = match SystemCall::of(&parts) {
            Ok(call) => call,
            Err(refusal) => return *refusal,
        };
        let route = call.route;
        let answer = match route {
            ("functions", None) => match *call.method {
                Method::GET => self.list(&call).await,
                Method::POST => self.deploy(&call, body, false).await,
                Method::PUT => self.deploy(&call, body, true).await,
                Method::DELETE => self.remove(&call, body).await,
                _ => Ok(errors::no_such_method("GET, POST, PUT, DELETE")),
            },
            ("function", Some(name)) => match *call.method {
                Method::GET => self.status(&call, name).await,
                _ => Ok(errors::no_such_method("GET")),
            },
            ("scale-function", Some(name)) => match *call.method {
                Method::POST => self.scale(&call, name, body).await,
                _ => Ok(errors::no_such_method("POST")),
            },
            ("secrets", None) => self.secrets(&call, body).await,
            ("logs", None) => match *call.method {
                Method::GET => self.logs(&call).await,
                _ => Ok(errors::no_such_method("GET")),
            },
            ("namespace" | "namespaces", None) => self.namespaces(&call, body).await,
            ("namespace" | "namespaces", Some(name)) => self.namespace(&call, name, body).await,
            ("info", None) => match *call.method {
                Method::GET => Ok(self.info()),
                _ => Ok(errors::no_such_method("GET")),
            },
            ("alert", None) => match *call.method {
                Method::POST => self.alert(&call, body).await,
                _ => Ok(errors::no_such_method("POST")),
            },
            ("telemetry", None) => match *call.method {
                Method::GET => Ok(self.telemetry(&call)),
                _ => Ok(errors::no_such_method("GET")),
            },
            _ => Ok(errors::no_such_route()),
        };
        answer.unwrap_or_else(|refusal| *refusal)
    }
}

/// An answer that ends a call early.
type Refusal = Box<Response<Body>>;

/// A management call, with what all of them need to know.
struct SystemCall<'a> {
    method: &'a Method,
    /// What follows `/system/`, and what follows that.
    route: (&'a str, Option<&'a str>),
    query: Vec<(String, String)>,
    principal: Principal,
}

impl<'a> SystemCall<'a> {
    fn of(parts: &'a Parts) -> Result<Self, Refusal> {
        let path = parts.uri.path().strip_prefix(crate::SYSTEM).unwrap_or_default();
        // `/system/functions/` is taken for `/system/functions`, as clients write both.
        let (first, rest) = path.split_once('/').unwrap_or((path, ""));
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        let Query(query) = Query::try_from_uri(&parts.uri).map_err(|error| {
            Box::new(errors::management(&Error::invalid(
                "XB1004",
                format!("the query cannot be read: {error}"),
            )))
        })?;
        Ok(Self {
            method: &parts.method,
            route: (first, (!rest.is_empty()).then_some(rest)),
            query,
            principal: parts.extensions.get::<Principal>().cloned().unwrap_or(Principal::Anonymous),
        })
    }

    /// A query parameter; the last one counts. An empty one is none.
    fn parameter(&self, name: &str) -> Option<&str> {
        let found = self.query.iter().rev().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
        found.filter(|value| !value.is_empty())
    }

    /// Whether a query parameter is what Go takes for true.
    fn asks_for(&self, name: &str) -> bool {
        self.parameter(name).is_some_and(|text| matches!(text, "1" | "t" | "T" | "true" | "TRUE" | "True"))
    }

    /// The tenant that is meant: by the body where it says so, else by the query, else the default one.
    fn tenant(&self, in_body: &str) -> Result<Tenant, Refusal> {
        let in_query = self.parameter("namespace").unwrap_or_default();
        if !in_body.is_empty() && !in_query.is_empty() && in_body != in_query {
            let fault = format!("namespace is {in_body:?} in the body and {in_query:?} in the query");
            return Err(Box::new(errors::management(&Error::invalid("XB1004", fault))));
        }
        let namespace = if in_body.is_empty() { in_query } else { in_body };
        if !namespace.is_empty() {
            check_dns_label("namespace", namespace).map_err(|error| Box::new(errors::management(&error)))?;
        }
        let tenant = tenant_of(namespace);
        self.may_manage(&tenant)?;
        Ok(tenant)
    }

    /// The tenant whose things are listed: as [`Self::tenant`], but a key that is confined to one means that
    /// one, so that logging in works with it.
    fn listed_tenant(&self) -> Result<Tenant, Refusal> {
        match (&self.principal, self.parameter("namespace")) {
            (Principal::Key { tenant: Some(only), .. }, None) => {
                self.may_manage(only)?;
                Ok(only.clone())
            }
            _ => self.tenant(""),
        }
    }

    fn may_manage(&self, tenant: &Tenant) -> Result<(), Refusal> {
        if self.principal.may_manage(tenant) {
            Ok(())
        } else if self.principal == Principal::Anonymous {
            Err(Box::new(errors::unauthorized()))
        } else {
            Err(Box::new(errors::forbidden(namespace_of(tenant))))
        }
    }
}

/// Reads a body whole.
async fn read(body: Body) -> Result<Bytes, Refusal> {
    body.collect(MAX_BODY).await.map_err(|error| {
        let error = match error {
            CollectError::TooLarge(limit) => {
                Error::new(ErrorKind::TooLarge, "XB1006", format!("the body is larger than {limit} bytes"))
            }
            CollectError::Broken(reason) => Error::invalid("XB1002", format!("the body broke off: {reason}")),
        };
        Box::new(errors::management(&error))
    })
}

/// Reads a body that is a JSON object.
fn parse<'de, T: Deserialize<'de>>(bytes: &'de [u8]) -> Result<T, Refusal> {
    from_json(bytes).map_err(|error| Box::new(errors::management(&error)))
}

/// An answer in JSON.
fn json(value: &Value) -> Response<Body> {
    let mut response = Response::new(Body::full(value.to_string()));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// 202, which is what clients wait for after a change.
fn accepted() -> Response<Body> {
    errors::empty(StatusCode::ACCEPTED)
}

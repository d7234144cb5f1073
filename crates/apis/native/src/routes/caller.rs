//! Who calls, for which tenant, and the door's JSON bodies.

use crate::errors;
use axum::{
    extract::{FromRequest, FromRequestParts, Request},
    response::{IntoResponse, Response},
};
use http::request::Parts;
use serde::{Deserialize, de::DeserializeOwned};
use xebec_core::{Error, Tenant, auth::Principal, error::ErrorKind};

/// A caller that may manage the tenant it names with `?tenant=` (or the default one).
pub(crate) struct Caller {
    pub(crate) principal: Principal,
    pub(crate) tenant: Tenant,
}

#[derive(Deserialize)]
struct TenantQuery {
    tenant: Option<String>,
}

/// A management error on its way out.
pub(crate) struct Failure(pub(crate) Error);

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self(error)
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        errors::answer(&self.0).map(axum::body::Body::new)
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Caller {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Failure> {
        let principal = parts.extensions.get::<Principal>().cloned().unwrap_or(Principal::Anonymous);
        let tenant = axum::extract::Query::<TenantQuery>::try_from_uri(&parts.uri)
            .ok()
            .and_then(|query| query.0.tenant)
            .map(|name| {
                xebec_core::names::check_dns_label("tenant", &name)?;
                Ok::<_, Error>(Tenant::new(name))
            })
            .transpose()?
            .unwrap_or_default();
        if !principal.may_manage(&tenant) {
            return Err(Failure(Error::new(
                ErrorKind::Forbidden,
                "XB5004",
                format!("this credential may not manage tenant {tenant}"),
            )));
        }
        Ok(Self { principal, tenant })
    }
}

impl Caller {
    /// Refuses everyone but administrators.
    pub(crate) fn must_be_admin(&self) -> Result<(), Failure> {
        if self.principal.is_admin() {
            return Ok(());
        }
        Err(Failure(Error::new(ErrorKind::Forbidden, "XB5004", "only an admin key may do this")))
    }
}

/// What the path names; what cannot be read is refused as everything else is.
pub(crate) struct Path<T>(pub(crate) T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Path<T> {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failure> {
        let path = axum::extract::Path::<T>::from_request_parts(parts, state).await;
        path.map(|path| Self(path.0))
            .map_err(|rejection| unreadable("XB1014", "the path", &rejection.body_text()))
    }
}

/// What the query says, likewise.
pub(crate) struct Query<T>(pub(crate) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Query<T> {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Failure> {
        let query = axum::extract::Query::<T>::try_from_uri(&parts.uri);
        query
            .map(|query| Self(query.0))
            .map_err(|rejection| unreadable("XB1009", "the query", &rejection.body_text()))
    }
}

fn unreadable(code: &'static str, what: &str, why: &str) -> Failure {
    Failure(Error::invalid(code, format!("{what} is not as expected here: {why}")))
}

/// A JSON body; malformed ones are refused with line and reason. An empty body reads as `{}`.
pub(crate) struct Json<T>(pub(crate) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Json<T> {
    type Rejection = Failure;

    async fn from_request(request: Request, state: &S) -> Result<Self, Failure> {
        let bytes = bytes::Bytes::from_request(request, state).await.map_err(|rejection| {
            Failure(Error::new(ErrorKind::TooLarge, "XB1007", rejection.body_text().to_lowercase()))
        })?;
        let text: &[u8] = if bytes.is_empty() { b"{}" } else { &bytes };
        serde_json::from_slice(text).map(Self).map_err(|error| {
            Failure(Error::invalid("XB1008", format!("the body is not the JSON expected here: {error}")))
        })
    }
}

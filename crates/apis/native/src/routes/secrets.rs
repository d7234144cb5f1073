//! Secrets: written, listed by name, deleted; never read back.

use super::{
    State,
    caller::{Caller, Failure, Json, Path},
};
use crate::wire::{ErrorBody, SecretRequest};
use axum::{Json as Answer, extract::State as Shared};
use base64::Engine as _;
use http::StatusCode;
use std::sync::Arc;
use xebec_core::{Error, document::Expect, ports::control::SecretInfo};

/// The largest secret, in bytes.
const SECRET_BYTES: usize = 1024 * 1024;

/// Names of secrets; never values
#[utoipa::path(
    get,
    path = "/secrets",
    tag = "secrets",
    responses((status = 200, description = "The secrets, sorted by name", body = Vec<SecretInfo>))
)]
pub(super) async fn list(
    caller: Caller,
    Shared(state): Shared<Arc<State>>,
) -> Result<Answer<Vec<SecretInfo>>, Failure> {
    Ok(Answer(state.control.secrets(&caller.tenant).await?))
}

/// Write a secret
///
/// Functions see it from their next deploy on.
#[utoipa::path(
    put,
    path = "/secrets/{name}",
    tag = "secrets",
    params(("name", description = "The secret's name")),
    responses((status = 200, description = "It is stored, encrypted", body = SecretInfo))
)]
pub(super) async fn write(
    caller: Caller,
    Shared(state): Shared<Arc<State>>,
    Path(name): Path<String>,
    Json(request): Json<SecretRequest>,
) -> Result<Answer<SecretInfo>, Failure> {
    xebec_core::names::check_dns_label("secret name", &name)?;
    let value = base64::engine::general_purpose::STANDARD
        .decode(&request.value)
        .map_err(|_| Error::invalid("XB1011", "the secret's value is not base64"))?;
    if value.len() > SECRET_BYTES {
        return Err(
            Error::invalid("XB1011", format!("a secret may have at most {SECRET_BYTES} bytes")).into()
        );
    }
    Ok(Answer(state.control.put_secret(&caller.tenant, &name, value.into(), Expect::Any).await?))
}

/// Delete a secret
#[utoipa::path(
    delete,
    path = "/secrets/{name}",
    tag = "secrets",
    params(("name", description = "The secret's name")),
    responses(
        (status = 204, description = "It is gone"),
        (status = 409, description = "A function uses it", body = ErrorBody),
    )
)]
pub(super) async fn remove(
    caller: Caller,
    Shared(state): Shared<Arc<State>>,
    Path(name): Path<String>,
) -> Result<StatusCode, Failure> {
    state.control.delete_secret(&caller.tenant, &name).await?;
    Ok(StatusCode::NO_CONTENT)
}

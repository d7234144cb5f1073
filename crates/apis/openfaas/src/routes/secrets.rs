//! Secrets: `/system/secrets`.

use super::{Refusal, SystemCall, accepted, json, parse, read};
use crate::{
    OpenFaas, errors,
    names::{check_secret_name, namespace_of},
    wire::{ListedSecret, Secret},
};
use base64::Engine as _;
use bytes::Bytes;
use http::{Method, Response};
use serde_json::json as object;
use xebec_core::{Body, Error, document::Expect, error::ErrorKind};

/// The largest secret, as Kubernetes has it.
const MAX_SECRET: usize = 1024 * 1024;

impl OpenFaas {
    pub(super) async fn secrets(&self, call: &SystemCall<'_>, body: Body) -> Result<Response<Body>, Refusal> {
        match *call.method {
            Method::GET => self.list_secrets(call).await,
            Method::POST => self.put_secret(call, body, Expect::Absent).await,
            Method::PUT => self.put_secret(call, body, Expect::Present).await,
            Method::DELETE => self.delete_secret(call, body).await,
            _ => Ok(errors::no_such_method("GET, POST, PUT, DELETE")),
        }
    }

    async fn list_secrets(&self, call: &SystemCall<'_>) -> Result<Response<Body>, Refusal> {
        let tenant = call.listed_tenant()?;
        let namespace = namespace_of(&tenant);
        match self.control.secrets(&tenant).await {
            Ok(secrets) => {
                let listed: Vec<_> =
                    secrets.iter().map(|secret| ListedSecret { name: &secret.name, namespace }).collect();
                Ok(json(&object!(listed)))
            }
            Err(error) => Ok(errors::management(&error)),
        }
    }

    async fn put_secret(
        &self,
        call: &SystemCall<'_>,
        body: Body,
        expect: Expect,
    ) -> Result<Response<Body>, Refusal> {
        let bytes = read(body).await?;
        let secret: Secret = parse(&bytes)?;
        let tenant = call.tenant(&secret.namespace)?;
        let stored = match check_secret_name(&secret.name).and_then(|()| value(&secret)) {
            Ok(value) => self.control.put_secret(&tenant, &secret.name, value, expect).await,
            Err(error) => Err(error),
        };
        Ok(match stored {
            Ok(_) => accepted(),
            Err(error) => errors::secret(&error),
        })
    }

    async fn delete_secret(&self, call: &SystemCall<'_>, body: Body) -> Result<Response<Body>, Refusal> {
        let bytes = read(body).await?;
        let secret: Secret = parse(&bytes)?;
        let tenant = call.tenant(&secret.namespace)?;
        Ok(match self.control.delete_secret(&tenant, &secret.name).await {
            Ok(()) => accepted(),
            Err(error) => errors::secret(&error),
        })
    }
}

/// The value: the raw one where there is one, as clients that read a file send both.
fn value(secret: &Secret) -> Result<Bytes, Error> {
    let value = if secret.raw_value.is_empty() {
        secret.value.clone().into_bytes()
    } else {
        base64::engine::general_purpose::STANDARD
            .decode(&secret.raw_value)
            .map_err(|error| Error::invalid("XB1004", format!("rawValue is not base64: {error}")))?
    };
    if value.len() > MAX_SECRET {
        let message = format!("the secret has {} bytes, {MAX_SECRET} are allowed", value.len());
        return Err(Error::new(ErrorKind::TooLarge, "XB1006", message));
    }
    Ok(value.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(value: &str, raw_value: &str) -> Secret {
        Secret { name: "s".into(), value: value.into(), raw_value: raw_value.into(), ..Secret::default() }
    }

    #[test]
    fn the_raw_value_wins() {
        assert_eq!(value(&secret("text", "")).unwrap(), "text");
        assert_eq!(value(&secret("text", "AAH/")).unwrap(), &[0u8, 1, 255][..]);
        assert_eq!(value(&secret("text", "%")).unwrap_err().code, "XB1004");
        let large = "x".repeat(MAX_SECRET + 1);
        assert_eq!(value(&secret(&large, "")).unwrap_err().kind, ErrorKind::TooLarge);
    }
}

//! Functions: deploy, list, describe, scale, remove.

use super::{Refusal, SystemCall, accepted, json, parse, read};
use crate::{
    DOOR, OpenFaas, errors,
    names::namespace_of,
    translate,
    wire::{DeleteFunctionRequest, FunctionDeployment, FunctionUsage, ScaleServiceRequest, function_status},
};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use http::Response;
use serde_json::{Map, Value, json as object};
use xebec_core::{Body, Error, FunctionKey, document::Expect, function::FunctionView, ports::driver::Silent};

/// Documents read from the store at a time, for a list.
const READ_AT_ONCE: usize = 16;

impl OpenFaas {
    /// `GET /system/functions`
    pub(super) async fn list(&self, call: &SystemCall<'_>) -> Result<Response<Body>, Refusal> {
        let tenant = call.listed_tenant()?;
        let views = self.control.functions(Some(&tenant), Some(DOOR));
        let statuses: Vec<Option<Value>> = stream::iter(views)
            .map(|view| async move { self.shown(&view).await })
            .buffered(READ_AT_ONCE)
            .try_collect()
            .await
            .map_err(|error| Box::new(errors::management(&error)))?;
        // A function that was removed in the meantime has no document any more.
        Ok(json(&Value::Array(statuses.into_iter().flatten().collect())))
    }

    /// `GET /system/function/{name}`
    pub(super) async fn status(&self, call: &SystemCall<'_>, name: &str) -> Result<Response<Body>, Refusal> {
        let tenant = call.tenant("")?;
        let missing = || errors::no_such_function(name, namespace_of(&tenant));
        let key = FunctionKey::new(&tenant, DOOR, name);
        let Some(view) = self.control.function(&key) else { return Ok(missing()) };
        let shown = self.shown(&view).await.map_err(|error| Box::new(errors::management(&error)))?;
        let Some(mut status) = shown else { return Ok(missing()) };
        if call.asks_for("usage")
            && let Some(usage) = self.control.usage(&key).await
        {
            status["usage"] = object!(FunctionUsage::of(&usage));
        }
        Ok(json(&status))
    }

    async fn shown(&self, view: &FunctionView) -> Result<Option<Value>, Error> {
        let key = &view.function.key;
        let document = self.control.document(key).await?;
        Ok(document.map(|document| function_status(&document.spec, view, namespace_of(&key.tenant))))
    }

    /// `POST /system/functions`, which makes a function, and `PUT`, which changes one that is there: clients
    /// try the latter first and take 404 as a sign to do the former. With `dry-run` in the query, what would be
    /// refused is refused, and nothing else happens: an addition of Xebec's.
    pub(super) async fn deploy(
        &self,
        call: &SystemCall<'_>,
        body: Body,
        update: bool,
    ) -> Result<Response<Body>, Refusal> {
        let bytes = read(body).await?;
        let document: Map<String, Value> = parse(&bytes)?;
        let request: FunctionDeployment = parse(&bytes)?;
        let tenant = call.tenant(&request.namespace)?;
        let key = FunctionKey::new(&tenant, DOOR, &request.service);
        if update && self.control.function(&key).is_none() {
            return Ok(errors::no_such_function(&request.service, namespace_of(&tenant)));
        }
        let expect = if update { Expect::Present } else { Expect::Absent };
        let deployment = translate::deployment(&*self.control, &tenant, &request, document.into(), expect)
            .map_err(|error| Box::new(errors::deploy(&error)))?;
        let outcome = if call.asks_for("dry-run") {
            self.control.check(deployment).await
        } else {
            self.control.deploy(deployment, &Silent).await.map(drop)
        };
        match outcome {
            Ok(()) => Ok(accepted()),
            Err(error) => Ok(errors::deploy(&error)),
        }
    }

    /// `DELETE /system/functions`
    pub(super) async fn remove(&self, call: &SystemCall<'_>, body: Body) -> Result<Response<Body>, Refusal> {
        let bytes = read(body).await?;
        let request: DeleteFunctionRequest = parse(&bytes)?;
        let tenant = call.tenant(&request.namespace)?;
        if request.function_name.is_empty() {
            return Ok(errors::management(&Error::invalid("XB1004", "functionName is missing")));
        }
        let key = FunctionKey::new(&tenant, DOOR, &request.function_name);
        match self.control.remove(&key).await {
            Ok(()) => Ok(accepted()),
            Err(error) if error.code == "XB2002" => {
                Ok(errors::no_such_function(&request.function_name, namespace_of(&tenant)))
            }
            Err(error) => Ok(errors::management(&error)),
        }
    }

    /// `POST /system/scale-function/{name}`
    pub(super) async fn scale(
        &self,
        call: &SystemCall<'_>,
        name: &str,
        body: Body,
    ) -> Result<Response<Body>, Refusal> {
        let bytes = read(body).await?;
        let request: ScaleServiceRequest = parse(&bytes)?;
        let tenant = call.tenant(&request.namespace)?;
        let instances = u32::try_from(request.replicas).unwrap_or(u32::MAX);
        match self.control.scale(&FunctionKey::new(&tenant, DOOR, name), instances).await {
            Ok(()) => Ok(accepted()),
            Err(error) => Ok(errors::scale(&error, name)),
        }
    }
}

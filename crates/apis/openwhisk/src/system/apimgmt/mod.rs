//! The package `apimgmt`: the routes of the API gateway, as `wsk api` and the SDKs manage them.
//!
//! An API is a Swagger document, kept as one of this door's own by namespace and base path.
//!
//! * `request`: what is asked · `swagger`: how endpoints come into a document and go
//! * `routes`: what a document makes of requests · `apis`: where documents are kept
//! * `gateway`: the routes at their own URLs

mod apis;
mod gateway;
mod request;
mod routes;
mod swagger;

pub(crate) use apis::Apis;
pub(crate) use gateway::{encoded, handle};

use super::{
    answer::{Said, answer, arguments, fault, namespace},
    shared,
};
use crate::{Shared, caller::SYSTEM};
use async_trait::async_trait;
use http::{Request, Response};
use request::{Told, Wish, text};
use serde_json::{Value, json};
use std::sync::Weak;
use xebec_core::{Body, Error, Tenant, invocation::Called, ports::builtin::Builtin};

/// The name of the builtin.
pub(crate) const APIMGMT: &str = "openwhisk.apimgmt";

/// Its actions, by name.
pub(crate) const ACTIONS: [&str; 3] = ["createApi", "deleteApi", "getApi"];

/// The actions of the package.
pub(crate) struct Apimgmt {
    pub(crate) shared: Weak<Shared>,
}

#[async_trait]
impl Builtin for Apimgmt {
    fn check(&self, settings: &Value) -> Result<(), Error> {
        match settings["action"].as_str() {
            Some(name) if ACTIONS.contains(&name) => Ok(()),
            _ => Err(Error::invalid("XB1003", "action: it is none of apimgmt's")),
        }
    }

    async fn call(
        &self,
        called: Called,
        settings: &Value,
        request: Request<Body>,
    ) -> Result<Response<Body>, Error> {
        let shared = shared(&self.shared)?;
        let told = arguments(request).await?;
        let action = settings["action"].as_str().unwrap_or_default();
        // As a web action it runs as its owner, and the door says who asks; else whoever calls asks.
        let caller = namespace(&called);
        let web = caller.as_str() == SYSTEM && told.contains_key("__ow_method");
        let asks = match web {
            true => text(&told, "__ow_user").map(Tenant::new),
            false => Some(caller),
        };
        let said = match asks {
            Some(asks) => run(&shared, action, &told, &asks).await?,
            None => Err(fault(match action {
                "createApi" => "A valid auth key is required.",
                "getApi" => "Invalid authentication.",
                _ => "__ow_user is required.",
            })),
        };
        Ok(answer(if web { as_web_action(said) } else { said }))
    }
}

/// As the web action says it: status, headers, body.
fn as_web_action(said: Said) -> Said {
    let headers = json!({ "Content-Type": "application/json" });
    match said {
        Ok(body) => Ok(json!({ "statusCode": 200, "headers": headers, "body": body })),
        Err(error) => {
            // What stands in `error` is turned into the answer, as success would be.
            Err(json!({ "statusCode": 502, "headers": headers, "body": { "error": error } }))
        }
    }
}

async fn run(shared: &Shared, action: &str, told: &Told, asks: &Tenant) -> Result<Said, Error> {
    let failed = |what: &str, why: String| Ok(Err(fault(format!("{what}: {why}"))));
    match action {
        "createApi" => match request::read(told, asks.as_str()) {
            Err(wrong) => Ok(Err(fault(wrong))),
            Ok(wish) => match create(shared, wish, asks).await? {
                Ok(swagger) => Ok(Ok(value(shared, told, asks, &swagger))),
                Err(wrong) => failed("API creation failure", wrong),
            },
        },
        "getApi" => {
            let wanted = text(told, "basepath");
            let mut all = shared.apis.list(shared.store.as_ref(), asks).await?;
            all.retain(|api| wanted.is_none_or(|wanted| is_called(api, wanted)));
            let items = all.iter().map(
                |api| json!({ "id": "Not Used", "key": "Not Used", "value": value(shared, told, asks, api) }),
            );
            Ok(Ok(json!({ "apis": items.collect::<Vec<_>>() })))
        }
        _ => {
            let Some(wanted) = text(told, "basepath") else { return Ok(Err(fault("basepath is required."))) };
            let (path, operation) = (text(told, "relpath"), text(told, "operation").map(str::to_lowercase));
            if path.is_none() && operation.is_some() {
                return Ok(Err(fault("When specifying an operation, the path is required.")));
            }
            match delete(shared, asks, wanted, path, operation.as_deref()).await? {
                Ok(()) => Ok(Ok(json!({}))),
                Err(wrong) => failed("API deletion failure", wrong),
            }
        }
    }
}

async fn create(shared: &Shared, wish: Wish, asks: &Tenant) -> Result<Result<Value, String>, Error> {
    let base_path = match &wish {
        Wish::Whole(swagger) => swagger["basePath"].as_str().unwrap_or_default().to_owned(),
        Wish::With { base_path, .. } => base_path.clone(),
    };
    let change = |before: Option<Value>| {
        let swagger = match &wish {
            Wish::Whole(swagger) => swagger.clone(),
            Wish::With { name, endpoint, .. } => {
                let mut api = before.unwrap_or_else(|| swagger::empty(&base_path, name.as_deref()));
                swagger::add(&mut api, endpoint);
                api
            }
        };
        swagger::check_parameters(&swagger)?;
        routes::Api::of(&swagger)?;
        Ok(Some(swagger))
    };
    let changed = shared.apis.change(shared.store.as_ref(), asks, &base_path, change).await?;
    Ok(changed.map(Option::unwrap_or_default))
}

async fn delete(
    shared: &Shared,
    asks: &Tenant,
    wanted: &str,
    path: Option<&str>,
    operation: Option<&str>,
) -> Result<Result<(), String>, Error> {
    let missing = || format!("API '{wanted}' does not exist.");
    let all = shared.apis.list(shared.store.as_ref(), asks).await?;
    let Some(api) = all.iter().find(|api| is_called(api, wanted)) else { return Ok(Err(missing())) };
    let base_path = api["basePath"].as_str().unwrap_or_default();
    let change = |before: Option<Value>| {
        let mut api = before.ok_or_else(missing)?;
        let Some(path) = path else { return Ok(None) };
        swagger::remove(&mut api, path, operation)?;
        Ok(Some(api).filter(|api| !swagger::is_empty(api)))
    };
    let changed = shared.apis.change(shared.store.as_ref(), asks, base_path, change).await?;
    Ok(changed.map(|_| ()))
}

/// Whether this is an API's base path or, where it has no slash in front, its name.
fn is_called(api: &Value, wanted: &str) -> bool {
    let name = if wanted.starts_with('/') { &api["basePath"] } else { &api["info"]["title"] };
    *name == wanted
}

/// An API as clients read it.
fn value(shared: &Shared, told: &Told, asks: &Tenant, swagger: &Value) -> Value {
    let base_path = swagger["basePath"].as_str().unwrap_or_default().trim_end_matches('/');
    let host = gateway::public_host(told.get("__ow_headers"), &shared.options.api_host);
    json!({
        "namespace": "Not Used",
        "tenantId": "Not Used",
        "gwApiActivated": true,
        "gwApiUrl": format!("{host}/api/{}{base_path}", encoded(asks.as_str())),
        "apidoc": swagger,
    })
}

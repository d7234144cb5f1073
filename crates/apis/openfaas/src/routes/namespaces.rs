//! Namespaces: `/system/namespaces` and `/system/namespace/{name}`, which clients also write in the plural.
//!
//! A namespace is there when somebody created it, and for as long as it holds a function.

use super::{Refusal, SystemCall, accepted, json, parse, read};
use crate::{
    DOOR, OpenFaas, errors,
    names::{DEFAULT_NAMESPACE, namespace_of, tenant_of},
    wire::FunctionNamespace,
};
use http::{Method, Response, StatusCode};
use serde_json::json as object;
use std::collections::{BTreeMap, BTreeSet};
use xebec_core::{
    Body, Error, Tenant, auth::Principal, document::Expect, error::ErrorKind, names::check_dns_label,
    tenant::TenantInfo,
};

/// What marks a namespace as one for functions: label and annotation that every client sets.
const MARK: (&str, &str) = ("openfaas", "1");

impl OpenFaas {
    /// `/system/namespaces` and `/system/namespace/`, without a name.
    pub(super) async fn namespaces(
        &self,
        call: &SystemCall<'_>,
        body: Body,
    ) -> Result<Response<Body>, Refusal> {
        match *call.method {
            Method::GET => self.list_namespaces(call).await,
            Method::POST => self.create_namespace(call, "", body).await,
            _ => Ok(errors::no_such_method("GET, POST")),
        }
    }

    /// `/system/namespace/{name}`
    pub(super) async fn namespace(
        &self,
        call: &SystemCall<'_>,
        name: &str,
        body: Body,
    ) -> Result<Response<Body>, Refusal> {
        match *call.method {
            Method::GET => self.show_namespace(call, name).await,
            Method::POST => self.create_namespace(call, name, body).await,
            Method::PUT => self.update_namespace(call, name, body).await,
            Method::DELETE => self.remove_namespace(call, name, body).await,
            _ => Ok(errors::no_such_method("GET, POST, PUT, DELETE")),
        }
    }

    /// Those that the caller may manage.
    async fn list_namespaces(&self, call: &SystemCall<'_>) -> Result<Response<Body>, Refusal> {
        if call.principal == Principal::Anonymous {
            return Err(Box::new(errors::unauthorized()));
        }
        let written = self.control.tenants().await.map_err(|error| Box::new(errors::management(&error)))?;
        let functions = self.control.functions(None, Some(DOOR));
        let mut tenants: BTreeSet<Tenant> = written.into_iter().map(|info| info.name).collect();
        tenants.extend(functions.into_iter().map(|view| view.function.key.tenant));
        tenants.insert(tenant_of(DEFAULT_NAMESPACE));
        if let Principal::Key { tenant: Some(only), .. } = &call.principal {
            tenants.insert(only.clone());
        }
        let mut names: Vec<_> =
            tenants.iter().filter(|tenant| call.principal.may_manage(tenant)).map(namespace_of).collect();
        names.sort_unstable();
        Ok(json(&object!(names)))
    }

    async fn show_namespace(&self, call: &SystemCall<'_>, name: &str) -> Result<Response<Body>, Refusal> {
        let tenant = tenant_of(name);
        call.may_manage(&tenant)?;
        let found = self.find(&tenant).await?;
        let Some(Namespace { written }) = found else { return Ok(errors::no_such_namespace(name)) };
        let (labels, annotations) = match written {
            Some(info) => (info.labels, info.annotations),
            None => (marked(BTreeMap::new()), marked(BTreeMap::new())),
        };
        Ok(json(&object!(FunctionNamespace { name: name.to_owned(), labels, annotations })))
    }

    async fn create_namespace(
        &self,
        call: &SystemCall<'_>,
        name: &str,
        body: Body,
    ) -> Result<Response<Body>, Refusal> {
        let wanted = wanted(name, &read(body).await?)?;
        let tenant = tenant_of(&wanted.name);
        call.may_manage(&tenant)?;
        let there = self.find(&tenant).await?;
        if there.is_some() {
            return Ok(errors::namespace_exists(&wanted.name));
        }
        Ok(match self.write(&tenant, wanted, Expect::Absent).await {
            Ok(()) => errors::empty(StatusCode::CREATED),
            // Somebody was faster.
            Err(error) if error.kind == ErrorKind::Conflict => {
                errors::namespace_exists(namespace_of(&tenant))
            }
            Err(error) => errors::management(&error),
        })
    }

    async fn update_namespace(
        &self,
        call: &SystemCall<'_>,
        name: &str,
        body: Body,
    ) -> Result<Response<Body>, Refusal> {
        let wanted = wanted(name, &read(body).await?)?;
        let tenant = tenant_of(name);
        call.may_manage(&tenant)?;
        let there = self.find(&tenant).await?;
        if there.is_none() {
            return Ok(errors::no_such_namespace(name));
        }
        Ok(match self.write(&tenant, wanted, Expect::Any).await {
            Ok(()) => accepted(),
            Err(error) => errors::management(&error),
        })
    }

    /// Only what is empty: functions and secrets are nothing that should go along with a name.
    async fn remove_namespace(
        &self,
        call: &SystemCall<'_>,
        name: &str,
        body: Body,
    ) -> Result<Response<Body>, Refusal> {
        let bytes = read(body).await?;
        if !bytes.is_empty() {
            wanted(name, &bytes)?;
        }
        let tenant = tenant_of(name);
        call.may_manage(&tenant)?;
        if name == DEFAULT_NAMESPACE {
            let message = format!("the namespace {name} is always there: it cannot be removed");
            return Ok(errors::management(&Error::new(ErrorKind::Refused, "XB2019", message)));
        }
        Ok(match self.control.delete_tenant(&tenant).await {
            Ok(()) => accepted(),
            Err(error) if error.code == "XB2002" => errors::no_such_namespace(name),
            Err(error) if error.code == "XB2019" => errors::namespace_in_use(name, &error),
            Err(error) => errors::management(&error),
        })
    }

    async fn find(&self, tenant: &Tenant) -> Result<Option<Namespace>, Refusal> {
        let written =
            self.control.tenant(tenant).await.map_err(|error| Box::new(errors::management(&error)))?;
        let there = written.is_some()
            || namespace_of(tenant) == DEFAULT_NAMESPACE
            || !self.control.functions(Some(tenant), Some(DOOR)).is_empty();
        Ok(there.then_some(Namespace { written }))
    }

    async fn write(&self, tenant: &Tenant, wanted: FunctionNamespace, expect: Expect) -> Result<(), Error> {
        let (labels, annotations) = (marked(wanted.labels), wanted.annotations);
        self.control.put_tenant(tenant, labels, annotations, expect).await.map(drop)
    }
}

/// A namespace that is there.
struct Namespace {
    /// `None`: only because something is in it, or because it always is.
    written: Option<TenantInfo>,
}

/// Reads a namespace whose name, where the path has one, must be the path's.
fn wanted(in_path: &str, bytes: &[u8]) -> Result<FunctionNamespace, Refusal> {
    let mut wanted: FunctionNamespace = parse(bytes)?;
    if wanted.name.is_empty() {
        in_path.clone_into(&mut wanted.name);
    }
    let checked = if !in_path.is_empty() && wanted.name != in_path {
        let fault = format!("the name is {:?} in the body and {in_path:?} in the path", wanted.name);
        Err(Error::invalid("XB1004", fault))
    } else {
        check_dns_label("namespace", &wanted.name)
    };
    checked.map_err(|error| Box::new(errors::management(&error)))?;
    Ok(wanted)
}

/// The same labels, with the mark of a namespace for functions.
fn marked(mut labels: BTreeMap<String, String>) -> BTreeMap<String, String> {
    labels.entry(MARK.0.to_owned()).or_insert_with(|| MARK.1.to_owned());
    labels
}

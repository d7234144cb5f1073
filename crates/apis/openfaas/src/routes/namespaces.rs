//! Namespaces, read only: those that hold something, and the default one.

use super::{SystemCall, json};
use crate::{
    DOOR, OpenFaas, errors,
    names::{DEFAULT_NAMESPACE, namespace_of, tenant_of},
    wire::Namespace,
};
use http::{Response, StatusCode};
use serde_json::json as object;
use std::collections::{BTreeMap, BTreeSet};
use xebec_core::{Body, Tenant, auth::Principal};

impl OpenFaas {
    /// `GET /system/namespaces`: those that the caller may manage.
    pub(super) fn namespaces(&self, call: &SystemCall<'_>) -> Response<Body> {
        if call.principal == Principal::Anonymous {
            return errors::unauthorized();
        }
        let mut tenants: BTreeSet<Tenant> = self
            .control
            .functions(None, Some(DOOR))
            .into_iter()
            .map(|view| view.function.key.tenant)
            .collect();
        tenants.insert(tenant_of(DEFAULT_NAMESPACE));
        if let Principal::Key { tenant: Some(only), .. } = &call.principal {
            tenants.insert(only.clone());
        }
        let mut names: Vec<_> =
            tenants.iter().filter(|tenant| call.principal.may_manage(tenant)).map(namespace_of).collect();
        names.sort_unstable();
        json(&object!(names))
    }

    /// `GET /system/namespace/{name}`
    pub(super) fn namespace(&self, call: &SystemCall<'_>, name: &str) -> Response<Body> {
        let tenant = tenant_of(name);
        if let Err(refusal) = call.may_manage(&tenant) {
            return *refusal;
        }
        let exists =
            name == DEFAULT_NAMESPACE || !self.control.functions(Some(&tenant), Some(DOOR)).is_empty();
        if !exists || name.is_empty() {
            return errors::text(StatusCode::NOT_FOUND, format!("no such namespace: {name}\n"));
        }
        let marked = BTreeMap::from([("openfaas", "1")]);
        json(&object!(Namespace { name, annotations: marked.clone(), labels: marked }))
    }
}

//! Who asks, and as which namespace.

use crate::{
    errors::Rejection,
    wire::name::{OWN_NAMESPACE, is_name},
};
use http::{header, request::Parts as Head};
use std::{fmt::Display, sync::Arc};
use xebec_core::{
    Tenant,
    auth::{Credential, Principal, Role},
    ports::door::credential_of,
};

/// The namespace of those who have none of their own.
pub(crate) const GUEST: &str = "guest";
/// The namespace of the packages that come with the server.
pub(crate) const SYSTEM: &str = "whisk.system";

/// The user part of the key that OpenWhisk's own development set-ups give to `whisk.system`. Where no key was
/// issued, whoever sends it means that namespace.
const SYSTEM_USER: &str = "789c46b1-71f6-4ed5-8c54-816aa4f8c502";

/// Who asks.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    /// On whose behalf functions are called.
    pub(crate) principal: Principal,
    /// The one namespace that is theirs.
    pub(crate) namespace: Tenant,
    /// The credential as it was sent, `user:key`, for actions that are told it.
    pub(crate) key: Option<Arc<str>>,
    /// They may do in all namespaces what they may in their own.
    pub(crate) anywhere: bool,
    pub(crate) role: Role,
}

impl Caller {
    /// Who sent a request.
    ///
    /// # Errors
    /// 401 for nobody in particular.
    pub(crate) fn of(head: &Head) -> Result<Self, Rejection> {
        let principal = head.extensions.get::<Principal>().cloned().unwrap_or(Principal::Anonymous);
        let given = head.headers.contains_key(header::AUTHORIZATION);
        let rejection = || if given { Rejection::bad_credentials() } else { Rejection::unauthorized() };
        Self::new(principal, credential_of(head)).ok_or_else(rejection)
    }

    /// Who a principal is; `None`: nobody in particular.
    pub(crate) fn new(principal: Principal, credential: Credential) -> Option<Self> {
        let (namespace, anywhere, role) = match &principal {
            Principal::Anonymous => return None,
            Principal::Local => (well_known(&credential), false, Role::Admin),
            Principal::Key { role, tenant: Some(tenant), .. } => (tenant.clone(), false, *role),
            Principal::Key { role, tenant: None, .. } => (Tenant::new(GUEST), true, *role),
        };
        let key = match credential {
            Credential::Basic { user, password } => Some(format!("{user}:{password}").into()),
            Credential::Bearer(_) | Credential::None => None,
        };
        Some(Self { principal, namespace, key, anywhere, role })
    }

    /// A namespace on whose behalf the server itself calls.
    pub(crate) fn owner(namespace: &Tenant) -> Self {
        Self {
            principal: Principal::Local,
            namespace: namespace.clone(),
            key: None,
            anywhere: false,
            role: Role::Manage,
        }
    }

    /// Who they are, as records say it.
    pub(crate) fn subject(&self) -> &str {
        self.namespace.as_str()
    }

    /// The namespace that a path names: `_` is the caller's own.
    ///
    /// # Errors
    /// 400 for what no namespace can be called.
    pub(crate) fn namespace_of(&self, segment: &str) -> Result<Tenant, Rejection> {
        if segment == OWN_NAMESPACE {
            Ok(self.namespace.clone())
        } else if is_name(segment) {
            Ok(Tenant::new(segment))
        } else {
            Err(Rejection::bad_request("The namespace contains illegal characters."))
        }
    }

    /// Whether a namespace is theirs.
    pub(crate) fn owns(&self, namespace: &Tenant) -> bool {
        self.anywhere || self.namespace == *namespace
    }

    /// Whether they may change and read what is in a namespace.
    pub(crate) fn may_manage(&self, namespace: &Tenant) -> bool {
        self.owns(namespace) && self.role != Role::Invoke
    }

    /// Turns away who may not change and read `what` of a namespace.
    ///
    /// # Errors
    /// 403, naming it.
    pub(crate) fn must_manage(&self, namespace: &Tenant, what: impl Display) -> Result<(), Rejection> {
        if self.may_manage(namespace) { Ok(()) } else { Err(Rejection::forbidden(what)) }
    }
}

/// Where no key was issued, any is taken; the well-known ones say whose namespace is meant.
fn well_known(credential: &Credential) -> Tenant {
    match credential {
        Credential::Basic { user, .. } if user == SYSTEM_USER => Tenant::new(SYSTEM),
        _ => Tenant::new(GUEST),
    }
}

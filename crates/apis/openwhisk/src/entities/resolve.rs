//! What a name leads to: an action, with all that it is told by the package and the binding it is called through.

use super::Entities;
use crate::{
    caller::Caller,
    errors::Rejection,
    invoke::Calls,
    wire::{action::Action, name::FullName, package::Package, parameters::Parameters},
};
use compact_str::CompactString;
use parking_lot::RwLock;
use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};
use xebec_core::Tenant;

/// How many names are kept with what they lead to.
const MOST_KNOWN: usize = 16_384;

/// What is to be done to what a name leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Right {
    Read,
    Call,
}

/// What a name leads to.
#[derive(Debug)]
pub(crate) struct Resolved {
    /// The name that was asked for; through a binding, the binding's.
    pub(crate) name: FullName,
    /// The action as it is deployed, in its own namespace and package.
    pub(crate) action: Arc<Action>,
    /// What it is bound to: the package's, the binding's, its own.
    pub(crate) parameters: Parameters,
    /// What all its calls have in common.
    pub(crate) calls: Calls,
    /// The binding it is called through: `namespace/name`.
    pub(crate) binding: Option<CompactString>,
    /// Whose packages are on the way, which must be open to those who do not own them.
    shared_by: Vec<(Tenant, bool)>,
}

/// What names led to, until anything changes.
#[derive(Default)]
pub(super) struct Known {
    names: RwLock<HashMap<FullName, Arc<Resolved>>>,
    changes: AtomicU64,
}

impl Known {
    fn get(&self, name: &FullName) -> Option<Arc<Resolved>> {
        self.names.read().get(name).cloned()
    }

    /// Keeps what a name led to before `changes`, unless there were more since.
    fn put(&self, resolved: &Arc<Resolved>, changes: u64) {
        let mut names = self.names.write();
        if self.changes.load(Ordering::Acquire) != changes {
            return;
        }
        if names.len() >= MOST_KNOWN {
            names.clear();
        }
        names.insert(resolved.name.clone(), resolved.clone());
    }

    pub(super) fn forget(&self) {
        let mut names = self.names.write();
        self.changes.fetch_add(1, Ordering::AcqRel);
        names.clear();
    }
}

impl Entities {
    /// What a name leads to, for someone who wants to do something to it. `name` has no `_` any more.
    ///
    /// # Errors
    /// 404, 409 where the name is of something else, 403.
    pub(crate) fn resolve(
        &self,
        caller: &Caller,
        name: &FullName,
        right: Right,
    ) -> Result<Arc<Resolved>, Rejection> {
        if name.package.is_none() && !caller.owns(&name.namespace) {
            return Err(Rejection::forbidden(name));
        }
        let resolved = match self.known.get(name) {
            Some(resolved) => resolved,
            None => self.find(caller, name)?,
        };
        // Reading asks for more than a key that may only call; what is shared, everyone may read.
        let own = caller.owns(&name.namespace);
        if right == Right::Read && own && !caller.may_manage(&name.namespace) {
            return Err(Rejection::forbidden(name));
        }
        let open = |(owner, publish): &(Tenant, bool)| *publish || caller.owns(owner);
        let through_own = name.package.is_none() || resolved.binding.is_none() || own;
        if through_own && resolved.shared_by.iter().all(open) {
            Ok(resolved)
        } else {
            Err(Rejection::forbidden(name))
        }
    }

    fn find(&self, caller: &Caller, name: &FullName) -> Result<Arc<Resolved>, Rejection> {
        let changes = self.known.changes.load(Ordering::Acquire);
        let resolved = Arc::new(self.look_up(caller, name)?);
        self.known.put(&resolved, changes);
        Ok(resolved)
    }

    fn look_up(&self, caller: &Caller, name: &FullName) -> Result<Resolved, Rejection> {
        let Some(package) = &name.package else {
            let action = self.named(&name.namespace, &name.name)?;
            return Ok(resolved(name, action, Parameters::default(), None, Vec::new()));
        };
        // Whether a package of someone else's is there is nobody's business.
        let hidden = |rejection| match caller.owns(&name.namespace) {
            true => rejection,
            false => Rejection::forbidden(name),
        };
        let package = self.named::<Package>(&name.namespace, package).map_err(hidden)?;
        let (home, bound, binding) = match &package.binding {
            None => (package.clone(), package.parameters.clone(), None),
            Some(binding) => {
                let target = self.named::<Package>(&binding.namespace, &binding.name)?;
                let bound = target.parameters.overlaid(&package.parameters);
                let path = compact_str::format_compact!("{}/{}", package.namespace, package.name);
                (target, bound, Some(path))
            }
        };
        let shared_by = vec![(home.namespace.clone(), home.publish)];
        let open = home.publish || caller.owns(&home.namespace);
        if !open {
            return Err(Rejection::forbidden(name));
        }
        let local = compact_str::format_compact!("{}/{}", home.name, name.name);
        let action = self.named(&home.namespace, &local)?;
        Ok(resolved(name, action, bound, binding, shared_by))
    }
}

impl Entities {
    /// A package, or a binding, for someone who wants to read what is in it: their own, or one that is shared,
    /// and of their own bindings those to such packages.
    ///
    /// # Errors
    /// 404 and 409 to its owner, 403 to others: whether it is there is nobody else's business.
    pub(crate) fn readable_package(
        &self,
        caller: &Caller,
        namespace: &Tenant,
        name: &str,
    ) -> Result<Arc<Package>, Rejection> {
        let own = caller.owns(namespace);
        let refused = || Rejection::forbidden(FullName::new(namespace, name));
        let found = self.named::<Package>(namespace, name);
        let package = found.map_err(|rejection| if own { rejection } else { refused() })?;
        match &package.binding {
            None if own || package.publish => Ok(package),
            Some(binding) if own => {
                let target = self.named::<Package>(&binding.namespace, &binding.name);
                let owns_target = caller.owns(&binding.namespace);
                let target = target.map_err(|rejection| if owns_target { rejection } else { refused() })?;
                if owns_target || target.publish { Ok(package) } else { Err(refused()) }
            }
            _ => Err(refused()),
        }
    }

    /// The package that has what a package or binding has.
    ///
    /// # Errors
    /// 404 where what it was bound to is gone.
    pub(crate) fn home_of(&self, package: &Arc<Package>) -> Result<Arc<Package>, Rejection> {
        match &package.binding {
            None => Ok(package.clone()),
            Some(binding) => self.named::<Package>(&binding.namespace, &binding.name),
        }
    }
}

fn resolved(
    name: &FullName,
    action: Arc<Action>,
    bound: Parameters,
    binding: Option<CompactString>,
    shared_by: Vec<(Tenant, bool)>,
) -> Resolved {
    let parameters = match bound.is_empty() {
        true => action.parameters.clone(),
        false => bound.overlaid(&action.parameters),
    };
    Resolved {
        name: name.clone(),
        calls: Calls::of(name, &action, &parameters, binding.as_ref()),
        parameters,
        binding,
        shared_by,
        action,
    }
}

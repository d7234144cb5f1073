//! Packages, and bindings to packages.

use super::{Call, actions, body, list};
use crate::{
    Shared,
    entities::PACKAGE,
    errors::{self, Rejection},
    merge,
    wire::{
        action::Action,
        name::FullName,
        package::{Binding, Package, PackagePut},
        parameters::Parameters,
    },
};
use http::{Response, StatusCode};
use serde_json::{Value, json};
use std::sync::Arc;
use xebec_core::{
    Body, Error, Tenant,
    document::{Document, DocumentKey, Expect},
};

/// Says of an action that triggers can be fed by it.
const FEED: &str = "feed";

/// The name of what no package is: actions are outside of any.
const DEFAULT: &str = "default";

/// `GET …/packages`: of others' namespaces those that are shared.
pub(super) fn list(shared: &Shared, call: &Call, namespace: &Tenant) -> Result<Response<Body>, Rejection> {
    let slice = call.query.slice("packages")?;
    let mut all = shared.entities.all::<Package>(namespace);
    if !call.caller.may_manage(namespace) {
        all.retain(|package| package.publish && package.binding.is_none());
    }
    Ok(list::answer("packages", all, slice, |package| package.updated, |package| package.summary()))
}

/// `GET …/packages/name`: with what is in it, and of a binding with what it binds.
pub(super) fn get(shared: &Shared, call: &Call, name: &FullName) -> Result<Response<Body>, Rejection> {
    let package = shared.entities.readable_package(&call.caller, &name.namespace, &name.name)?;
    let home = shared.entities.home_of(&package)?;
    let parameters = match package.binding {
        Some(_) => home.parameters.overlaid(&package.parameters),
        None => package.parameters.clone(),
    };
    let (mut actions, mut feeds) = (Vec::new(), Vec::new());
    for action in shared.entities.actions_in(&home.namespace, &home.name) {
        let listed = if action.annotations.get(FEED).is_some() { &mut feeds } else { &mut actions };
        listed.push(shown(&action));
    }
    // What a binding leads to is shown as the package that it is.
    let mut wire = home.to_wire(&parameters);
    wire["actions"] = Value::Array(actions);
    wire["feeds"] = Value::Array(feeds);
    if package.binding.is_some() {
        let own = package.to_wire(&parameters);
        for field in ["namespace", "name", "binding", "version", "publish", "annotations", "updated"] {
            wire[field] = own[field].clone();
        }
    }
    Ok(errors::json(StatusCode::OK, &wire))
}

/// An action as its package lists it.
fn shown(action: &Action) -> Value {
    json!({ "name": action.name, "version": action.version, "annotations": action.annotations })
}

/// `PUT …/packages/name`.
pub(super) async fn put(
    shared: &Arc<Shared>,
    call: &Call,
    name: FullName,
    body: Body,
) -> Result<Response<Body>, Rejection> {
    let overwrite = call.query.flag("overwrite", false)?;
    call.caller.must_manage(&name.namespace, &name)?;
    if name.name == DEFAULT {
        return Err(Rejection::bad_request(format!("Package name '{DEFAULT}' is reserved.")));
    }
    let limits = shared.limits(&name.namespace);
    let bytes = body::read(call, body, body::most(shared, &limits)).await?;
    let mut put: PackagePut = body::parse(&bytes)?;
    body::check_sizes(&limits, put.parameters.as_ref(), put.annotations.as_ref())?;
    put.binding = put.binding.map(|binding| binding.resolved(&call.caller.namespace));
    if let Some(binding) = &put.binding {
        check_binding(shared, call, binding)?;
    }
    let _turn = shared.turns.take(&name.namespace, &name.name).await;
    let before = shared.entities.replaced::<Package>(&name.namespace, &name.name, overwrite)?;
    let was_package = before.as_ref().is_some_and(|before| before.binding.is_none());
    if was_package && put.binding.is_some() {
        return Err(Rejection::conflict("Resource is a package and cannot be converted into a binding."));
    }
    let package = merge::package(&name, before.as_deref(), put, crate::wire::now_millis());
    write(shared, &package).await?;
    let told = |package: &Package| -> Parameters {
        package.parameters.iter().filter(|parameter| parameter.init).cloned().collect::<Parameters>()
    };
    if before.as_deref().map(told).unwrap_or_default() != told(&package) {
        deploy_again(shared, &package).await?;
    }
    Ok(errors::json(StatusCode::OK, &package.to_wire(&package.parameters)))
}

/// Writes a package.
///
/// # Errors
/// What the store says.
pub(crate) async fn write(shared: &Shared, package: &Package) -> Result<(), Error> {
    let spec = serde_json::to_value(package)
        .map_err(|error| Error::internal("XB4003", format!("it cannot be written as JSON: {error}")))?;
    let document = Document::new(PACKAGE, package.namespace.as_str(), &package.name, spec);
    let stored = shared.store.put(document, Expect::Any).await?;
    shared.entities.apply(stored);
    Ok(())
}

/// Deploys what is in a package, since it is told other variables.
async fn deploy_again(shared: &Shared, package: &Package) -> Result<(), Rejection> {
    for action in shared.entities.actions_in(&package.namespace, &package.name) {
        actions::deploy(shared, &action, Some(package), Some(&action)).await?;
    }
    Ok(())
}

/// Whether a package is there that a binding can lead to.
fn check_binding(shared: &Shared, call: &Call, binding: &Binding) -> Result<(), Rejection> {
    let target = shared.entities.readable_package(&call.caller, &binding.namespace, &binding.name);
    let target = target.map_err(|rejection| match rejection.status {
        StatusCode::NOT_FOUND => Rejection::bad_request("Binding references a package that does not exist."),
        StatusCode::CONFLICT => Rejection::conflict("Cannot bind to a resource that is not a package."),
        _ => rejection,
    })?;
    match target.binding {
        None => Ok(()),
        Some(_) => Err(Rejection::bad_request("Cannot bind to another package binding.")),
    }
}

/// `DELETE …/packages/name`: answered with what was deleted.
pub(super) async fn delete(
    shared: &Arc<Shared>,
    call: &Call,
    name: FullName,
) -> Result<Response<Body>, Rejection> {
    let force = call.query.flag("force", false)?;
    call.caller.must_manage(&name.namespace, &name)?;
    let _turn = shared.turns.take(&name.namespace, &name.name).await;
    let package = shared.entities.named::<Package>(&name.namespace, &name.name)?;
    if package.binding.is_none() {
        let actions = shared.entities.actions_in(&name.namespace, &name.name);
        if !actions.is_empty() && !force {
            let entities = if actions.len() == 1 { "entity" } else { "entities" };
            return Err(Rejection::conflict(format!(
                "Package not empty (contains {} {entities}). Set force param or delete package contents.",
                actions.len()
            )));
        }
        for action in actions {
            actions::remove(shared, &action).await?;
        }
    }
    let key = DocumentKey::new(PACKAGE, name.namespace.as_str(), &name.name);
    shared.store.delete(key, Expect::Any).await?;
    shared.entities.forget(&name.namespace, &name.name);
    Ok(errors::json(StatusCode::OK, &package.to_wire(&package.parameters)))
}

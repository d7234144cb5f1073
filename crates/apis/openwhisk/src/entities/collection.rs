//! The four collections that share a namespace's names, looked up as what is expected.

use super::{Entities, Entity};
use crate::{
    errors::Rejection,
    wire::{action::Action, package::Package, rule::Rule, trigger::Trigger},
};
use std::sync::Arc;
use xebec_core::Tenant;

/// What an entity may be.
pub(crate) trait Collection: Sized {
    /// An entity, where it is one of these.
    fn of(entity: &Entity) -> Option<&Arc<Self>>;
}

impl Collection for Action {
    fn of(entity: &Entity) -> Option<&Arc<Self>> {
        if let Entity::Action(action) = entity { Some(action) } else { None }
    }
}

impl Collection for Package {
    fn of(entity: &Entity) -> Option<&Arc<Self>> {
        if let Entity::Package(package) = entity { Some(package) } else { None }
    }
}

impl Collection for Trigger {
    fn of(entity: &Entity) -> Option<&Arc<Self>> {
        if let Entity::Trigger(trigger) = entity { Some(trigger) } else { None }
    }
}

impl Collection for Rule {
    fn of(entity: &Entity) -> Option<&Arc<Self>> {
        if let Entity::Rule(rule) = entity { Some(rule) } else { None }
    }
}

impl Entities {
    /// What has a name, where it is of the collection.
    pub(crate) fn one<T: Collection>(&self, namespace: &Tenant, local: &str) -> Option<Arc<T>> {
        T::of(&self.get(namespace, local)?).cloned()
    }

    /// What has a name.
    ///
    /// # Errors
    /// 404, 409 where the name is of another collection.
    pub(crate) fn named<T: Collection>(&self, namespace: &Tenant, local: &str) -> Result<Arc<T>, Rejection> {
        let entity = self.get(namespace, local).ok_or_else(Rejection::not_found)?;
        T::of(&entity).cloned().ok_or_else(Rejection::other_collection)
    }

    /// What a write under a name takes the place of.
    ///
    /// # Errors
    /// 409 where the name is of another collection, or what has it is not to be overwritten.
    pub(crate) fn replaced<T: Collection>(
        &self,
        namespace: &Tenant,
        local: &str,
        overwrite: bool,
    ) -> Result<Option<Arc<T>>, Rejection> {
        let Some(entity) = self.get(namespace, local) else { return Ok(None) };
        let before = T::of(&entity).ok_or_else(Rejection::other_collection)?;
        if overwrite { Ok(Some(before.clone())) } else { Err(Rejection::exists_already()) }
    }

    /// All of a collection in a namespace, by name; actions in packages are among them.
    pub(crate) fn all<T: Collection>(&self, namespace: &Tenant) -> Vec<Arc<T>> {
        let spaces = self.spaces.read();
        let Some(space) = spaces.get(namespace) else { return Vec::new() };
        space.entities().filter_map(T::of).cloned().collect()
    }
}

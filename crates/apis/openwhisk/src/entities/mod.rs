//! What is deployed, in memory: calls read no store, and lists none either.
//!
//! It is fed by the store's watch, so that what another replica wrote is seen; what this one writes is here when
//! it is answered for. Versions tell what is newer, so the two may come in any order.

mod feed;
mod resolve;
mod space;

pub(crate) use feed::{LIMITS, PACKAGE, RULE, Stored, watch};
pub(crate) use resolve::{Resolved, Right};
pub(crate) use space::Entity;

use crate::wire::{
    action::Action,
    limits::NamespaceLimits,
    name::FullName,
    package::Package,
    rule::{Rule, Status},
    trigger::Trigger,
};
use parking_lot::RwLock;
use resolve::Known;
use space::Space;
use std::{collections::HashMap, sync::Arc};
use xebec_core::Tenant;

/// What is deployed, by namespace.
#[derive(Default)]
pub(crate) struct Entities {
    spaces: RwLock<HashMap<Tenant, Space>>,
    /// What calls found out before.
    known: Known,
}

impl Entities {
    /// What has a name within a namespace, whichever collection it is in.
    pub(crate) fn get(&self, namespace: &Tenant, local: &str) -> Option<Entity> {
        self.spaces.read().get(namespace)?.get(local)
    }

    pub(crate) fn action(&self, name: &FullName) -> Option<Arc<Action>> {
        match self.get(&name.namespace, &name.local()) {
            Some(Entity::Action(action)) => Some(action),
            _ => None,
        }
    }

    pub(crate) fn trigger(&self, namespace: &Tenant, name: &str) -> Option<Arc<Trigger>> {
        match self.get(namespace, name) {
            Some(Entity::Trigger(trigger)) => Some(trigger),
            _ => None,
        }
    }

    /// All actions of a namespace, those in packages too, by name.
    pub(crate) fn actions(&self, namespace: &Tenant) -> Vec<Arc<Action>> {
        self.collect(namespace, |entity| match entity {
            Entity::Action(action) => Some(action.clone()),
            _ => None,
        })
    }

    /// The actions of a package, by name.
    pub(crate) fn actions_in(&self, namespace: &Tenant, package: &str) -> Vec<Arc<Action>> {
        let spaces = self.spaces.read();
        spaces.get(namespace).map(|space| space.actions_in(package)).unwrap_or_default()
    }

    /// All packages of a namespace, by name.
    pub(crate) fn packages(&self, namespace: &Tenant) -> Vec<Arc<Package>> {
        self.collect(namespace, |entity| match entity {
            Entity::Package(package) => Some(package.clone()),
            _ => None,
        })
    }

    /// All triggers of a namespace, by name.
    pub(crate) fn triggers(&self, namespace: &Tenant) -> Vec<Arc<Trigger>> {
        self.collect(namespace, |entity| match entity {
            Entity::Trigger(trigger) => Some(trigger.clone()),
            _ => None,
        })
    }

    /// All rules of a namespace, by name.
    pub(crate) fn rules(&self, namespace: &Tenant) -> Vec<Arc<Rule>> {
        self.collect(namespace, |entity| match entity {
            Entity::Rule(rule) => Some(rule.clone()),
            _ => None,
        })
    }

    /// The rules that are attached to a trigger, by name, with their status.
    pub(crate) fn rules_of(&self, trigger: &Trigger) -> Vec<Arc<Rule>> {
        let name = trigger.full_name();
        let spaces = self.spaces.read();
        let Some(space) = spaces.get(&trigger.namespace) else { return Vec::new() };
        let attached = space.rules_of(&trigger.name);
        attached.filter(|rule| rule.attached == trigger.id && rule.trigger == name).cloned().collect()
    }

    /// Whether a rule's trigger fires it: not when the trigger is gone, or is another of the same name.
    pub(crate) fn status_of(&self, rule: &Rule) -> Status {
        let trigger = self.trigger(&rule.trigger.namespace, &rule.trigger.name);
        match trigger {
            Some(trigger) if trigger.id == rule.attached => rule.status,
            _ => Status::Inactive,
        }
    }

    /// The limits that a namespace has of its own.
    pub(crate) fn limits(&self, namespace: &Tenant) -> Option<Arc<NamespaceLimits>> {
        self.spaces.read().get(namespace)?.limits()
    }

    fn collect<T>(&self, namespace: &Tenant, of: impl Fn(&Entity) -> Option<T>) -> Vec<T> {
        let spaces = self.spaces.read();
        spaces.get(namespace).map(|space| space.entities().filter_map(of).collect()).unwrap_or_default()
    }
}

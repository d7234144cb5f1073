//! What is deployed, in memory: calls read no store, and lists none either.
//!
//! It is fed by the store's watch, so that what another replica wrote is seen; what this one writes is here when
//! it is answered for. Versions tell what is newer, so the two may come in any order.

mod collection;
mod feed;
mod resolve;
mod space;

pub(crate) use feed::{LIMITS, PACKAGE, RULE, Stored, watch};
pub(crate) use resolve::{Resolved, Right};
pub(crate) use space::Entity;

use crate::wire::{
    action::Action,
    limits::NamespaceLimits,
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

    /// The actions of a package, by name.
    pub(crate) fn actions_in(&self, namespace: &Tenant, package: &str) -> Vec<Arc<Action>> {
        let spaces = self.spaces.read();
        spaces.get(namespace).map(|space| space.actions_in(package)).unwrap_or_default()
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
        let trigger = self.one::<Trigger>(&rule.trigger.namespace, &rule.trigger.name);
        match trigger {
            Some(trigger) if trigger.id == rule.attached => rule.status,
            _ => Status::Inactive,
        }
    }

    /// The limits that a namespace has of its own.
    pub(crate) fn limits(&self, namespace: &Tenant) -> Option<Arc<NamespaceLimits>> {
        self.spaces.read().get(namespace)?.limits()
    }
}

//! What one namespace has.

use crate::wire::{action::Action, limits::NamespaceLimits, package::Package, rule::Rule, trigger::Trigger};
use compact_str::CompactString;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// Something with a name. Names are unique over all collections of a namespace.
#[derive(Clone, Debug)]
pub(crate) enum Entity {
    Action(Arc<Action>),
    Package(Arc<Package>),
    Trigger(Arc<Trigger>),
    Rule(Arc<Rule>),
}

/// What is known under a name, and as of which version of the store.
struct Slot {
    version: u64,
    /// `None`: it was deleted, and a change from before that may be on its way.
    entity: Option<Entity>,
}

/// What one namespace has.
#[derive(Default)]
pub(super) struct Space {
    /// By `name`, or `package/name` for actions in packages.
    slots: BTreeMap<CompactString, Slot>,
    /// Rules by the name of the trigger that they name; it is one of the same namespace.
    by_trigger: BTreeMap<CompactString, BTreeSet<CompactString>>,
    limits: Option<(u64, Arc<NamespaceLimits>)>,
}

impl Space {
    pub(super) fn get(&self, local: &str) -> Option<Entity> {
        self.slots.get(local)?.entity.clone()
    }

    pub(super) fn entities(&self) -> impl Iterator<Item = &Entity> {
        self.slots.values().filter_map(|slot| slot.entity.as_ref())
    }

    pub(super) fn actions_in(&self, package: &str) -> Vec<Arc<Action>> {
        let prefix = compact_str::format_compact!("{package}/");
        let from = self.slots.range(prefix.clone()..);
        let within = from.take_while(|(local, _)| local.starts_with(prefix.as_str()));
        let actions = within.filter_map(|(_, slot)| match &slot.entity {
            Some(Entity::Action(action)) => Some(action.clone()),
            _ => None,
        });
        actions.collect()
    }

    pub(super) fn rules_of(&self, trigger: &str) -> impl Iterator<Item = &Arc<Rule>> {
        let names = self.by_trigger.get(trigger).into_iter().flatten();
        names.filter_map(|name| match &self.slots.get(name)?.entity {
            Some(Entity::Rule(rule)) => Some(rule),
            _ => None,
        })
    }

    pub(super) fn limits(&self) -> Option<Arc<NamespaceLimits>> {
        self.limits.as_ref().map(|(_, limits)| limits.clone())
    }

    /// Takes over what the store has under a name, unless something newer is known.
    pub(super) fn put(&mut self, local: &str, version: u64, entity: Entity) {
        if self.slots.get(local).is_some_and(|known| known.version >= version) {
            return;
        }
        self.detach(local);
        if let Entity::Rule(rule) = &entity {
            self.by_trigger.entry(rule.trigger.name.clone()).or_default().insert(local.into());
        }
        self.slots.insert(local.into(), Slot { version, entity: Some(entity) });
    }

    /// Takes over that something is gone, as of a version. `told`: by the store itself, so nothing older comes.
    pub(super) fn remove(&mut self, local: &str, version: u64, told: bool) {
        let Some(known) = self.slots.get(local) else { return };
        if known.version > version {
            return;
        }
        self.detach(local);
        if told {
            self.slots.remove(local);
        } else {
            self.slots.insert(local.into(), Slot { version, entity: None });
        }
    }

    /// Forgets what is known as of a version or before, and is not there; an empty name stands for the limits.
    /// What was never stored stays: it comes with the server.
    pub(super) fn retain(&mut self, version: u64, is_there: impl Fn(&str) -> bool) {
        if self.limits.as_ref().is_some_and(|(known, _)| *known <= version) && !is_there("") {
            self.limits = None;
        }
        let gone = |(local, slot): (&CompactString, &Slot)| {
            let stale = slot.version > 0 && slot.version <= version && !is_there(local);
            stale.then(|| local.clone())
        };
        let gone: Vec<CompactString> = self.slots.iter().filter_map(gone).collect();
        for local in gone {
            self.detach(&local);
            self.slots.remove(&local);
        }
    }

    /// As of which version something is known.
    pub(super) fn version(&self, local: &str) -> Option<u64> {
        self.slots.get(local).map(|slot| slot.version)
    }

    pub(super) fn put_limits(&mut self, version: u64, limits: Option<NamespaceLimits>) {
        if self.limits.as_ref().is_none_or(|(known, _)| *known < version) {
            self.limits = limits.map(|limits| (version, Arc::new(limits)));
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.slots.is_empty() && self.limits.is_none()
    }

    fn detach(&mut self, local: &str) {
        let Some(Slot { entity: Some(Entity::Rule(rule)), .. }) = self.slots.get(local) else { return };
        if let Some(rules) = self.by_trigger.get_mut(&rule.trigger.name) {
            rules.remove(local);
            if rules.is_empty() {
                self.by_trigger.remove(&rule.trigger.name.clone());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{name::FullName, rule::Status, version::SemVer};
    use proptest::prelude::*;
    use uuid::Uuid;
    use xebec_core::Tenant;

    fn rule(name: &str, trigger: &str) -> Entity {
        let guest = Tenant::new("guest");
        Entity::Rule(Arc::new(Rule {
            namespace: guest.clone(),
            name: name.into(),
            trigger: FullName::new(&guest, trigger),
            action: FullName::new(&guest, "a"),
            version: SemVer::default(),
            publish: false,
            annotations: crate::wire::parameters::Parameters::default(),
            updated: 0,
            status: Status::Active,
            attached: Uuid::nil(),
        }))
    }

    /// One thing that the store tells, or that was written here.
    #[derive(Clone, Debug)]
    enum Change {
        Put(&'static str, &'static str),
        Delete(&'static str),
    }

    fn changes() -> impl Strategy<Value = Vec<Change>> {
        let name = prop_oneof![Just("r"), Just("s"), Just("t")];
        let trigger = prop_oneof![Just("x"), Just("y")];
        let change = prop_oneof![
            (name.clone(), trigger).prop_map(|(name, trigger)| Change::Put(name, trigger)),
            name.prop_map(Change::Delete),
        ];
        prop::collection::vec(change, 0..12)
    }

    fn told(space: &mut Space, at: usize, change: &Change) {
        let version = at as u64 + 1;
        match change {
            Change::Put(name, trigger) => space.put(name, version, rule(name, trigger)),
            Change::Delete(name) => space.remove(name, version, true),
        }
    }

    fn shown(space: &Space) -> Vec<(String, String)> {
        let rules = ["x", "y"].into_iter().flat_map(|trigger| {
            space.rules_of(trigger).map(move |rule| (trigger.to_owned(), rule.name.to_string()))
        });
        rules.collect()
    }

    proptest! {
        /// What is written here is known before the store tells of it; however far behind the store's telling
        /// is, in the end the same is known, and never in between what is older than what was written here.
        #[test]
        fn late_news_change_nothing(changes in changes(), behind in 0_usize..6) {
            let (mut here, mut there) = (Space::default(), Space::default());
            for (at, change) in changes.iter().enumerate() {
                told(&mut there, at, change);
                // Written here: a deletion does not know its version yet.
                match change {
                    Change::Put(..) => told(&mut here, at, change),
                    Change::Delete(name) => {
                        if let Some(version) = here.version(name) {
                            here.remove(name, version, false);
                        }
                    }
                }
                if let Some(late) = at.checked_sub(behind) {
                    told(&mut here, late, &changes[late]);
                }
                prop_assert_eq!(shown(&here), shown(&there));
            }
            let last = changes.len().saturating_sub(behind);
            for (late, change) in changes.iter().enumerate().skip(last) {
                told(&mut here, late, change);
                prop_assert_eq!(shown(&here), shown(&there));
            }
            prop_assert_eq!(here.entities().count(), there.entities().count());
            prop_assert_eq!(here.slots.len(), there.slots.len());
        }
    }
}

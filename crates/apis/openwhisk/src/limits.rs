//! What namespaces may do.

use crate::{Shared, wire::limits::EffectiveLimits};
use xebec_core::Tenant;

impl Shared {
    /// What a namespace may do: its own limits over the system's.
    pub(crate) fn limits(&self, namespace: &Tenant) -> EffectiveLimits {
        let own = self.entities.limits(namespace).map(|own| (*own).clone()).unwrap_or_default();
        EffectiveLimits { system: self.options.limits.clone(), own }
    }
}

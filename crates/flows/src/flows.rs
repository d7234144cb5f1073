//! What chains and conductors share: a door's steps, and the ports that they call through.

use crate::{bounds::Bounds, chain::Chain, conduct::Conduct, journal::Journal, steps::Steps};
use std::sync::Arc;
use xebec_core::ports::{builtin::Builtin, invoker::Invoker};

/// The ports that flows stand on.
#[derive(Clone)]
pub struct Ports {
    /// Calls the steps.
    pub invoker: Arc<dyn Invoker>,
    /// Where runs in progress are written down.
    pub journal: Arc<Journal>,
}

/// The flows of one door.
pub struct Flows {
    pub(crate) ports: Ports,
    pub(crate) steps: Arc<dyn Steps>,
    pub(crate) bounds: Bounds,
}

impl Flows {
    /// The flows of the door that tells of their steps by `steps`.
    pub fn new(ports: Ports, steps: Arc<dyn Steps>, bounds: Bounds) -> Arc<Self> {
        Arc::new(Self { ports, steps, bounds })
    }

    /// The code of its chains, to be registered with the builtin driver as `<door>.chain`.
    pub fn chain(self: &Arc<Self>) -> Arc<dyn Builtin> {
        Arc::new(Chain(self.clone()))
    }

    /// The code of its conductors' flows, to be registered with the builtin driver as `<door>.conduct`.
    pub fn conduct(self: &Arc<Self>) -> Arc<dyn Builtin> {
        Arc::new(Conduct(self.clone()))
    }
}

//! The port's side.

use crate::instance::{Instance, KILLED, Shared};
use async_trait::async_trait;
use parking_lot::{Mutex, RwLock};
use std::{
    collections::BTreeMap,
    sync::{Arc, Weak},
};
use xebec_core::{
    Digest, Error, ErrorKind,
    environment::Environment,
    ports::{
        builtin::Builtin,
        driver::{Blank, Driver, DriverReport, Feature, Prepare, Start},
        instance::InstanceIo,
    },
    revision::{Revision, RevisionSpec},
    workload::Workload,
};

/// Runs code that is part of the server.
#[derive(Default)]
pub struct BuiltinDriver {
    builtins: RwLock<BTreeMap<String, Arc<dyn Builtin>>>,
    instances: Mutex<Vec<Weak<Shared>>>,
}

impl BuiltinDriver {
    /// A driver without any code yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Makes code known under a name, as [`Workload::Builtin`] names it; before the first call is taken. Instances
    /// that run go on with what they have.
    pub fn register(&self, name: impl Into<String>, builtin: Arc<dyn Builtin>) {
        self.builtins.write().insert(name.into(), builtin);
    }

    fn builtin(&self, name: &str) -> Option<Arc<dyn Builtin>> {
        self.builtins.read().get(name).cloned()
    }

    /// The code of a revision, and what it is told.
    fn code<'a>(&self, spec: &'a RevisionSpec) -> Result<(Arc<dyn Builtin>, &'a serde_json::Value), Error> {
        let Workload::Builtin { name, settings } = &spec.workload else {
            return Err(refused("workload: the builtin driver runs parts of the server, no others' code"));
        };
        match self.builtin(name) {
            Some(builtin) => Ok((builtin, settings)),
            None => {
                let names = self.builtins.read().keys().cloned().collect::<Vec<_>>().join(", ");
                Err(refused(format!("workload.name: this server has no part {name:?}"))
                    .with_hint(format!("it has: {names}")))
            }
        }
    }
}

fn refused(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::Refused, "XB3001", message)
}

/// The first field of a revision that means nothing to code in this process.
fn meaningless(spec: &RevisionSpec) -> Option<&'static str> {
    let limits = &spec.limits;
    [
        ("command", !spec.command.is_empty()),
        ("secrets", !spec.secrets.is_empty()),
        ("limits.memory_bytes", limits.memory_bytes.is_some()),
        ("limits.cpu_millis", limits.cpu_millis.is_some()),
        ("limits.processes", limits.processes.is_some()),
        ("limits.scratch_bytes", limits.scratch_bytes.is_some()),
    ]
    .into_iter()
    .find_map(|(field, is_set)| is_set.then_some(field))
}

#[async_trait]
impl Driver for BuiltinDriver {
    fn name(&self) -> &'static str {
        "builtin"
    }

    fn accepts(&self, revision: &Revision, _environment: &Environment) -> Result<(), Error> {
        let spec = &revision.spec;
        if matches!(spec.workload, Workload::Pod { .. }) {
            return Err(refused("workload: the builtin driver runs parts of the server, not pods"));
        }
        let (builtin, settings) = self.code(spec)?;
        if spec.contract.name != "builtin" {
            let message = format!("contract: parts of the server do not speak {}", spec.contract.name);
            return Err(refused(message).with_hint("use the contract builtin"));
        }
        if let Some(field) = meaningless(spec) {
            return Err(refused(format!("{field}: this means nothing to a part of the server"))
                .with_hint("leave it away"));
        }
        builtin.check(settings)
    }

    async fn prepare(&self, request: Prepare<'_>) -> Result<(), Error> {
        self.code(&request.revision.spec).map(|_| ())
    }

    async fn start(&self, start: Start) -> Result<Arc<dyn InstanceIo>, Error> {
        let (builtin, _) = self.code(&start.revision.spec).map_err(|error| Error {
            // It was there when it was deployed: another server's.
            code: "XB3004",
            ..error
        })?;
        let shared = Arc::new(Shared::new(start.instance, builtin, start.revision));
        let mut instances = self.instances.lock();
        if instances.len() == instances.capacity() {
            instances.retain(|instance| instance.strong_count() > 0);
        }
        instances.push(Arc::downgrade(&shared));
        Ok(Arc::new(Instance(shared)))
    }

    async fn start_blank(&self, _environment: Arc<Environment>) -> Result<Blank, Error> {
        Err(Error::new(ErrorKind::Refused, "XB3004", "the builtin driver has no blanks")
            .with_hint("parts of the server start without: leave `blanks` out of the environment"))
    }

    async fn specialize(&self, _blank: Blank, start: Start) -> Result<Arc<dyn InstanceIo>, Error> {
        self.start(start).await
    }

    async fn collect(&self, _live: &(dyn for<'d> Fn(&'d Digest) -> bool + Sync)) -> Result<u64, Error> {
        Ok(0)
    }

    fn report(&self) -> DriverReport {
        let feature = |name: &str, enforced, detail: &str| Feature {
            name: name.to_owned(),
            enforced,
            detail: detail.to_owned(),
        };
        DriverReport {
            driver: "builtin".to_owned(),
            usable: true,
            features: vec![
                feature("trust", true, "no user's code: only parts of the server, told what to do"),
                feature("time limit", true, "a call is given up when its clock runs out"),
                feature("memory limit", false, "shared with the server; limits.memory_bytes is refused"),
            ],
            shares_host_network: false,
        }
    }

    async fn shutdown(&self) {
        let instances = std::mem::take(&mut *self.instances.lock());
        for instance in instances.iter().filter_map(Weak::upgrade) {
            instance.end(KILLED);
        }
    }
}

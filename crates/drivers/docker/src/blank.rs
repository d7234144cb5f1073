//! Blanks: containers of an environment's image that wait for their code.

use crate::{
    driver::Inner,
    early::EarlyLines,
    images,
    instance::Instance,
    prepared::Record,
    reference::Reference,
    shape::{self, Shares},
    starting::not_started,
};
use std::{any::Any, collections::BTreeMap, sync::Arc};
use xebec_core::{
    Error, FunctionKey, Tenant,
    environment::Environment,
    limits::Limits,
    ports::{
        driver::{BlankInner, Start},
        instance::InstanceId,
    },
    revision::{Revision, RevisionSpec},
    workload::Workload,
};

/// A container without code yet. Dropping it removes it.
pub(crate) struct DockerBlank {
    instance: Arc<Instance>,
    lines: Arc<EarlyLines>,
    /// The image that it runs, by its id.
    image: String,
    /// The port by which it is reached.
    port: u16,
    limits: Limits,
}

impl BlankInner for DockerBlank {
    fn alive(&self) -> bool {
        self.instance.fate.ended().is_none()
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any + Send + Sync> {
        self
    }
}

impl Inner {
    /// Starts a blank: an instance of a revision that says nothing. Its image is here since one of the
    /// environment's functions was prepared.
    pub(crate) async fn start_blank(
        self: &Arc<Self>,
        environment: Arc<Environment>,
    ) -> Result<DockerBlank, Error> {
        let name = &environment.name;
        let image = environment.image.as_ref().ok_or_else(|| {
            not_started(format!("the environment {name} has no image: there are no blanks of it"))
        })?;
        let reference = Reference::read(image)?;
        let connected = self.engine().await?;
        let found = images::find(&connected.docker, &reference.local()).await?;
        let found = found.ok_or_else(|| not_started(format!("the image {image} is not here")))?;
        let record = Record {
            reference: reference.to_string(),
            image: found.id,
            pinned: None,
            pulled: false,
            bytes: found.bytes,
            stop_signal: found.stop_signal,
        };
        let lines = Arc::new(EarlyLines::default());
        let spec = nothing(&environment, image);
        let (port, limits) = (shape::port(&spec), spec.limits.clone());
        let start = Start {
            instance: InstanceId(format!("blank-{name}-{:08x}", rand::random::<u32>()).into()),
            function: FunctionKey::new(&Tenant::default(), "", "blank"),
            revision: Arc::new(Revision::new(spec)),
            environment,
            secrets: Vec::new(),
            lines: lines.clone(),
        };
        let instance = self.bring_up(&start, &record).await?;
        Ok(DockerBlank { instance, lines, image: record.image, port, limits })
    }

    /// Whether a blank can become an instance of a revision: what a container is created with, it keeps.
    pub(crate) fn fits(&self, blank: &DockerBlank, start: &Start) -> bool {
        let spec = &start.revision.spec;
        let keeps_scratch =
            spec.limits.scratch_bytes.is_none_or(|bytes| bytes == self.options.default_limits.scratch_bytes);
        self.prepared.read(&start.revision.digest).is_some_and(|record| record.image == blank.image)
            && spec.command.is_empty()
            && spec.secrets.is_empty()
            && !spec.read_only_root
            && keeps_scratch
            && shape::port(spec) == blank.port
    }

    /// Makes a blank an instance. Its code and variables it is told by its contract.
    pub(crate) async fn specialize(
        self: &Arc<Self>,
        blank: DockerBlank,
        start: &Start,
    ) -> Result<Arc<Instance>, Error> {
        let DockerBlank { instance, lines, limits, .. } = blank;
        let connected = self.engine().await?;
        let shares = |limits: &Limits| Shares::of(limits, &self.options.default_limits, &connected.facts);
        let wanted = shares(&start.revision.spec.limits);
        if wanted != shares(&limits) {
            let changed = connected.docker.update_container(&instance.container, wanted.update()).await;
            self.noted(changed)?;
        }
        // Set once, here.
        let _ = instance.given.set(start.instance.clone());
        lines.connect(start.lines.clone());
        Ok(instance)
    }
}

/// What a blank is of: the environment's image as it is.
fn nothing(environment: &Environment, image: &str) -> RevisionSpec {
    RevisionSpec {
        workload: Workload::image(image),
        environment: environment.name.clone(),
        contract: environment.contract.clone(),
        command: Vec::new(),
        handler: None,
        style: None,
        variables: BTreeMap::new(),
        secrets: Vec::new(),
        limits: Limits { concurrency: environment.concurrency, ..Limits::default() },
        read_only_root: false,
        as_is: true,
    }
}

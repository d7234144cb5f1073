//! What an instance's container looks like: a revision's fields, each in Docker's words.

use crate::{
    engine::Facts,
    files::Bind,
    options::{DefaultLimits, DockerOptions},
    prepared::Record,
};
use bollard::models::{
    ContainerCreateBody, ContainerUpdateBody, HealthConfig, HostConfig, HostConfigLogConfig, Mount,
    MountType, PortBinding,
};
use std::collections::HashMap;
use xebec_core::{limits::Limits, ports::driver::Start, revision::RevisionSpec};

/// The label that says whose container it is: an installation's.
pub(crate) const INSTALLATION: &str = "dev.xebec.installation";

/// What a container is made of.
pub(crate) struct Shape<'a> {
    pub(crate) start: &'a Start,
    pub(crate) record: &'a Record,
    pub(crate) options: &'a DockerOptions,
    pub(crate) facts: &'a Facts,
    pub(crate) installation: &'a str,
    pub(crate) network: &'a str,
    pub(crate) binds: &'a [Bind],
}

/// The port that a function's server listens on.
pub(crate) fn port(spec: &RevisionSpec) -> u16 {
    let port = spec.contract.options.get("port").and_then(serde_json::Value::as_u64);
    port.and_then(|port| u16::try_from(port).ok()).unwrap_or(8080)
}

/// A port as Docker writes it.
pub(crate) fn port_key(port: u16) -> String {
    format!("{port}/tcp")
}

impl Shape<'_> {
    /// The container to create.
    pub(crate) fn container(&self) -> ContainerCreateBody {
        let spec = &self.start.revision.spec;
        let port = port_key(port(spec));
        let published = self.facts.published;
        ContainerCreateBody {
            image: Some(self.record.image.clone()),
            entrypoint: self.entrypoint(),
            // A command takes the place of all that the image says.
            cmd: (!self.command().is_empty()).then(Vec::new),
            env: Some(self.variables()),
            user: self.options.user.clone(),
            hostname: Some(hostname(&self.start.instance.0)),
            labels: Some(self.labels()),
            exposed_ports: published.then(|| vec![port.clone()]),
            // Readiness is asked by the contract; an image's own check would cost a process each time.
            healthcheck: Some(HealthConfig {
                test: Some(vec!["NONE".to_owned()]),
                ..HealthConfig::default()
            }),
            host_config: Some(HostConfig {
                port_bindings: published.then(|| HashMap::from([(port, Some(vec![on_loopback()]))])),
                ..self.host(spec)
            }),
            ..ContainerCreateBody::default()
        }
    }

    fn host(&self, spec: &RevisionSpec) -> HostConfig {
        let (limits, defaults) = (&spec.limits, &self.options.default_limits);
        let Shares { memory, nano_cpus, processes } = Shares::of(limits, defaults, self.facts);
        let scratch = limits.scratch_bytes.unwrap_or(defaults.scratch_bytes);
        HostConfig {
            memory,
            // As much as memory alone: no swap.
            memory_swap: memory,
            nano_cpus,
            pids_limit: processes,
            readonly_rootfs: Some(spec.read_only_root),
            tmpfs: Some(HashMap::from([(
                "/tmp".to_owned(),
                format!("rw,nosuid,nodev,exec,mode=1777,size={scratch}"),
            )])),
            mounts: Some(self.binds.iter().map(mount).collect()),
            network_mode: Some(self.network.to_owned()),
            cap_drop: Some(vec!["ALL".to_owned()]),
            cap_add: Some(self.options.capabilities.clone()),
            security_opt: Some(vec!["no-new-privileges".to_owned()]),
            // What it prints is read as it comes, and kept by the server.
            log_config: Some(HostConfigLogConfig { typ: Some("none".to_owned()), config: None }),
            ..HostConfig::default()
        }
    }

    fn command(&self) -> &[String] {
        let own = &self.start.revision.spec.command;
        if own.is_empty() { &self.start.environment.command } else { own }
    }

    fn entrypoint(&self) -> Option<Vec<String>> {
        Some(self.command().to_vec()).filter(|command| !command.is_empty())
    }

    /// The environment's variables, the function's own above them.
    fn variables(&self) -> Vec<String> {
        let mut variables = self.start.environment.variables.clone();
        variables.extend(self.start.revision.spec.variables.clone());
        variables.into_iter().map(|(name, value)| format!("{name}={value}")).collect()
    }

    fn labels(&self) -> HashMap<String, String> {
        let function = &self.start.function;
        [
            (INSTALLATION, self.installation.to_owned()),
            ("dev.xebec.tenant", function.tenant.as_str().to_owned()),
            ("dev.xebec.function", function.name.to_string()),
            ("dev.xebec.instance", self.start.instance.to_string()),
            ("dev.xebec.revision", self.start.revision.digest.to_string()),
            ("dev.xebec.image", self.record.reference.clone()),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .into()
    }
}

/// What a container may use that can still be changed while it runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shares {
    memory: Option<i64>,
    nano_cpus: Option<i64>,
    processes: Option<i64>,
}

impl Shares {
    pub(crate) fn of(limits: &Limits, defaults: &DefaultLimits, facts: &Facts) -> Self {
        let memory = limits.memory_bytes.unwrap_or(defaults.memory_bytes);
        let processes = limits.processes.unwrap_or(defaults.processes);
        Self {
            memory: facts.memory_limit.then(|| whole(memory)),
            // More than there is cannot be had, and Docker refuses to be asked for it.
            nano_cpus: limits.cpu_millis.map(|millis| i64::from(millis.min(facts.cpus * 1000)) * 1_000_000),
            processes: facts.pids_limit.then(|| i64::from(processes)),
        }
    }

    /// The change that gives a running container these.
    pub(crate) fn update(self) -> ContainerUpdateBody {
        ContainerUpdateBody {
            memory: self.memory,
            memory_swap: self.memory,
            nano_cpus: self.nano_cpus,
            pids_limit: self.processes,
            ..ContainerUpdateBody::default()
        }
    }
}

fn mount(bind: &Bind) -> Mount {
    Mount {
        typ: Some(MountType::BIND),
        source: Some(bind.host.to_string_lossy().into_owned()),
        target: Some(bind.inside.clone()),
        read_only: Some(true),
        ..Mount::default()
    }
}

/// Any free port of our loopback.
fn on_loopback() -> PortBinding {
    PortBinding { host_ip: Some("127.0.0.1".to_owned()), host_port: Some("0".to_owned()) }
}

/// Instances' ids are fit for hosts' names but for their length.
fn hostname(id: &str) -> String {
    let id = &id[id.len().saturating_sub(63)..];
    id.trim_matches('-').to_owned()
}

fn whole(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{collections::BTreeMap, path::PathBuf, sync::Arc};
    use xebec_core::{
        FunctionKey, Tenant,
        environment::Environment,
        limits::Limits,
        log::LogStream,
        ports::instance::{InstanceId, LineSink},
        revision::{ContractSpec, Revision},
        workload::Workload,
    };

    struct Nowhere;
    impl LineSink for Nowhere {
        fn line(&self, _: LogStream, _: &str) {}
    }

    fn shaped(change: impl FnOnce(&mut RevisionSpec), published: bool) -> ContainerCreateBody {
        let mut spec = RevisionSpec {
            workload: Workload::image("a:1"),
            environment: "image".into(),
            contract: ContractSpec::named("http"),
            command: Vec::new(),
            handler: None,
            style: None,
            variables: BTreeMap::from([("A".into(), "own".into())]),
            secrets: Vec::new(),
            limits: Limits::default(),
            read_only_root: false,
            as_is: false,
        };
        change(&mut spec);
        let environment = Environment {
            name: "image".into(),
            image: None,
            description: String::new(),
            driver: "docker".into(),
            contract: ContractSpec::named("http"),
            command: Vec::new(),
            variables: BTreeMap::from([("A".into(), "below".into()), ("B".into(), "2".into())]),
            needs: Vec::new(),
            build: Vec::new(),
            blanks: None,
            concurrency: 1,
        };
        let start = Start {
            instance: InstanceId("f-1".into()),
            function: FunctionKey::new(&Tenant::new("t"), "native", "f"),
            revision: Arc::new(Revision::new(spec)),
            environment: Arc::new(environment),
            secrets: Vec::new(),
            lines: Arc::new(Nowhere),
        };
        let record = Record {
            reference: "a:1".into(),
            image: "sha256:1".into(),
            pinned: None,
            pulled: false,
            bytes: 0,
            stop_signal: None,
        };
        Shape {
            start: &start,
            record: &record,
            options: &DockerOptions::new("/d"),
            facts: &Facts { cpus: 2, memory_limit: true, pids_limit: true, published, ..Facts::default() },
            installation: "i",
            network: "n",
            binds: &[Bind { host: PathBuf::from("/m/0"), inside: "/run/secrets/a".into() }],
        }
        .container()
    }

    #[test]
    fn every_field_has_its_place() {
        let body = shaped(
            |spec| {
                spec.limits.memory_bytes = Some(64 << 20);
                spec.limits.cpu_millis = Some(500);
                spec.limits.processes = Some(20);
                spec.limits.scratch_bytes = Some(1 << 20);
                spec.read_only_root = true;
                spec.command = vec!["/run".into(), "x".into()];
            },
            false,
        );
        let host = body.host_config.unwrap();
        assert_eq!((host.memory, host.memory_swap), (Some(64 << 20), Some(64 << 20)));
        assert_eq!((host.nano_cpus, host.pids_limit), (Some(500_000_000), Some(20)));
        assert_eq!(host.readonly_rootfs, Some(true));
        assert!(host.tmpfs.unwrap()["/tmp"].ends_with("size=1048576"));
        assert_eq!(host.cap_drop.unwrap(), ["ALL"]);
        assert_eq!(host.security_opt.unwrap(), ["no-new-privileges"]);
        assert_eq!((body.entrypoint.unwrap(), body.cmd.unwrap().len()), (vec!["/run".into(), "x".into()], 0));
        assert_eq!(body.env.unwrap(), ["A=own", "B=2"]);
        assert_eq!(host.mounts.unwrap()[0].target.as_deref(), Some("/run/secrets/a"));
        assert!(host.port_bindings.is_none() && body.exposed_ports.is_none());
        assert_eq!(body.labels.unwrap()[INSTALLATION], "i");
    }

    #[test]
    fn what_is_not_said() {
        let body = shaped(|spec| spec.limits.cpu_millis = Some(64_000), true);
        let host = body.host_config.unwrap();
        assert_eq!((host.memory, host.nano_cpus), (Some(512 << 20), Some(2_000_000_000)));
        // The image's own command, on a port of our loopback.
        assert!(body.entrypoint.is_none() && body.cmd.is_none());
        let bound = &host.port_bindings.unwrap()["8080/tcp"];
        assert_eq!(bound.as_ref().unwrap()[0].host_ip.as_deref(), Some("127.0.0.1"));
    }

    #[test]
    fn names_of_hosts() {
        assert_eq!(hostname("f-0a"), "f-0a");
        assert_eq!(hostname(&format!("-{}", "a".repeat(62))), "a".repeat(62));
        assert_eq!(hostname(&"b".repeat(80)).len(), 63);
    }
}

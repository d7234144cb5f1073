//! Configuration: flags, then `XEBEC_…` variables, then `xebec.toml`, then what is built in.

mod delivery;
mod openwhisk;
mod queue;
mod records;
mod telemetry;

pub(crate) use openwhisk::OpenWhisk;
pub(crate) use queue::Queue;
pub(crate) use records::History;

use crate::failure::Failure;
use serde::Deserialize;
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::Duration,
};
use xebec_api_native::wire::{Bytes, Span};
use xebec_core::{environment::Environment, policy::TenantQuota};
use xebec_delivery::DeliveryOptions;
use xebec_environments::ImageRule;
use xebec_telemetry::TelemetryOptions;

/// Where the server listens unless told otherwise.
pub(crate) const LISTEN: &str = "127.0.0.1:8080";

/// What `xebec.toml` holds. Everything is optional.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct File {
    listen: Option<String>,
    data_dir: Option<PathBuf>,
    insecure: Option<bool>,
    basic_auth: Option<PathBuf>,
    hosts: Vec<String>,
    share_host_network: Option<bool>,
    drain: Option<Span>,
    code_size: Option<Bytes>,
    instances_memory: Option<Bytes>,
    tls: FileTls,
    queue: Option<String>,
    #[serde(rename = "async")]
    delivery: delivery::FileAsync,
    nats: queue::FileNats,
    records: records::FileRecords,
    logs: records::FileLogs,
    telemetry: telemetry::FileTelemetry,
    openwhisk: openwhisk::FileOpenWhisk,
    tenants: BTreeMap<String, TenantQuota>,
    images: Vec<ImageRule>,
    environments: Vec<Environment>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
struct FileTls {
    certificate: Option<PathBuf>,
    key: Option<PathBuf>,
    self_signed: Option<bool>,
}

/// The options of `xebec up`.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct Options {
    /// Address and port to listen on [default: 127.0.0.1:8080]
    #[arg(long, env = "XEBEC_LISTEN", value_name = "ADDRESS")]
    pub(crate) listen: Option<String>,
    /// Where state, code and logs are kept
    #[arg(long, env = "XEBEC_DATA_DIR", value_name = "FOLDER")]
    pub(crate) data_dir: Option<PathBuf>,
    /// The configuration file [default: xebec.toml in the data directory, if it is there]
    #[arg(long, env = "XEBEC_CONFIG", value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Let everyone who reaches the listener manage, whatever it is bound to
    #[arg(long, env = "XEBEC_INSECURE")]
    pub(crate) insecure: bool,
    /// A folder with the files basic-auth-user and basic-auth-password: who has these may manage
    #[arg(long, env = "XEBEC_BASIC_AUTH", value_name = "FOLDER")]
    pub(crate) basic_auth: Option<PathBuf>,
    /// A name by which the server is reached, beside its addresses; may be given several times
    #[arg(long = "host", env = "XEBEC_HOSTS", value_delimiter = ',', value_name = "NAME")]
    pub(crate) hosts: Vec<String>,
    /// Functions share the network of this machine; management then always needs a token
    #[arg(long, env = "XEBEC_SHARE_HOST_NETWORK")]
    pub(crate) share_host_network: bool,
    /// The certificate chain for TLS, in PEM
    #[arg(long, env = "XEBEC_TLS_CERTIFICATE", value_name = "FILE", requires = "tls_key")]
    pub(crate) tls_certificate: Option<PathBuf>,
    /// The certificate's private key, in PEM
    #[arg(long, env = "XEBEC_TLS_KEY", value_name = "FILE", requires = "tls_certificate")]
    pub(crate) tls_key: Option<PathBuf>,
    /// TLS with a certificate that the server makes and keeps in its data directory
    #[arg(long, env = "XEBEC_TLS_SELF_SIGNED", conflicts_with = "tls_certificate")]
    pub(crate) tls_self_signed: bool,
    /// How long calls in flight may go on after the server was asked to stop [default: 30s]
    #[arg(long, env = "XEBEC_DRAIN", value_name = "SPAN")]
    pub(crate) drain: Option<Span>,
    /// Where calls wait that outlive their caller: `sqlite`, or the URLs of NATS servers [default: sqlite]
    #[arg(long, env = "XEBEC_QUEUE", value_name = "URL")]
    pub(crate) queue: Option<String>,
    /// The monitoring endpoints of the NATS servers, by which it is checked that they sync what they
    /// acknowledge [default: port 8222 of each]
    #[arg(long, env = "XEBEC_NATS_MONITORING", value_delimiter = ',', value_name = "URL")]
    pub(crate) nats_monitoring: Vec<String>,
    /// The largest code archive [default: 256MiB]
    #[arg(long, env = "XEBEC_CODE_SIZE", value_name = "BYTES")]
    pub(crate) code_size: Option<Bytes>,
    /// Memory of all instances together, by their limits [default: as much as they ask for]
    #[arg(long, env = "XEBEC_INSTANCES_MEMORY", value_name = "BYTES")]
    pub(crate) instances_memory: Option<Bytes>,
    /// How log lines are written
    #[arg(long, env = "XEBEC_LOG_FORMAT", value_enum, default_value_t)]
    pub(crate) log_format: LogFormat,
    /// Which log lines are written, e.g. `debug` or `info,xebec::access=debug`
    #[arg(long, env = "XEBEC_LOG", default_value = "info", value_name = "FILTER")]
    pub(crate) log: String,
}

/// How log lines are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object per line.
    Json,
}

/// TLS, decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Tls {
    Off,
    SelfSigned,
    Files { certificate: PathBuf, key: PathBuf },
}

/// Everything decided.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    pub(crate) listen: String,
    pub(crate) data_directory: PathBuf,
    pub(crate) insecure: bool,
    pub(crate) basic_auth: Option<PathBuf>,
    pub(crate) hosts: Vec<String>,
    pub(crate) share_host_network: bool,
    pub(crate) tls: Tls,
    pub(crate) drain: Duration,
    pub(crate) code_bytes: u64,
    pub(crate) instances_bytes: Option<u64>,
    pub(crate) queue: Queue,
    pub(crate) delivery: DeliveryOptions,
    pub(crate) history: History,
    pub(crate) telemetry: TelemetryOptions,
    pub(crate) openwhisk: OpenWhisk,
    pub(crate) tenants: BTreeMap<String, TenantQuota>,
    pub(crate) images: Vec<ImageRule>,
    pub(crate) environments: Vec<Environment>,
}

impl Config {
    /// Puts flags (which clap has merged with variables) over the file over what is built in.
    pub(crate) fn load(options: &Options) -> Result<Self, Failure> {
        let file = match &options.config {
            Some(path) => read(path)?,
            None => {
                let directory = options.data_dir.clone().unwrap_or_else(default_data_directory);
                let path = directory.join("xebec.toml");
                if path.exists() { read(&path)? } else { File::default() }
            }
        };
        let tls = match (&options.tls_certificate, &options.tls_key, options.tls_self_signed) {
            (Some(certificate), Some(key), _) => {
                Tls::Files { certificate: certificate.clone(), key: key.clone() }
            }
            (_, _, true) => Tls::SelfSigned,
            _ => file.tls.decide()?,
        };
        Ok(Self {
            listen: options.listen.clone().or(file.listen).unwrap_or_else(|| LISTEN.to_owned()),
            data_directory: absolute(
                options.data_dir.clone().or(file.data_dir).unwrap_or_else(default_data_directory),
            )?,
            insecure: options.insecure || file.insecure.unwrap_or_default(),
            basic_auth: options.basic_auth.clone().or(file.basic_auth),
            hosts: if options.hosts.is_empty() { file.hosts } else { options.hosts.clone() },
            share_host_network: options.share_host_network || file.share_host_network.unwrap_or_default(),
            tls,
            drain: options.drain.or(file.drain).map_or(Duration::from_secs(30), |span| span.0),
            code_bytes: options.code_size.or(file.code_size).map_or(256 << 20, |bytes| bytes.0),
            instances_bytes: options.instances_memory.or(file.instances_memory).map(|bytes| bytes.0),
            delivery: file.delivery.decide()?,
            queue: Queue::decide(
                options.queue.as_deref().or(file.queue.as_deref()),
                file.nats.monitored_at(&options.nats_monitoring),
            )?,
            history: History::decide(&file.records, &file.logs),
            telemetry: file.telemetry.decide()?,
            openwhisk: file.openwhisk.decide()?,
            tenants: file.tenants,
            images: file.images,
            environments: file.environments,
        })
    }
}

impl FileTls {
    fn decide(self) -> Result<Tls, Failure> {
        match (self.certificate, self.key, self.self_signed.unwrap_or_default()) {
            (Some(certificate), Some(key), false) => Ok(Tls::Files { certificate, key }),
            (None, None, true) => Ok(Tls::SelfSigned),
            (None, None, false) => Ok(Tls::Off),
            _ => Err(Failure::misuse("[tls] needs certificate and key, or self-signed = true")),
        }
    }
}

fn read(path: &Path) -> Result<File, Failure> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| Failure::misuse(format!("{}: {error}", path.display())))?;
    toml::from_str(&text)
        .map_err(|error| Failure::misuse(format!("{}: {}", path.display(), error.to_string().trim_end())))
}

/// Sandboxes mount what is below it, and know no directory that paths could be relative to.
fn absolute(directory: PathBuf) -> Result<PathBuf, Failure> {
    std::path::absolute(&directory).map_err(Failure::io(directory.display()))
}

/// `/var/lib/xebec` for root, else a folder in the user's own data folder.
pub(crate) fn default_data_directory() -> PathBuf {
    let home = std::env::var_os("HOME").map(PathBuf::from);
    let own = std::env::var_os("XDG_DATA_HOME")
        .map(PathBuf::from)
        .or_else(|| home.map(|home| home.join(".local/share")));
    match own {
        _ if rustix::process::geteuid().is_root() => PathBuf::from("/var/lib/xebec"),
        Some(own) => own.join("xebec"),
        None => PathBuf::from("xebec-data"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_go_before_the_file_and_the_file_before_what_is_built_in() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("xebec.toml");
        std::fs::write(
            &path,
            "listen = \"127.0.0.1:1\"\ndrain = \"5s\"\n[tenants.acme]\nmax_functions = 3\n",
        )
        .unwrap();
        let options =
            Options { config: Some(path), listen: Some("127.0.0.1:2".into()), ..Options::default() };
        let config = Config::load(&options).unwrap();
        assert_eq!(config.listen, "127.0.0.1:2");
        assert_eq!(config.drain, Duration::from_secs(5));
        assert_eq!(config.code_bytes, 256 << 20);
        assert_eq!(config.tenants["acme"].max_functions, Some(3));
    }

    #[test]
    fn the_data_directory_becomes_absolute() {
        let options = Options { data_dir: Some("data".into()), ..Options::default() };
        let config = Config::load(&options).unwrap();
        assert!(config.data_directory.is_absolute() && config.data_directory.ends_with("data"));
    }

    #[test]
    fn a_wrong_file_is_refused_with_line_and_reason() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("xebec.toml");
        std::fs::write(&path, "listen = \"127.0.0.1:1\"\nlissten = 3\n").unwrap();
        let failure = Config::load(&Options { config: Some(path), ..Options::default() }).unwrap_err();
        assert_eq!(failure.exit, 2);
        assert!(
            failure.message.contains("line 2") && failure.message.contains("lissten"),
            "{}",
            failure.message
        );
    }
}

//! The composition root: the one place that names implementations.

use super::{backup, key_file, login, queue};
use crate::{
    config::{self, Config, Tls},
    failure::Failure,
};
use std::{
    net::{SocketAddr, ToSocketAddrs as _},
    sync::{Arc, atomic::AtomicBool},
};
use xebec_api_native::{Native, NativeParts};
use xebec_api_openfaas::OpenFaas;
use xebec_api_openwhisk::{OpenWhisk, Throttle};
use xebec_blobs::{HeldBlobs, LocalBlobs};
use xebec_core::{
    Tenant,
    environment::Environments,
    ports::{
        blobs::Blobs,
        clock::SystemClock,
        control::{Control, EnvironmentInfo},
        deliveries::Deliveries,
        driver::{Driver, DriverReport},
        invoker::Invoker,
        store::Store,
    },
};
use xebec_delivery::{Delivery, DeliveryOptions, DeliveryParts};
use xebec_driver_builtin::BuiltinDriver;
use xebec_driver_docker::{DockerDriver, DockerOptions};
use xebec_driver_wasm::{WasmDriver, WasmOptions};
use xebec_engine::{Engine, EngineOptions, EngineParts};
use xebec_environments::Table;
use xebec_flows::{Journal, JournalOptions};
use xebec_gateway::{Gateway, GatewayOptions, GatewayParts, KeyRing, installation_token};
use xebec_schedules::Schedules;
use xebec_store_sqlite::{DataDirectory, SqliteStore};
use xebec_telemetry::Telemetry;

/// Everything, put together but not serving yet.
pub(super) struct Composed {
    pub(super) engine: Arc<Engine>,
    pub(super) delivery: Arc<Delivery>,
    pub(super) schedules: Arc<Schedules>,
    pub(super) journal: Arc<Journal>,
    pub(super) gateway: Gateway,
    pub(super) telemetry: Arc<Telemetry>,
    pub(super) stopping: Arc<AtomicBool>,
    pub(super) token: String,
    /// The host in URLs that people can use.
    pub(super) url_host: String,
}

pub(super) async fn compose(config: &Config) -> Result<Composed, Failure> {
    let telemetry = Arc::new(Telemetry::new(config.telemetry.clone())?);
    let directory = DataDirectory::open(&config.data_directory)?;
    let data = directory.path();
    let store: Arc<dyn Store> =
        Arc::new(SqliteStore::open(&directory, xebec_store_sqlite::Options::default())?);
    let blobs = Arc::new(LocalBlobs::open(&data.join(xebec_store_sqlite::backup::BLOBS_DIRECTORY))?);
    let (records, logs) = xebec_records::open(data)?;
    let mut drivers = drivers(config).await?;
    let strict = drivers.iter().any(|driver| driver.report().shares_host_network);
    let builtin = Arc::new(BuiltinDriver::new());
    drivers.push(Arc::clone(&builtin) as Arc<dyn Driver>);
    let secret_key = key_file::open(data)?;
    let engine = Engine::new(EngineParts {
        store: Arc::clone(&store),
        blobs,
        records: Arc::new(records),
        logs: Arc::new(logs),
        drivers,
        environments: environments(config)?,
        clock: Arc::new(SystemClock),
        secret_key,
        options: EngineOptions {
            quotas: config.tenants.iter().map(|(name, quota)| (Tenant::new(name), quota.clone())).collect(),
            max_code_bytes: config.code_bytes,
            max_memory_bytes: config.instances_bytes,
            record_retention: config.history.records,
            log_retention: config.history.logs,
            keep_requests: config.history.keep_requests,
            traces: telemetry.traces(),
            ..EngineOptions::default()
        },
    });
    let token = installation_token(data)?;
    let mut keys = KeyRing::load(Arc::clone(&store)).await?.with_installation_token(&token);
    if let Some(folder) = &config.basic_auth {
        let (user, password) = login::read(folder)?;
        keys = keys.with_login(&user, &password);
    }
    let keys = Arc::new(keys);
    let control: Arc<dyn Control> = Arc::clone(&engine) as Arc<dyn Control>;
    let invoker: Arc<dyn Invoker> = Arc::clone(&engine) as Arc<dyn Invoker>;
    let queue = queue::open(&config.queue, data).await?;
    let bodies = LocalBlobs::open(&data.join(xebec_store_sqlite::backup::BODIES_DIRECTORY))?;
    let bodies = Arc::new(HeldBlobs::new(Arc::new(bodies)));
    let clock = Arc::new(SystemClock);
    let openfaas =
        OpenFaas::new(Arc::clone(&control), Arc::clone(&invoker), xebec_api_openfaas::Options::default())
            .with_keys(keys.clone(), &secret_key)
            .with_steps();
    let throttle = Arc::new(Throttle::default());
    let delivery = Arc::new(Delivery::new(DeliveryParts {
        queue: Arc::clone(&queue),
        blobs: Arc::clone(&bodies) as Arc<dyn Blobs>,
        invoker: throttle.counted(openfaas.counted()),
        control: Arc::clone(&control),
        records: engine.records_port(),
        clock: clock.clone(),
        options: DeliveryOptions { traces: telemetry.traces(), ..config.delivery.clone() },
    })?);
    let deliveries: Arc<dyn Deliveries> = Arc::clone(&delivery) as Arc<dyn Deliveries>;
    let schedules = Arc::new(Schedules::new(xebec_schedules::Parts {
        store: Arc::clone(&store),
        control: Arc::clone(&control),
        deliveries: Arc::clone(&deliveries),
        clock,
    }));
    let journal = Journal::new(Arc::clone(&store), engine.records_port(), JournalOptions::default());
    let listen = addresses(&config.listen)?;
    let url_host = url_host(&listen);
    let openwhisk = OpenWhisk::open(xebec_api_openwhisk::Parts {
        control: Arc::clone(&control),
        invoker: Arc::clone(&invoker),
        deliveries: Arc::clone(&deliveries),
        schedules: Arc::clone(&schedules) as Arc<dyn xebec_core::ports::schedules::Schedules>,
        store,
        records: engine.records_port(),
        journal: Arc::clone(&journal),
        keys: keys.clone(),
        throttle,
        options: openwhisk_options(config, &url_host, &listen),
    })
    .await?;
    for (name, code) in openwhisk.builtins() {
        builtin.register(name, code);
    }
    let stopping = Arc::new(AtomicBool::new(false));
    let native = Native::new(NativeParts {
        control: Arc::clone(&control),
        invoker: Arc::clone(&invoker),
        deliveries: Some(Arc::clone(&deliveries)),
        schedules: Some(Arc::clone(&schedules) as Arc<dyn xebec_core::ports::schedules::Schedules>),
        keys: keys.clone(),
        version: env!("CARGO_PKG_VERSION"),
        code_bytes: config.code_bytes,
        backup: backup::back_up(Arc::clone(&control), queue, bodies, data),
        stopping: Arc::clone(&stopping),
    });
    let openfaas = openfaas.with_deliveries(deliveries);
    let (counted, delivered, exported) = (Arc::clone(&engine), Arc::clone(&delivery), Arc::clone(&telemetry));
    let gateway = Gateway::new(GatewayParts {
        doors: vec![Arc::new(native), Arc::new(openfaas), Arc::new(openwhisk)],
        keys,
        metrics: vec![Arc::new(move |out: &mut String| {
            counted.metrics(out);
            delivered.metrics(out);
            exported.metrics(out);
        })],
        options: GatewayOptions {
            listen,
            tls: tls(config),
            insecure: config.insecure,
            strict,
            hosts: config.hosts.clone(),
            grace: config.drain,
            traces: telemetry.traces(),
            durations: telemetry.exports_metrics(),
            ..GatewayOptions::default()
        },
    })?;
    telemetry.start(gateway.metrics());
    Ok(Composed { engine, delivery, schedules, journal, gateway, telemetry, stopping, token, url_host })
}

/// What drivers and environments would find on this machine, without a server.
pub(crate) async fn inspect(config: &Config) -> Result<(Vec<DriverReport>, Vec<EnvironmentInfo>), Failure> {
    let folder = tempfile::tempdir().map_err(Failure::io("a temporary folder"))?;
    let config = Config { data_directory: folder.path().to_owned(), ..config.clone() };
    let drivers = drivers(&config).await?;
    let reports = drivers.iter().map(|driver| driver.report()).collect();
    let table = environments(&config)?;
    let known = table.names().into_iter().filter_map(|name| table.environment(&name));
    let environments = known
        .map(|environment| EnvironmentInfo {
            name: environment.name.clone(),
            description: environment.description.clone(),
            driver: environment.driver.clone(),
            missing: table.missing(&environment),
            blanks: 0,
        })
        .collect();
    for driver in drivers {
        driver.shutdown().await;
    }
    Ok((reports, environments))
}

async fn drivers(config: &Config) -> Result<Vec<Arc<dyn Driver>>, Failure> {
    let wasm = WasmDriver::new(WasmOptions::new(&config.data_directory));
    let docker = DockerDriver::connect(DockerOptions::new(&config.data_directory)).await?;
    let mut drivers: Vec<Arc<dyn Driver>> = vec![Arc::new(wasm), Arc::new(docker)];
    #[cfg(target_os = "linux")]
    drivers.insert(0, Arc::new(process_driver(config).await?));
    Ok(drivers)
}

#[cfg(target_os = "linux")]
async fn process_driver(config: &Config) -> Result<xebec_driver_process::ProcessDriver, Failure> {
    let mut options = xebec_driver_process::ProcessOptions::new(&config.data_directory);
    options.share_host_network = config.share_host_network;
    Ok(xebec_driver_process::ProcessDriver::launch(options).await?)
}

fn environments(config: &Config) -> Result<Arc<dyn Environments>, Failure> {
    Ok(Arc::new(Table::new(config.environments.clone(), config.images.clone())?))
}

fn openwhisk_options(config: &Config, url_host: &str, listen: &[SocketAddr]) -> xebec_api_openwhisk::Options {
    let config::OpenWhisk { api_host, wait, limits } = config.openwhisk.clone();
    let listening = || {
        let scheme = if config.tls == Tls::Off { "http" } else { "https" };
        let port = listen.first().map_or(0, SocketAddr::port);
        format!("{scheme}://{url_host}:{port}")
    };
    xebec_api_openwhisk::Options {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        api_host: api_host.unwrap_or_else(listening),
        wait,
        limits,
        ..xebec_api_openwhisk::Options::default()
    }
}

fn addresses(listen: &str) -> Result<Vec<SocketAddr>, Failure> {
    let found: Vec<_> = listen
        .to_socket_addrs()
        .map_err(|error| {
            Failure::misuse(format!("{listen:?} is no address to listen on: {error}"))
                .with_hint("for example 127.0.0.1:8080 or [::1]:8080")
        })?
        .collect();
    // A name such as localhost has several addresses; one port must serve, so the first is taken.
    Ok(found.into_iter().take(1).collect())
}

fn url_host(listen: &[SocketAddr]) -> String {
    match listen.first() {
        Some(address) if address.ip().is_unspecified() => "127.0.0.1".to_owned(),
        Some(SocketAddr::V6(address)) => format!("[{}]", address.ip()),
        Some(SocketAddr::V4(address)) => address.ip().to_string(),
        None => "127.0.0.1".to_owned(),
    }
}

fn tls(config: &Config) -> Option<xebec_gateway::Tls> {
    match &config.tls {
        Tls::Off => None,
        Tls::Files { certificate, key } => {
            Some(xebec_gateway::Tls::Files { certificate: certificate.clone(), key: key.clone() })
        }
        Tls::SelfSigned => Some(xebec_gateway::Tls::SelfSigned {
            directory: config.data_directory.clone(),
            names: config.hosts.clone(),
        }),
    }
}

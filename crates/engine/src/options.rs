//! What an engine is made of.

use std::{collections::BTreeMap, sync::Arc, time::Duration};
use xebec_core::{
    Tenant,
    environment::Environments,
    policy::TenantQuota,
    ports::{
        blobs::Blobs,
        clock::Clock,
        driver::Driver,
        records::{Logs, Records, Retention},
        store::Store,
        tracer::Traces,
    },
    rules::keep_alive,
};

/// What an engine is made of.
pub struct EngineParts {
    /// Where documents live.
    pub store: Arc<dyn Store>,
    /// Where code lives.
    pub blobs: Arc<dyn Blobs>,
    /// Where records of invocations live.
    pub records: Arc<dyn Records>,
    /// Where functions' lines live.
    pub logs: Arc<dyn Logs>,
    /// Where instances run.
    pub drivers: Vec<Arc<dyn Driver>>,
    /// How code becomes an instance.
    pub environments: Arc<dyn Environments>,
    /// What time it is.
    pub clock: Arc<dyn Clock>,
    /// What secrets are encrypted with.
    pub secret_key: [u8; 32],
    /// What may be chosen.
    pub options: EngineOptions,
}

/// What may be chosen.
#[derive(Clone, Debug)]
pub struct EngineOptions {
    /// What each tenant may use unless it is named in `quotas`.
    pub default_quota: TenantQuota,
    /// What single tenants may use.
    pub quotas: BTreeMap<Tenant, TenantQuota>,
    /// Memory of all instances of all tenants, in bytes, by their limits; `None`: as much as they ask for.
    pub max_memory_bytes: Option<u64>,
    /// What an instance without a memory limit counts for.
    pub assumed_memory_bytes: u64,
    /// The largest code archive.
    pub max_code_bytes: u64,
    /// The largest secret.
    pub max_secret_bytes: usize,
    /// How many records of invocations are kept.
    pub record_retention: Retention,
    /// How many lines are kept.
    pub log_retention: Retention,
    /// Requests whose body has at most so many bytes are kept beside their records; `None`: none is.
    pub keep_requests: Option<u64>,
    /// Lines per second that one instance may print for long; bursts of twice as many pass.
    pub log_lines_per_second: u32,
    /// Entries that wait to be written, of records and of lines each; past it they are counted and dropped.
    pub write_behind: usize,
    /// How long an idle instance is kept where a function does not say so.
    pub keep_alive: keep_alive::Bounds,
    /// A function that was not called for so long has no series in the metrics any more.
    pub forget_after: Duration,
    /// What an instance gets to finish and stop when it is not needed any more.
    pub stop_grace: Duration,
    /// Where the spans of calls and starts go.
    pub traces: Traces,
    /// How often garbage is collected.
    pub collect_every: Duration,
    /// Blobs younger than this are never garbage: someone may be about to deploy them.
    pub blob_grace: Duration,
}

impl Default for EngineOptions {
    fn default() -> Self {
        Self {
            default_quota: TenantQuota::default(),
            quotas: BTreeMap::new(),
            max_memory_bytes: None,
            assumed_memory_bytes: 128 * 1024 * 1024,
            max_code_bytes: 512 * 1024 * 1024,
            max_secret_bytes: 1024 * 1024,
            record_retention: Retention::default(),
            log_retention: Retention::default(),
            keep_requests: None,
            log_lines_per_second: 1000,
            write_behind: 65_536,
            keep_alive: keep_alive::Bounds::default(),
            forget_after: Duration::from_secs(15 * 60),
            stop_grace: Duration::from_secs(5),
            traces: Traces::default(),
            collect_every: Duration::from_secs(3600),
            blob_grace: Duration::from_secs(600),
        }
    }
}

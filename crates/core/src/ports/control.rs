//! Managing functions: what doors may ask of the engine.

use crate::{
    digest::Digest,
    document::{Document, Expect},
    error::Error,
    function::{Function, FunctionUsage, FunctionView},
    invocation::InvocationId,
    log::{LogLine, LogQuery},
    message::Call,
    names::{Address, FunctionKey, Tenant},
    policy::Policy,
    ports::driver::{DriverReport, Progress},
    record::{Followed, InvocationRecord, RecordPage, RecordQuery},
    revision::RevisionSpec,
    rules::traffic::Traffic,
    tenant::TenantInfo,
};
use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::BoxStream;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, sync::Arc};

/// What a door hands over to have deployed.
#[derive(Clone, Debug)]
pub struct Deployment {
    /// What identifies the function.
    pub key: FunctionKey,
    /// Shared spaces where it shall be callable, too.
    pub addresses: Vec<Address>,
    /// What to run.
    pub revision: RevisionSpec,
    /// How it is scaled, queued for and reached.
    pub policy: Policy,
    /// Free labels.
    pub labels: BTreeMap<String, String>,
    /// Free annotations.
    pub annotations: BTreeMap<String, String>,
    /// What the user wrote, as JSON in the door's own shape; read back by [`Control::document`].
    pub document: serde_json::Value,
    /// Whether it must be new, or must be there already.
    pub expect: Expect,
}

/// Managing functions. What an `Ok` acknowledges is on disk.
#[async_trait]
pub trait Control: Send + Sync {
    /// Deploys: checks, prepares, stores, and moves all traffic to the new revision. Deploying an unchanged
    /// revision changes policy, labels and document only.
    ///
    /// # Errors
    /// `XB2001` exists already, `XB2002` no such function, `XB2003` an address is taken by another door,
    /// `XB2004` no such environment or no driver for the image, `XB2005` no such secret, `XB2006` a quota is
    /// used up; and what [`crate::ports::driver::Driver`] and the store say.
    async fn deploy(&self, deployment: Deployment, progress: &dyn Progress) -> Result<FunctionView, Error>;

    /// Finds out what would refuse a deploy, as far as that can be known without preparing it: its code need not
    /// be there yet. Images are looked for, and pulled where they are missing. No function changes.
    ///
    /// # Errors
    /// As [`Control::deploy`].
    async fn check(&self, deployment: Deployment) -> Result<(), Error>;

    /// Removes a function with its revisions, waits for nothing: calls in flight end by themselves.
    ///
    /// # Errors
    /// `XB2002`.
    async fn remove(&self, key: &FunctionKey) -> Result<(), Error>;

    /// One function, from memory.
    fn function(&self, key: &FunctionKey) -> Option<FunctionView>;

    /// One function as it is deployed, from memory and not copied: for the way of a call or a message.
    fn peek(&self, key: &FunctionKey) -> Option<Arc<Function>> {
        self.function(key).map(|view| Arc::new(view.function))
    }

    /// Functions, from memory, sorted by key.
    fn functions(&self, tenant: Option<&Tenant>, door: Option<&str>) -> Vec<FunctionView>;

    /// Functions whose policy has schedules, from memory, sorted by key.
    fn scheduled(&self) -> Vec<FunctionView> {
        let mut functions = self.functions(None, None);
        functions.retain(|view| !view.function.policy.schedules.is_empty());
        functions
    }

    /// What a function's instances use, measured now, or a second ago where it was just measured. `None`: there
    /// is no such function.
    async fn usage(&self, _key: &FunctionKey) -> Option<FunctionUsage> {
        None
    }

    /// The same of every function in use, from memory, sorted by key: as it was last measured, which is done
    /// every few seconds while there are instances.
    fn usages(&self) -> Vec<(FunctionKey, FunctionUsage)> {
        Vec::new()
    }

    /// So many messages wait for a function and could begin. Told every second for functions that are scaled
    /// by [`crate::policy::Metric::Queue`]; what was not told for some seconds counts as none.
    fn note_backlog(&self, _key: &FunctionKey, _waiting: u64) {}

    /// Who has an address, from memory: the hot path of doors that share a space.
    fn at(&self, address: &Address) -> Option<FunctionKey>;

    /// What the user wrote, with the door's own status.
    async fn document(&self, key: &FunctionKey) -> Result<Option<Document>, Error>;

    /// A revision's spec.
    async fn revision(&self, digest: &Digest) -> Result<Option<RevisionSpec>, Error>;

    /// Splits traffic; weights and digests are checked. Rolling back is giving all of it to an older one.
    ///
    /// # Errors
    /// `XB2002`, `XB2007` (not a revision of this function, or the weights do not sum to 100).
    async fn set_traffic(&self, key: &FunctionKey, traffic: Traffic) -> Result<FunctionView, Error>;

    /// Changes policy alone.
    ///
    /// # Errors
    /// `XB2002`.
    async fn set_policy(&self, key: &FunctionKey, policy: Policy) -> Result<FunctionView, Error>;

    /// Sets how many instances are wanted now, within the policy's bounds; scaling goes on from there.
    ///
    /// # Errors
    /// `XB2002`.
    async fn scale(&self, key: &FunctionKey, instances: u32) -> Result<(), Error>;

    /// Stores a secret; functions see it from their next revision on, as [`Control::deploy`] makes one.
    async fn put_secret(
        &self,
        tenant: &Tenant,
        name: &str,
        value: Bytes,
        expect: Expect,
    ) -> Result<SecretInfo, Error>;

    /// Names of secrets, sorted. Never values.
    async fn secrets(&self, tenant: &Tenant) -> Result<Vec<SecretInfo>, Error>;

    /// Deletes a secret. Refused (`XB2008`) while a function uses it.
    async fn delete_secret(&self, tenant: &Tenant, name: &str) -> Result<(), Error>;

    /// Writes down a tenant, or what is to be known of one that is there.
    ///
    /// # Errors
    /// `XB2001` it was written down already, `XB2002` it was not, `XB1004` more than is kept of one.
    async fn put_tenant(
        &self,
        tenant: &Tenant,
        labels: BTreeMap<String, String>,
        annotations: BTreeMap<String, String>,
        expect: Expect,
    ) -> Result<TenantInfo, Error>;

    /// What was written down about a tenant.
    async fn tenant(&self, tenant: &Tenant) -> Result<Option<TenantInfo>, Error>;

    /// Tenants that were written down, sorted by name.
    async fn tenants(&self) -> Result<Vec<TenantInfo>, Error>;

    /// Deletes a tenant. Refused (`XB2019`) while it has a function or a secret.
    ///
    /// # Errors
    /// `XB2002` it was not written down.
    async fn delete_tenant(&self, tenant: &Tenant) -> Result<(), Error>;

    /// Lines printed so far, oldest first, and with `follow` those that come, until the stream is dropped.
    async fn logs(&self, query: LogQuery, follow: bool) -> Result<BoxStream<'static, LogLine>, Error>;

    /// A page of records, newest first; what was recorded in the last moments included.
    async fn records(&self, query: RecordQuery) -> Result<RecordPage, Error>;

    /// Writes the records of calls that have ended by now; returns once `kill -9` cannot take them any more.
    async fn flush_records(&self) -> Result<(), Error>;

    /// One record.
    async fn record(&self, id: &InvocationId) -> Result<Option<InvocationRecord>, Error>;

    /// A page of records, and those that come after it, until the stream is dropped: none twice, and none left
    /// out without saying so.
    async fn follow_records(
        &self,
        query: RecordQuery,
    ) -> Result<(RecordPage, BoxStream<'static, Followed>), Error>;

    /// The request of a call that has a record, if it was kept.
    async fn kept_request(&self, id: &InvocationId) -> Result<Option<Call>, Error>;

    /// What happens to functions from now on: deployed, changed, removed, started, failed to start.
    fn events(&self) -> BoxStream<'static, Arc<Event>>;

    /// What each driver enforces.
    fn drivers(&self) -> Vec<DriverReport>;

    /// Environments, by name, and whether the host has what they need.
    fn environments(&self) -> Vec<EnvironmentInfo>;

    /// Deletes blobs, revisions and prepared files that nothing points at; returns bytes freed.
    async fn collect_garbage(&self) -> Result<u64, Error>;

    /// Stores code for a later [`Control::deploy`].
    async fn put_code(&self, code: crate::body::Body) -> Result<(Digest, u64), Error>;

    /// Code that was stored, as it was stored: for doors that give it back.
    ///
    /// # Errors
    /// `XB4010` it is not there.
    async fn code(&self, digest: &Digest) -> Result<Bytes, Error> {
        Err(Error::not_found("XB4010", format!("there is no code {digest}")))
    }

    /// The environment of that name: doors take contract and defaults from it.
    fn environment(&self, name: &str) -> Option<Arc<crate::environment::Environment>>;

    /// The environment that stands in for a container image, if the table has one.
    fn stands_in_for(&self, image: &str) -> Option<Arc<crate::environment::Environment>>;

    /// Writes a consistent copy of all state into an empty directory while the server runs.
    async fn backup(&self, directory: &std::path::Path) -> Result<(), Error>;
}

/// A secret as it is listed: never its value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct SecretInfo {
    /// Its name.
    pub name: String,
    /// Raised with every change.
    pub version: u64,
    /// When it was last changed.
    pub updated: Timestamp,
}

/// An environment as it is listed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct EnvironmentInfo {
    /// Its name.
    pub name: String,
    /// What it is for.
    pub description: String,
    /// The driver that runs it.
    pub driver: String,
    /// Programs of the host that it needs and that are missing.
    pub missing: Vec<String>,
    /// Blanks ready now.
    pub blanks: u32,
}

/// Something that happened to a function.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Event {
    /// When.
    pub time: Timestamp,
    /// To which function.
    pub function: FunctionKey,
    /// What.
    #[serde(flatten)]
    pub what: Happening,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case", tag = "event")]
pub enum Happening {
    /// A revision got its traffic.
    Deployed {
        /// Which.
        revision: Digest,
    },
    /// Its policy or its traffic changed, its revisions did not.
    Changed,
    /// The function is gone.
    Removed,
    /// An instance takes calls.
    InstanceReady {
        /// Which.
        instance: String,
        /// From asking to taking calls.
        milliseconds: u64,
    },
    /// An instance did not come to take calls.
    StartFailed {
        /// Why.
        message: String,
    },
    /// An instance is gone.
    InstanceGone {
        /// Which.
        instance: String,
        /// Why.
        reason: String,
    },
}

//! Tenants that were written down: names, labels and annotations. Everything else of a tenant – functions,
//! secrets, quotas – is there without.

use crate::{
    documents::{TENANT, unreadable, unwritable},
    engine::Engine,
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use xebec_core::{
    Error, Tenant,
    document::{Document, DocumentKey, Expect, ListQuery},
    error::ErrorKind,
    tenant::TenantInfo,
};

/// Tenants belong to nobody but the installation.
const NAMESPACE: &str = "xebec";

/// The most that labels and annotations of one may take, in bytes, as Kubernetes has it.
const MAX_BYTES: usize = 256 * 1024;

/// A tenant as it is kept; its name is the document's.
#[derive(Serialize, Deserialize)]
struct Kept {
    #[serde(default)]
    labels: BTreeMap<String, String>,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
}

impl Engine {
    pub(crate) async fn write_tenant(
        &self,
        tenant: &Tenant,
        labels: BTreeMap<String, String>,
        annotations: BTreeMap<String, String>,
        expect: Expect,
    ) -> Result<TenantInfo, Error> {
        let bytes: usize =
            labels.iter().chain(&annotations).map(|(key, value)| key.len() + value.len()).sum();
        if bytes > MAX_BYTES {
            let message = format!("labels and annotations have {bytes} bytes, {MAX_BYTES} are allowed");
            return Err(Error::invalid("XB1004", message));
        }
        let there = self.store.get(&key(tenant)).await?;
        match (&there, expect) {
            (Some(_), Expect::Absent) => {
                let message = format!("the tenant {:?} exists already", tenant.as_str());
                return Err(Error::new(ErrorKind::Conflict, "XB2001", message));
            }
            (None, Expect::Present | Expect::Version(_)) => return Err(missing(tenant)),
            _ => {}
        }
        let spec = serde_json::to_value(Kept { labels, annotations })
            .map_err(|error| unwritable("tenant", &error))?;
        let (mut document, expect) = match there {
            Some(document) => {
                let version = document.version;
                (document, Expect::Version(version))
            }
            None => (Document::new(TENANT, NAMESPACE, tenant.as_str(), spec.clone()), Expect::Absent),
        };
        document.spec = spec;
        info(&self.store.put(document, expect).await?)
    }

    pub(crate) async fn written_tenant(&self, tenant: &Tenant) -> Result<Option<TenantInfo>, Error> {
        self.store.get(&key(tenant)).await?.as_ref().map(info).transpose()
    }

    pub(crate) async fn written_tenants(&self) -> Result<Vec<TenantInfo>, Error> {
        let query = ListQuery {
            kind: TENANT.to_owned(),
            namespace: Some(NAMESPACE.to_owned()),
            ..ListQuery::default()
        };
        self.store.list(&query).await?.documents.iter().map(info).collect()
    }

    pub(crate) async fn drop_tenant(&self, tenant: &Tenant) -> Result<(), Error> {
        // No secret comes in between.
        let _secrets = self.secrets_turn.write().await;
        let functions = self.functions.count(tenant);
        let secrets = self.list_secrets(tenant).await?.len();
        if functions + secrets > 0 {
            let message = format!(
                "the tenant {:?} is not empty: functions: {functions}, secrets: {secrets}",
                tenant.as_str()
            );
            return Err(Error::new(ErrorKind::Conflict, "XB2019", message).with_hint("remove them first"));
        }
        match self.store.delete(key(tenant), Expect::Any).await? {
            Some(_) => Ok(()),
            None => Err(missing(tenant)),
        }
    }
}

fn key(tenant: &Tenant) -> DocumentKey {
    DocumentKey::new(TENANT, NAMESPACE, tenant.as_str())
}

fn info(document: &Document) -> Result<TenantInfo, Error> {
    let kept = Kept::deserialize(&document.spec).map_err(|error| unreadable(document, &error))?;
    Ok(TenantInfo {
        name: Tenant::new(&document.name),
        labels: kept.labels,
        annotations: kept.annotations,
        created: document.created,
    })
}

fn missing(tenant: &Tenant) -> Error {
    Error::not_found("XB2002", format!("there is no tenant {:?}", tenant.as_str()))
}

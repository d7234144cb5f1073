//! Tenants: what was written down about them.

use crate::names::Tenant;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A tenant that was written down. One that nobody wrote down is there for as long as it has a function.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TenantInfo {
    /// Its name.
    pub name: Tenant,
    /// Free labels.
    pub labels: BTreeMap<String, String>,
    /// Free annotations.
    pub annotations: BTreeMap<String, String>,
    /// When it was first written down.
    pub created: Timestamp,
}

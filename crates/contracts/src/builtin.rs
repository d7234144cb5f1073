//! `builtin`: code that is part of the server (see [`xebec_core::ports::builtin`]). It has no settings: what such
//! code is told stands in its workload.

use crate::{Contract, Opening, Session, StartError, in_process::InProcess, settings::Settings};
use async_trait::async_trait;
use std::sync::Arc;
use xebec_core::{Error, revision::RevisionSpec};

/// The contract.
pub struct Builtin;

#[async_trait]
impl Contract for Builtin {
    fn name(&self) -> &'static str {
        "builtin"
    }

    fn check(&self, revision: &RevisionSpec) -> Result<(), Error> {
        Settings::of(&revision.contract).finish()
    }

    async fn open(&self, opening: Opening) -> Result<Arc<dyn Session>, StartError> {
        Ok(InProcess::open(opening))
    }
}

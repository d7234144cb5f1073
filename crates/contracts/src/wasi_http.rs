//! `wasi-http`: a component in this process. Every call gets a guest of its own, so a call that fails or is
//! given up costs the instance nothing: its slot is free again at once.
//!
//! | setting | is |
//! |---|---|
//! | `network` | whether components may send requests themselves; only an environment can allow it |

use crate::{Contract, Opening, Session, StartError, in_process::InProcess, settings::Settings};
use async_trait::async_trait;
use std::sync::Arc;
use xebec_core::{Error, revision::RevisionSpec};

/// The contract.
pub struct WasiHttp;

#[async_trait]
impl Contract for WasiHttp {
    fn name(&self) -> &'static str {
        "wasi-http"
    }

    fn check(&self, revision: &RevisionSpec) -> Result<(), Error> {
        let mut settings = Settings::of(&revision.contract);
        settings.flag("network")?;
        settings.finish()
    }

    async fn open(&self, opening: Opening) -> Result<Arc<dyn Session>, StartError> {
        Ok(InProcess::open(opening))
    }
}

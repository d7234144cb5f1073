//! Starting again: what is stored becomes what is deployed.

use crate::{
    documents::{self, FUNCTION},
    engine::Engine,
    functions::{Deployed, Standing},
};
use futures_util::TryStreamExt as _;
use std::{collections::BTreeSet, sync::Arc};
use xebec_core::{Error, document::ListQuery, ports::store::pages};

/// How many documents are in memory at a time.
const PAGE: usize = 500;

impl Engine {
    /// Loads all functions. Those with a minimum of instances get them in the background.
    ///
    /// # Errors
    /// What the store says, or a document that cannot be read.
    pub async fn resume(&self) -> Result<(), Error> {
        let query = ListQuery { kind: FUNCTION.to_owned(), ..ListQuery::default() };
        let mut list = pages(&*self.store, query, PAGE);
        let mut environments = BTreeSet::new();
        let mut kept_warm = Vec::new();
        while let Some(page) = list.try_next().await? {
            for document in &page.documents {
                let status = documents::status(document)?;
                let environment = self.functions.environment_name(&status.environment);
                environments.insert(environment.clone());
                let mut function = status.function;
                shrink(&mut function);
                self.functions.claim(&function.key, &function.addresses)?;
                let keeps = function.policy.min_instances > 0;
                let standing = Arc::new(Standing::default());
                let deployed =
                    self.functions.put(Deployed { function: Arc::new(function), environment, standing });
                if keeps {
                    kept_warm.push(deployed);
                }
            }
        }
        drop(list);
        for name in environments {
            if let Some(environment) = self.shared.environments.environment(&name) {
                self.shared.blanks.want(&self.shared, &environment);
            }
        }
        for deployed in kept_warm {
            self.keep_warm(&deployed);
        }
        tracing::info!(functions = self.functions.len(), "resumed");
        Ok(())
    }
}

/// There may be very many: nothing is kept that was only room to grow.
pub(crate) fn shrink(function: &mut xebec_core::function::Function) {
    function.addresses.shrink_to_fit();
    function.revisions.shrink_to_fit();
}

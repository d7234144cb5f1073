//! The network that an installation's containers share. They do not see each other on it.

use crate::{engine, shape::INSTALLATION};
use bollard::{
    Docker, errors::Error as DockerError, models::NetworkCreateRequest,
    query_parameters::InspectNetworkOptions,
};
use std::collections::HashMap;
use tokio::sync::Mutex;

/// An installation's network.
pub(crate) struct Network {
    pub(crate) name: String,
    /// It was seen; it may have been removed behind our back since.
    seen: Mutex<bool>,
}

impl Network {
    pub(crate) fn new(installation: &str) -> Self {
        Self { name: format!("xebec-{installation}"), seen: Mutex::new(false) }
    }

    /// Makes it where it is not there.
    pub(crate) async fn ensure(&self, docker: &Docker, installation: &str) -> Result<(), DockerError> {
        let mut seen = self.seen.lock().await;
        if *seen {
            return Ok(());
        }
        if let Err(error) = docker.inspect_network(&self.name, None::<InspectNetworkOptions>).await {
            if engine::status(&error) != Some(404) {
                return Err(error);
            }
            self.create(docker, installation).await?;
        }
        *seen = true;
        Ok(())
    }

    /// Looks again next time: it was said not to be there.
    pub(crate) async fn missed(&self) {
        *self.seen.lock().await = false;
    }

    /// Removes it.
    pub(crate) async fn remove(&self, docker: &Docker) {
        self.missed().await;
        if let Err(error) = docker.remove_network(&self.name).await
            && engine::status(&error) != Some(404)
        {
            tracing::debug!(error = %engine::said(&error), "the network of the functions stays");
        }
    }

    async fn create(&self, docker: &Docker, installation: &str) -> Result<(), DockerError> {
        let request = NetworkCreateRequest {
            name: self.name.clone(),
            driver: Some("bridge".to_owned()),
            options: Some(HashMap::from([(
                "com.docker.network.bridge.enable_icc".to_owned(),
                "false".to_owned(),
            )])),
            labels: Some(HashMap::from([(INSTALLATION.to_owned(), installation.to_owned())])),
            ..NetworkCreateRequest::default()
        };
        match docker.create_network(request).await {
            Ok(_) => Ok(()),
            // Somebody was faster.
            Err(error) if engine::status(&error) == Some(409) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

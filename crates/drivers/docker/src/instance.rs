//! An instance: the port's side of a container.

use crate::{
    driver::Inner,
    engine,
    files::{self, SecretFiles},
    removing, shape,
    usage::Gauge,
    watching::{Fate, KILLED},
};
use async_trait::async_trait;
use bollard::{
    Docker, body_full,
    errors::Error as DockerError,
    models::ContainerInspectResponse,
    query_parameters::{KillContainerOptionsBuilder, UploadToContainerOptionsBuilder},
};
use bytes::Bytes;
use parking_lot::Mutex;
use std::{
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::Path,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::{net::TcpStream, time::timeout};
use xebec_core::{
    Body,
    ports::instance::{
        Child, Command, Connection, Endpoint, Exit, InstanceId, InstanceIo, IoError, Listener, Signal, Usage,
    },
};

/// How long a connection may take to come about: it is on this machine.
const CONNECT_TIME: Duration = Duration::from_secs(5);

/// How long a published port's proxy is watched for hanging up because nobody listens behind it.
const PROXY_TIME: Duration = Duration::from_millis(60);

/// How long removing a container may keep a caller.
const REMOVE_TIME: Duration = Duration::from_secs(8);

/// How long the engine may take to tell of a container's end.
const EXIT_LAG: Duration = Duration::from_millis(1500);

/// How long a removed container's end may take to be noticed.
const NOTICE_TIME: Duration = Duration::from_secs(1);

/// What files that are written later may be read by: whatever the function runs as.
const FILE_MODE: u32 = 0o644;

/// Where a container's ports are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// At an address of their own.
    Address(IpAddr),
    /// One of them, at a port of our loopback. Something of the engine's listens there in any case.
    Published { named: u16, real: u16 },
}

impl Place {
    /// Where a started container is; `None`: it has ended already.
    pub(crate) fn of(
        found: &ContainerInspectResponse,
        network: &str,
        published: Option<u16>,
    ) -> Option<Self> {
        let settings = found.network_settings.as_ref()?;
        let Some(named) = published else {
            let endpoint = settings.networks.as_ref()?.get(network)?;
            return endpoint.ip_address.as_deref()?.parse().ok().map(Self::Address);
        };
        let bindings = settings.ports.as_ref()?.get(&shape::port_key(named))?.as_ref()?;
        let real = bindings.iter().find_map(|binding| binding.host_port.as_deref()?.parse().ok())?;
        Some(Self::Published { named, real })
    }

    fn socket(self, port: u16) -> Option<SocketAddr> {
        match self {
            Self::Address(address) => Some(SocketAddr::new(address, port)),
            Self::Published { named, real } => {
                (named == port).then(|| SocketAddr::new(Ipv4Addr::LOCALHOST.into(), real))
            }
        }
    }
}

/// An instance. Dropping it removes its container.
pub(crate) struct Instance {
    /// Its id, unless it began as a blank.
    pub(crate) id: InstanceId,
    /// The id that a blank got when it became an instance.
    pub(crate) given: OnceLock<InstanceId>,
    pub(crate) inner: Arc<Inner>,
    pub(crate) docker: Docker,
    pub(crate) container: String,
    pub(crate) stop_signal: String,
    pub(crate) fate: Arc<Fate>,
    /// Known once it was started.
    pub(crate) place: OnceLock<Place>,
    pub(crate) gauge: OnceLock<Gauge>,
    /// Somebody was seen to listen behind a published port.
    pub(crate) proven: AtomicBool,
    pub(crate) secrets: Mutex<Option<SecretFiles>>,
    pub(crate) removed: AtomicBool,
}

impl Instance {
    async fn dial(&self, address: SocketAddr, endpoint: &Endpoint) -> Result<TcpStream, IoError> {
        let refused = || match self.fate.is_lost() {
            // Neither the engine nor the function answers: both are gone.
            true => {
                self.fate.end(KILLED);
                IoError::Exited(KILLED)
            }
            false => IoError::Refused(endpoint.clone()),
        };
        let stream = match timeout(CONNECT_TIME, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) if is_nobody(&error) => return Err(refused()),
            Ok(Err(error)) => return Err(IoError::System(error)),
            Err(_) => return Err(refused()),
        };
        stream.set_nodelay(true)?;
        if matches!(self.place.get(), Some(Place::Published { .. })) && !self.proven.load(Ordering::Relaxed) {
            // A server of HTTP says nothing first, so what comes at once is the proxy hanging up.
            if let Ok(Ok(0) | Err(_)) = timeout(PROXY_TIME, stream.peek(&mut [0])).await {
                return Err(refused());
            }
            self.proven.store(true, Ordering::Relaxed);
        }
        Ok(stream)
    }

    fn fault(&self, error: &DockerError) -> IoError {
        self.inner.engine.note(Some(error));
        // 404: removed; 409: not running.
        match (engine::status(error), self.fate.ended()) {
            (Some(404 | 409), ended) => IoError::Exited(ended.unwrap_or(KILLED)),
            (_, Some(exit)) => IoError::Exited(exit),
            _ => IoError::System(io::Error::other(engine::said(error))),
        }
    }

    fn unsupported(what: &'static str) -> IoError {
        IoError::Unsupported { driver: "docker", what }
    }
}

/// Nobody listens there, or there is no such place (any more).
fn is_nobody(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionRefused, ConnectionReset, HostUnreachable, NetworkUnreachable, TimedOut};
    matches!(
        error.kind(),
        ConnectionRefused | ConnectionReset | HostUnreachable | NetworkUnreachable | TimedOut
    )
}

#[async_trait]
impl InstanceIo for Instance {
    fn id(&self) -> &InstanceId {
        self.given.get().unwrap_or(&self.id)
    }

    async fn connect(&self, endpoint: &Endpoint) -> Result<Connection, IoError> {
        if let Some(exit) = self.fate.ended() {
            return Err(IoError::Exited(exit));
        }
        let Endpoint::Port(port) = endpoint else {
            return Err(Self::unsupported("connect to a socket inside a container"));
        };
        let address = match self.place.get() {
            Some(place) => {
                place.socket(*port).ok_or_else(|| Self::unsupported("reach a port that was not named"))?
            }
            // It had ended before it could be asked for its address; that is about to be noticed.
            None => return Err(IoError::Refused(endpoint.clone())),
        };
        let stream = self.dial(address, endpoint).await?;
        Ok(Box::new(stream))
    }

    async fn listen(&self, _: &Endpoint) -> Result<Box<dyn Listener>, IoError> {
        Err(Self::unsupported("listen for what a container dials"))
    }

    async fn spawn(&self, _: Command) -> Result<Box<dyn Child>, IoError> {
        Err(Self::unsupported("start a process per call"))
    }

    /// `None`: a container's output is always read as its log.
    fn take_stdio(&self) -> Option<Connection> {
        None
    }

    async fn request(&self, _: http::Request<Body>) -> Result<http::Response<Body>, IoError> {
        Err(Self::unsupported("hand a request to code in this process"))
    }

    async fn write_file(&self, path: &Path, contents: Bytes) -> Result<(), IoError> {
        let path = path.to_string_lossy();
        let archive = files::archive(std::iter::once((&*path, &contents)), FILE_MODE)?;
        let options = UploadToContainerOptionsBuilder::default().path("/").build();
        let written =
            self.docker.upload_to_container(&self.container, Some(options), body_full(archive)).await;
        written.map_err(|error| self.fault(&error))
    }

    async fn signal(&self, signal: Signal) -> Result<(), IoError> {
        if let Some(exit) = self.fate.ended() {
            return Err(IoError::Exited(exit));
        }
        let name = match signal {
            Signal::Stop => &self.stop_signal,
            Signal::Kill => "SIGKILL",
        };
        let options = KillContainerOptionsBuilder::default().signal(name).build();
        let sent = self.docker.kill_container(&self.container, Some(options)).await;
        sent.map_err(|error| self.fault(&error))
    }

    async fn exited(&self) -> Exit {
        self.fate.exited().await
    }

    /// The engine clears up before it tells.
    fn exit_lag(&self) -> Duration {
        EXIT_LAG
    }

    async fn destroy(&self) {
        if !self.removed.swap(true, Ordering::Relaxed) {
            match timeout(REMOVE_TIME, removing::remove(&self.docker, &self.container)).await {
                Ok(Ok(())) => drop(timeout(NOTICE_TIME, self.fate.exited()).await),
                Ok(Err(error)) => {
                    self.inner.engine.note(Some(&error));
                    self.inner.remove_later(self.container.clone());
                }
                Err(_) => self.inner.remove_later(self.container.clone()),
            }
            drop(self.secrets.lock().take());
            self.fate.end(KILLED);
        }
        self.fate.exited().await;
    }

    async fn usage(&self) -> Option<Usage> {
        if self.fate.ended().is_some() {
            return None;
        }
        self.gauge.get()?.read(&self.docker, &self.container).await
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        self.fate.end(KILLED);
        if !self.removed.load(Ordering::Relaxed) {
            self.inner.remove_later(self.container.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bollard::models::{EndpointSettings, NetworkSettings, PortBinding};
    use std::collections::HashMap;

    #[test]
    fn where_ports_are() {
        let endpoint =
            EndpointSettings { ip_address: Some("10.0.0.2".into()), ..EndpointSettings::default() };
        let binding = PortBinding { host_ip: Some("127.0.0.1".into()), host_port: Some("3210".into()) };
        let found = ContainerInspectResponse {
            network_settings: Some(NetworkSettings {
                networks: Some(HashMap::from([("n".into(), endpoint)])),
                ports: Some(HashMap::from([("8080/tcp".into(), Some(vec![binding]))])),
                ..NetworkSettings::default()
            }),
            ..ContainerInspectResponse::default()
        };
        let bridge = Place::of(&found, "n", None).unwrap();
        assert_eq!(bridge.socket(99), Some("10.0.0.2:99".parse().unwrap()));
        let published = Place::of(&found, "n", Some(8080)).unwrap();
        assert_eq!(published.socket(8080), Some("127.0.0.1:3210".parse().unwrap()));
        assert_eq!(published.socket(99), None);
        assert_eq!(Place::of(&ContainerInspectResponse::default(), "n", None), None);
        assert_eq!(Place::of(&found, "other", None), None);
    }
}

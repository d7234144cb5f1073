//! The connection to the server: made, watched, made again.

use crate::{
    errors,
    log::Log,
    options::{Login, NatsOptions},
    requirements,
};
use async_nats::{Client, ConnectOptions, Event, jetstream};
use parking_lot::Mutex;
use std::{sync::Arc, time::Duration};
use tokio::sync::watch;
use xebec_core::{Error, ErrorKind};

/// How the queue's server is.
#[derive(Clone)]
pub(crate) enum Status {
    /// It can be used.
    Ready(Arc<Log>),
    /// It is away, or not as it must be.
    Not(Error),
}

/// The connection to the server.
pub(crate) struct Link {
    pub(crate) client: Client,
    context: jetstream::Context,
    status: watch::Sender<Status>,
    /// Counts connections.
    connected: watch::Receiver<u64>,
    /// Counts lost connections.
    losses: watch::Receiver<u64>,
    trouble: Arc<Mutex<Option<String>>>,
    /// The most its servers store, in bytes, where they say so.
    most: Mutex<Option<u64>>,
}

/// How often a server that is not as it must be is looked at again.
const LOOKING_AGAIN: Duration = Duration::from_secs(2);

impl Link {
    /// Begins to connect; returns at once.
    pub(crate) async fn new(options: &NatsOptions, name: &str) -> Result<Self, Error> {
        if options.urls.is_empty() {
            return Err(Error::new(ErrorKind::Invalid, "XB6043", "the queue has no URL of a NATS server"));
        }
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        let prefix = &options.prefix;
        if prefix.is_empty() || !prefix.chars().all(allowed) || prefix.split('.').any(str::is_empty) {
            let message = format!("the queue's prefix {prefix:?} is not a name");
            return Err(Error::new(ErrorKind::Invalid, "XB6043", message)
                .with_hint("use letters, digits, `-`, `_`, and `.` between them"));
        }
        let (events, connected) = watch::channel(0);
        let (lost, losses) = watch::channel(0);
        let trouble: Arc<Mutex<Option<String>>> = Arc::default();
        let status = watch::Sender::new(Status::Not(errors::away("not connected yet")));
        let client = connect_options(options)?
            .name(name)
            .retry_on_initial_connect()
            .max_reconnects(None)
            .connection_timeout(options.answer)
            .request_timeout(Some(options.answer))
            .ping_interval(Duration::from_secs(5))
            .reconnect_delay_callback(|attempts| Duration::from_millis(50 << attempts.min(5)))
            .event_callback({
                let (trouble, status) = (trouble.clone(), status.clone());
                move |event| {
                    note(&event, &events, &trouble, &status);
                    if matches!(event, Event::Disconnected) {
                        lost.send_modify(|count| *count += 1);
                    }
                    async {}
                }
            })
            .connect(options.urls.as_slice())
            .await
            .map_err(|e| {
                Error::new(ErrorKind::Invalid, "XB6043", format!("cannot use the NATS server: {e}"))
            })?;
        let mut context = jetstream::new(client.clone());
        context.set_timeout(options.answer);
        Ok(Self { client, context, status, connected, losses, trouble, most: Mutex::new(None) })
    }

    /// Checks the server whenever it was connected to, and lets it be used; hands each fresh connection on.
    pub(crate) async fn keep(&self, options: &NatsOptions, worker: &str, fresh: watch::Sender<u64>) {
        let mut connected = self.connected.clone();
        loop {
            let connection = *connected.borrow_and_update();
            if connection == 0 {
                self.ask_why(options).await;
                self.say_away();
                if tokio::time::timeout(LOOKING_AGAIN, connected.changed()).await.is_ok_and(|r| r.is_err()) {
                    return;
                }
                continue;
            }
            match requirements::meet(&self.client, &self.context, options).await {
                Ok(fit) => {
                    let (client, losses) = (self.client.clone(), self.losses.clone());
                    let log = Log::new(client, fit.stream, &options.prefix, worker, options.answer, losses);
                    *self.most.lock() = fit.most;
                    if *self.connected.borrow() == connection {
                        self.status.send_replace(Status::Ready(Arc::new(log)));
                        fresh.send_replace(connection);
                    }
                    if connected.changed().await.is_err() {
                        return;
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, "the queue cannot be used yet");
                    self.status.send_replace(Status::Not(error));
                    let _ = tokio::time::timeout(LOOKING_AGAIN, connected.changed()).await;
                }
            }
        }
    }

    /// Connects once more, since who connects in the background does not say why it cannot.
    async fn ask_why(&self, options: &NatsOptions) {
        let Ok(connect) = connect_options(options) else { return };
        let why = match connect.connection_timeout(LOOKING_AGAIN).connect(options.urls.as_slice()).await {
            Ok(_) => None,
            Err(error) => Some(error.to_string()),
        };
        *self.trouble.lock() = why;
    }

    fn say_away(&self) {
        let why = self.trouble.lock().clone();
        let why = why.unwrap_or_else(|| "no connection was made yet".to_owned());
        self.status.send_replace(Status::Not(errors::away(why)));
    }

    /// The stream, if it can be used right now.
    pub(crate) fn log(&self) -> Result<Arc<Log>, Error> {
        match &*self.status.borrow() {
            Status::Ready(log) => Ok(log.clone()),
            Status::Not(error) => Err(error.clone()),
        }
    }

    /// How many bytes may still be stored, and how many in all; `None` where there is no bound.
    pub(crate) async fn room(&self) -> Option<(u64, u64)> {
        let account = self.context.query_account().await.ok()?;
        let own =
            account.limits.max_storage.and_then(|most| u64::try_from(most).ok()).filter(|most| *most > 0);
        let most = [own, *self.most.lock()].into_iter().flatten().min()?;
        Some((most.saturating_sub(account.storage), most))
    }

    pub(crate) fn watch(&self) -> watch::Receiver<Status> {
        self.status.subscribe()
    }
}

/// What happened to the connection.
fn note(
    event: &Event,
    connections: &watch::Sender<u64>,
    trouble: &Mutex<Option<String>>,
    status: &watch::Sender<Status>,
) {
    match event {
        Event::Connected => {
            tracing::info!("connected to the queue's server");
            *trouble.lock() = None;
            connections.send_modify(|count| *count += 1);
        }
        Event::Disconnected | Event::Closed => {
            tracing::warn!("the connection to the queue's server was lost");
            let why = trouble.lock().clone();
            let error = errors::away(why.unwrap_or_else(|| "the connection was lost".to_owned()));
            status.send_replace(Status::Not(error));
        }
        Event::ServerError(error) => {
            tracing::warn!(%error, "the queue's server complains");
            *trouble.lock() = Some(error.to_string());
        }
        Event::ClientError(error) => *trouble.lock() = Some(error.to_string()),
        Event::SlowConsumer(_) | Event::LameDuckMode | Event::Draining => {}
    }
}

fn connect_options(options: &NatsOptions) -> Result<ConnectOptions, Error> {
    let login = match &options.login {
        Login::None => ConnectOptions::new(),
        Login::Password { user, password } => {
            ConnectOptions::with_user_and_password(user.clone(), password.clone())
        }
        Login::Token(token) => ConnectOptions::with_token(token.clone()),
        Login::Nkey(seed) => ConnectOptions::with_nkey(seed.clone()),
        Login::Credentials(text) => ConnectOptions::with_credentials(text).map_err(|e| {
            Error::new(ErrorKind::Invalid, "XB6043", format!("the queue's credentials cannot be read: {e}"))
        })?,
    };
    let mut connect = login.require_tls(options.tls.required);
    if let Some(authorities) = &options.tls.authorities {
        connect = connect.add_root_certificates(authorities.clone());
    }
    if let Some((certificate, key)) = &options.tls.certificate {
        connect = connect.add_client_certificate(certificate.clone(), key.clone());
    }
    Ok(connect)
}

//! What happens to functions, told to whoever listens.

use futures_util::{StreamExt as _, stream, stream::BoxStream};
use std::sync::Arc;
use tokio::sync::broadcast;
use xebec_core::{
    FunctionKey,
    ports::{
        clock::Clock,
        control::{Event, Happening},
    },
};

/// How far a listener may fall behind before it misses events.
const BOUND: usize = 1024;

/// What happens to functions, told to whoever listens.
pub(crate) struct Events {
    listeners: broadcast::Sender<Arc<Event>>,
    clock: Arc<dyn Clock>,
}

impl Events {
    pub(crate) fn new(clock: Arc<dyn Clock>) -> Self {
        Self { listeners: broadcast::Sender::new(BOUND), clock }
    }

    /// Tells it, and logs it.
    pub(crate) fn tell(&self, function: &FunctionKey, what: Happening) {
        log(function, &what);
        if self.listeners.receiver_count() > 0 {
            let event = Event { time: self.clock.now(), function: function.clone(), what };
            // Fails only where the last listener has just left.
            let _ = self.listeners.send(Arc::new(event));
        }
    }

    /// What is told from now on. Who listens too slowly misses the oldest.
    pub(crate) fn listen(&self) -> BoxStream<'static, Arc<Event>> {
        stream::unfold(self.listeners.subscribe(), |mut events| async move {
            loop {
                match events.recv().await {
                    Ok(event) => return Some((event, events)),
                    Err(broadcast::error::RecvError::Lagged(_)) => {}
                    Err(broadcast::error::RecvError::Closed) => return None,
                }
            }
        })
        .boxed()
    }
}

fn log(function: &FunctionKey, what: &Happening) {
    match what {
        Happening::Deployed { revision } => {
            tracing::info!(%function, revision = revision.short(), "deployed");
        }
        Happening::Changed => tracing::info!(%function, "changed"),
        Happening::Removed => tracing::info!(%function, "removed"),
        Happening::InstanceReady { instance, milliseconds } => {
            tracing::info!(%function, instance, milliseconds, "instance ready");
        }
        Happening::StartFailed { message } => tracing::info!(%function, message, "start failed"),
        Happening::InstanceGone { instance, reason } => {
            tracing::info!(%function, instance, reason, "instance gone");
        }
    }
}

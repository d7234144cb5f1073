//! A call that was given up in the middle: is the server idle again soon?
//!
//! It cannot be asked – every path may be the function's own – but it can be watched: closing our side of the
//! connection tells it that nobody waits any more, and when the call is over it closes its own.

use crate::in_flight::Counted;
use hyper::client::conn::http1::Parts;
use hyper_util::rt::TokioIo;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use xebec_core::{
    ports::instance::Connection,
    slot::{Retire, Slot},
};

/// How long the server has to end a call that was given up.
const GRACE: Duration = Duration::from_secs(1);

/// Frees the slot when the server has closed its side, or retires the instance when the grace is over.
pub(super) async fn let_go(parts: Option<Parts<TokioIo<Connection>>>, (slot, _counted): (Slot, Counted)) {
    let closed = async {
        if let Some(parts) = parts {
            until_closed(&mut parts.io.into_inner()).await;
        }
    };
    match tokio::time::timeout(GRACE, closed).await {
        Ok(()) => slot.free(),
        Err(_) => slot.retire(Retire::Interrupted),
    }
}

/// Closes our side and throws away what still comes.
async fn until_closed(connection: &mut Connection) {
    if connection.shutdown().await.is_err() {
        return;
    }
    let mut thrown_away = [0; 4096];
    while let Ok(1..) = connection.read(&mut thrown_away).await {}
}

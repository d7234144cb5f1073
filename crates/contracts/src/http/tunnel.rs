//! An upgraded connection: bytes both ways until both sides have closed.

use super::{letting_go::let_go, link::Link};
use crate::in_flight::Counted;
use hyper::{client::conn::http1::Parts, upgrade::OnUpgrade};
use hyper_util::rt::TokioIo;
use std::{io, time::Duration};
use tokio::io::{AsyncWriteExt, copy_bidirectional};
use xebec_core::{ports::instance::Connection, slot::Slot};

/// Copies in a task of its own; the slot comes back when that has ended, at the latest after `at_most`.
pub(super) async fn start(client: OnUpgrade, link: Link, slot: (Slot, Counted), at_most: Duration) {
    let Some(mut server) = link.upgraded().await else { return };
    tokio::spawn(async move {
        let ended = tokio::time::timeout(at_most, copy(client, &mut server)).await;
        match ended {
            Ok(Ok(())) => slot.0.free(),
            _ => let_go(Some(server), slot).await,
        }
    });
}

async fn copy(client: OnUpgrade, server: &mut Parts<TokioIo<Connection>>) -> io::Result<()> {
    // It comes when the client has got its 101.
    let client = client.await.map_err(io::Error::other)?;
    let mut client = TokioIo::new(client);
    // The server may have spoken right after its head.
    client.write_all(&server.read_buf).await?;
    copy_bidirectional(&mut client, server.io.inner_mut()).await?;
    Ok(())
}

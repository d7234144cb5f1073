//! One connection, from its first byte to its last.

use crate::{
    gateway::Shared,
    io::{Io, Stream, farewell},
    refusal::Refusal,
    rounds::Rounds,
    service,
    state::{ConnectionState, Place, Wish},
    watch::{Verdict, Watch},
};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use std::{
    future::poll_fn,
    pin::pin,
    sync::Arc,
    task::{Context, Poll},
    time::Instant,
};
use tokio::{net::TcpStream, time::MissedTickBehavior};
use tokio_rustls::TlsAcceptor;

/// The first byte of every TLS connection: a handshake record.
const HANDSHAKE: u8 = 0x16;

/// Serves it to its end.
pub(crate) async fn serve(shared: Arc<Shared>, stream: TcpStream, state: Arc<ConnectionState>, place: Place) {
    // Without it, the last piece of an answer waits for the client's acknowledgement of the one before.
    let _ = stream.set_nodelay(true);
    match &shared.tls {
        None => speak_http(&shared, Stream::Plain(stream), state, place).await,
        Some(acceptor) => {
            let limit = shared.options.limits.handshake_time;
            let shaken =
                tokio::time::timeout(limit, while_serving(&state, handshake(acceptor, stream))).await;
            match shaken {
                Ok(Some(Ok(stream))) => speak_http(&shared, stream, state, place).await,
                Ok(Some(Err(Some(plain)))) => {
                    farewell(Stream::Plain(plain), Refusal::PLAIN_ON_TLS.raw(), place).await;
                }
                Ok(Some(Err(None)) | None) => {}
                Err(_) => tracing::debug!(peer = %state.peer, "the TLS handshake took too long"),
            }
        }
    }
}

/// Shakes hands. Gives the connection back where its client does not even try.
async fn handshake(acceptor: &TlsAcceptor, stream: TcpStream) -> Result<Stream, Option<TcpStream>> {
    let mut first = [0];
    if stream.peek(&mut first).await.unwrap_or(0) == 0 {
        return Err(None);
    }
    if first != [HANDSHAKE] {
        return Err(Some(stream));
    }
    let stream = acceptor.accept(stream).await.map_err(|error| {
        tracing::debug!(%error, "the TLS handshake failed");
        None
    })?;
    Ok(Stream::Tls(Box::new(stream)))
}

/// Goes on until it is done, or the gateway stops.
async fn while_serving<T>(state: &ConnectionState, work: impl Future<Output = T>) -> Option<T> {
    let mut work = pin!(work);
    poll_fn(|cx| match state.wish(cx) {
        Wish::Serve => work.as_mut().poll(cx).map(Some),
        Wish::Drain | Wish::Now => Poll::Ready(None),
    })
    .await
}

async fn speak_http(shared: &Arc<Shared>, stream: Stream, state: Arc<ConnectionState>, place: Place) {
    let limits = &shared.options.limits;
    let io = TokioIo::new(Io::new(stream, state.clone(), place));
    let service = service_fn(|request| service::answer(shared.clone(), state.clone(), request));
    let mut connection = pin!(shared.http.serve_connection_with_upgrades(io, service));
    let mut tick = tokio::time::interval_at(tokio::time::Instant::now() + limits.tick(), limits.tick());
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut watch = Watch::new(Instant::now());
    let mut draining = false;
    let mut step = |cx: &mut Context<'_>| {
        match state.wish(cx) {
            Wish::Serve => {}
            Wish::Drain if draining => {}
            Wish::Drain => {
                draining = true;
                connection.as_mut().graceful_shutdown();
            }
            Wish::Now => return Poll::Ready(Ok(())),
        }
        while tick.poll_tick(cx).is_ready() {
            match watch.look(state.seen(), limits, Instant::now()) {
                Verdict::Keep => {}
                Verdict::Close => connection.as_mut().graceful_shutdown(),
                Verdict::HeadTooSlow => state.set_late(),
                Verdict::Cut => return Poll::Ready(Ok(())),
            }
        }
        connection.as_mut().poll(cx)
    };
    let rounds = Rounds::new();
    let ended = poll_fn(|cx| rounds.poll(cx, &mut step)).await;
    if let Err(error) = ended {
        tracing::debug!(peer = %state.peer, %error, "a connection ended early");
    }
}

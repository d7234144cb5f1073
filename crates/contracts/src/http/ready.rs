//! Waiting until the server takes calls.

use super::{Server, link::Link};
use crate::StartError;
use ::http::{Request, header::HOST};
use std::{io::ErrorKind, time::Duration};
use xebec_core::{
    Body,
    ports::instance::{Endpoint, IoError},
};

const FIRST_PAUSE: Duration = Duration::from_micros(500);
const LONGEST_PAUSE: Duration = Duration::from_millis(10);

/// Returns when the server takes calls, or fails when the instance ends before. The caller holds the clock.
pub(crate) async fn until_ready(server: &Server) -> Result<(), StartError> {
    tokio::select! {
        biased;
        exit = server.io.exited() => {
            let place = place(&server.options.endpoint);
            Err(StartError::new(format!("the function {exit} before it took calls on {place}")))
        }
        ready = keep_trying(server) => ready,
    }
}

async fn keep_trying(server: &Server) -> Result<(), StartError> {
    let mut pause = FIRST_PAUSE;
    loop {
        match server.io.connect(&server.options.endpoint).await {
            Ok(connection) => {
                if let Ok(link) = Link::new(connection).await
                    && is_ready(server, link).await
                {
                    return Ok(());
                }
            }
            Err(IoError::Refused(_)) => {}
            Err(IoError::System(error)) if not_yet(error.kind()) => {}
            // The exit is awaited beside this, and says it better.
            Err(IoError::Exited(_)) => std::future::pending().await,
            Err(error) => return Err(StartError::new(format!("cannot connect to the function: {error}"))),
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 3 / 2).min(LONGEST_PAUSE);
    }
}

/// Asks the ready path, if there is one. The connection is kept for the first call.
async fn is_ready(server: &Server, mut link: Link) -> bool {
    if let Some(path) = &server.options.ready_path {
        let Ok(request) = Request::get(path).header(HOST, "localhost").body(Body::empty()) else {
            return false;
        };
        let Ok(response) = link.send(request).await else { return false };
        if !response.status().is_success() {
            return false;
        }
    }
    server.idle.put(link);
    true
}

fn not_yet(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::ConnectionRefused
            | ErrorKind::ConnectionReset
            | ErrorKind::ConnectionAborted
            | ErrorKind::NotFound
    )
}

fn place(endpoint: &Endpoint) -> String {
    match endpoint {
        Endpoint::Port(port) => format!("port {port}"),
        Endpoint::Socket(path) => format!("the socket {}", path.display()),
    }
}

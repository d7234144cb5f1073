//! What went wrong with a call, and what that says of the instance.

use super::{Server, link::Link};
use crate::broken_request;
use std::error::Error as _;
use xebec_core::{
    Outcome,
    outcome::{FunctionFault, PlatformFault},
    ports::instance::{Exit, IoError},
    slot::Retire,
};

/// How a call failed.
pub(crate) struct Fault {
    pub(crate) outcome: Outcome,
    pub(crate) message: String,
    /// The code that the instance exited with.
    pub(crate) exit_code: Option<i32>,
    pub(crate) then: Then,
}

/// What becomes of the instance's slot.
#[derive(Clone, Copy)]
pub(crate) enum Then {
    /// The server has ended the call.
    Free,
    /// The server may still be at it.
    LetGo,
    /// No more calls.
    Retire(Retire),
}

impl Server {
    /// A fresh connection.
    pub(crate) async fn dial(&self) -> Result<Link, Fault> {
        match self.io.connect(&self.options.endpoint).await {
            Ok(connection) => {
                Link::new(connection).await.map_err(|error| internal(format!("cannot connect: {error}")))
            }
            Err(IoError::Exited(exit)) => Err(exited(exit)),
            Err(error @ IoError::Refused(_)) => Err(match self.exit_soon().await {
                Some(exit) => exited(exit),
                None => Fault {
                    outcome: Outcome::FunctionError(FunctionFault::BadResponse),
                    message: format!("the function takes no connections any more: {error}"),
                    exit_code: None,
                    then: Then::Retire(Retire::Broken),
                },
            }),
            Err(error) => Err(internal(format!("cannot connect to the function: {error}"))),
        }
    }

    /// A server that crashes closes its connections a moment before its exit is known.
    async fn exit_soon(&self) -> Option<Exit> {
        tokio::time::timeout(self.io.exit_lag(), self.io.exited()).await.ok()
    }
}

/// No head came.
pub(crate) async fn of_head(server: &Server, error: &hyper::Error) -> Fault {
    if let Some(fault) = of_sender(error) {
        return fault;
    }
    if error.is_parse() {
        return bad(format!("the function's answer is not HTTP: {}", chain(error)), Then::LetGo);
    }
    match server.exit_soon().await {
        Some(exit) => exited(exit),
        None => bad("the function closed the connection without an answer".into(), Then::Free),
    }
}

/// The body broke off.
pub(crate) async fn of_body(server: &Server, error: &hyper::Error) -> Fault {
    if let Some(fault) = of_sender(error) {
        return fault;
    }
    match server.exit_soon().await {
        Some(exit) => exited(exit),
        None => bad(format!("the function's answer broke off: {}", chain(error)), Then::LetGo),
    }
}

/// The request's body broke off: its sender's doing.
fn of_sender(error: &hyper::Error) -> Option<Fault> {
    let cause = error.is_user().then(|| error.source()).flatten()?;
    let (outcome, message) = broken_request(cause);
    Some(Fault { outcome, message, exit_code: None, then: Then::LetGo })
}

fn exited(exit: Exit) -> Fault {
    let fault = if exit.out_of_memory { FunctionFault::OutOfMemory } else { FunctionFault::Crash };
    Fault {
        outcome: Outcome::FunctionError(fault),
        message: format!("the function {exit} in the middle of the call"),
        exit_code: exit.code,
        then: Then::Retire(Retire::Exited),
    }
}

fn bad(message: String, then: Then) -> Fault {
    Fault { outcome: Outcome::FunctionError(FunctionFault::BadResponse), message, exit_code: None, then }
}

fn internal(message: String) -> Fault {
    Fault {
        outcome: Outcome::PlatformError(PlatformFault::Internal),
        message,
        exit_code: None,
        then: Then::Free,
    }
}

/// An error with its causes.
fn chain(error: &hyper::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

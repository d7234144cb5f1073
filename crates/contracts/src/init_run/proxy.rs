//! Mode `http`: a proxy inside, told the code once and called as often as it lives.

use super::{
    Options, Terms, answer, initialised,
    marks::Marks,
    message::{self, Read},
    post::{NotPosted, Posted, post},
};
use crate::{
    Call, CallError, Opening, Session, StartError,
    http::{self, Server, faults::Fault, ready},
    in_flight::Counted,
};
use ::http::{Response, StatusCode};
use async_trait::async_trait;
use std::{sync::Arc, time::Duration};
use xebec_core::{
    Body, Outcome,
    outcome::{FunctionFault, PlatformFault},
    slot::{Retire, Slot},
};

/// What is kept of what `/init` answers.
const MAX_INIT_ANSWER: usize = 1 << 20;

/// Waits for the proxy and hands it the code.
pub(super) async fn open(opening: Opening, options: Options) -> Result<Arc<dyn Session>, StartError> {
    let terms = Terms::of(&opening, &options);
    let slots = opening.limits.concurrency.max(1);
    // Calls at a time print into each other: their ends could not be told apart.
    let marks = (options.sentinels && slots == 1).then(|| Marks::watch(&opening.lines));
    let message = message::init(&opening.brings, options.main.as_deref());
    let server = Server::new(opening.io, &opening.limits, http::Options::at(options.endpoint));
    ready::until_ready(&server).await?;
    initialised(options.init_timeout, init(&server, message)).await?;
    opening.slots.announce(slots);
    Ok(Arc::new(Proxy { server, terms, marks }))
}

async fn init(server: &Server, message: Vec<u8>) -> Result<(), StartError> {
    match post(server, "/init", message.into(), MAX_INIT_ANSWER).await {
        Ok(Posted { status: StatusCode::OK, .. }) => Ok(()),
        Ok(Posted { status, said, .. }) => Err(StartError {
            message: format!("its initialisation failed with status {}", status.as_u16()),
            output: said.bytes,
            late: false,
        }),
        Err(NotPosted { fault, .. }) => {
            Err(StartError::new(format!("its initialisation failed: {}", fault.message)))
        }
    }
}

struct Proxy {
    server: Server,
    terms: Terms,
    marks: Option<Arc<Marks>>,
}

#[async_trait]
impl Session for Proxy {
    async fn call(&self, call: Call) -> Result<Response<Body>, CallError> {
        let lease = Lease { slot: call.slot, counted: self.server.in_flight.enter().0 };
        let Terms { request_bytes, run_clock, max_answer_bytes } = self.terms;
        let read = match Read::whole(call.request, request_bytes, call.id, run_clock).await {
            Ok(read) => read,
            Err(failed) => {
                lease.slot.free();
                return Err(failed);
            }
        };
        if let Some(marks) = &self.marks {
            marks.begin();
        }
        // Given up from here on, the lease retires the instance: code in the middle of a call cannot be told.
        let message = read.message().into();
        match post(&self.server, "/run", message, max_answer_bytes).await {
            Ok(posted) => self.answer(posted, read, lease).await,
            Err(NotPosted { unsent, fault }) => Err(failed(fault, unsent.then_some(read), lease)),
        }
    }

    async fn close(&self, grace: Duration) {
        self.server.close(grace).await;
    }
}

impl Proxy {
    async fn answer(&self, posted: Posted, read: Read, lease: Lease) -> Result<Response<Body>, CallError> {
        let Posted { status, said, quiet } = posted;
        let max_bytes = self.terms.max_answer_bytes;
        let answered = match status {
            StatusCode::SERVICE_UNAVAILABLE => {
                lease.slot.retire(Retire::Broken);
                let outcome = Outcome::PlatformError(PlatformFault::Unavailable);
                let mut failed = CallError::new(outcome, "the action's runtime is shutting down");
                failed.unsent = Some(read.unsent());
                return Err(failed);
            }
            StatusCode::OK => answer::result(said, max_bytes),
            _ if said.length > max_bytes as u64 => Ok(answer::too_long(&said, max_bytes)),
            status => {
                let message = format!("the action failed with status {}", status.as_u16());
                Err(answer::bad(said.bytes, message))
            }
        };
        match (&answered, &self.marks) {
            (Err(_), _) => lease.slot.retire(Retire::Broken),
            (Ok(_), Some(marks)) if !quiet => marks.release(lease.slot, lease.counted).await,
            (Ok(_), _) => lease.slot.free(),
        }
        answered
    }
}

/// A call's hold on the instance.
struct Lease {
    slot: Slot,
    counted: Counted,
}

/// A call that the proxy did not answer; `unsent`: it knows nothing of it.
fn failed(fault: Fault, unsent: Option<Read>, lease: Lease) -> CallError {
    match fault.outcome {
        Outcome::FunctionError(FunctionFault::Crash | FunctionFault::OutOfMemory) => {
            lease.slot.retire(Retire::Exited);
        }
        Outcome::FunctionError(_) => lease.slot.retire(Retire::Broken),
        _ => lease.slot.free(),
    }
    let mut failed = CallError::new(fault.outcome, fault.message);
    failed.exit_code = fault.exit_code;
    failed.unsent = unsent.map(Read::unsent);
    failed
}

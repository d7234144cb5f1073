//! One call's way: a connection, the request, the answer's head – and what becomes of connection and slot.

use super::{
    Server, expect,
    faults::{self, Fault, Then},
    head, letting_go,
    link::Link,
    tunnel,
};
use crate::{CallError, in_flight::Counted};
use ::http::{Request, Response, StatusCode};
use hyper::{body::Incoming, upgrade::OnUpgrade};
use std::{
    sync::Arc,
    task::{Context, Poll},
};
use xebec_core::{
    Body, Outcome,
    outcome::FunctionFault,
    slot::{Retire, Slot},
};

/// A call's hold on the server. Dropped before its end, it lets go of the call (see [`letting_go`]) if the
/// server knows of it; else its slot is free.
pub(super) struct Exchange {
    server: Arc<Server>,
    slot: Option<(Slot, Counted)>,
    link: Option<Link>,
}

impl Exchange {
    pub(super) fn new(server: Arc<Server>, slot: Slot, counted: Counted) -> Self {
        Self { server, slot: Some((slot, counted)), link: None }
    }

    /// Sends the request; the answer's body is `None` where the connection has become a tunnel.
    pub(super) async fn send(
        mut self,
        mut request: Request<Body>,
        upgrade: Option<OnUpgrade>,
    ) -> Result<(Self, Response<Option<Incoming>>), CallError> {
        let repeatable = head::is_repeatable(&request);
        expect::hold_body_back(&mut request);
        let response = loop {
            let (link, used) = match self.server.idle.take(repeatable) {
                Some(link) => (link, true),
                None => match self.server.dial().await {
                    Ok(link) => (link, false),
                    Err(fault) => return Err(self.unsent(fault, request, upgrade)),
                },
            };
            let spare = if used && repeatable { head::copy(&request) } else { None };
            let sent = self.link.insert(link).send(request).await;
            let mut failed = match sent {
                Ok(response) => break response,
                Err(failed) => failed,
            };
            let mut unsent = failed.take_message();
            if used && let Some(again) = unsent.take().or(spare) {
                self.link = None;
                request = again;
                continue;
            }
            let fault = faults::of_head(&self.server, failed.error()).await;
            return Err(match unsent {
                Some(request) => self.unsent(fault, request, upgrade),
                None => self.failed(fault),
            });
        };
        if response.status() != StatusCode::SWITCHING_PROTOCOLS {
            return Ok((self, response.map(Some)));
        }
        let Some(client) = upgrade else {
            let message = "the function switched protocols without being asked to";
            return Err(CallError::new(Outcome::FunctionError(FunctionFault::BadResponse), message));
        };
        if let Some(link) = self.link.take()
            && let Some(slot) = self.slot.take()
        {
            tunnel::start(client, link, slot, self.server.tunnel_time).await;
        }
        Ok((self, response.map(|_| None)))
    }

    /// Moves the connection on while an answer streams.
    pub(super) fn drive(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.link.as_mut().map_or(Poll::Ready(()), |link| link.drive(cx))
    }

    /// The answer has been read to its end.
    pub(super) fn complete(&mut self) {
        if let Some(link) = self.link.take() {
            self.server.idle.put(link);
        }
        if let Some((slot, _counted)) = self.slot.take() {
            slot.free();
        }
    }

    /// Why an answer broke off.
    pub(super) fn diagnose(&self, error: hyper::Error) -> futures_util::future::BoxFuture<'static, Fault> {
        let server = self.server.clone();
        Box::pin(async move { faults::of_body(&server, &error).await })
    }

    /// The call has failed; what that means for the instance.
    pub(super) fn settle(&mut self, then: Then) {
        match then {
            // Dropping does it.
            Then::LetGo => {}
            Then::Free => {
                self.link = None;
                if let Some((slot, _counted)) = self.slot.take() {
                    slot.free();
                }
            }
            Then::Retire(why) => {
                self.link = None;
                if let Some((slot, _counted)) = self.slot.take() {
                    slot.retire(why);
                }
            }
        }
    }

    fn failed(mut self, fault: Fault) -> CallError {
        self.settle(fault.then);
        let mut failed = CallError::new(fault.outcome, fault.message);
        failed.exit_code = fault.exit_code;
        failed
    }

    fn unsent(self, fault: Fault, mut request: Request<Body>, upgrade: Option<OnUpgrade>) -> CallError {
        if let Some(upgrade) = upgrade {
            request.extensions_mut().insert(upgrade);
        }
        let mut failed = self.failed(fault);
        failed.unsent = Some(Box::new(request));
        failed
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        let Some((slot, counted)) = self.slot.take() else { return };
        match (self.link.take(), tokio::runtime::Handle::try_current()) {
            (None, _) => slot.free(),
            (Some(link), Ok(runtime)) => {
                runtime.spawn(letting_go::let_go(link.into_parts(), (slot, counted)));
            }
            // The runtime is gone, and the instance goes with it.
            (Some(_), Err(_)) => slot.retire(Retire::Interrupted),
        }
    }
}

//! One connection to the server, driven in the task of the call that uses it.
//!
//! A connection has no task of its own: whoever waits for an answer moves the connection on in the same poll,
//! so that no other thread has to be woken on the way of a call. While idle nobody drives it; that its server
//! has closed it is found out when it is taken up again.

use hyper::{
    body::Incoming,
    client::conn::{
        TrySendError,
        http1::{self, Parts, SendRequest},
    },
};
use hyper_util::rt::TokioIo;
use std::{
    future::{Future, poll_fn},
    pin::pin,
    task::{Context, Poll, Waker},
};
use tokio::task::coop::unconstrained;
use xebec_core::{Body, ports::instance::Connection};

type Driver = http1::Connection<TokioIo<Connection>, Body>;

/// A connection that can carry one call at a time.
pub(crate) struct Link {
    sender: SendRequest<Body>,
    driver: Option<Box<Driver>>,
    /// The driver must not be polled any more.
    ended: bool,
}

impl Link {
    pub(crate) async fn new(connection: Connection) -> hyper::Result<Self> {
        let (sender, driver) = http1::handshake(TokioIo::new(connection)).await?;
        Ok(Self { sender, driver: Some(Box::new(driver)), ended: false })
    }

    /// Sends a request and waits for the answer's head.
    pub(crate) async fn send(
        &mut self,
        request: ::http::Request<Body>,
    ) -> Result<::http::Response<Incoming>, TrySendError<::http::Request<Body>>> {
        // Unconstrained, since to be told to come again later needs somebody to be woken, too.
        let mut answer = pin!(unconstrained(self.sender.try_send_request(request)));
        poll_fn(|cx| {
            // The answer comes from the driver alone, in this task: it has nobody to wake.
            let mut nobody = Context::from_waker(Waker::noop());
            // The driver first: what it gets is there for the answer in the same poll.
            self.ended |= poll_driver(&mut self.driver, self.ended, cx).is_ready();
            match answer.as_mut().poll(&mut nobody) {
                Poll::Pending if self.ended => {
                    // The connection went before it took the request, which only comes back when the
                    // driver goes, too.
                    self.driver = None;
                    answer.as_mut().poll(&mut nobody)
                }
                answer => answer,
            }
        })
        .await
    }

    /// Moves it on. Whether it has ended.
    pub(crate) fn drive(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let poll = poll_driver(&mut self.driver, self.ended, cx);
        self.ended |= poll.is_ready();
        poll
    }

    /// Whether it is idle and open, and can carry the next call.
    pub(crate) fn is_idle(&mut self) -> bool {
        self.drive(&mut Context::from_waker(Waker::noop())).is_pending() && self.sender.is_ready()
    }

    /// What is below it, as it is; bytes in its buffers to the server are lost.
    pub(crate) fn into_parts(self) -> Option<Parts<TokioIo<Connection>>> {
        self.driver.map(|driver| driver.into_parts())
    }

    /// What is below it, after the server has agreed to another protocol.
    pub(crate) async fn upgraded(mut self) -> Option<Parts<TokioIo<Connection>>> {
        poll_fn(|cx| self.drive(cx)).await;
        self.into_parts()
    }
}

/// Errors are not lost: hyper hands them to the call or to its body.
fn poll_driver(driver: &mut Option<Box<Driver>>, ended: bool, cx: &mut Context<'_>) -> Poll<()> {
    match driver {
        Some(driver) if !ended => driver.poll_without_shutdown(cx).map(|_| ()),
        _ => Poll::Ready(()),
    }
}

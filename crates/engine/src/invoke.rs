//! The way of a call: look up → may it → admit → revision → slot → instance → answer. Every step is one
//! short function; whatever ends the call on its way records it.

use crate::{
    admit,
    answer::follow,
    engine::Engine,
    flight::Flight,
    keep,
    pool::{Failure, NoSlot, Pool},
    request,
    send::send,
    trace,
};
use async_trait::async_trait;
use rand::RngExt as _;
use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};
use tokio::time::Instant;
use xebec_contracts::CallError;
use xebec_core::{
    Answer, Digest, Error, ErrorKind, Invocation, InvokeError, Outcome,
    invocation::Called,
    limits::Clock,
    outcome::{FunctionFault, PlatformFault},
    policy::Visibility,
    ports::invoker::Invoker,
    rules::hops,
    workload::Workload,
};

/// Instances that may turn a call away, nothing sent yet, before the caller is told.
const ATTEMPTS: u32 = 3;

#[async_trait]
impl Invoker for Engine {
    async fn invoke(&self, invocation: Invocation) -> Result<Answer, Box<InvokeError>> {
        let Some(deployed) = self.functions.get(&invocation.function) else {
            return Err(self.not_found(&invocation));
        };
        let now = self.shared.now();
        let admitted = admit::enter(&self.shared, &deployed, now);
        let flight = Flight::new(admitted, deployed, &invocation);
        self.admit(flight, invocation, now).await
    }
}

impl Engine {
    fn not_found(&self, invocation: &Invocation) -> Box<InvokeError> {
        self.shared.totals.not_found.fetch_add(1, Ordering::Relaxed);
        let key = &invocation.function;
        let message = format!("there is no function {:?} in the tenant {:?}", key.name, key.tenant.as_str());
        Box::new(InvokeError::platform(invocation.id, PlatformFault::NotFound, message))
    }

    async fn admit(
        &self,
        flight: Flight,
        invocation: Invocation,
        now: Duration,
    ) -> Result<Answer, Box<InvokeError>> {
        if self.is_stopping() {
            return Err(flight.refuse(PlatformFault::Unavailable, "the server is stopping"));
        }
        let function = &flight.deployed.function;
        if function.policy.visibility == Visibility::Authenticated
            && !invocation.principal.may_invoke(&function.key.tenant)
        {
            let message = "the function asks for a credential that may call it";
            return Err(flight.refuse(PlatformFault::Forbidden, message));
        }
        if let Err(refused) = flight.admitted.check(&flight.deployed, now) {
            let mut error = flight.refuse(PlatformFault::Overloaded, refused.message);
            error.retry_after = refused.retry_after.or(error.retry_after);
            return Err(error);
        }
        let revision = match invocation.revision {
            None => function.traffic.pick(rand::rng().random()),
            Some(wanted) if function.revision(&wanted).is_some() => wanted,
            Some(wanted) => {
                let message = format!("the function has no revision {}", wanted.short());
                return Err(flight.refuse(PlatformFault::NotFound, message));
            }
        };
        self.deliver(flight, revision, invocation).await
    }

    /// Brings the call to an instance, to another one where the first cannot take it after all.
    async fn deliver(
        &self,
        mut flight: Flight,
        revision: Digest,
        invocation: Invocation,
    ) -> Result<Answer, Box<InvokeError>> {
        flight.revision = Some(revision);
        let until = invocation.timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        let Invocation { mut request, principal, note, .. } = invocation;
        let mut called = Some((principal, note));
        let mut prepared = false;
        let mut attempt = 1;
        loop {
            let pool = match self.pool(&flight, revision).await {
                Ok(pool) => pool,
                Err(error) => return Err(without_pool(flight, &error)),
            };
            let limits = &pool.revision.spec.limits;
            if !prepared {
                let hops = hops::hops(request.headers());
                if hops >= hops::MAX_HOPS {
                    let message = format!("{} calls led to this one: the chain is too long", hops::MAX_HOPS);
                    return Err(flight.refuse(PlatformFault::Loop, message));
                }
                if let Some(limit) = self.shared.options.keep_requests {
                    flight.kept = keep::hold(&mut request, limit);
                }
                request.headers_mut().insert(hops::HOPS_HEADER, hops::value(hops + 1));
                trace::ensure(request.headers_mut(), flight.id);
                let Some(sent) = request::hold(request.body_mut(), limits.request_bytes) else {
                    let message = format!("the request's body is larger than {} bytes", limits.request_bytes);
                    return Err(flight.refuse(PlatformFault::TooLarge, message));
                };
                flight.request = sent;
                if matches!(pool.revision.spec.workload, Workload::Builtin { .. })
                    && let Some((principal, note)) = called.take()
                {
                    let function = flight.deployed.function.key.clone();
                    request.extensions_mut().insert(Called { id: flight.id, function, principal, note });
                }
                prepared = true;
            }
            let function = &flight.deployed.function.key.name;
            let trace = flight.trace.as_mut().and_then(|trace| trace.waits(function));
            let lease = match pool.acquire(flight.id, until, trace).await {
                Ok(lease) => lease,
                Err(NoSlot::Closed) => continue,
                Err(none) => {
                    let mut error = without_slot(flight, none);
                    error.contract = contract(&pool);
                    return Err(error);
                }
            };
            let cold = lease.cold;
            let Some((instance, slot)) = lease.take() else {
                return Err(flight.refuse(PlatformFault::Internal, "a slot was lost"));
            };
            flight.begin(instance.clone(), cold, request.headers_mut());
            match send(&flight, &instance, slot, request, &limits.clocks, until).await {
                Ok(head) => {
                    flight.answered(&head.response);
                    let (timing, id) = (flight.timing, instance.id.clone());
                    let response = head.response.map(|body| follow(body, flight, head.deadline));
                    return Ok(Answer { response, revision, instance: id, timing });
                }
                Err(mut error) => match error.unsent.take() {
                    Some(unsent) if attempt < ATTEMPTS => {
                        request = *unsent;
                        flight.take_back();
                        attempt += 1;
                    }
                    _ => return Err(failed(flight, &pool, error)),
                },
            }
        }
    }

    /// The pool of a revision, which is made where there is none.
    async fn pool(&self, flight: &Flight, revision: Digest) -> Result<Arc<Pool>, Error> {
        let active = &flight.admitted.active;
        if !active.awake.load(Ordering::Relaxed) {
            self.shared.keeper.wake(active);
        }
        match active.pool(&revision) {
            Some(pool) => Ok(pool),
            None => Box::pin(self.open_pool(active, revision)).await,
        }
    }
}

fn without_pool(flight: Flight, error: &Error) -> Box<InvokeError> {
    let fault = match error.kind {
        // Removed while the call was on its way.
        ErrorKind::NotFound => PlatformFault::NotFound,
        _ => PlatformFault::Unavailable,
    };
    flight.refuse(fault, error.to_string())
}

fn without_slot(flight: Flight, none: NoSlot) -> Box<InvokeError> {
    match none {
        NoSlot::Full(queue) => {
            let message = format!("{queue} callers wait for this function already");
            flight.refuse(PlatformFault::Overloaded, message)
        }
        NoSlot::Late(patience) => {
            let message = format!("no instance took the call within {patience:?}");
            let mut error = flight.refuse(PlatformFault::Overloaded, message);
            error.clock = Some(Clock::Wait);
            error
        }
        NoSlot::Failed(failure) => without_instance(flight, &failure),
        // Asked again by the caller of this.
        NoSlot::Closed => flight.refuse(PlatformFault::Unavailable, "the function is being changed"),
    }
}

fn without_instance(mut flight: Flight, failure: &Failure) -> Box<InvokeError> {
    let outcome = if failure.overloaded {
        Outcome::PlatformError(PlatformFault::Overloaded)
    } else if failure.late {
        // The code was at it when the time ran out that its contract gives it.
        Outcome::FunctionError(FunctionFault::Timeout(Clock::Start))
    } else {
        Outcome::FunctionError(FunctionFault::FailedInit)
    };
    let message = if failure.overloaded {
        failure.message.clone()
    } else {
        format!("the function could not be started: {}", failure.message)
    };
    flight.wrote(&failure.output);
    let mut error = flight.fail(outcome, message);
    error.output = failure.output.clone();
    error.log_tail.clone_from(&failure.tail);
    let soon = || failure.overloaded.then_some(Duration::from_secs(1));
    error.retry_after = failure.retry_after.or_else(soon);
    error
}

fn failed(mut flight: Flight, pool: &Pool, failed: CallError) -> Box<InvokeError> {
    flight.wrote(&failed.output);
    let mut error = flight.fail(failed.outcome, failed.message);
    error.output = failed.output;
    error.exit_code = failed.exit_code;
    error.contract = contract(pool);
    error
}

fn contract(pool: &Pool) -> compact_str::CompactString {
    pool.revision.spec.contract.name.as_str().into()
}

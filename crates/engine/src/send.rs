//! One call to one instance, under the clocks that hold until the head of its answer is there.

use crate::{answer::Deadline, flight::Flight, pool::Instance};
use http::{Request, Response};
use std::{sync::Arc, time::Duration};
use tokio::time::{Instant, sleep_until, timeout};
use xebec_contracts::{Call, CallError};
use xebec_core::{
    Body, Outcome,
    limits::{Clock, Clocks},
    outcome::{FunctionFault, PlatformFault},
    slot::Slot,
};

/// What a contract gets to tell how a call ended whose instance has.
const LAST_WORDS: Duration = Duration::from_millis(250);

/// A call whose answer's head is there.
pub(crate) struct Head {
    pub(crate) response: Response<Body>,
    pub(crate) deadline: Deadline,
}

/// `clock` after `from`; clocks so long that they cannot be told are as good as a month.
fn after(from: Instant, clock: Duration) -> Instant {
    const MONTH: Duration = Duration::from_secs(30 * 24 * 3600);
    from.checked_add(clock).unwrap_or_else(|| from + MONTH)
}

/// Sends a call. `until` is when the caller's own patience ends.
pub(crate) async fn send(
    flight: &Flight,
    instance: &Arc<Instance>,
    slot: Slot,
    request: Request<Body>,
    clocks: &Clocks,
    until: Option<Instant>,
) -> Result<Head, CallError> {
    let Some(session) = instance.session() else {
        // Slots are handed out only after the session was set.
        return Err(CallError::new(
            Outcome::PlatformError(PlatformFault::Internal),
            "the instance has no session",
        ));
    };
    let sent = flight.sent_at();
    let left = until.map_or(Duration::MAX, |until| until.saturating_duration_since(sent));
    let run = clocks.run.min(left);
    let first = clocks.first_byte.min(run);
    let mut sleep = Box::pin(sleep_until(after(sent, first)));
    let mut call = session.call(Call { id: flight.id, slot, request });
    let answered = tokio::select! {
        biased;
        answered = &mut call => answered,
        () = &mut sleep => return Err(late(first, first == clocks.first_byte && first < run)),
        exit = instance.ended() => match timeout(LAST_WORDS, &mut call).await {
            Ok(answered) => answered,
            Err(_) => {
                let mut error = CallError::new(
                    Outcome::FunctionError(flight.crash()),
                    format!("the instance {exit} in the middle of the call"),
                );
                error.exit_code = exit.code;
                Err(error)
            }
        },
    };
    match answered {
        Ok(response) => Ok(Head { response, deadline: Deadline { at: after(sent, run), after: run, sleep } }),
        Err(error) => Err(explain(flight, instance, error).await),
    }
}

fn late(after: Duration, first_byte: bool) -> CallError {
    let clock = if first_byte { Clock::FirstByte } else { Clock::Run };
    CallError::new(
        Outcome::FunctionError(FunctionFault::Timeout(clock)),
        format!("the function did not answer within {after:?}"),
    )
}

/// A broken connection often is how the end of an instance shows first; its driver knows why it ended.
async fn explain(flight: &Flight, instance: &Arc<Instance>, mut error: CallError) -> CallError {
    if flight.request.too_large() {
        error.outcome = Outcome::PlatformError(PlatformFault::TooLarge);
        error.message = "the request's body is larger than the function takes".to_owned();
        return error;
    }
    let broken =
        matches!(error.outcome, Outcome::FunctionError(FunctionFault::Crash | FunctionFault::BadResponse));
    if broken
        && error.unsent.is_none()
        && error.exit_code.is_none()
        && let Ok(exit) = timeout(LAST_WORDS, instance.ended()).await
    {
        error.outcome = Outcome::FunctionError(flight.crash());
        error.exit_code = exit.code;
        error.message = format!("{}: the instance {exit}", error.message);
    }
    error
}

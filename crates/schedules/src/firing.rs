//! One time that is due becomes one message.

use crate::{
    Inner,
    documents::{Current, Id, State, document, spec},
    table::{Ended, Versioned},
};
use compact_str::format_compact;
use http::Request;
use jiff::Timestamp;
use std::time::Duration;
use uuid::Builder;
use xebec_core::{
    Body, Digest, Error, ErrorKind, InvocationId,
    auth::{Principal, Role},
    document::Expect,
    message::{Idempotency, Receipt, Source, Submission},
    rules::schedule::{MOST_MADE_UP, Plan, Turn, turn},
    schedule::{Firing, ScheduledCall},
};

/// How often a note that others keep changing is tried.
const TRIES: usize = 8;

/// For how long at least, and at most, a time that became a message is known to the queue.
const SHORTEST_WINDOW: Duration = Duration::from_secs(3600);
const LONGEST_WINDOW: Duration = Duration::from_secs(7 * 24 * 3600);

impl Inner {
    /// Fires a schedule if it is due, by what is stored of it now.
    pub(crate) async fn see_to(&self, id: &Id) -> Ended {
        let Some((current, known)) = self.known(id) else { return Ended::Gone };
        let (mut state, version) = match self.adopt(id, &current).await {
            Ok(state) => state,
            Err(error) => {
                tracing::warn!(schedule = %id.full_name(), %error, "what is due cannot be read");
                return Ended::Unreadable;
            }
        };
        if version <= known.1 {
            // What could not be stored holds here.
            state.handled = state.handled.max(known.0.handled);
        }
        let now = self.clock.now();
        let Some(plan) = state.plan() else { return Ended::Known((state, version)) };
        let Turn::Fire(due) = turn(&plan, current.schedule.missed, state.handled, now) else {
            return Ended::Known((state, version));
        };
        let idempotency = Idempotency {
            key: format_compact!("schedule/{}/{due}", id.full_name()),
            window_ms: window(&plan, due).as_millis() as u64,
        };
        let submission = self.submission(id, &current, call_id(id, due), Some(idempotency));
        let firing = match self.submit(id, submission).await {
            Ok(receipt) => Firing { due, at: now, call: Some(receipt.id), error: None },
            Err(error) => {
                let passes = passes(&error);
                let firing = Firing { due, at: now, call: None, error: Some(error.to_string()) };
                if passes {
                    return Ended::Trouble(firing);
                }
                firing
            }
        };
        self.note(id, &current, firing).await
    }

    fn known(&self, id: &Id) -> Option<(Current, Versioned)> {
        let table = self.table.lock();
        table.get(id).map(|entry| (entry.current.clone(), entry.versioned_state()))
    }

    /// What is stored of a schedule's state; stored now, where there was none or it was of another one.
    pub(crate) async fn adopt(&self, id: &Id, current: &Current) -> Result<Versioned, Error> {
        let key = id.state_key();
        for _ in 0..TRIES {
            let stored = self.store.get(&key).await?;
            let version = stored.as_ref().map_or(0, |stored| stored.version);
            let before: Option<State> = stored.as_ref().and_then(spec);
            let state = State::going_on(before.as_ref(), current, self.clock.now());
            if before.as_ref() == Some(&state) {
                return Ok((state, version));
            }
            let expect = stored.map_or(Expect::Absent, |_| Expect::Version(version));
            match self.store.put(document(key.clone(), &state)?, expect).await {
                Ok(stored) => return Ok((state, stored.version)),
                Err(error) if error.code == "XB4001" => {}
                Err(error) => return Err(error),
            }
        }
        Err(contended(id))
    }

    /// Notes that a schedule fired. Whoever comes second learns what the first one noted.
    async fn note(&self, id: &Id, current: &Current, firing: Firing) -> Ended {
        let mut unstored = None;
        for _ in 0..TRIES {
            let written = async {
                let (mut state, version) = self.adopt(id, current).await?;
                if state.handled >= firing.due {
                    return Ok((state, version));
                }
                state.fired(firing.clone());
                unstored = Some(state.clone());
                let document = document(id.state_key(), &state)?;
                let stored = self.store.put(document, Expect::Version(version)).await?;
                Ok::<_, Error>((state, stored.version))
            };
            match written.await {
                Ok(state) => return Ended::Known(state),
                Err(error) if error.code == "XB4001" => {}
                Err(error) => {
                    tracing::warn!(schedule = %id.full_name(), %error, "that it fired could not be stored");
                    break;
                }
            }
        }
        match unstored {
            Some(state) => Ended::Unstored(state),
            None => Ended::Unreadable,
        }
    }

    /// Fires a schedule beside its times.
    pub(crate) async fn fire_now(&self, id: &Id, current: &Current) -> Result<Receipt, Error> {
        let submission = self.submission(id, current, InvocationId::new(), None);
        let receipt = self.submit(id, submission).await?;
        let now = self.clock.now();
        let firing = Firing { due: now, at: now, call: Some(receipt.id), error: None };
        for _ in 0..TRIES {
            let Ok((mut state, version)) = self.adopt(id, current).await else { break };
            state.last = Some(firing.clone());
            let Ok(document) = document(id.state_key(), &state) else { break };
            match self.store.put(document, Expect::Version(version)).await {
                Ok(stored) => {
                    self.table.lock().learn(id, (state, stored.version), now);
                    break;
                }
                Err(error) if error.code == "XB4001" => {}
                // The call is accepted; that it is not listed as the last one is no reason to say otherwise.
                Err(_) => break,
            }
        }
        Ok(receipt)
    }

    async fn submit(&self, id: &Id, submission: Result<Submission, Error>) -> Result<Receipt, Error> {
        let schedule = id.full_name();
        let receipt = self.deliveries.submit(submission?).await;
        match &receipt {
            Ok(receipt) => tracing::debug!(schedule, call = %receipt.id, "fired"),
            Err(error) => tracing::warn!(schedule, %error, "could not fire"),
        }
        receipt
    }

    fn submission(
        &self,
        id: &Id,
        current: &Current,
        call: InvocationId,
        idempotency: Option<Idempotency>,
    ) -> Result<Submission, Error> {
        let request = request(&current.schedule.call)?;
        // It may call what is not public, within its tenant.
        let tenant = Some(current.function.tenant.clone());
        let principal = Principal::Key { id: "schedule".into(), role: Role::Invoke, tenant };
        let mut submission = Submission::new(current.function.clone(), principal, request);
        submission.id = call;
        submission.source = Source::Schedule(id.name.clone());
        submission.wishes.idempotency = idempotency;
        Ok(submission)
    }
}

fn request(call: &ScheduledCall) -> Result<Request<Body>, Error> {
    let mut request = Request::builder().method(call.method.as_str()).uri(&call.path);
    for (name, value) in &call.headers {
        request = request.header(name, value);
    }
    let wrong = |error: http::Error| Error::invalid("XB1012", format!("its call cannot be made: {error}"));
    request.body(Body::full(call.body.clone())).map_err(wrong)
}

/// The id of the call that a time becomes: the same on every server, and sorted by that time.
fn call_id(id: &Id, due: Timestamp) -> InvocationId {
    let name = format!("{}\n{}\n{due}", id.tenant, id.full_name());
    let mut random = [0; 10];
    random.copy_from_slice(&Digest::of(name).as_bytes()[..10]);
    let milliseconds = u64::try_from(due.as_millisecond()).unwrap_or_default();
    InvocationId(Builder::from_unix_timestamp_millis(milliseconds, &random).into_uuid())
}

/// For how long a stop may last after a crash, and the same time be submitted once more.
fn window(plan: &Plan, due: Timestamp) -> Duration {
    let gap = plan.next(due).and_then(|next| Duration::try_from(next.duration_since(due)).ok());
    let all = gap.map_or(LONGEST_WINDOW, |gap| gap.saturating_mul(MOST_MADE_UP as u32));
    all.clamp(SHORTEST_WINDOW, LONGEST_WINDOW)
}

/// Whether it may be accepted later.
fn passes(error: &Error) -> bool {
    matches!(error.kind, ErrorKind::Unavailable | ErrorKind::Internal)
        || matches!(error.code, "XB4002" | "XB4020")
}

pub(crate) fn contended(id: &Id) -> Error {
    let message = format!("schedule {:?} is being changed by others again and again", id.name);
    Error::new(ErrorKind::Unavailable, "XB4005", message).with_hint("try again")
}

#[cfg(test)]
mod tests {
    use super::*;
    use xebec_core::{Tenant, schedule::When};

    #[test]
    fn a_time_has_one_id_everywhere() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let (a, b) = (Id::own(&Tenant::default(), "a"), Id::own(&Tenant::default(), "b"));
        assert_eq!(call_id(&a, at(5)), call_id(&a, at(5)));
        assert_ne!(call_id(&a, at(5)), call_id(&b, at(5)));
        assert!(call_id(&a, at(5)) < call_id(&a, at(6)), "ids sort by time");
        assert_eq!(call_id(&a, at(5)).0.get_version_num(), 7);
    }

    #[test]
    fn the_window_covers_all_that_is_made_up_for() {
        let of = |every: &str| {
            let when = When::Every { every: every.into(), from: None };
            let plan = Plan::new(&when, Timestamp::UNIX_EPOCH).unwrap();
            window(&plan, plan.next(Timestamp::UNIX_EPOCH).unwrap())
        };
        assert_eq!(of("1s"), SHORTEST_WINDOW);
        assert_eq!(of("10m"), Duration::from_secs(60_000));
        assert_eq!(of("365d"), LONGEST_WINDOW);
        let once = Plan::new(&When::At { at: Timestamp::MAX }, Timestamp::UNIX_EPOCH).unwrap();
        assert_eq!(window(&once, Timestamp::MAX), LONGEST_WINDOW);
    }
}

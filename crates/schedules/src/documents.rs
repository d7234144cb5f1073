//! What is stored of a schedule, and how it goes on when it is changed.

use compact_str::{CompactString, format_compact};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use xebec_core::{
    Error, FunctionKey, Tenant,
    document::{Document, DocumentKey},
    rules::schedule::Plan,
    schedule::{Bounds, Firing, Schedule, When},
};

/// The kind of a schedule that is not part of a function's policy.
pub(crate) const SCHEDULE: &str = "schedule";

/// The kind of what became of a schedule.
pub(crate) const STATE: &str = "schedule-state";

/// What names a schedule, in the order in which they are listed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Id {
    pub(crate) tenant: Tenant,
    /// Of one in a function's policy `<function>.<schedule>`; others have no dot.
    pub(crate) name: CompactString,
    /// The function whose policy it is part of.
    pub(crate) of: Option<FunctionKey>,
}

impl Id {
    pub(crate) fn own(tenant: &Tenant, name: &str) -> Self {
        Self { tenant: tenant.clone(), name: name.into(), of: None }
    }

    pub(crate) fn of_function(key: &FunctionKey, name: &str) -> Self {
        let name = format_compact!("{}.{name}", key.name);
        Self { tenant: key.tenant.clone(), name, of: Some(key.clone()) }
    }

    /// Its name among all of its tenant, whichever doors functions came through.
    pub(crate) fn full_name(&self) -> String {
        match &self.of {
            None => self.name.to_string(),
            Some(function) => format!("{}/{}", function.door, self.name),
        }
    }

    pub(crate) fn schedule_key(&self) -> DocumentKey {
        DocumentKey::new(SCHEDULE, self.tenant.as_str(), &self.name)
    }

    pub(crate) fn state_key(&self) -> DocumentKey {
        DocumentKey::new(STATE, self.tenant.as_str(), &self.full_name())
    }
}

/// A schedule that is not part of a function's policy, as it is stored.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Stored {
    pub(crate) function: FunctionKey,
    pub(crate) schedule: Schedule,
    /// When it was made; a second one of the same name is another one.
    pub(crate) made: Timestamp,
    /// When it was last changed.
    pub(crate) changed: Timestamp,
}

/// A schedule as it is now, wherever it is written.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Current {
    /// Its name is the one it was given.
    pub(crate) schedule: Schedule,
    /// Whom it calls.
    pub(crate) function: FunctionKey,
    /// When it, or the function whose policy it is part of, was made.
    pub(crate) parent: Timestamp,
    /// When it, or that function, was last changed.
    pub(crate) changed: Timestamp,
}

impl From<Stored> for Current {
    fn from(stored: Stored) -> Self {
        let Stored { function, schedule, made, changed } = stored;
        Self { schedule, function, parent: made, changed }
    }
}

/// What became of a schedule.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct State {
    /// Of which one of that name: when it, or its function, was made.
    parent: Timestamp,
    /// The times it is about; others begin anew.
    when: When,
    /// Which of them; others begin anew, too.
    #[serde(default)]
    bounds: Bounds,
    /// How many of them became calls.
    #[serde(default)]
    fired: u64,
    /// Whether its definition says that it is paused.
    paused: bool,
    /// What an operator said about that since.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    held: Option<bool>,
    /// Since when these are its times: what intervals are counted from.
    pub(crate) made: Timestamp,
    /// All times up to this one were seen to.
    pub(crate) handled: Timestamp,
    /// How it fired last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) last: Option<Firing>,
}

impl State {
    /// The state that a schedule goes on with, whatever it was before. A schedule that is new, has other times, or
    /// was paused begins with the moment of that change; so times come that a fast clock had seen to.
    pub(crate) fn going_on(before: Option<&Self>, current: &Current, now: Timestamp) -> Self {
        let changed = current.changed.min(now);
        let Schedule { when, bounds, paused, .. } = &current.schedule;
        let Some(before) = before.filter(|before| before.parent == current.parent) else {
            return Self {
                parent: current.parent,
                when: when.clone(),
                bounds: *bounds,
                fired: 0,
                paused: *paused,
                held: None,
                made: changed,
                handled: changed,
                last: None,
            };
        };
        let mut state = before.clone();
        if state.when != *when {
            (state.when, state.fired) = (when.clone(), 0);
            (state.made, state.handled) = (changed, changed);
        }
        if state.bounds != *bounds {
            (state.bounds, state.fired) = (*bounds, 0);
            state.handled = state.handled.max(changed);
        }
        if state.paused != *paused {
            let was = state.is_paused();
            (state.paused, state.held) = (*paused, None);
            if was && !*paused {
                state.handled = changed;
            }
        }
        state
    }

    /// Whether it does not fire.
    pub(crate) fn is_paused(&self) -> bool {
        self.held.unwrap_or(self.paused)
    }

    /// What is left of its times: nothing, where it does not fire or has fired often enough.
    pub(crate) fn plan(&self) -> Option<Plan> {
        let spent = self.bounds.times.is_some_and(|most| self.fired >= most);
        let plan = Plan::new(&self.when, self.made).ok().filter(|_| !spent && !self.is_paused());
        plan.map(|plan| plan.within(&self.bounds))
    }

    /// An operator pauses or resumes it. What passed meanwhile is not made up for.
    pub(crate) fn hold(&mut self, paused: bool, now: Timestamp) {
        if self.is_paused() && !paused {
            self.handled = now;
        }
        self.held = Some(paused).filter(|paused| *paused != self.paused);
    }

    /// A time was seen to.
    pub(crate) fn fired(&mut self, firing: Firing) {
        self.handled = self.handled.max(firing.due);
        self.fired += u64::from(firing.call.is_some());
        self.last = Some(firing);
    }
}

/// A document with a spec of ours.
pub(crate) fn document<T: Serialize>(key: DocumentKey, spec: &T) -> Result<Document, Error> {
    let spec = serde_json::to_value(spec).map_err(|error| Error::internal("XB4003", error.to_string()))?;
    Ok(Document::new(&key.kind, &key.namespace, &key.name, spec))
}

/// The spec of a document of ours. What cannot be read (a later version wrote it) is as good as not there.
pub(crate) fn spec<T: for<'de> Deserialize<'de>>(document: &Document) -> Option<T> {
    T::deserialize(&document.spec)
        .inspect_err(|error| {
            let (kind, name) = (&document.kind, &document.name);
            tracing::warn!(kind, name, %error, "a document about a schedule makes no sense");
        })
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use xebec_core::schedule::{Missed, ScheduledCall};

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn current(every: &str, paused: bool, changed: i64) -> Current {
        let schedule = Schedule {
            name: "s".into(),
            when: When::Every { every: every.into(), from: None },
            bounds: Bounds::default(),
            missed: Missed::Once,
            call: ScheduledCall::default(),
            paused,
        };
        let function = FunctionKey::new(&Tenant::default(), "native", "f");
        Current { schedule, function, parent: at(10), changed: at(changed) }
    }

    #[test]
    fn goes_on_over_changes_that_are_none_of_its_times() {
        let first = State::going_on(None, &current("5s", false, 10), at(1000));
        assert_eq!((first.made, first.handled), (at(10), at(10)));
        let again = State::going_on(Some(&first), &current("5s", false, 500), at(1000));
        assert_eq!(again, first);
    }

    #[test]
    fn begins_anew_with_other_times() {
        let mut first = State::going_on(None, &current("5s", false, 10), at(1000));
        first.fired(Firing { due: at(15), at: at(15), call: None, error: None });
        let other = State::going_on(Some(&first), &current("7s", false, 500), at(1000));
        assert_eq!((other.made, other.handled, &other.last), (at(500), at(500), &first.last));
        let stranger = Current { parent: at(400), ..current("5s", false, 500) };
        assert_eq!(State::going_on(Some(&first), &stranger, at(1000)).last, None);
        let fast = State::going_on(None, &current("5s", false, 5000), at(1000));
        assert_eq!(fast.made, at(1000), "no later than now, whatever the clock was");
    }

    #[test]
    fn fires_so_many_times_and_no_more() {
        let of = |times, changed| {
            let mut current = current("5s", false, changed);
            current.schedule.bounds.times = Some(times);
            current
        };
        let firing = |second, call| Firing { due: at(second), at: at(second), call, error: None };
        let mut state = State::going_on(None, &of(2, 10), at(10));
        state.fired(firing(15, Some(xebec_core::InvocationId::new())));
        state.fired(firing(20, None));
        assert!(state.plan().is_some(), "what could not be accepted is not counted");
        state.fired(firing(25, Some(xebec_core::InvocationId::new())));
        assert!(state.plan().is_none());
        let more = State::going_on(Some(&state), &of(1, 40), at(50));
        assert_eq!((more.made, more.handled), (at(10), at(40)), "what passed meanwhile is not made up for");
        assert_eq!(more.plan().and_then(|plan| plan.next(more.handled)), Some(at(45)));
    }

    #[test]
    fn does_not_make_up_for_a_pause() {
        let first = State::going_on(None, &current("5s", true, 10), at(1000));
        assert!(first.is_paused());
        let resumed = State::going_on(Some(&first), &current("5s", false, 900), at(1000));
        assert_eq!((resumed.is_paused(), resumed.made, resumed.handled), (false, at(10), at(900)));
        let mut held = resumed.clone();
        held.hold(true, at(1000));
        assert!(held.is_paused());
        let redeployed = State::going_on(Some(&held), &current("5s", false, 1100), at(1200));
        assert!(redeployed.is_paused(), "a deploy that says nothing new does not end an operator's pause");
        held.hold(false, at(1300));
        assert_eq!((held.is_paused(), held.handled), (false, at(1300)));
    }
}

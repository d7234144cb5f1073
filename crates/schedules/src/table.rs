//! What is known in memory, and what is due next.

use crate::documents::{Current, Id, State};
use jiff::Timestamp;
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    time::Duration,
};
use xebec_core::{
    FunctionKey, Tenant,
    rules::{
        backoff::Backoff,
        schedule::{Turn, turn},
    },
    schedule::{Firing, ScheduleView},
};

/// How what could not be submitted is tried again.
const BACKOFF: Backoff = Backoff { first: Duration::from_secs(1), most: Duration::from_secs(60) };

/// The pause between times that are made up for.
const BETWEEN: Duration = Duration::from_millis(100);

/// A state and the version of its document.
pub(crate) type Versioned = (State, u64);

/// How seeing to a schedule ended.
#[derive(Debug)]
pub(crate) enum Ended {
    /// This is its state now.
    Known(Versioned),
    /// It fired, and the state could not be stored: it holds in memory.
    Unstored(State),
    /// It could not fire; it is tried again.
    Trouble(Firing),
    /// It could not even be looked at.
    Unreadable,
    /// It is gone.
    Gone,
}

/// All schedules, and when each is looked at next.
#[derive(Default)]
pub(crate) struct Table {
    entries: BTreeMap<Id, Entry>,
    looks: BTreeSet<(Timestamp, Id)>,
    /// How many a tenant has, those of its functions' policies not counted.
    own: HashMap<Tenant, usize>,
}

/// A schedule in memory.
pub(crate) struct Entry {
    pub(crate) current: Current,
    /// The version of its own document.
    version: u64,
    pub(crate) state: State,
    state_version: u64,
    /// When it fires next.
    next: Option<Timestamp>,
    /// When it is looked at next.
    look: Option<Timestamp>,
    /// Someone sees to it right now.
    busy: bool,
    /// Failures in a row.
    failures: u32,
    /// The last of them.
    trouble: Option<Firing>,
}

impl Entry {
    pub(crate) fn versioned_state(&self) -> Versioned {
        (self.state.clone(), self.state_version)
    }

    fn view(&self, id: &Id) -> ScheduleView {
        let mut schedule = self.current.schedule.clone();
        schedule.name = id.name.clone();
        schedule.paused = self.state.is_paused();
        ScheduleView {
            schedule,
            function: self.current.function.clone(),
            of_function: id.of.is_some(),
            next: self.next,
            last: self.trouble.clone().or_else(|| self.state.last.clone()),
        }
    }

    /// When to look at it, and when it fires, as far as is known here.
    fn plan(&mut self, now: Timestamp) {
        let missed = self.current.schedule.missed;
        let turn = self.state.plan().map(|plan| turn(&plan, missed, self.state.handled, now));
        (self.next, self.look) = match turn {
            None => (None, None),
            Some(Turn::Wait(next)) => (next, next),
            Some(Turn::Fire(due)) => (Some(due), Some(now + BACKOFF.delay(self.failures))),
        };
    }
}

impl Table {
    /// Takes over a schedule, unless a later version is known.
    pub(crate) fn put(&mut self, id: Id, current: Current, version: u64, state: Versioned, now: Timestamp) {
        let known = self.entries.get(&id);
        if known.is_some_and(|known| known.version > version && known.current.parent >= current.parent) {
            return;
        }
        if known.is_none() && id.of.is_none() {
            *self.own.entry(id.tenant.clone()).or_default() += 1;
        }
        let busy = known.is_some_and(|known| known.busy);
        let (state, state_version) = state;
        let entry = Entry {
            current,
            version,
            state,
            state_version,
            next: None,
            look: None,
            busy,
            failures: 0,
            trouble: None,
        };
        if let Some(Entry { look: Some(look), .. }) = self.entries.insert(id.clone(), entry) {
            self.looks.remove(&(look, id.clone()));
        }
        self.plan(&id, now);
    }

    /// Takes over a state, unless a later one is known.
    pub(crate) fn learn(&mut self, id: &Id, state: Versioned, now: Timestamp) {
        let Some(entry) = self.entries.get_mut(id) else { return };
        if entry.state_version < state.1 {
            (entry.state, entry.state_version) = state;
            self.plan(id, now);
        }
    }

    /// Forgets a schedule; one whose document is later than `version` stays.
    pub(crate) fn remove(&mut self, id: &Id, version: u64) {
        if self.entries.get(id).is_none_or(|entry| entry.version > version) {
            return;
        }
        if let Some(Entry { look: Some(look), .. }) = self.entries.remove(id) {
            self.looks.remove(&(look, id.clone()));
        }
        if id.of.is_none()
            && let Some(own) = self.own.get_mut(&id.tenant)
        {
            *own -= 1;
            if *own == 0 {
                self.own.remove(&id.tenant);
            }
        }
    }

    /// Works out anew when a schedule is looked at.
    fn plan(&mut self, id: &Id, now: Timestamp) {
        let Some(entry) = self.entries.get_mut(id) else { return };
        let before = entry.look;
        entry.plan(now);
        if entry.busy {
            // Whoever sees to it has it planned afterwards.
            entry.look = None;
        }
        self.follow(id, before);
    }

    fn follow(&mut self, id: &Id, before: Option<Timestamp>) {
        let look = self.entries.get(id).and_then(|entry| entry.look);
        if look != before {
            before.map(|before| self.looks.remove(&(before, id.clone())));
            look.map(|look| self.looks.insert((look, id.clone())));
        }
    }

    /// Works out everything anew: the clock jumped.
    pub(crate) fn plan_all(&mut self, now: Timestamp) {
        let ids: Vec<Id> = self.entries.keys().cloned().collect();
        ids.iter().for_each(|id| self.plan(id, now));
    }

    /// Those to look at now, at most `most`; they are busy until [`Table::end`].
    pub(crate) fn take(&mut self, now: Timestamp, most: usize) -> Vec<Id> {
        let mut taken = Vec::new();
        while taken.len() < most
            && let Some((look, _)) = self.looks.first()
            && *look <= now
            && let Some((_, id)) = self.looks.pop_first()
        {
            if let Some(entry) = self.entries.get_mut(&id) {
                (entry.look, entry.busy) = (None, true);
            }
            taken.push(id);
        }
        taken
    }

    /// When the next one is to be looked at.
    pub(crate) fn first(&self) -> Option<Timestamp> {
        self.looks.first().map(|(look, _)| *look)
    }

    /// Ends what [`Table::take`] began.
    pub(crate) fn end(&mut self, id: &Id, ended: Ended, now: Timestamp) {
        let Some(entry) = self.entries.get_mut(id) else { return };
        let before = entry.look;
        entry.busy = false;
        match ended {
            Ended::Known((state, version)) => {
                (entry.failures, entry.trouble) = (0, None);
                if entry.state_version < version {
                    (entry.state, entry.state_version) = (state, version);
                }
            }
            Ended::Unstored(state) => {
                (entry.failures, entry.trouble) = (0, None);
                entry.state = state;
            }
            Ended::Trouble(firing) => {
                entry.failures = entry.failures.saturating_add(1);
                entry.trouble = Some(firing);
            }
            Ended::Unreadable => {
                entry.failures = entry.failures.saturating_add(1);
            }
            // What is there now is another one of that name, and has its plan.
            Ended::Gone => return,
        }
        entry.plan(now);
        // What is overdue still has its turn after a pause; what comes soon is not held up by it.
        entry.look = entry.look.map(|look| if look <= now { now + BETWEEN } else { look });
        self.follow(id, before);
    }

    pub(crate) fn get(&self, id: &Id) -> Option<&Entry> {
        self.entries.get(id)
    }

    /// The schedule of that name. Where functions of several doors have the same name, the first door's.
    pub(crate) fn named(&self, tenant: &Tenant, name: &str) -> Option<Id> {
        self.all_named(tenant, name).next().cloned()
    }

    pub(crate) fn all_named(&self, tenant: &Tenant, name: &str) -> impl Iterator<Item = &Id> {
        let from = Id::own(tenant, name);
        let ids = self.entries.range(&from..).map(|(id, _)| id);
        ids.take_while(move |id| id.tenant == from.tenant && id.name == from.name)
    }

    pub(crate) fn view(&self, id: &Id) -> Option<ScheduleView> {
        self.entries.get(id).map(|entry| entry.view(id))
    }

    pub(crate) fn views(&self, tenant: Option<&Tenant>) -> Vec<ScheduleView> {
        match tenant {
            None => self.entries.iter().map(|(id, entry)| entry.view(id)).collect(),
            Some(tenant) => self.of_tenant(tenant).map(|(id, entry)| entry.view(id)).collect(),
        }
    }

    /// How many a tenant has, those of its functions' policies not counted.
    pub(crate) fn count(&self, tenant: &Tenant) -> usize {
        self.own.get(tenant).copied().unwrap_or_default()
    }

    fn of_tenant<'a>(&'a self, tenant: &'a Tenant) -> impl Iterator<Item = (&'a Id, &'a Entry)> {
        self.entries.range(Id::own(tenant, "")..).take_while(move |(id, _)| id.tenant == *tenant)
    }

    /// Those in a function's policy.
    pub(crate) fn of_function(&self, key: &FunctionKey) -> Vec<Id> {
        let prefix = Id::of_function(key, "");
        self.entries
            .range(&Id { of: None, ..prefix.clone() }..)
            .map(|(id, _)| id)
            .take_while(|id| id.tenant == prefix.tenant && id.name.starts_with(&*prefix.name))
            .filter(|id| id.of == prefix.of)
            .cloned()
            .collect()
    }

    /// All that are known.
    pub(crate) fn ids(&self) -> Vec<Id> {
        self.entries.keys().cloned().collect()
    }
}

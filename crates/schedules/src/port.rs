//! What doors may ask.

use crate::{
    Inner, MOST_PER_TENANT, Schedules,
    documents::{Current, Id, State, Stored, document, spec},
    firing::contended,
};
use async_trait::async_trait;
use xebec_core::{
    Error, ErrorKind, FunctionKey, Tenant,
    document::{Document, Expect, Write},
    message::Receipt,
    ports,
    rules::schedule,
    schedule::{Schedule, ScheduleView},
};

/// How often a change that others interfere with is tried.
const TRIES: usize = 8;

#[async_trait]
impl ports::schedules::Schedules for Schedules {
    fn check(&self, schedule: &Schedule) -> Result<(), Error> {
        schedule::check(schedule)
    }

    async fn put(
        &self,
        function: &FunctionKey,
        schedule: Schedule,
        expect: Expect,
    ) -> Result<ScheduleView, Error> {
        let inner = &self.inner;
        let known = inner.table.lock().named(&function.tenant, &schedule.name);
        if let Some(id) = known.as_ref().filter(|id| id.of.is_some()) {
            return Err(part_of_policy(id));
        }
        schedule::check(&schedule)?;
        if inner.control.function(function).is_none() {
            let message = format!("there is no function {:?}", function.name);
            return Err(Error::not_found("XB2002", message));
        }
        if known.is_none() && inner.table.lock().count(&function.tenant) >= MOST_PER_TENANT {
            let message =
                format!("{} has {MOST_PER_TENANT} schedules, and no more are allowed", function.tenant);
            return Err(Error::new(ErrorKind::Refused, "XB2006", message)
                .with_hint("delete some, or have one schedule call a function that calls the others"));
        }
        let id = Id::own(&function.tenant, &schedule.name);
        inner.change(&id, expect, |_| Ok((function.clone(), schedule.clone()))).await
    }

    async fn get(&self, tenant: &Tenant, name: &str) -> Result<Option<ScheduleView>, Error> {
        let id = self.inner.find(tenant, name).await?;
        Ok(id.and_then(|id| self.inner.table.lock().view(&id)))
    }

    async fn list(&self, tenant: Option<&Tenant>) -> Result<Vec<ScheduleView>, Error> {
        Ok(self.inner.table.lock().views(tenant))
    }

    async fn delete(&self, tenant: &Tenant, name: &str) -> Result<(), Error> {
        let inner = &self.inner;
        let id = inner.find(tenant, name).await?.ok_or_else(|| no_schedule(name))?;
        if id.of.is_some() {
            return Err(part_of_policy(&id));
        }
        let writes =
            vec![Write::Delete(id.schedule_key(), Expect::Any), Write::Delete(id.state_key(), Expect::Any)];
        let deleted = inner.store.write(writes).await?;
        let deleted = deleted.into_iter().next().flatten().ok_or_else(|| no_schedule(name))?;
        inner.table.lock().remove(&id, deleted.version);
        Ok(())
    }

    async fn pause(&self, tenant: &Tenant, name: &str, paused: bool) -> Result<ScheduleView, Error> {
        let inner = &self.inner;
        let id = inner.find(tenant, name).await?.ok_or_else(|| no_schedule(name))?;
        if id.of.is_some() {
            return inner.hold(&id, paused).await;
        }
        let changed = |stored: Option<&Stored>| {
            let stored = stored.ok_or_else(|| no_schedule(name))?;
            Ok((stored.function.clone(), Schedule { paused, ..stored.schedule.clone() }))
        };
        inner.change(&id, Expect::Any, changed).await
    }

    async fn fire(&self, tenant: &Tenant, name: &str) -> Result<Receipt, Error> {
        let id = self.inner.find(tenant, name).await?.ok_or_else(|| no_schedule(name))?;
        let current = self.inner.current(&id).ok_or_else(|| no_schedule(name))?;
        self.inner.fire_now(&id, &current).await
    }
}

impl Inner {
    /// The schedule of that name; where none is known, the store is asked once.
    async fn find(&self, tenant: &Tenant, name: &str) -> Result<Option<Id>, Error> {
        if let Some(id) = self.table.lock().named(tenant, name) {
            return Ok(Some(id));
        }
        let id = Id::own(tenant, name);
        let Some(document) = self.store.get(&id.schedule_key()).await? else { return Ok(None) };
        let Some(stored) = spec::<Stored>(&document) else { return Ok(None) };
        let current = Current::from(stored);
        let state = self.adopt(&id, &current).await?;
        self.table.lock().put(id.clone(), current, document.version, state, self.clock.now());
        self.sooner.notify_one();
        Ok(Some(id))
    }

    fn current(&self, id: &Id) -> Option<Current> {
        self.table.lock().get(id).map(|entry| entry.current.clone())
    }

    /// Stores what `change` makes of a schedule, and the state that it goes on with, together.
    async fn change(
        &self,
        id: &Id,
        expect: Expect,
        change: impl Fn(Option<&Stored>) -> Result<(FunctionKey, Schedule), Error> + Send,
    ) -> Result<ScheduleView, Error> {
        for _ in 0..TRIES {
            let now = self.clock.now();
            let there = self.store.get(&id.schedule_key()).await?;
            let before: Option<Stored> = there.as_ref().and_then(spec);
            let (function, schedule) = change(before.as_ref())?;
            let made = before.as_ref().map_or(now, |before| before.made);
            let stored = Stored { function, schedule, made, changed: now };
            let current = Current::from(stored.clone());

            let state_there = self.store.get(&id.state_key()).await?;
            let state_before: Option<State> = state_there.as_ref().and_then(spec);
            let state = State::going_on(state_before.as_ref(), &current, now);

            let mut writes =
                vec![Write::Put(document(id.schedule_key(), &stored)?, seen(expect, there.as_ref()))];
            if state_before.as_ref() != Some(&state) {
                let expect = seen(Expect::Any, state_there.as_ref());
                writes.push(Write::Put(document(id.state_key(), &state)?, expect));
            }
            let written = match self.store.write(writes).await {
                // Someone wrote meanwhile; what the caller expects is not met by trying again.
                Err(error) if error.code == "XB4001" && expect == Expect::Any => continue,
                written => written?,
            };
            let versions: Vec<u64> = written.into_iter().flatten().map(|document| document.version).collect();
            let version = versions.first().copied().unwrap_or_default();
            let state_version = state_there.map_or(0, |state| state.version);
            let state = (state, versions.get(1).copied().unwrap_or(state_version));
            let mut table = self.table.lock();
            table.put(id.clone(), current, version, state, now);
            self.sooner.notify_one();
            return table.view(id).ok_or_else(|| no_schedule(&id.name));
        }
        Err(contended(id))
    }

    /// Pauses or resumes one of a function's policy.
    async fn hold(&self, id: &Id, paused: bool) -> Result<ScheduleView, Error> {
        for _ in 0..TRIES {
            let current = self.current(id).ok_or_else(|| no_schedule(&id.name))?;
            let (mut state, version) = self.adopt(id, &current).await?;
            let now = self.clock.now();
            state.hold(paused, now);
            match self.store.put(document(id.state_key(), &state)?, Expect::Version(version)).await {
                Ok(stored) => {
                    let mut table = self.table.lock();
                    table.learn(id, (state, stored.version), now);
                    self.sooner.notify_one();
                    return table.view(id).ok_or_else(|| no_schedule(&id.name));
                }
                Err(error) if error.code == "XB4001" => {}
                Err(error) => return Err(error),
            }
        }
        Err(contended(id))
    }
}

/// What to expect, so that what was read is what is replaced.
fn seen(expect: Expect, there: Option<&Document>) -> Expect {
    match (expect, there) {
        (Expect::Any, None) => Expect::Absent,
        (Expect::Any | Expect::Present, Some(there)) => Expect::Version(there.version),
        (expect, _) => expect,
    }
}

fn no_schedule(name: &str) -> Error {
    Error::not_found("XB2015", format!("there is no schedule {name:?}"))
}

fn part_of_policy(id: &Id) -> Error {
    let function = id.of.as_ref().map_or("", |function| &*function.name);
    let message = format!("schedule {:?} is part of the policy of function {function:?}", id.name);
    Error::new(ErrorKind::Conflict, "XB2014", message).with_hint("change it there, and deploy the function")
}

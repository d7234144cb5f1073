//! How the table learns what others do, here and on other servers.

use crate::{
    Inner,
    documents::{Current, Id, SCHEDULE, STATE, State, Stored, spec},
    table::Versioned,
};
use futures_util::{StreamExt as _, future::BoxFuture, stream::BoxStream};
use jiff::Timestamp;
use std::{
    collections::{BTreeMap, BTreeSet},
    convert::Infallible,
    sync::Arc,
    time::Duration,
};
use tokio::time::sleep;
use xebec_core::{
    Error, FunctionKey, Tenant,
    document::{Document, DocumentKey, Expect, ListQuery, WatchEvent},
    function::FunctionView,
    ports::{
        control::{Event, Happening},
        store::pages,
    },
    rules::backoff::Backoff,
};

const PAGE: usize = 1000;

/// How a watch that broke is begun again.
const BACKOFF: Backoff = Backoff { first: Duration::from_millis(100), most: Duration::from_secs(10) };

/// How often functions are compared with what is known of them: events may be missed.
const COMPARE: Duration = Duration::from_secs(600);

/// How long a state without a schedule is kept: another server may know better.
const ORPHANED: Duration = Duration::from_secs(1200);

/// Where to go on from after [`Inner::load`].
pub(crate) struct Followed {
    events: BoxStream<'static, Arc<Event>>,
    schedules: u64,
    states: u64,
}

impl Inner {
    /// Reads all there is.
    pub(crate) async fn load(&self) -> Result<Followed, Error> {
        let events = self.control.events();
        let (states, states_version) = self.list(STATE).await?;
        let mut states: BTreeMap<DocumentKey, Versioned> = states
            .iter()
            .filter_map(|document| Some((document.key(), (spec::<State>(document)?, document.version))))
            .collect();
        let schedules = self.load_schedules(&mut states).await?;
        for view in self.control.scheduled() {
            self.follow_function(&view, &mut states).await?;
        }
        Ok(Followed { events, schedules, states: states_version })
    }

    async fn list(&self, kind: &str) -> Result<(Vec<Document>, u64), Error> {
        let query = ListQuery { kind: kind.to_owned(), ..ListQuery::default() };
        let mut pages = pages(self.store.as_ref(), query, PAGE);
        let (mut documents, mut version) = (Vec::new(), None);
        while let Some(page) = pages.next().await {
            let page = page?;
            version.get_or_insert(page.version);
            documents.extend(page.documents);
        }
        Ok((documents, version.unwrap_or_default()))
    }

    /// Takes over all schedules that are not part of a function's policy, and forgets those that are gone.
    async fn load_schedules(&self, states: &mut BTreeMap<DocumentKey, Versioned>) -> Result<u64, Error> {
        let (documents, version) = self.list(SCHEDULE).await?;
        let mut there = BTreeSet::new();
        for document in &documents {
            if let Some(id) = self.follow_document(document, states).await? {
                there.insert(id);
            }
        }
        let mut table = self.table.lock();
        for id in table.ids() {
            if id.of.is_none() && !there.contains(&id) {
                table.remove(&id, version);
            }
        }
        Ok(version)
    }

    /// Takes over a schedule as it is stored. States that are not among those given are read.
    async fn follow_document(
        &self,
        document: &Document,
        states: &mut BTreeMap<DocumentKey, Versioned>,
    ) -> Result<Option<Id>, Error> {
        let Some(stored) = spec::<Stored>(document) else { return Ok(None) };
        let id = Id::own(&Tenant::new(&document.namespace), &document.name);
        let current = Current::from(stored);
        self.take_over(&id, current, document.version, states).await?;
        Ok(Some(id))
    }

    /// Takes over what a function's policy says, and forgets what it says no more.
    async fn follow_function(
        &self,
        view: &FunctionView,
        states: &mut BTreeMap<DocumentKey, Versioned>,
    ) -> Result<(), Error> {
        let function = &view.function;
        let mut left: BTreeSet<Id> = self.table.lock().of_function(&function.key).into_iter().collect();
        for schedule in &function.policy.schedules {
            let id = Id::of_function(&function.key, &schedule.name);
            left.remove(&id);
            let current = Current {
                schedule: schedule.clone(),
                function: function.key.clone(),
                parent: function.created,
                changed: function.updated,
            };
            if self.table.lock().get(&id).is_none_or(|entry| entry.current != current) {
                self.take_over(&id, current, 0, states).await?;
            }
        }
        for id in left {
            self.forget(&id).await?;
        }
        Ok(())
    }

    async fn take_over(
        &self,
        id: &Id,
        current: Current,
        version: u64,
        states: &mut BTreeMap<DocumentKey, Versioned>,
    ) -> Result<(), Error> {
        let now = self.clock.now();
        let known = states.remove(&id.state_key());
        let known = known.filter(|(state, _)| State::going_on(Some(state), &current, now) == *state);
        let state = match known {
            Some(state) => state,
            None => self.adopt(id, &current).await?,
        };
        self.table.lock().put(id.clone(), current, version, state, now);
        self.sooner.notify_one();
        Ok(())
    }

    /// Forgets a schedule of a function's policy and what became of it.
    async fn forget(&self, id: &Id) -> Result<(), Error> {
        self.table.lock().remove(id, u64::MAX);
        self.store.delete(id.state_key(), Expect::Any).await.map(|_| ())
    }

    /// Takes over what a function's policy says now; nothing, where it is gone.
    async fn function_changed(&self, key: &FunctionKey) -> Result<(), Error> {
        match self.control.function(key) {
            Some(view) => self.follow_function(&view, &mut BTreeMap::new()).await,
            None => {
                let ids = self.table.lock().of_function(key);
                for id in ids {
                    self.forget(&id).await?;
                }
                Ok(())
            }
        }
    }

    /// Compares all functions with what is known of them, and deletes states that nobody has had for a while.
    async fn compare(&self) -> Result<(), Error> {
        let mut there = BTreeSet::new();
        for view in self.control.scheduled() {
            there.insert(view.function.key.clone());
            self.follow_function(&view, &mut BTreeMap::new()).await?;
        }
        let known = self.table.lock().ids();
        for id in known {
            let gone = id.of.as_ref().filter(|key| !there.contains(key));
            if let Some(key) = gone {
                self.function_changed(key).await?;
            }
        }
        let keys: BTreeSet<DocumentKey> = self.table.lock().ids().iter().map(Id::state_key).collect();
        let now = self.clock.now();
        for state in self.list(STATE).await?.0 {
            let age = Duration::try_from(now.duration_since(state.updated)).unwrap_or_default();
            if age > ORPHANED && !keys.contains(&state.key()) {
                let expect = Expect::Version(state.version);
                match self.store.delete(state.key(), expect).await {
                    Err(error) if error.code != "XB4001" => return Err(error),
                    _ => {}
                }
            }
        }
        Ok(())
    }

    /// What has to run for the table to follow.
    pub(crate) fn follow(inner: &Arc<Self>, followed: Followed) -> Vec<BoxFuture<'static, ()>> {
        let Followed { events, schedules, states } = followed;
        vec![
            Box::pin(Arc::clone(inner).follow_events(events)),
            Box::pin(Arc::clone(inner).watch(SCHEDULE, schedules)),
            Box::pin(Arc::clone(inner).watch(STATE, states)),
        ]
    }

    async fn follow_events(self: Arc<Self>, mut events: BoxStream<'static, Arc<Event>>) {
        let mut compare = tokio::time::interval_at(tokio::time::Instant::now() + COMPARE, COMPARE);
        compare.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let (what, done) = tokio::select! {
                event = events.next() => {
                    let Some(event) = event else { return };
                    let changed = matches!(
                        event.what,
                        Happening::Deployed { .. } | Happening::Changed | Happening::Removed
                    );
                    if !changed {
                        continue;
                    }
                    (event.function.to_string(), self.function_changed(&event.function).await)
                }
                _ = compare.tick() => ("all functions".to_owned(), self.compare().await),
            };
            if let Err(error) = done {
                // The next comparison makes up for it.
                tracing::warn!(of = what, %error, "schedules could not be taken over");
                compare.reset_after(BACKOFF.most);
            }
        }
    }

    /// Follows documents of a kind, for ever.
    async fn watch(self: Arc<Self>, kind: &'static str, mut version: u64) {
        let mut failures = 0;
        loop {
            let Err(error) = self.watch_from(kind, &mut version, &mut failures).await;
            failures += 1;
            if failures > 1 {
                tracing::warn!(kind, %error, "changes of schedules cannot be followed; trying again");
            }
            // What was missed meanwhile is listed.
            version = 0;
            sleep(BACKOFF.delay(failures)).await;
        }
    }

    async fn watch_from(
        &self,
        kind: &str,
        version: &mut u64,
        failures: &mut u32,
    ) -> Result<Infallible, Error> {
        if *version == 0 {
            *version = self.list_again(kind).await?;
        }
        let mut changes = self.store.watch(Some(kind.to_owned()), *version).await?;
        while let Some(change) = changes.next().await {
            let change = change?;
            *failures = 0;
            let (WatchEvent::Put(document) | WatchEvent::Deleted(document)) = &change;
            *version = document.version;
            self.changed(&change).await?;
        }
        Err(Error::internal("XB4003", "the watch ended"))
    }

    async fn list_again(&self, kind: &str) -> Result<u64, Error> {
        if kind == SCHEDULE {
            return self.load_schedules(&mut BTreeMap::new()).await;
        }
        let (states, version) = self.list(STATE).await?;
        let ids: BTreeMap<DocumentKey, Id> =
            self.table.lock().ids().into_iter().map(|id| (id.state_key(), id)).collect();
        let now = self.clock.now();
        for document in &states {
            if let Some(id) = ids.get(&document.key()) {
                self.learn(id, document, now);
            }
        }
        Ok(version)
    }

    fn learn(&self, id: &Id, document: &Document, now: Timestamp) {
        if let Some(state) = spec::<State>(document) {
            self.table.lock().learn(id, (state, document.version), now);
            self.sooner.notify_one();
        }
    }

    async fn changed(&self, change: &WatchEvent) -> Result<(), Error> {
        match change {
            WatchEvent::Put(document) if document.kind == SCHEDULE => {
                self.follow_document(document, &mut BTreeMap::new()).await.map(|_| ())
            }
            WatchEvent::Deleted(document) if document.kind == SCHEDULE => {
                let id = Id::own(&Tenant::new(&document.namespace), &document.name);
                self.table.lock().remove(&id, document.version);
                Ok(())
            }
            WatchEvent::Put(document) => {
                if let Some(id) = self.id_of_state(document) {
                    self.learn(&id, document, self.clock.now());
                }
                Ok(())
            }
            // It went with its schedule; where not, it is stored again when that fires.
            WatchEvent::Deleted(_) => Ok(()),
        }
    }

    fn id_of_state(&self, document: &Document) -> Option<Id> {
        let tenant = Tenant::new(&document.namespace);
        let name = document.name.split_once('/').map_or(&*document.name, |(_, name)| name);
        let table = self.table.lock();
        table.all_named(&tenant, name).find(|id| id.full_name() == document.name).cloned()
    }
}

//! How much a namespace may do: calls and fires in the last minute, and calls at a time.
//!
//! The minute slides, second by second; what was refused does not count, so whoever comes again and again is
//! let in as soon as there is room.

use crate::wire::limits::EffectiveLimits;
use async_trait::async_trait;
use bytes::Bytes;
use http_body::{Frame, SizeHint};
use parking_lot::{Mutex, RwLock};
use std::{
    collections::HashMap,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU32, AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Instant,
};
use xebec_core::{Answer, Body, BodyError, Invocation, InvokeError, Tenant, ports::invoker::Invoker};

/// The window's seconds.
const WINDOW: usize = 60;

/// From so many namespaces on, those that did nothing of late are forgotten.
const MANY: usize = 1024;

/// What is refused, and by which numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Throttled {
    /// Too many within a minute.
    Rate {
        /// With this one.
        count: u32,
        /// At most.
        allowed: u32,
    },
    /// Too many at a time.
    Concurrency {
        /// Without this one.
        count: u32,
        /// At most.
        allowed: u32,
    },
}

/// Counts what namespaces do.
pub struct Throttle {
    namespaces: RwLock<HashMap<Tenant, Arc<Counts>>>,
    /// When there are so many, those that nobody uses are forgotten.
    forget_at: AtomicUsize,
    since: Instant,
}

#[derive(Default)]
struct Counts {
    invocations: Mutex<Window>,
    fires: Mutex<Window>,
    in_flight: AtomicU32,
}

/// A call that counts as in flight until this is dropped.
pub(crate) struct InFlight(Arc<Counts>);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Default for Throttle {
    fn default() -> Self {
        Self { namespaces: RwLock::default(), forget_at: AtomicUsize::new(MANY), since: Instant::now() }
    }
}

impl Throttle {
    /// An invoker for calls that were accepted to be made later: they count among those at a time from when they
    /// begin until they end.
    pub fn counted(self: &Arc<Self>, invoker: Arc<dyn Invoker>) -> Arc<dyn Invoker> {
        Arc::new(Counted { throttle: self.clone(), invoker })
    }

    /// Lets one more call in.
    ///
    /// # Errors
    /// [`Throttled`]; then nothing was counted.
    pub(crate) fn invocation(
        &self,
        namespace: &Tenant,
        limits: &EffectiveLimits,
    ) -> Result<InFlight, Throttled> {
        let counts = self.counts(namespace);
        let now = self.now();
        let mut window = counts.invocations.lock();
        window.room(now, limits.invocations_per_minute())?;
        let allowed = limits.concurrent_invocations();
        let one_more = |count: u32| (count < allowed).then(|| count + 1);
        counts
            .in_flight
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more)
            .map_err(|count| Throttled::Concurrency { count, allowed })?;
        window.count();
        drop(window);
        Ok(InFlight(counts))
    }

    /// Lets one more call in that nobody waits for: it takes its place among those at a time when it begins.
    ///
    /// # Errors
    /// [`Throttled`]; then nothing was counted.
    pub(crate) fn submission(&self, namespace: &Tenant, limits: &EffectiveLimits) -> Result<(), Throttled> {
        self.invocation(namespace, limits).map(drop)
    }

    /// A call that was let in before, and begins.
    pub(crate) fn begun(&self, namespace: &Tenant) -> InFlight {
        let counts = self.counts(namespace);
        counts.in_flight.fetch_add(1, Ordering::Relaxed);
        InFlight(counts)
    }

    /// Lets a trigger be fired once more.
    ///
    /// # Errors
    /// [`Throttled::Rate`]; then nothing was counted.
    pub(crate) fn fire(&self, namespace: &Tenant, limits: &EffectiveLimits) -> Result<(), Throttled> {
        let counts = self.counts(namespace);
        let mut window = counts.fires.lock();
        window.room(self.now(), limits.fires_per_minute())?;
        window.count();
        Ok(())
    }

    fn now(&self) -> u64 {
        self.since.elapsed().as_secs()
    }

    fn counts(&self, namespace: &Tenant) -> Arc<Counts> {
        if let Some(counts) = self.namespaces.read().get(namespace) {
            return counts.clone();
        }
        let mut namespaces = self.namespaces.write();
        if namespaces.len() >= self.forget_at.load(Ordering::Relaxed) {
            let now = self.now();
            // Nobody else has it, and nobody gets it meanwhile.
            namespaces.retain(|_, counts| Arc::strong_count(counts) > 1 || counts.in_use(now));
            self.forget_at.store(MANY.max(2 * namespaces.len()), Ordering::Relaxed);
        }
        namespaces.entry(namespace.clone()).or_default().clone()
    }
}

struct Counted {
    throttle: Arc<Throttle>,
    invoker: Arc<dyn Invoker>,
}

#[async_trait]
impl Invoker for Counted {
    async fn invoke(&self, invocation: Invocation) -> Result<Answer, Box<InvokeError>> {
        if invocation.function.door != crate::DOOR {
            return self.invoker.invoke(invocation).await;
        }
        let filed = invocation.note.as_ref().and_then(|note| note.filed.as_ref());
        let in_flight = self.throttle.begun(filed.map_or(&invocation.function.tenant, |filed| &filed.tenant));
        let mut answer = self.invoker.invoke(invocation).await?;
        let body = std::mem::take(answer.response.body_mut());
        *answer.response.body_mut() = match body.replay() {
            // Nothing more is to come: the call is over.
            Some(_) => body,
            None => Body::stream(UntilRead { body, _in_flight: in_flight }),
        };
        Ok(answer)
    }
}

/// An answer that is still coming.
struct UntilRead {
    body: Body,
    _in_flight: InFlight,
}

impl http_body::Body for UntilRead {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Counts {
    fn in_use(&self, now: u64) -> bool {
        self.in_flight.load(Ordering::Relaxed) > 0
            || self.invocations.lock().sum(now) > 0
            || self.fires.lock().sum(now) > 0
    }
}

/// What happened in each of the last seconds.
struct Window {
    seconds: [u32; WINDOW],
    sum: u32,
    /// The last second that was looked at.
    now: u64,
}

impl Default for Window {
    fn default() -> Self {
        Self { seconds: [0; WINDOW], sum: 0, now: 0 }
    }
}

impl Window {
    /// How many there were in the seconds up to and with `now`.
    fn sum(&mut self, now: u64) -> u32 {
        let passed = now.saturating_sub(self.now).min(WINDOW as u64);
        for second in 0..passed {
            let old = &mut self.seconds[slot(now - second)];
            self.sum -= std::mem::take(old);
        }
        self.now = self.now.max(now);
        self.sum
    }

    fn room(&mut self, now: u64, allowed: u32) -> Result<(), Throttled> {
        match self.sum(now) {
            sum if sum < allowed => Ok(()),
            sum => Err(Throttled::Rate { count: sum.saturating_add(1), allowed }),
        }
    }

    fn count(&mut self) {
        // The sum is below what is allowed, so neither can overflow.
        self.seconds[slot(self.now)] += 1;
        self.sum += 1;
    }
}

fn slot(second: u64) -> usize {
    usize::try_from(second % WINDOW as u64).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::limits::{NamespaceLimits, SystemLimits};
    use proptest::prelude::*;

    fn limits(per_minute: u32, concurrent: u32) -> EffectiveLimits {
        let own = NamespaceLimits {
            invocations_per_minute: Some(per_minute),
            concurrent_invocations: Some(concurrent),
            fires_per_minute: Some(per_minute),
            ..NamespaceLimits::default()
        };
        EffectiveLimits { system: SystemLimits::default(), own }
    }

    #[test]
    fn calls_at_a_time_are_bounded() {
        let throttle = Throttle::default();
        let (ns, limits) = (Tenant::new("ns"), limits(100, 2));
        let first = throttle.invocation(&ns, &limits).ok().unwrap();
        let _second = throttle.invocation(&ns, &limits).ok().unwrap();
        let refused = Throttled::Concurrency { count: 2, allowed: 2 };
        assert_eq!(throttle.invocation(&ns, &limits).err(), Some(refused));
        assert_eq!(throttle.submission(&ns, &limits).err(), Some(refused));
        assert!(throttle.invocation(&Tenant::new("other"), &limits).is_ok(), "each has its own");
        drop(first);
        assert!(throttle.submission(&ns, &limits).is_ok());
        let _begun = throttle.begun(&ns);
        assert_eq!(throttle.invocation(&ns, &limits).err(), Some(refused));
    }

    #[test]
    fn what_is_refused_does_not_count() {
        let mut window = Window::default();
        for _ in 0..2 {
            window.room(7, 2).unwrap();
            window.count();
        }
        let refused = Throttled::Rate { count: 3, allowed: 2 };
        for second in [7, 7, 8, 66] {
            assert_eq!(window.room(second, 2), Err(refused));
        }
        assert_eq!(window.room(67, 2), Ok(()));
        assert_eq!(window.room(67, 0), Err(Throttled::Rate { count: 1, allowed: 0 }));
    }

    #[test]
    fn calls_and_fires_are_counted_apart() {
        let throttle = Throttle::default();
        let (ns, none) = (Tenant::new("ns"), limits(0, 1));
        let refused = Throttled::Rate { count: 1, allowed: 0 };
        assert_eq!(throttle.fire(&ns, &none).err(), Some(refused));
        assert!(throttle.invocation(&ns, &limits(1, 1)).is_ok());
        assert_eq!(throttle.fire(&ns, &none).err(), Some(refused));
        assert_eq!(throttle.invocation(&ns, &none).err(), Some(Throttled::Rate { count: 2, allowed: 0 }));
    }

    #[test]
    fn what_nobody_uses_is_forgotten() {
        let throttle = Throttle::default();
        let busy = throttle.begun(&Tenant::new("busy"));
        for i in 0..20 * MANY {
            drop(throttle.begun(&Tenant::new(i.to_string())));
        }
        let namespaces = throttle.namespaces.read();
        assert!(namespaces.len() <= 2 * MANY, "{}", namespaces.len());
        assert!(namespaces.contains_key(&Tenant::new("busy")));
        drop((namespaces, busy));
    }

    proptest! {
        #[test]
        fn no_minute_has_more_than_allowed(
            steps in prop::collection::vec(0_u64..20, 1..300),
            allowed in 1_u32..20,
        ) {
            let mut window = Window::default();
            let (mut now, mut counted) = (0, Vec::new());
            for step in steps {
                now += step;
                let recent = counted.iter().filter(|at| **at + WINDOW as u64 > now).count();
                match window.room(now, allowed) {
                    Ok(()) => {
                        prop_assert!(recent < allowed as usize);
                        window.count();
                        counted.push(now);
                    }
                    Err(refused) => {
                        prop_assert_eq!(recent, allowed as usize, "refused only where it is full");
                        prop_assert_eq!(refused, Throttled::Rate { count: allowed + 1, allowed });
                    }
                }
            }
        }
    }
}

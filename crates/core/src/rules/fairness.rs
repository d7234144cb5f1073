//! Whose turn it is: tenants take turns, and so do the lanes of each, as long as they are below their limits.

use crate::{message::Lane, names::Tenant};
use std::collections::{HashMap, VecDeque};

/// Which lanes have something to do, and which of them is next.
///
/// However much waits in a lane, the others get their turns: a tenant's million messages in a thousand
/// lanes delay another tenant's one by a single turn. Every operation takes constant time, amortised.
#[derive(Debug, Default)]
pub struct Fairness {
    lanes: HashMap<Lane, LaneState>,
    tenants: HashMap<Tenant, TenantState>,
    /// Tenants with lanes in their ring.
    ring: VecDeque<Tenant>,
}

#[derive(Debug, Default)]
struct LaneState {
    ready: bool,
    in_ring: bool,
    in_flight: u32,
    /// `None`: without a limit.
    limit: Option<u32>,
}

#[derive(Debug, Default)]
struct TenantState {
    ring: VecDeque<Lane>,
    in_ring: bool,
    in_flight: u32,
    limit: Option<u32>,
}

fn below(in_flight: u32, limit: Option<u32>) -> bool {
    limit.is_none_or(|limit| in_flight < limit)
}

impl Fairness {
    /// The lane has something that may begin now.
    pub fn ready(&mut self, lane: &Lane) {
        match self.lanes.get_mut(lane) {
            Some(state) => state.ready = true,
            None => {
                self.lanes.insert(lane.clone(), LaneState { ready: true, ..LaneState::default() });
            }
        }
        self.queue_up(lane);
    }

    /// The lane has nothing that may begin now, or is paused.
    pub fn idle(&mut self, lane: &Lane) {
        if let Some(state) = self.lanes.get_mut(lane) {
            state.ready = false;
        }
        self.forget(lane);
    }

    /// How many claims a lane may have at a time; 0 closes it.
    pub fn limit_lane(&mut self, lane: &Lane, limit: Option<u32>) {
        match self.lanes.get_mut(lane) {
            Some(state) => state.limit = limit,
            None if limit.is_none() => return,
            None => {
                self.lanes.insert(lane.clone(), LaneState { limit, ..LaneState::default() });
            }
        }
        self.queue_up(lane);
        self.forget(lane);
    }

    /// How many claims a tenant's lanes may have at a time, together.
    pub fn limit_tenant(&mut self, tenant: &Tenant, limit: Option<u32>) {
        self.tenants.entry(tenant.clone()).or_default().limit = limit;
        self.tenant_queues_up(tenant);
        self.forget_tenant(tenant);
    }

    /// Whether a claim of the lane could begin now.
    pub fn may(&self, lane: &Lane) -> bool {
        let tenant_may =
            self.tenants.get(&lane.tenant).is_none_or(|tenant| below(tenant.in_flight, tenant.limit));
        tenant_may
            && self.lanes.get(lane).is_some_and(|state| state.ready && below(state.in_flight, state.limit))
    }

    /// A claim of that lane out of turn, if one could begin now. The lane keeps its place for its next turn.
    pub fn take(&mut self, lane: &Lane) -> bool {
        if !self.may(lane) {
            return false;
        }
        if let Some(state) = self.lanes.get_mut(lane) {
            state.in_flight += 1;
        }
        self.tenants.entry(lane.tenant.clone()).or_default().in_flight += 1;
        true
    }

    /// The lane whose turn it is, with one more claim in flight. It stays ready until [`Fairness::idle`].
    // Not an iterator: what comes next depends on what is told meanwhile.
    #[allow(clippy::should_implement_trait)]
    pub fn next(&mut self) -> Option<Lane> {
        while let Some(tenant) = self.ring.pop_front() {
            let Some(state) = self.tenants.get_mut(&tenant) else { continue };
            state.in_ring = false;
            if !below(state.in_flight, state.limit) {
                continue;
            }
            while let Some(lane) = state.ring.pop_front() {
                let Some(lane_state) = self.lanes.get_mut(&lane) else { continue };
                lane_state.in_ring = false;
                if lane_state.says_nothing() {
                    self.lanes.remove(&lane);
                    continue;
                }
                if !lane_state.ready || !below(lane_state.in_flight, lane_state.limit) {
                    continue;
                }
                lane_state.in_flight += 1;
                state.in_flight += 1;
                if below(lane_state.in_flight, lane_state.limit) {
                    lane_state.in_ring = true;
                    state.ring.push_back(lane.clone());
                }
                self.tenant_queues_up(&tenant);
                return Some(lane);
            }
            if state.says_nothing() {
                self.tenants.remove(&tenant);
            }
        }
        None
    }

    /// A claim of the lane ended.
    pub fn release(&mut self, lane: &Lane) {
        if let Some(state) = self.lanes.get_mut(lane) {
            state.in_flight = state.in_flight.saturating_sub(1);
        }
        if let Some(tenant) = self.tenants.get_mut(&lane.tenant) {
            tenant.in_flight = tenant.in_flight.saturating_sub(1);
        }
        self.queue_up(lane);
        self.tenant_queues_up(&lane.tenant);
        self.forget(lane);
    }

    /// Takes a [`Fairness::release`] back: the claim goes on after all.
    pub fn hold_on(&mut self, lane: &Lane) {
        self.lanes.entry(lane.clone()).or_default().in_flight += 1;
        self.tenants.entry(lane.tenant.clone()).or_default().in_flight += 1;
    }

    /// Claims of a lane in flight.
    pub fn in_flight(&self, lane: &Lane) -> u32 {
        self.lanes.get(lane).map_or(0, |state| state.in_flight)
    }

    fn queue_up(&mut self, lane: &Lane) {
        let Some(state) = self.lanes.get_mut(lane) else { return };
        if state.in_ring || !state.ready || !below(state.in_flight, state.limit) {
            return;
        }
        state.in_ring = true;
        self.tenants.entry(lane.tenant.clone()).or_default().ring.push_back(lane.clone());
        self.tenant_queues_up(&lane.tenant);
    }

    fn tenant_queues_up(&mut self, tenant: &Tenant) {
        let Some(state) = self.tenants.get_mut(tenant) else { return };
        if !state.in_ring && !state.ring.is_empty() && below(state.in_flight, state.limit) {
            state.in_ring = true;
            self.ring.push_back(tenant.clone());
        }
    }

    /// What says nothing is not kept. What is still in a ring goes when its turn comes.
    fn forget(&mut self, lane: &Lane) {
        if self.lanes.get(lane).is_some_and(LaneState::says_nothing) {
            self.lanes.remove(lane);
        }
        self.forget_tenant(&lane.tenant);
    }

    fn forget_tenant(&mut self, tenant: &Tenant) {
        if self.tenants.get(tenant).is_some_and(TenantState::says_nothing) {
            self.tenants.remove(tenant);
        }
    }
}

impl LaneState {
    fn says_nothing(&self) -> bool {
        !self.in_ring && !self.ready && self.in_flight == 0 && self.limit.is_none()
    }
}

impl TenantState {
    fn says_nothing(&self) -> bool {
        !self.in_ring && self.ring.is_empty() && self.in_flight == 0 && self.limit.is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::names::FunctionKey;
    use proptest::prelude::*;

    fn lane(tenant: u8, name: u8) -> Lane {
        let tenant = Tenant::new(format!("t{tenant}"));
        Lane::function("default", &FunctionKey::new(&tenant, "native", &format!("f{name}")))
    }

    #[test]
    fn tenants_take_turns_however_many_lanes_they_have() {
        let mut fairness = Fairness::default();
        for name in 0..100 {
            fairness.ready(&lane(0, name));
        }
        fairness.ready(&lane(1, 0));
        let turns: Vec<_> = std::iter::from_fn(|| fairness.next()).take(20).collect();
        let of_second = turns.iter().filter(|lane| lane.tenant.as_str() == "t1").count();
        assert_eq!(of_second, 10);
    }

    #[test]
    fn a_lane_at_its_limit_waits_for_a_release() {
        let mut fairness = Fairness::default();
        fairness.limit_lane(&lane(0, 0), Some(1));
        fairness.ready(&lane(0, 0));
        assert!(fairness.next().is_some());
        assert!(fairness.next().is_none());
        fairness.release(&lane(0, 0));
        assert!(fairness.next().is_some());
        fairness.release(&lane(0, 0));
        fairness.limit_lane(&lane(0, 0), Some(0));
        assert!(fairness.next().is_none(), "closed");
        fairness.limit_lane(&lane(0, 0), None);
        assert!(fairness.next().is_some());
    }

    #[test]
    fn keeps_nothing_of_what_is_over() {
        let mut fairness = Fairness::default();
        fairness.ready(&lane(0, 0));
        let turn = fairness.next().unwrap();
        fairness.idle(&turn);
        fairness.release(&turn);
        assert!(fairness.next().is_none());
        assert!(fairness.lanes.is_empty() && fairness.tenants.is_empty());
    }

    #[derive(Clone, Debug)]
    enum Step {
        Ready(u8, u8),
        Idle(u8, u8),
        LimitLane(u8, u8, Option<u32>),
        LimitTenant(u8, Option<u32>),
        Next,
        Take(u8, u8),
        Release(usize),
    }

    fn step() -> impl Strategy<Value = Step> {
        let (tenant, name) = (0u8..3, 0u8..3);
        let limit = proptest::option::of(0u32..3);
        prop_oneof![
            3 => (tenant.clone(), name.clone()).prop_map(|(t, n)| Step::Ready(t, n)),
            1 => (tenant.clone(), name.clone()).prop_map(|(t, n)| Step::Idle(t, n)),
            1 => (tenant.clone(), name.clone()).prop_map(|(t, n)| Step::Take(t, n)),
            1 => (tenant.clone(), name, limit.clone()).prop_map(|(t, n, l)| Step::LimitLane(t, n, l)),
            1 => (tenant, limit).prop_map(|(t, l)| Step::LimitTenant(t, l)),
            5 => Just(Step::Next),
            3 => (0usize..8).prop_map(Step::Release),
        ]
    }

    proptest! {
        /// A turn goes to a lane that is ready and below its limits, and is refused only where there is none. One
        /// that stays so is not passed over for longer than it takes to serve each lane of each tenant once.
        #[test]
        fn turns_go_to_those_who_may(steps in proptest::collection::vec(step(), 0..200)) {
            let mut fairness = Fairness::default();
            let mut ready: HashMap<Lane, bool> = HashMap::new();
            let mut lane_limits: HashMap<Lane, Option<u32>> = HashMap::new();
            let mut tenant_limits: HashMap<Tenant, Option<u32>> = HashMap::new();
            let mut flying: Vec<Lane> = Vec::new();
            let mut passed_over: HashMap<Lane, u32> = HashMap::new();
            for step in steps {
                match step {
                    Step::Ready(t, n) => { ready.insert(lane(t, n), true); fairness.ready(&lane(t, n)); }
                    Step::Idle(t, n) => { ready.insert(lane(t, n), false); fairness.idle(&lane(t, n)); }
                    Step::LimitLane(t, n, l) => {
                        lane_limits.insert(lane(t, n), l);
                        fairness.limit_lane(&lane(t, n), l);
                    }
                    Step::LimitTenant(t, l) => {
                        let tenant = lane(t, 0).tenant;
                        tenant_limits.insert(tenant.clone(), l);
                        fairness.limit_tenant(&tenant, l);
                    }
                    Step::Release(at) if at < flying.len() => fairness.release(&flying.swap_remove(at)),
                    Step::Release(_) => {}
                    Step::Next | Step::Take(..) => {
                        let of_lane = |l: &Lane| flying.iter().filter(|f| *f == l).count() as u32;
                        let of_tenant =
                            |t: &Tenant| flying.iter().filter(|f| f.tenant == *t).count() as u32;
                        let may = |l: &Lane| {
                            ready.get(l) == Some(&true)
                                && below(of_lane(l), lane_limits.get(l).copied().flatten())
                                && below(of_tenant(&l.tenant), tenant_limits.get(&l.tenant).copied().flatten())
                        };
                        for lane in ready.keys() {
                            prop_assert_eq!(fairness.may(lane), may(lane), "{}", lane);
                        }
                        if let Step::Take(t, n) = step {
                            let wanted = may(&lane(t, n));
                            prop_assert_eq!(fairness.take(&lane(t, n)), wanted);
                            flying.extend(wanted.then(|| lane(t, n)));
                            continue;
                        }
                        passed_over = ready
                            .keys()
                            .filter(|lane| may(lane))
                            .map(|lane| (lane.clone(), passed_over.get(lane).map_or(1, |turns| turns + 1)))
                            .collect();
                        match fairness.next() {
                            Some(turn) => {
                                prop_assert!(may(&turn), "{turn}");
                                passed_over.remove(&turn);
                                flying.push(turn);
                            }
                            None => prop_assert!(!ready.keys().any(may)),
                        }
                        prop_assert!(passed_over.values().all(|turns| *turns < 9), "{passed_over:?}");
                    }
                }
                for lane in ready.keys() {
                    let count = flying.iter().filter(|f| *f == lane).count() as u32;
                    prop_assert_eq!(fairness.in_flight(lane), count);
                }
            }
        }
    }
}

//! Which traces are recorded.

use xebec_core::{ports::tracer::Parent, trace::TraceContext};

/// Which traces are recorded: a share of those that begin here, and by default those that callers record.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sampler {
    follows_callers: bool,
    /// Trace ids below this are recorded, of their lowest 63 bits.
    bound: u64,
}

impl Sampler {
    /// What callers decided holds; of the traces that begin here, this share is recorded.
    pub fn parent_based(share: f64) -> Self {
        Self { follows_callers: true, bound: bound(share) }
    }

    /// This share of all traces, whatever callers decided.
    pub fn regardless(share: f64) -> Self {
        Self { follows_callers: false, bound: bound(share) }
    }

    /// Whether a span of `trace` below `parent` is recorded.
    pub(crate) fn records(&self, trace: u128, parent: Parent) -> bool {
        match parent {
            Parent::Local(above) => above.is_sampled(),
            Parent::Remote(above) if self.follows_callers => above.is_sampled(),
            Parent::Remote(_) | Parent::None => chance(trace) < self.bound,
        }
    }

    /// The context of a span below `parent`, with these numbers where it needs them.
    pub(crate) fn context(&self, parent: Parent, trace: u128, span: u64) -> TraceContext {
        let above = match parent {
            Parent::None => TraceContext { trace, span, flags: 0 },
            Parent::Remote(above) | Parent::Local(above) => above,
        };
        if self.records(above.trace, parent) {
            return TraceContext { span, flags: above.flags | TraceContext::SAMPLED, ..above };
        }
        TraceContext { flags: above.flags & !TraceContext::SAMPLED, ..above }
    }
}

/// The number that every service draws from a trace's id, so that all record the same ones.
fn chance(trace: u128) -> u64 {
    // The lowest 64 bits are meant.
    (trace as u64) >> 1
}

fn bound(share: f64) -> u64 {
    // A share of 1 gives 2^63, which is above every number drawn.
    (share.clamp(0.0, 1.0) * (1_u64 << 63) as f64) as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn remote(flags: u8) -> Parent {
        Parent::Remote(TraceContext { trace: 7, span: 8, flags })
    }

    #[test]
    fn callers_decide_where_they_are_followed() {
        let none = Sampler::parent_based(0.0);
        assert_eq!(none.context(remote(1), 1, 2), TraceContext { trace: 7, span: 2, flags: 1 });
        assert_eq!(none.context(remote(2), 1, 2), TraceContext { trace: 7, span: 8, flags: 2 });
        assert_eq!(none.context(Parent::None, 1, 2), TraceContext { trace: 1, span: 2, flags: 0 });
        let all = Sampler::parent_based(1.0);
        assert!(!all.context(remote(0), 1, 2).is_sampled());
        assert!(all.context(Parent::None, u128::MAX, 2).is_sampled());
        let regardless = Sampler::regardless(1.0);
        assert_eq!(regardless.context(remote(2), 1, 2), TraceContext { trace: 7, span: 2, flags: 3 });
        assert!(!Sampler::regardless(0.0).context(remote(1), 1, 2).is_sampled());
    }

    #[test]
    fn what_was_decided_here_holds() {
        let above = TraceContext { trace: u128::MAX, span: 1, flags: 1 };
        assert!(Sampler::regardless(0.0).records(above.trace, Parent::Local(above)));
    }

    proptest! {
        #[test]
        fn a_share_is_a_share(seed: u64) {
            let sampler = Sampler::parent_based(0.25);
            let mut state = seed;
            let recorded = (0..4000).filter(|_| {
                // A generator that is good enough to spread over all numbers.
                state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
                let mut bits = state;
                bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
                bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
                sampler.records(u128::from(bits ^ (bits >> 31)), Parent::None)
            });
            let recorded = recorded.count();
            prop_assert!((750..1250).contains(&recorded), "{}", recorded);
        }

        #[test]
        fn more_of_a_share_holds_all_of_less(trace: u128, less in 0.0..1.0, more in 0.0..1.0) {
            let (less, more): (f64, f64) = if less < more { (less, more) } else { (more, less) };
            let records = |share| Sampler::regardless(share).records(trace, Parent::None);
            prop_assert!(!records(less) || records(more));
        }
    }
}

//! How long an idle instance is kept: learnt from how long a function is idle between calls.

use std::time::Duration;

/// Bins of a gap: below 1 s, then each half as long again as the one before, to somewhat above an hour.
const BINS: usize = 22;
/// Each bin reaches this much further than the one before it.
const GROWTH: f64 = 1.5;
/// Fewer gaps than these say nothing.
const ENOUGH: u32 = 8;
/// Past so many, all counts are halved: what happened lately weighs more.
const MANY: u32 = 512;
/// The share of gaps that an instance shall outlive, in percent.
const COVERED: u32 = 95;

/// A histogram of the gaps between one call's end and the next one's arrival.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Gaps {
    bins: [u16; BINS],
    beyond: u16,
}

/// The bounds of what is learnt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// At least so long.
    pub least: Duration,
    /// At most so long.
    pub most: Duration,
    /// So long, where too little is known or the gaps follow no pattern that could be met.
    pub unknown: Duration,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            least: Duration::from_secs(10),
            most: Duration::from_secs(3600),
            unknown: Duration::from_secs(600),
        }
    }
}

impl Gaps {
    /// Notes a gap.
    pub fn note(&mut self, gap: Duration) {
        let slot = self.bins.iter_mut().enumerate().find(|(bin, _)| gap < upper_edge(*bin));
        let count = slot.map_or(&mut self.beyond, |(_, count)| count);
        *count = count.saturating_add(1);
        if self.noted() > MANY {
            self.bins.iter_mut().for_each(|count| *count /= 2);
            self.beyond /= 2;
        }
    }

    /// How many gaps weigh in.
    pub fn noted(&self) -> u32 {
        self.bins.iter().map(|count| u32::from(*count)).sum::<u32>() + u32::from(self.beyond)
    }

    /// How long to keep an idle instance: a tenth longer than nearly all gaps. Where most gaps are longer
    /// than anything that would be kept, keeping is in vain and the least is enough.
    pub fn keep_alive(&self, bounds: &Bounds) -> Duration {
        let noted = self.noted();
        if noted < ENOUGH {
            return bounds.unknown;
        }
        if u32::from(self.beyond) * 2 > noted {
            return bounds.least;
        }
        let wanted = (noted * COVERED).div_ceil(100);
        let mut seen = 0;
        for (bin, count) in self.bins.iter().enumerate() {
            seen += u32::from(*count);
            if seen >= wanted {
                return upper_edge(bin).mul_f64(1.1).clamp(bounds.least, bounds.most);
            }
        }
        bounds.most
    }
}

fn upper_edge(bin: usize) -> Duration {
    Duration::from_secs_f64(GROWTH.powi(bin as i32))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn stays_within_its_bounds(gaps in prop::collection::vec(0u64..20_000, 0..700)) {
            let mut learnt = Gaps::default();
            gaps.iter().for_each(|gap| learnt.note(Duration::from_secs(*gap)));
            let bounds = Bounds::default();
            let kept = learnt.keep_alive(&bounds);
            prop_assert!(kept >= bounds.least && kept <= bounds.most);
            prop_assert!(learnt.noted() <= MANY);
        }

        #[test]
        fn outlives_a_steady_gap(gap in 11u64..3000) {
            let mut learnt = Gaps::default();
            (0..20).for_each(|_| learnt.note(Duration::from_secs(gap)));
            let kept = learnt.keep_alive(&Bounds::default());
            prop_assert!(kept >= Duration::from_secs(gap), "{kept:?} for gaps of {gap} s");
            prop_assert!(kept <= Duration::from_secs(gap).mul_f64(1.7).max(Duration::from_secs(10)));
        }
    }

    #[test]
    fn knows_nothing_at_first_and_gives_up_on_the_rare() {
        let bounds = Bounds::default();
        let mut learnt = Gaps::default();
        assert_eq!(learnt.keep_alive(&bounds), bounds.unknown);
        (0..20).for_each(|_| learnt.note(Duration::from_secs(50_000)));
        assert_eq!(learnt.keep_alive(&bounds), bounds.least);
    }

    #[test]
    fn follows_a_change() {
        let mut learnt = Gaps::default();
        (0..400).for_each(|_| learnt.note(Duration::from_secs(900)));
        (0..4000).for_each(|_| learnt.note(Duration::from_secs(2)));
        assert!(learnt.keep_alive(&Bounds::default()) < Duration::from_secs(30));
    }
}

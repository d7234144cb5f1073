//! How calls are split over revisions.

use crate::{digest::Digest, error::Error};
use serde::{Deserialize, Serialize};

/// How calls are split over revisions: weights in percent that sum to 100.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<Share>", into = "Vec<Share>")]
pub struct Traffic(Vec<Share>);

/// One revision's share.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Share {
    /// Which.
    pub revision: Digest,
    /// Percent.
    pub percent: u8,
}

impl Traffic {
    /// Everything to one revision.
    pub fn all_to(revision: Digest) -> Self {
        Self(vec![Share { revision, percent: 100 }])
    }

    /// A split.
    ///
    /// # Errors
    /// `XB2007` when a revision comes twice or the weights do not sum to 100.
    pub fn new(shares: Vec<Share>) -> Result<Self, Error> {
        let sum: u32 = shares.iter().map(|share| u32::from(share.percent)).sum();
        let twice = shares
            .iter()
            .enumerate()
            .find(|(at, share)| shares[..*at].iter().any(|other| other.revision == share.revision));
        if let Some((_, share)) = twice {
            return Err(Error::invalid(
                "XB2007",
                format!("revision {} is named twice in the traffic split", share.revision.short()),
            ));
        }
        if sum != 100 {
            return Err(Error::invalid("XB2007", format!("the traffic split sums to {sum} %, not to 100 %")));
        }
        Ok(Self(shares.into_iter().filter(|share| share.percent > 0).collect()))
    }

    /// The shares, none of them 0.
    pub fn shares(&self) -> &[Share] {
        &self.0
    }

    /// The revision for a call that drew `chance`, uniform in 0..2³².
    pub fn pick(&self, chance: u32) -> Digest {
        if let [only] = self.0.as_slice() {
            return only.revision;
        }
        let mut point = (u64::from(chance) * 100) >> 32;
        for share in &self.0 {
            match point.checked_sub(u64::from(share.percent)) {
                None => return share.revision,
                Some(rest) => point = rest,
            }
        }
        // The shares sum to 100 and `point` is below 100.
        self.0[self.0.len() - 1].revision
    }
}

impl TryFrom<Vec<Share>> for Traffic {
    type Error = Error;

    fn try_from(shares: Vec<Share>) -> Result<Self, Error> {
        Self::new(shares)
    }
}

impl From<Traffic> for Vec<Share> {
    fn from(traffic: Traffic) -> Self {
        traffic.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn split(percents: &[u8]) -> Result<Traffic, Error> {
        let share =
            |(at, percent): (usize, &u8)| Share { revision: Digest::of([at as u8]), percent: *percent };
        Traffic::new(percents.iter().enumerate().map(share).collect())
    }

    proptest! {
        #[test]
        fn every_revision_gets_its_share(first in 0u8..=100, part in 0u8..=100) {
            let second = (u16::from(100 - first) * u16::from(part) / 100) as u8;
            let percents = [first, second, 100 - first - second];
            let traffic = split(&percents).unwrap();
            let draws = 10_000u32;
            for (at, percent) in percents.iter().enumerate() {
                let wanted = Digest::of([at as u8]);
                let hits = (0..draws)
                    .filter(|n| traffic.pick((u64::from(*n) * (1 << 32) / u64::from(draws)) as u32) == wanted)
                    .count();
                prop_assert!(hits.abs_diff(usize::from(*percent) * 100) <= 2, "{hits} for {percent} %");
            }
        }
    }

    #[test]
    fn refuses_what_does_not_sum_up() {
        assert!(split(&[50, 49]).is_err());
        assert!(split(&[]).is_err());
        assert!(split(&[200, 56]).is_err());
    }
}

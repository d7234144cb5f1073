//! Whether a server that was used alike all the time took more and more.

use crate::vitals::{Vitals, mebibytes};
use std::time::Duration;

/// What a server took at one moment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sample {
    pub(super) at: Duration,
    pub(super) vitals: Vitals,
}

/// One thing that may grow.
pub(super) struct Judged {
    pub(super) what: &'static str,
    pub(super) then: String,
    pub(super) now: String,
    pub(super) room: String,
    pub(super) flat: bool,
}

/// Compares the median of the second quarter, when everything has been used, with that of the last. `deployed`
/// functions came and went.
pub(super) fn judge(samples: &[Sample], deployed: u64) -> Vec<Judged> {
    type Take = fn(&Vitals) -> u64;
    let whole = samples.last().map_or(Duration::ZERO, |sample| sample.at);
    let quarter = |number: u32| {
        let (from, to) = (whole * number / 4, whole * (number + 1) / 4);
        samples.iter().filter(move |sample| sample.at > from && sample.at <= to).map(|sample| sample.vitals)
    };
    let of: [(&'static str, Take, u64, u64); 6] = [
        // Pages that the allocator keeps come and go; a leak of one KiB per call is hundreds of MiB.
        ("memory", |vitals| vitals.resident, 10, 16 << 20),
        ("descriptors", |vitals| vitals.descriptors, 10, 16),
        ("threads", |vitals| vitals.threads, 0, 8),
        ("processes", |vitals| vitals.processes, 0, 8),
        ("temporary files", |vitals| vitals.temporary, 0, 8),
        // What a removed function leaves is collected when it is ten minutes old.
        ("files", |vitals| vitals.files, 10, 64 + deployed),
    ];
    let judge = |(what, take, percent, more): (&'static str, Take, u64, u64)| {
        let median = |number| {
            let mut all: Vec<u64> = quarter(number).map(|vitals| take(&vitals)).collect();
            all.sort_unstable();
            all.get(all.len() / 2).copied()
        };
        let shown = |value: u64| if what == "memory" { mebibytes(value) } else { value.to_string() };
        let (then, now) = (median(1).unwrap_or_default(), median(3).unwrap_or_default());
        let room = then * percent / 100 + more;
        Judged { what, then: shown(then), now: shown(now), room: shown(room), flat: now <= then + room }
    };
    of.into_iter().map(judge).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples(descriptors: impl Fn(u64) -> u64) -> Vec<Sample> {
        let vitals =
            |second| Vitals { resident: 50 << 20, descriptors: descriptors(second), ..Vitals::default() };
        (1..=100).map(|second| Sample { at: Duration::from_secs(second), vitals: vitals(second) }).collect()
    }

    #[test]
    fn what_grows_is_found_and_what_swings_is_not() {
        let growing = |samples: &[Sample]| -> Vec<&str> {
            judge(samples, 0).iter().filter(|one| !one.flat).map(|one| one.what).collect()
        };
        assert!(growing(&samples(|_| 40)).is_empty());
        assert!(growing(&samples(|second| 40 + second % 10)).is_empty());
        // What is taken once at first is no leak.
        assert!(growing(&samples(|second| if second < 20 { 10 } else { 400 })).is_empty());
        assert_eq!(growing(&samples(|second| 40 + second)), ["descriptors"]);
    }
}

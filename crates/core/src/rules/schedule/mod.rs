//! When a schedule fires, and what becomes of the times it missed.

mod check;
mod cron;
mod length;
#[cfg(test)]
mod oracle;

pub use check::{LONGEST_BODY, LONGEST_CRON, MOST_OF_FUNCTION, check, check_all};

use crate::{
    error::Error,
    schedule::{Bounds, Missed, When},
};
use cron::Cron;
use jiff::{SignedDuration, Timestamp};
use std::time::Duration;

/// The latest of its missed times that [`Missed::All`] makes up for.
pub const MOST_MADE_UP: usize = 100;

/// What is late by less than this is not missed.
pub const GRACE: Duration = Duration::from_secs(60);

/// The shortest interval.
pub const SHORTEST: Duration = Duration::from_secs(1);

/// The times of a schedule, worked out from what was written. Of several kilobytes: make it when it is needed.
#[derive(Clone, Debug)]
pub struct Plan {
    kind: Kind,
    not_before: Timestamp,
    until: Timestamp,
}

#[derive(Clone, Debug)]
enum Kind {
    Cron(Box<Cron>),
    Every { anchor: Timestamp, length: SignedDuration },
    At(Timestamp),
}

impl Plan {
    /// The plan of a schedule that was made at that moment.
    ///
    /// # Errors
    /// `XB1012`, saying what is wrong with it.
    pub fn new(when: &When, made: Timestamp) -> Result<Self, Error> {
        let kind = match when {
            When::Cron { cron, zone } => match cron.trim().strip_prefix("@every") {
                Some(length) => Kind::Every { anchor: made, length: length::read("@every", length)? },
                None => Kind::Cron(Box::new(Cron::read(cron, zone.as_deref())?)),
            },
            When::Every { every, from } => {
                Kind::Every { anchor: from.unwrap_or(made), length: length::read("every", every)? }
            }
            When::At { at } => Kind::At(*at),
        };
        Ok(Self { kind, not_before: Timestamp::MIN, until: Timestamp::MAX })
    }

    /// Only the times that lie within these bounds.
    pub fn within(self, bounds: &Bounds) -> Self {
        let not_before = bounds.not_before.unwrap_or(Timestamp::MIN);
        Self { not_before, until: bounds.until.unwrap_or(Timestamp::MAX), ..self }
    }

    /// The first time strictly after a moment.
    pub fn next(&self, after: Timestamp) -> Option<Timestamp> {
        let after = just_before(self.not_before).map_or(after, |first| first.max(after));
        self.unbounded_next(after).filter(|next| *next <= self.until)
    }

    /// The last time at or before a moment.
    pub fn last(&self, until: Timestamp) -> Option<Timestamp> {
        self.unbounded_last(until.min(self.until)).filter(|last| *last >= self.not_before)
    }

    fn unbounded_next(&self, after: Timestamp) -> Option<Timestamp> {
        match &self.kind {
            Kind::Cron(cron) => cron.next(after),
            Kind::At(at) => Some(*at).filter(|at| *at > after),
            Kind::Every { anchor, .. } if after < *anchor => Some(*anchor),
            Kind::Every { anchor, length } => {
                let past = after.as_nanosecond() - anchor.as_nanosecond();
                nth(*anchor, *length, past / length.as_nanos() + 1)
            }
        }
    }

    fn unbounded_last(&self, until: Timestamp) -> Option<Timestamp> {
        match &self.kind {
            Kind::Cron(cron) => cron.last(until),
            Kind::At(at) => Some(*at).filter(|at| *at <= until),
            Kind::Every { anchor, .. } if until < *anchor => None,
            Kind::Every { anchor, length } => {
                let past = until.as_nanosecond() - anchor.as_nanosecond();
                nth(*anchor, *length, past / length.as_nanos())
            }
        }
    }

    /// The times after one moment up to another, the latest `most` of them, in order.
    fn latest(&self, after: Timestamp, until: Timestamp, most: usize) -> Vec<Timestamp> {
        let mut times = Vec::new();
        let mut until = Some(until);
        while let Some(time) = until.and_then(|until| self.last(until)).filter(|time| *time > after) {
            times.push(time);
            until = just_before(time).filter(|_| times.len() < most);
        }
        times.reverse();
        times
    }
}

fn nth(anchor: Timestamp, length: SignedDuration, n: i128) -> Option<Timestamp> {
    let nanoseconds = length.as_nanos().checked_mul(n)?.checked_add(anchor.as_nanosecond())?;
    Timestamp::from_nanosecond(nanoseconds).ok()
}

fn just_before(time: Timestamp) -> Option<Timestamp> {
    time.checked_sub(SignedDuration::from_nanos(1)).ok()
}

/// What a schedule does now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// It fires for this time; all times up to it are then seen to.
    Fire(Timestamp),
    /// Nothing, until this time; `None`: nothing ever.
    Wait(Option<Timestamp>),
}

/// What a schedule does now, all its times up to `handled` being seen to. However long it was, one time is
/// answered with at most; and none that is not after `handled`, whichever way the clock jumped.
pub fn turn(plan: &Plan, missed: Missed, handled: Timestamp, now: Timestamp) -> Turn {
    let wait = || Turn::Wait(plan.next(handled.max(now)));
    let Some(latest) = plan.last(now).filter(|latest| *latest > handled) else { return wait() };
    match missed {
        Missed::Once => Turn::Fire(latest),
        Missed::Skip if now.duration_since(latest).unsigned_abs() < GRACE => Turn::Fire(latest),
        Missed::Skip => wait(),
        Missed::All => {
            let first = plan.latest(handled, now, MOST_MADE_UP).first().copied();
            Turn::Fire(first.unwrap_or(latest))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn seconds(n: i64) -> Timestamp {
        Timestamp::from_second(n).unwrap()
    }

    fn cron(text: &str) -> When {
        When::Cron { cron: text.to_owned(), zone: None }
    }

    fn every(text: &str) -> When {
        When::Every { every: text.to_owned(), from: None }
    }

    fn plan(when: &When) -> Plan {
        Plan::new(when, seconds(1_000_000)).unwrap()
    }

    #[test]
    fn every_dialect() {
        let after = "2026-03-03T10:20:30.5Z";
        for (expression, next) in [
            ("*/5 * * * *", "2026-03-03T10:25:00Z"),
            ("0 9 * * MON-FRI", "2026-03-04T09:00:00Z"),
            ("*/5 * * * * *", "2026-03-03T10:20:35Z"),
            ("0 0 12 ? * 7", "2026-03-08T12:00:00Z"),
            ("0 0 0 1 1 * 2031", "2031-01-01T00:00:00Z"),
            ("0 0 L * *", "2026-03-31T00:00:00Z"),
            ("0 0 * * 5#2", "2026-03-13T00:00:00Z"),
            ("0 0 29 2 *", "2028-02-29T00:00:00Z"),
            ("@yearly", "2027-01-01T00:00:00Z"),
            ("@annually", "2027-01-01T00:00:00Z"),
            ("@monthly", "2026-04-01T00:00:00Z"),
            ("@weekly", "2026-03-08T00:00:00Z"),
            ("@daily", "2026-03-04T00:00:00Z"),
            ("@midnight", "2026-03-04T00:00:00Z"),
            (" @Hourly ", "2026-03-03T11:00:00Z"),
            ("CRON_TZ=Europe/Berlin 0 12 * * *", "2026-03-03T11:00:00Z"),
            ("TZ=Asia/Kolkata 0 16 * * *", "2026-03-03T10:30:00Z"),
        ] {
            assert_eq!(plan(&cron(expression)).next(at(after)), Some(at(next)), "{expression}");
        }
        let hourly = plan(&cron("@every 1h30m"));
        assert_eq!(hourly.next(seconds(1_000_000)), Some(seconds(1_005_400)));
    }

    #[test]
    fn an_interval_stays_on_its_grid() {
        let plan = plan(&every("7s"));
        let mut time = seconds(1_000_000);
        for n in 1..1000 {
            time = plan.next(time).unwrap();
            assert_eq!(time, seconds(1_000_000 + 7 * n));
        }
        assert_eq!(plan.next(seconds(1_000_003)), Some(seconds(1_000_007)));
        let from = When::Every { every: "1d".into(), from: Some(at("2030-01-01T06:00:00Z")) };
        let daily = Plan::new(&from, seconds(0)).unwrap();
        assert_eq!(daily.next(seconds(5)), Some(at("2030-01-01T06:00:00Z")));
        assert_eq!(daily.last(seconds(5)), None);
    }

    #[test]
    fn only_what_lies_within_the_bounds() {
        let bounds = |not_before, until| Bounds { not_before, until, times: None };
        let within = |bounds| plan(&every("10s")).within(&bounds);
        let plan = within(bounds(Some(seconds(1_000_020)), Some(seconds(1_000_040))));
        assert_eq!(plan.next(seconds(0)), Some(seconds(1_000_020)), "the bounds are included");
        assert_eq!(plan.next(seconds(1_000_030)), Some(seconds(1_000_040)));
        assert_eq!(plan.next(seconds(1_000_040)), None);
        assert_eq!(plan.last(seconds(1_000_019)), None);
        assert_eq!(plan.last(seconds(2_000_000)), Some(seconds(1_000_040)));
        let (handled, now) = (seconds(0), seconds(2_000_000));
        assert_eq!(turn(&plan, Missed::Once, handled, now), Turn::Fire(seconds(1_000_040)));
        assert_eq!(turn(&plan, Missed::All, handled, now), Turn::Fire(seconds(1_000_020)));
        assert_eq!(turn(&plan, Missed::Skip, handled, now), Turn::Wait(None));
        assert_eq!(within(bounds(Some(seconds(1_000_001)), Some(seconds(1_000_009)))).next(seconds(0)), None);
    }

    #[test]
    fn once_is_once() {
        let plan = plan(&When::At { at: seconds(50) });
        assert_eq!(plan.next(seconds(49)), Some(seconds(50)));
        assert_eq!(plan.next(seconds(50)), None);
        assert_eq!(turn(&plan, Missed::Once, seconds(10), seconds(5000)), Turn::Fire(seconds(50)));
        assert_eq!(turn(&plan, Missed::Once, seconds(50), seconds(5000)), Turn::Wait(None));
        assert_eq!(turn(&plan, Missed::Skip, seconds(10), seconds(5000)), Turn::Wait(None));
    }

    #[test]
    fn an_hour_away() {
        let plan = plan(&cron("*/10 * * * *"));
        let (left, back) = (at("2026-01-01T10:05:00Z"), at("2026-01-01T11:05:00Z"));
        let next = Turn::Wait(Some(at("2026-01-01T11:10:00Z")));
        assert_eq!(turn(&plan, Missed::Skip, left, back), next);
        let latest = at("2026-01-01T11:00:00Z");
        assert_eq!(turn(&plan, Missed::Once, left, back), Turn::Fire(latest));
        assert_eq!(turn(&plan, Missed::Once, latest, back), next);
        let mut handled = left;
        let mut fired = Vec::new();
        while let Turn::Fire(due) = turn(&plan, Missed::All, handled, back) {
            fired.push(due);
            handled = due;
        }
        let all = ["10:10", "10:20", "10:30", "10:40", "10:50", "11:00"];
        assert_eq!(fired, all.map(|time| at(&format!("2026-01-01T{time}:00Z"))));
    }

    #[test]
    fn a_little_late_is_not_missed() {
        let plan = plan(&cron("0 * * * *"));
        let due = at("2026-01-01T10:00:00Z");
        let handled = at("2026-01-01T09:00:00Z");
        assert_eq!(turn(&plan, Missed::Skip, handled, at("2026-01-01T10:00:59Z")), Turn::Fire(due));
        assert!(matches!(turn(&plan, Missed::Skip, handled, at("2026-01-01T10:01:00Z")), Turn::Wait(_)));
    }

    fn whens() -> impl Strategy<Value = When> {
        let expressions = prop::sample::select(vec![
            "* * * * * *",
            "*/7 * * * *",
            "30 2 * * *",
            "15,45 1-3 * * *",
            "0 0 29 2 *",
            "0 12 ? * MON-FRI",
            "*/20 */2 * * *",
            "0 0 L * *",
        ]);
        let zones = prop::sample::select(vec![None, Some("Europe/Berlin"), Some("America/New_York")]);
        prop_oneof![
            (expressions, zones)
                .prop_map(|(cron, zone)| When::Cron { cron: cron.into(), zone: zone.map(Into::into) }),
            (1u32..100_000).prop_map(|n| every(&format!("{n}s"))),
            (0i64..4_000_000_000).prop_map(|at| When::At { at: seconds(at) }),
        ]
    }

    fn policies() -> impl Strategy<Value = Missed> {
        prop::sample::select(vec![Missed::Skip, Missed::Once, Missed::All])
    }

    proptest! {
        #[test]
        fn times_come_strictly_after_and_in_order(when in whens(), from in 0i64..4_000_000_000) {
            let plan = plan(&when);
            let mut time = seconds(from);
            for _ in 0..20 {
                let Some(next) = plan.next(time) else { break };
                prop_assert!(next > time);
                time = next;
            }
        }

        #[test]
        fn back_and_forth_agree(when in whens(), from in 1_000_000i64..4_000_000_000) {
            let plan = plan(&when);
            let from = seconds(from);
            if let Some(next) = plan.next(from) {
                prop_assert_eq!(plan.last(next), Some(next));
                prop_assert!(plan.last(just_before(next).unwrap()).is_none_or(|last| last <= from));
            }
            if let Some(last) = plan.last(from) {
                prop_assert!(last <= from);
                prop_assert_eq!(plan.next(just_before(last).unwrap()), Some(last));
            }
        }

        /// However the clock jumps and whenever it is asked, no time fires twice, none fires early, times fire in
        /// order, and a stop is never made up for by more than the bound.
        #[test]
        fn nothing_twice_and_never_a_storm(
            when in whens(),
            missed in policies(),
            jumps in prop::collection::vec(-200_000i64..400_000, 1..12),
        ) {
            let plan = plan(&when);
            let mut now = 1_600_000_000;
            let mut handled = seconds(now);
            for jump in jumps {
                now += jump;
                let most = if missed == Missed::All { MOST_MADE_UP } else { 1 };
                let mut fired = 0;
                while let Turn::Fire(due) = turn(&plan, missed, handled, seconds(now)) {
                    prop_assert!(due > handled && due <= seconds(now));
                    handled = due;
                    fired += 1;
                    prop_assert!(fired <= most);
                }
            }
        }
    }
}

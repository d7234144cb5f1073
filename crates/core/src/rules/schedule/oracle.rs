//! The same answers once more, found by looking at every second of a clock that is put forward and back.

use super::cron::Cron;
use jiff::{
    SignedDuration, Timestamp,
    civil::DateTime,
    tz::{AmbiguousOffset, TimeZone},
};
use proptest::prelude::*;

/// Every time of the expression in a stretch of civil time, as `schedule.rs` promises it.
fn expected(expression: &str, zone: &TimeZone, from: DateTime, minutes: i64) -> Vec<Timestamp> {
    let fields: croner::Cron = expression.parse().unwrap();
    let flows = expression.split(' ').nth(1).unwrap().contains('*');
    let mut times = Vec::new();
    for minute in 0..minutes {
        let civil = from + SignedDuration::from_mins(minute);
        if !fields.is_time_matching(&civil).unwrap() {
            continue;
        }
        let ambiguous = zone.to_ambiguous_timestamp(civil);
        match ambiguous.offset() {
            AmbiguousOffset::Unambiguous { .. } => times.push(ambiguous.unambiguous().unwrap()),
            AmbiguousOffset::Gap { .. } if flows => {}
            AmbiguousOffset::Gap { .. } => {
                let before = ambiguous.earlier().unwrap();
                times
                    .push(zone.preceding(before + SignedDuration::from_hours(3)).next().unwrap().timestamp());
            }
            AmbiguousOffset::Fold { .. } => {
                times.push(ambiguous.earlier().unwrap());
                if flows {
                    times.push(ambiguous.later().unwrap());
                }
            }
        }
    }
    times.sort();
    times.dedup();
    times
}

fn minutes() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("*".to_owned()),
        (1u8..31).prop_map(|n| format!("*/{n}")),
        (0u8..60).prop_map(|n| n.to_string()),
        (0u8..30, 0u8..60).prop_map(|(a, b)| format!("{a},{b}")),
    ]
}

fn hours() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("*".to_owned()),
        (1u8..5).prop_map(|n| format!("*/{n}")),
        (0u8..5).prop_map(|n| n.to_string()),
        Just("1-3".to_owned()),
        Just("2,14".to_owned()),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn clocks_put_forward_and_back(minute in minutes(), hour in hours(), which in 0usize..6) {
        let (zone, day) = [
            ("Europe/Berlin", "2026-03-28"),
            ("Europe/Berlin", "2026-10-24"),
            ("America/New_York", "2026-11-01"),
            ("America/New_York", "2026-03-08"),
            ("Australia/Lord_Howe", "2026-04-04"),
            ("Australia/Lord_Howe", "2026-10-03"),
        ][which];
        let (zone, from) = (TimeZone::get(zone).unwrap(), day.parse::<DateTime>().unwrap());
        let expression = format!("{minute} {hour} * * *");
        let expected = expected(&expression, &zone, from, 3 * 24 * 60);
        let cron = Cron::read(&expression, zone.iana_name()).unwrap();

        let mut forward = Vec::new();
        let mut time = zone.to_timestamp(from).unwrap() - SignedDuration::from_secs(1);
        while forward.len() < expected.len() {
            time = cron.next(time).unwrap();
            forward.push(time);
        }
        prop_assert_eq!(&forward, &expected);

        let mut back = Vec::new();
        for time in expected.iter().rev() {
            back.push(cron.last(*time + SignedDuration::from_millis(1)).unwrap());
        }
        back.reverse();
        prop_assert_eq!(&back, &expected);
    }
}

#[test]
fn a_time_that_is_skipped_fires_at_the_end_of_the_gap() {
    let cron = Cron::read("30 2 * * *", Some("Europe/Berlin")).unwrap();
    let at = |text: &str| text.parse::<Timestamp>().unwrap();
    let spring = cron.next(at("2026-03-28T12:00:00Z"));
    assert_eq!(spring, Some(at("2026-03-29T01:00:00Z")), "03:00 in Berlin");
    assert_eq!(cron.next(at("2026-03-29T01:00:00Z")), Some(at("2026-03-30T00:30:00Z")));
    let autumn = cron.next(at("2026-10-24T12:00:00Z"));
    assert_eq!(autumn, Some(at("2026-10-25T00:30:00Z")), "the first 02:30");
    assert_eq!(cron.next(at("2026-10-25T00:30:00Z")), Some(at("2026-10-26T01:30:00Z")));
}

#[test]
fn zones_are_there_on_machines_without_any() {
    let bundled = jiff::tz::TimeZoneDatabase::bundled();
    assert!(bundled.get("Europe/Berlin").is_ok(), "the feature tzdb-bundle-always is off");
}

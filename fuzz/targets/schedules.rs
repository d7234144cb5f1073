//! When functions are called by themselves, and the other small texts that the core reads.
#![no_main]

use jiff::Timestamp;
use libfuzzer_sys::fuzz_target;
use xebec_core::{
    InvocationId,
    rules::schedule::{Plan, check},
    schedule::{Schedule, When},
    trace::TraceContext,
};

fuzz_target!(|text: &str| {
    let _ = text.parse::<InvocationId>();
    let _ = TraceContext::parse(text.as_bytes());
    if let Ok(schedule) = serde_json::from_str::<Schedule>(text)
        && check(&schedule).is_ok()
    {
        plan(&schedule.when);
    }
    let (zone, cron) = text.split_once('\n').unwrap_or(("", text));
    let zone = (!zone.is_empty()).then(|| zone.to_owned());
    plan(&When::Cron { cron: cron.to_owned(), zone });
});

/// Times come after one another, and looking back finds what looking ahead found.
fn plan(when: &When) {
    let made = Timestamp::UNIX_EPOCH;
    let Ok(plan) = Plan::new(when, made) else { return };
    let mut after = made;
    for _ in 0..3 {
        let Some(next) = plan.next(after) else { return };
        assert!(next > after, "{when:?}: {next} after {after}");
        assert_eq!(plan.last(next), Some(next), "{when:?}");
        after = next;
    }
}

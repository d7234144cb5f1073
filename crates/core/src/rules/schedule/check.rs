//! Whether a schedule makes sense.

use super::Plan;
use crate::{
    error::Error,
    names::check_dns_label,
    schedule::{Bounds, Schedule, ScheduledCall, When},
};
use http::{HeaderName, HeaderValue, Method, Uri};
use jiff::Timestamp;

/// The largest body of a scheduled call, in bytes.
pub const LONGEST_BODY: usize = 64 * 1024;

/// The longest cron expression, in bytes.
pub const LONGEST_CRON: usize = 256;

/// Schedules that a function may have in its policy.
pub const MOST_OF_FUNCTION: usize = 100;

const LONGEST_PATH: usize = 8 * 1024;
const MOST_HEADERS: usize = 64;
const LONGEST_HEADERS: usize = 16 * 1024;

/// Checks all of a schedule, as it must be before it is kept.
///
/// # Errors
/// `XB1012`, saying what is wrong with it.
pub fn check(schedule: &Schedule) -> Result<(), Error> {
    check_dns_label("the schedule's name", &schedule.name)
        .map_err(|error| Error { code: "XB1012", ..error })?;
    let of =
        |error: Error| Error { message: format!("schedule {}: {}", schedule.name, error.message), ..error };
    check_when(&schedule.when).map_err(of)?;
    check_bounds(&schedule.bounds).map_err(of)?;
    check_call(&schedule.call).map_err(of)
}

/// Checks the schedules of a function's policy.
///
/// # Errors
/// `XB1012`, saying what is wrong with which.
pub fn check_all(schedules: &[Schedule]) -> Result<(), Error> {
    if schedules.len() > MOST_OF_FUNCTION {
        let fault = format!("{} schedules are too many: {MOST_OF_FUNCTION} are allowed", schedules.len());
        return Err(Error::invalid("XB1012", fault));
    }
    for (at, schedule) in schedules.iter().enumerate() {
        check(schedule)?;
        if schedules[..at].iter().any(|earlier| earlier.name == schedule.name) {
            return Err(Error::invalid("XB1012", format!("two schedules are named {:?}", schedule.name)));
        }
    }
    Ok(())
}

fn check_when(when: &When) -> Result<(), Error> {
    let (what, text) = match when {
        When::Cron { cron, .. } => ("the cron expression", cron),
        When::Every { every, .. } => ("every", every),
        When::At { .. } => return Ok(()),
    };
    within(what, text.len(), LONGEST_CRON)?;
    Plan::new(when, Timestamp::UNIX_EPOCH).map(|_| ())
}

fn check_bounds(bounds: &Bounds) -> Result<(), Error> {
    if let (Some(from), Some(until)) = (bounds.not_before, bounds.until)
        && from > until
    {
        return Err(Error::invalid("XB1012", "not-before lies behind until"));
    }
    if bounds.times == Some(0) {
        return Err(Error::invalid("XB1012", "times is 0: it would never fire"));
    }
    Ok(())
}

fn check_call(call: &ScheduledCall) -> Result<(), Error> {
    within("the body", call.body.len(), LONGEST_BODY)?;
    within("the path", call.path.len(), LONGEST_PATH)?;
    let size = call.headers.iter().map(|(name, value)| name.len() + value.len()).sum();
    within("the headers", size, LONGEST_HEADERS)?;
    if call.headers.len() > MOST_HEADERS {
        let fault = format!("{} headers are too many: {MOST_HEADERS} are allowed", call.headers.len());
        return Err(Error::invalid("XB1012", fault));
    }
    if Method::from_bytes(call.method.as_bytes()).is_err() {
        return Err(Error::invalid("XB1012", format!("{:?} is not an HTTP method", call.method)));
    }
    if !call.path.starts_with('/') || call.path.parse::<Uri>().is_err() {
        let fault = format!("{:?} is not a path", call.path);
        return Err(Error::invalid("XB1012", fault).with_hint("begin it with / and escape spaces as %20"));
    }
    for (name, value) in &call.headers {
        if HeaderName::try_from(name).is_err() {
            return Err(Error::invalid("XB1012", format!("{name:?} is not the name of a header")));
        }
        if HeaderValue::try_from(value).is_err() {
            return Err(Error::invalid("XB1012", format!("header {name} has a value that cannot be sent")));
        }
    }
    Ok(())
}

fn within(what: &str, size: usize, most: usize) -> Result<(), Error> {
    if size <= most {
        return Ok(());
    }
    Err(Error::invalid("XB1012", format!("{what} has {size} bytes, {most} are allowed")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cron(text: &str) -> Schedule {
        Schedule {
            name: "nightly".into(),
            when: When::Cron { cron: text.to_owned(), zone: None },
            bounds: Bounds::default(),
            missed: crate::schedule::Missed::Once,
            call: ScheduledCall::default(),
            paused: false,
        }
    }

    #[test]
    fn says_what_is_wrong() {
        for (expression, says) in [
            ("", "it has 0 fields"),
            ("* * * *", "it has 4 fields"),
            ("* * * * * * * *", "it has 8 fields"),
            ("60 * * * *", "60"),
            ("1,, * * * *", "something is missing in \"1,,\""),
            ("x * * * *", "'X'"),
            ("0 0 30 2 *", "never fires"),
            ("0 0 0 31 4 *", "never fires"),
            ("@reboot", "@reboot is no descriptor"),
            ("@every 10ms", "at least a second"),
            ("@every", "not a length of time"),
            ("TZ=Mars/Olympus 0 0 * * *", "there is no time zone \"Mars/Olympus\""),
            ("TZ=UTC", "it has 0 fields"),
        ] {
            let error = check(&cron(expression)).unwrap_err();
            assert_eq!(error.code, "XB1012");
            assert!(error.message.contains(says), "{expression}: {error}");
        }
        let long = format!("{} * * * *", "1,".repeat(200));
        assert!(check(&cron(&long)).unwrap_err().message.contains("256 are allowed"));
    }

    #[test]
    fn what_never_fires_is_found_quickly() {
        let began = std::time::Instant::now();
        for expression in ["0 0 30 2 *", "* * * 31 2,4,6,9,11 *", "* * * * 30 2 *", "* * * 29 2 * 2027"] {
            assert!(check(&cron(expression)).is_err(), "{expression}");
        }
        assert!(began.elapsed().as_secs() < 5, "{:?}", began.elapsed());
    }

    #[test]
    fn two_zones_contradict() {
        let when = When::Cron { cron: "TZ=UTC 0 0 * * *".into(), zone: Some("Europe/Rome".into()) };
        let error = check(&Schedule { when, ..cron("") }).unwrap_err();
        assert!(error.message.contains("two time zones"), "{error}");
    }

    #[test]
    fn a_function_has_some_of_different_names() {
        let named = |name: String| Schedule { name: name.into(), ..cron("@daily") };
        let many: Vec<_> = (0..MOST_OF_FUNCTION).map(|n| named(format!("s{n}"))).collect();
        check_all(&many).unwrap();
        let twice = [many.clone(), vec![named("s7".into())]].concat();
        assert!(check_all(&twice[1..]).unwrap_err().message.contains("two schedules are named \"s7\""));
        assert!(check_all(&twice).unwrap_err().message.contains("100 are allowed"));
        assert!(check_all(&[named("s".into()), cron("x")]).unwrap_err().message.contains("schedule nightly"));
    }

    #[test]
    fn names_and_calls_have_limits() {
        let good = cron("@daily");
        check(&good).unwrap();
        for name in ["", "A", "a.b", &"x".repeat(64)] {
            let error = check(&Schedule { name: name.into(), ..good.clone() }).unwrap_err();
            assert_eq!(error.code, "XB1012");
        }
        let call = ScheduledCall::default();
        for bad in [
            ScheduledCall { body: "x".repeat(LONGEST_BODY + 1), ..call.clone() },
            ScheduledCall { path: "x".into(), ..call.clone() },
            ScheduledCall { path: "/a b".into(), ..call.clone() },
            ScheduledCall { path: format!("/{}", "x".repeat(9000)), ..call.clone() },
            ScheduledCall { method: "GE T".into(), ..call.clone() },
            ScheduledCall { headers: [("a b".to_owned(), String::new())].into(), ..call.clone() },
            ScheduledCall { headers: [("a".to_owned(), "b\nc".to_owned())].into(), ..call.clone() },
            ScheduledCall {
                headers: (0..65).map(|n| (format!("a{n}"), String::new())).collect(),
                ..call.clone()
            },
            ScheduledCall { headers: [("a".to_owned(), "x".repeat(17_000))].into(), ..call.clone() },
        ] {
            let error = check(&Schedule { call: bad.clone(), ..good.clone() }).unwrap_err();
            assert!(error.code == "XB1012" && error.message.contains("nightly"), "{error}");
        }
    }
}

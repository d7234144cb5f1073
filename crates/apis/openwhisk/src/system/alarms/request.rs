//! What is asked of an alarm: read, checked, and told in the original's words where it cannot be.

use super::alarm::{Alarm, SCHEDULE, Status, Times, moment};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Map, Value, json};
use xebec_core::{
    names::Tenant,
    rules::schedule::{Plan, check},
    schedule::When,
};

/// What `deleteAfterFire` may say.
const AFTER_FIRE: [&str; 3] = ["false", "true", "rules"];

/// How long after it was made an interval begins that names no start.
const BEGINS: SignedDuration = SignedDuration::from_secs(30);

/// The largest payload, in bytes.
const MOST_PAYLOAD: usize = 1024 * 1024;

/// Which of the three feeds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Feed {
    Alarm,
    Interval,
    Once,
}

/// Parameters of a call.
pub(super) type Told = Map<String, Value>;

/// A new alarm.
///
/// # Errors
/// What is wrong with it.
pub(super) fn create(
    feed: Feed,
    namespace: &Tenant,
    name: &str,
    told: &Told,
    now: Timestamp,
) -> Result<Alarm, String> {
    let times = match feed {
        Feed::Once => Times::Once {
            date: date(told, "date", now)?.ok_or("alarms once trigger feed is missing the date parameter")?,
            delete_after_fire: after_fire(told)?,
        },
        Feed::Interval => Times::Interval {
            minutes: minutes(told)?.ok_or("interval trigger feed is missing the minutes parameter")?,
        },
        Feed::Alarm => Times::Alarm {
            cron: given(told, "cron").map(text).ok_or("alarms trigger feed is missing the cron parameter")?,
            timezone: given(told, "timezone").map(text),
            strict: told.get("strict").filter(|strict| !strict.is_null()).cloned(),
        },
    };
    let mut alarm = Alarm {
        name: name.to_owned(),
        namespace: namespace.clone(),
        times,
        start_date: None,
        stop_date: None,
        max_triggers: None,
        payload: payload(told)?.unwrap_or_else(|| json!({})),
        status: Status::active(now),
    };
    check_cron(&alarm)?;
    if feed == Feed::Once {
        return Ok(alarm);
    }
    alarm.start_date = date(told, "startDate", now)?;
    if feed == Feed::Interval && alarm.start_date.is_none() {
        alarm.start_date = Some((now + BEGINS).as_millisecond().into());
    }
    let most = given(told, "maxTriggers").and_then(whole).and_then(|most| u64::try_from(most).ok());
    if given(told, "maxTriggers").is_some() && given(told, "stopDate").is_some() {
        return Err(match feed {
            Feed::Interval => "maxTriggers is not supported for the interval trigger feed",
            _ => "maxTriggers is not allowed when the stopDate parameter is specified",
        }
        .to_owned());
    }
    alarm.max_triggers = most.filter(|most| *most > 0 && feed == Feed::Alarm);
    alarm.stop_date = stop_date(told, alarm.start_date.as_ref(), now)?;
    check_whole(&alarm, now)?;
    Ok(alarm)
}

/// An alarm, changed as is asked; it is active again.
///
/// # Errors
/// What is wrong with that.
pub(super) fn update(alarm: &Alarm, told: &Told, now: Timestamp) -> Result<Alarm, String> {
    let mut changed = alarm.clone();
    if let Some(payload) = payload(told)? {
        changed.payload = payload;
    }
    match &mut changed.times {
        Times::Once { date: at, delete_after_fire } => {
            if let Some(date) = date(told, "date", now)? {
                *at = date;
            }
            if let Some(wish) = after_fire(told)? {
                *delete_after_fire = Some(wish);
            }
        }
        Times::Interval { minutes: length } => {
            if let Some(minutes) = minutes(told)? {
                *length = minutes;
            }
        }
        Times::Alarm { cron, timezone, strict } => {
            if let Some(wish) = given(told, "cron") {
                *cron = text(wish);
            }
            if let Some(wish) = given(told, "timezone") {
                *timezone = Some(text(wish));
            }
            if let Some(wish) = told.get("strict") {
                *strict = Some(wish.clone());
            }
        }
    }
    check_cron(&changed)?;
    if !matches!(changed.times, Times::Once { .. }) {
        if let Some(start) = date(told, "startDate", now)? {
            changed.start_date = Some(start);
        }
        if let Some(stop) = stop_date(told, changed.start_date.as_ref(), now)? {
            changed.stop_date = Some(stop);
        } else if let (Some(start), Some(stop)) = (&changed.start_date, &changed.stop_date)
            && given(told, "startDate").is_some()
            && moment(start) >= moment(stop)
        {
            return Err(format!(
                "startDate parameter '{}' must be less than the stopDate parameter '{}'",
                text(start),
                text(stop)
            ));
        }
    }
    if changed == *alarm && !mentions(alarm, told) {
        return Err("no updatable parameters were specified".to_owned());
    }
    check_whole(&changed, now)?;
    changed.status = Status::active(now);
    Ok(changed)
}

/// Whether anything is asked for that an alarm of this kind has, be it the same as before.
fn mentions(alarm: &Alarm, told: &Told) -> bool {
    let own: &[&str] = match alarm.times {
        Times::Alarm { .. } => &["trigger_payload", "cron", "timezone", "strict", "startDate", "stopDate"],
        Times::Interval { .. } => &["trigger_payload", "minutes", "startDate", "stopDate"],
        Times::Once { .. } => &["trigger_payload", "date", "deleteAfterFire"],
    };
    own.iter().any(|name| given(told, name).is_some())
}

fn check_cron(alarm: &Alarm) -> Result<(), String> {
    let Times::Alarm { cron, timezone, .. } = &alarm.times else { return Ok(()) };
    let fields = cron.split_whitespace().count();
    let with = |zone: Option<String>| {
        let when = When::Cron { cron: cron.clone(), zone };
        cron.len() <= 256 && matches!(fields, 5 | 6) && Plan::new(&when, Timestamp::UNIX_EPOCH).is_ok()
    };
    // Text before the fields would be a zone of its own.
    if !with(None) || cron.contains('=') {
        return Err(format!("cron pattern '{cron}' is not valid"));
    }
    if !with(timezone.clone()) {
        return Err("Invalid timezone.".to_owned());
    }
    Ok(())
}

fn check_whole(alarm: &Alarm, now: Timestamp) -> Result<(), String> {
    let schedule = alarm.schedule();
    check(&schedule).map_err(|error| error.message.replace(&format!("schedule {SCHEDULE}: "), ""))?;
    let plan = Plan::new(&schedule.when, now).map_err(|error| error.message)?.within(&schedule.bounds);
    if alarm.stop_date.is_some() && plan.next(now).is_none() {
        return Err("the first scheduled trigger fire is not until after the stop date".to_owned());
    }
    Ok(())
}

fn stop_date(told: &Told, start: Option<&Value>, now: Timestamp) -> Result<Option<Value>, String> {
    let Some(stop) = date(told, "stopDate", now)? else { return Ok(None) };
    if let Some(start) = start
        && moment(&stop) <= moment(start)
    {
        return Err(format!(
            "stopDate parameter '{}' must be greater than the startDate parameter '{}'",
            text(&stop),
            text(start)
        ));
    }
    Ok(Some(stop))
}

fn date(told: &Told, name: &str, now: Timestamp) -> Result<Option<Value>, String> {
    let Some(date) = given(told, name) else { return Ok(None) };
    match moment(date) {
        None => Err(format!("{name} parameter '{}' is not a valid Date", text(date))),
        Some(at) if at <= now => Err(format!("{name} parameter '{}' must be in the future", text(date))),
        Some(_) => Ok(Some(date.clone())),
    }
}

fn minutes(told: &Told) -> Result<Option<u64>, String> {
    let Some(minutes) = given(told, "minutes") else { return Ok(None) };
    match whole(minutes) {
        None => Err("the minutes parameter must be an integer".to_owned()),
        Some(minutes) => match u64::try_from(minutes) {
            Ok(minutes) if minutes > 0 => Ok(Some(minutes)),
            _ => Err("the minutes parameter must be an integer greater than zero".to_owned()),
        },
    }
}

fn after_fire(told: &Told) -> Result<Option<String>, String> {
    let Some(wish) = given(told, "deleteAfterFire") else { return Ok(None) };
    let wish = text(wish).trim().to_lowercase();
    match AFTER_FIRE.contains(&wish.as_str()) {
        true => Ok(Some(wish)),
        false => Err("deleteAfterFire parameter must be one of [false, true, rules].".to_owned()),
    }
}

/// What the trigger is fired with; text that is no object goes into a field.
fn payload(told: &Told) -> Result<Option<Value>, String> {
    let payload = match given(told, "trigger_payload") {
        None => return Ok(None),
        Some(Value::Object(payload)) => Value::Object(payload.clone()),
        Some(other) => json!({ "payload": other }),
    };
    match payload.to_string().len() {
        bytes if bytes > MOST_PAYLOAD => {
            Err(format!("trigger_payload has {bytes} bytes, {MOST_PAYLOAD} are allowed"))
        }
        _ => Ok(Some(payload)),
    }
}

/// A parameter that says something: what counts as false in JavaScript is as if it were left out.
fn given<'a>(told: &'a Told, name: &str) -> Option<&'a Value> {
    told.get(name).filter(|value| match value {
        Value::Null => false,
        Value::Bool(value) => *value,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !text.is_empty(),
        Value::Array(_) | Value::Object(_) => true,
    })
}

fn whole(value: &Value) -> Option<i64> {
    match value {
        Value::Number(number) => number.as_i64(),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    }
}

fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use xebec_core::schedule::{Firing, Missed, ScheduleView};

    fn now() -> Timestamp {
        "2030-01-01T00:00:00Z".parse().unwrap()
    }

    fn made(feed: Feed, told: Value) -> Result<Alarm, String> {
        create(feed, &Tenant::new("guest"), "t", told.as_object().unwrap(), now())
    }

    fn times(alarm: &Alarm, many: usize) -> Vec<String> {
        let schedule = alarm.schedule();
        check(&schedule).unwrap();
        let plan = Plan::new(&schedule.when, now()).unwrap().within(&schedule.bounds);
        let mut at = now();
        std::iter::from_fn(|| {
            at = plan.next(at)?;
            Some(at.to_string())
        })
        .take(many)
        .collect()
    }

    #[test]
    fn each_feed_is_a_schedule() {
        let cron = made(
            Feed::Alarm,
            json!({"cron": "0 9 * * *", "timezone": "Europe/Berlin",
            "startDate": "2030-02-01T00:00:00.000Z", "stopDate": 1_896_400_000_000_i64, "trigger_payload": "x"}),
        );
        let cron = cron.unwrap();
        assert_eq!(times(&cron, 3), ["2030-02-01T08:00:00Z", "2030-02-02T08:00:00Z", "2030-02-03T08:00:00Z"]);
        assert_eq!(cron.payload, json!({"payload": "x"}));
        let often = made(Feed::Alarm, json!({"cron": "*/30 * * * * *", "maxTriggers": "2"})).unwrap();
        assert_eq!(often.schedule().bounds.times, Some(2));
        let unlimited = made(Feed::Alarm, json!({"cron": "* * * * *", "maxTriggers": -1})).unwrap();
        assert_eq!(unlimited.schedule().bounds.times, None);
        let interval =
            made(Feed::Interval, json!({"minutes": 90, "stopDate": "2030-01-01T02:00:00Z"})).unwrap();
        assert_eq!(times(&interval, 9), ["2030-01-01T00:00:30Z", "2030-01-01T01:30:30Z"]);
        let once = made(Feed::Once, json!({"date": "2030-01-02", "deleteAfterFire": true})).unwrap();
        assert_eq!(times(&once, 9), ["2030-01-02T00:00:00Z"]);
        assert_eq!((cron.schedule().missed, once.schedule().missed), (Missed::Skip, Missed::Once));
        let stored = serde_json::to_value(&once).unwrap();
        assert_eq!(serde_json::from_value::<Alarm>(stored).unwrap(), once);
    }

    #[test]
    fn says_what_is_wrong_as_the_original_does() {
        for (feed, told, says) in [
            (Feed::Alarm, json!({}), "alarms trigger feed is missing the cron parameter"),
            (Feed::Alarm, json!({"cron": "* * *"}), "cron pattern '* * *' is not valid"),
            (Feed::Alarm, json!({"cron": "61 * * * *"}), "cron pattern '61 * * * *' is not valid"),
            (Feed::Alarm, json!({"cron": "@daily"}), "cron pattern '@daily' is not valid"),
            (
                Feed::Alarm,
                json!({"cron": "TZ=UTC * * * * *"}),
                "cron pattern 'TZ=UTC * * * * *' is not valid",
            ),
            (Feed::Alarm, json!({"cron": "* * * * *", "timezone": "Mars/Base"}), "Invalid timezone."),
            (
                Feed::Alarm,
                json!({"cron": "* * * * *", "startDate": "soon"}),
                "startDate parameter 'soon' is not a valid Date",
            ),
            (
                Feed::Alarm,
                json!({"cron": "* * * * *", "startDate": 1}),
                "startDate parameter '1' must be in the future",
            ),
            (
                Feed::Alarm,
                json!({"cron": "* * * * *", "startDate": "2030-03-01", "stopDate": "2030-02-01"}),
                "stopDate parameter '2030-02-01' must be greater than the startDate parameter '2030-03-01'",
            ),
            (
                Feed::Alarm,
                json!({"cron": "0 0 1 2 *", "stopDate": "2030-01-15"}),
                "the first scheduled trigger fire is not until after the stop date",
            ),
            (
                Feed::Alarm,
                json!({"cron": "* * * * *", "maxTriggers": 3, "stopDate": "2030-02-01"}),
                "maxTriggers is not allowed when the stopDate parameter is specified",
            ),
            (
                Feed::Interval,
                json!({"minutes": 1, "maxTriggers": 3, "stopDate": "2030-02-01"}),
                "maxTriggers is not supported for the interval trigger feed",
            ),
            (Feed::Interval, json!({}), "interval trigger feed is missing the minutes parameter"),
            (Feed::Interval, json!({"minutes": 1.5}), "the minutes parameter must be an integer"),
            (
                Feed::Interval,
                json!({"minutes": "-3"}),
                "the minutes parameter must be an integer greater than zero",
            ),
            (Feed::Once, json!({}), "alarms once trigger feed is missing the date parameter"),
            (Feed::Once, json!({"date": "2029-12-31"}), "date parameter '2029-12-31' must be in the future"),
            (
                Feed::Once,
                json!({"date": "2031-01-01", "deleteAfterFire": "maybe"}),
                "deleteAfterFire parameter must be one of [false, true, rules].",
            ),
        ] {
            assert_eq!(made(feed, told.clone()).unwrap_err(), says, "{told}");
        }
    }

    #[test]
    fn updates_change_what_they_name_and_nothing_else() {
        let told =
            json!({"cron": "0 9 * * *", "stopDate": "2030-02-01T00:00:00Z", "trigger_payload": {"a": 1}});
        let alarm = made(Feed::Alarm, told).unwrap();
        let changed = |told: Value| update(&alarm, told.as_object().unwrap(), now());
        let later = changed(json!({"cron": "0 10 * * *"})).unwrap();
        assert_eq!(times(&later, 1), ["2030-01-01T10:00:00Z"]);
        assert_eq!((&later.payload, &later.stop_date), (&alarm.payload, &alarm.stop_date));
        assert_eq!(changed(json!({"cron": "0 9 * * *"})).unwrap(), alarm, "the same again is no fault");
        for (told, says) in [
            (json!({"minutes": 3}), "no updatable parameters were specified"),
            (json!({}), "no updatable parameters were specified"),
            (json!({"cron": "x"}), "cron pattern 'x' is not valid"),
            (json!({"timezone": "x"}), "Invalid timezone."),
            (
                json!({"startDate": "2030-03-01"}),
                "startDate parameter '2030-03-01' must be less than the stopDate parameter '2030-02-01T00:00:00Z'",
            ),
            (
                json!({"startDate": "2030-03-01", "stopDate": "2030-02-20"}),
                "stopDate parameter '2030-02-20' must be greater than the startDate parameter '2030-03-01'",
            ),
        ] {
            assert_eq!(changed(told.clone()).unwrap_err(), says, "{told}");
        }
        let off = Alarm { status: Status::ended(now(), None, "off"), ..alarm.clone() };
        assert!(off.schedule().paused);
        let on = update(&off, json!({"cron": "1 9 * * *"}).as_object().unwrap(), now()).unwrap();
        assert!(on.status.active && !on.schedule().paused);
    }

    #[test]
    fn what_is_read_of_an_alarm() {
        let alarm =
            made(Feed::Once, json!({"date": 1_893_542_400_000_i64, "deleteAfterFire": "false"})).unwrap();
        let read = alarm.read(None);
        assert_eq!(
            read["config"],
            json!({"name": "t", "namespace": "guest", "payload": {}, "strict": false,
            "date": 1_893_542_400_000_i64, "deleteAfterFire": "false"})
        );
        assert_eq!(
            read["status"],
            json!({"active": true, "dateChanged": 1_893_456_000_000_i64,
            "dateChangedISO": "2030-01-01T00:00:00Z"})
        );
        let fired = Firing { due: now(), at: now(), call: None, error: None };
        let over = ScheduleView {
            schedule: alarm.schedule(),
            function: super::super::function(&Tenant::new("guest"), "t"),
            of_function: true,
            next: None,
            last: Some(fired),
        };
        let status = alarm.read(Some(&over))["status"].clone();
        assert_eq!(status["active"], false);
        assert_eq!(
            status["reason"],
            json!({"kind": "AUTO", "message": "Automatically disabled after firing once"})
        );
    }
}

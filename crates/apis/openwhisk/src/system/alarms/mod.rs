//! The package `alarms`: triggers that fire by the clock.
//!
//! An alarm is a function of its owner's that no API lists: its document says what was asked for, its policy has
//! the schedule, and its code fires the trigger. So an alarm is made, changed and removed in one write each, and
//! fires by the same clockwork as every other schedule.
//!
//! * [`Feeds`]: the actions `alarm`, `interval` and `once`, called when a trigger is made or removed
//! * `request`: what is asked of them · `alarm`: what is kept, and read of it
//! * [`Alarms`]: what happens when the time has come

mod alarm;
mod fire;
mod request;

pub(crate) use fire::Alarms;

use super::{
    answer::{Said, answer, arguments, fault, namespace},
    shared,
};
use crate::Shared;
use alarm::{Alarm, SCHEDULE, Status, Times};
use async_trait::async_trait;
use http::{Request, Response};
use jiff::Timestamp;
use request::{Feed, Told};
use serde_json::{Value, json};
use std::{sync::Weak, time::Duration};
use xebec_core::{
    Body, Error, FunctionKey, Tenant,
    document::Expect,
    invocation::Called,
    limits::Limits,
    message::Guarantee,
    policy::{Delivery, Policy, Visibility},
    ports::{
        builtin::Builtin,
        control::{Control, Deployment},
        driver::Silent,
    },
    revision::{ContractSpec, RevisionSpec},
    workload::Workload,
};

/// The name of the builtin that the feeds are.
pub(crate) const FEEDS: &str = "openwhisk.alarm-feeds";

/// The name of the builtin that alarms are.
pub(crate) const ALARMS: &str = "openwhisk.alarms";

/// The door that alarms are functions of: none that anybody can reach.
const DOOR: &str = "openwhisk-alarms";

/// How long it may take until a trigger is fired, waits for its namespace's limit included.
const FIRES_WITHIN: Duration = Duration::from_secs(120);

/// How long a time may wait for those before it: where a namespace fires more than it may, they do not pile up.
const WAITS: Duration = Duration::from_secs(60);

/// The function that the alarm of a trigger is.
fn function(namespace: &Tenant, trigger: &str) -> FunctionKey {
    FunctionKey::new(namespace, DOOR, trigger)
}

/// The actions `alarm`, `interval` and `once`.
pub(crate) struct Feeds {
    pub(crate) shared: Weak<Shared>,
}

#[async_trait]
impl Builtin for Feeds {
    fn check(&self, settings: &Value) -> Result<(), Error> {
        feed(settings).map(|_| ())
    }

    async fn call(
        &self,
        called: Called,
        settings: &Value,
        request: Request<Body>,
    ) -> Result<Response<Body>, Error> {
        let (shared, feed) = (shared(&self.shared)?, feed(settings)?);
        let told = arguments(request).await?;
        let namespace = namespace(&called);
        // The original asks a service that answers with an object: its errors are errors within an error.
        let said = handle(&shared, feed, &namespace, &told).await?;
        Ok(answer(said))
    }
}

fn feed(settings: &Value) -> Result<Feed, Error> {
    match settings["feed"].as_str() {
        Some("alarm") => Ok(Feed::Alarm),
        Some("interval") => Ok(Feed::Interval),
        Some("once") => Ok(Feed::Once),
        _ => Err(Error::invalid("XB1003", "feed: it is none of alarms'")),
    }
}

async fn handle(shared: &Shared, feed: Feed, namespace: &Tenant, told: &Told) -> Result<Said, Error> {
    let event = told.get("lifecycleEvent").and_then(Value::as_str).unwrap_or_default();
    if !["CREATE", "READ", "UPDATE", "DELETE", "PAUSE", "UNPAUSE"].contains(&event) {
        return Ok(Err(fault("unsupported lifecycleEvent")));
    }
    // Whichever namespace the name says: only the caller's own has triggers that they may have fired.
    let Some(trigger) = told.get("triggerName").and_then(Value::as_str).and_then(local) else {
        return Ok(refused("no trigger name parameter was provided"));
    };
    if event != "DELETE" && shared.entities.one::<crate::wire::trigger::Trigger>(namespace, trigger).is_none()
    {
        return Ok(refused("Trigger authentication request failed."));
    }
    let key = function(namespace, trigger);
    let now = Timestamp::now();
    if event == "CREATE" {
        return match request::create(feed, namespace, trigger, told, now) {
            Ok(alarm) => keep(shared.control.as_ref(), &alarm).await.map(|()| success()),
            Err(wrong) => Ok(refused(wrong)),
        };
    }
    let Some(alarm) = alarm_of(shared.control.as_ref(), &key).await? else {
        return Ok(refused(format!("could not find trigger /{namespace}/{trigger} in the database")));
    };
    match event {
        "READ" => {
            let name = format!("{trigger}.{SCHEDULE}");
            let view = shared.schedules.get(namespace, &name).await?.filter(|view| view.function == key);
            return Ok(Ok(alarm.read(view.as_ref())));
        }
        "DELETE" => shared.control.remove(&key).await.or_else(gone)?,
        "PAUSE" => {
            let status = Status::ended(now, None, "Paused by its owner");
            keep(shared.control.as_ref(), &Alarm { status, ..alarm }).await?;
        }
        "UNPAUSE" => {
            keep(shared.control.as_ref(), &Alarm { status: Status::active(now), ..alarm }).await?;
        }
        _ => match request::update(&alarm, told, now) {
            Ok(changed) => keep(shared.control.as_ref(), &changed).await?,
            Err(wrong) => return Ok(refused(wrong)),
        },
    }
    Ok(success())
}

fn success() -> Said {
    Ok(json!({ "status": "success" }))
}

fn refused(why: impl Into<String>) -> Said {
    Err(json!({ "error": why.into() }))
}

/// A trigger's own name: `name`, or what follows the namespace in `/namespace/name`.
fn local(name: &str) -> Option<&str> {
    let name = match name.strip_prefix('/') {
        Some(rest) => rest.split_once('/')?.1,
        None => name,
    };
    (!name.is_empty()).then_some(name)
}

/// The alarm that a function is.
async fn alarm_of(control: &dyn Control, key: &FunctionKey) -> Result<Option<Alarm>, Error> {
    let Some(document) = control.document(key).await? else { return Ok(None) };
    let alarm = serde_json::from_value(document.spec);
    alarm.map(Some).map_err(|error| Error::internal("XB4003", format!("an alarm cannot be read: {error}")))
}

/// Makes an alarm, or changes it.
async fn keep(control: &dyn Control, alarm: &Alarm) -> Result<(), Error> {
    let once = matches!(alarm.times, Times::Once { .. });
    let document = serde_json::to_value(alarm);
    let document = document.map_err(|error| Error::internal("XB4003", error.to_string()))?;
    let mut limits = Limits { concurrency: 16, ..Limits::default() };
    limits.clocks.run = FIRES_WITHIN;
    limits.clocks.first_byte = FIRES_WITHIN;
    let deployment = Deployment {
        key: function(&alarm.namespace, &alarm.name),
        addresses: Vec::new(),
        revision: RevisionSpec {
            workload: Workload::Builtin { name: ALARMS.to_owned(), settings: Value::Null },
            environment: "builtin".to_owned(),
            contract: ContractSpec::named("builtin"),
            command: Vec::new(),
            handler: None,
            style: None,
            variables: Default::default(),
            secrets: Vec::new(),
            limits,
            read_only_root: false,
            as_is: true,
        },
        policy: Policy {
            max_instances: 1,
            visibility: Visibility::Authenticated,
            delivery: Delivery {
                guarantee: Guarantee::AtMostOnce,
                dead_letters: false,
                expiry_ms: (!once).then(|| millis(WAITS)),
                ..Delivery::default()
            },
            schedules: vec![alarm.schedule()],
            ..Policy::default()
        },
        labels: Default::default(),
        annotations: Default::default(),
        document,
        expect: Expect::Any,
    };
    control.deploy(deployment, &Silent).await.map(|_| ())
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

/// What is gone already needs no removing.
fn gone(error: Error) -> Result<(), Error> {
    match error.code {
        "XB2002" => Ok(()),
        _ => Err(error),
    }
}

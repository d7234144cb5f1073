//! What happens when an alarm's time has come.
//!
//! The trigger is fired as its owner would fire it: limits hold, and what nobody listens to leaves no record.

use super::{ALARMS, Alarm, Status, alarm::Times, alarm_of, gone, keep};
use crate::{
    Shared,
    caller::Caller,
    fire, routes,
    system::{answer::answer, apimgmt::encoded, shared},
    wire::name::FullName,
};
use async_trait::async_trait;
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use jiff::Timestamp;
use serde_json::{Value, json};
use std::{
    sync::{Arc, Weak},
    time::Duration,
};
use xebec_core::{
    Body, Error,
    auth::{Principal, Role},
    invocation::Called,
    ports::builtin::Builtin,
};

/// How often a trigger is fired again that could not be just now.
const TRIES: u32 = 6;

/// The first wait; waits grow with their square.
const WAIT: Duration = Duration::from_secs(1);

/// The most that is read of an answer.
const MOST: u64 = 8 * 1024 * 1024;

/// The code of alarms.
pub(crate) struct Alarms {
    pub(crate) shared: Weak<Shared>,
}

#[async_trait]
impl Builtin for Alarms {
    fn check(&self, _settings: &Value) -> Result<(), Error> {
        Ok(())
    }

    async fn call(
        &self,
        called: Called,
        _settings: &Value,
        _request: Request<Body>,
    ) -> Result<Response<Body>, Error> {
        let shared = shared(&self.shared)?;
        let alarm = alarm_of(shared.control.as_ref(), &called.function).await?;
        // Removed or switched off since it was due.
        let Some(alarm) = alarm.filter(|alarm| alarm.status.active) else {
            return Ok(answer(Ok(json!({ "fired": false }))));
        };
        let status = fire_trigger(&shared, &alarm).await;
        conclude(&shared, alarm, status).await?;
        Ok(answer(match status.is_success() {
            true => Ok(json!({ "fired": true })),
            false => Err(json!(format!("the trigger could not be fired: {status}"))),
        }))
    }
}

/// Fires the trigger; again after a while, where that may help.
async fn fire_trigger(shared: &Arc<Shared>, alarm: &Alarm) -> StatusCode {
    let owner = Caller::owner(&alarm.namespace);
    let trigger = FullName::new(&alarm.namespace, &alarm.name);
    let mut tries = 0;
    loop {
        let event = fire::Event { caller: &owner, transaction: "", headers: None };
        let payload = Bytes::from(alarm.payload.to_string());
        let fired = Box::pin(fire::fire(shared, &event, &trigger, payload)).await;
        let status = fired.map_or_else(|rejection| rejection.status, |_| StatusCode::ACCEPTED);
        tries += 1;
        if status.is_success() || is_final(status) || tries == TRIES {
            return status;
        }
        tokio::time::sleep(WAIT * tries * tries).await;
    }
}

/// Whether firing again cannot help: the trigger is gone, or makes no sense.
fn is_final(status: StatusCode) -> bool {
    let may_pass = [StatusCode::REQUEST_TIMEOUT, StatusCode::CONFLICT, StatusCode::TOO_MANY_REQUESTS];
    status.is_client_error() && !may_pass.contains(&status)
}

/// Ends what shall end once it fired, or cannot fire.
async fn conclude(shared: &Arc<Shared>, alarm: Alarm, status: StatusCode) -> Result<(), Error> {
    let control = shared.control.as_ref();
    if is_final(status) {
        let code = status.as_u16();
        let message =
            format!("Trigger automatically disabled: Received a {code} status code when firing the trigger");
        tracing::info!(namespace = %alarm.namespace, trigger = alarm.name, code, "an alarm is switched off");
        let status = Status::ended(Timestamp::now(), Some(code), message);
        return keep(control, &Alarm { status, ..alarm }).await;
    }
    let Times::Once { delete_after_fire: Some(wish), .. } = &alarm.times else { return Ok(()) };
    if wish == "false" {
        return Ok(());
    }
    let trigger = path(&alarm, "triggers", &alarm.name);
    let rules = match wish.as_str() {
        "rules" => ask(shared, &alarm, Method::GET, &trigger).await.1["rules"].take(),
        _ => Value::Null,
    };
    control.remove(&super::function(&alarm.namespace, &alarm.name)).await.or_else(gone)?;
    let rules = rules.as_object().into_iter().flatten().filter_map(|(rule, _)| rule.split_once('/'));
    let rules = rules.map(|(_, rule)| path(&alarm, "rules", rule));
    for path in std::iter::once(trigger).chain(rules) {
        let (status, _) = ask(shared, &alarm, Method::DELETE, &path).await;
        if !status.is_success() && status != StatusCode::NOT_FOUND {
            tracing::warn!(path, %status, "what was to go with an alarm is still there");
        }
    }
    Ok(())
}

fn path(alarm: &Alarm, collection: &str, name: &str) -> String {
    format!("/api/v1/namespaces/{}/{collection}/{}", encoded(alarm.namespace.as_str()), encoded(name))
}

/// Asks the API as the alarm's owner.
async fn ask(shared: &Arc<Shared>, alarm: &Alarm, method: Method, path: &str) -> (StatusCode, Value) {
    let tenant = Some(alarm.namespace.clone());
    let owner = Principal::Key { id: ALARMS.into(), role: Role::Manage, tenant };
    let request = Request::builder().method(method).uri(path).extension(owner).body(Body::empty());
    let Ok(request) = request else { return (StatusCode::BAD_REQUEST, Value::Null) };
    let response = Box::pin(routes::handle(shared, request)).await;
    let status = response.status();
    let bytes = response.into_body().collect(MOST).await.unwrap_or_default();
    (status, serde_json::from_slice(&bytes).unwrap_or_default())
}

//! What sequences and conductors are made of.
//!
//! Steps are made on behalf of the namespace for which the flow's own record is filed, and count as one call.

use crate::{
    Shared,
    caller::Caller,
    entities::{Resolved, Right},
    invoke::{Context, Made, handed_down},
    outcome::{Code, Ending},
    wire::name::FullName,
};
use async_trait::async_trait;
use bytes::Bytes;
use http::StatusCode;
use serde_json::Value;
use std::{
    sync::{Arc, Weak},
    time::Duration,
};
use xebec_core::Tenant;
use xebec_flows::{Done, Ended, Nested, Refused, Run, Step, Steps, Trouble, Wanted, Words};

/// What a conductor's field is that names the next action.
const ACTION: &str = "action";

const SEQUENCE_TOO_LONG: &str = "Too many actions in the sequence.";
const COMPOSITION_TOO_LONG: &str = "Too many actions in the composition.";
const NO_COMPONENT: &str = "Sequence component does not exist.";

/// Tells flows what their steps are. The door goes first when the server ends.
pub(crate) struct OfDoor(pub(crate) Weak<Shared>);

#[async_trait]
impl Steps for OfDoor {
    async fn step(&self, run: &Run<'_>, wanted: Wanted<'_>, input: Bytes) -> Result<Step, Refused> {
        let shared = self.shared()?;
        let namespace = namespace_of(run);
        let (caller, transaction) = handed_down(&namespace, run.headers);
        let found = resolved(&shared, run, wanted)?;
        let limits = shared.limits(&namespace);
        let arguments = found.calls.defaults.merged(&input).map_err(|malformed| Refused(malformed.0))?;
        let keep = run.called.note.as_ref().is_some_and(|note| note.filed.is_some());
        let context = Context {
            caller: &caller,
            transaction: &transaction,
            part: true,
            keep: keep.then(|| limits.result_bytes()),
        };
        let (ready, nested) = match (wanted, found.calls.made) {
            (Wanted::Conductor(_), _) => (found.calls.ready_code(&context, arguments), Nested::No),
            (_, Made::Code) => (found.calls.ready(&context, arguments), Nested::No),
            (_, Made::Sequence) => (found.calls.ready(&context, arguments), Nested::Chain),
            (_, Made::Conductor) => (found.calls.ready(&context, arguments), Nested::Conductor),
        };
        Ok(Step {
            function: ready.function,
            revision: None,
            principal: ready.principal,
            request: ready.request,
            note: ready.note,
            timeout: None,
            memory_bytes: found.action.limits.memory << 20,
            nested,
        })
    }

    fn read(&self, run: &Run<'_>, wanted: Wanted<'_>, done: Done<'_>) -> Ended {
        let ending = match done {
            Done::Answered { remarks, body, .. } => Ending::answered(remarks, body.clone()),
            Done::Failed(error) => Ending::failed(error, self.timeout(run, wanted)),
        };
        Ended { error: ending.code() != Code::Success, outcome: ending.outcome, body: ending.result }
    }

    fn words(&self) -> Words {
        Words { next: ACTION, input: "params", state: "state", boxed: "value", error: "error" }
    }

    fn sentence(&self, trouble: Trouble) -> String {
        match trouble {
            Trouble::LongChain(_) => SEQUENCE_TOO_LONG.to_owned(),
            Trouble::LongConduct(_) | Trouble::TooManyCalls(_) => COMPOSITION_TOO_LONG.to_owned(),
            Trouble::OutOfTime(limit) => {
                format!("The action exceeded its time limits of {} milliseconds.", limit.as_millis())
            }
        }
    }
}

impl OfDoor {
    fn shared(&self) -> Result<Arc<Shared>, Refused> {
        self.0.upgrade().ok_or_else(|| Refused("The server is stopping.".to_owned()))
    }

    fn timeout(&self, run: &Run<'_>, wanted: Wanted<'_>) -> Option<Duration> {
        let found = resolved(&*self.shared().ok()?, run, wanted).ok()?;
        Some(Duration::from_millis(found.action.limits.timeout))
    }
}

/// On whose behalf a flow runs.
fn namespace_of(run: &Run<'_>) -> Tenant {
    let filed = run.called.note.as_ref().and_then(|note| note.filed.as_ref());
    filed.map_or_else(|| run.called.function.tenant.clone(), |filed| filed.tenant.clone())
}

/// The binding that a flow was called through.
fn binding_of(run: &Run<'_>) -> Option<(Tenant, String)> {
    let note = run.called.note.as_ref()?;
    let (namespace, package) = note.details.get("binding")?.as_str()?.split_once('/')?;
    Some((Tenant::new(namespace), package.to_owned()))
}

/// What a step's name leads to.
fn resolved(shared: &Shared, run: &Run<'_>, wanted: Wanted<'_>) -> Result<Arc<Resolved>, Refused> {
    let namespace = namespace_of(run);
    let (caller, _) = handed_down(&namespace, run.headers);
    let find = |name: FullName| shared.entities.resolve(&caller, &name, Right::Call);
    match wanted {
        Wanted::Link(text) => {
            let name = FullName::parse(text).ok_or_else(|| Refused(NO_COMPONENT.to_owned()))?;
            find(name.resolved(&namespace)).map_err(|rejection| {
                let gone = rejection.status == StatusCode::NOT_FOUND;
                Refused(if gone { NO_COMPONENT.to_owned() } else { rejection.message.into_owned() })
            })
        }
        // Whoever may call the flow may call its own code, by the name that they called the flow by.
        Wanted::Conductor(text) => {
            let name = FullName::parse(text).ok_or_else(|| Refused(NO_COMPONENT.to_owned()))?;
            let found = match binding_of(run) {
                Some((namespace, package)) => find(FullName::packaged(&namespace, &package, &name.name)),
                None => shared.entities.resolve(&Caller::owner(&name.namespace), &name, Right::Call),
            };
            found.map_err(|rejection| Refused(rejection.message.into_owned()))
        }
        Wanted::Next(said) => {
            let invalid = || {
                let sentence =
                    format!("Failed to parse action name from json value {said} during composition.");
                Refused(sentence)
            };
            let name = next_name(said, &namespace).ok_or_else(invalid)?;
            find(name.clone()).map_err(|rejection| {
                Refused(match rejection.status {
                    StatusCode::FORBIDDEN => {
                        format!("Failed entitlement check for action with name '{name}' during composition.")
                    }
                    _ => format!("Failed to resolve action with name '{name}' during composition."),
                })
            })
        }
    }
}

/// The name that a conductor says: whole with a slash before it, else within the caller's namespace.
fn next_name(said: &Value, namespace: &Tenant) -> Option<FullName> {
    let text = said.as_str()?;
    let name = match text.strip_prefix('/') {
        Some(whole) => FullName::parse(whole),
        None => FullName::parse(&format!("{namespace}/{text}")),
    };
    name.map(|name| name.resolved(namespace))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn conductors_name_actions_as_their_caller_would() {
        let ns = Tenant::new("guest");
        let name = |said: Value| next_name(&said, &ns).map(|name| name.to_string());
        assert_eq!(name(json!("a")).as_deref(), Some("guest/a"));
        assert_eq!(name(json!("pkg/a")).as_deref(), Some("guest/pkg/a"));
        assert_eq!(name(json!("/_/a")).as_deref(), Some("guest/a"));
        assert_eq!(name(json!("/whisk.system/utils/echo")).as_deref(), Some("whisk.system/utils/echo"));
        for bad in [
            json!(""),
            json!("/"),
            json!("/a"),
            json!("a/b/c"),
            json!(1),
            json!({"name": "a"}),
            json!("/a/b/c/d"),
        ] {
            assert_eq!(name(bad.clone()), None, "{bad}");
        }
    }
}

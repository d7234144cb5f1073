//! Activations as clients see them.

use super::details::Details;
use crate::{
    outcome::{Code, Ending},
    wire::limits::ActionLimits,
};
use jiff::Timestamp;
use serde::{Serialize, Serializer, ser::SerializeMap as _};
use serde_json::{Value, json};
use xebec_core::{
    InvocationId, Outcome, Tenant, invocation::Timing, outcome::FunctionFault, record::InvocationRecord,
};

/// The id of a call, as activations have it.
pub(crate) fn activation_id(id: &InvocationId) -> String {
    id.0.simple().to_string()
}

/// One call, whole or in a list.
#[derive(Clone, Debug)]
pub(crate) struct Activation {
    pub(crate) id: InvocationId,
    /// Whose list it is in.
    pub(crate) namespace: Tenant,
    pub(crate) details: Details,
    pub(crate) received: Timestamp,
    pub(crate) timing: Timing,
    pub(crate) cause: Option<InvocationId>,
    pub(crate) ending: Ending,
    pub(crate) logs: Vec<String>,
}

impl Activation {
    /// Of a record that is filed for `namespace`; without what it printed.
    pub(crate) fn of(record: &InvocationRecord, namespace: Tenant) -> Self {
        let details = Details::of(record);
        let ending = Ending::recorded(record, details.timeout());
        let logs = match &details {
            Details { fired: Some(fired), .. } => fired.clone(),
            Details { components, .. } => components.iter().map(ToString::to_string).collect(),
        };
        Self {
            id: record.id,
            namespace,
            details,
            received: record.received,
            timing: record.timing,
            cause: record.noted.as_ref().and_then(|noted| noted.cause),
            ending,
            logs,
        }
    }

    /// It has logs of its own: it is not made of others.
    pub(crate) fn prints(&self) -> bool {
        let made_of_others = self.details.topmost.is_some();
        self.details.fired.is_none() && !made_of_others
    }

    /// Its start is when it was accepted, so that lists sort and select by it.
    fn start(&self) -> i64 {
        self.received.as_millisecond()
    }

    fn end(&self) -> i64 {
        let took = self.timing.wait_us.saturating_add(self.timing.run_us);
        self.start().saturating_add(i64::try_from(took / 1000).unwrap_or(i64::MAX))
    }

    /// What it took, initialising included and waiting not; of what is made of others, what these took.
    fn duration(&self) -> u64 {
        let own = self.timing.init_us.saturating_add(self.timing.run_us) / 1000;
        self.details.duration_ms.unwrap_or(own)
    }

    /// Triggers fire, they do not run.
    fn runs(&self) -> bool {
        self.details.fired.is_none()
    }

    fn annotations(&self) -> Vec<Value> {
        let details = &self.details;
        let mut annotations = Vec::with_capacity(8);
        let mut add = |key: &str, value: Value| annotations.push(json!({ "key": key, "value": value }));
        if !self.runs() {
            return annotations;
        }
        add("path", details.path.as_str().into());
        if let Some(kind) = &details.kind {
            add("kind", kind.as_str().into());
        }
        if let Some(limits) = &details.limits {
            let megabytes = details.memory.map(|bytes| bytes >> 20).filter(|megabytes| *megabytes > 0);
            add("limits", json!(ActionLimits { memory: megabytes.unwrap_or(limits.memory), ..*limits }));
        }
        let waited = self.timing.wait_us.saturating_sub(self.timing.init_us);
        add("waitTime", (waited / 1000).into());
        match details.topmost {
            Some(topmost) => add("topmost", topmost.into()),
            None => {
                let fault = self.ending.outcome;
                let out_of_time = matches!(fault, Outcome::FunctionError(FunctionFault::Timeout(_)));
                add("timeout", out_of_time.into());
            }
        }
        // What is made of others is not initialised itself.
        if self.timing.init_us > 0 && details.topmost.is_none() {
            add("initTime", (self.timing.init_us / 1000).into());
        }
        if self.cause.is_some() {
            add("causedBy", "sequence".into());
        }
        if details.conductor {
            add("conductor", true.into());
        }
        if let Some(binding) = &details.binding {
            add("binding", binding.as_str().into());
        }
        annotations
    }

    fn fields<S: SerializeMap>(&self, map: &mut S) -> Result<(), S::Error> {
        map.entry("namespace", &self.namespace)?;
        map.entry("name", self.details.name())?;
        let version = self.details.version.as_str();
        map.entry("version", if version.is_empty() { "0.0.1" } else { version })?;
        map.entry("publish", &false)?;
        map.entry("annotations", &self.annotations())?;
        map.entry("activationId", &activation_id(&self.id))?;
        map.entry("start", &self.start())?;
        if self.runs() {
            map.entry("end", &self.end())?;
            map.entry("duration", &self.duration())?;
        }
        if let Some(cause) = &self.cause {
            map.entry("cause", &activation_id(cause))?;
        }
        Ok(())
    }

    /// As lists show it.
    pub(crate) fn summary(&self) -> Summary<'_> {
        Summary(self)
    }

    /// What it answered.
    pub(crate) fn response(&self) -> Response<'_> {
        Response(&self.ending)
    }
}

/// What the fields of an object are written to.
trait SerializeMap {
    type Error;
    fn entry<T: Serialize + ?Sized>(&mut self, key: &str, value: &T) -> Result<(), Self::Error>;
}

impl<S: serde::ser::SerializeMap> SerializeMap for S {
    type Error = S::Error;

    fn entry<T: Serialize + ?Sized>(&mut self, key: &str, value: &T) -> Result<(), S::Error> {
        self.serialize_entry(key, value)
    }
}

impl Serialize for Activation {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut map = to.serialize_map(None)?;
        self.fields(&mut map)?;
        map.entry("subject", &self.details.subject)?;
        map.entry("response", &self.response())?;
        map.entry("logs", &self.logs)?;
        map.end()
    }
}

/// An activation as lists show it.
pub(crate) struct Summary<'a>(&'a Activation);

impl Serialize for Summary<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut map = to.serialize_map(None)?;
        self.0.fields(&mut map)?;
        if self.0.runs() {
            map.entry("statusCode", &(self.0.ending.code() as u8))?;
        }
        map.end()
    }
}

/// `response` of an activation.
pub(crate) struct Response<'a>(&'a Ending);

impl Serialize for Response<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let code = self.0.code();
        let mut map = to.serialize_map(None)?;
        map.entry("result", &self.0.raw())?;
        if let Some(size) = self.0.size {
            map.entry("size", &size)?;
        }
        map.entry("status", code.status())?;
        map.entry("success", &(code == Code::Success))?;
        map.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use xebec_core::{
        FunctionKey,
        record::{Filed, Noted},
    };

    fn record(outcome: Outcome, details: Value, answer: &'static str) -> InvocationRecord {
        InvocationRecord {
            id: "01970000-0000-7000-8000-00000000abcd".parse().unwrap(),
            function: FunctionKey::new(&Tenant::new("ns"), "openwhisk", "pkg/hello"),
            revision: None,
            instance: None,
            received: Timestamp::from_millisecond(1_700_000_000_000).unwrap(),
            timing: Timing {
                cold: true,
                wait_us: 30_000,
                init_us: 20_000,
                first_byte_us: 4000,
                run_us: 5000,
            },
            outcome,
            status: Some(200),
            message: None,
            request_bytes: 2,
            response_bytes: answer.len() as u64,
            attempt: 0,
            noted: Some(Box::new(Noted {
                filed: Some(Filed { tenant: Tenant::new("guest"), name: "pkg/hello".into() }),
                cause: None,
                details,
                answer: Bytes::from_static(answer.as_bytes()),
            })),
        }
    }

    fn wire(record: &InvocationRecord) -> (Value, Value) {
        let activation = Activation::of(record, Tenant::new("guest"));
        (
            json!(activation.summary()),
            serde_json::from_str(&serde_json::to_string(&activation).unwrap()).unwrap(),
        )
    }

    fn annotation<'a>(activation: &'a Value, key: &str) -> Option<&'a Value> {
        let annotations = activation["annotations"].as_array().unwrap();
        annotations.iter().find(|annotation| annotation["key"] == key).map(|annotation| &annotation["value"])
    }

    #[test]
    fn a_record_becomes_an_activation() {
        let details = json!({
            "subject": "guest", "path": "ns/pkg/hello", "version": "0.0.3", "kind": "nodejs:20",
            "limits": {"timeout": 60000, "memory": 256, "logs": 10, "concurrency": 1}, "binding": "guest/mine",
        });
        let (summary, whole) = wire(&record(Outcome::Success, details, r#"{"a":1.0}"#));
        for both in [&summary, &whole] {
            assert_eq!(both["namespace"], "guest");
            assert_eq!(both["name"], "hello");
            assert_eq!(both["version"], "0.0.3");
            assert_eq!(both["publish"], false);
            assert_eq!(both["activationId"], "0197000000007000800000000000abcd");
            assert_eq!(both["start"], 1_700_000_000_000_i64);
            assert_eq!(both["end"], 1_700_000_000_035_i64);
            assert_eq!(both["duration"], 25, "initialising counts, waiting does not");
            assert_eq!(annotation(both, "path"), Some(&json!("ns/pkg/hello")));
            assert_eq!(annotation(both, "kind"), Some(&json!("nodejs:20")));
            assert_eq!(annotation(both, "waitTime"), Some(&json!(10)));
            assert_eq!(annotation(both, "initTime"), Some(&json!(20)));
            assert_eq!(annotation(both, "timeout"), Some(&json!(false)));
            assert_eq!(annotation(both, "binding"), Some(&json!("guest/mine")));
            assert_eq!(annotation(both, "limits").unwrap()["memory"], 256);
            assert_eq!(annotation(both, "causedBy"), None);
            assert!(both.get("cause").is_none());
        }
        assert_eq!(summary["statusCode"], 0);
        assert!(summary.get("response").is_none() && summary.get("logs").is_none());
        assert!(whole.get("statusCode").is_none());
        let response = json!({"result": {"a": 1.0}, "size": 9, "status": "success", "success": true});
        assert_eq!(whole["response"], response);
        assert_eq!((&whole["logs"], &whole["subject"]), (&json!([]), &json!("guest")));
    }

    #[test]
    fn what_is_made_of_others_tells_of_them() {
        let details = json!({
            "path": "ns/seq", "kind": "sequence", "topmost": true, "components": ["a1", "b2"], "duration_ms": 70,
            "memory": 512 << 20, "limits": {"timeout": 60000, "memory": 256, "logs": 10, "concurrency": 1},
        });
        let mut record = record(Outcome::ApplicationError, details, r#"{"error":"no"}"#);
        record.noted.as_mut().unwrap().cause = Some(record.id);
        record.timing.init_us = 0;
        let (summary, whole) = wire(&record);
        assert_eq!((&summary["statusCode"], &whole["duration"]), (&json!(1), &json!(70)));
        assert_eq!(whole["logs"], json!(["a1", "b2"]));
        assert_eq!(whole["cause"], whole["activationId"]);
        assert_eq!(whole["response"]["success"], false);
        assert_eq!(annotation(&whole, "topmost"), Some(&json!(true)));
        assert_eq!(annotation(&whole, "causedBy"), Some(&json!("sequence")));
        assert_eq!(annotation(&whole, "limits").unwrap()["memory"], 512);
        assert_eq!((annotation(&whole, "initTime"), annotation(&whole, "timeout")), (None, None));
        assert!(!Activation::of(&record, Tenant::new("guest")).prints());
    }

    #[test]
    fn triggers_have_no_end() {
        let details = json!({"path": "ns/t", "version": "0.0.1", "fired": ["{\"rule\":\"ns/r\"}"]});
        let (summary, whole) = wire(&record(Outcome::Success, details, "{}"));
        for both in [&summary, &whole] {
            assert!(
                both.get("end").is_none()
                    && both.get("duration").is_none()
                    && both.get("statusCode").is_none()
            );
            assert_eq!(both["annotations"], json!([]));
        }
        assert_eq!(whole["logs"], json!(["{\"rule\":\"ns/r\"}"]));
    }

    #[test]
    fn a_record_without_details_is_one_all_the_same() {
        let mut bare =
            record(Outcome::PlatformError(xebec_core::outcome::PlatformFault::Internal), Value::Null, "");
        bare.message = Some("the server ended while it ran".to_owned());
        let (summary, whole) = wire(&bare);
        assert_eq!((&summary["statusCode"], &summary["name"]), (&json!(3), &json!("hello")));
        assert_eq!(whole["response"]["result"], json!({"error": "the server ended while it ran"}));
        assert_eq!(whole["version"], "0.0.1");
    }
}

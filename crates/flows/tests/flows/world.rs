//! A toy engine and a toy door. Functions are closures over JSON; flows are called as the real engine calls
//! them; every call has a record.

use crate::storage::{Disk, Machine, MemoryRecords, MemoryStore};
use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use jiff::Timestamp;
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::{
    collections::HashMap,
    sync::{Arc, Weak},
    time::Duration,
};
use xebec_core::{
    Answer, Body, Digest, FunctionKey, Invocation, InvocationId, InvokeError, Outcome, Tenant,
    auth::Principal,
    invocation::{Called, Timing},
    outcome::{FunctionFault, PlatformFault},
    ports::{builtin::Builtin, instance::InstanceId, invoker::Invoker},
    record::{InvocationRecord, Note, Noted, Remarks},
    rules::hops,
};
use xebec_flows::{
    Bounds, Done, Ended, Flows, Journal, JournalOptions, Nested, Ports, Refused, Run, Step, Steps, Trouble,
    Wanted, Words,
};

/// What a function makes of its input.
pub type Code = Arc<dyn Fn(Value) -> Result<Value, Outcome> + Send + Sync>;

#[derive(Clone)]
enum Function {
    Plain(Code),
    /// One that never answers.
    Hangs,
    Chain(Vec<String>),
    Conduct(String),
}

/// A call that reached a function, a flow or not.
#[derive(Clone, Debug)]
pub struct Seen {
    pub name: String,
    pub id: InvocationId,
    pub input: Value,
    pub headers: HeaderMap,
    pub cause: Option<InvocationId>,
}

/// The toy engine.
pub struct Engine {
    machine: Arc<Machine>,
    pub records: Arc<MemoryRecords>,
    functions: Mutex<HashMap<String, Function>>,
    flows: Mutex<Option<Flowing>>,
    pub seen: Mutex<Vec<Seen>>,
    /// How many calls run.
    pub running: Mutex<usize>,
}

#[derive(Clone)]
struct Flowing {
    chain: Arc<dyn Builtin>,
    conduct: Arc<dyn Builtin>,
}

pub struct World {
    pub disk: Arc<Disk>,
    pub engine: Arc<Engine>,
    pub journal: Arc<Journal>,
}

pub fn key(name: &str) -> FunctionKey {
    FunctionKey::new(&Tenant::default(), "toy", name)
}

impl World {
    /// A server that has just started, by way of a machine, over what a disk holds. Must be made within the
    /// async runtime.
    pub fn on(disk: &Arc<Disk>, machine: &Arc<Machine>, bounds: Bounds, options: JournalOptions) -> Self {
        let records = MemoryRecords::new(disk.clone(), machine.clone());
        let store = Arc::new(MemoryStore(disk.clone(), machine.clone()));
        let journal = Journal::new(store, records.clone(), options);
        let engine = Arc::new(Engine {
            machine: machine.clone(),
            records,
            functions: Mutex::default(),
            flows: Mutex::default(),
            seen: Mutex::default(),
            running: Mutex::default(),
        });
        let ports = Ports { invoker: Arc::new(ToEngine(Arc::downgrade(&engine))), journal: journal.clone() };
        let flows = Flows::new(ports, Arc::new(Toy(Arc::downgrade(&engine))), bounds);
        *engine.flows.lock() = Some(Flowing { chain: flows.chain(), conduct: flows.conduct() });
        Self { disk: disk.clone(), engine, journal }
    }

    pub fn with(bounds: Bounds) -> Self {
        Self::on(&Arc::default(), &Machine::sound(), bounds, soon())
    }

    pub fn new() -> Self {
        Self::with(Bounds::default())
    }

    pub fn plain(&self, name: &str, body: impl Fn(Value) -> Value + Send + Sync + 'static) {
        self.deploy(name, Function::Plain(Arc::new(move |input| Ok(body(input)))));
    }

    pub fn failing(&self, name: &str, outcome: Outcome) {
        self.deploy(name, Function::Plain(Arc::new(move |_| Err(outcome))));
    }

    pub fn hanging(&self, name: &str) {
        self.deploy(name, Function::Hangs);
    }

    pub fn chain(&self, name: &str, steps: &[&str]) {
        self.deploy(name, Function::Chain(steps.iter().map(|step| (*step).to_owned()).collect()));
    }

    /// A conductor's flow and its code, which is called by the flow's name with a `!`.
    pub fn conductor(&self, name: &str, code: impl Fn(Value) -> Value + Send + Sync + 'static) {
        self.plain(&format!("{name}!"), code);
        self.deploy(name, Function::Conduct(format!("{name}!")));
    }

    fn deploy(&self, name: &str, function: Function) {
        self.engine.functions.lock().insert(name.to_owned(), function);
    }

    pub fn flows(&self) -> (Arc<dyn Builtin>, Arc<dyn Builtin>) {
        let flows = self.engine.flows.lock().clone().unwrap();
        (flows.chain, flows.conduct)
    }

    pub async fn call(&self, name: &str, input: Value) -> Result<Came, Box<InvokeError>> {
        let (id, answered) = self.call_as(name, input).await;
        let (parts, body) = answered?.response.into_parts();
        let body = body.collect(1 << 30).await.unwrap();
        let remarks = parts.extensions.get::<Remarks>().cloned().unwrap_or_default();
        Ok(Came { id, value: serde_json::from_slice(&body).unwrap(), remarks })
    }

    /// Calls with a note, and tells the id whatever comes of it.
    pub async fn call_as(
        &self,
        name: &str,
        input: Value,
    ) -> (InvocationId, Result<Answer, Box<InvokeError>>) {
        let request = Request::post("/").body(Body::full(input.to_string())).unwrap();
        let mut invocation = Invocation::new(key(name), Principal::Local, request);
        invocation.note = Some(Arc::new(Note { details: json!({ "kind": "outermost" }), ..Note::default() }));
        (invocation.id, self.engine.invoke(invocation).await)
    }

    /// The names of what was called, flows left out.
    pub fn called(&self) -> Vec<String> {
        let functions = self.engine.functions.lock();
        let plain = |name: &&String| matches!(functions[*name], Function::Plain(_) | Function::Hangs);
        self.engine.seen.lock().iter().map(|seen| &seen.name).filter(plain).cloned().collect()
    }

    pub fn seen(&self, name: &str) -> Vec<Seen> {
        self.engine.seen.lock().iter().filter(|seen| seen.name == name).cloned().collect()
    }

    /// Waits until nothing is left in the journal.
    pub async fn journal_is_empty(&self) {
        until(|| self.journal.runs() == 0 && self.disk.documents.lock().is_empty()).await;
    }
}

/// What a call came to.
pub struct Came {
    pub id: InvocationId,
    pub value: Value,
    pub remarks: Remarks,
}

impl Came {
    pub fn components(&self) -> Vec<InvocationId> {
        components(&self.remarks.details)
    }

    pub fn outcome(&self) -> Outcome {
        self.remarks.outcome.unwrap()
    }
}

/// The ids that a record's details name.
pub fn components(details: &Value) -> Vec<InvocationId> {
    let ids = details.get("components").and_then(Value::as_array).cloned().unwrap_or_default();
    ids.iter().map(|id| id.as_str().unwrap().parse().unwrap()).collect()
}

/// A journal that waits for nothing longer than it must.
pub fn soon() -> JournalOptions {
    JournalOptions { every: Duration::from_millis(1), ..JournalOptions::default() }
}

pub async fn until(is: impl Fn() -> bool) {
    let waited = async {
        while !is() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), waited).await.expect("this took too long");
}

/// A call under way: however it ends, it has a record, unless the machine failed.
struct Flight<'a> {
    engine: &'a Engine,
    record: Option<InvocationRecord>,
}

impl Flight<'_> {
    fn over(&mut self, outcome: Outcome, remarks: Option<&Remarks>) {
        let Some(mut record) = self.record.take() else { return };
        record.outcome = remarks.and_then(|remarks| remarks.outcome).unwrap_or(outcome);
        if let (Some(noted), Some(remarks)) = (&mut record.noted, remarks) {
            let more = remarks.details.as_object().cloned().unwrap_or_default();
            if noted.details.is_null() {
                noted.details = json!({});
            }
            noted.details.as_object_mut().unwrap().extend(more);
        }
        self.engine.records.note(record);
        *self.engine.running.lock() -= 1;
    }
}

impl Drop for Flight<'_> {
    fn drop(&mut self) {
        self.over(Outcome::PlatformError(PlatformFault::Cancelled), None);
    }
}

struct ToEngine(Weak<Engine>);

#[async_trait]
impl Invoker for ToEngine {
    async fn invoke(&self, invocation: Invocation) -> Result<Answer, Box<InvokeError>> {
        self.0.upgrade().unwrap().invoke(invocation).await
    }
}

impl Engine {
    async fn invoke(&self, invocation: Invocation) -> Result<Answer, Box<InvokeError>> {
        let Invocation { id, function, mut request, principal, note, timeout, .. } = invocation;
        let name = function.name.to_string();
        let found = self.functions.lock().get(&name).cloned();
        let Some(found) = found else {
            return Err(Box::new(InvokeError::platform(id, PlatformFault::NotFound, "not there")));
        };
        self.machine.point().await;
        let record = as_record(id, &function, note.as_deref());
        *self.running.lock() += 1;
        let mut flight = Flight { engine: self, record: Some(record) };
        let hops = hops::hops(request.headers());
        if hops >= hops::MAX_HOPS {
            flight.over(Outcome::PlatformError(PlatformFault::Loop), None);
            return Err(Box::new(InvokeError::platform(id, PlatformFault::Loop, "too deep")));
        }
        request.headers_mut().insert(hops::HOPS_HEADER, hops::value(hops + 1));
        let input = request.body().replay().unwrap();
        let seen = Seen {
            name: name.clone(),
            id,
            input: serde_json::from_slice(&input).unwrap_or(Value::Null),
            headers: request.headers().clone(),
            cause: note.as_ref().and_then(|note| note.cause),
        };
        let read = seen.input.clone();
        self.seen.lock().push(seen);
        let called = Called { id, function, principal, note };
        let answer = self.run(found, called, request, read);
        let answer = match tokio::time::timeout(timeout.unwrap_or(Duration::MAX), answer).await {
            Ok(answer) => answer,
            Err(_) => Err(Outcome::FunctionError(FunctionFault::Timeout(xebec_core::limits::Clock::Run))),
        };
        self.machine.point().await;
        let response = match answer {
            Ok(response) => response,
            Err(outcome) => {
                flight.over(outcome, None);
                return Err(Box::new(InvokeError::new(id, outcome, format!("it ended as {outcome}"))));
            }
        };
        flight.over(Outcome::Success, response.extensions().get::<Remarks>());
        let timing = Timing { init_us: 2_000, first_byte_us: 3_000, wait_us: 9_000_000, ..Timing::default() };
        Ok(Answer { response, revision: Digest::of(&name), instance: InstanceId("i".into()), timing })
    }

    async fn run(
        &self,
        function: Function,
        called: Called,
        request: Request<Body>,
        input: Value,
    ) -> Result<Response<Body>, Outcome> {
        let flows = self.flows.lock().clone().unwrap();
        let (builtin, settings) = match function {
            Function::Plain(body) => {
                return body(input).map(|value| Response::new(Body::full(value.to_string())));
            }
            Function::Hangs => return std::future::pending().await,
            Function::Chain(steps) => (flows.chain, json!({ "steps": steps, "door": "its own" })),
            Function::Conduct(with) => (flows.conduct, json!({ "with": with })),
        };
        builtin.check(&settings).unwrap();
        let answer = builtin.call(called, &settings, request).await;
        answer.map_err(|_| Outcome::PlatformError(PlatformFault::Overloaded))
    }
}

fn as_record(id: InvocationId, function: &FunctionKey, note: Option<&Note>) -> InvocationRecord {
    InvocationRecord {
        id,
        function: function.clone(),
        revision: None,
        instance: None,
        received: Timestamp::now(),
        timing: Timing::default(),
        outcome: Outcome::Success,
        status: None,
        message: None,
        request_bytes: 0,
        response_bytes: 0,
        attempt: 0,
        noted: note.map(|note| Box::new(Noted::from(note.clone()))),
    }
}

/// A toy door: names are functions' names, an object with `error` is an error.
struct Toy(Weak<Engine>);

#[async_trait]
impl Steps for Toy {
    async fn step(&self, run: &Run<'_>, wanted: Wanted<'_>, input: Bytes) -> Result<Step, Refused> {
        let name = match wanted {
            Wanted::Link(name) | Wanted::Conductor(name) => name,
            Wanted::Next(next) => next.as_str().ok_or_else(|| Refused(format!("{next} is no name")))?,
        };
        let found = self.0.upgrade().unwrap().functions.lock().get(name).cloned();
        let nested = match found {
            None => return Err(Refused(format!("there is no {name}"))),
            Some(Function::Chain(_)) => Nested::Chain,
            Some(Function::Conduct(_)) => Nested::Conductor,
            Some(Function::Plain(_) | Function::Hangs) => Nested::No,
        };
        Ok(Step {
            function: key(name),
            revision: None,
            principal: run.called.principal.clone(),
            request: Request::post("/").body(Body::full(input)).unwrap(),
            note: Note { details: json!({ "kind": "step" }), ..Note::default() },
            timeout: None,
            memory_bytes: if name.starts_with("big") { 512 } else { 128 },
            nested,
        })
    }

    fn read(&self, _: &Run<'_>, _: Wanted<'_>, done: Done<'_>) -> Ended {
        match done {
            Done::Answered { remarks, body, .. } => {
                let value: Value = serde_json::from_slice(body).unwrap();
                let error = value.get("error").is_some();
                let usual = if error { Outcome::ApplicationError } else { Outcome::Success };
                let outcome = remarks.and_then(|remarks| remarks.outcome).unwrap_or(usual);
                Ended { body: body.clone(), error: error || !outcome.is_success(), outcome }
            }
            Done::Failed(error) => {
                let body = json!({ "error": error.message }).to_string().into();
                Ended { body, error: true, outcome: error.outcome }
            }
        }
    }

    fn words(&self) -> Words {
        Words { next: "next", input: "with", state: "state", boxed: "value", error: "error" }
    }

    fn sentence(&self, trouble: Trouble) -> String {
        format!("{trouble:?}")
    }
}

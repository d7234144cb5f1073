//! What a front door tells of the steps of its flows.

use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode};
use serde_json::Value;
use std::time::Duration;
use xebec_core::{
    Body, Digest, FunctionKey, InvokeError, Outcome,
    auth::Principal,
    invocation::Called,
    record::{Note, Remarks},
};

/// What a front door tells of the steps of its flows.
///
/// For each step of a run: [`step`](Steps::step) says what to call, the flow calls it, and
/// [`read`](Steps::read) says what the answer means. In between the door keeps nothing: all it needs to know of
/// the run is in [`Run`].
///
/// What travels from step to step is JSON text. A door that has nothing to add to it hands the bytes on.
#[async_trait]
pub trait Steps: Send + Sync {
    /// What to call for a step, and with what: resolves the name on behalf of the run's principal, merges
    /// `input` (the run's own body for the first step, the result of the step before for the others) with what
    /// is set for the function, makes the request with its headers, and the note for the step's record. Does
    /// not wait for anything slow: it is called once per step, on the way of the call.
    ///
    /// The flow itself sets the step's id, [`Note::cause`], the header that counts the calls that led here, and
    /// the trace context.
    ///
    /// # Errors
    /// [`Refused`] where it cannot be called. A chain ends with it; a conductor is told, and may go on.
    async fn step(&self, run: &Run<'_>, wanted: Wanted<'_>, input: Bytes) -> Result<Step, Refused>;

    /// What a step's answer means.
    fn read(&self, run: &Run<'_>, wanted: Wanted<'_>, done: Done<'_>) -> Ended;

    /// By which words a conductor speaks.
    fn words(&self) -> Words;

    /// The sentence for something that went wrong in the flow itself.
    fn sentence(&self, trouble: Trouble) -> String;
}

/// The run of a flow, as its door gets to know it.
#[derive(Clone, Copy, Debug)]
pub struct Run<'a> {
    /// The call that it is: id, function, on whose behalf, and the note that came with it.
    pub called: &'a Called,
    /// The headers that the flow was called with.
    pub headers: &'a HeaderMap,
    /// What the flow was told when it was deployed, the door's own fields included.
    pub settings: &'a Value,
}

/// Which step is wanted.
#[derive(Clone, Copy, Debug)]
pub enum Wanted<'a> {
    /// The step of a chain, by its name in [`crate::chain::Settings::steps`].
    Link(&'a str),
    /// The conductor itself, by its name in [`crate::conduct::Settings::with`]: its code, not the flow.
    Conductor(&'a str),
    /// What a conductor asked for, as it said it: mostly text.
    Next(&'a Value),
}

/// A step that is to be called.
#[derive(Debug)]
pub struct Step {
    /// Which function.
    pub function: FunctionKey,
    /// A revision in particular.
    pub revision: Option<Digest>,
    /// On whose behalf: mostly that of the run, [`Called::principal`].
    pub principal: Principal,
    /// What it is called with, as [`xebec_core::Invocation::request`].
    pub request: Request<Body>,
    /// What is kept with its record; the flow fills in the cause.
    pub note: Note,
    /// How long it may take in all, waiting for a slot included; `None`: as long as its own clocks and the run
    /// have left.
    pub timeout: Option<Duration>,
    /// The memory that it may use; the flow's record tells the largest.
    pub memory_bytes: u64,
    /// Whether it is a flow itself.
    pub nested: Nested,
}

/// Whether a step is a flow itself: what is counted together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Nested {
    /// It is not.
    #[default]
    No,
    /// A chain: its steps count among those of the chain that it is a step of.
    Chain,
    /// A conductor: its steps count among those of the conductor that it is a step of.
    Conductor,
}

/// Why a step is not called: a sentence, which becomes the step's result as an error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused(pub String);

/// How a step's call ended.
#[derive(Clone, Copy, Debug)]
pub enum Done<'a> {
    /// It answered.
    Answered {
        /// With which status; for contracts without one, 200.
        status: StatusCode,
        /// With which headers.
        headers: &'a HeaderMap,
        /// What its contract, or the code itself where it is part of the server, says beside the bytes.
        remarks: Option<&'a Remarks>,
        /// All of its body.
        body: &'a Bytes,
    },
    /// It did not.
    Failed(&'a InvokeError),
}

/// What a step's answer means.
#[derive(Clone, Debug, PartialEq)]
pub struct Ended {
    /// The step's result, JSON text: the next step's input, or the flow's answer.
    pub body: Bytes,
    /// It is an error: a chain ends with it. A conductor is told of all but [`Outcome::PlatformError`], with
    /// which it ends.
    pub error: bool,
    /// The flow's outcome, should it end with this.
    pub outcome: Outcome,
}

/// By which words a conductor speaks: the fields of the JSON object that it answers with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Words {
    /// What to call next; without it the flow ends.
    pub next: &'static str,
    /// What to call it with; without it an empty object. Where the flow ends: its result; without it all that
    /// the conductor answered.
    pub input: &'static str,
    /// What to lay over the next input of the conductor.
    pub state: &'static str,
    /// The field in which an input that is no object is boxed. A state that is no object is boxed in
    /// [`Words::state`].
    pub boxed: &'static str,
    /// The field in which the conductor, or the caller, is told what went wrong.
    pub error: &'static str,
}

/// What goes wrong in a flow itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// A chain has more steps than this, those of nested chains included.
    LongChain(u32),
    /// A conductor asked for more steps than this, or was asked so often, nested ones included.
    LongConduct(u32),
    /// The calls of a flow and of all that is nested in it are more than this.
    TooManyCalls(u32),
    /// It took longer than this in all.
    OutOfTime(Duration),
}

/// Steps as a record names them.
pub(crate) fn components(steps: &[xebec_core::InvocationId]) -> Value {
    steps.iter().map(|id| Value::String(id.0.simple().to_string())).collect()
}

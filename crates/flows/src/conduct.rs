//! Conductors: a function that says what to call next, and is called again with what came of it.

use crate::{
    counts::Counts,
    flows::Flows,
    session::Session,
    settings,
    steps::{Ended, Nested, Refused, Run, Trouble, Wanted, Words},
};
use async_trait::async_trait;
use bytes::Bytes;
use http::{Request, Response};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::sync::Arc;
use xebec_core::{Body, Error, Outcome, invocation::Called, ports::builtin::Builtin};

/// What a conductor's flow is told when it is deployed, as JSON:
///
/// ```json
/// { "with": "/ns/conductor" }
/// ```
///
/// Further fields are its door's own; they reach it through [`crate::Run::settings`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    /// The conductor's name, as [`crate::Steps::step`] gets it in [`crate::Wanted::Conductor`].
    pub with: String,
}

/// A conductor's flow, as code that is part of the server. It answers as [`crate::chain::Chain`] does; the
/// conductor's own runs are among its `components`.
///
/// The conductor is called with the flow's input. It answers with an object that may name what to call next,
/// what with, and a state, by the door's [`Words`]. That step is called, and then the conductor again, with the
/// step's result and the state laid over it – errors included, so that it can handle them. Where it names
/// nothing the flow ends. A step that cannot be called is an error that the conductor is told; one that the
/// platform did not get to call ends the flow.
pub struct Conduct(pub(crate) Arc<Flows>);

#[async_trait]
impl Builtin for Conduct {
    fn check(&self, settings: &Value) -> Result<(), Error> {
        let Settings { with } = settings::read(settings)?;
        if with.is_empty() {
            return Err(Error::invalid("XB1003", "with: the conductor has no name"));
        }
        Ok(())
    }

    async fn call(
        &self,
        called: Called,
        settings: &Value,
        request: Request<Body>,
    ) -> Result<Response<Body>, Error> {
        let Settings { with } = settings::read(settings)?;
        let (head, body) = request.into_parts();
        let input = settings::body(body, self.0.bounds.request_bytes).await?;
        let counts = head.extensions.get::<Counts>().cloned().unwrap_or_default();
        let run = Run { called: &called, headers: &head.headers, settings };
        let mut session = Session::begin(&self.0, run, counts, Nested::Conductor).await?;
        let ended = conduct(&mut session, &with, input).await;
        Ok(session.answer(ended))
    }
}

/// Asks the conductor and does as it says, until it says no more.
async fn conduct(session: &mut Session<'_>, with: &str, mut input: Bytes) -> Ended {
    let words = session.flows.steps.words();
    let mut state = None;
    loop {
        let said = ask(session, with, laid_over(input, state.take(), &words)).await;
        if matches!(said.outcome, Outcome::PlatformError(_)) {
            return said;
        }
        let wish = match serde_json::from_slice(&said.body) {
            Ok(Value::Object(object)) => Wish::of(object, &words),
            _ => return said,
        };
        state = wish.state;
        let Some(next) = wish.next else {
            let body = wish.input.map_or(said.body, |input| text(&Value::Object(input)));
            return Ended { body, ..said };
        };
        let ended = follow(session, &next, wish.input.unwrap_or_default()).await;
        if matches!(ended.outcome, Outcome::PlatformError(_)) {
            return ended;
        }
        input = ended.body;
    }
}

/// Calls the conductor itself.
async fn ask(session: &mut Session<'_>, with: &str, input: Bytes) -> Ended {
    let most = session.flows.bounds.steps;
    if !session.counts.asked.one_more(most.saturating_mul(2).saturating_add(1)) {
        // Without a wish in it, this ends the flow.
        return session.trouble(Trouble::LongConduct(most));
    }
    let wanted = Wanted::Conductor(with);
    match session.flows.steps.step(&session.run, wanted, input).await {
        Ok(step) => session.call(wanted, step).await,
        Err(Refused(sentence)) => refused(session, &sentence),
    }
}

/// Calls what the conductor asked for.
async fn follow(session: &mut Session<'_>, next: &Value, input: Map<String, Value>) -> Ended {
    let most = session.flows.bounds.steps;
    if session.counts.asked_for.is_at(most) {
        return session.trouble(Trouble::LongConduct(most));
    }
    let wanted = Wanted::Next(next);
    let input = text(&Value::Object(input));
    let step = match session.flows.steps.step(&session.run, wanted, input).await {
        Ok(step) => step,
        Err(Refused(sentence)) => return refused(session, &sentence),
    };
    // A conductor below this one counts by what it asks for itself.
    if step.nested != Nested::Conductor && !session.counts.asked_for.one_more(most) {
        return session.trouble(Trouble::LongConduct(most));
    }
    session.call(wanted, step).await
}

fn refused(session: &Session<'_>, sentence: &str) -> Ended {
    Ended { body: session.error(sentence), error: true, outcome: Outcome::ApplicationError }
}

/// What a conductor said.
struct Wish {
    next: Option<Value>,
    input: Option<Map<String, Value>>,
    state: Option<Map<String, Value>>,
}

impl Wish {
    fn of(mut said: Map<String, Value>, words: &Words) -> Self {
        Self {
            next: said.remove(words.next),
            input: said.remove(words.input).map(|value| boxed(value, words.boxed)),
            state: said.remove(words.state).map(|value| boxed(value, words.state)),
        }
    }
}

/// An object as it is; anything else as the one field of one.
fn boxed(value: Value, field: &str) -> Map<String, Value> {
    match value {
        Value::Object(object) => object,
        other => Map::from_iter([(field.to_owned(), other)]),
    }
}

/// The conductor's next input with its state laid over it.
fn laid_over(input: Bytes, state: Option<Map<String, Value>>, words: &Words) -> Bytes {
    let Some(state) = state else { return input };
    let value = if input.is_empty() { Value::Object(Map::new()) } else { parsed(&input) };
    let mut object = boxed(value, words.boxed);
    object.extend(state);
    text(&Value::Object(object))
}

/// What a step answered; text that is no JSON is taken as text.
fn parsed(bytes: &Bytes) -> Value {
    serde_json::from_slice(bytes).unwrap_or_else(|_| String::from_utf8_lossy(bytes).into_owned().into())
}

fn text(value: &Value) -> Bytes {
    value.to_string().into()
}

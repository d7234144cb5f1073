//! Chains: each step's result is the next one's input.

use crate::{
    counts::Counts,
    flows::Flows,
    session::Session,
    settings,
    steps::{Ended, Nested, Refused, Run, Trouble, Wanted},
};
use async_trait::async_trait;
use bytes::Bytes;
use http::{Request, Response};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::sync::Arc;
use xebec_core::{Body, Error, Outcome, invocation::Called, ports::builtin::Builtin};

/// What a chain is told when it is deployed, as JSON:
///
/// ```json
/// { "steps": ["/ns/first", "/ns/second"] }
/// ```
///
/// Further fields are its door's own; they reach it through [`crate::Run::settings`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    /// The steps' names, as [`crate::Steps::step`] gets them in [`crate::Wanted::Link`]. At least one, at most
    /// [`crate::Bounds::steps`].
    pub steps: Vec<String>,
}

/// A chain, as code that is part of the server.
///
/// It answers 200 with the last step's result, or with that of the first step that is an error, and
/// [`Remarks`](xebec_core::record::Remarks): how it ended, and as details `components` (the steps' ids as text of
/// 32 hexadecimal digits, in order), `duration_ms` (what the steps took together, without waiting for slots) and
/// `memory` (the most that one of them might use, in bytes).
pub struct Chain(pub(crate) Arc<Flows>);

#[async_trait]
impl Builtin for Chain {
    fn check(&self, settings: &Value) -> Result<(), Error> {
        let Settings { steps } = settings::read(settings)?;
        let most = self.0.bounds.steps as usize;
        if steps.is_empty() || steps.len() > most {
            let message = format!("steps: a chain has 1 to {most} of them, this one has {}", steps.len());
            return Err(Error::invalid("XB1003", message));
        }
        if steps.iter().any(String::is_empty) {
            return Err(Error::invalid("XB1003", "steps: one of them has no name"));
        }
        Ok(())
    }

    async fn call(
        &self,
        called: Called,
        settings: &Value,
        request: Request<Body>,
    ) -> Result<Response<Body>, Error> {
        let Settings { steps } = settings::read(settings)?;
        let (head, body) = request.into_parts();
        let input = settings::body(body, self.0.bounds.request_bytes).await?;
        let counts = head.extensions.get::<Counts>().cloned().unwrap_or_default();
        let run = Run { called: &called, headers: &head.headers, settings };
        let mut session = Session::begin(&self.0, run, counts, Nested::Chain).await?;
        let ended = links(&mut session, &steps, input).await;
        Ok(session.answer(ended))
    }
}

/// Calls step after step, until one is an error or there are no more.
async fn links(session: &mut Session<'_>, steps: &[String], input: Bytes) -> Ended {
    let mut last = Ended { body: input, error: false, outcome: Outcome::Success };
    for name in steps {
        last = link(session, name, last.body).await;
        if last.error {
            break;
        }
    }
    last
}

async fn link(session: &mut Session<'_>, name: &str, input: Bytes) -> Ended {
    let wanted = Wanted::Link(name);
    let most = session.flows.bounds.steps;
    if session.counts.links.is_at(most) {
        return session.trouble(Trouble::LongChain(most));
    }
    let step = match session.flows.steps.step(&session.run, wanted, input).await {
        Ok(step) => step,
        Err(Refused(sentence)) => {
            return Ended { body: session.error(&sentence), error: true, outcome: Outcome::ApplicationError };
        }
    };
    // A chain's own steps count in its place.
    if step.nested != Nested::Chain && !session.counts.links.one_more(most) {
        return session.trouble(Trouble::LongChain(most));
    }
    session.call(wanted, step).await
}

//! Mode `component`: a component in this process that answers HTTP. There is nothing to initialise: a call is
//! `POST /` with the parameters as its body, and what is answered with 200 is the result.

use super::{
    Options, Terms,
    answer::{self, Said},
    message::Read,
};
use crate::{AnswerError, Call, CallError, Opening, Session, in_process::InProcess};
use ::http::{Response, StatusCode};
use async_trait::async_trait;
use bytes::BytesMut;
use http_body_util::BodyExt as _;
use std::{sync::Arc, time::Duration};
use xebec_core::{Body, BodyError, Outcome, outcome::FunctionFault};

pub(super) fn open(opening: Opening, options: Options) -> Arc<dyn Session> {
    let terms = Terms::of(&opening, &options);
    Arc::new(Component { inner: InProcess::open(opening), terms })
}

struct Component {
    inner: Arc<dyn Session>,
    terms: Terms,
}

#[async_trait]
impl Session for Component {
    async fn call(&self, call: Call) -> Result<Response<Body>, CallError> {
        let Terms { request_bytes, run_clock, max_answer_bytes } = self.terms;
        let Call { id, slot, request } = call;
        let read = match Read::whole(request, request_bytes, id, run_clock).await {
            Ok(read) => read,
            Err(failed) => {
                slot.free();
                return Err(failed);
            }
        };
        let answered = self.inner.call(Call { id, slot, request: read.request() }).await?;
        let status = answered.status();
        let said = whole(answered.into_body(), max_answer_bytes).await.map_err(broken)?;
        match status {
            StatusCode::OK => answer::result(said, max_answer_bytes),
            status => {
                let message = format!("the action failed with status {}", status.as_u16());
                Err(answer::bad(said.bytes, message))
            }
        }
    }

    async fn close(&self, grace: Duration) {
        self.inner.close(grace).await;
    }
}

/// Reads an answer to its end, and keeps what may be kept of it.
async fn whole(mut body: Body, max_bytes: usize) -> Result<Said, BodyError> {
    let (mut kept, mut length) = (BytesMut::new(), 0);
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame?.into_data() else { continue };
        length += data.len() as u64;
        let room = max_bytes.saturating_sub(kept.len());
        kept.extend_from_slice(&data[..data.len().min(room)]);
    }
    Ok(Said { bytes: kept.freeze(), length })
}

/// An answer that broke off.
fn broken(error: BodyError) -> CallError {
    match error.downcast::<AnswerError>() {
        Ok(error) => CallError::new(error.outcome, error.message),
        Err(other) => CallError::new(Outcome::FunctionError(FunctionFault::Crash), other.to_string()),
    }
}

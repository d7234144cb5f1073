//! Counts calls that were accepted to be made later when they are made: the original's queue worker makes them
//! through its gateway, which counts them there.

use crate::{
    DOOR,
    call::follow,
    errors,
    metrics::{CallLabels, Metrics},
    names::{FUNCTION_SPACE, namespace_of},
};
use async_trait::async_trait;
use std::{sync::Arc, time::Instant};
use xebec_core::{
    Answer, FunctionKey, Invocation, InvokeError,
    function::Function,
    names::Address,
    ports::{control::Control, invoker::Invoker},
};

/// An invoker whose calls are counted as the door's own are.
pub(crate) struct Counted {
    pub(crate) control: Arc<dyn Control>,
    pub(crate) invoker: Arc<dyn Invoker>,
    pub(crate) metrics: Arc<Metrics>,
}

#[async_trait]
impl Invoker for Counted {
    async fn invoke(&self, invocation: Invocation) -> Result<Answer, Box<InvokeError>> {
        let key = invocation.function.clone();
        let Some(function) = self.counts(&key) else { return self.invoker.invoke(invocation).await };
        let address = Address::new(FUNCTION_SPACE, &key.tenant, &key.name);
        let labels = CallLabels { name: &key.name, namespace: namespace_of(&key.tenant) };
        let running = self.metrics.start(&address, labels, Instant::now());
        let running = running.of_queue(self.metrics.queues.begins(&function.policy.delivery.queue));
        match self.invoker.invoke(invocation).await {
            Ok(answer) => Ok(Answer { response: follow(answer.response, running), ..answer }),
            Err(error) => {
                running.finish(errors::call(&error, &labels, true).status().as_u16());
                Err(error)
            }
        }
    }
}

impl Counted {
    /// A function that was deployed through this door.
    fn counts(&self, key: &FunctionKey) -> Option<Arc<Function>> {
        if key.door == DOOR { self.control.peek(key) } else { None }
    }
}

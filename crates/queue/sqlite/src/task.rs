//! What the writing thread does for others.

use crate::work::Work;
use tokio::sync::oneshot;
use xebec_core::Error;
use xebec_sqlite::Fault;

/// Something to do in a transaction.
pub(crate) trait Job: Send + 'static {
    /// What whoever asked gets once it is on disk.
    type Output: Send + 'static;

    /// Does it. It may run a second time, after all it did was rolled back.
    ///
    /// Where it returns [`Fault::Refused`] it has done nothing yet, and what others did in the same transaction
    /// stands; any other fault makes the transaction void.
    fn run(&mut self, work: &mut Work<'_>) -> Result<Self::Output, Fault>;

    /// Bytes that it keeps in memory while it waits, about.
    fn bytes(&self) -> usize {
        0
    }

    /// Whether it need not be done where nobody waits for it any more.
    fn optional(&self) -> bool {
        false
    }
}

/// A job with whoever waits for it.
pub(crate) trait Task: Send {
    fn is_moot(&self) -> bool;
    fn bytes(&self) -> usize;
    fn run(&mut self, work: &mut Work<'_>) -> Result<(), Fault>;
    /// It is on disk: answers.
    fn finish(self: Box<Self>);
    /// It could not be done: answers.
    fn fail(self: Box<Self>, error: Error);
}

pub(crate) struct Pending<J: Job> {
    job: J,
    output: Option<Result<J::Output, Error>>,
    answer: Option<oneshot::Sender<Result<J::Output, Error>>>,
}

impl<J: Job> Pending<J> {
    /// Someone waits for the answer.
    pub(crate) fn new(job: J, answer: oneshot::Sender<Result<J::Output, Error>>) -> Box<Self> {
        Box::new(Self { job, output: None, answer: Some(answer) })
    }

    /// Nobody does.
    pub(crate) fn unanswered(job: J) -> Box<Self> {
        Box::new(Self { job, output: None, answer: None })
    }
}

impl<J: Job> Task for Pending<J> {
    fn is_moot(&self) -> bool {
        self.job.optional() && self.answer.as_ref().is_some_and(oneshot::Sender::is_closed)
    }

    fn bytes(&self) -> usize {
        self.job.bytes()
    }

    fn run(&mut self, work: &mut Work<'_>) -> Result<(), Fault> {
        self.output = Some(match self.job.run(work) {
            Ok(output) => Ok(output),
            Err(Fault::Refused(error)) => Err(error),
            Err(fault) => return Err(fault),
        });
        Ok(())
    }

    fn finish(mut self: Box<Self>) {
        // Whoever asked may have gone meanwhile; what was committed stays so.
        if let (Some(answer), Some(output)) = (self.answer.take(), self.output.take()) {
            let _ = answer.send(output);
        }
    }

    fn fail(mut self: Box<Self>, error: Error) {
        match self.answer.take() {
            Some(answer) => {
                let _ = answer.send(Err(error));
            }
            None => tracing::warn!(%error, "the queue could not do what it does by itself"),
        }
    }
}

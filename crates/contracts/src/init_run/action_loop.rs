//! Mode `loop`: the contract is the proxy of an ActionLoop.

use super::{Options, Terms, answer, initialised, message::Read, printed::Printed, result_line::ResultLines};
use crate::{Call, CallError, Opening, Session, StartError, in_flight::InFlight};
use ::http::Response;
use async_trait::async_trait;
use parking_lot::Mutex;
use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::{
    io::{AsyncWrite, AsyncWriteExt as _},
    sync::watch,
    time::{sleep, timeout},
};
use xebec_core::{
    Body, Outcome,
    outcome::{FunctionFault, PlatformFault},
    ports::instance::{Child, Command, Exit, InstanceIo, IoError, Signal},
    slot::{Retire, Slot},
};

/// Where the program lies that is started: the code itself, or, in archives made for it, below `bin`.
const PROGRAMS: [&str; 2] = ["/app/exec", "/app/bin/exec"];

/// A process that does not say that it is ready is so when it has lived so long.
const ALIVE: Duration = Duration::from_millis(5);

/// How long after its end what a process wrote is waited for, where something that it left running could still
/// write.
const LINGER: Duration = Duration::from_secs(1);

/// How long after it fell silent the end of a process is waited for: it is known a moment later, which is longer
/// on a busy machine.
const END: Duration = Duration::from_secs(10);

/// The largest line that says that a process is ready.
const MAX_ACK_BYTES: usize = 64 * 1024;

/// What a proxy says where there is nothing to say of the code.
const EXITED: &str = "command exited";

/// Starts the process and waits until it takes calls.
pub(super) async fn open(opening: Opening, options: Options) -> Result<Arc<dyn Session>, StartError> {
    let terms = Terms::of(&opening, &options);
    let started = initialised(options.init_timeout, start(&opening, &options)).await?;
    opening.slots.announce(1);
    let Opening { io, .. } = opening;
    Ok(Arc::new(ActionLoop { io, terms, started, in_flight: Arc::default() }))
}

/// A process that takes calls.
struct Started {
    /// Gone while a call has them, and for ever when that was given up in the middle.
    pipes: Mutex<Option<Pipes>>,
    printed: Arc<Printed>,
    exit: watch::Receiver<Option<Exit>>,
    /// It has answered a call.
    proven: AtomicBool,
}

struct Pipes {
    stdin: Box<dyn AsyncWrite + Send + Unpin>,
    results: ResultLines,
}

async fn start(opening: &Opening, options: &Options) -> Result<Started, StartError> {
    let given = &opening.brings.variables;
    let said = |name: &str| given.get(name).filter(|text| !text.is_empty());
    let mut variables = BTreeMap::new();
    let mut wait_for_ack = options.wait_for_ack;
    if let Some(environment) = said("OW_EXECUTION_ENV") {
        variables.insert("__OW_EXECUTION_ENV".to_owned(), environment.clone());
    }
    if let Some(wish) = said("OW_WAIT_FOR_ACK") {
        variables.insert("__OW_WAIT_FOR_ACK".to_owned(), wish.clone());
        wait_for_ack = true;
    } else if wait_for_ack {
        variables.insert("__OW_WAIT_FOR_ACK".to_owned(), "1".to_owned());
    }
    let mut child = spawn(&*opening.io, &opening.command, &variables).await?;
    let streams = child.take_streams().and_then(|mut streams| Some((streams.result.take()?, streams)));
    let (result, streams) =
        streams.ok_or_else(|| StartError::new("the action's process has not the streams that it needs"))?;
    let printed = Printed::follow(streams.stdout, streams.stderr, &opening.lines);
    let (tell, mut exit) = watch::channel(None);
    tokio::spawn(async move {
        // The session holds the other end: without it, the process is not needed any more.
        tokio::select! {
            exit = child.wait() => tell.send_replace(Some(exit)),
            () = tell.closed() => None,
        }
    });
    let mut pipes = Pipes {
        stdin: streams.stdin,
        results: ResultLines::new(result, options.max_answer_bytes.max(MAX_ACK_BYTES)),
    };
    if wait_for_ack {
        acknowledged(&mut pipes.results, &mut exit, &printed).await?;
    } else if let Ok(exit) = timeout(ALIVE, ended(&mut exit)).await {
        printed.catch_up().await;
        return Err(not_started(format!("the action's process {exit} at once"), EXITED));
    }
    Ok(Started { pipes: Mutex::new(Some(pipes)), printed, exit, proven: AtomicBool::new(false) })
}

async fn spawn(
    io: &dyn InstanceIo,
    command: &[String],
    variables: &BTreeMap<String, String>,
) -> Result<Box<dyn Child>, StartError> {
    let own = PROGRAMS.map(|program| vec![program.to_owned()]);
    let candidates = if command.is_empty() { own.as_slice() } else { &[command.to_vec()] };
    let mut missing = None;
    for argv in candidates {
        let command =
            Command { argv: argv.clone(), variables: variables.clone(), result: true, ..Command::default() };
        match io.spawn(command).await {
            Ok(child) => return Ok(child),
            // The first says it best.
            Err(error @ IoError::NoProgram { .. }) => missing = missing.or(Some(error)),
            Err(error) => {
                return Err(StartError::new(format!("the action's process was not started: {error}")));
            }
        }
    }
    let why = missing.map(|error| error.to_string()).unwrap_or_default();
    Err(not_started(why, EXITED))
}

/// Waits until the process says that it is ready.
async fn acknowledged(
    results: &mut ResultLines,
    exit: &mut watch::Receiver<Option<Exit>>,
    printed: &Printed,
) -> Result<(), StartError> {
    let said = tokio::select! {
        biased;
        said = results.next() => said,
        _ = ended(exit) => None,
    };
    printed.catch_up().await;
    let Some(said) = said else {
        let why = match timeout(END, ended(exit)).await {
            Ok(exit) => format!("the action's process {exit} before it was ready"),
            Err(_) => "the action's process closed descriptor 3 before it was ready".to_owned(),
        };
        return Err(not_started(why, "Command exited abruptly during initialization."));
    };
    let is_ready = |ack: serde_json::Value| ack.get("ok") == Some(&true.into());
    if serde_json::from_slice(&said.bytes).is_ok_and(is_ready) {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&said.bytes[..said.bytes.len().min(200)]).into_owned();
    let why = format!("the action's process is not ready, and says {said:?}");
    Err(not_started(why, "The action did not initialize properly."))
}

fn not_started(message: String, said: &str) -> StartError {
    StartError { message, output: answer::object(&format!("cannot start action: {said}")), late: false }
}

/// Completes when the process has ended.
async fn ended(exit: &mut watch::Receiver<Option<Exit>>) -> Exit {
    match exit.wait_for(Option::is_some).await.map(|exit| *exit) {
        Ok(Some(exit)) => exit,
        // The task that tells was dropped with its runtime.
        _ => std::future::pending().await,
    }
}

struct ActionLoop {
    io: Arc<dyn InstanceIo>,
    terms: Terms,
    started: Started,
    in_flight: Arc<InFlight>,
}

#[async_trait]
impl Session for ActionLoop {
    async fn call(&self, call: Call) -> Result<Response<Body>, CallError> {
        let _counted = self.in_flight.enter().0;
        let slot = call.slot;
        let Terms { request_bytes, run_clock, max_answer_bytes } = self.terms;
        let read = match Read::whole(call.request, request_bytes, call.id, run_clock).await {
            Ok(read) => read,
            Err(failed) => {
                slot.free();
                return Err(failed);
            }
        };
        let pipes = self.started.pipes.lock().take();
        if self.started.exit.borrow().is_some() && self.started.proven.load(Ordering::Relaxed) {
            return Err(self.gone(read, slot));
        }
        let Some(mut pipes) = pipes else { return Err(self.gone(read, slot)) };
        // Given up from here on, pipes and slot are dropped: there are no more calls.
        let exchanged = exchange(&mut pipes, one_line(read.message()), self.started.exit.clone()).await;
        self.started.printed.catch_up().await;
        let Some((said, all_taken)) = exchanged else { return Err(self.broken(slot).await) };
        let answered = match answer::result(said, max_answer_bytes) {
            Ok(response) => response,
            Err(failed) => {
                slot.retire(Retire::Broken);
                let said = answer::object("The action did not return a dictionary or array.");
                return Err(CallError { output: said, ..failed });
            }
        };
        self.started.proven.store(true, Ordering::Relaxed);
        if all_taken {
            *self.started.pipes.lock() = Some(pipes);
            slot.free();
        } else {
            // The rest would be taken for the next call.
            slot.retire(Retire::Broken);
        }
        Ok(answered)
    }

    async fn close(&self, grace: Duration) {
        let until = tokio::time::Instant::now() + grace;
        self.in_flight.drained(grace).await;
        // Without input, it has nothing more to do.
        drop(self.started.pipes.lock().take());
        if self.io.signal(Signal::Stop).await.is_ok() {
            let _ = tokio::time::timeout_at(until, ended(&mut self.started.exit.clone())).await;
        }
    }
}

impl ActionLoop {
    /// The process ended between two calls. (The end of one that had not answered any is that of the call: it would
    /// be so for the next process, too.)
    fn gone(&self, read: Read, slot: Slot) -> CallError {
        slot.retire(Retire::Exited);
        let outcome = Outcome::PlatformError(PlatformFault::Unavailable);
        let message = match *self.started.exit.borrow() {
            Some(exit) => format!("the action's process {exit} between two calls"),
            None => "a call that was given up has the action's process".to_owned(),
        };
        let mut failed = CallError::new(outcome, message);
        failed.unsent = Some(read.unsent());
        failed
    }

    /// No answer came.
    async fn broken(&self, slot: Slot) -> CallError {
        let exit = timeout(END, ended(&mut self.started.exit.clone())).await.ok();
        self.started.printed.catch_up().await;
        slot.retire(if exit.is_some() { Retire::Exited } else { Retire::Broken });
        let (fault, message) = match exit {
            Some(exit) if exit.out_of_memory => (FunctionFault::OutOfMemory, exit.to_string()),
            Some(exit) => (FunctionFault::Crash, exit.to_string()),
            None => (FunctionFault::BadResponse, "closed descriptor 3".to_owned()),
        };
        let message = format!("the action's process {message} in the middle of the call");
        let mut failed = CallError::new(Outcome::FunctionError(fault), message);
        failed.output = answer::object(EXITED);
        failed.exit_code = exit.and_then(|exit| exit.code);
        failed
    }
}

/// A message on one line. Between the values of JSON, line ends mean nothing, and within them there are none.
fn one_line(mut message: Vec<u8>) -> Vec<u8> {
    if message.iter().any(|byte| matches!(byte, b'\n' | b'\r')) {
        message.retain(|byte| !matches!(byte, b'\n' | b'\r'));
    }
    message.push(b'\n');
    message
}

/// Writes a line and reads one; the answer, and whether all of the line was taken by then.
async fn exchange(
    pipes: &mut Pipes,
    line: Vec<u8>,
    mut exit: watch::Receiver<Option<Exit>>,
) -> Option<(super::answer::Said, bool)> {
    let Pipes { stdin, results } = pipes;
    results.forget();
    let mut taken = None;
    let write = async { stdin.write_all(&line).await.and(stdin.flush().await) };
    let read = results.next();
    let end = async {
        ended(&mut exit).await;
        // What it wrote last is in the pipe.
        sleep(LINGER).await;
    };
    tokio::pin!(write, read, end);
    loop {
        tokio::select! {
            biased;
            said = &mut read => return Some((said?, matches!(taken, Some(Ok(()))))),
            written = &mut write, if taken.is_none() => taken = Some(written),
            () = &mut end => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::one_line;

    #[test]
    fn a_message_is_one_line() {
        assert_eq!(one_line(b"{\"a\":\r\n1}".to_vec()), b"{\"a\":1}\n");
        assert_eq!(one_line(b"{}".to_vec()), b"{}\n");
    }
}

//! A command: a component's `main`, run with arguments and standard streams like a process.

use crate::{
    failure::Failure,
    instance::{InFlight, KILLED, Shared},
    pipe::{Reader, Writer, pipe},
    state::State,
    time::counted,
};
use async_trait::async_trait;
use std::sync::Arc;
use tokio::task::JoinHandle;
use wasmtime_wasi::I32Exit;
use xebec_core::ports::instance::{Child, ChildStreams, Command, Exit, IoError};

/// What a trap looks like from outside: SIGABRT.
const TRAPPED: Exit = Exit { code: None, signal: Some(6), out_of_memory: false };
const OUT_OF_MEMORY: Exit = Exit { code: None, signal: Some(9), out_of_memory: true };

/// A running command. Dropping it ends it.
pub(crate) struct WasmChild {
    streams: Option<ChildStreams>,
    task: JoinHandle<Exit>,
    exit: Option<Exit>,
}

impl WasmChild {
    /// Starts a fresh guest of `instance`.
    pub(crate) fn start(instance: &Arc<Shared>, command: Command) -> Result<Self, IoError> {
        if instance.loaded.command.is_none() {
            return Err(IoError::NoProgram {
                program: command.argv.first().cloned().unwrap_or_default(),
                why: "the component does not export wasi:cli/run".to_owned(),
            });
        }
        let in_flight = instance.admit()?;
        let (stdin, guest_stdin) = pipe();
        let (guest_stdout, stdout) = pipe();
        let (guest_stderr, stderr) = if command.combine_output {
            (guest_stdout.clone(), None)
        } else {
            let (writer, reader) = pipe();
            (writer, Some(reader))
        };
        let streams = Streams { stdin: guest_stdin, stdout: guest_stdout, stderr: guest_stderr };
        let task = tokio::spawn(run(instance.clone(), in_flight, command, streams));
        let streams = ChildStreams {
            result: None,
            stdin: Box::new(stdin),
            stdout: Box::new(stdout),
            stderr: stderr.map(|reader| Box::new(reader) as _),
        };
        Ok(Self { streams: Some(streams), task, exit: None })
    }
}

/// The guest's ends of its streams.
struct Streams {
    stdin: Reader,
    stdout: Writer,
    stderr: Writer,
}

async fn run(instance: Arc<Shared>, _in_flight: InFlight, command: Command, streams: Streams) -> Exit {
    let stderr = streams.stderr.clone();
    tokio::select! {
        biased;
        result = call(&instance, command, streams) => match result {
            Ok(code) => Exit { code: Some(code), signal: None, out_of_memory: false },
            Err(failure) => {
                let exit = match failure.error {
                    IoError::OutOfMemory => OUT_OF_MEMORY,
                    IoError::Trapped(_) => TRAPPED,
                    _ => KILLED,
                };
                if exit != KILLED {
                    stderr.write_now(&failure.text());
                }
                exit
            }
        },
        exit = instance.ended() => exit,
    }
}

async fn call(instance: &Shared, command: Command, streams: Streams) -> Result<i32, Failure> {
    let Some(component) = &instance.loaded.command else { return Err(IoError::Exited(KILLED).into()) };
    let wasi = instance.wasi(|wasi| {
        wasi.args(&command.argv);
        for (name, value) in &command.variables {
            wasi.env(name, value);
        }
        if let Some(directory) = &command.directory {
            wasi.initial_cwd(directory.to_string_lossy());
        }
        wasi.stdin(streams.stdin).stdout(streams.stdout).stderr(streams.stderr);
    })?;
    let state = State::new(wasi, instance.outgoing(), instance.bounds(None));
    let mut store = state.into_store(&instance.runtime.engine);
    let called = async {
        let guest = component.instantiate_async(&mut store).await?;
        guest.wasi_cli_run().call_run(&mut store).await
    };
    match counted(&instance.ran, called).await {
        Ok(Ok(())) => Ok(0),
        Ok(Err(())) => Ok(1),
        Err(error) => match error.downcast_ref::<I32Exit>() {
            Some(I32Exit(code)) => Ok(*code),
            None => Err(Failure::new(&error, &store)),
        },
    }
}

#[async_trait]
impl Child for WasmChild {
    fn take_streams(&mut self) -> Option<ChildStreams> {
        self.streams.take()
    }

    async fn wait(&mut self) -> Exit {
        if let Some(exit) = self.exit {
            return exit;
        }
        let exit = match (&mut self.task).await {
            Ok(exit) => exit,
            Err(error) if error.is_cancelled() => KILLED,
            Err(_) => TRAPPED,
        };
        *self.exit.insert(exit)
    }

    fn kill(&mut self) {
        self.task.abort();
    }
}

impl Drop for WasmChild {
    fn drop(&mut self) {
        self.task.abort();
    }
}

//! `init-run`: an action of Apache OpenWhisk. A call's body is JSON, an object or an array, and so is the answer.
//!
//! | setting | | default |
//! |---|---|---|
//! | `mode` | `http`: a proxy inside takes `POST /init` once and `POST /run` per call. `loop`: the contract is the proxy of an ActionLoop, a process that reads a line of JSON per call and writes one to descriptor 3. `exec`: it is that of the docker skeleton, a process per call whose last line is the result. `component`: code in this process that answers HTTP, `POST /` with the bare parameters per call | `http` |
//! | `port` | `http`: where the proxy listens | 8080 |
//! | `socket` | `http`: its Unix socket, an absolute path, in place of a port | – |
//! | `sentinels` | `http`: the proxy ends what a call prints with a mark on both streams, which is waited for; our own workers may answer with `x-xebec-quiet` instead | `true` |
//! | `wait_for_ack` | `loop`: the process says `{"ok":true}` first, else it counts as started when it lives on for a moment. The variable `OW_WAIT_FOR_ACK` says the same | `false` |
//! | `init_timeout` | how long the code may take to initialise | none but the start clock |
//! | `max_answer_bytes` | a longer result is an error of the application | 1 MiB |
//! | `network` | `component`: whether it may send requests itself; only an environment can allow it | `false` |
//! | `main` | the entry point, where the revision names none | `main` |
//!
//! **The call**: the body is what the code is called with; nothing stands for `{}`. Headers `x-xebec-run-<name>`
//! become the fields `<name>` beside it, dashes underscores; the call's id is `activation_id`, when the run clock
//! will have run out is `deadline`. The code sees fields as variables `__OW_<NAME>`.
//!
//! **The answer** is 200 and the bare result. One that has a field `error` carries
//! [`Remarks`](xebec_core::record::Remarks): an error of the application. All else is a
//! [`CallError`](crate::CallError), with what the code said as its `output`, and the instance is retired, as after a failed [`/init`](StartError::output).
//! Bytes are looked through, but never taken apart and put together again.

use crate::{Contract, Opening, Session, StartError, http, settings::Settings};
use async_trait::async_trait;
use std::{sync::Arc, time::Duration};
use xebec_core::{
    Error,
    ports::instance::Endpoint,
    revision::{ContractSpec, RevisionSpec},
};

mod action_loop;
mod answer;
mod component;
mod marks;
mod message;
mod post;
mod printed;
mod proxy;
mod result_line;
mod skeleton;

/// The contract.
pub struct InitRun;

#[async_trait]
impl Contract for InitRun {
    fn name(&self) -> &'static str {
        "init-run"
    }

    fn check(&self, revision: &RevisionSpec) -> Result<(), Error> {
        Options::read(&revision.contract).map(|_| ())
    }

    async fn open(&self, opening: Opening) -> Result<Arc<dyn Session>, StartError> {
        let options = Options::read(&opening.spec).map_err(|error| StartError::new(error.to_string()))?;
        match options.mode {
            Mode::Http => proxy::open(opening, options).await,
            Mode::Loop => action_loop::open(opening, options).await,
            Mode::Exec => skeleton::open(opening, options),
            Mode::Component => Ok(component::open(opening, options)),
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    Http,
    Loop,
    Exec,
    Component,
}

/// The settings, read.
struct Options {
    mode: Mode,
    endpoint: Endpoint,
    sentinels: bool,
    wait_for_ack: bool,
    init_timeout: Option<Duration>,
    max_answer_bytes: usize,
    main: Option<String>,
}

impl Options {
    fn read(spec: &ContractSpec) -> Result<Self, Error> {
        let mut settings = Settings::of(spec);
        let modes = [
            ("http", Mode::Http),
            ("loop", Mode::Loop),
            ("exec", Mode::Exec),
            ("component", Mode::Component),
        ];
        let options = Self {
            mode: settings.choice("mode", &modes)?,
            endpoint: http::endpoint(&mut settings)?,
            sentinels: settings.flag("sentinels")?.unwrap_or(true),
            wait_for_ack: settings.flag("wait_for_ack")?.unwrap_or(false),
            init_timeout: settings.duration("init_timeout")?,
            max_answer_bytes: settings
                .number("max_answer_bytes", 1..=1 << 32)?
                .and_then(|bytes| usize::try_from(bytes).ok())
                .unwrap_or(1 << 20),
            main: settings.read("main", "the name of an entry point", |value| {
                value.as_str().filter(|name| !name.is_empty()).map(str::to_owned)
            })?,
        };
        // What components may do besides is for their driver to read.
        settings.flag("network")?;
        settings.finish()?;
        Ok(options)
    }
}

/// What of a session's settings each call needs.
struct Terms {
    /// The largest body of a call.
    request_bytes: u64,
    /// When the call's deadline is.
    run_clock: Duration,
    max_answer_bytes: usize,
}

impl Terms {
    fn of(opening: &Opening, options: &Options) -> Self {
        Self {
            request_bytes: opening.limits.request_bytes,
            run_clock: opening.limits.clocks.run,
            max_answer_bytes: options.max_answer_bytes,
        }
    }
}

/// Runs what initialises the code under the clock for that.
async fn initialised<T>(
    within: Option<Duration>,
    work: impl Future<Output = Result<T, StartError>>,
) -> Result<T, StartError> {
    let Some(within) = within else { return work.await };
    match tokio::time::timeout(within, work).await {
        Ok(done) => done,
        Err(_) => Err(StartError {
            message: format!("it did not initialise within {within:?}"),
            late: true,
            ..StartError::default()
        }),
    }
}

//! A driver whose instances are proxies of actions in this process. What an action's code says is what it does.

use async_trait::async_trait;
use bytes::Bytes;
use serde_json::{Value, json};
use std::{
    collections::HashMap,
    path::Path,
    sync::{Arc, Mutex},
};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader, DuplexStream, duplex},
    sync::watch,
};
use xebec_core::{
    Body, Digest, Error,
    environment::Environment,
    error::ErrorKind,
    log::LogStream,
    ports::{
        driver::{Blank, Driver, DriverReport, Prepare, Start},
        instance::{
            Child, Command, Connection, Endpoint, Exit, InstanceId, InstanceIo, IoError, Listener, Signal,
        },
    },
    revision::Revision,
};

/// What ends the lines of a call.
const MARK: &str = "XXX_THE_END_OF_A_WHISK_ACTIVATION_XXX";

/// A driver of that name.
pub struct Proxies {
    pub name: &'static str,
    code: Mutex<HashMap<Digest, Bytes>>,
    /// What was started, in order.
    pub started: Mutex<Vec<Start>>,
}

impl Proxies {
    pub fn new(name: &'static str) -> Arc<Self> {
        Arc::new(Self { name, code: Mutex::default(), started: Mutex::default() })
    }
}

#[async_trait]
impl Driver for Proxies {
    fn name(&self) -> &'static str {
        self.name
    }

    fn accepts(&self, _: &Revision, _: &Environment) -> Result<(), Error> {
        Ok(())
    }

    async fn prepare(&self, request: Prepare<'_>) -> Result<(), Error> {
        let code = request.code.unwrap_or_default();
        if code.starts_with(b"unusable") {
            return Err(Error::new(ErrorKind::Invalid, "XB3002", "the code is unusable"));
        }
        self.code.lock().unwrap().insert(request.revision.digest, code);
        Ok(())
    }

    async fn start(&self, start: Start) -> Result<Arc<dyn InstanceIo>, Error> {
        let code = self.code.lock().unwrap().get(&start.revision.digest).cloned();
        let code = code.ok_or_else(|| Error::internal("XB3005", "it was not prepared"))?;
        self.started.lock().unwrap().push(start.clone());
        Ok(Arc::new(Proxy {
            id: start.instance.clone(),
            action: Arc::new(Action { code: String::from_utf8_lossy(&code).into_owned(), start }),
            exit: watch::Sender::new(None),
        }))
    }

    async fn start_blank(&self, _: Arc<Environment>) -> Result<Blank, Error> {
        Err(Error::new(ErrorKind::Refused, "XB3004", "these tests need no blanks"))
    }

    async fn specialize(&self, _: Blank, start: Start) -> Result<Arc<dyn InstanceIo>, Error> {
        self.start(start).await
    }

    async fn collect(&self, _: &(dyn for<'d> Fn(&'d Digest) -> bool + Sync)) -> Result<u64, Error> {
        Ok(0)
    }

    fn report(&self) -> DriverReport {
        DriverReport {
            driver: self.name.to_owned(),
            usable: true,
            features: Vec::new(),
            shares_host_network: false,
        }
    }

    async fn shutdown(&self) {}
}

struct Proxy {
    id: InstanceId,
    action: Arc<Action>,
    exit: watch::Sender<Option<Exit>>,
}

struct Action {
    code: String,
    start: Start,
}

impl Action {
    /// What it answers `/run` with: `echo` its parameters, `return {…}`, `raw <text>`, `fail <status> <text>`,
    /// `print <text>` and echo, `message` what it was sent, `variables` what it was started with, `sleep <ms>`
    /// and echo.
    async fn run(&self, message: &Value) -> (u16, String) {
        let value = &message["value"];
        let code = self.code.trim();
        let (word, rest) = code.split_once(' ').unwrap_or((code, ""));
        match word {
            "return" | "raw" => (200, rest.to_owned()),
            "fail" => {
                let (status, text) = rest.split_once(' ').unwrap_or((rest, "{}"));
                (status.parse().unwrap(), text.to_owned())
            }
            "print" => {
                self.start.lines.line(LogStream::Stdout, rest);
                (200, value.to_string())
            }
            "message" => (200, message.to_string()),
            "variables" => (200, json!(self.start.revision.spec.variables).to_string()),
            "sleep" => {
                tokio::time::sleep(std::time::Duration::from_millis(rest.parse().unwrap())).await;
                (200, value.to_string())
            }
            _ => (200, value.to_string()),
        }
    }

    async fn answer(&self, path: &str, body: &[u8]) -> (u16, String) {
        if path == "/init" {
            return match self.code.strip_prefix("bad init") {
                Some(_) => (502, json!({ "error": "it cannot be initialised" }).to_string()),
                None => (200, json!({ "ok": true }).to_string()),
            };
        }
        let answer = self.run(&serde_json::from_slice(body).unwrap()).await;
        for stream in [LogStream::Stdout, LogStream::Stderr] {
            self.start.lines.line(stream, MARK);
        }
        answer
    }
}

/// Serves one connection until the other side closes it.
async fn serve(action: Arc<Action>, stream: DuplexStream) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    loop {
        let (mut line, mut length, mut path) = (String::new(), 0, String::new());
        loop {
            line.clear();
            if stream.read_line(&mut line).await? == 0 {
                return Ok(());
            }
            let text = line.trim_end();
            if text.is_empty() {
                break;
            }
            match text.split_once(": ") {
                Some((name, value)) if name.eq_ignore_ascii_case("content-length") => {
                    length = value.parse().unwrap();
                }
                None => path = text.split(' ').nth(1).unwrap_or_default().to_owned(),
                _ => {}
            }
        }
        let mut body = vec![0; length];
        stream.read_exact(&mut body).await?;
        let (status, text) = action.answer(&path, &body).await;
        let head = format!(
            "HTTP/1.1 {status} Said\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
            text.len()
        );
        stream.get_mut().write_all(format!("{head}{text}").as_bytes()).await?;
    }
}

fn unsupported<T>(what: &'static str) -> Result<T, IoError> {
    Err(IoError::Unsupported { driver: "proxies", what })
}

#[async_trait]
impl InstanceIo for Proxy {
    fn id(&self) -> &InstanceId {
        &self.id
    }

    async fn connect(&self, _: &Endpoint) -> Result<Connection, IoError> {
        let (ours, theirs) = duplex(64 * 1024);
        tokio::spawn(serve(self.action.clone(), theirs));
        Ok(Box::new(ours))
    }

    async fn listen(&self, _: &Endpoint) -> Result<Box<dyn Listener>, IoError> {
        unsupported("listen")
    }

    async fn spawn(&self, _: Command) -> Result<Box<dyn Child>, IoError> {
        unsupported("spawn")
    }

    fn take_stdio(&self) -> Option<Connection> {
        None
    }

    async fn request(&self, _: http::Request<Body>) -> Result<http::Response<Body>, IoError> {
        unsupported("take requests")
    }

    async fn write_file(&self, _: &Path, _: Bytes) -> Result<(), IoError> {
        unsupported("write files")
    }

    async fn signal(&self, _: Signal) -> Result<(), IoError> {
        self.exit.send_replace(Some(Exit { code: Some(0), signal: None, out_of_memory: false }));
        Ok(())
    }

    async fn exited(&self) -> Exit {
        let mut exit = self.exit.subscribe();
        let found = exit.wait_for(Option::is_some).await.ok().and_then(|exit| *exit);
        found.unwrap_or(Exit { code: None, signal: None, out_of_memory: false })
    }

    async fn destroy(&self) {
        self.exit.send_replace(Some(Exit { code: None, signal: Some(9), out_of_memory: false }));
    }
}

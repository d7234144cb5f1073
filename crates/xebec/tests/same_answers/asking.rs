//! Calls through a door, and what is seen of their answers, written down so that they can be compared.

use bytes::Bytes;
use futures_util::stream;
use http::{HeaderName, Request, Response};
use http_body_util::{BodyExt as _, StreamBody, combinators::BoxBody};
use hyper::body::{Frame, Incoming};
use hyper_util::rt::TokioIo;
use std::{convert::Infallible, fmt::Write as _, time::Duration};
use tokio::{net::TcpStream, sync::mpsc, time::timeout};

/// How long anything may take that is waited for: starting a container on a busy machine is part of it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(180);

/// Headers of answers that are others each time.
const OF_ONE_CALL: [&str; 7] = [
    "date",
    "x-call-id",
    "x-start-time",
    "x-duration-seconds",
    "x-served-by",
    "x-xebec-invocation",
    "x-xebec-cold",
];

/// Headers of requests that a door adds.
const ADDED: [&str; 6] =
    ["traceparent", "x-call-id", "x-forwarded-for", "x-forwarded-host", "x-start-time", "x-xebec-hops"];

/// How a body comes belongs to one connection, and its length to the head only where the function says it.
const FRAMING: [&str; 3] = ["transfer-encoding", "connection", "content-length"];

/// A front door.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Door {
    /// `/xebec/v1/functions/<name>/invoke/`
    Native,
    /// `/function/<name>/`
    OpenFaas,
}

impl Door {
    /// As tables name it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::OpenFaas => "openfaas",
        }
    }

    /// Headers that it adds to each answer.
    fn adds(self) -> &'static [&'static str] {
        match self {
            Self::Native => &["x-xebec-invocation", "x-xebec-outcome"],
            Self::OpenFaas => &["x-call-id", "x-start-time", "x-duration-seconds", "x-served-by"],
        }
    }
}

/// A function behind a door.
pub(crate) struct Callee<'a> {
    pub(crate) door: Door,
    /// Host and port.
    pub(crate) server: &'a str,
    pub(crate) function: String,
}

/// A request's body, sent piece by piece.
pub(crate) type Pieces = mpsc::Sender<Frame<Bytes>>;

type Sent = BoxBody<Bytes, Infallible>;

/// A body that is there.
pub(crate) fn whole(bytes: impl Into<Bytes>) -> Sent {
    http_body_util::Full::new(bytes.into()).boxed()
}

/// A body that is yet to come.
pub(crate) fn pieces() -> (Pieces, Sent) {
    let (sender, receiver) = mpsc::channel(1);
    let frames = stream::unfold(receiver, async |mut receiver: mpsc::Receiver<Frame<Bytes>>| {
        let frame = receiver.recv().await?;
        Some((Ok(frame), receiver))
    });
    (sender, StreamBody::new(frames).boxed())
}

impl Callee<'_> {
    /// The same function with a clock that soon runs out.
    pub(crate) fn hasty(&self) -> Self {
        Self { function: format!("hasty-{}", self.function), ..*self }
    }

    /// Sends a request on a connection of its own; the answer's head.
    pub(crate) async fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Sent,
    ) -> Response<Incoming> {
        let prefix = match self.door {
            Door::Native => format!("/xebec/v1/functions/{}/invoke", self.function),
            Door::OpenFaas => format!("/function/{}", self.function),
        };
        let mut request = Request::builder().method(method).uri(format!("{prefix}{path}"));
        for (name, value) in headers {
            // Values are bytes, of which the first 256 characters stand for one each.
            let value: Vec<u8> = value.chars().filter_map(|letter| u8::try_from(letter).ok()).collect();
            request = request.header(*name, value);
        }
        let request = request.header("host", self.server).body(body).unwrap();
        let stream = TcpStream::connect(self.server).await.unwrap();
        let (mut sender, connection) =
            hyper::client::conn::http1::Builder::new().handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        timeout(PATIENCE, sender.send_request(request)).await.expect("no answer in time").unwrap()
    }

    /// Sends a request and writes down the answer.
    pub(crate) async fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)], body: Sent) -> String {
        let response = self.send(method, path, headers, body).await;
        self.written(response, method == "HEAD").await
    }

    /// An answer, written down: its status, its headers in the order of their names, its body, its trailers,
    /// and whether it broke off.
    pub(crate) async fn written(&self, response: Response<Incoming>, with_length: bool) -> String {
        let (head, incoming) = response.into_parts();
        let mut text = format!("{}\n", head.status.as_u16());
        for missing in self.door.adds().iter().filter(|name| !head.headers.contains_key(**name)) {
            writeln!(text, "without {missing}").unwrap();
        }
        let mut names: Vec<&str> = head.headers.keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        for name in names {
            let framing = FRAMING.contains(&name) && !(with_length && name == "content-length");
            if framing || OF_ONE_CALL.contains(&name) {
                continue;
            }
            for value in head.headers.get_all(name) {
                let value: String = value.as_bytes().iter().map(|byte| char::from(*byte)).collect();
                if (name, value.as_str()) != ("x-xebec-outcome", "success") {
                    writeln!(text, "{name}: {value}").unwrap();
                }
            }
        }
        let (body, end) = read(incoming).await;
        let refused = head.headers.get("content-type").is_some_and(|kind| kind == "application/json");
        text.push('\n');
        text.push_str(&if refused { reason(&body) } else { shown(&body) });
        text.push_str(&end);
        let text = text.replace(self.server, "<server>").replace(&self.function, "<name>");
        without_own(text.trim_end_matches('\n'))
    }
}

/// A body to its end, and how that was.
async fn read(mut incoming: Incoming) -> (Vec<u8>, String) {
    let (mut body, mut end) = (Vec::new(), String::new());
    while let Some(frame) = timeout(PATIENCE, incoming.frame()).await.expect("no end in time") {
        match frame.map(Frame::into_data) {
            Ok(Ok(data)) => body.extend_from_slice(&data),
            Ok(Err(frame)) => end = format!("\ntrailers: {:?}", frame.into_trailers().unwrap()),
            Err(_) => end = "\nbroken off".to_owned(),
        }
    }
    (body, end)
}

/// What our own door says of a call that got no answer: its code and message.
fn reason(body: &[u8]) -> String {
    let said: serde_json::Value = serde_json::from_slice(body).unwrap();
    format!("{} {}", said["code"].as_str().unwrap(), said["message"].as_str().unwrap())
}

/// A body: short texts as they are.
fn shown(body: &[u8]) -> String {
    let is_text = body.iter().all(|byte| byte.is_ascii_graphic() || matches!(byte, b' ' | b'\n'));
    if is_text && body.len() <= 2000 {
        return String::from_utf8_lossy(body).into_owned();
    }
    let wrong = (0..body.len()).find(|at| body[*at] != same_answers_guest::pattern(*at));
    match wrong {
        None => format!("<{} bytes>", body.len()),
        Some(at) => format!("<{} bytes, wrong from {at} on>", body.len()),
    }
}

/// What a door adds to each request is looked at in one case only, that of `/report/all`; there, without what
/// is another each time.
fn without_own(text: &str) -> String {
    let all = text.contains(" /report/all at ");
    let mut kept = Vec::new();
    for line in text.lines() {
        match ADDED.iter().find(|name| line.starts_with(&format!("{name}: "))) {
            Some(name) if all => kept.push(format!("{name}: …")),
            Some(_) => {}
            None => kept.push(line.to_owned()),
        }
    }
    kept.join("\n")
}

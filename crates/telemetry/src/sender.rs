//! One message to the collector: compressed, tried again as OTLP says, and never for longer than it may take.

use crate::{counts::Reason, options::Target};
use bytes::Bytes;
use flate2::{Compression, write::GzEncoder};
use http::{
    HeaderMap, HeaderValue, StatusCode,
    header::{CONTENT_ENCODING, CONTENT_TYPE, RETRY_AFTER},
};
use jiff::Timestamp;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;
use prost::Message;
use reqwest::{Certificate, Client, Identity, Response, redirect::Policy};
use std::{io::Write as _, path::Path, time::Duration};
use tokio::{
    sync::watch,
    time::{Instant, sleep_until},
};
use xebec_core::Error;

/// Of an answer so much is read.
const ANSWER_BYTES: usize = 64 * 1024;

/// The wait before the second try; later ones are longer.
const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(15);

/// A collector that wants to be left alone for longer is asked again all the same.
const LONGEST_QUIET: Duration = Duration::from_secs(300);

/// When the server is going to be gone, once that is known.
pub(crate) type Closing = watch::Receiver<Option<Instant>>;

/// What became of a message.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Sent {
    /// The collector has it, but for so many things in it, and why.
    Taken { rejected: u64, why: String },
    /// It has not.
    Lost { reason: Reason, why: String },
}

/// How one request ended that brought nothing.
enum Failed {
    /// It may be tried again; the collector may have said after how long.
    Again { after: Option<Duration>, why: String },
    /// It would fail again.
    Refused(String),
}

/// Sends messages of one signal to its collector.
pub(crate) struct Sender {
    client: Client,
    target: Target,
    closing: Closing,
    /// The collector wants to be left alone until then.
    quiet: Option<Instant>,
}

impl Sender {
    /// A sender; nothing is sent yet.
    ///
    /// # Errors
    /// `XB6061` where a certificate cannot be used.
    pub(crate) fn new(target: Target, closing: Closing) -> Result<Self, Error> {
        let mut client = Client::builder()
            .connect_timeout(target.timeout)
            .pool_max_idle_per_host(1)
            .redirect(Policy::none())
            .user_agent(concat!("xebec/", env!("CARGO_PKG_VERSION")));
        if let Some(path) = &target.authorities {
            let found = Certificate::from_pem_bundle(&read(path)?).map_err(|error| unusable(path, &error))?;
            client = client.tls_certs_only(found);
        }
        if let Some((certificate, key)) = &target.identity {
            let both = [read(certificate)?, read(key)?].concat();
            client =
                client.identity(Identity::from_pem(&both).map_err(|error| unusable(certificate, &error))?);
        }
        let client = client.build().map_err(|error| {
            let message = format!("the HTTP client for telemetry cannot start: {}", told(&error));
            Error::internal("XB6061", message)
        })?;
        Ok(Self { client, target, closing, quiet: None })
    }

    /// Sends a message, for `patience` at most.
    pub(crate) async fn send(&mut self, message: &impl Message, patience: Duration) -> Sent {
        let body = match self.encode(message) {
            Ok(body) => body,
            Err(error) => return Sent::Lost { reason: Reason::Refused, why: error.to_string() },
        };
        let end = Instant::now() + patience;
        let mut wait = FIRST_WAIT;
        let mut why = "the collector asked to be left alone".to_owned();
        loop {
            if let Some(quiet) = self.quiet {
                if !self.rest(quiet, end, true).await {
                    return Sent::Lost { reason: Reason::Late, why };
                }
                self.quiet = None;
            }
            let limit = end.min(Instant::now() + self.target.timeout);
            let failed = tokio::select! {
                answered = self.request(body.clone()) => answered,
                () = self.over(limit) => {
                    Err(Failed::Again { after: None, why: "the collector did not answer in time".to_owned() })
                }
            };
            let after = match failed {
                Ok((rejected, why)) => return Sent::Taken { rejected, why },
                Err(Failed::Refused(why)) => return Sent::Lost { reason: Reason::Refused, why },
                Err(Failed::Again { after, why: because }) => {
                    why = because;
                    after
                }
            };
            let next = wait.mul_f64(rand::random_range(0.5..1.0));
            wait = (wait * 2).min(LONGEST_WAIT);
            if let Some(after) = after {
                // Waited for at the next try, of this message or of another one.
                self.quiet = Some(Instant::now() + after.min(LONGEST_QUIET).max(next));
            } else if !self.rest(Instant::now() + next, end, false).await {
                return Sent::Lost { reason: Reason::Late, why };
            }
        }
    }

    fn encode(&self, message: &impl Message) -> std::io::Result<Bytes> {
        let bytes = message.encode_to_vec();
        if !self.target.gzip {
            return Ok(bytes.into());
        }
        let mut encoder = GzEncoder::new(Vec::with_capacity(bytes.len() / 8), Compression::fast());
        encoder.write_all(&bytes)?;
        Ok(encoder.finish()?.into())
    }

    async fn request(&self, body: Bytes) -> Result<(u64, String), Failed> {
        let mut headers = self.target.headers.clone();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-protobuf"));
        if self.target.gzip {
            headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        }
        let request = self.client.post(self.target.url.clone()).headers(headers).body(body);
        let response = request.send().await.map_err(|error| match error.is_builder() {
            true => Failed::Refused(told(&error)),
            false => Failed::Again { after: None, why: told(&error) },
        })?;
        let status = response.status();
        let why = || format!("the collector answered {}", status.as_u16());
        match status {
            _ if status.is_success() => Ok(rejected(response).await),
            StatusCode::TOO_MANY_REQUESTS
            | StatusCode::BAD_GATEWAY
            | StatusCode::SERVICE_UNAVAILABLE
            | StatusCode::GATEWAY_TIMEOUT => {
                Err(Failed::Again { after: retry_after(response.headers(), Timestamp::now()), why: why() })
            }
            _ => Err(Failed::Refused(why())),
        }
    }

    /// Waits until `next`; false: that is past the end. When the server begins to end, there is one more try at
    /// once, unless the wait was the collector's wish.
    async fn rest(&self, next: Instant, end: Instant, wished: bool) -> bool {
        let mut closing = self.closing.clone();
        let closed = *closing.borrow_and_update();
        if let Some(last) = closed {
            let end = end.min(last);
            sleep_until(next.min(end)).await;
            return next < end;
        }
        tokio::select! {
            () = sleep_until(next.min(end)) => next < end,
            // Fails where nobody can close any more, which is an end as well.
            _ = closing.changed() => !wished,
        }
    }

    /// Completes at `limit`, or when the server ends.
    async fn over(&self, limit: Instant) {
        let mut closing = self.closing.clone();
        let closed = async {
            let end = closing.wait_for(Option::is_some).await.ok().and_then(|end| *end);
            sleep_until(end.unwrap_or(limit)).await;
        };
        tokio::select! {
            () = sleep_until(limit) => {}
            () = closed => {}
        }
    }
}

/// How many things in a message that was taken were not, and why. Whoever answers with something else took it.
async fn rejected(mut response: Response) -> (u64, String) {
    let mut bytes = Vec::new();
    while let Ok(Some(piece)) = response.chunk().await {
        bytes.extend_from_slice(&piece);
        if bytes.len() > ANSWER_BYTES {
            return (0, String::new());
        }
    }
    // The answers of all signals have the same form.
    let answer = ExportTraceServiceResponse::decode(bytes.as_slice()).unwrap_or_default();
    let partial = answer.partial_success.unwrap_or_default();
    (u64::try_from(partial.rejected_spans).unwrap_or_default(), partial.error_message)
}

/// When it may be worth trying again: seconds, or a date of HTTP.
fn retry_after(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Some(Duration::from_secs(text.parse().unwrap_or(0xffff_ffff)));
    }
    let at = jiff::fmt::rfc2822::parse(text).ok()?.timestamp();
    Some(Duration::try_from(at.duration_since(now)).unwrap_or_default())
}

fn read(path: &Path) -> Result<Vec<u8>, Error> {
    std::fs::read(path).map_err(|error| Error::invalid("XB6061", format!("{}: {error}", path.display())))
}

fn unusable(path: &Path, error: &reqwest::Error) -> Error {
    Error::invalid("XB6061", format!("{} cannot be used: {}", path.display(), told(error)))
}

/// An error with its causes, which say what the error itself does not.
fn told(error: &reqwest::Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_when_to_come_back() {
        let now: Timestamp = "1994-11-06T08:49:07Z".parse().unwrap();
        let after = |text: &'static str| {
            retry_after(&HeaderMap::from_iter([(RETRY_AFTER, HeaderValue::from_static(text))]), now)
        };
        assert_eq!(after("120"), Some(Duration::from_secs(120)));
        assert_eq!(after("Sun, 06 Nov 1994 08:49:37 GMT"), Some(Duration::from_secs(30)));
        assert_eq!(after("Sun, 06 Nov 1994 08:00:00 GMT"), Some(Duration::ZERO), "it has passed");
        assert!(after("99999999999999999999999").unwrap() > LONGEST_QUIET);
        for nonsense in ["", "-1", "1.5", "soon"] {
            assert_eq!(after(nonsense), None, "{nonsense:?}");
        }
    }
}

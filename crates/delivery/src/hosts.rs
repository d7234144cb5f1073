//! Bringing a result to a URL.

use crate::{
    attempt::Attempt,
    headers,
    options::DeliveryOptions,
    private::{self, PublicOnly},
    shared::Shared,
    trace,
};
use bytes::Bytes;
use http::{
    HeaderMap, StatusCode,
    header::{AUTHORIZATION, COOKIE, HOST, LOCATION},
};
use reqwest::{Client, Response, Url, redirect::Policy};
use std::{sync::Arc, time::Duration};
use tokio::time::Instant;
use xebec_core::{
    Error, Outcome,
    limits::Clock,
    message::Message,
    outcome::{FunctionFault, PlatformFault},
    rules::{hops, retry::Ending},
};

/// So much of an answer is read, so that its connection can be used again; nobody is interested in it.
const READ_BYTES: usize = 64 * 1024;

/// For so long.
const READ_TIME: Duration = Duration::from_secs(1);

/// Brings results to URLs.
pub(crate) struct Hosts {
    client: Client,
    answer: Duration,
    redirects: u32,
    public_only: bool,
}

impl Hosts {
    /// # Errors
    /// `XB6050` where there is no TLS.
    pub(crate) fn new(options: &DeliveryOptions) -> Result<Self, Error> {
        let mut client = Client::builder()
            .connect_timeout(options.connect)
            .timeout(options.answer)
            .pool_idle_timeout(Duration::from_secs(30))
            .pool_max_idle_per_host(4)
            // Followed here: a result stays a POST with its body, wherever it is sent on to.
            .redirect(Policy::none())
            .no_proxy()
            .user_agent(concat!("xebec/", env!("CARGO_PKG_VERSION")));
        if options.forbid_private_destinations {
            client = client.dns_resolver(Arc::new(PublicOnly));
        }
        let client = client.build().map_err(|error| {
            Error::internal("XB6050", format!("the HTTP client for results cannot start: {}", told(&error)))
        })?;
        let public_only = options.forbid_private_destinations;
        Ok(Self { client, answer: options.answer, redirects: options.redirects, public_only })
    }

    /// Sends a message to the URL that its call names. Redirects are followed, never from `https` to `http`.
    pub(crate) async fn post(&self, shared: &Shared, message: &Message, body: Bytes) -> Attempt {
        let began = Instant::now();
        let mut headers = message.call.headers.clone();
        headers.insert(hops::HOPS_HEADER, hops::value(message.hops));
        let span = trace::posting(&shared.options.traces, &mut headers, message);
        let sent = self.send(shared, message, headers, body);
        let mut attempt = match tokio::time::timeout(self.answer, sent).await {
            Ok(attempt) => attempt,
            Err(_) => timed_out(self.answer),
        };
        attempt.took = began.elapsed();
        trace::attempted(span, &attempt);
        attempt
    }

    async fn send(&self, shared: &Shared, message: &Message, mut headers: HeaderMap, body: Bytes) -> Attempt {
        let mut url = match Url::parse(&message.call.uri) {
            Ok(url) => url,
            Err(error) => return refused(format!("{:?} is not a URL: {error}", message.call.uri)),
        };
        for _ in 0..=self.redirects {
            if self.public_only
                && let Err(error) = private::check(&url)
            {
                return refused(error.to_string());
            }
            let request = self.client.post(url.clone()).headers(headers.clone()).body(body.clone());
            let response = match request.send().await {
                Ok(response) => response,
                Err(error) => return self.without_answer(&error),
            };
            let next = match sent_on(&url, &response) {
                Ok(Some(next)) => next,
                Ok(None) => return ended(shared, response).await,
                Err(why) => return refused(why),
            };
            if next.origin() != url.origin() {
                drop_what_is_for_one_server(&mut headers);
            }
            url = next;
        }
        refused(format!("it was sent on more than {} times, at last to {url}", self.redirects))
    }

    fn without_answer(&self, error: &reqwest::Error) -> Attempt {
        if error.is_timeout() && !error.is_connect() {
            return timed_out(self.answer);
        }
        if let Some(why) = private::caused(error) {
            return refused(why);
        }
        if error.is_builder() {
            return refused(told(error));
        }
        let outcome = Outcome::FunctionError(FunctionFault::Crash);
        Attempt::without_answer(outcome, told(error), Duration::ZERO)
    }
}

/// Where an answer sends the request on to. After 303 there is nothing left to send: the server has it.
fn sent_on(from: &Url, response: &Response) -> Result<Option<Url>, String> {
    let on = matches!(
        response.status(),
        StatusCode::MOVED_PERMANENTLY
            | StatusCode::FOUND
            | StatusCode::TEMPORARY_REDIRECT
            | StatusCode::PERMANENT_REDIRECT
    );
    if !on {
        return Ok(None);
    }
    let place = response.headers().get(LOCATION).and_then(|place| place.to_str().ok());
    let Some(place) = place else {
        return Err(format!("it answered {} without saying where to go", response.status().as_u16()));
    };
    let next = from.join(place).map_err(|error| format!("it was sent on to {place:?}: {error}"))?;
    match (from.scheme(), next.scheme()) {
        ("http" | "https", "https") | ("http", "http") => Ok(Some(next)),
        _ => {
            Err(format!("it was sent on from {} to {}, which is not followed", from.scheme(), next.scheme()))
        }
    }
}

fn drop_what_is_for_one_server(headers: &mut HeaderMap) {
    for name in [AUTHORIZATION, COOKIE, HOST] {
        headers.remove(name);
    }
}

async fn ended(shared: &Shared, mut response: Response) -> Attempt {
    let status = response.status();
    let retry_after = headers::retry_after(response.headers(), shared.clock.now());
    let rest = async {
        let mut read = 0;
        while read < READ_BYTES
            && let Ok(Some(piece)) = response.chunk().await
        {
            read += piece.len();
        }
    };
    // Whatever is wrong with the rest, or slow: the status has said all there is to know.
    let _ = tokio::time::timeout(READ_TIME, rest).await;
    let taken = status.is_success() || status == StatusCode::SEE_OTHER;
    let outcome = if taken { Outcome::Success } else { Outcome::ApplicationError };
    Attempt {
        ending: Ending { outcome, status: Some(status.as_u16()), retry_after },
        why: format!("the server answered {}", status.as_u16()),
        answer: None,
        took: Duration::ZERO,
        recorded: false,
        trace: None,
    }
}

fn timed_out(after: Duration) -> Attempt {
    let outcome = Outcome::FunctionError(FunctionFault::Timeout(Clock::Run));
    Attempt::without_answer(outcome, format!("the server did not answer within {after:?}"), after)
}

/// What another attempt would not change.
fn refused(why: String) -> Attempt {
    Attempt::platform(PlatformFault::BadRequest, why)
}

/// An error with its causes, which say what the error itself does not.
fn told(error: &reqwest::Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(status: u16, location: Option<&str>) -> Response {
        let mut response = http::Response::builder().status(status);
        if let Some(location) = location {
            response = response.header(LOCATION, location);
        }
        response.body("").unwrap().into()
    }

    #[test]
    fn is_sent_on_as_far_as_it_is_safe() {
        let secure = Url::parse("https://a.example/x").unwrap();
        let plain = Url::parse("http://a.example/x").unwrap();
        let on = |from: &Url, location| sent_on(from, &answered(307, Some(location)));
        assert_eq!(on(&secure, "/y").unwrap().unwrap().as_str(), "https://a.example/y");
        assert_eq!(on(&plain, "https://b.example/").unwrap().unwrap().as_str(), "https://b.example/");
        assert!(on(&secure, "http://a.example/").unwrap_err().contains("from https to http"));
        assert!(on(&plain, "file:///etc/passwd").is_err());
        assert!(on(&plain, "http://").is_err());
        assert!(sent_on(&plain, &answered(302, None)).is_err());
        for status in [200, 204, 303, 304, 404, 500] {
            assert!(sent_on(&plain, &answered(status, Some("/y"))).unwrap().is_none(), "{status}");
        }
    }
}

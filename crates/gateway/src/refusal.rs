//! What the gateway itself answers: always one JSON object with a code, a sentence and a hint.

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use xebec_core::Body;

/// A request that the gateway turns away, before any door saw it or because it broke off in a door's hands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) status: StatusCode,
    pub(crate) code: &'static str,
    pub(crate) message: &'static str,
    pub(crate) hint: &'static str,
}

impl Refusal {
    pub(crate) const MALFORMED: Self = Self {
        status: StatusCode::BAD_REQUEST,
        code: "XB1020",
        message: "this is not a valid HTTP request",
        hint: "check its request line, header names and Content-Length",
    };
    pub(crate) const PLAIN_ON_TLS: Self = Self {
        status: StatusCode::BAD_REQUEST,
        code: "XB1021",
        message: "this port speaks HTTPS, the request came as plain HTTP",
        hint: "use https:// instead of http://",
    };
    pub(crate) const NO_TARGET: Self = Self {
        status: StatusCode::BAD_REQUEST,
        code: "XB1022",
        message: "the request names no path",
        hint: "this is not a forward proxy: ask for a path that begins with /",
    };
    pub(crate) const TARGET_TOO_LONG: Self = Self {
        status: StatusCode::URI_TOO_LONG,
        code: "XB1023",
        message: "path and query are longer than this server takes",
        hint: "send long parameters in the body",
    };
    pub(crate) const HEAD_TOO_LARGE: Self = Self {
        status: StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
        code: "XB1024",
        message: "the request's head has more fields or bytes than this server takes",
        hint: "send fewer or shorter headers (large cookies are a usual cause)",
    };
    pub(crate) const BODY_TOO_LARGE: Self = Self {
        status: StatusCode::PAYLOAD_TOO_LARGE,
        code: "XB1025",
        message: "the body is larger than this server takes",
        hint: "send less, or raise the server's limit for bodies",
    };
    pub(crate) const HEAD_TOO_SLOW: Self = Self {
        status: StatusCode::REQUEST_TIMEOUT,
        code: "XB1026",
        message: "the request's head did not arrive in time",
        hint: "send it in one piece",
    };
    pub(crate) const BODY_TOO_SLOW: Self = Self {
        status: StatusCode::REQUEST_TIMEOUT,
        code: "XB1027",
        message: "the body stopped arriving",
        hint: "send all of the bytes that Content-Length announces, without long pauses",
    };
    pub(crate) const TOO_MANY_CONNECTIONS: Self = Self {
        status: StatusCode::SERVICE_UNAVAILABLE,
        code: "XB6001",
        message: "the server has as many connections as it takes",
        hint: "close idle ones, or raise the server's limit for connections",
    };
    pub(crate) const DEFECT: Self = Self {
        status: StatusCode::INTERNAL_SERVER_ERROR,
        code: "XB6002",
        message: "the server made a mistake while answering",
        hint: "its log says more; please report it",
    };

    /// As an answer within HTTP.
    pub(crate) fn answer(&self) -> Response<Body> {
        let mut response = json(self.status, self.body());
        if self.status == StatusCode::SERVICE_UNAVAILABLE {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }

    /// As the bytes of an HTTP/1.1 answer, for where the HTTP library answers nothing, or a bare status.
    pub(crate) fn raw(&self) -> Bytes {
        let body = self.body();
        let later = if self.status == StatusCode::SERVICE_UNAVAILABLE { "retry-after: 1\r\n" } else { "" };
        let head = format!(
            "HTTP/1.1 {} {}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n{later}connection: close\r\n\r\n",
            self.status.as_str(),
            self.status.canonical_reason().unwrap_or_default(),
            body.len(),
        );
        [head.as_bytes(), &body].concat().into()
    }

    fn body(&self) -> Bytes {
        sentence(self.code, self.message, Some(self.hint))
    }
}

/// The body of every refusal.
pub(crate) fn sentence(code: &str, message: &str, hint: Option<&str>) -> Bytes {
    let mut object = serde_json::json!({ "code": code, "message": message });
    if let Some(hint) = hint {
        object["hint"] = hint.into();
    }
    let mut text = object.to_string();
    text.push('\n');
    text.into()
}

/// A JSON answer.
pub(crate) fn json(status: StatusCode, body: impl Into<Bytes>) -> Response<Body> {
    let mut response = Response::new(Body::full(body));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

//! Outcome and error → OpenWhisk's status and body: the only place where that happens.
//!
//! Clients' tests compare texts, so they are OpenWhisk's own.

use crate::{
    payload::{Malformed, Unmerged},
    throttle::Throttled,
    web::{UnfitRequest, UnfitResult},
};
use http::{HeaderValue, Response, StatusCode, header};
use serde_json::json;
use std::borrow::Cow;
use xebec_core::{
    Body, Error, InvokeError, Outcome, body::CollectError, error::ErrorKind, outcome::PlatformFault,
};

/// What a request is turned away with: a status and a sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Rejection {
    pub(crate) status: StatusCode,
    pub(crate) message: Cow<'static, str>,
}

impl Rejection {
    pub(crate) fn new(status: StatusCode, message: impl Into<Cow<'static, str>>) -> Self {
        Self { status, message: message.into() }
    }

    /// Something that the request says is wrong.
    pub(crate) fn bad_request(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message)
    }

    pub(crate) fn conflict(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::CONFLICT, message)
    }

    /// There is nothing of that name.
    pub(crate) const fn not_found() -> Self {
        Self {
            status: StatusCode::NOT_FOUND,
            message: Cow::Borrowed("The requested resource does not exist."),
        }
    }

    /// There is something of that name, and it is something else.
    pub(crate) const fn other_collection() -> Self {
        Self {
            status: StatusCode::CONFLICT,
            message: Cow::Borrowed("Resource by this name exists but is not in this collection."),
        }
    }

    /// There is one already, and it was not to be changed.
    pub(crate) const fn exists_already() -> Self {
        Self { status: StatusCode::CONFLICT, message: Cow::Borrowed("resource already exists") }
    }

    /// It was changed by someone else meanwhile.
    pub(crate) const fn changed_meanwhile() -> Self {
        Self {
            status: StatusCode::CONFLICT,
            message: Cow::Borrowed("Concurrent modification to resource detected."),
        }
    }

    /// Bad credentials.
    pub(crate) const fn bad_credentials() -> Self {
        Self {
            status: StatusCode::UNAUTHORIZED,
            message: Cow::Borrowed("The supplied authentication is invalid"),
        }
    }

    /// No credentials.
    pub(crate) const fn unauthorized() -> Self {
        Self {
            status: StatusCode::UNAUTHORIZED,
            message: Cow::Borrowed(
                "The resource requires authentication, which was not supplied with the request",
            ),
        }
    }

    /// These credentials may not do it; `what` is the path of what it was to be done to.
    pub(crate) fn forbidden(what: impl std::fmt::Display) -> Self {
        let message = format!("The supplied authentication is not authorized to access '{what}'.");
        Self::new(StatusCode::FORBIDDEN, message)
    }

    /// A kind that actions of the namespace may not be of.
    pub(crate) fn forbidden_kind(kind: &str) -> Self {
        let message =
            format!("The supplied authentication is not authorized to access actions of kind '{kind}'.");
        Self::new(StatusCode::FORBIDDEN, message)
    }

    /// A body that cannot be read.
    pub(crate) fn malformed(fault: impl std::fmt::Display) -> Self {
        Self::bad_request(format!("The request content was malformed:\n{fault}"))
    }

    /// More than is taken; `what` is `Request`, `Code`, `Parameters` or `Annotations`.
    pub(crate) fn too_large(what: &str, is: u64, allowed: u64) -> Self {
        let message = format!("{what} larger than allowed: {is} > {allowed} bytes.");
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, message)
    }

    /// A path that is none of this API's.
    pub(crate) const fn no_such_route() -> Self {
        Self {
            status: StatusCode::NOT_FOUND,
            message: Cow::Borrowed("The requested resource could not be found."),
        }
    }

    /// A path of this API's, but not with this method.
    pub(crate) fn no_such_method(allowed: &str) -> Self {
        let message = format!("HTTP method not allowed, supported methods: {allowed}");
        Self::new(StatusCode::METHOD_NOT_ALLOWED, message)
    }

    /// It names parameters that it may not set.
    pub(crate) const fn not_allowed() -> Self {
        let message = "Request defines parameters that are not allowed (e.g., reserved properties).";
        Self { status: StatusCode::BAD_REQUEST, message: Cow::Borrowed(message) }
    }

    /// A call that goes on without its caller.
    pub(crate) const fn not_ready() -> Self {
        Self { status: StatusCode::ACCEPTED, message: Cow::Borrowed("Response not yet ready.") }
    }

    /// A web action that failed: in which way is not everyone's business.
    pub(crate) const fn not_processed() -> Self {
        let message = "There was an error processing your request.";
        Self { status: StatusCode::BAD_REQUEST, message: Cow::Borrowed(message) }
    }

    /// A result that lacks what was asked for.
    pub(crate) const fn no_property() -> Self {
        let message = "Response does not include requested property.";
        Self { status: StatusCode::NOT_FOUND, message: Cow::Borrowed(message) }
    }

    /// Something is wrong here.
    pub(crate) const fn internal() -> Self {
        let message = "There was an internal server error.";
        Self { status: StatusCode::INTERNAL_SERVER_ERROR, message: Cow::Borrowed(message) }
    }

    /// These credentials may not do it; to what is not said.
    const fn forbidden_here() -> Self {
        let message = "The supplied authentication is not authorized to access this resource.";
        Self { status: StatusCode::FORBIDDEN, message: Cow::Borrowed(message) }
    }

    /// All that could run it is in use, and so is the room to wait.
    const fn too_many_in_flight() -> Self {
        let message = "Too many concurrent requests in flight.";
        Self { status: StatusCode::TOO_MANY_REQUESTS, message: Cow::Borrowed(message) }
    }

    /// Nothing that could run it is there.
    const fn unavailable() -> Self {
        let message =
            "The server is currently unavailable (because it is overloaded or down for maintenance).";
        Self { status: StatusCode::SERVICE_UNAVAILABLE, message: Cow::Borrowed(message) }
    }

    /// A call that the platform turned away; `None`: it was made, and how it ended is an activation.
    pub(crate) fn of_call(error: &InvokeError) -> Option<Self> {
        let Outcome::PlatformError(fault) = error.outcome else { return None };
        let said = |status| Some(Self::new(status, error.message.clone()));
        match fault {
            PlatformFault::NotFound => Some(Self::not_found()),
            PlatformFault::Forbidden => Some(Self::forbidden_here()),
            PlatformFault::Overloaded => Some(Self::too_many_in_flight()),
            PlatformFault::Unavailable => Some(Self::unavailable()),
            PlatformFault::TooLarge => said(StatusCode::PAYLOAD_TOO_LARGE),
            PlatformFault::BadRequest => said(StatusCode::BAD_REQUEST),
            PlatformFault::Loop => said(StatusCode::LOOP_DETECTED),
            PlatformFault::Cancelled | PlatformFault::Internal => None,
        }
    }

    /// A call that could not be accepted to be made later.
    pub(crate) fn of_submission(error: &Error) -> Self {
        let said = |status| Self::new(status, format!("{error} [{}]", error.code));
        match (error.code, error.kind) {
            ("XB2002", _) | (_, ErrorKind::NotFound) => Self::not_found(),
            // Full: more may be accepted when some of it is done.
            ("XB4020", _) => Self::too_many_in_flight(),
            ("XB2013", _) => said(StatusCode::LOOP_DETECTED),
            ("XB4002", _) | (_, ErrorKind::Unavailable) => Self::unavailable(),
            (_, ErrorKind::Forbidden) => Self::forbidden_here(),
            (_, ErrorKind::TooLarge) => said(StatusCode::PAYLOAD_TOO_LARGE),
            (_, ErrorKind::Invalid | ErrorKind::Refused | ErrorKind::Conflict) => {
                said(StatusCode::BAD_REQUEST)
            }
            (_, ErrorKind::Internal) => said(StatusCode::INTERNAL_SERVER_ERROR),
        }
    }

    /// The answer: the sentence, and the transaction's id as its code.
    pub(crate) fn answer(&self, transaction: &str) -> Response<Body> {
        let mut response = json(self.status, &json!({ "error": self.message, "code": transaction }));
        if self.status == StatusCode::UNAUTHORIZED {
            let challenge = HeaderValue::from_static("Basic realm=\"OpenWhisk secure realm\"");
            response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
        }
        response
    }
}

impl From<Error> for Rejection {
    /// What engine and store say of a request of management.
    fn from(error: Error) -> Self {
        let status = match error.kind {
            ErrorKind::Invalid | ErrorKind::Refused => StatusCode::BAD_REQUEST,
            ErrorKind::NotFound => return Self::not_found(),
            ErrorKind::Conflict => return Self::changed_meanwhile(),
            ErrorKind::Forbidden => StatusCode::FORBIDDEN,
            ErrorKind::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            ErrorKind::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            ErrorKind::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Self::new(status, format!("{error} [{}]", error.code))
    }
}

impl From<Malformed> for Rejection {
    fn from(Malformed(fault): Malformed) -> Self {
        Self::malformed(fault)
    }
}

impl From<Unmerged> for Rejection {
    fn from(unmerged: Unmerged) -> Self {
        match unmerged {
            Unmerged::Malformed(malformed) => malformed.into(),
            Unmerged::Locked => Self::not_allowed(),
        }
    }
}

impl From<UnfitRequest> for Rejection {
    fn from(unfit: UnfitRequest) -> Self {
        match unfit {
            UnfitRequest::Malformed(fault) => Self::malformed(fault),
            UnfitRequest::NotAllowed => Self::not_allowed(),
        }
    }
}

impl From<UnfitResult> for Rejection {
    /// A web action's result that is not what was asked for.
    fn from(unfit: UnfitResult) -> Self {
        match unfit {
            UnfitResult::Not(media) => Self::bad_request(format!("Response is not valid '{media}'.")),
            UnfitResult::Missing => Self::no_property(),
            UnfitResult::UnknownType => Self::bad_request("Response did not specify a known content-type."),
            UnfitResult::OtherType => {
                Self::bad_request("Response type in header did not match generated content type.")
            }
        }
    }
}

impl From<Throttled> for Rejection {
    /// A namespace that does too much.
    fn from(throttled: Throttled) -> Self {
        let message = match throttled {
            Throttled::Rate { count, allowed } => {
                format!("Too many requests in the last minute (count: {count}, allowed: {allowed}).")
            }
            Throttled::Concurrency { count, allowed } => {
                format!("Too many concurrent requests in flight (count: {count}, allowed: {allowed}).")
            }
        };
        Self::new(StatusCode::TOO_MANY_REQUESTS, message)
    }
}

impl From<CollectError> for Rejection {
    /// A body that could not be read whole.
    fn from(error: CollectError) -> Self {
        match error {
            // How long it would have been nobody knows: more than is taken.
            CollectError::TooLarge(limit) => Self::too_large("Request", limit.saturating_add(1), limit),
            CollectError::Broken(reason) => Self::bad_request(format!("The request broke off: {reason}")),
        }
    }
}

/// An answer in JSON.
pub(crate) fn json(status: StatusCode, value: &serde_json::Value) -> Response<Body> {
    let mut response = Response::new(Body::full(value.to_string()));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// An answer without a body.
pub(crate) fn empty(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response
}

//! Bodies of requests and answers.

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll},
};

/// Why a body ended before its end.
pub type BodyError = Box<dyn std::error::Error + Send + Sync>;

/// A body: nothing, bytes at hand, or a stream.
pub struct Body(Inner);

enum Inner {
    Full(Option<Bytes>),
    Stream(Pin<Box<dyn http_body::Body<Data = Bytes, Error = BodyError> + Send>>),
}

impl Body {
    /// A body of no bytes.
    pub const fn empty() -> Self {
        Self(Inner::Full(None))
    }

    /// A body whose bytes are at hand.
    pub fn full(bytes: impl Into<Bytes>) -> Self {
        let bytes = bytes.into();
        Self(Inner::Full(if bytes.is_empty() { None } else { Some(bytes) }))
    }

    /// A body that arrives over time.
    pub fn stream<B>(body: B) -> Self
    where
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BodyError>,
    {
        use http_body_util::BodyExt as _;
        Self(Inner::Stream(Box::pin(body.map_err(Into::into))))
    }

    /// The bytes, where they are at hand: such a body can be sent again.
    pub fn replay(&self) -> Option<Bytes> {
        match &self.0 {
            Inner::Full(bytes) => Some(bytes.clone().unwrap_or_default()),
            Inner::Stream(_) => None,
        }
    }

    /// Reads it to its end.
    ///
    /// # Errors
    /// [`CollectError::TooLarge`] past `limit` bytes, [`CollectError::Broken`] where the sender stopped.
    pub async fn collect(self, limit: u64) -> Result<Bytes, CollectError> {
        use http_body_util::BodyExt as _;
        match self.0 {
            Inner::Full(bytes) => {
                let bytes = bytes.unwrap_or_default();
                if bytes.len() as u64 > limit { Err(CollectError::TooLarge(limit)) } else { Ok(bytes) }
            }
            Inner::Stream(mut stream) => {
                if stream.size_hint().lower() > limit {
                    return Err(CollectError::TooLarge(limit));
                }
                let mut first = Bytes::new();
                let mut rest = Vec::new();
                while let Some(frame) = stream.frame().await {
                    let frame = frame.map_err(CollectError::Broken)?;
                    let Ok(data) = frame.into_data() else { continue };
                    if (first.len() + rest.len() + data.len()) as u64 > limit {
                        return Err(CollectError::TooLarge(limit));
                    }
                    if first.is_empty() && rest.is_empty() {
                        first = data;
                    } else {
                        if rest.is_empty() {
                            rest.extend_from_slice(&first);
                            first = Bytes::new();
                        }
                        rest.extend_from_slice(&data);
                    }
                }
                Ok(if rest.is_empty() { first } else { rest.into() })
            }
        }
    }
}

/// Why a body could not be read whole.
#[derive(Debug, thiserror::Error)]
pub enum CollectError {
    /// It is larger than allowed.
    #[error("the body is larger than {0} bytes")]
    TooLarge(u64),
    /// Its sender stopped in the middle.
    #[error("the body broke off: {0}")]
    Broken(#[source] BodyError),
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match &mut self.0 {
            Inner::Full(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Inner::Stream(stream) => stream.as_mut().poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Inner::Full(bytes) => bytes.is_none(),
            Inner::Stream(stream) => stream.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Inner::Full(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, |b| b.len() as u64)),
            Inner::Stream(stream) => stream.size_hint(),
        }
    }
}

impl Default for Body {
    fn default() -> Self {
        Self::empty()
    }
}

impl<T: Into<Bytes>> From<T> for Body {
    fn from(bytes: T) -> Self {
        Self::full(bytes)
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Inner::Full(bytes) => write!(f, "Body({} bytes)", bytes.as_ref().map_or(0, Bytes::len)),
            Inner::Stream(_) => f.write_str("Body(stream)"),
        }
    }
}

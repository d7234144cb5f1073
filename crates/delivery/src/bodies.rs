//! Bodies that wait: small ones within their message, large ones as blobs.

use bytes::Bytes;
use http_body::{Body as _, Frame, SizeHint};
use http_body_util::BodyExt as _;
use std::{
    collections::VecDeque,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use xebec_core::{
    Body, BodyError, Digest, Error, ErrorKind, InvocationId,
    message::{INLINE_BYTES, Payload},
    ports::blobs::Blobs,
};

/// A blob begins with so many bytes of its message's id.
const ID_BYTES: usize = 16;

/// Blobs larger than this are hashed where it blocks nobody.
const HASH_INLINE: usize = 256 * 1024;

/// Memory is counted in units of so many bytes.
const UNIT: u64 = 1024;

/// Bodies that wait.
pub(crate) struct Bodies {
    blobs: Arc<dyn Blobs>,
    memory: Arc<Semaphore>,
    units: u32,
}

/// A body in memory; the memory is free again when it is dropped.
pub(crate) struct Opened {
    pub(crate) bytes: Bytes,
    _memory: Option<OwnedSemaphorePermit>,
}

impl Bodies {
    pub(crate) fn new(blobs: Arc<dyn Blobs>, memory_bytes: u64) -> Self {
        let units = u32::try_from((memory_bytes / UNIT).max(1)).unwrap_or(u32::MAX).min(1 << 28);
        Self { blobs, memory: Arc::new(Semaphore::new(units as usize)), units }
    }

    pub(crate) fn blobs(&self) -> &dyn Blobs {
        &*self.blobs
    }

    /// Keeps what a caller sends.
    ///
    /// # Errors
    /// `XB2012` larger than `limit`, `XB4013` it broke off; and what the blobs say.
    pub(crate) async fn keep(&self, id: InvocationId, body: Body, limit: u64) -> Result<Payload, Error> {
        if body.size_hint().lower() > limit {
            return Err(too_large(limit));
        }
        if let Some(bytes) = body.replay() {
            return self.keep_bytes(id, bytes).await;
        }
        let mut body = body;
        let mut pieces = Vec::new();
        let mut total = 0u64;
        while total <= INLINE_BYTES as u64 {
            let Some(frame) = body.frame().await else {
                return Ok(Payload::Inline(whole(pieces, total)));
            };
            let Ok(data) = frame.map_err(|error| broke_off(&error))?.into_data() else { continue };
            total += data.len() as u64;
            if total > limit {
                return Err(too_large(limit));
            }
            if !data.is_empty() {
                pieces.push(data);
            }
        }
        self.store(id, pieces, body, limit).await
    }

    /// Keeps bytes that are at hand.
    ///
    /// # Errors
    /// What the blobs say.
    pub(crate) async fn keep_bytes(&self, id: InvocationId, bytes: Bytes) -> Result<Payload, Error> {
        if bytes.len() <= INLINE_BYTES {
            return Ok(Payload::Inline(bytes));
        }
        let limit = bytes.len() as u64;
        self.store(id, vec![bytes], Body::empty(), limit).await
    }

    async fn store(
        &self,
        id: InvocationId,
        pieces: Vec<Bytes>,
        rest: Body,
        limit: u64,
    ) -> Result<Payload, Error> {
        let mut ready = VecDeque::with_capacity(pieces.len() + 1);
        ready.push_back(Bytes::copy_from_slice(id.0.as_bytes()));
        ready.extend(pieces);
        let body = Body::stream(Pieces { ready, rest });
        let with_id = limit.saturating_add(ID_BYTES as u64);
        match self.blobs.put(body, with_id).await {
            Ok((digest, bytes)) => Ok(Payload::Blob { digest, bytes: bytes.saturating_sub(ID_BYTES as u64) }),
            Err(error) if error.code == "XB4011" => Err(too_large(limit)),
            Err(error) => Err(error),
        }
    }

    /// The body of a message, in memory as long as the answer lives. Waits for memory.
    ///
    /// # Errors
    /// `XB4010` and `XB4012` where it is lost or not what was sent; and what the blobs say.
    pub(crate) async fn open(&self, id: InvocationId, payload: &Payload) -> Result<Opened, Error> {
        let (digest, bytes) = match payload {
            Payload::Inline(bytes) => return Ok(Opened { bytes: bytes.clone(), _memory: None }),
            Payload::Blob { digest, bytes } => (*digest, *bytes),
        };
        let units = u32::try_from(bytes / UNIT + 1).unwrap_or(u32::MAX).min(self.units);
        // Never closed, so never an error; then there is nothing to give back either.
        let memory = self.memory.clone().acquire_many_owned(units).await.ok();
        let blob = self.blobs.get(&digest).await?;
        let starts_with_id = blob.len() >= ID_BYTES && blob[..ID_BYTES] == id.0.as_bytes()[..];
        if !starts_with_id || blob.len() as u64 - ID_BYTES as u64 != bytes || !is(digest, &blob).await {
            let message = format!("the body of {id} is damaged: the blob {digest} has another content");
            return Err(Error::internal("XB4012", message));
        }
        Ok(Opened { bytes: blob.slice(ID_BYTES..), _memory: memory })
    }

    /// Deletes the blob of a message that is over. What cannot be deleted now is found by the sweep.
    pub(crate) async fn forget(&self, payload: &Payload) {
        if let Payload::Blob { digest, .. } = payload
            && let Err(error) = self.blobs.delete(digest).await
        {
            tracing::debug!(%error, %digest, "the body of a message that is over stays for now");
        }
    }
}

/// Whether these bytes have that digest.
async fn is(digest: Digest, blob: &Bytes) -> bool {
    if blob.len() <= HASH_INLINE {
        return Digest::of(blob) == digest;
    }
    let blob = blob.clone();
    // A task that panicked has not shown that they are equal.
    tokio::task::spawn_blocking(move || Digest::of(&blob) == digest).await.unwrap_or(false)
}

fn whole(mut pieces: Vec<Bytes>, total: u64) -> Bytes {
    if pieces.len() <= 1 {
        return pieces.pop().unwrap_or_default();
    }
    let mut bytes = Vec::with_capacity(usize::try_from(total).unwrap_or(0));
    pieces.iter().for_each(|piece| bytes.extend_from_slice(piece));
    bytes.into()
}

fn too_large(limit: u64) -> Error {
    let message = format!("the body is larger than {limit} bytes, which is what the function takes");
    Error::new(ErrorKind::TooLarge, "XB2012", message)
        .with_hint("send less, or raise the function's limit on request bodies")
}

fn broke_off(error: &BodyError) -> Error {
    Error::invalid("XB4013", format!("the body broke off: {error}"))
}

/// Bytes at hand, then what streams on.
struct Pieces {
    ready: VecDeque<Bytes>,
    rest: Body,
}

impl http_body::Body for Pieces {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match self.ready.pop_front() {
            Some(piece) => Poll::Ready(Some(Ok(Frame::data(piece)))),
            None => Pin::new(&mut self.rest).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.ready.is_empty() && self.rest.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let ready: u64 = self.ready.iter().map(|piece| piece.len() as u64).sum();
        let rest = self.rest.size_hint();
        let mut hint = SizeHint::new();
        hint.set_lower(ready + rest.lower());
        if let Some(upper) = rest.upper() {
            hint.set_upper(ready + upper);
        }
        hint
    }
}

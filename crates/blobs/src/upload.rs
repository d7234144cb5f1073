//! Storing a blob.

use crate::{LocalBlobs, fault::fault, layout};
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt as _;
use object_store::{MultipartUpload, ObjectStoreExt as _};
use sha2::{Digest as _, Sha256};
use std::{fs::File, time::SystemTime};
use xebec_core::{Body, BodyError, Digest, Error, ErrorKind};

const DOING: &str = "store the blob";

/// What is collected before it is written: a blob of this size or less is written under its name at once.
const PIECE: usize = 1024 * 1024;
/// What is hashed where it is; hashing more would hold up other tasks, and goes to a thread of its own.
const HASHED_IN_PLACE: usize = 64 * 1024;

pub(crate) async fn put(blobs: &LocalBlobs, body: Body, limit: u64) -> Result<(Digest, u64), Error> {
    if let Some(bytes) = body.replay() {
        if bytes.len() as u64 > limit {
            return Err(too_large(limit));
        }
        return put_whole(blobs, bytes).await;
    }
    let mut pieces = Pieces { body, left: limit, limit };
    let first = pieces.next().await?;
    if first.len() < PIECE {
        return put_whole(blobs, first).await;
    }
    put_pieces(blobs, first, pieces).await
}

async fn put_whole(blobs: &LocalBlobs, bytes: Bytes) -> Result<(Digest, u64), Error> {
    let size = bytes.len() as u64;
    let digest = Digest::from_bytes(absorb(Sha256::new(), bytes.clone()).await?.finalize().into());
    if !known(blobs, digest, size).await? {
        blobs.files.put(&layout::path(&digest), bytes.into()).await.map_err(|error| fault(DOING, error))?;
    }
    Ok((digest, size))
}

async fn put_pieces(blobs: &LocalBlobs, first: Bytes, rest: Pieces) -> Result<(Digest, u64), Error> {
    let incoming = layout::incoming();
    let mut upload = blobs.files.put_multipart(&incoming).await.map_err(|error| fault(DOING, error))?;
    let (digest, size) = match receive(upload.as_mut(), first, rest).await {
        Ok(received) => received,
        Err(error) => {
            // What cannot be removed now goes at the next start.
            let _ = upload.abort().await;
            return Err(error);
        }
    };
    let named = async {
        if known(blobs, digest, size).await? {
            return blobs.files.delete(&incoming).await.map_err(|error| fault(DOING, error));
        }
        blobs.files.rename(&incoming, &layout::path(&digest)).await.map_err(|error| fault(DOING, error))
    };
    if let Err(error) = named.await {
        let _ = blobs.files.delete(&incoming).await;
        return Err(error);
    }
    Ok((digest, size))
}

/// Writes all pieces and makes them durable, still without their name.
async fn receive(
    upload: &mut dyn MultipartUpload,
    first: Bytes,
    mut rest: Pieces,
) -> Result<(Digest, u64), Error> {
    let (mut hash, mut size) = (Sha256::new(), 0);
    let mut piece = first;
    while !piece.is_empty() {
        size += piece.len() as u64;
        upload.put_part(piece.clone().into()).await.map_err(|error| fault(DOING, error))?;
        hash = absorb(hash, piece).await?;
        piece = rest.next().await?;
    }
    upload.complete().await.map_err(|error| fault(DOING, error))?;
    Ok((Digest::from_bytes(hash.finalize().into()), size))
}

/// Whether the blob is there already, whole and durable. It counts as stored now: a collector of garbage
/// that goes by age must not take it for an old one that nobody needs.
async fn known(blobs: &LocalBlobs, digest: Digest, size: u64) -> Result<bool, Error> {
    if blobs.size(&digest).await? != Some(size) {
        return Ok(false);
    }
    let file = blobs.directory.join(layout::path(&digest).as_ref());
    let touched = tokio::task::spawn_blocking(move || {
        File::options().write(true).open(&file)?.set_modified(SystemTime::now())?;
        // Whoever stored it may not have got as far as this yet.
        file.parent().map_or(Ok(()), layout::sync)
    });
    match touched.await {
        Ok(Ok(())) => Ok(true),
        // Deleted meanwhile.
        Ok(Err(error)) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
        Ok(Err(error)) => Err(fault(DOING, error)),
        Err(stopped) => Err(fault(DOING, stopped)),
    }
}

pub(crate) async fn absorb(mut hash: Sha256, bytes: Bytes) -> Result<Sha256, Error> {
    if bytes.len() <= HASHED_IN_PLACE {
        hash.update(&bytes);
        return Ok(hash);
    }
    tokio::task::spawn_blocking(move || {
        hash.update(&bytes);
        hash
    })
    .await
    .map_err(|stopped| fault("hash the blob", stopped))
}

/// A body in pieces of [`PIECE`] or a little more; the last one may be smaller, and after it come empty ones.
struct Pieces {
    body: Body,
    left: u64,
    limit: u64,
}

impl Pieces {
    async fn next(&mut self) -> Result<Bytes, Error> {
        let mut piece = BytesMut::new();
        while piece.len() < PIECE {
            let Some(frame) = self.body.frame().await else { break };
            let Ok(data) = frame.map_err(broken)?.into_data() else { continue };
            self.left = self.left.checked_sub(data.len() as u64).ok_or_else(|| too_large(self.limit))?;
            piece.extend_from_slice(&data);
        }
        Ok(piece.freeze())
    }
}

fn too_large(limit: u64) -> Error {
    Error::new(ErrorKind::TooLarge, "XB4011", format!("it is larger than the {limit} bytes that are allowed"))
        .with_hint("send less, or have the limit raised")
}

fn broken(error: BodyError) -> Error {
    Error::invalid("XB4013", format!("the upload broke off: {error}")).with_hint("send it again")
}

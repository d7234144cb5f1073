//! What every place for blobs does.

use bytes::Bytes;
use futures_util::{future::join_all, stream};
use http_body::Frame;
use http_body_util::StreamBody;
use xebec_core::{Body, BodyError, Digest, ports::blobs::Blobs};

const LIMIT: u64 = 16 * 1024 * 1024;

/// Bytes that are not all the same.
fn content(size: usize) -> Bytes {
    (0..size).map(|index| (index * 31 + index / 251) as u8).collect::<Vec<_>>().into()
}

fn streamed(content: &Bytes, piece: usize, then: Option<&'static str>) -> Body {
    let pieces = content.chunks(piece).map(|piece| Ok(Frame::data(Bytes::copy_from_slice(piece))));
    let broken = then.map(|why| Err(BodyError::from(why)));
    Body::stream(StreamBody::new(stream::iter(pieces.chain(broken).collect::<Vec<_>>())))
}

/// Put, get, has.
pub async fn keeps_what_it_is_given(blobs: &dyn Blobs) {
    for size in [0, 1, 1000, 3_000_000] {
        let content = content(size);
        let (digest, bytes) = blobs.put(Body::full(content.clone()), LIMIT).await.unwrap();
        assert_eq!((digest, bytes), (Digest::of(&content), size as u64));
        assert!(blobs.has(&digest).await.unwrap());
        assert_eq!(blobs.get(&digest).await.unwrap(), content);
    }
}

/// Streams whose sizes lie around what implementations collect before they write.
pub async fn keeps_streams_of_any_size(blobs: &dyn Blobs) {
    let mebibyte = 1024 * 1024;
    for size in [0, 1, mebibyte - 1, mebibyte, mebibyte + 1, 5 * mebibyte, 9 * mebibyte + 17] {
        for piece in [7919, mebibyte, 3 * mebibyte] {
            let content = content(size);
            let (digest, bytes) = blobs.put(streamed(&content, piece, None), LIMIT).await.unwrap();
            assert_eq!((digest, bytes), (Digest::of(&content), size as u64));
            assert_eq!(blobs.get(&digest).await.unwrap(), content);
            blobs.delete(&digest).await.unwrap();
        }
    }
}

/// The same content twice is one blob, and counts as fresh.
pub async fn names_equal_contents_once(blobs: &dyn Blobs) {
    let content = content(2_000_000);
    let first = blobs.put(Body::full(content.clone()), LIMIT).await.unwrap();
    let second = blobs.put(streamed(&content, 100_000, None), LIMIT).await.unwrap();
    assert_eq!(first, second);
    let listed = blobs.list().await.unwrap();
    assert_eq!(listed.len(), 1);
    assert_eq!((listed[0].digest, listed[0].bytes), first);
    assert!(listed[0].age_seconds < 60);
}

/// The limit itself is allowed, one byte more is not, however it arrives.
pub async fn refuses_what_is_larger_than_allowed(blobs: &dyn Blobs) {
    for size in [10, 3_000_000] {
        let content = content(size);
        let limit = size as u64;
        blobs.put(Body::full(content.clone()), limit).await.unwrap();
        blobs.put(streamed(&content, 1000, None), limit).await.unwrap();
        blobs.delete(&Digest::of(&content)).await.unwrap();
        for body in [Body::full(content.clone()), streamed(&content, 1000, None)] {
            assert_eq!(blobs.put(body, limit - 1).await.unwrap_err().code, "XB4011");
        }
    }
    assert!(blobs.list().await.unwrap().is_empty());
}

/// An upload that ends in the middle is an error and leaves nothing.
pub async fn keeps_nothing_of_what_broke_off(blobs: &dyn Blobs) {
    for size in [10, 3_000_000] {
        let body = streamed(&content(size), 1000, Some("the client went away"));
        assert_eq!(blobs.put(body, LIMIT).await.unwrap_err().code, "XB4013");
    }
    assert!(blobs.list().await.unwrap().is_empty());
}

/// Unknown blobs.
pub async fn tells_what_it_does_not_know(blobs: &dyn Blobs) {
    let unknown = Digest::of("unknown");
    assert_eq!(blobs.get(&unknown).await.unwrap_err().code, "XB4010");
    assert!(!blobs.has(&unknown).await.unwrap());
    blobs.delete(&unknown).await.unwrap();
}

/// All of them, and fewer after a deletion.
pub async fn lists_and_deletes(blobs: &dyn Blobs) {
    let mut digests = Vec::new();
    for size in 0..30 {
        digests.push(blobs.put(Body::full(content(size)), LIMIT).await.unwrap().0);
    }
    digests.sort();
    let listed =
        || async { blobs.list().await.unwrap().into_iter().map(|blob| blob.digest).collect::<Vec<_>>() };
    assert_eq!(listed().await, digests);
    for digest in digests.drain(..10) {
        blobs.delete(&digest).await.unwrap();
        assert!(!blobs.has(&digest).await.unwrap());
    }
    assert_eq!(listed().await, digests);
}

/// Many at once, of which several bring the same.
pub async fn takes_the_same_from_many_at_once(blobs: &dyn Blobs) {
    let puts = (0..40_usize).map(|number| async move {
        let content = content(1_048_000 + (number % 4) * 1000);
        let (digest, _) = blobs.put(streamed(&content, 65_536, None), LIMIT).await.unwrap();
        assert_eq!(blobs.get(&digest).await.unwrap(), content);
    });
    join_all(puts).await;
    assert_eq!(blobs.list().await.unwrap().len(), 4);
}

//! Where documents live.

use crate::{
    document::{Document, DocumentKey, Expect, List, ListQuery, WatchEvent, Write},
    error::Error,
};
use async_trait::async_trait;
use futures_util::stream::{self, BoxStream, StreamExt as _};

/// Where documents live. A write that answered is on disk and survives `kill -9` and power loss.
///
/// Errors: `XB4001` conflict ([`Expect`] not met), `XB4002` storage full (reads go on), `XB4003` storage
/// failed, `XB4004` a watch from a version that is no longer kept: list again, `XB4005` busy: try again,
/// `XB4008` a document or batch larger than the store takes, `XB4009` a copy would overwrite something.
#[async_trait]
pub trait Store: Send + Sync {
    /// The document of that key, as of now.
    async fn get(&self, key: &DocumentKey) -> Result<Option<Document>, Error>;

    /// Documents of a kind, sorted by namespace and name.
    async fn list(&self, query: &ListQuery) -> Result<List, Error>;

    /// Writes all or nothing, and answers once it is on disk: what is now stored for each `Put`, and the
    /// deleted document (if there was one) for each `Delete`, in order.
    async fn write(&self, writes: Vec<Write>) -> Result<Vec<Option<Document>>, Error>;

    /// Changes of `kind` (of all kinds where it is `None`) after `version`, in order, without gaps, for as
    /// long as the stream is polled. A watcher that falls too far behind gets `XB4004`.
    async fn watch(
        &self,
        kind: Option<String>,
        version: u64,
    ) -> Result<BoxStream<'static, Result<WatchEvent, Error>>, Error>;

    /// Writes a consistent copy of everything to `file` while the store is in use.
    async fn backup(&self, file: &std::path::Path) -> Result<(), Error>;

    /// Writes one document; a convenience over [`Store::write`].
    async fn put(&self, document: Document, expect: Expect) -> Result<Document, Error> {
        let stored = self.write(vec![Write::Put(document, expect)]).await?;
        stored
            .into_iter()
            .next()
            .flatten()
            .ok_or_else(|| Error::internal("XB4003", "the store did not return what it wrote"))
    }

    /// Deletes one document and returns it; a convenience over [`Store::write`].
    async fn delete(&self, key: DocumentKey, expect: Expect) -> Result<Option<Document>, Error> {
        Ok(self.write(vec![Write::Delete(key, expect)]).await?.into_iter().next().flatten())
    }
}

/// Lists page by page, so that no more than `page` documents are in memory at a time. Each page is
/// consistent in itself; a watch from the first page's version tells what changed since.
pub fn pages(store: &dyn Store, query: ListQuery, page: usize) -> BoxStream<'_, Result<List, Error>> {
    let query = ListQuery { limit: page.max(1), ..query };
    stream::try_unfold(Some(query), move |query| async move {
        let Some(mut query) = query else { return Ok(None) };
        let list = store.list(&query).await?;
        let last = list.documents.last().filter(|_| list.more);
        let next = last.map(|last| (last.namespace.clone(), last.name.clone())).map(|after| {
            query.after = Some(after);
            query
        });
        Ok(Some((list, next)))
    })
    .boxed()
}

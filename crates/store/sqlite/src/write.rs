//! Writing a batch of documents.

use crate::{
    rows::{self, signed, unsigned},
    watch::{Change, Hub},
};
use std::sync::Arc;
use xebec_core::{
    Error, ErrorKind,
    document::{Document, DocumentKey, Expect, WatchEvent, Write},
    ports::clock::Clock,
};
use xebec_sqlite::{
    Fault, Job,
    rusqlite::{Connection, OptionalExtension as _, params},
    time::{from_nanoseconds, to_nanoseconds},
};

/// The largest document, in bytes of JSON.
pub const MAX_DOCUMENT_BYTES: usize = 4 * 1024 * 1024;
/// The most writes in one batch.
pub const MAX_BATCH: usize = 10_000;
/// The longest kind, namespace and name, in bytes.
pub const MAX_KEY_BYTES: usize = 1024;

/// How many changes are kept on disk for watchers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Keep {
    pub(crate) changes: u64,
    pub(crate) bytes: u64,
}

/// A batch on its way: written whole or not at all.
pub(crate) struct Batch {
    writes: Vec<Prepared>,
    done: Vec<Option<Done>>,
    keep: Keep,
    clock: Arc<dyn Clock>,
    hub: Arc<Hub>,
}

enum Prepared {
    Put { document: Box<Document>, expect: Expect, text: Text },
    Delete { key: DocumentKey, expect: Expect },
}

/// A document's JSON, made before the writer's thread has to wait for it.
struct Text {
    labels: String,
    status: String,
    spec: String,
}

/// What a write came to: what the store filled in, or the document it deleted.
enum Done {
    Put { version: u64, generation: u64, created: i64, updated: i64 },
    Deleted { document: Document, bytes: usize },
}

impl Batch {
    pub(crate) fn new(
        writes: Vec<Write>,
        keep: Keep,
        clock: Arc<dyn Clock>,
        hub: Arc<Hub>,
    ) -> Result<Self, Error> {
        if writes.len() > MAX_BATCH {
            return Err(too_large(format!("a batch of {} writes", writes.len()), MAX_BATCH));
        }
        let writes = writes.into_iter().map(prepare).collect::<Result<_, _>>()?;
        Ok(Self { writes, done: Vec::new(), keep, clock, hub })
    }
}

impl Job for Batch {
    type Output = Vec<Option<Document>>;

    fn run(&mut self, connection: &Connection) -> Result<(), Fault> {
        self.done.clear();
        let now = to_nanoseconds(self.clock.now());
        for write in &self.writes {
            let done = match write {
                Prepared::Put { document, expect, text } => {
                    Some(put(connection, document, *expect, text, now)?)
                }
                Prepared::Delete { key, expect } => delete(connection, key, *expect, now)?,
            };
            self.done.push(done);
        }
        trim(connection, self.keep)
    }

    fn settle(self) -> Vec<Option<Document>> {
        let mut changes = Vec::with_capacity(self.done.len());
        let mut results = Vec::with_capacity(self.done.len());
        for (write, done) in self.writes.into_iter().zip(self.done) {
            let Some(done) = done else {
                results.push(None);
                continue;
            };
            let (document, bytes, event): (_, _, fn(Document) -> WatchEvent) = match (write, done) {
                (
                    Prepared::Put { mut document, text, .. },
                    Done::Put { version, generation, created, updated },
                ) => {
                    document.version = version;
                    document.generation = generation;
                    document.created = from_nanoseconds(created);
                    document.updated = from_nanoseconds(updated);
                    (*document, text.len(), WatchEvent::Put)
                }
                (_, Done::Deleted { document, bytes }) => (document, bytes, WatchEvent::Deleted),
                (Prepared::Delete { .. }, Done::Put { .. }) => {
                    unreachable!("a deletion is never done by a put")
                }
            };
            changes.push(Change { version: document.version, bytes, event: event(document.clone()) });
            results.push(Some(document));
        }
        self.hub.publish(changes);
        results
    }
}

impl Text {
    fn of(document: &Document) -> Result<Self, serde_json::Error> {
        Ok(Self {
            labels: serde_json::to_string(&document.labels)?,
            status: serde_json::to_string(&document.status)?,
            spec: serde_json::to_string(&document.spec)?,
        })
    }

    fn len(&self) -> usize {
        self.labels.len() + self.status.len() + self.spec.len()
    }
}

fn prepare(write: Write) -> Result<Prepared, Error> {
    let (Write::Put(Document { kind, namespace, name, .. }, _)
    | Write::Delete(DocumentKey { kind, namespace, name }, _)) = &write;
    for (what, part) in [("kind", kind), ("namespace", namespace), ("name", name)] {
        if part.len() > MAX_KEY_BYTES {
            return Err(too_large(format!("a {what} of {} bytes", part.len()), MAX_KEY_BYTES));
        }
        if part.is_empty() && what != "namespace" {
            return Err(Error::invalid("XB1001", format!("a document's {what} is empty")));
        }
    }
    match write {
        Write::Delete(key, expect) => Ok(Prepared::Delete { key, expect }),
        Write::Put(document, expect) => {
            let name = || format!("the document {} {}/{}", document.kind, document.namespace, document.name);
            let text = Text::of(&document)
                .map_err(|error| Error::invalid("XB4008", format!("{} is not JSON: {error}", name())))?;
            if text.len() > MAX_DOCUMENT_BYTES {
                return Err(too_large(format!("{}, {} bytes,", name(), text.len()), MAX_DOCUMENT_BYTES));
            }
            Ok(Prepared::Put { document: Box::new(document), expect, text })
        }
    }
}

fn too_large(what: String, limit: usize) -> Error {
    Error::new(ErrorKind::TooLarge, "XB4008", format!("{what} is too large: {limit} is the limit"))
        .with_hint("large contents belong into blobs; many writes into several batches")
}

fn put(
    connection: &Connection,
    document: &Document,
    expect: Expect,
    text: &Text,
    now: i64,
) -> Result<Done, Fault> {
    let (kind, namespace, name) = (&document.kind, &document.namespace, &document.name);
    let mut find = connection.prepare_cached(
        "SELECT id, version, generation, created, labels, spec FROM documents
         WHERE kind = ?1 AND namespace = ?2 AND name = ?3",
    )?;
    let mut rows = find.query((kind, namespace, name))?;
    let version;
    let (generation, created);
    if let Some(row) = rows.next()? {
        meets(expect, Some(unsigned(row.get(1)?)), || document.key())?;
        let id: i64 = row.get(0)?;
        created = row.get(3)?;
        let same_spec = same_json(&row.get::<_, String>(5)?, text, document);
        generation = unsigned(row.get(2)?) + u64::from(!same_spec);
        let relabel = row.get::<_, String>(4)? != text.labels;
        drop(rows);
        version = next_version(connection)?;
        connection
            .prepare_cached(
                "UPDATE documents SET version = ?2, generation = ?3, updated = ?4, labels = ?5, status = ?6,
                 spec = ?7 WHERE id = ?1",
            )?
            .execute(params![
                id,
                signed(version),
                signed(generation),
                now,
                text.labels,
                text.status,
                text.spec
            ])?;
        if relabel {
            connection.prepare_cached("DELETE FROM labels WHERE document = ?1")?.execute([id])?;
            label(connection, id, document)?;
        }
    } else {
        drop(rows);
        meets(expect, None, || document.key())?;
        (generation, created) = (1, now);
        version = next_version(connection)?;
        let id = connection
            .prepare_cached(
                "INSERT INTO documents
                 (kind, namespace, name, version, generation, created, updated, labels, status, spec)
                 VALUES (?1, ?2, ?3, ?4, 1, ?5, ?5, ?6, ?7, ?8)",
            )?
            .insert(params![
                kind,
                namespace,
                name,
                signed(version),
                now,
                text.labels,
                text.status,
                text.spec
            ])?;
        label(connection, id, document)?;
    }
    let stamp = Stamp { version, generation, created, updated: now };
    remember(connection, false, (kind, namespace, name), &stamp, text)?;
    Ok(Done::Put { version, generation, created, updated: now })
}

/// Equal texts are equal JSON; where the texts differ, the order of fields may be all there is to it.
fn same_json(stored: &str, text: &Text, document: &Document) -> bool {
    stored == text.spec
        || (stored.len() == text.spec.len()
            && serde_json::from_str::<serde_json::Value>(stored).is_ok_and(|stored| stored == document.spec))
}

fn label(connection: &Connection, id: i64, document: &Document) -> Result<(), Fault> {
    if document.labels.is_empty() {
        return Ok(());
    }
    let mut insert =
        connection.prepare_cached("INSERT INTO labels (key, value, document) VALUES (?1, ?2, ?3)")?;
    for (key, value) in &document.labels {
        insert.execute((key, value, id))?;
    }
    Ok(())
}

fn delete(
    connection: &Connection,
    key: &DocumentKey,
    expect: Expect,
    now: i64,
) -> Result<Option<Done>, Fault> {
    let found = rows::find(connection, key)?;
    meets(expect, found.as_ref().map(|document| document.version), || key.clone())?;
    let Some(mut document) = found else { return Ok(None) };
    document.version = next_version(connection)?;
    document.updated = from_nanoseconds(now);
    connection
        .prepare_cached("DELETE FROM documents WHERE kind = ?1 AND namespace = ?2 AND name = ?3")?
        .execute((&key.kind, &key.namespace, &key.name))?;
    let text = Text::of(&document).map_err(|error| {
        Error::internal("XB4003", format!("the document {} is not JSON any more: {error}", key.name))
    })?;
    let stamp = Stamp {
        version: document.version,
        generation: document.generation,
        created: to_nanoseconds(document.created),
        updated: now,
    };
    remember(connection, true, (&key.kind, &key.namespace, &key.name), &stamp, &text)?;
    Ok(Some(Done::Deleted { document, bytes: text.len() }))
}

fn meets(expect: Expect, found: Option<u64>, key: impl FnOnce() -> DocumentKey) -> Result<(), Fault> {
    let fault = match (expect, found) {
        (Expect::Any, _) | (Expect::Absent, None) | (Expect::Present, Some(_)) => return Ok(()),
        (Expect::Version(wanted), Some(found)) if wanted == found => return Ok(()),
        (Expect::Absent, Some(_)) => "exists already".to_owned(),
        (Expect::Present | Expect::Version(_), None) => "does not exist".to_owned(),
        (Expect::Version(wanted), Some(found)) => {
            format!("has changed: it is at version {found}, not {wanted}")
        }
    };
    let DocumentKey { kind, namespace, name } = key();
    let error =
        Error::new(ErrorKind::Conflict, "XB4001", format!("the document {kind} {namespace}/{name} {fault}"))
            .with_hint("read it again, then decide");
    Err(error.into())
}

fn next_version(connection: &Connection) -> Result<u64, Fault> {
    let mut next = connection.prepare_cached("UPDATE counter SET version = version + 1 RETURNING version")?;
    Ok(unsigned(next.query_row([], |row| row.get(0))?))
}

/// What a document's row says of when and how often.
struct Stamp {
    version: u64,
    generation: u64,
    created: i64,
    updated: i64,
}

/// Keeps a change for watchers that are away.
fn remember(
    connection: &Connection,
    deleted: bool,
    (kind, namespace, name): (&str, &str, &str),
    stamp: &Stamp,
    text: &Text,
) -> Result<(), Fault> {
    let bytes = signed(text.len() as u64);
    connection
        .prepare_cached(
            "INSERT INTO changes (version, deleted, bytes, kind, namespace, name, generation, created, updated,
             labels, status, spec) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)",
        )?
        .execute(params![
            signed(stamp.version),
            deleted,
            bytes,
            kind,
            namespace,
            name,
            signed(stamp.generation),
            stamp.created,
            stamp.updated,
            text.labels,
            text.status,
            text.spec
        ])?;
    connection.prepare_cached("UPDATE counter SET kept_bytes = kept_bytes + ?1")?.execute([bytes])?;
    Ok(())
}

/// Forgets the oldest changes until what is kept is within both bounds.
fn trim(connection: &Connection, keep: Keep) -> Result<(), Fault> {
    let mut sizes = connection.prepare_cached("SELECT version, kept_bytes FROM counter")?;
    let (last, mut bytes) = sizes.query_row([], |row| Ok((row.get(0)?, row.get::<_, i64>(1)?)))?;
    let last = unsigned(last);
    let mut oldest = rows::oldest_version(connection, last)?;
    let before = bytes;
    let mut forget = connection.prepare_cached("DELETE FROM changes WHERE version = ?1 RETURNING bytes")?;
    while oldest < last && (last - oldest > keep.changes || bytes > signed(keep.bytes)) {
        oldest += 1;
        let freed: Option<i64> = forget.query_row([signed(oldest)], |row| row.get(0)).optional()?;
        bytes -= freed.unwrap_or(0);
    }
    if bytes != before {
        connection.prepare_cached("UPDATE counter SET kept_bytes = ?1")?.execute([bytes])?;
    }
    Ok(())
}

//! Watching: the last changes in memory, those before them on disk.

use crate::rows::{self, columns, signed};
use futures_util::stream::{self, BoxStream, StreamExt as _};
use parking_lot::Mutex;
use std::{
    collections::VecDeque,
    sync::{Arc, Weak},
};
use tokio::sync::watch;
use xebec_core::{Error, ErrorKind, document::WatchEvent};
use xebec_sqlite::{
    Database, Fault,
    rusqlite::{Connection, params},
};

/// Changes that a watcher takes at a time.
const PAGE: usize = 256;

/// A committed change.
#[derive(Debug)]
pub(crate) struct Change {
    pub(crate) version: u64,
    pub(crate) bytes: usize,
    pub(crate) event: WatchEvent,
}

/// Where committed changes are handed to watchers. Dropping it ends their streams.
pub(crate) struct Hub {
    ring: Mutex<Ring>,
    last: watch::Sender<u64>,
    most: usize,
    most_bytes: usize,
}

/// The last changes. Every version is one change, so their versions have no gaps.
struct Ring {
    /// The version before the first change here.
    floor: u64,
    bytes: usize,
    changes: VecDeque<Arc<Change>>,
}

impl Hub {
    /// A hub at version `last`, for the `most` last changes of at most `most_bytes` of JSON.
    pub(crate) fn new(last: u64, most: usize, most_bytes: usize) -> Self {
        let ring = Ring { floor: last, bytes: 0, changes: VecDeque::new() };
        Self { ring: Mutex::new(ring), last: watch::Sender::new(last), most, most_bytes }
    }

    /// Hands on what was committed. Only the writer's thread calls this, in the order of commits.
    pub(crate) fn publish(&self, changes: Vec<Change>) {
        let Some(last) = changes.last().map(|change| change.version) else { return };
        {
            let mut ring = self.ring.lock();
            for change in changes {
                ring.bytes += change.bytes;
                ring.changes.push_back(Arc::new(change));
                while ring.changes.len() > self.most || ring.bytes > self.most_bytes {
                    let Some(oldest) = ring.changes.pop_front() else { break };
                    ring.bytes -= oldest.bytes;
                    ring.floor = oldest.version;
                }
            }
        }
        self.last.send_replace(last);
    }

    /// The next changes after `version`; `None` where memory does not reach back so far.
    fn after(&self, version: u64) -> Option<Vec<Arc<Change>>> {
        let ring = self.ring.lock();
        let skip = version.checked_sub(ring.floor)?;
        let skip = usize::try_from(skip).unwrap_or(usize::MAX);
        Some(ring.changes.iter().skip(skip).take(PAGE).cloned().collect())
    }
}

/// A watcher's place.
struct Watcher {
    kind: Option<String>,
    version: u64,
    last: watch::Receiver<u64>,
    hub: Weak<Hub>,
    database: Weak<Database>,
    ready: VecDeque<WatchEvent>,
    failed: bool,
}

/// The changes of `kind` after `version`, which must lie between what is kept and what was written.
pub(crate) async fn watch(
    hub: &Arc<Hub>,
    database: &Arc<Database>,
    kind: Option<String>,
    version: u64,
) -> Result<BoxStream<'static, Result<WatchEvent, Error>>, Error> {
    let last = hub.last.subscribe();
    database
        .read(move |connection| {
            let last = rows::last_version(connection)?;
            within(rows::oldest_version(connection, last)?, version, last)
        })
        .await?;
    let watcher = Watcher {
        kind,
        version,
        last,
        hub: Arc::downgrade(hub),
        database: Arc::downgrade(database),
        ready: VecDeque::new(),
        failed: false,
    };
    Ok(stream::unfold(watcher, next).boxed())
}

fn within(oldest: u64, version: u64, last: u64) -> Result<(), Fault> {
    if (oldest..=last).contains(&version) {
        return Ok(());
    }
    let error = Error::new(
        ErrorKind::Conflict,
        "XB4004",
        format!("changes after version {version} cannot be told: {oldest} to {last} are kept"),
    )
    .with_hint("list again and watch from the version of that list");
    Err(error.into())
}

async fn next(mut watcher: Watcher) -> Option<(Result<WatchEvent, Error>, Watcher)> {
    loop {
        if let Some(event) = watcher.ready.pop_front() {
            return Some((Ok(event), watcher));
        }
        if watcher.failed {
            return None;
        }
        if let Err(error) = watcher.fetch().await? {
            watcher.failed = true;
            return Some((Err(error), watcher));
        }
    }
}

impl Watcher {
    /// Fetches what comes next, waiting for it if need be; `None` where the store is closed.
    async fn fetch(&mut self) -> Option<Result<(), Error>> {
        // Marked as seen before looking: what comes after the look will wake the wait below.
        self.last.borrow_and_update();
        let found = self.hub.upgrade()?.after(self.version);
        let Some(changes) = found else { return self.fetch_from_disk().await };
        let Some(newest) = changes.last() else {
            return self.last.changed().await.ok().map(Ok);
        };
        self.version = newest.version;
        let wanted = changes.iter().filter(|change| match &self.kind {
            None => true,
            Some(kind) => change.kind() == kind,
        });
        self.ready.extend(wanted.map(|change| change.event.clone()));
        Some(Ok(()))
    }

    async fn fetch_from_disk(&mut self) -> Option<Result<(), Error>> {
        let (kind, version) = (self.kind.clone(), self.version);
        let page =
            self.database.upgrade()?.read(move |connection| page(connection, kind.as_deref(), version)).await;
        Some(page.map(|(events, reached)| {
            self.version = reached;
            self.ready.extend(events);
        }))
    }
}

impl Change {
    fn kind(&self) -> &str {
        let (WatchEvent::Put(document) | WatchEvent::Deleted(document)) = &self.event;
        &document.kind
    }
}

/// The next events after `version`, and the version that they reach to.
fn page(connection: &Connection, kind: Option<&str>, version: u64) -> Result<(Vec<WatchEvent>, u64), Fault> {
    let last = rows::last_version(connection)?;
    within(rows::oldest_version(connection, last)?, version, last)?;
    let sql = concat!(
        "SELECT ",
        columns!(""),
        ", deleted FROM changes WHERE version > ?1 AND (?2 IS NULL OR kind = ?2) ORDER BY version LIMIT ?3"
    );
    let mut statement = connection.prepare_cached(sql)?;
    let mut found = statement.query(params![signed(version), kind, PAGE as i64])?;
    let mut events = Vec::new();
    let mut reached = version;
    while let Some(row) = found.next()? {
        let document = rows::document(row)?;
        reached = document.version;
        events.push(if row.get(10)? { WatchEvent::Deleted(document) } else { WatchEvent::Put(document) });
    }
    // A page that is not full has seen everything up to the last version.
    let reached = if events.len() < PAGE { last } else { reached };
    Ok((events, reached))
}

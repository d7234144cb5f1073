//! Group commits, refusals, snapshots, copies.

#![allow(clippy::unwrap_used)]

use std::{
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    time::Duration,
};
use tempfile::TempDir;
use tokio::{sync::oneshot, task::JoinHandle};
use xebec_core::Error;
use xebec_sqlite::{Database, Durability, Fault, Job, Options, check, rusqlite::Connection};

const SCHEMA: &[&str] = &["CREATE TABLE a (x INTEGER PRIMARY KEY, y BLOB);"];

fn open(options: Options) -> (Database, PathBuf, TempDir) {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("a.db");
    (Database::open(&file, SCHEMA, options).unwrap(), file, directory)
}

/// Work as a closure; it counts how often it ran.
struct Work<F>(F, Arc<AtomicUsize>);

impl<F: FnMut(&Connection) -> Result<(), Fault> + Send + 'static> Job for Work<F> {
    type Output = usize;

    fn run(&mut self, connection: &Connection) -> Result<(), Fault> {
        self.1.fetch_add(1, Ordering::Relaxed);
        (self.0)(connection)
    }

    fn settle(self) -> usize {
        self.1.load(Ordering::Relaxed)
    }
}

fn work<F: FnMut(&Connection) -> Result<(), Fault> + Send + 'static>(work: F) -> Work<F> {
    Work(work, Arc::default())
}

fn insert(x: i64) -> impl Job<Output = usize> {
    work(move |connection| {
        connection.execute("INSERT INTO a (x) VALUES (?1)", [x])?;
        Ok(())
    })
}

async fn rows(database: &Database) -> Vec<i64> {
    let rows = database.read(|connection| {
        let mut statement = connection.prepare("SELECT x FROM a ORDER BY x")?;
        Ok(statement.query_map([], |row| row.get(0))?.collect::<Result<Vec<i64>, _>>()?)
    });
    rows.await.unwrap()
}

/// Holds the writer until what this returns is dropped, so that what comes next goes as one group.
async fn hold(database: &Arc<Database>) -> (mpsc::Sender<()>, JoinHandle<Result<usize, Error>>) {
    let (go, wait) = mpsc::channel::<()>();
    let (began, begun) = oneshot::channel();
    let mut began = Some(began);
    let job = work(move |_| {
        if let Some(began) = began.take() {
            let _ = began.send(());
        }
        let _ = wait.recv();
        Ok(())
    });
    let held = spawn(database, job);
    begun.await.unwrap();
    (go, held)
}

fn spawn<J: Job>(database: &Arc<Database>, job: J) -> JoinHandle<Result<J::Output, Error>> {
    let database = Arc::clone(database);
    tokio::spawn(async move { database.write(job).await })
}

#[tokio::test]
async fn one_that_fails_leaves_its_group_alone() {
    let (database, _, _kept) = open(Options::default());
    let database = Arc::new(database);
    let (go, held) = hold(&database).await;
    let good: Vec<_> = (0..10).map(|x| spawn(&database, insert(x))).collect();
    let bad = spawn(
        &database,
        work(|connection| {
            connection.execute("INSERT INTO a (x) VALUES (100)", [])?;
            Err(Error::invalid("XB1999", "no").into())
        }),
    );
    let double = spawn(&database, insert(3));
    let more = spawn(&database, insert(11));
    tokio::task::yield_now().await;
    drop(go);
    held.await.unwrap().unwrap();
    for job in good {
        assert_eq!(job.await.unwrap().unwrap(), 1, "it ran once");
    }
    assert_eq!(bad.await.unwrap().unwrap_err().code, "XB1999");
    assert_eq!(double.await.unwrap().unwrap_err().code, "XB4003");
    more.await.unwrap().unwrap();
    assert_eq!(rows(&database).await, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 11]);
}

#[tokio::test]
async fn where_a_whole_group_is_lost_each_job_gets_its_own_transaction() {
    let (database, _, _kept) = open(Options::default());
    let database = Arc::new(database);
    let (go, held) = hold(&database).await;
    let good: Vec<_> = (0..5).map(|x| spawn(&database, insert(x))).collect();
    // What SQLite does by itself where the disk is full.
    let lost = spawn(
        &database,
        work(|connection| {
            connection.execute_batch("ROLLBACK")?;
            Err(Error::invalid("XB1999", "lost").into())
        }),
    );
    tokio::task::yield_now().await;
    drop(go);
    held.await.unwrap().unwrap();
    for job in good {
        assert_eq!(job.await.unwrap().unwrap(), 2, "once in the group, once alone");
    }
    assert_eq!(lost.await.unwrap().unwrap_err().code, "XB1999");
    assert_eq!(rows(&database).await, [0, 1, 2, 3, 4]);
    database.write(insert(5)).await.unwrap();
}

#[tokio::test]
async fn a_full_queue_refuses_at_once() {
    let (database, _, _kept) = open(Options { queue: 2, ..Options::default() });
    let database = Arc::new(database);
    let (go, held) = hold(&database).await;
    let waiting = [spawn(&database, insert(1)), spawn(&database, insert(2))];
    tokio::task::yield_now().await;
    let error = database.write(insert(3)).await.unwrap_err();
    assert_eq!((error.code, error.hint.is_some()), ("XB4005", true));
    drop(go);
    held.await.unwrap().unwrap();
    for job in waiting {
        job.await.unwrap().unwrap();
    }
    assert_eq!(rows(&database).await, [1, 2]);
}

#[tokio::test]
async fn whoever_gives_up_while_waiting_writes_nothing() {
    let options = Options { deadline: Duration::from_millis(50), ..Options::default() };
    let (database, _, _kept) = open(options);
    let database = Arc::new(database);
    let (go, held) = hold(&database).await;
    let error = database.write(insert(1)).await.unwrap_err();
    assert_eq!(error.code, "XB4005");
    assert_eq!(held.await.unwrap().unwrap_err().code, "XB4005");
    drop(go);
    database.write(insert(2)).await.unwrap();
    assert_eq!(rows(&database).await, [2]);
}

#[tokio::test]
async fn a_commit_waits_for_all_before_it() {
    let (database, file, _kept) = open(Options { durability: Durability::Checkpoint, ..Options::default() });
    for x in 0..100 {
        database.write(insert(x)).await.unwrap();
    }
    drop(database);
    assert!(!file.with_file_name("a.db-wal").exists(), "the log went into the file when it was closed");
    let database = Database::open(&file, SCHEMA, Options::default()).unwrap();
    assert_eq!(rows(&database).await.len(), 100);
}

#[tokio::test]
async fn a_reading_sees_one_moment_and_cannot_write() {
    let (database, _, _kept) = open(Options { readers: 1, ..Options::default() });
    let database = Arc::new(database);
    database.write(insert(1)).await.unwrap();
    let (first, seen) = oneshot::channel();
    let (go, wait) = mpsc::channel::<()>();
    let reading = tokio::spawn({
        let database = Arc::clone(&database);
        async move {
            let count = |connection: &Connection| -> Result<i64, Fault> {
                Ok(connection.query_row("SELECT count(*) FROM a", [], |row| row.get(0))?)
            };
            database
                .read(move |connection| {
                    let before = count(connection)?;
                    let _ = first.send(());
                    let _ = wait.recv();
                    Ok((before, count(connection)?))
                })
                .await
        }
    });
    seen.await.unwrap();
    database.write(insert(2)).await.unwrap();
    go.send(()).unwrap();
    assert_eq!(reading.await.unwrap().unwrap(), (1, 1));
    let write = database.read(|connection| Ok(connection.execute("DELETE FROM a", [])?)).await;
    assert_eq!(write.unwrap_err().code, "XB4003");
    let panicked = database.read::<()>(|_| panic!("on purpose")).await;
    assert_eq!(panicked.unwrap_err().code, "XB4003");
    assert_eq!(rows(&database).await, [1, 2], "the connection came back");
}

#[tokio::test]
async fn a_copy_is_whole_and_damage_is_found() {
    let (database, file, _kept) = open(Options::default());
    for x in 0..200 {
        let fill = work(move |connection| {
            connection.execute("INSERT INTO a VALUES (?1, randomblob(5000))", [x])?;
            Ok(())
        });
        database.write(fill).await.unwrap();
    }
    let copy = file.with_file_name("copy.db");
    database.backup(&copy).await.unwrap();
    assert_eq!(beside(&copy), ["a.db", "a.db-shm", "a.db-wal", "copy.db"]);
    check(&copy).unwrap();
    let mode = std::fs::metadata(&copy).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "it is for its owner only");
    assert_eq!(database.backup(&copy).await.unwrap_err().code, "XB4009");
    let copied = Database::open(&copy, SCHEMA, Options::default()).unwrap();
    assert_eq!(rows(&copied).await.len(), 200);
    drop(copied);

    let mut bytes = std::fs::read(&copy).unwrap();
    let middle = bytes.len() / 3;
    bytes[middle..middle * 2].fill(0xa5);
    std::fs::write(&copy, bytes).unwrap();
    assert_eq!(check(&copy).unwrap_err().code, "XB4003");
    assert_eq!(check(&file.with_file_name("nowhere.db")).unwrap_err().code, "XB4003");
}

fn beside(file: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(file.parent().unwrap()).unwrap();
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[tokio::test]
async fn deleted_rows_give_their_space_back() {
    let (database, file, _kept) = open(Options { durability: Durability::Checkpoint, ..Options::default() });
    for _ in 0..20 {
        let fill = work(|connection| {
            for _ in 0..100 {
                connection.execute("INSERT INTO a (y) VALUES (zeroblob(8000))", [])?;
            }
            Ok(())
        });
        database.write(fill).await.unwrap();
    }
    let clear = work(|connection| {
        connection.execute("DELETE FROM a", [])?;
        Ok(())
    });
    database.write(clear).await.unwrap();
    database.shrink().await.unwrap();
    assert_eq!(rows(&database).await.len(), 0);
    drop(database);
    let size = std::fs::metadata(file).unwrap().len();
    assert!(size < 6_000_000, "{size} of 16 million bytes are left");
}

//! Copies of a database in use.

use crate::{Fault, connection, durable};
use rusqlite::{
    Connection, OpenFlags,
    backup::{Backup, StepResult},
};
use std::{
    fs::{File, OpenOptions},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};
use xebec_core::{Error, ErrorKind};

/// How long a copy waits for a lock that a program from outside holds.
const LOCK_WAIT: Duration = Duration::from_secs(30);

/// Copies the database at `from` to `to`, which must not exist.
pub(crate) async fn copy(from: PathBuf, to: PathBuf) -> Result<(), Error> {
    let doing = format!("write the copy {}", to.display());
    let copying = tokio::task::spawn_blocking(move || copy_now(&from, &to));
    match copying.await {
        Ok(copied) => copied.map_err(|fault| fault.into_error(&doing)),
        Err(stopped) => Err(Error::internal("XB4003", format!("could not {doing}: {stopped}"))),
    }
}

fn copy_now(from: &Path, to: &Path) -> Result<(), Fault> {
    if to.try_exists()? {
        return Err(Error::new(ErrorKind::Conflict, "XB4009", format!("{} exists already", to.display()))
            .with_hint("name a file that does not exist yet")
            .into());
    }
    let mut partial = to.as_os_str().to_owned();
    partial.push(".partial");
    let partial = PathBuf::from(partial);
    let written = write(from, &partial).and_then(|()| {
        std::fs::rename(&partial, to)?;
        to.parent().map_or(Ok(()), durable::sync_directory)?;
        Ok(())
    });
    if written.is_err() {
        // What is half written helps nobody; if it cannot be removed either, the first fault says why.
        let _ = std::fs::remove_file(&partial);
    }
    written
}

fn write(from: &Path, partial: &Path) -> Result<(), Fault> {
    match std::fs::remove_file(partial) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
        _ => {}
    }
    // Made beforehand, as SQLite would let others read it.
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(partial)?;
    let source = connection::reader(from)?;
    let mut target = Connection::open(partial)?;
    // The copy is fsynced once, at its end.
    target.execute_batch("PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF;")?;
    all_at_once(&source, &mut target)?;
    // One plain file, without a log beside it.
    target.execute_batch("PRAGMA journal_mode = DELETE;")?;
    target.close().map_err(|(_, error)| error)?;
    File::open(partial)?.sync_all()?;
    Ok(())
}

/// All pages in one step: one snapshot, so that writes, which go on meanwhile, cannot make it start over.
fn all_at_once(source: &Connection, target: &mut Connection) -> Result<(), Fault> {
    let backup = Backup::new(source, target)?;
    let deadline = Instant::now() + LOCK_WAIT;
    loop {
        match backup.step(-1)? {
            StepResult::Done => return Ok(()),
            StepResult::Busy | StepResult::Locked if Instant::now() >= deadline => {
                return Err(crate::fault::busy("copy the database").into());
            }
            _ => std::thread::sleep(Duration::from_millis(20)),
        }
    }
}

/// Checks that a database file is whole.
///
/// # Errors
/// `XB4003`, saying what is damaged.
pub fn check(file: &Path) -> Result<(), Error> {
    let damage = || -> Result<Option<String>, Fault> {
        let connection = Connection::open_with_flags(file, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
        let verdict: String = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
        Ok((verdict != "ok").then_some(verdict))
    };
    match damage().map_err(|fault| fault.into_error(&format!("check {}", file.display())))? {
        None => Ok(()),
        Some(damage) => Err(Error::internal("XB4003", format!("{} is damaged: {damage}", file.display()))),
    }
}

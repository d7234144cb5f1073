//! Backups: what a backup directory holds, and how it becomes a data directory again.
//!
//! A backup directory holds `state.db`, `queue.db` and `secret.key` where there are such,
//! `blobs/<2 hex>/<64 hex>`, likewise `bodies`, and, written last, `version`. Without `version` it is not
//! complete, and is not restored.

use crate::{
    STATE_FILE,
    directory::{self, BEFOREHAND, FORMAT, VERSION_FILE},
};
use sha2::{Digest as _, Sha256};
use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read as _, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
};
use xebec_core::{Error, ErrorKind};
use xebec_sqlite::{Fault, durable::sync_directory};

/// The key that secrets are encrypted with.
pub const KEY_FILE: &str = "secret.key";
/// The blobs.
pub const BLOBS_DIRECTORY: &str = "blobs";

/// Messages that wait, where the queue is a file here.
pub const QUEUE_FILE: &str = "queue.db";
/// Large bodies of messages that wait, as blobs.
pub const BODIES_DIRECTORY: &str = "bodies";

/// Begins a backup: creates the directory, for its owner only. It must be empty or not there yet.
///
/// Then come `state.db`, by [`xebec_core::ports::store::Store::backup`], the key and the blobs, in this
/// order, so that every blob that a document names is there; then [`complete`].
///
/// # Errors
/// `XB4009` not empty, `XB4002` disk full, `XB4003` anything else.
pub fn begin(directory: &Path) -> Result<(), Error> {
    let begin = || -> Result<(), Fault> {
        directory::create(directory)?;
        must_be_empty(directory)
    };
    begin().map_err(|fault| fault.into_error(&format!("write a backup to {}", directory.display())))
}

/// Copies the key, where the data directory has one.
///
/// # Errors
/// `XB4002` disk full, `XB4003` anything else.
pub fn copy_key(data: &Path, directory: &Path) -> Result<(), Error> {
    let (from, to) = (data.join(KEY_FILE), directory.join(KEY_FILE));
    copy_if_there(&from, &to).map_err(|fault| fault.into_error(&format!("write {}", to.display())))
}

/// Completes a backup: from now on it can be restored.
///
/// # Errors
/// `XB4002` disk full, `XB4003` anything else.
pub fn complete(directory: &Path) -> Result<(), Error> {
    directory::write_version(directory).map_err(|error| {
        Fault::from(error).into_error(&format!("complete the backup {}", directory.display()))
    })
}

/// Makes a data directory of a backup. Everything is checked on the way: the database as a whole, each blob
/// against its name. A restore that was interrupted leaves a directory that no server opens.
///
/// # Errors
/// `XB4009` where `to` is not empty or `from` is not a complete backup, `XB4007` a backup of a newer version,
/// `XB4003` damaged, `XB4002` disk full.
pub fn restore(from: &Path, to: &Path) -> Result<(), Error> {
    let restore = || -> Result<(), Fault> {
        match directory::read_version(from)? {
            None => return Err(incomplete(from).into()),
            Some(found) if found > FORMAT => return Err(directory::newer(found, FORMAT).into()),
            Some(_) => {}
        }
        xebec_sqlite::check(&from.join(STATE_FILE))?;
        let queue = from.join(QUEUE_FILE);
        if queue.try_exists()? {
            xebec_sqlite::check(&queue)?;
        }
        directory::create(to)?;
        must_be_empty(to)?;
        copy(&from.join(STATE_FILE), &to.join(STATE_FILE))?;
        copy_if_there(&from.join(KEY_FILE), &to.join(KEY_FILE))?;
        copy_blobs(&from.join(BLOBS_DIRECTORY), &to.join(BLOBS_DIRECTORY))?;
        copy_if_there(&queue, &to.join(QUEUE_FILE))?;
        copy_blobs(&from.join(BODIES_DIRECTORY), &to.join(BODIES_DIRECTORY))?;
        // The backup's own format: opening the directory takes it forward from there.
        copy(&from.join(VERSION_FILE), &to.join(VERSION_FILE))?;
        sync_directory(to)?;
        Ok(())
    };
    restore().map_err(|fault| fault.into_error(&format!("restore {} to {}", from.display(), to.display())))
}

fn incomplete(from: &Path) -> Error {
    Error::new(ErrorKind::Invalid, "XB4009", format!("{} is not a complete backup", from.display()))
        .with_hint("a complete one holds the files version and state.db")
}

fn must_be_empty(directory: &Path) -> Result<(), Fault> {
    for entry in fs::read_dir(directory)? {
        let name = entry?.file_name();
        if !BEFOREHAND.iter().any(|known| name == *known) {
            let message = format!("{} is not empty: it holds {name:?}", directory.display());
            return Err(Error::new(ErrorKind::Conflict, "XB4009", message)
                .with_hint("name an empty directory, or one that does not exist yet")
                .into());
        }
    }
    Ok(())
}

fn copy_if_there(from: &Path, to: &Path) -> Result<(), Fault> {
    if from.try_exists()? {
        copy(from, to)?;
        to.parent().map_or(Ok(()), sync_directory)?;
    }
    Ok(())
}

/// Copies a file and makes its content durable; returns its SHA-256.
fn copy(from: &Path, to: &Path) -> io::Result<[u8; 32]> {
    let mut source = File::open(from)?;
    let mut target = OpenOptions::new().write(true).create_new(true).mode(0o600).open(to)?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 256 * 1024];
    loop {
        let read = source.read(&mut buffer)?;
        if read == 0 {
            break;
        }
        hash.update(&buffer[..read]);
        target.write_all(&buffer[..read])?;
    }
    target.sync_all()?;
    Ok(hash.finalize().into())
}

fn copy_blobs(from: &Path, to: &Path) -> Result<(), Fault> {
    if !from.try_exists()? {
        return Ok(());
    }
    directory::create(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let prefix = entry.file_name();
        let is_prefix = prefix.len() == 2 && prefix.as_encoded_bytes().iter().all(u8::is_ascii_hexdigit);
        if is_prefix && entry.file_type()?.is_dir() {
            copy_blobs_of(&entry.path(), &to.join(prefix))?;
        }
    }
    sync_directory(to)?;
    Ok(())
}

fn copy_blobs_of(from: &Path, to: &Path) -> Result<(), Fault> {
    directory::create(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let name = entry.file_name();
        let mut wanted = [0; 32];
        let name = name.to_string_lossy();
        // Only blobs have such names; leftovers of an interrupted copy have not.
        if hex::decode_to_slice(name.as_bytes(), &mut wanted).is_err() {
            continue;
        }
        if copy(&entry.path(), &to.join(&*name))? != wanted {
            let message = format!("the blob {} is damaged", entry.path().display());
            return Err(Error::internal("XB4003", message).into());
        }
    }
    sync_directory(to)?;
    Ok(())
}

//! Making files and directory entries survive power loss.

use std::{
    fs::{File, OpenOptions},
    io::{self, Write as _},
    path::Path,
};

/// Makes the entries of a directory durable: what was created in it, renamed into it or deleted from it.
///
/// # Errors
/// What the file system says.
pub fn sync_directory(directory: &Path) -> io::Result<()> {
    // The parent of a bare file name is the empty path: the working directory.
    let directory = if directory.as_os_str().is_empty() { Path::new(".") } else { directory };
    File::open(directory)?.sync_all()
}

/// Writes a small file so that after a crash there is either the old content or the new, whole.
///
/// # Errors
/// What the file system says.
pub fn replace(file: &Path, content: &[u8]) -> io::Result<()> {
    let mut partial = file.as_os_str().to_owned();
    partial.push(".partial");
    let mut out = OpenOptions::new().write(true).create(true).truncate(true).open(&partial)?;
    out.write_all(content)?;
    out.sync_all()?;
    std::fs::rename(&partial, file)?;
    file.parent().map_or(Ok(()), sync_directory)
}

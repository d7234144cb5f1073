//! Archives as users upload them.

use std::io::{Cursor, Write as _};
use zip::{ZipWriter, write::SimpleFileOptions};

/// A zip file; what begins with `#!` is executable.
pub fn zip(files: &[(&str, &str)]) -> Vec<u8> {
    let mut archive = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, contents) in files {
        let mode = if contents.starts_with("#!") { 0o755 } else { 0o644 };
        archive.start_file(*name, SimpleFileOptions::default().unix_permissions(mode)).unwrap();
        archive.write_all(contents.as_bytes()).unwrap();
    }
    archive.finish().unwrap().into_inner()
}

//! The key that secrets are encrypted with: a file in the data directory, made once.

use crate::failure::Failure;
use std::{
    fs::{File, OpenOptions},
    io::{ErrorKind, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
};

/// Reads the key, or makes it when there is none yet.
pub(super) fn open(directory: &Path) -> Result<[u8; 32], Failure> {
    let path = directory.join(xebec_store_sqlite::backup::KEY_FILE);
    match std::fs::read(&path) {
        Ok(bytes) => bytes.try_into().map_err(|_| {
            Failure::new(format!("{} is damaged: it does not hold 32 bytes [XB6021]", path.display()))
                .with_hint("put back the one from a backup; without it, secrets cannot be opened")
        }),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let key = rand::random();
            write(directory, &path, &key).map_err(Failure::io(path.display()))?;
            Ok(key)
        }
        Err(error) => Err(Failure::io(path.display())(error)),
    }
}

/// Writes it whole or not at all, and so that it survives a power loss: secrets will depend on it.
fn write(directory: &Path, path: &Path, key: &[u8; 32]) -> std::io::Result<()> {
    let fresh = path.with_extension("new");
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&fresh)?;
    file.write_all(key)?;
    file.sync_all()?;
    std::fs::rename(&fresh, path)?;
    File::open(directory)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_is_made_once_and_for_its_owner_only() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        let key = open(folder.path()).unwrap();
        assert_eq!(open(folder.path()).unwrap(), key);
        let mode = std::fs::metadata(folder.path().join("secret.key")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn a_damaged_key_is_not_replaced() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("secret.key"), "short").unwrap();
        assert!(open(folder.path()).unwrap_err().message.contains("XB6021"));
    }
}

//! Tokens: `xbk_<id>_<secret>`. Only their SHA-256 is kept.

use sha2::{Digest as _, Sha256};
use std::{
    io::{ErrorKind as Io, Read as _, Write as _},
    path::Path,
};
use xebec_core::Error;

/// The name of the file with the installation token, within the data directory.
pub const TOKEN_FILE: &str = "token";

/// The id of the key that the installation token belongs to.
pub const INSTALLATION: &str = "installation";

const PREFIX: &str = "xbk_";

/// The longest token that is looked at.
const MAX_BYTES: usize = 256;

/// A token's SHA-256.
#[derive(Clone, Copy)]
pub(crate) struct TokenHash([u8; 32]);

impl TokenHash {
    pub(crate) fn of(token: &str) -> Self {
        Self(Sha256::digest(token.as_bytes()).into())
    }

    pub(crate) fn from_hex(text: &str) -> Option<Self> {
        let mut hash = [0; 32];
        hex::decode_to_slice(text, &mut hash).ok()?;
        Some(Self(hash))
    }

    pub(crate) fn to_hex(self) -> String {
        hex::encode(self.0)
    }

    /// Whether both are the same, in a time that does not tell where they differ.
    pub(crate) fn matches(&self, other: &Self) -> bool {
        let difference = self.0.iter().zip(&other.0).fold(0, |sum, (a, b)| sum | (a ^ b));
        std::hint::black_box(difference) == 0
    }
}

/// A new token and the id within it.
pub(crate) fn generate() -> (String, String) {
    let id = hex::encode(rand::random::<[u8; 5]>());
    let token = with_id(&id);
    (id, token)
}

fn with_id(id: &str) -> String {
    format!("{PREFIX}{id}_{}", hex::encode(rand::random::<[u8; 24]>()))
}

/// The id within a token.
pub(crate) fn id_of(token: &str) -> Option<&str> {
    if token.len() > MAX_BYTES {
        return None;
    }
    let (id, secret) = token.strip_prefix(PREFIX)?.split_once('_')?;
    (!id.is_empty() && !secret.is_empty()).then_some(id)
}

/// The installation's token: what the file `token` in the data directory says. The first call makes it,
/// readable by its owner alone.
///
/// # Errors
/// `XB6015` when it can be neither read nor made, or somebody else could read it.
pub fn installation_token(data_directory: &Path) -> Result<String, Error> {
    let path = data_directory.join(TOKEN_FILE);
    let fault = |what: &str, why: &dyn std::fmt::Display| {
        Error::internal("XB6015", format!("the token file {} {what}: {why}", path.display()))
    };
    match std::fs::File::open(&path) {
        Ok(file) => {
            let metadata = file.metadata().map_err(|e| fault("cannot be read", &e))?;
            if open_to_others(&metadata) {
                return Err(fault("is not safe", &"other users can read it").with_hint(
                    "delete it, and the next start makes a new one; or chmod 600 it if nobody has",
                ));
            }
            let mut text = String::new();
            let read = file.take(MAX_BYTES as u64 + 1).read_to_string(&mut text);
            read.map_err(|e| fault("cannot be read", &e))?;
            let token = text.trim();
            if id_of(token) != Some(INSTALLATION) {
                return Err(fault("is damaged", &"it does not hold a token")
                    .with_hint("delete it, and the next start makes a new one"));
            }
            Ok(token.to_owned())
        }
        Err(error) if error.kind() == Io::NotFound => {
            let token = with_id(INSTALLATION);
            write_new(data_directory, &path, &token).map_err(|e| fault("cannot be written", &e))?;
            Ok(token)
        }
        Err(error) => Err(fault("cannot be read", &error)),
    }
}

/// Writes it whole or not at all: a start that is cut short must not leave half a token.
fn write_new(directory: &Path, path: &Path, token: &str) -> std::io::Result<()> {
    let fresh = directory.join(format!(".{TOKEN_FILE}.{}", std::process::id()));
    private_file(&fresh)?.write_all(format!("{token}\n").as_bytes())?;
    let moved = std::fs::rename(&fresh, path);
    if moved.is_err() {
        let _ = std::fs::remove_file(&fresh);
    }
    moved
}

/// A new file that only its owner can read.
pub(crate) fn private_file(path: &Path) -> std::io::Result<std::fs::File> {
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

#[cfg(unix)]
fn open_to_others(metadata: &std::fs::Metadata) -> bool {
    std::os::unix::fs::PermissionsExt::mode(&metadata.permissions()) & 0o077 != 0
}

#[cfg(not(unix))]
fn open_to_others(_: &std::fs::Metadata) -> bool {
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_has_its_id() {
        let (id, token) = generate();
        assert_eq!(id_of(&token), Some(id.as_str()));
        for bad in ["", "xbk_", "xbk_a", "xbk_a_", "xbk__b", "abc_a_b", &format!("xbk_a_{}", "b".repeat(300))]
        {
            assert_eq!(id_of(bad), None, "{bad}");
        }
    }

    #[test]
    fn hashes_match_themselves_alone() {
        let (_, one) = generate();
        let (_, two) = generate();
        assert!(TokenHash::of(&one).matches(&TokenHash::of(&one)));
        assert!(!TokenHash::of(&one).matches(&TokenHash::of(&two)));
        let again = TokenHash::from_hex(&TokenHash::of(&one).to_hex()).unwrap();
        assert!(again.matches(&TokenHash::of(&one)));
        assert!(TokenHash::from_hex("abc").is_none());
    }

    #[test]
    fn the_installation_token_stays() {
        let directory = tempfile::tempdir().unwrap();
        let first = installation_token(directory.path()).unwrap();
        assert_eq!(id_of(&first), Some(INSTALLATION));
        assert_eq!(installation_token(directory.path()).unwrap(), first);
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[cfg(unix)]
    #[test]
    fn the_token_file_is_private_or_refused() {
        use std::os::unix::fs::PermissionsExt as _;
        let directory = tempfile::tempdir().unwrap();
        installation_token(directory.path()).unwrap();
        let path = directory.path().join(TOKEN_FILE);
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        let error = installation_token(directory.path()).unwrap_err();
        assert_eq!(error.code, "XB6015");
        assert!(error.hint.is_some());
    }

    #[test]
    fn a_damaged_token_file_is_told() {
        let directory = tempfile::tempdir().unwrap();
        private_file(&directory.path().join(TOKEN_FILE)).unwrap().write_all(b"nonsense").unwrap();
        assert!(installation_token(directory.path()).unwrap_err().message.contains("does not hold a token"));
        let missing = directory.path().join("missing");
        assert_eq!(installation_token(&missing).unwrap_err().code, "XB6015");
    }
}

//! Which files there are.

use object_store::path::Path as Key;
use std::{
    fs::{self, File},
    io,
    path::Path,
};
use uuid::Uuid;
use xebec_core::Digest;

const INCOMING: &str = "incoming";

/// Where a blob lies.
pub(crate) fn path(digest: &Digest) -> Key {
    let hex = digest.hex();
    Key::from(format!("{}/{hex}", &hex[..2]))
}

/// The blob that lies there, if it is one.
pub(crate) fn digest(path: &Key) -> Option<Digest> {
    let (prefix, name) = path.as_ref().split_once('/')?;
    let digest: Digest = (name.len() == 64).then(|| name.parse().ok()).flatten()?;
    name.starts_with(prefix).then_some(digest)
}

/// A place for an upload whose digest is not known yet.
pub(crate) fn incoming() -> Key {
    Key::from(format!("{INCOMING}/{}", Uuid::new_v4().simple()))
}

/// Creates all directories, so that storing a blob never has to make the entry of a new one durable, too;
/// and clears what interrupted uploads left: files in `incoming`, and staged ones, whose names have a `#`.
pub(crate) fn prepare(directory: &Path) -> io::Result<()> {
    fs::create_dir_all(directory)?;
    let mut created = false;
    for name in (0..=255).map(|prefix: u8| format!("{prefix:02x}")).chain([INCOMING.to_owned()]) {
        match fs::create_dir(directory.join(&name)) {
            Ok(()) => created = true,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
        clear(&directory.join(&name), name == INCOMING)?;
    }
    if created {
        sync(directory)?;
        directory.parent().map_or(Ok(()), |parent| {
            sync(if parent.as_os_str().is_empty() { Path::new(".") } else { parent })
        })?;
    }
    Ok(())
}

fn clear(directory: &Path, all: bool) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if all || entry.file_name().as_encoded_bytes().contains(&b'#') {
            tracing::debug!(file = %entry.path().display(), "clearing what an interrupted upload left");
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// Makes a directory's entries durable.
pub(crate) fn sync(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_and_digests() {
        let blob = Digest::of("x");
        assert_eq!(digest(&path(&blob)), Some(blob));
        assert_eq!(digest(&incoming()), None);
        for other in ["ab", "ab/cd", &format!("zz/{}", blob.hex()), &format!("x/{}/y", blob.hex())] {
            assert_eq!(digest(&Key::from(other)), None, "{other}");
        }
    }
}

//! Secrets on their way into a container: as files in memory that are bound in, or, where the engine does not
//! run on this kernel, in an archive that it unpacks before the start.

use bytes::Bytes;
use std::{
    fs::{self, OpenOptions, Permissions},
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};
use xebec_core::ports::driver::OpenSecret;

/// Whatever the function runs as, it may read its secrets.
const READABLE: u32 = 0o444;

/// Nobody else on this machine may.
const PRIVATE: u32 = 0o700;

/// A file of this machine that is seen inside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Bind {
    pub(crate) host: PathBuf,
    pub(crate) inside: String,
}

/// An instance's secrets as files. Dropping it deletes them.
#[derive(Debug)]
pub(crate) struct SecretFiles {
    folder: PathBuf,
    pub(crate) binds: Vec<Bind>,
}

impl SecretFiles {
    /// Writes the secrets that appear as files; `None` where there are none.
    pub(crate) fn write(folder: PathBuf, secrets: &[OpenSecret]) -> io::Result<Option<Self>> {
        let as_files: Vec<_> =
            secrets.iter().filter_map(|secret| Some((secret.path.as_ref()?, secret))).collect();
        if as_files.is_empty() {
            return Ok(None);
        }
        make_private(&folder)?;
        let mut files = Self { folder, binds: Vec::with_capacity(as_files.len()) };
        for (number, (path, secret)) in as_files.into_iter().enumerate() {
            let host = files.folder.join(number.to_string());
            let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&host)?;
            file.write_all(&secret.value)?;
            file.set_permissions(Permissions::from_mode(READABLE))?;
            files.binds.push(Bind { host, inside: path.clone() });
        }
        Ok(Some(files))
    }
}

impl Drop for SecretFiles {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.folder) {
            tracing::warn!(%error, folder = %self.folder.display(), "secrets of an ended instance cannot be deleted");
        }
    }
}

/// A folder that only we can look into, with its parents.
pub(crate) fn make_private(folder: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(PRIVATE).create(folder)?;
    // One that was there already may be somebody else's trap.
    let data = fs::symlink_metadata(folder)?;
    if !data.is_dir() || std::os::unix::fs::MetadataExt::uid(&data) != rustix::process::geteuid().as_raw() {
        return Err(io::Error::other(format!("{} is not ours", folder.display())));
    }
    fs::set_permissions(folder, Permissions::from_mode(PRIVATE))
}

/// Files as an archive to be unpacked at the container's root.
pub(crate) fn archive<'a>(files: impl Iterator<Item = (&'a str, &'a Bytes)>, mode: u32) -> io::Result<Bytes> {
    let mut archive = tar::Builder::new(Vec::new());
    for (path, contents) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(contents.len() as u64);
        header.set_mode(mode);
        header.set_mtime(0);
        archive.append_data(&mut header, path.trim_start_matches('/'), &contents[..])?;
    }
    Ok(archive.into_inner()?.into())
}

/// The secrets that appear as files, as an archive; `None` where there are none.
pub(crate) fn secrets_archive(secrets: &[OpenSecret]) -> io::Result<Option<Bytes>> {
    let files: Vec<_> = secrets.iter().filter_map(|s| Some((s.path.as_deref()?, &s.value))).collect();
    if files.is_empty() {
        return Ok(None);
    }
    archive(files.into_iter(), READABLE).map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(path: Option<&str>) -> OpenSecret {
        OpenSecret {
            name: "a".into(),
            path: path.map(str::to_owned),
            variable: None,
            value: Bytes::from_static(b"hidden"),
        }
    }

    #[test]
    fn only_we_can_look_into_the_folder_and_it_goes() {
        let place = tempfile::tempdir().unwrap();
        let folder = place.path().join("x/y");
        let secrets = [secret(Some("/run/secrets/a")), secret(None)];
        let files = SecretFiles::write(folder.clone(), &secrets).unwrap().unwrap();
        assert_eq!(files.binds, [Bind { host: folder.join("0"), inside: "/run/secrets/a".into() }]);
        assert_eq!(fs::read(folder.join("0")).unwrap(), b"hidden");
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&folder), mode(&folder.join("0"))), (0o700, 0o444));
        drop(files);
        assert!(!folder.exists());
        assert!(SecretFiles::write(folder.clone(), &[secret(None)]).unwrap().is_none() && !folder.exists());
    }

    #[test]
    fn archives_hold_what_they_should() {
        assert!(secrets_archive(&[secret(None)]).unwrap().is_none());
        let bytes = secrets_archive(&[secret(Some("/run/secrets/a"))]).unwrap().unwrap();
        let mut archive = tar::Archive::new(&bytes[..]);
        let entry = archive.entries().unwrap().next().unwrap().unwrap();
        assert_eq!(entry.path().unwrap(), Path::new("run/secrets/a"));
        assert_eq!(entry.header().mode().unwrap(), READABLE);
    }
}

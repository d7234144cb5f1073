//! Unpacking code archives, which anybody may have made.
//!
//! Nothing is ever written outside of the target directory: names have no `..` and no root; what lies below
//! something lies below a real directory, never below a link; links lead to places inside only. Owners, times,
//! special permissions and special files do not come along.

use std::{
    collections::BTreeMap,
    ffi::OsStr,
    fs, io,
    io::Read,
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, symlink},
    path::{Component, Path, PathBuf},
};
use tar::EntryType;
use xebec_core::workload::{ArchiveFormat, SINGLE_FILE};
use zip::{ZipArchive, read::ZipFile, result::ZipError};

/// The longest target of a link in a zip, as long as any path may be.
const MAX_LINK_BYTES: u64 = 4096;

/// What an archive may hold.
#[derive(Clone, Copy, Debug)]
pub struct UnpackLimits {
    /// Bytes of all files together, unpacked.
    pub bytes: u64,
    /// Files, directories and links.
    pub entries: usize,
}

impl Default for UnpackLimits {
    /// 1 GiB in 100,000 entries.
    fn default() -> Self {
        Self { bytes: 1 << 30, entries: 100_000 }
    }
}

/// Why an archive was not unpacked.
#[derive(Debug, thiserror::Error)]
pub enum UnpackError {
    /// It is not what its format says, or broken off.
    #[error("the archive cannot be read: {0}")]
    Unreadable(#[source] io::Error),
    /// One of its entries is not allowed.
    #[error("the archive's entry {path:?} {why}")]
    Entry {
        /// Its name.
        path: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// It is larger than allowed.
    #[error("the archive unpacks to more than {0} bytes")]
    TooLarge(u64),
    /// It has more entries than allowed.
    #[error("the archive has more than {0} entries")]
    TooMany(usize),
    /// It could not be written here.
    #[error("the code cannot be written: {0}")]
    Disk(#[source] io::Error),
}

/// Unpacks `archive` into the existing, empty directory `into`.
///
/// # Errors
/// As soon as something is wrong; what was written by then stays.
pub fn unpack(
    archive: &[u8],
    format: ArchiveFormat,
    into: &Path,
    limits: UnpackLimits,
) -> Result<(), UnpackError> {
    match format {
        ArchiveFormat::Tar => unpack_tar(archive, into, limits),
        ArchiveFormat::TarGzip => unpack_tar(flate2::read::MultiGzDecoder::new(archive), into, limits),
        ArchiveFormat::TarZstd => {
            let decoder = zstd::Decoder::new(archive).map_err(UnpackError::Unreadable)?;
            unpack_tar(decoder, into, limits)
        }
        ArchiveFormat::Zip => unpack_zip(archive, into, limits),
        ArchiveFormat::Single => {
            Unpacker::new(into, limits).file(Path::new(SINGLE_FILE), true, &mut { archive })
        }
        ArchiveFormat::Wasm => Err(UnpackError::Unreadable(io::Error::other("it is a WebAssembly module"))),
    }
}

fn unpack_tar(packed: impl Read, into: &Path, limits: UnpackLimits) -> Result<(), UnpackError> {
    // Headers and padding take up to 1.5 KiB an entry; past that, the stream holds more than it names.
    let stream =
        packed.take(limits.bytes.saturating_add(limits.entries as u64 * 2048).saturating_add(1 << 20));
    let mut archive = tar::Archive::new(stream);
    let mut unpacker = Unpacker::new(into, limits);
    for entry in archive.entries().map_err(UnpackError::Unreadable)? {
        unpacker.entry(entry.map_err(UnpackError::Unreadable)?)?;
    }
    Ok(())
}

fn unpack_zip(packed: &[u8], into: &Path, limits: UnpackLimits) -> Result<(), UnpackError> {
    let mut archive = ZipArchive::new(io::Cursor::new(packed)).map_err(unreadable)?;
    let mut unpacker = Unpacker::new(into, limits);
    if archive.len() > limits.entries {
        return Err(UnpackError::TooMany(limits.entries));
    }
    for index in 0..archive.len() {
        unpacker.zip_entry(archive.by_index(index).map_err(unreadable)?)?;
    }
    Ok(())
}

fn unreadable(error: ZipError) -> UnpackError {
    match error {
        ZipError::Io(error) => UnpackError::Unreadable(error),
        other => UnpackError::Unreadable(io::Error::other(other)),
    }
}

/// What stands at a path.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Made {
    Directory,
    File,
    Link,
}

struct Unpacker<'a> {
    into: &'a Path,
    limits: UnpackLimits,
    left: u64,
    made: BTreeMap<PathBuf, Made>,
}

impl<'a> Unpacker<'a> {
    fn new(into: &'a Path, limits: UnpackLimits) -> Self {
        Self { into, limits, left: limits.bytes, made: BTreeMap::new() }
    }

    fn entry(&mut self, mut entry: tar::Entry<'_, impl Read>) -> Result<(), UnpackError> {
        let kind = entry.header().entry_type();
        if kind == EntryType::XGlobalHeader {
            return Ok(()); // remarks about the whole archive, as `git archive` writes them
        }
        let name = entry.path().map_err(UnpackError::Unreadable)?.into_owned();
        let refuse = |why| UnpackError::Entry { path: name.to_string_lossy().into_owned(), why };
        let path = plain(&name).map_err(refuse)?;
        if path.as_os_str().is_empty() {
            return if kind.is_dir() { Ok(()) } else { Err(refuse("has no name")) };
        }
        match kind {
            EntryType::Directory => self.directory(&path).map_err(|fault| fault.of(&name)),
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {
                self.clear(&path).map_err(|fault| fault.of(&name))?;
                let executable = entry.header().mode().unwrap_or(0) & 0o111 != 0;
                self.file(&path, executable, &mut entry)
            }
            EntryType::Symlink => {
                let target = entry.link_name().map_err(UnpackError::Unreadable)?;
                let target = target.ok_or_else(|| refuse("is a link to nothing"))?;
                self.link(path, &target).map_err(|fault| fault.of(&name))
            }
            EntryType::Link => {
                let target = entry.link_name().map_err(UnpackError::Unreadable)?;
                let target = target.ok_or_else(|| refuse("is a link to nothing"))?;
                let target = plain(&target).map_err(refuse)?;
                if self.made.get(&target) != Some(&Made::File) || target == path {
                    return Err(refuse("is a link to something that is no earlier file"));
                }
                self.clear(&path).map_err(|fault| fault.of(&name))?;
                fs::hard_link(self.into.join(&target), self.into.join(&path)).map_err(UnpackError::Disk)?;
                self.note(path, Made::File)
            }
            _ => Err(refuse("is neither a file, a directory nor a link")),
        }
    }

    fn zip_entry(&mut self, mut entry: ZipFile<'_, io::Cursor<&[u8]>>) -> Result<(), UnpackError> {
        let name = PathBuf::from(entry.name().map_err(unreadable)?.into_owned());
        let refuse = |why| UnpackError::Entry { path: name.to_string_lossy().into_owned(), why };
        let path = plain(&name).map_err(refuse)?;
        if path.as_os_str().is_empty() {
            return if entry.is_dir() { Ok(()) } else { Err(refuse("has no name")) };
        }
        if entry.is_dir() {
            return self.directory(&path).map_err(|fault| fault.of(&name));
        }
        let mode = entry.unix_mode().unwrap_or(0);
        match mode & 0o170_000 {
            0o120_000 => {
                let mut target = String::new();
                let read = entry.by_ref().take(MAX_LINK_BYTES).read_to_string(&mut target);
                read.map_err(UnpackError::Unreadable)?;
                if target.is_empty() {
                    return Err(refuse("is a link to nothing"));
                }
                self.link(path, Path::new(&target)).map_err(|fault| fault.of(&name))
            }
            0 | 0o100_000 => {
                self.clear(&path).map_err(|fault| fault.of(&name))?;
                // Packers of other systems leave modes out, but what is named so is there to be executed.
                let executable = mode & 0o111 != 0 || path.file_name() == Some(OsStr::new(SINGLE_FILE));
                self.file(&path, executable, &mut entry)
            }
            _ => Err(refuse("is neither a file, a directory nor a link")),
        }
    }

    fn link(&mut self, path: PathBuf, target: &Path) -> Result<(), Fault> {
        check_link(&path, target).map_err(Fault::Why)?;
        self.clear(&path)?;
        let disk = |error| Fault::Error(UnpackError::Disk(error));
        symlink(target, self.into.join(&path)).map_err(disk)?;
        self.note(path, Made::Link).map_err(Fault::Error)
    }

    /// Makes a directory and those above it.
    fn directory(&mut self, path: &Path) -> Result<(), Fault> {
        let mut above = PathBuf::new();
        for part in path.components() {
            above.push(part);
            match self.made.get(&above) {
                Some(Made::Directory) => {}
                Some(_) => return Err(Fault::Why("lies below something that is no directory")),
                None => {
                    let made = fs::DirBuilder::new().mode(0o755).create(self.into.join(&above));
                    made.map_err(|error| Fault::Error(UnpackError::Disk(error)))?;
                    self.note(above.clone(), Made::Directory).map_err(Fault::Error)?;
                }
            }
        }
        Ok(())
    }

    /// Makes room for a file or link: a later entry replaces an earlier one of its name.
    fn clear(&mut self, path: &Path) -> Result<(), Fault> {
        if let Some(parent) = path.parent() {
            self.directory(parent)?;
        }
        match self.made.get(path) {
            None => Ok(()),
            Some(Made::Directory) => Err(Fault::Why("is a directory and a file")),
            Some(_) => {
                fs::remove_file(self.into.join(path)).map_err(|error| Fault::Error(UnpackError::Disk(error)))
            }
        }
    }

    fn file(&mut self, path: &Path, executable: bool, from: &mut impl Read) -> Result<(), UnpackError> {
        let mode = if executable { 0o755 } else { 0o644 };
        let mut options = fs::OpenOptions::new();
        options.write(true).create_new(true).mode(mode);
        let mut file = options.open(self.into.join(path)).map_err(UnpackError::Disk)?;
        let mut buffer = [0; 64 * 1024];
        loop {
            let read = match from.read(&mut buffer) {
                Ok(0) => break,
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(UnpackError::Unreadable(error)),
            };
            self.left = self.left.checked_sub(read as u64).ok_or(UnpackError::TooLarge(self.limits.bytes))?;
            io::Write::write_all(&mut file, &buffer[..read]).map_err(UnpackError::Disk)?;
        }
        self.note(path.to_owned(), Made::File)
    }

    fn note(&mut self, path: PathBuf, made: Made) -> Result<(), UnpackError> {
        self.made.insert(path, made);
        if self.made.len() > self.limits.entries {
            return Err(UnpackError::TooMany(self.limits.entries));
        }
        Ok(())
    }
}

/// What is wrong, before it is known with which entry.
enum Fault {
    Why(&'static str),
    Error(UnpackError),
}

impl Fault {
    fn of(self, name: &Path) -> UnpackError {
        match self {
            Self::Why(why) => UnpackError::Entry { path: name.to_string_lossy().into_owned(), why },
            Self::Error(error) => error,
        }
    }
}

/// The name without `.`, if it leads nowhere but down.
fn plain(name: &Path) -> Result<PathBuf, &'static str> {
    let mut path = PathBuf::new();
    for part in name.components() {
        match part {
            Component::Normal(part) => path.push(part),
            Component::CurDir => {}
            Component::ParentDir => return Err("leads upwards"),
            Component::RootDir | Component::Prefix(_) => return Err("is absolute"),
        }
    }
    Ok(path)
}

/// Whether a link at `path` leads to a place inside. Going up is allowed at the start only, where it passes
/// real directories: after a name, which may itself be a link, nobody could tell where it leads.
fn check_link(path: &Path, target: &Path) -> Result<(), &'static str> {
    let mut depth = path.components().count() - 1;
    let mut below = false;
    for part in target.components() {
        match part {
            Component::CurDir => {}
            Component::Normal(_) => below = true,
            Component::ParentDir if !below && depth > 0 => depth -= 1,
            Component::ParentDir => return Err("is a link that leads outside, or up after a name"),
            Component::RootDir | Component::Prefix(_) => return Err("is a link to an absolute path"),
        }
    }
    Ok(())
}

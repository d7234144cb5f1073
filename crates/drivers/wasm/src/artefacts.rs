//! Compiled components: on disk by digest, and mapped while they are used.

use crate::{code::component, loaded::Loaded, runtime::Runtime};
use bytes::Bytes;
use parking_lot::Mutex;
use std::{
    collections::{HashMap, HashSet},
    fs, io,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};
use xebec_core::{
    Digest, Error, ErrorKind,
    revision::Revision,
    workload::{ArchiveFormat, Workload},
};

/// Components that stay mapped though nothing uses them: the next start of one of them takes microseconds.
const MAPPED_UNUSED: usize = 64;

/// What is younger is not collected: it may belong to a deploy that is not recorded yet.
const COLLECT_AGE: Duration = Duration::from_secs(600);

/// Compiled components. The directory holds
///
/// * `<code>-<engine>.cwasm`, what that engine made of the code,
/// * `revisions/<revision>`, the code that the revision runs.
pub(crate) struct Artefacts {
    directory: PathBuf,
    mapped: Mutex<HashMap<Digest, Mapped>>,
}

struct Mapped {
    loaded: Arc<Loaded>,
    used: Instant,
}

/// The code that a revision runs.
pub(crate) struct Code {
    pub(crate) digest: Digest,
    format: ArchiveFormat,
    file: Option<String>,
}

impl Code {
    /// The code of a revision; `None` where it brings none.
    pub(crate) fn of(revision: &Revision) -> Option<Self> {
        let Workload::Code { archive, format, .. } = &revision.spec.workload else { return None };
        let file =
            revision.spec.handler.clone().filter(|name| name.ends_with(".wasm") || name.ends_with(".wat"));
        let digest = match (&file, format) {
            (None, _) | (_, ArchiveFormat::Wasm) => *archive,
            (Some(file), _) => Digest::of(format!("{archive} {file}")),
        };
        Some(Self { digest, format: *format, file })
    }

    /// Unpacks it to its component.
    pub(crate) fn component(&self, blob: &Bytes) -> Result<Bytes, Error> {
        component(blob, self.format, self.file.as_deref())
    }
}

impl Artefacts {
    /// Those in `directory`, which is made, for us alone, when the first one is stored.
    pub(crate) fn new(directory: PathBuf) -> Self {
        Self { directory, mapped: Mutex::default() }
    }

    /// The compiled component, mapped. Blocks on the disk where it is not mapped yet.
    ///
    /// # Errors
    /// `XB3005` where this engine has not compiled it.
    pub(crate) fn load(&self, runtime: &Runtime, code: &Code) -> Result<Arc<Loaded>, Error> {
        if let Some(loaded) = self.mapped(&code.digest) {
            return Ok(loaded);
        }
        let path = self.path(runtime, &code.digest);
        if !path.exists() {
            return Err(Error::internal("XB3005", "the component is not compiled here"));
        }
        let component = map(runtime, &path).map_err(|error| {
            // What cannot be loaded must not be in the way of what would be.
            let _ = fs::remove_file(&path);
            Error::internal("XB3005", format!("the compiled component cannot be loaded: {error:#}"))
        })?;
        let loaded = Arc::new(Loaded::new(runtime, &component)?);
        self.keep(code.digest, loaded.clone());
        Ok(loaded)
    }

    /// The compiled component, if it is mapped.
    pub(crate) fn mapped(&self, digest: &Digest) -> Option<Arc<Loaded>> {
        let mut mapped = self.mapped.lock();
        let entry = mapped.get_mut(digest)?;
        entry.used = Instant::now();
        Some(entry.loaded.clone())
    }

    fn keep(&self, digest: Digest, loaded: Arc<Loaded>) {
        let mut mapped = self.mapped.lock();
        mapped.insert(digest, Mapped { loaded, used: Instant::now() });
        let mut unused: Vec<(Instant, Digest)> = mapped
            .iter()
            .filter(|(key, entry)| **key != digest && Arc::strong_count(&entry.loaded) == 1)
            .map(|(key, entry)| (entry.used, *key))
            .collect();
        if unused.len() > MAPPED_UNUSED {
            unused.sort_unstable();
            for (_, key) in &unused[..unused.len() - MAPPED_UNUSED] {
                mapped.remove(key);
            }
        }
    }

    /// Compiles a component and stores the result. Takes seconds on all cores; not to be called from a task.
    pub(crate) fn compile(&self, runtime: &Runtime, code: &Code, component: &[u8]) -> Result<(), Error> {
        let compiled = runtime
            .engine
            .precompile_component(component)
            .map_err(|error| Error::invalid("XB3002", format!("the component is not valid: {error:#}")))?;
        self.write(&self.path(runtime, &code.digest), &compiled)
    }

    /// Notes that the revision runs the code: [`forget`](Self::forget) then leaves it.
    pub(crate) fn note(&self, revision: &Digest, code: &Code) -> Result<(), Error> {
        self.write(&self.revisions().join(revision.hex()), code.digest.hex().as_bytes())
    }

    /// Revisions that were noted long enough ago to be collected.
    pub(crate) fn collectable(&self) -> Result<Vec<Digest>, Error> {
        let noted = files(&self.revisions())?;
        Ok(noted.iter().filter(|file| file.is_old()).filter_map(|file| file.name.parse().ok()).collect())
    }

    /// Forgets revisions, and deletes the code that no other one runs. Returns bytes freed.
    pub(crate) fn forget(&self, revisions: &[Digest]) -> Result<u64, Error> {
        for revision in revisions {
            let _ = fs::remove_file(self.revisions().join(revision.hex()));
        }
        let needed: HashSet<String> =
            files(&self.revisions())?.iter().filter_map(|file| fs::read_to_string(&file.path).ok()).collect();
        let mut freed = 0;
        for file in files(&self.directory)? {
            let code = file.name.split('-').next().unwrap_or_default();
            if file.is_old() && !needed.contains(code) && fs::remove_file(&file.path).is_ok() {
                freed += file.bytes;
            }
        }
        self.mapped
            .lock()
            .retain(|digest, entry| Arc::strong_count(&entry.loaded) > 1 || needed.contains(&digest.hex()));
        Ok(freed)
    }

    fn path(&self, runtime: &Runtime, code: &Digest) -> PathBuf {
        self.directory.join(format!("{}-{}.cwasm", code.hex(), runtime.compatibility))
    }

    fn revisions(&self) -> PathBuf {
        self.directory.join("revisions")
    }

    /// Writes a file whole or not at all: under another name first, and on disk before it gets its own.
    fn write(&self, path: &Path, contents: &[u8]) -> Result<(), Error> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let write = || -> io::Result<()> {
            make_private(&self.directory)?;
            make_private(&self.revisions())?;
            let number = COUNT.fetch_add(1, Ordering::Relaxed);
            let part = self.directory.join(format!(".{}-{number}.part", std::process::id()));
            let written = (|| {
                let mut file = fs::File::create(&part)?;
                io::Write::write_all(&mut file, contents)?;
                file.sync_all()?;
                fs::rename(&part, path)
            })();
            if written.is_err() {
                let _ = fs::remove_file(&part);
            }
            written
        };
        write().map_err(|error| storage_error(&error))
    }
}

/// Maps compiled code.
#[allow(unsafe_code)]
fn map(runtime: &Runtime, path: &Path) -> wasmtime::Result<wasmtime::component::Component> {
    // SAFETY: the file is native code that will be run, so it must come from `Engine::precompile_component`
    // and must not change. Only `Artefacts::write` writes here, from the compiler's own output, under a name
    // made of the component's digest and the engine's hash; files are renamed into place and never opened
    // for writing again; and the directory is open to our own user alone.
    unsafe { wasmtime::component::Component::deserialize_file(&runtime.engine, path) }
}

fn make_private(directory: &Path) -> io::Result<()> {
    if directory.is_dir() {
        return Ok(());
    }
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(directory)
}

struct File {
    path: PathBuf,
    name: String,
    bytes: u64,
    modified: SystemTime,
}

impl File {
    fn is_old(&self) -> bool {
        self.modified.elapsed().is_ok_and(|age| age > COLLECT_AGE)
    }
}

/// The files in a directory; none where there is no directory.
fn files(directory: &Path) -> Result<Vec<File>, Error> {
    let list = || -> io::Result<Vec<File>> {
        let mut files = Vec::new();
        for entry in fs::read_dir(directory)? {
            let entry = entry?;
            let facts = entry.metadata()?;
            if facts.is_file() {
                files.push(File {
                    path: entry.path(),
                    name: entry.file_name().to_string_lossy().into_owned(),
                    bytes: facts.len(),
                    modified: facts.modified()?,
                });
            }
        }
        Ok(files)
    };
    match list() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        listed => listed.map_err(|error| storage_error(&error)),
    }
}

fn storage_error(error: &io::Error) -> Error {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            Error::new(ErrorKind::Unavailable, "XB4002", "the disk is full, so the component is not stored")
                .with_hint("make room in the data directory and deploy again")
        }
        _ => Error::internal("XB4003", format!("the component's files cannot be used: {error}")),
    }
}

//! A function's folder → what is deployed.

use crate::failure::Failure;
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};
use xebec_api_native::wire::Manifest;
use xebec_core::workload::ArchiveFormat;

/// The file that describes a function.
pub(crate) const MANIFEST: &str = "function.toml";

/// Folders and files that are never sent: version control, caches, what is installed at deploy time.
const LEFT_OUT: &[&str] =
    &[".git", ".hg", ".svn", "__pycache__", ".venv", "venv", "node_modules", "target", ".DS_Store", ".env"];

/// Files in one function at most; more is a mistake in what is sent.
const MAX_FILES: usize = 50_000;

/// A function as its folder describes it.
#[derive(Debug)]
pub(crate) struct Project {
    pub(crate) folder: PathBuf,
    pub(crate) manifest: Manifest,
}

/// Code, packed.
pub(crate) struct Packed {
    pub(crate) bytes: Vec<u8>,
    pub(crate) format: ArchiveFormat,
}

impl Project {
    /// Reads `function.toml` of a folder.
    pub(crate) fn read(folder: &Path) -> Result<Self, Failure> {
        if !folder.is_dir() {
            return Err(Failure::misuse(format!("{} is not a folder", folder.display()))
                .with_hint("name the folder that has the function.toml"));
        }
        let file = folder.join(MANIFEST);
        let text = std::fs::read_to_string(&file).map_err(|error| {
            Failure::misuse(format!("{}: {error}", file.display()))
                .with_hint("xebec new <name> --lang python makes a function to start from")
        })?;
        let manifest: Manifest = toml::from_str(&text).map_err(|error| {
            Failure::misuse(format!("{}: {}", file.display(), error.to_string().trim_end()))
        })?;
        if manifest.code.is_some() {
            return Err(Failure::misuse(format!("{}: `code` cannot be set here", file.display())));
        }
        Ok(Self { folder: folder.to_owned(), manifest })
    }

    /// Runs its `build` line, if it has one.
    pub(crate) async fn build(&self) -> Result<(), Failure> {
        let Some(line) = &self.manifest.build else { return Ok(()) };
        let status = tokio::process::Command::new("sh")
            .args(["-c", line])
            .current_dir(&self.folder)
            .stdin(std::process::Stdio::null())
            .status()
            .await
            .map_err(Failure::io("sh"))?;
        if status.success() {
            return Ok(());
        }
        Err(Failure::new(format!("the build line of {MANIFEST} failed: {line:?} ({status})")))
    }

    /// Packs what is to be sent: the folder, or its `artifact`.
    pub(crate) fn pack(&self) -> Result<Packed, Failure> {
        let root = match &self.manifest.artifact {
            None => self.folder.clone(),
            Some(artifact) => self.folder.join(artifact),
        };
        let extension = root.extension().and_then(|extension| extension.to_str());
        if root.is_file() && matches!(extension, Some("wasm" | "wat")) {
            let bytes = std::fs::read(&root).map_err(Failure::io(root.display()))?;
            return Ok(Packed { bytes, format: ArchiveFormat::Wasm });
        }
        archive(&root)
    }
}

fn archive(root: &Path) -> Result<Packed, Failure> {
    let mut files = Files::default();
    if root.is_dir() {
        files.add_folder(root, Path::new(""))?;
    } else if root.is_file() {
        files.add_file(root, Path::new(root.file_name().unwrap_or_default()));
    } else {
        return Err(Failure::misuse(format!("{} does not exist", root.display()))
            .with_hint("`artifact` in function.toml names what the build makes"));
    }
    files.pack()
}

/// Files that are to be packed: where each is, and its name in the archive.
#[derive(Default)]
pub(crate) struct Files(Vec<(PathBuf, PathBuf)>);

impl Files {
    pub(crate) fn add_file(&mut self, path: &Path, name: &Path) {
        self.0.push((path.to_owned(), name.to_owned()));
    }

    /// Adds all of a folder, but what is never sent, below `name`.
    pub(crate) fn add_folder(&mut self, root: &Path, name: &Path) -> Result<(), Failure> {
        let mut found = Vec::new();
        gather(root, Path::new(""), &mut found)?;
        self.0.extend(found.into_iter().map(|(path, below)| (path, name.join(below))));
        Ok(())
    }

    /// Packs them. Of two with one name, the one that was added later counts.
    pub(crate) fn pack(self) -> Result<Packed, Failure> {
        // Sorted, and without times or owners: the same files always make the same revision.
        let files: BTreeMap<PathBuf, PathBuf> = self.0.into_iter().map(|(path, name)| (name, path)).collect();
        let encoder = zstd::Encoder::new(Vec::new(), 3).map_err(Failure::io("zstd"))?;
        let mut tar = tar::Builder::new(encoder);
        for (name, path) in files {
            append(&mut tar, &path, &name).map_err(Failure::io(path.display()))?;
        }
        let bytes = tar.into_inner().and_then(zstd::Encoder::finish).map_err(Failure::io("packing"))?;
        Ok(Packed { bytes, format: ArchiveFormat::TarZstd })
    }
}

fn append<W: std::io::Write>(tar: &mut tar::Builder<W>, path: &Path, name: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    let metadata = std::fs::metadata(path)?;
    let executable = metadata.permissions().mode() & 0o111 != 0;
    let mut header = tar::Header::new_gnu();
    header.set_size(metadata.len());
    header.set_mode(if executable { 0o755 } else { 0o644 });
    header.set_mtime(0);
    header.set_cksum();
    tar.append_data(&mut header, name, std::fs::File::open(path)?)
}

fn gather(root: &Path, below: &Path, files: &mut Vec<(PathBuf, PathBuf)>) -> Result<(), Failure> {
    let folder = root.join(below);
    for entry in std::fs::read_dir(&folder).map_err(Failure::io(folder.display()))? {
        let entry = entry.map_err(Failure::io(folder.display()))?;
        let name = entry.file_name();
        if LEFT_OUT.iter().any(|left_out| name == *left_out) || (below == Path::new("") && name == MANIFEST) {
            continue;
        }
        let (path, below) = (entry.path(), below.join(&name));
        // Links are followed: what the function sees is files, wherever its author keeps them.
        let metadata = std::fs::metadata(&path).map_err(Failure::io(path.display()))?;
        if metadata.is_dir() {
            gather(root, &below, files)?;
        } else if metadata.is_file() {
            files.push((path, below));
        }
        if files.len() > MAX_FILES {
            return Err(Failure::new(format!("{} has more than {MAX_FILES} files", root.display()))
                .with_hint("set `artifact` in function.toml to the folder that is needed"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        folder
    }

    fn names(packed: &Packed) -> Vec<String> {
        let mut archive = tar::Archive::new(zstd::Decoder::new(packed.bytes.as_slice()).unwrap());
        let entries = archive.entries().unwrap();
        entries.map(|entry| entry.unwrap().path().unwrap().display().to_string()).collect()
    }

    #[test]
    fn packs_the_code_and_leaves_out_the_rest() {
        let manifest = "name = \"a\"\nenvironment = \"python\"\n";
        let folder = folder(&[
            (MANIFEST, manifest),
            ("handler.py", "x"),
            ("lib/more.py", "y"),
            ("node_modules/z/index.js", "z"),
            (".git/HEAD", "ref"),
        ]);
        let project = Project::read(folder.path()).unwrap();
        assert_eq!(names(&project.pack().unwrap()), ["handler.py", "lib/more.py"]);
    }

    #[test]
    fn the_same_files_make_the_same_archive() {
        let files = [(MANIFEST, "name = \"a\""), ("b", "1"), ("a", "2")];
        let [first, second] = [folder(&files), folder(&files)]
            .map(|folder| Project::read(folder.path()).unwrap().pack().unwrap().bytes);
        assert_eq!(first, second);
    }

    #[test]
    fn says_where_a_manifest_is_wrong() {
        let folder = folder(&[(MANIFEST, "name = \"a\"\nmemory = 3\n")]);
        let failure = Project::read(folder.path()).unwrap_err();
        assert_eq!(failure.exit, 2);
        assert!(
            failure.message.contains("line 2") && failure.message.contains("memory"),
            "{}",
            failure.message
        );
    }
}

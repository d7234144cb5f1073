//! Programs of the host that functions run on, and what of the host must be seen for them to run.
//!
//! Sandboxes see the system's directories. An interpreter may live elsewhere, and what `PATH` finds may be
//! only a shim for it (pyenv, asdf, nvm): so interpreters are asked, once, where they really are.

use parking_lot::Mutex;
use std::{
    collections::HashMap,
    ffi::OsStr,
    path::{Path, PathBuf},
    process::Stdio,
    sync::Arc,
    time::Duration,
};
use xebec_core::{Error, ErrorKind};

/// What sandboxes see without being told.
const SYSTEM: [&str; 7] = ["/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32"];

/// Where programs are looked up inside, after the directories of those that live elsewhere.
const SYSTEM_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// How long an interpreter may take to say where it is. Shims of shims in shell take their time.
const ASKING: Duration = Duration::from_secs(20);

const ASK_PYTHON: &str = "import sys; print(getattr(sys, '_base_executable', None) or sys.executable); \
     print(sys.base_prefix); print(sys.base_exec_prefix); print(sys.implementation.cache_tag, *sys.version_info)";
const ASK_NODE: &str =
    "console.log(`${process.execPath}\\n${process.arch} ${process.version} ${process.versions.modules}`)";

/// A program of the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Program {
    /// As what it was looked up.
    name: String,
    /// Its real path.
    pub(crate) path: PathBuf,
    /// What sandboxes must see for it to run, beside the system's directories.
    pub(crate) roots: Vec<PathBuf>,
    /// What installed dependencies depend on: its kind and version.
    pub(crate) identity: String,
}

impl Program {
    /// Whether it is what was found for this name or path.
    pub(crate) fn was_asked_for(&self, name: &str) -> bool {
        self.name == name
    }

    #[cfg(test)]
    pub(crate) fn for_test(path: &str, roots: &[&str]) -> Self {
        let roots = roots.iter().map(PathBuf::from).collect();
        Self { name: path.to_owned(), path: path.into(), roots, identity: String::new() }
    }

    /// Where it and its kin (`pip`, `npm`) are, unless they are found there in any case.
    fn directory(&self) -> Option<&Path> {
        let is_searched = |directory: &Path| SYSTEM_PATH.split(':').any(|each| Path::new(each) == directory);
        self.path.parent().filter(|directory| !is_searched(directory))
    }
}

/// The programs found so far.
#[derive(Default)]
pub(crate) struct Programs {
    found: Mutex<HashMap<String, Arc<Program>>>,
}

impl Programs {
    /// Finds a program by its name or path.
    ///
    /// # Errors
    /// `XB3003`.
    pub(crate) async fn find(&self, name: &str) -> Result<Arc<Program>, Error> {
        if let Some(found) = self.found.lock().get(name) {
            return Ok(found.clone());
        }
        let path = look_up(name).ok_or_else(|| missing(name, "it is not in the server's PATH"))?;
        let program = Arc::new(settle(name, &path).await?);
        self.found.lock().insert(name.to_owned(), program.clone());
        Ok(program)
    }
}

/// The `PATH` inside, for a sandbox that sees these programs.
pub(crate) fn search_path(programs: &[Arc<Program>]) -> String {
    let mut directories: Vec<_> = programs.iter().filter_map(|program| program.directory()).collect();
    directories.dedup();
    let own = directories.iter().map(|directory| directory.to_string_lossy());
    own.chain([SYSTEM_PATH.into()]).collect::<Vec<_>>().join(":")
}

/// Whether a path is seen in every sandbox.
pub(crate) fn is_system(path: &Path) -> bool {
    SYSTEM.iter().any(|system| path.starts_with(system))
}

fn look_up(name: &str) -> Option<PathBuf> {
    if name.contains('/') {
        return is_program(Path::new(name)).then(|| PathBuf::from(name));
    }
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|directory| directory.join(name)).find(|path| is_program(path))
}

fn is_program(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    path.metadata().is_ok_and(|data| data.is_file() && data.permissions().mode() & 0o111 != 0)
}

async fn settle(name: &str, path: &Path) -> Result<Program, Error> {
    let kind = path.file_name().and_then(OsStr::to_str).unwrap_or_default();
    if kind.starts_with("python") {
        let answer = ask(name, path, &["-I", "-S", "-c", ASK_PYTHON]).await?;
        return python(name, &answer).ok_or_else(|| missing(name, "it does not say where it is"));
    }
    if kind == "node" || kind == "nodejs" {
        let answer = ask(name, path, &["-e", ASK_NODE]).await?;
        return node(name, &answer).ok_or_else(|| missing(name, "it does not say where it is"));
    }
    if kind == "go" {
        let answer = ask(name, path, &["env", "GOROOT", "GOVERSION", "GOARCH"]).await?;
        return go(name, &answer).ok_or_else(|| missing(name, "it does not say where it is"));
    }
    // Not the canonical path: a program may look at the name by which it is called (busybox).
    let roots = if is_system(path) { Vec::new() } else { vec![path.to_owned()] };
    Ok(Program { name: name.to_owned(), path: path.to_owned(), roots, identity: kind.to_owned() })
}

fn python(name: &str, answer: &str) -> Option<Program> {
    let mut lines = answer.lines();
    let path = PathBuf::from(lines.next()?);
    let mut roots: Vec<PathBuf> = Vec::new();
    for prefix in [PathBuf::from(lines.next()?), PathBuf::from(lines.next()?)] {
        if !is_system(&prefix) && prefix.parent().is_some() && !roots.contains(&prefix) {
            roots.push(prefix);
        }
    }
    if !is_system(&path) && !roots.iter().any(|root| path.starts_with(root)) {
        roots.push(path.clone());
    }
    Some(Program { name: name.to_owned(), path, roots, identity: lines.next()?.to_owned() })
}

fn node(name: &str, answer: &str) -> Option<Program> {
    let (path, identity) = answer.trim_end().split_once('\n')?;
    let path = PathBuf::from(path);
    let mut roots = Vec::new();
    if !is_system(&path) {
        // Not the whole prefix: that may be somebody's `~/.local`.
        let directory = path.parent()?;
        let modules = directory.parent()?.join("lib/node_modules");
        roots.push(directory.to_owned());
        roots.extend(modules.is_dir().then_some(modules));
    }
    Some(Program { name: name.to_owned(), path, roots, identity: format!("node {identity}") })
}

fn go(name: &str, answer: &str) -> Option<Program> {
    let (root, identity) = answer.trim_end().split_once('\n')?;
    let root = PathBuf::from(root);
    let path = root.join("bin/go");
    let roots = if is_system(&root) { Vec::new() } else { vec![root] };
    Some(Program { name: name.to_owned(), path, roots, identity: identity.replace('\n', " ") })
}

async fn ask(name: &str, path: &Path, arguments: &[&str]) -> Result<String, Error> {
    let mut command = tokio::process::Command::new(path);
    command.args(arguments).current_dir("/").stdin(Stdio::null()).kill_on_drop(true);
    let output = match tokio::time::timeout(ASKING, command.output()).await {
        Ok(Ok(output)) if output.status.success() => output,
        Ok(Ok(output)) => {
            let said = String::from_utf8_lossy(&output.stderr);
            let last = said.lines().rfind(|line| !line.trim().is_empty()).unwrap_or_default();
            return Err(missing(name, &format!("it does not start: {} {last}", output.status)));
        }
        Ok(Err(error)) => return Err(missing(name, &format!("it does not start: {error}"))),
        Err(_) => return Err(missing(name, "it does not end when asked for its version")),
    };
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn missing(name: &str, why: &str) -> Error {
    Error::new(ErrorKind::Refused, "XB3003", format!("this machine has no {name} that can be used: {why}"))
        .with_hint(format!("install {name}, and start the server with it in PATH"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn programs_of_the_system_need_nothing() {
        let programs = Programs::default();
        let found = programs.find("sh").await.unwrap();
        assert!(is_system(&found.path) && found.roots.is_empty());
        assert_eq!(search_path(&[found]), SYSTEM_PATH);
    }

    #[tokio::test]
    async fn what_is_missing_is_named() {
        for name in ["no-such-program", "/no/such/program"] {
            let error = Programs::default().find(name).await.unwrap_err();
            assert_eq!(error.code, "XB3003");
            assert!(error.message.contains(name), "{error}");
        }
    }

    #[tokio::test]
    async fn interpreters_say_where_they_are() {
        let programs = Programs::default();
        for name in ["python3", "node", "go"] {
            match programs.find(name).await {
                Err(error) => xebec_skipped::skipped!("{error}"),
                Ok(found) => {
                    assert!(found.path.is_absolute() && is_program(&found.path), "{found:?}");
                    assert!(
                        is_system(&found.path) || found.roots.iter().any(|root| found.path.starts_with(root))
                    );
                    assert!(found.identity.chars().any(|c| c.is_ascii_digit()), "{found:?}");
                    assert!(Arc::ptr_eq(&found, &programs.find(name).await.unwrap()));
                }
            }
        }
    }

    #[test]
    fn a_compiler_in_a_place_of_its_own_is_found() {
        let program = go("go", "/usr/local/go\ngo1.22.1\namd64\n").unwrap();
        assert_eq!((program.roots.len(), program.identity.as_str()), (0, "go1.22.1 amd64"));
        let path = search_path(&[Arc::new(program)]);
        assert!(path.starts_with("/usr/local/go/bin:/usr/local/sbin:"), "{path}");
        assert_eq!(go("go", "/opt/go\ngo1.22.1\namd64\n").unwrap().roots, [PathBuf::from("/opt/go")]);
    }

    #[test]
    fn a_python_elsewhere_is_seen_with_its_prefix() {
        let program =
            python("python3", "/home/a/.py/v/bin/python3\n/home/a/.py/v\n/home/a/.py/v\ncpython-311 3 11\n")
                .unwrap();
        assert_eq!(program.roots, [PathBuf::from("/home/a/.py/v")]);
        let path = search_path(&[Arc::new(program)]);
        assert!(path.starts_with("/home/a/.py/v/bin:/usr/local/sbin:"), "{path}");
        assert!(
            python("python3", "/usr/bin/python3\n/usr\n/usr\ncpython-311 3 11\n").unwrap().roots.is_empty()
        );
    }
}

//! Installing what a function depends on: build steps, in a sandbox with a way out, once per set of lock files.

use crate::{
    driver::Inner,
    host_settings::HostSettings,
    layout::{self, CODE, RUNTIMES},
    output,
    prepared::{Installed, publish, settle, storage},
    programs::Program,
};
use sha2::{Digest as _, Sha256};
use std::{
    collections::VecDeque,
    fs, io,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    sync::Arc,
};
use xebec_core::{
    Error, ErrorKind,
    environment::{BuildStep, Environment},
    ports::driver::Progress,
};
use xebec_sandbox::{Bind, Exec, Network, SandboxLimits, SandboxSpec, Stream};

/// Where a build step works. Below it: what it installs, its `HOME`, its `TMPDIR`.
const WORK: &str = "/data";
/// What a build step may use. Compilers and resolvers need more than functions do.
const LIMITS: SandboxLimits = SandboxLimits {
    memory_bytes: Some(4 << 30),
    cpu_millis: None,
    processes: Some(1024),
    scratch_bytes: Some(1 << 30),
};
/// How many of its last lines a failure shows.
const LAST_LINES: usize = 20;
/// A file larger than this is no lock file.
const MAX_KEY_FILE: u64 = 16 << 20;

/// What stands for all of the code in a step's settings.
const ALL: &str = ".";

/// What steps work on.
pub(crate) struct Code<'a> {
    /// Where it is.
    pub(crate) directory: &'a Path,
    /// What it is called: another name for other code.
    pub(crate) name: &'a str,
    /// Which of its entry points is called.
    pub(crate) handler: Option<&'a str>,
}

/// Runs a build step unless it ran before with the same lock files. `None`: the code has nothing for it. `before`
/// is what the steps before it installed.
pub(crate) async fn install(
    inner: &Inner,
    environment: &Environment,
    step: &BuildStep,
    code: &Code<'_>,
    before: &[Installed],
    programs: &[Arc<Program>],
    progress: &dyn Progress,
) -> Result<Option<Installed>, Error> {
    if !has_work(step, code.directory) {
        return Ok(None);
    }
    let key = key(environment, step, code, programs)
        .map_err(|error| storage("read the function's lock files", &error))?;
    let place = inner.prepared.dependencies(&key);
    let installed = Installed { key, mount: PathBuf::from(&step.mount) };
    let _lock = inner.prepared.lock(&place).await;
    if place.is_dir() {
        if step.when != ALL {
            progress.step(&format!("dependencies of {} are installed already", step.when));
        }
        return Ok(Some(installed));
    }
    match step.when.as_str() {
        ALL => progress.step("building the code"),
        when => progress.step(&format!("installing dependencies of {when}")),
    }
    let work = inner.prepared.work().map_err(|error| storage("make a directory to install in", &error))?;
    run(inner, step, code, before, programs, work.path(), progress).await?;
    let made = work.path().join("dependencies");
    let settled = tokio::task::spawn_blocking(move || {
        publish(&made)?;
        let result = settle(&made, &place);
        drop(work);
        result
    });
    match settled.await {
        Ok(Ok(())) => Ok(Some(installed)),
        Ok(Err(error)) => Err(storage("keep the installed dependencies", &error)),
        Err(_) => Err(Error::internal("XB4003", "the task that keeps dependencies was lost")),
    }
}

async fn run(
    inner: &Inner,
    step: &BuildStep,
    code: &Code<'_>,
    before: &[Installed],
    programs: &[Arc<Program>],
    work: &Path,
    progress: &dyn Progress,
) -> Result<(), Error> {
    let settings = HostSettings::of_this_process();
    let prepare = || -> io::Result<()> {
        for name in ["dependencies", "home", "tmp"] {
            fs::create_dir(work.join(name))?;
        }
        settings.write_home(&work.join("home"))
    };
    prepare().map_err(|error| storage("prepare an installation", &error))?;
    let mut binds = layout::program_binds(programs);
    binds.push(layout::read_only(code.directory, Path::new(CODE)));
    for installed in before {
        binds.push(layout::read_only(&inner.prepared.dependencies(&installed.key), &installed.mount));
    }
    binds.push(layout::read_only(&inner.runtimes, Path::new(RUNTIMES)));
    for name in ["dependencies", "home", "tmp"] {
        binds.push(Bind { host: work.join(name), inside: Path::new(WORK).join(name), writable: true });
    }
    binds.extend(settings.binds());
    let mut variables = layout::basic_variables(programs);
    variables.extend(settings.variables(&format!("{WORK}/home")));
    for (name, directory) in [("HOME", "home"), ("TMPDIR", "tmp"), ("XEBEC_DEPENDENCIES", "dependencies")] {
        variables.insert(name.to_owned(), format!("{WORK}/{directory}"));
    }
    if let Some(handler) = code.handler {
        variables.insert("XEBEC_HANDLER".to_owned(), handler.to_owned());
    }
    let failed = |error: xebec_sandbox::SandboxError| bad(step, &error.to_string(), &VecDeque::new());
    let spec = SandboxSpec {
        id: inner.next_id("build"),
        binds,
        limits: LIMITS,
        network: Network::Outward,
        variables,
        directory: Some(PathBuf::from(CODE)),
    };
    let sandbox = inner.spawner.create(spec).await.map_err(failed)?;
    let exec = Exec {
        argv: layout::command(&step.command, None, Path::new(RUNTIMES)),
        stdout: Stream::Pipe,
        stderr: Stream::Combined,
        ..Exec::default()
    };
    let mut process = sandbox.spawn(exec).await.map_err(failed)?;
    let mut last = VecDeque::with_capacity(LAST_LINES);
    let printed = process.stdout.take();
    let reading = async {
        if let Some(printed) = printed {
            output::read(printed, |line| {
                if line.trim().is_empty() {
                    return;
                }
                progress.step(line);
                if last.len() == LAST_LINES {
                    last.pop_front();
                }
                last.push_back(line.to_owned());
            })
            .await;
        }
        process.wait().await
    };
    let ended = tokio::time::timeout(inner.options.build_time, reading).await;
    sandbox.destroy().await;
    match ended {
        Ok(exit) if exit.code == Some(0) => Ok(()),
        Ok(exit) => Err(bad(step, &crate::running::exit(exit).to_string(), &last)),
        Err(_) => {
            let seconds = inner.options.build_time.as_secs();
            Err(bad(step, &format!("was not done after {seconds} s"), &last))
        }
    }
}

fn bad(step: &BuildStep, why: &str, last: &VecDeque<String>) -> Error {
    let tail = last.iter().map(|line| format!("\n{line}")).collect::<String>();
    let message = match step.when.as_str() {
        ALL => format!("the code cannot be built: the compiler {why}{tail}"),
        when => format!("the dependencies of {when} cannot be installed: the installer {why}{tail}"),
    };
    Error::new(ErrorKind::Invalid, "XB3002", message)
}

/// What an installation is made of, as a name.
fn key(
    environment: &Environment,
    step: &BuildStep,
    code: &Code<'_>,
    programs: &[Arc<Program>],
) -> io::Result<String> {
    let mut hash = Sha256::new();
    let mut add = |part: &[u8]| {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    };
    add(environment.name.as_bytes());
    add(step.mount.as_bytes());
    for part in &step.command {
        add(part.as_bytes());
    }
    for program in programs {
        add(program.identity.as_bytes());
    }
    if step.cache_key.iter().any(|name| name == ALL) {
        add(code.name.as_bytes());
        add(code.handler.unwrap_or_default().as_bytes());
    }
    let mut names: Vec<_> = step.cache_key.iter().chain([&step.when]).collect();
    names.sort();
    names.dedup();
    for name in names.into_iter().filter(|name| is_file_in(code.directory, name)) {
        let contents = fs::read(code.directory.join(name))?;
        add(name.as_bytes());
        add(&contents);
        // What is installed from the code itself changes with it.
        if names_local_files(&String::from_utf8_lossy(&contents)) {
            add(code.name.as_bytes());
        }
    }
    Ok(hex::encode(hash.finalize()))
}

/// Whether a lock file refers to other files of the code: `./lib`, `-e .`, `file:lib`, `-r other.txt`.
fn names_local_files(text: &str) -> bool {
    let separators = |c: char| c.is_whitespace() || matches!(c, '"' | '\'' | '=' | ',' | '@');
    text.split(separators).any(|word| {
        matches!(word, "." | ".." | "-r" | "-c" | "-e" | "--requirement" | "--constraint" | "--editable")
            || word.starts_with("./")
            || word.starts_with("../")
            || word.starts_with("file:")
            || word.starts_with("link:")
            || word.starts_with("/app")
            || word == "workspaces"
    })
}

/// Whether the code has anything for a step.
fn has_work(step: &BuildStep, code: &Path) -> bool {
    step.when == ALL || (is_file_in(code, &step.when) && !is_empty(&code.join(&step.when)))
}

/// Whether a file holds nothing but blank lines and remarks, as those of templates do.
fn is_empty(path: &Path) -> bool {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.lines().all(|line| line.trim().is_empty() || line.trim_start().starts_with('#'))
}

/// A file of the code, and not by way of a link.
fn is_file_in(code: &Path, name: &str) -> bool {
    let plain = Path::new(name).components().all(|part| matches!(part, std::path::Component::Normal(_)));
    let path = code.join(name);
    let parent_is_real = || {
        let real = path.parent().and_then(|parent| parent.canonicalize().ok());
        real.is_some_and(|real| code.canonicalize().is_ok_and(|code| real.starts_with(code)))
    };
    plain
        && path.symlink_metadata().is_ok_and(|data| data.is_file() && data.len() <= MAX_KEY_FILE)
        && parent_is_real()
}

/// Makes the places in the code where installations are seen.
pub(crate) fn make_mount_points(code: &Path, steps: &[BuildStep]) -> io::Result<()> {
    for step in steps {
        let Ok(below) = Path::new(&step.mount).strip_prefix(CODE) else { continue };
        let mut place = code.to_owned();
        for part in below.components() {
            place.push(part);
            match place.symlink_metadata() {
                Ok(data) if data.is_dir() => {}
                // Not through a link, and not over a file: then it is simply not seen there.
                Ok(_) => break,
                Err(_) => {
                    fs::create_dir(&place)?;
                    fs::set_permissions(&place, fs::Permissions::from_mode(0o755))?;
                }
            }
        }
    }
    Ok(())
}

/// Whether an installation can be seen in this code.
pub(crate) fn has_mount_point(code: &Path, mount: &Path) -> bool {
    let Ok(below) = mount.strip_prefix(CODE) else { return false };
    let mut place = code.to_owned();
    below.components().all(|part| {
        place.push(part);
        place.symlink_metadata().is_ok_and(|data| data.is_dir())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step() -> BuildStep {
        BuildStep {
            when: "requirements.txt".to_owned(),
            cache_key: vec!["requirements.txt".to_owned(), "pip.conf".to_owned()],
            command: vec!["sh".to_owned()],
            mount: "/app/.xebec/python".to_owned(),
        }
    }

    #[test]
    fn keys_follow_what_is_installed() {
        let table = xebec_environments::Table::builtin();
        let environment = xebec_core::environment::Environments::environment(&table, "python").unwrap();
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
        let of = |step: &BuildStep, name: &str, handler| {
            key(&environment, step, &Code { directory: folder.path(), name, handler }, &[]).unwrap()
        };
        let key = |code_name: &str| of(&step(), code_name, None);
        write("requirements.txt", "flask==3.0");
        write("handler.py", "1");
        let first = key("code-1");
        write("handler.py", "2");
        assert_eq!(key("code-2"), first);
        write("pip.conf", "x");
        let second = key("code-2");
        assert_ne!(second, first);
        write("requirements.txt", "flask==3.0\n./lib");
        assert_ne!(key("code-2"), second);
        assert_ne!(key("code-2"), key("code-3"));
        // A build of all of the code follows all of it, and what is called; one of nothing follows nothing.
        let all = BuildStep { when: ".".to_owned(), cache_key: vec![".".to_owned()], ..step() };
        assert!(has_work(&all, folder.path()));
        assert_ne!(of(&all, "code-3", None), of(&all, "code-4", None));
        assert_ne!(of(&all, "code-3", Some("a")), of(&all, "code-3", Some("b")));
        assert_eq!(of(&all, "code-3", Some("a")), of(&all, "code-3", Some("a")));
        let nothing = BuildStep { cache_key: Vec::new(), ..all };
        assert_eq!(of(&nothing, "code-3", Some("a")), of(&nothing, "code-4", Some("b")));
    }

    #[test]
    fn references_to_the_code_are_seen() {
        for text in ["./lib", "-e .", "lib @ file:lib", "-r other.txt", r#"{"a":"file:../a"}"#, "x\n../y"] {
            assert!(names_local_files(text), "{text}");
        }
        for text in ["flask==3.0", r#"{"dependencies":{"a":"^1.0.0"}}"#, "https://example.com/./x.whl", "a.b"]
        {
            assert!(!names_local_files(text), "{text}");
        }
    }

    #[test]
    fn links_are_no_lock_files_and_no_mount_points() {
        let folder = tempfile::tempdir().unwrap();
        let code = folder.path();
        std::os::unix::fs::symlink("/etc/hostname", code.join("requirements.txt")).unwrap();
        assert!(!is_file_in(code, "requirements.txt") && !is_file_in(code, "../x"));
        std::os::unix::fs::symlink("/tmp", code.join(".xebec")).unwrap();
        make_mount_points(code, &[step()]).unwrap();
        assert!(!has_mount_point(code, Path::new("/app/.xebec/python")));
        fs::remove_file(code.join(".xebec")).unwrap();
        make_mount_points(code, &[step()]).unwrap();
        assert!(has_mount_point(code, Path::new("/app/.xebec/python")));
    }
}

//! What an instance sees: directories of the host, variables, limits.

use crate::programs::{self, Program};
use std::{collections::BTreeMap, path::Path, sync::Arc};
use xebec_core::limits::Limits;
use xebec_sandbox::{Bind, SandboxLimits};

/// Where the function's code is inside.
pub(crate) const CODE: &str = "/app";
/// Where the language workers are inside.
pub(crate) const RUNTIMES: &str = "/opt/xebec/runtimes";

/// What stands for [`RUNTIMES`] in an environment's command.
const RUNTIMES_VARIABLE: &str = "$XEBEC_RUNTIMES";

/// What an instance may use where its revision does not say.
#[derive(Clone, Copy, Debug)]
pub struct DefaultLimits {
    /// Bytes of memory.
    pub memory_bytes: u64,
    /// Processes and threads.
    pub processes: u32,
    /// Bytes of its private `/tmp`.
    pub scratch_bytes: u64,
}

impl Default for DefaultLimits {
    /// 512 MiB of memory, 256 processes and threads, 256 MiB in `/tmp`.
    fn default() -> Self {
        Self { memory_bytes: 512 << 20, processes: 256, scratch_bytes: 256 << 20 }
    }
}

impl DefaultLimits {
    /// A revision's limits, filled up.
    pub(crate) fn fill(&self, limits: &Limits) -> SandboxLimits {
        SandboxLimits {
            memory_bytes: Some(limits.memory_bytes.unwrap_or(self.memory_bytes)),
            cpu_millis: limits.cpu_millis,
            processes: Some(limits.processes.unwrap_or(self.processes)),
            scratch_bytes: Some(limits.scratch_bytes.unwrap_or(self.scratch_bytes)),
        }
    }
}

/// Something of the host that is seen read-only.
pub(crate) fn read_only(host: &Path, inside: &Path) -> Bind {
    Bind { host: host.to_owned(), inside: inside.to_owned(), writable: false }
}

/// What programs need to run, seen where it is on the host: interpreters have their own paths built in.
pub(crate) fn program_binds(programs: &[Arc<Program>]) -> Vec<Bind> {
    let mut binds: Vec<Bind> = Vec::new();
    for root in programs.iter().flat_map(|program| &program.roots) {
        if !binds.iter().any(|bind| root.starts_with(&bind.host)) {
            binds.push(read_only(root, root));
        }
    }
    binds
}

/// The variables that everything inside gets, below the environment's and the function's own.
pub(crate) fn basic_variables(programs: &[Arc<Program>]) -> BTreeMap<String, String> {
    [
        ("PATH", programs::search_path(programs)),
        ("HOME", "/tmp".to_owned()),
        ("TMPDIR", "/tmp".to_owned()),
        ("LANG", "C.UTF-8".to_owned()),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into()
}

/// A command with what it names filled in, its program by its real path.
pub(crate) fn command(argv: &[String], program: Option<&Program>, runtimes: &Path) -> Vec<String> {
    let runtimes = runtimes.to_string_lossy();
    let mut argv: Vec<_> = argv.iter().map(|part| part.replace(RUNTIMES_VARIABLE, &runtimes)).collect();
    if let (Some(first), Some(program)) = (argv.first_mut(), program) {
        *first = program.path.to_string_lossy().into_owned();
    }
    argv
}

/// The program of the host that a command starts, if it is one of these.
pub(crate) fn program_of<'a>(argv: &[String], programs: &'a [Arc<Program>]) -> Option<&'a Program> {
    let name = argv.first().filter(|name| is_of_host(name))?;
    programs.iter().find(|program| program.was_asked_for(name)).map(Arc::as_ref)
}

/// Whether a command's program is one of the host's, rather than one that comes with the code.
pub(crate) fn is_of_host(program: &str) -> bool {
    !program.contains('/') || (program.starts_with('/') && !Path::new(program).starts_with(CODE))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn program(path: &str, roots: &[&str]) -> Arc<Program> {
        Arc::new(Program::for_test(path, roots))
    }

    #[test]
    fn roots_are_bound_once() {
        let programs = [
            program("/o/v/bin/python3", &["/o/v"]),
            program("/o/v/bin/pip", &["/o/v/bin/pip"]),
            program("/usr/bin/node", &[]),
        ];
        let binds = program_binds(&programs);
        assert_eq!(binds.len(), 1);
        assert_eq!((binds[0].host.as_path(), binds[0].writable), (Path::new("/o/v"), false));
        assert!(basic_variables(&programs)["PATH"].starts_with("/o/v/bin:/usr/local/sbin:"));
    }

    #[test]
    fn commands_are_filled_in() {
        let argv = ["python3".to_owned(), "$XEBEC_RUNTIMES/python".to_owned()];
        let filled = command(&argv, Some(&program("/o/bin/python3", &[])), Path::new(RUNTIMES));
        assert_eq!(filled, ["/o/bin/python3", "/opt/xebec/runtimes/python"]);
        assert_eq!(command(&argv[..1], None, Path::new(RUNTIMES)), ["python3"]);
        assert!(is_of_host("cat") && is_of_host("/bin/cat"));
        assert!(!is_of_host("./run") && !is_of_host("bin/run") && !is_of_host("/app/run"));
    }
}

//! What environments need of the host.

use std::path::Path;
use xebec_core::environment::Environment;

/// The programs that an environment needs and that are not in the server's `PATH`.
pub(crate) fn missing(environment: &Environment) -> Vec<String> {
    environment.needs.iter().filter(|program| !is_installed(program)).cloned().collect()
}

fn is_installed(program: &str) -> bool {
    if program.contains('/') {
        return is_program(Path::new(program));
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| is_program(&folder.join(program)))
}

fn is_program(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    path.metadata().is_ok_and(|data| data.is_file() && data.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_what_is_there_and_names_what_is_not() {
        assert!(is_installed("sh") && is_installed("/bin/sh"));
        assert!(!is_installed("no-such-program") && !is_installed("/no/such") && !is_installed("/tmp"));
    }
}

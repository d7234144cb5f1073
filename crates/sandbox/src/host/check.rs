//! What can be asked of a sandbox, and what is refused.

use crate::{Bind, SandboxError, SandboxSpec, inside::root};
use std::path::{Component, Path};

/// Checks a specification.
pub(super) fn check(spec: &SandboxSpec, landlock: bool) -> Result<(), SandboxError> {
    let named = !spec.id.is_empty()
        && spec.id.len() <= 128
        && spec.id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    if !named {
        let id = &spec.id;
        return Err(SandboxError::Invalid(format!(
            "the id {id:?} is not 1 to 128 letters, digits and hyphens"
        )));
    }
    const MOST_BINDS: usize = 32;
    if spec.binds.len() > MOST_BINDS {
        return Err(SandboxError::Invalid(format!("a sandbox has {MOST_BINDS} binds at most")));
    }
    spec.binds.iter().try_for_each(|bind| check_bind(bind, landlock))
}

pub(super) fn check_bind(bind: &Bind, landlock: bool) -> Result<(), SandboxError> {
    if !bind.host.is_absolute() {
        return Err(SandboxError::Invalid(format!("{} is not absolute", bind.host.display())));
    }
    check_inside(&bind.inside)?;
    if bind.writable && landlock && !root::may_be_written(&bind.inside) {
        return Err(SandboxError::Invalid(format!(
            "{} cannot be written inside: bind it below {}",
            bind.inside.display(),
            root::writable_places()
        )));
    }
    Ok(())
}

pub(super) fn check_inside(inside: &Path) -> Result<(), SandboxError> {
    let mut components = inside.components();
    let plain = components.next() == Some(Component::RootDir)
        && components.clone().next().is_some()
        && components.all(|it| matches!(it, Component::Normal(_)));
    let own = ["/proc", "/dev", "/etc", "/run/xebec"].iter().any(|own| inside == Path::new(own));
    if !plain || own {
        return Err(SandboxError::Invalid(format!(
            "{} is not a path inside that can be used",
            inside.display()
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn odd_specifications_are_refused() {
        let bind =
            |host: &str, inside: &str, writable| Bind { host: host.into(), inside: inside.into(), writable };
        let with =
            |id: &str, bind| SandboxSpec { id: id.into(), binds: vec![bind], ..SandboxSpec::default() };
        assert!(check(&with("a-1", bind("/x", "/code", false)), true).is_ok());
        assert!(check(&with("a-1", bind("/x", "/tmp/y", true)), true).is_ok());
        for (id, bind) in [
            ("", bind("/x", "/code", false)),
            ("../a", bind("/x", "/code", false)),
            ("a", bind("x", "/code", false)),
            ("a", bind("/x", "code", false)),
            ("a", bind("/x", "/", false)),
            ("a", bind("/x", "/code/../etc", false)),
            ("a", bind("/x", "/proc", false)),
            ("a", bind("/x", "/elsewhere", true)),
        ] {
            assert!(check(&with(id, bind.clone()), true).is_err(), "{id:?} {bind:?}");
        }
    }
}

//! A name and password from files, as OpenFaaS' gateway reads them: existing installations keep theirs.

use crate::failure::Failure;
use std::path::Path;

/// The files of the folder, as OpenFaaS' own secret has them.
const USER: &str = "basic-auth-user";
const PASSWORD: &str = "basic-auth-password";

/// The shortest password that is taken; the original makes 40 and more.
const LEAST: usize = 8;

/// Name and password.
pub(super) fn read(folder: &Path) -> Result<(String, String), Failure> {
    let (user, password) = (line(&folder.join(USER))?, line(&folder.join(PASSWORD))?);
    let fault = if user.is_empty() || user.contains(':') {
        format!("{}: a name is not empty and has no colon", folder.join(USER).display())
    } else if password.len() < LEAST {
        format!("{}: a password has at least {LEAST} characters", folder.join(PASSWORD).display())
    } else {
        return Ok((user, password));
    };
    Err(Failure::misuse(format!("{fault} [XB6022]")))
}

fn line(path: &Path) -> Result<String, Failure> {
    let text = std::fs::read_to_string(path).map_err(|error| {
        Failure::misuse(format!("{}: {error} [XB6022]", path.display()))
            .with_hint(format!("--basic-auth names a folder with the files {USER} and {PASSWORD}"))
    })?;
    Ok(text.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_files_are_read_and_trimmed() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
        assert!(read(folder.path()).unwrap_err().message.contains(USER));
        write(USER, "admin\n");
        assert!(read(folder.path()).unwrap_err().message.contains(PASSWORD));
        write(PASSWORD, "short\n");
        assert!(read(folder.path()).unwrap_err().message.contains("at least 8"));
        write(PASSWORD, "correct horse\n");
        assert_eq!(read(folder.path()).unwrap(), ("admin".into(), "correct horse".into()));
        write(USER, "a:b");
        assert!(read(folder.path()).unwrap_err().message.contains("colon"));
    }
}

//! `xebec-shim`, for tests that put it into images.

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
};

/// Where it is: what `XEBEC_SHIM` names, or what was built beside the running test, which is done now if it was
/// not yet. Linked as the tests are, so an image needs the libraries that `ldd` names, too, unless `XEBEC_SHIM`
/// names a static one.
///
/// # Errors
/// Why there is none, in a sentence.
pub fn binary() -> Result<PathBuf, String> {
    if let Some(path) = env::var_os("XEBEC_SHIM") {
        let path = PathBuf::from(path);
        return if path.is_file() { Ok(path) } else { Err(format!("there is no {}", path.display())) };
    }
    let test = env::current_exe().map_err(|error| format!("where is this test: {error}"))?;
    // <target>/<profile>/deps/<test>
    let folder = test.parent().and_then(Path::parent).ok_or("this test is in no target folder")?;
    let built = folder.join("xebec-shim");
    if built.is_file() {
        return Ok(built);
    }
    let target = folder.parent().ok_or("this test is in no target folder")?;
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let built_now = Command::new(cargo)
        .args(["build", "--quiet", "--package", "xebec-shim", "--bin", "xebec-shim", "--target-dir"])
        .arg(target)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .status();
    match built_now {
        Ok(status) if status.success() && built.is_file() => Ok(built),
        Ok(status) => Err(format!("xebec-shim could not be built: cargo ended with {status}")),
        Err(error) => Err(format!("xebec-shim could not be built: {error}")),
    }
}

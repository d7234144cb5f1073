//! How this machine reaches package registries: what `pip`, `npm` and `go` are told here, they are told in builds, too.
//!
//! Proxies, indexes, certificates and credentials for registries go to build steps only. Functions never see
//! them, but what a build step installs could: who may deploy may use this machine's registries.

use crate::{layout, programs};
use std::{
    collections::BTreeMap,
    env, fs, io,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};
use xebec_sandbox::Bind;

/// Variables that are handed on, by the start of their names, in any case.
const PREFIXES: [&str; 2] = ["PIP_", "NPM_CONFIG_"];
/// Variables that are handed on, in any case.
const NAMES: [&str; 16] = [
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "ALL_PROXY",
    "NO_PROXY",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "REQUESTS_CA_BUNDLE",
    "CURL_CA_BUNDLE",
    "NODE_EXTRA_CA_CERTS",
    "GIT_SSL_CAINFO",
    "NETRC",
    "GOPROXY",
    "GOPRIVATE",
    "GONOPROXY",
    "GOSUMDB",
    "GONOSUMDB",
];
/// Files of the user's home directory that are handed on.
const HOME_FILES: [&str; 4] = [".config/pip/pip.conf", ".pip/pip.conf", ".npmrc", ".netrc"];
/// Pip's settings for the whole system, and as what the build's home directory has them.
const SYSTEM_PIP: (&str, &str) = ("/etc/pip.conf", ".xdg/pip/pip.conf");

/// What builds are told of this machine.
pub(crate) struct HostSettings {
    variables: BTreeMap<String, String>,
    home: Option<PathBuf>,
}

impl HostSettings {
    /// As this process was told.
    pub(crate) fn of_this_process() -> Self {
        let all = env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
        Self::select(all, env::var_os("HOME").map(PathBuf::from))
    }

    fn select(all: impl Iterator<Item = (String, String)>, home: Option<PathBuf>) -> Self {
        let variables = all.filter(|(name, value)| !value.is_empty() && is_handed_on(name)).collect();
        Self { variables, home }
    }

    /// The variables. `home` is where the build sees the directory of [`write_home`](Self::write_home).
    pub(crate) fn variables(&self, home: &str) -> impl Iterator<Item = (String, String)> {
        let own = ("XDG_CONFIG_DIRS".to_owned(), format!("{home}/.xdg"));
        self.variables.iter().map(|(name, value)| (name.clone(), value.clone())).chain([own])
    }

    /// What the variables name: seen where it is. `/etc` is the sandbox's own, with certificates in it.
    pub(crate) fn binds(&self) -> Vec<Bind> {
        let mut binds: Vec<Bind> = Vec::new();
        for path in self.variables.values().filter(|value| value.starts_with('/')).map(PathBuf::from) {
            // Certificates are often links from one place of the system to another: both must be there.
            let real = path.canonicalize().unwrap_or_else(|_| path.clone());
            for path in [path, real] {
                let seen = programs::is_system(&path)
                    || path.starts_with("/etc")
                    || binds.iter().any(|bind| path.starts_with(&bind.inside));
                if !seen && path.exists() && path.parent().is_some() {
                    binds.push(layout::read_only(&path, &path));
                }
            }
        }
        binds
    }

    /// Copies what the user's home directory has into the build's: there it may be readable for one only.
    pub(crate) fn write_home(&self, to: &Path) -> io::Result<()> {
        let of_home = self.home.iter().flat_map(|home| HOME_FILES.map(|name| (home.join(name), name)));
        for (from, name) in of_home.chain([(PathBuf::from(SYSTEM_PIP.0), SYSTEM_PIP.1)]) {
            let Ok(contents) = fs::read(from) else { continue };
            let copy = to.join(name);
            if let Some(parent) = copy.parent() {
                fs::create_dir_all(parent)?;
            }
            fs::write(&copy, contents)?;
            fs::set_permissions(&copy, fs::Permissions::from_mode(0o644))?;
        }
        Ok(())
    }
}

fn is_handed_on(name: &str) -> bool {
    let upper = name.to_ascii_uppercase();
    NAMES.contains(&upper.as_str()) || PREFIXES.iter().any(|prefix| upper.starts_with(prefix))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_concerns_registries_is_handed_on_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let wheels = folder.path().join("wheels");
        fs::create_dir(&wheels).unwrap();
        fs::write(folder.path().join(".npmrc"), "audit=false").unwrap();
        let all = [
            ("PIP_INDEX_URL", "https://index.example/simple"),
            ("PIP_FIND_LINKS", wheels.to_str().unwrap()),
            ("npm_config_registry", "https://npm.example"),
            ("https_proxy", "http://proxy.example:3128"),
            ("PIP_CERT", "/no/such/file"),
            ("SSL_CERT_FILE", ""),
            ("AWS_SECRET_ACCESS_KEY", "secret"),
            ("XEBEC_TOKEN", "secret"),
        ];
        let all = all.map(|(name, value)| (name.to_owned(), value.to_owned())).into_iter();
        let settings = HostSettings::select(all, Some(folder.path().to_owned()));
        let names: Vec<_> = settings.variables("/h").map(|(name, _)| name).collect();
        assert_eq!(
            names,
            [
                "PIP_CERT",
                "PIP_FIND_LINKS",
                "PIP_INDEX_URL",
                "https_proxy",
                "npm_config_registry",
                "XDG_CONFIG_DIRS"
            ]
        );
        let binds = settings.binds();
        assert!(binds.iter().any(|bind| bind.inside == wheels && !bind.writable));
        assert!(!binds.iter().any(|bind| bind.inside == Path::new("/no/such/file")));
        let home = folder.path().join("home");
        fs::create_dir(&home).unwrap();
        settings.write_home(&home).unwrap();
        assert_eq!(fs::read_to_string(home.join(".npmrc")).unwrap(), "audit=false");
        assert!(!home.join(".netrc").exists());
    }
}

//! What registries are shown: credentials from the options, else those that `docker login` left.

use crate::options::DockerOptions;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use bollard::auth::DockerCredentials;
use serde::Deserialize;
use std::{collections::HashMap, path::PathBuf, process::Stdio, time::Duration};
use tokio::{io::AsyncWriteExt as _, process::Command, time::timeout};
use xebec_core::{Error, ErrorKind};

/// How long a credential helper may think.
const HELPER_TIME: Duration = Duration::from_secs(15);

/// The largest configuration that is read.
const CONFIG_BYTES: u64 = 1 << 20;

/// Docker's `config.json`, as far as it is about credentials.
#[derive(Default, Deserialize)]
struct ConfigFile {
    #[serde(default)]
    auths: HashMap<String, Entry>,
    #[serde(default, rename = "credHelpers")]
    helpers: HashMap<String, String>,
    #[serde(default, rename = "credsStore")]
    store: Option<String>,
}

#[derive(Default, Deserialize)]
struct Entry {
    #[serde(default)]
    auth: Option<String>,
    #[serde(default, rename = "identitytoken")]
    identity_token: Option<String>,
}

/// What a credential helper answers.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Helped {
    username: String,
    secret: String,
}

/// What a registry is to be shown; `None`: nothing is known for it.
///
/// # Errors
/// `XB3002` where there are credentials for it that cannot be read.
pub(crate) async fn of(options: &DockerOptions, registry: &str) -> Result<Option<DockerCredentials>, Error> {
    if let Some(own) = options.credentials.get(registry) {
        return Ok(Some(with_password(registry, own.username.clone(), own.password.clone())));
    }
    let Some(path) = options.config_file.clone().or_else(default_config) else { return Ok(None) };
    let fault = |why: String| {
        Error::new(ErrorKind::Refused, "XB3002", format!("{}: {why}", path.display()))
            .with_hint("log in to the registry again with docker login")
    };
    let text = match tokio::fs::metadata(&path).await {
        Ok(data) if data.len() > CONFIG_BYTES => return Err(fault("the file is too large".to_owned())),
        Ok(_) => tokio::fs::read(&path).await.map_err(|error| fault(error.to_string()))?,
        // Nobody has logged in, or it is somebody else's home.
        Err(_) => return Ok(None),
    };
    let config: ConfigFile = serde_json::from_slice(&text).map_err(|error| fault(error.to_string()))?;
    in_config(&config, registry).await.map_err(fault)
}

async fn in_config(config: &ConfigFile, registry: &str) -> Result<Option<DockerCredentials>, String> {
    let keys = keys(registry);
    let named = |map: &HashMap<String, String>| keys.iter().find_map(|key| map.get(key).cloned());
    if let Some(helper) = named(&config.helpers).or_else(|| config.store.clone()) {
        for key in &keys {
            if let Some(helped) = ask(&helper, key).await? {
                return Ok(Some(of_helper(registry, helped)));
            }
        }
    }
    let Some(entry) = keys.iter().find_map(|key| config.auths.get(key)) else { return Ok(None) };
    let token = entry.identity_token.clone().filter(|token| !token.is_empty());
    let Some(auth) = entry.auth.as_deref().filter(|auth| !auth.is_empty()) else {
        return Ok(token.map(|token| with_token(registry, token)));
    };
    let (username, password) = decode(auth).ok_or_else(|| format!("auths.{registry}.auth cannot be read"))?;
    let mut credentials = with_password(registry, username, password);
    credentials.identitytoken = token;
    Ok(Some(credentials))
}

/// How a registry is called in the file: by its host, by its URL, the Hub by its old one.
fn keys(registry: &str) -> Vec<String> {
    let mut keys = vec![registry.to_owned(), format!("https://{registry}"), format!("http://{registry}")];
    if registry == "docker.io" {
        keys.extend(["https://index.docker.io/v1/".to_owned(), "index.docker.io".to_owned()]);
    }
    keys
}

fn decode(auth: &str) -> Option<(String, String)> {
    let text = String::from_utf8(STANDARD.decode(auth.trim()).ok()?).ok()?;
    let (username, password) = text.split_once(':')?;
    Some((username.to_owned(), password.trim_end_matches('\0').to_owned()))
}

/// Asks a credential helper. `None`: it knows none.
async fn ask(helper: &str, registry: &str) -> Result<Option<Helped>, String> {
    if !helper.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.')) {
        return Err(format!("{helper:?} is no credential helper's name"));
    }
    let program = format!("docker-credential-{helper}");
    let asked = async {
        let mut child = Command::new(&program)
            .arg("get")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()?;
        if let Some(mut stdin) = child.stdin.take() {
            stdin.write_all(registry.as_bytes()).await?;
        }
        child.wait_with_output().await
    };
    match timeout(HELPER_TIME, asked).await {
        Err(_) => Err(format!("{program} did not answer within {HELPER_TIME:?}")),
        Ok(Err(error)) => Err(format!("{program} cannot be run: {error}")),
        // This is also how helpers say that they know nothing.
        Ok(Ok(output)) if !output.status.success() => Ok(None),
        Ok(Ok(output)) => serde_json::from_slice(&output.stdout)
            .map(Some)
            .map_err(|_| format!("{program} gave an answer that cannot be read")),
    }
}

fn of_helper(registry: &str, helped: Helped) -> DockerCredentials {
    match helped.username.as_str() {
        "<token>" => with_token(registry, helped.secret),
        _ => with_password(registry, helped.username, helped.secret),
    }
}

fn with_password(registry: &str, username: String, password: String) -> DockerCredentials {
    DockerCredentials {
        username: Some(username),
        password: Some(password),
        serveraddress: Some(registry.to_owned()),
        ..DockerCredentials::default()
    }
}

fn with_token(registry: &str, token: String) -> DockerCredentials {
    DockerCredentials {
        identitytoken: Some(token),
        serveraddress: Some(registry.to_owned()),
        ..DockerCredentials::default()
    }
}

fn default_config() -> Option<PathBuf> {
    let folder = std::env::var_os("DOCKER_CONFIG").map(PathBuf::from);
    let folder = folder.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".docker")))?;
    Some(folder.join("config.json"))
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn found(config: &str, registry: &str) -> Result<Option<DockerCredentials>, String> {
        in_config(&serde_json::from_str(config).unwrap(), registry).await
    }

    #[tokio::test]
    async fn what_docker_login_left() {
        let auth = STANDARD.encode("ada:pa:ss");
        let config = format!(
            r#"{{"auths": {{"https://index.docker.io/v1/": {{"auth": "{auth}"}},
                "ghcr.io": {{"identitytoken": "t"}}, "empty.io": {{}}, "bad.io": {{"auth": "!"}}}}}}"#
        );
        let hub = found(&config, "docker.io").await.unwrap().unwrap();
        assert_eq!((hub.username.as_deref(), hub.password.as_deref()), (Some("ada"), Some("pa:ss")));
        let token = found(&config, "ghcr.io").await.unwrap().unwrap();
        assert_eq!((token.username, token.identitytoken.as_deref()), (None, Some("t")));
        assert_eq!(found(&config, "empty.io").await.unwrap(), None);
        assert_eq!(found(&config, "other.io").await.unwrap(), None);
        let error = found(&config, "bad.io").await.unwrap_err();
        assert!(error.contains("auths.bad.io") && !error.contains('!'), "{error}");
    }

    #[tokio::test]
    async fn helpers_that_are_not_there_are_named() {
        let error = found(r#"{"credsStore": "no-such-one"}"#, "docker.io").await.unwrap_err();
        assert!(error.contains("docker-credential-no-such-one cannot be run"), "{error}");
        assert!(found(r#"{"credHelpers": {"a.io": "../x"}}"#, "a.io").await.is_err());
    }
}

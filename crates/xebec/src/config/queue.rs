//! Which queue, and how it is reached.

use crate::failure::Failure;
use serde::Deserialize;
use std::path::{Path, PathBuf};
use xebec_queue_nats::{Login, NatsOptions, NatsTls};

/// The queue, decided.
#[derive(Clone, Debug)]
pub(crate) enum Queue {
    /// A file in the data directory.
    Sqlite,
    /// NATS JetStream.
    Nats(Box<NatsOptions>),
}

/// `[nats]` in `xebec.toml`: what the URL does not say.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct FileNats {
    prefix: Option<String>,
    replicas: Option<usize>,
    user: Option<String>,
    password_file: Option<PathBuf>,
    token_file: Option<PathBuf>,
    nkey_file: Option<PathBuf>,
    credentials_file: Option<PathBuf>,
    authorities: Option<PathBuf>,
    certificate: Option<PathBuf>,
    key: Option<PathBuf>,
    monitoring: Vec<String>,
    accept_unsynced: Option<bool>,
    max_records: Option<u64>,
}

impl Queue {
    /// Decides by what was asked for: `sqlite`, or one or more `nats://` URLs with commas between.
    pub(super) fn decide(wanted: Option<&str>, nats: FileNats) -> Result<Self, Failure> {
        let wanted = wanted.unwrap_or("sqlite");
        if wanted == "sqlite" {
            return Ok(Self::Sqlite);
        }
        let urls: Vec<String> = wanted.split(',').map(|url| url.trim().to_owned()).collect();
        if let Some(url) = urls.iter().find(|url| !url.starts_with("nats://") && !url.starts_with("tls://")) {
            return Err(Failure::misuse(format!("{url:?} is no queue"))
                .with_hint("sqlite, or the URL of a NATS server such as nats://127.0.0.1:4222"));
        }
        let mut options = NatsOptions::new(wanted);
        options.urls = urls;
        options.login = nats.login()?;
        options.tls = nats.tls()?;
        options.prefix = nats.prefix.unwrap_or(options.prefix);
        options.replicas = nats.replicas.unwrap_or(options.replicas);
        options.monitoring = nats.monitoring;
        options.accept_unsynced = nats.accept_unsynced.unwrap_or(options.accept_unsynced);
        options.max_records = nats.max_records.unwrap_or(options.max_records);
        Ok(Self::Nats(Box::new(options)))
    }
}

impl FileNats {
    /// With other monitoring endpoints, if any are named.
    pub(super) fn monitored_at(mut self, endpoints: &[String]) -> Self {
        if !endpoints.is_empty() {
            self.monitoring = endpoints.to_vec();
        }
        self
    }

    fn login(&self) -> Result<Login, Failure> {
        match (&self.user, &self.password_file, &self.token_file, &self.nkey_file, &self.credentials_file) {
            (None, None, None, None, None) => Ok(Login::None),
            (Some(user), Some(file), None, None, None) => {
                Ok(Login::Password { user: user.clone(), password: secret(file)? })
            }
            (None, None, Some(file), None, None) => Ok(Login::Token(secret(file)?)),
            (None, None, None, Some(file), None) => Ok(Login::Nkey(secret(file)?)),
            (None, None, None, None, Some(file)) => Ok(Login::Credentials(secret(file)?)),
            _ => Err(Failure::misuse(
                "[nats] takes one of: user with password-file, token-file, nkey-file, credentials-file",
            )),
        }
    }

    fn tls(&self) -> Result<NatsTls, Failure> {
        let certificate = match (&self.certificate, &self.key) {
            (Some(certificate), Some(key)) => Some((certificate.clone(), key.clone())),
            (None, None) => None,
            _ => return Err(Failure::misuse("[nats] needs certificate and key, or neither")),
        };
        Ok(NatsTls { authorities: self.authorities.clone(), certificate, ..NatsTls::default() })
    }
}

fn secret(file: &Path) -> Result<String, Failure> {
    let text = std::fs::read_to_string(file)
        .map_err(|error| Failure::misuse(format!("{}: {error}", file.display())))?;
    Ok(text.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decide(wanted: &str, nats: &str) -> Result<Queue, Failure> {
        Queue::decide(Some(wanted), toml::from_str(nats).unwrap())
    }

    #[test]
    fn knows_its_queues() {
        assert!(matches!(Queue::decide(None, FileNats::default()), Ok(Queue::Sqlite)));
        let Ok(Queue::Nats(options)) = decide("nats://a:1, nats://b:2", "prefix = \"x\"\nreplicas = 3\n")
        else {
            panic!("two servers of one cluster");
        };
        assert_eq!(options.urls, ["nats://a:1", "nats://b:2"]);
        assert_eq!((options.prefix.as_str(), options.replicas), ("x", 3));
        let refused = decide("redis://a", "").unwrap_err();
        assert_eq!(refused.exit, 2);
    }

    #[test]
    fn takes_one_way_to_log_in() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("token");
        std::fs::write(&file, "secret\n").unwrap();
        let with_token = format!("token-file = {file:?}\n");
        let Ok(Queue::Nats(options)) = decide("nats://a", &with_token) else { panic!("a token will do") };
        assert!(matches!(options.login, Login::Token(token) if token == "secret"));
        assert!(decide("nats://a", &format!("{with_token}user = \"u\"\n")).is_err());
        assert!(decide("nats://a", "token-file = \"/nowhere\"\n").is_err());
    }
}

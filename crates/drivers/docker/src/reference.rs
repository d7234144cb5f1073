//! Names of images.

use std::fmt;
use xebec_core::{Error, ErrorKind};

/// The registry of names that name none.
const DOCKER_HUB: &str = "docker.io";

/// The longest name that is looked at.
const LONGEST: usize = 512;

/// An image's name, in its parts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reference {
    /// All before tag and digest, as it was written.
    pub(crate) repository: String,
    /// Its tag, where it has one.
    pub(crate) tag: Option<String>,
    /// Its digest, where it has one: then the tag means nothing.
    pub(crate) digest: Option<String>,
}

impl Reference {
    /// Reads a name as users write it: `[registry/]path[:tag][@sha256:…]`.
    ///
    /// # Errors
    /// `XB3001`, naming the field.
    pub(crate) fn read(text: &str) -> Result<Self, Error> {
        let fault = |what: &str| {
            Error::new(ErrorKind::Refused, "XB3001", format!("image: {what}"))
                .with_hint("for example ghcr.io/owner/name:1.0, or name@sha256:…")
        };
        if text.len() > LONGEST {
            return Err(fault(&format!("the name is longer than {LONGEST} characters")));
        }
        let (name, digest) = match text.split_once('@') {
            Some((name, digest)) => (name, Some(digest.to_owned())),
            None => (text, None),
        };
        // A colon before the last slash belongs to the registry's port.
        let after_slash = name.rfind('/').map_or(0, |at| at + 1);
        let (repository, tag) = match name[after_slash..].find(':') {
            Some(at) => (&name[..after_slash + at], Some(name[after_slash + at + 1..].to_owned())),
            None => (name, None),
        };
        if !is_repository(repository) {
            return Err(fault(&format!("{text:?} is no image's name")));
        }
        if tag.as_deref().is_some_and(|tag| !is_tag(tag)) {
            return Err(fault(&format!("{text:?} has a tag that cannot be one")));
        }
        if digest.as_deref().is_some_and(|digest| !is_digest(digest)) {
            return Err(fault(&format!("{text:?} has a digest that is not sha256: and 64 digits")));
        }
        Ok(Self { repository: repository.to_owned(), tag, digest })
    }

    /// The registry's host, with its port where it has one.
    pub(crate) fn registry(&self) -> &str {
        match self.repository.split_once('/') {
            Some((host, _)) if host.contains(['.', ':']) || host == "localhost" => host,
            _ => DOCKER_HUB,
        }
    }

    /// What the registry is asked for: the digest, else the tag.
    pub(crate) fn wanted(&self) -> &str {
        self.digest.as_deref().or(self.tag.as_deref()).unwrap_or("latest")
    }

    /// As the engine finds it among its images.
    pub(crate) fn local(&self) -> String {
        match &self.digest {
            Some(digest) => format!("{}@{digest}", self.repository),
            None => format!("{}:{}", self.repository, self.wanted()),
        }
    }

    /// The digest among those that the engine knows of an image, each with a repository, that this repository has.
    pub(crate) fn digest_among(&self, known: &[String]) -> Option<String> {
        let ours = self.familiar();
        known.iter().find_map(|known| {
            let (repository, digest) = known.split_once('@')?;
            let other = Self { repository: repository.to_owned(), tag: None, digest: None };
            (other.familiar() == ours && is_digest(digest)).then(|| digest.to_owned())
        })
    }

    /// The repository without what Docker leaves away when it prints one.
    fn familiar(&self) -> &str {
        let name = &self.repository;
        let name = name.strip_prefix("index.").unwrap_or(name);
        let name = name.strip_prefix("docker.io/").unwrap_or(name);
        name.strip_prefix("library/").unwrap_or(name)
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.repository)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        match &self.digest {
            Some(digest) => write!(f, "@{digest}"),
            None => Ok(()),
        }
    }
}

fn is_repository(name: &str) -> bool {
    let (host, path) = match name.split_once('/') {
        Some((host, path)) if host.contains(['.', ':']) || host == "localhost" => (Some(host), path),
        _ => (None, name),
    };
    let host_is_sound = host.is_none_or(|host| {
        let (name, port) = host.split_once(':').unwrap_or((host, "0"));
        !name.is_empty()
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-'))
            && port.parse::<u16>().is_ok()
    });
    host_is_sound && path.split('/').all(is_path_part)
}

fn is_path_part(part: &str) -> bool {
    let is_edge = |b: Option<&u8>| b.is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    let bytes = part.as_bytes();
    is_edge(bytes.first())
        && is_edge(bytes.last())
        && bytes
            .iter()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'.' | b'_' | b'-'))
}

fn is_tag(tag: &str) -> bool {
    !tag.is_empty()
        && tag.len() <= 128
        && !tag.starts_with(['.', '-'])
        && tag.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
}

fn is_digest(digest: &str) -> bool {
    digest
        .strip_prefix("sha256:")
        .is_some_and(|hex| hex.len() == 64 && hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_in_their_parts() {
        let digest = format!("sha256:{}", "0a".repeat(32));
        for (text, registry, local) in [
            ("alpine", "docker.io", "alpine:latest"),
            ("functions/alpine:3", "docker.io", "functions/alpine:3"),
            ("ghcr.io/openfaas/figlet", "ghcr.io", "ghcr.io/openfaas/figlet:latest"),
            ("127.0.0.1:5000/a/b:1", "127.0.0.1:5000", "127.0.0.1:5000/a/b:1"),
            ("localhost/a", "localhost", "localhost/a:latest"),
            (&format!("a:1@{digest}"), "docker.io", &format!("a@{digest}")),
        ] {
            let read = Reference::read(text).unwrap();
            assert_eq!((read.registry(), read.local().as_str()), (registry, local), "{text}");
            assert_eq!(read.to_string(), text);
        }
    }

    #[test]
    fn what_is_no_name() {
        for text in [
            "",
            "A",
            "a b",
            "a:",
            "a/",
            "/a",
            "a@sha256:1",
            "a@x",
            "-a",
            "a:.x",
            "x.y:port/a",
            "a//b",
            "a?b=c",
        ] {
            let error = Reference::read(text).unwrap_err();
            assert!(error.code == "XB3001" && error.message.starts_with("image: "), "{text}: {error}");
        }
        assert!(Reference::read(&"a".repeat(LONGEST + 1)).is_err());
    }

    #[test]
    fn the_digest_of_this_repository() {
        let of = |text: &str| Reference::read(text).unwrap();
        let (one, two) = (format!("sha256:{}", "1".repeat(64)), format!("sha256:{}", "2".repeat(64)));
        let known = [format!("mirror.example.com/alpine@{one}"), format!("alpine@{two}")];
        assert_eq!(of("docker.io/library/alpine:3").digest_among(&known), Some(two));
        assert_eq!(of("mirror.example.com/alpine").digest_among(&known), Some(one));
        assert_eq!(of("busybox").digest_among(&known), None);
    }
}

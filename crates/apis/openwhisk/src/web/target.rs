//! `/api/v1/web/{namespace}/{package|default}/{action}[.extension][/path]`

use percent_encoding::percent_decode_str;

/// What all web actions' paths begin with.
pub(crate) const PREFIX: &str = "/api/v1/web/";

/// Stands for no package.
const NO_PACKAGE: &str = "default";

/// What an answer is turned into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Extension {
    /// Status, headers and body, as the action says them.
    Http,
    /// The result.
    Json,
    /// Its HTML.
    Html,
    /// Its SVG.
    Svg,
    /// Its text.
    Text,
}

impl Extension {
    const ALL: [(&str, Self); 5] = [
        (".http", Self::Http),
        (".json", Self::Json),
        (".html", Self::Html),
        (".svg", Self::Svg),
        (".text", Self::Text),
    ];

    /// A name without its extension, and that; those without one are as if they had `.http`.
    fn split(name: &str) -> (&str, Self) {
        let found = Self::ALL
            .iter()
            .find_map(|(suffix, extension)| name.strip_suffix(suffix).map(|name| (name, *extension)));
        found.unwrap_or((name, Self::Http))
    }
}

/// Which web action a path names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) namespace: String,
    pub(crate) package: Option<String>,
    pub(crate) action: String,
    pub(crate) extension: Extension,
    /// What comes behind the name, as it was sent; empty, or with its slash.
    pub(crate) path: String,
}

impl Target {
    /// Reads a path; `None` where it names no action.
    pub(crate) fn of(path: &str) -> Option<Self> {
        let mut segments = path.strip_prefix(PREFIX)?.splitn(4, '/');
        let mut name = || {
            let decoded = percent_decode_str(segments.next()?).decode_utf8().ok()?;
            (!decoded.is_empty()).then(|| decoded.into_owned())
        };
        let (namespace, package, last) = (name()?, name()?, name()?);
        let (action, extension) = Extension::split(&last);
        Some(Self {
            namespace,
            package: (package != NO_PACKAGE).then_some(package),
            action: action.to_owned(),
            extension,
            path: segments.next().map(|rest| format!("/{rest}")).unwrap_or_default(),
        })
    }

    /// The action's name within its namespace: `action` or `package/action`.
    pub(crate) fn name(&self) -> String {
        match &self.package {
            Some(package) => format!("{package}/{}", self.action),
            None => self.action.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(path: &str) -> Option<(String, String, Extension, String)> {
        let target = Target::of(path)?;
        Some((target.namespace.clone(), target.name(), target.extension, target.path))
    }

    #[test]
    fn reads_paths() {
        let is = |namespace: &str, name: &str, extension, path: &str| {
            Some((namespace.to_owned(), name.to_owned(), extension, path.to_owned()))
        };
        for (path, wanted) in [
            ("/api/v1/web/ns/default/hello", is("ns", "hello", Extension::Http, "")),
            ("/api/v1/web/ns/pkg/hello.json", is("ns", "pkg/hello", Extension::Json, "")),
            (
                "/api/v1/web/ns/pkg/hello.http/a%20b/c.html",
                is("ns", "pkg/hello", Extension::Http, "/a%20b/c.html"),
            ),
            ("/api/v1/web/ns/pkg/hello.html/", is("ns", "pkg/hello", Extension::Html, "/")),
            ("/api/v1/web/n%40s/a%20b/hello.svg", is("n@s", "a b/hello", Extension::Svg, "")),
            ("/api/v1/web/ns/default/a.b.text", is("ns", "a.b", Extension::Text, "")),
            ("/api/v1/web/ns/default/hello.jsonx", is("ns", "hello.jsonx", Extension::Http, "")),
            ("/api/v1/web/ns/default/.json", is("ns", "", Extension::Json, "")),
            ("/api/v1/web/ns/default/", None),
            ("/api/v1/web/ns/default", None),
            ("/api/v1/web//x/y", None),
            ("/api/v1/web/ns/default/%ff", None),
            ("/elsewhere", None),
        ] {
            assert_eq!(of(path), wanted, "{path}");
        }
    }
}

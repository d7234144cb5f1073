//! Language templates: how a function runs from its source, without an image.

/// How a function runs from its source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Runner {
    /// The environment.
    pub environment: &'static str,
    /// How its worker calls the handler.
    pub style: Option<&'static str>,
    /// The handler, by its place below the folder that is sent.
    pub handler: Option<&'static str>,
    /// Calls that one instance takes at a time; `None`: as the environment has it.
    pub concurrency: Option<u32>,
    /// What has to be built first.
    pub build: Option<Build>,
}

/// What has to be built before it is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Build {
    /// A Go program around `Handle(http.ResponseWriter, *http.Request)`.
    GoMiddleware,
    /// A Go program around `Handle(handler.Request) (handler.Response, error)` of OpenFaaS' templates SDK.
    GoHttp,
    /// A Go program around `Handle([]byte) string`.
    GoClassic,
}

/// Where a function's folder goes: handlers import their neighbours as parts of `function`.
pub const FOLDER: &str = "function";

/// The template's name, without a version: `python3-http@1.2` is `python3-http`.
pub fn template(lang: &str) -> String {
    lang.split('@').next().unwrap_or_default().trim().to_lowercase()
}

/// How functions of a template run from their source; `None` where only their image runs.
pub fn runner(lang: &str) -> Option<Runner> {
    let name = template(lang);
    let bare = name.strip_suffix("-debian").unwrap_or(&name);
    match bare {
        "python3-http" => Some(python("openfaas-http", Some(4))),
        "python3-flask" => Some(python("openfaas-flask", Some(4))),
        // A process per call there; here one call at a time, since what it prints is its answer.
        "python3" | "python" => Some(python("openfaas-classic", Some(1))),
        "node" => Some(node("openfaas-classic")),
        "golang-middleware" => Some(go(Build::GoMiddleware)),
        "golang-http" => Some(go(Build::GoHttp)),
        "go" => Some(go(Build::GoClassic)),
        _ if is_node(bare) => Some(node("openfaas")),
        _ => None,
    }
}

/// `node12`, `node22`, `node10-express` and kin: all of them call `(event, context)`.
fn is_node(name: &str) -> bool {
    let Some(rest) = name.strip_prefix("node") else { return false };
    let version = rest.trim_end_matches("-express").trim_end_matches("-multiarch");
    !version.is_empty() && version.bytes().all(|byte| byte.is_ascii_digit())
}

const fn python(style: &'static str, concurrency: Option<u32>) -> Runner {
    let handler = Some("function.handler");
    Runner { environment: "python", style: Some(style), handler, concurrency, build: None }
}

const fn node(style: &'static str) -> Runner {
    let handler = Some("function/handler");
    Runner { environment: "node", style: Some(style), handler, concurrency: None, build: None }
}

const fn go(build: Build) -> Runner {
    Runner { environment: "http", style: None, handler: None, concurrency: None, build: Some(build) }
}

/// The files of a function's folder that say what it depends on. They go beside the folder, too, which is where
/// an environment looks for them.
pub fn dependency_files(runner: &Runner) -> &'static [&'static str] {
    match runner.environment {
        "python" => &["requirements.txt", "constraints.txt", "pip.conf"],
        "node" => &["package.json", "package-lock.json", "npm-shrinkwrap.json", ".npmrc"],
        _ => &[],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates_that_run_from_source() {
        for (lang, environment, style) in [
            ("python3-http", "python", Some("openfaas-http")),
            ("python3-http-debian@2", "python", Some("openfaas-http")),
            ("python3-flask", "python", Some("openfaas-flask")),
            ("python3", "python", Some("openfaas-classic")),
            ("node22", "node", Some("openfaas")),
            ("node18-debian", "node", Some("openfaas")),
            ("node12-express", "node", Some("openfaas")),
            ("node", "node", Some("openfaas-classic")),
            ("golang-middleware", "http", None),
            ("Go", "http", None),
        ] {
            let runner = runner(lang).unwrap_or_else(|| panic!("{lang}"));
            assert_eq!((runner.environment, runner.style), (environment, style), "{lang}");
        }
        for lang in
            ["dockerfile", "Dockerfile", "php8", "java11", "csharp", "nodejs", "node12-express-service", ""]
        {
            assert_eq!(runner(lang), None, "{lang}");
        }
    }
}

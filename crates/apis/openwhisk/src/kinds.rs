//! Which kinds of actions there are, and what runs them here.

use serde_json::{Map, Value, json};
use std::sync::Arc;
use xebec_core::{environment::Environment, ports::control::Control};

/// What stands for the kind of a family that is taken where nobody says which.
const DEFAULT: &str = "default";

/// The driver of container images.
const DOCKER: &str = "docker";

/// A kind of actions.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Kind {
    /// Its family, e.g. `nodejs`.
    pub(crate) family: &'static str,
    /// Its version, e.g. `20`.
    version: &'static str,
    /// It is the one of its family that `family:default` means.
    default: bool,
    /// The image that runs it, where it is not run by a local environment.
    image: Option<&'static str>,
    /// The environment that runs it without an image.
    local: Option<Local>,
    /// An action must say what of its code is called.
    pub(crate) requires_main: bool,
}

/// What runs a kind without an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Local {
    /// One of our workers, of this environment.
    Worker(&'static str),
    /// A program that speaks ActionLoop.
    ActionLoop {
        /// The environment that makes one of source, and takes programs, too.
        builds: &'static str,
        /// The environment for programs, on machines that have no compiler.
        runs: &'static str,
    },
    /// A component that handles HTTP.
    Component(&'static str),
}

const fn kind(
    family: &'static str,
    version: &'static str,
    image: Option<&'static str>,
    local: Option<Local>,
) -> Kind {
    Kind { family, version, default: false, image, local, requires_main: false }
}

impl Kind {
    const fn by_default(mut self) -> Self {
        self.default = true;
        self
    }

    const fn with_main(mut self) -> Self {
        self.requires_main = true;
        self
    }
}

const NODE: Option<Local> = Some(Local::Worker("node"));
const PYTHON: Option<Local> = Some(Local::Worker("python"));
const GO: Option<Local> = Some(Local::ActionLoop { builds: "openwhisk-go", runs: "openwhisk-actionloop" });

/// All kinds that are known; those run that something here can run.
const KINDS: &[Kind] = &[
    kind("nodejs", "18", Some("openwhisk/action-nodejs-v18:nightly"), NODE),
    kind("nodejs", "20", Some("openwhisk/action-nodejs-v20:nightly"), NODE).by_default(),
    kind("nodejs", "22", None, NODE),
    kind("python", "3.10", Some("openwhisk/action-python-v3.10:nightly"), PYTHON).by_default(),
    kind("python", "3.11", Some("openwhisk/action-python-v3.11:nightly"), PYTHON),
    kind("python", "3.12", None, PYTHON),
    kind("go", "1.20", Some("openwhisk/action-golang-v1.20:nightly"), GO).by_default(),
    kind("java", "8", Some("openwhisk/java8action:nightly"), None).by_default().with_main(),
    kind("php", "8.1", Some("openwhisk/action-php-v8.1:nightly"), None).by_default(),
    kind("ruby", "2.5", Some("openwhisk/action-ruby-v2.5:nightly"), None).by_default(),
    kind("swift", "5.3", Some("openwhisk/action-swift-v5.3:nightly"), None).by_default(),
    kind("swift", "5.7", Some("openwhisk/action-swift-v5.7:nightly"), None),
    kind("dotnet", "3.1", Some("openwhisk/action-dotnet-v3.1:nightly"), None).by_default().with_main(),
    kind("dotnet", "6.0", Some("openwhisk/action-dotnet-v6.0:nightly"), None).with_main(),
    kind("rust", "1.34", Some("openwhisk/action-rust-v1.34:nightly"), None).by_default(),
    kind("wasm", "1", None, Some(Local::Component("openwhisk-wasm"))).by_default(),
];

/// What runs an action.
#[derive(Clone, Debug)]
pub(crate) enum Place {
    /// An environment of this machine, by its own command.
    Local(Local, Arc<Environment>),
    /// A container image.
    Image(String, Arc<Environment>),
    /// An environment that stands in for an image.
    StandIn(Arc<Environment>),
}

impl Place {
    /// Whether nothing is to be made of the code: none of the environment's build steps is run.
    pub(crate) fn takes_code_as_it_is(&self) -> bool {
        match self {
            Self::Local(Local::ActionLoop { builds, .. }, environment) => environment.name != *builds,
            _ => true,
        }
    }
}

impl Kind {
    /// Its name, e.g. `nodejs:20`.
    pub(crate) fn name(&self) -> String {
        format!("{}:{}", self.family, self.version)
    }

    /// Whether a text names it.
    fn is_called(&self, text: &str) -> bool {
        text.split_once(':').is_some_and(|(family, version)| {
            family == self.family && (version == self.version || (version == DEFAULT && self.default))
        })
    }

    /// What runs it here; `source`: its code is text.
    pub(crate) fn place(&self, host: &Host<'_>, source: bool) -> Option<Place> {
        let local = self.local.and_then(|local| {
            let environment = match local {
                Local::Worker(name) | Local::Component(name) => host.environment(name),
                Local::ActionLoop { builds, .. } if source => host.environment(builds),
                Local::ActionLoop { builds, runs } => {
                    host.environment(builds).or_else(|| host.environment(runs))
                }
            };
            Some(Place::Local(local, environment?))
        });
        local.or_else(|| host.place_of_image(self.image?))
    }

    /// Whether anything of it runs here.
    fn runs(&self, host: &Host<'_>) -> bool {
        self.place(host, false).is_some() || self.place(host, true).is_some()
    }
}

/// What this machine can run.
pub(crate) struct Host<'a> {
    control: &'a dyn Control,
    /// Environments with all the programs that they need.
    ready: Vec<String>,
    has_containers: bool,
}

impl<'a> Host<'a> {
    pub(crate) fn new(control: &'a dyn Control) -> Self {
        let drivers = control.drivers();
        let usable = |name: &str| drivers.iter().any(|report| report.driver == name && report.usable);
        let environments = control.environments().into_iter();
        let ready = environments
            .filter(|environment| environment.missing.is_empty() && usable(&environment.driver))
            .map(|environment| environment.name)
            .collect();
        Self { control, ready, has_containers: usable(DOCKER) }
    }

    fn environment(&self, name: &str) -> Option<Arc<Environment>> {
        self.ready.iter().any(|ready| ready == name).then(|| self.control.environment(name)).flatten()
    }

    /// The kind of that name, or the default of a family. `None`: there is none, or nothing here can run it.
    pub(crate) fn kind(&self, name: &str) -> Option<&'static Kind> {
        KINDS.iter().find(|kind| kind.is_called(name)).filter(|kind| kind.runs(self))
    }

    /// Names of all kinds that run here, and of those that are none of a language.
    pub(crate) fn names(&self) -> Vec<String> {
        let kinds = KINDS.iter().filter(|kind| kind.runs(self)).map(Kind::name);
        kinds.chain(["sequence".to_owned(), "blackbox".to_owned()]).collect()
    }

    /// What runs an image.
    pub(crate) fn place_of_image(&self, image: &str) -> Option<Place> {
        let environment = self.control.stands_in_for(image)?;
        match environment.driver == DOCKER {
            // One with an image of its own may keep containers of it ready.
            true if environment.image.is_some() => self.has_containers.then_some(Place::StandIn(environment)),
            true => self.has_containers.then(|| Place::Image(image.to_owned(), environment)),
            false => self.environment(&environment.name).map(Place::StandIn),
        }
    }
}

/// The kind of that name, whether anything here can run it or not.
pub(crate) fn known(name: &str) -> Option<&'static Kind> {
    KINDS.iter().find(|kind| kind.is_called(name))
}

/// The kinds that run here, by family, as `GET /` tells them. `wskdeploy` chooses by it.
pub(crate) fn manifest(control: &dyn Control) -> Value {
    let host = Host::new(control);
    let mut families: Map<String, Value> = Map::new();
    for kind in KINDS.iter().filter(|kind| kind.runs(&host)) {
        let image = kind.image.map_or_else(|| format!("xebec/{}", kind.family), str::to_owned);
        let described = json!({
            "kind": kind.name(),
            "image": image,
            "deprecated": false,
            "default": kind.default,
            "attached": true,
            "requireMain": kind.requires_main,
        });
        let family = families.entry(kind.family).or_insert_with(|| Value::Array(Vec::new()));
        if let Value::Array(kinds) = family {
            kinds.push(described);
        }
    }
    Value::Object(families)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_family_has_one_default() {
        for kind in KINDS {
            let defaults = KINDS.iter().filter(|other| other.family == kind.family && other.default).count();
            assert_eq!(defaults, 1, "{}", kind.family);
        }
    }

    #[test]
    fn names_and_defaults() {
        assert_eq!(known("nodejs:default").map(Kind::name).as_deref(), Some("nodejs:20"));
        assert_eq!(known("python:3.11").map(Kind::name).as_deref(), Some("python:3.11"));
        assert_eq!(known("wasm:default").map(Kind::name).as_deref(), Some("wasm:1"));
        for unknown in ["nodejs", "nodejs:6", "default", "", "cobol:default", ":"] {
            assert!(known(unknown).is_none(), "{unknown}");
        }
    }
}

//! The table.

use crate::{builtin, needs, pattern};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, sync::Arc};
use xebec_core::{
    Error,
    environment::{Environment, Environments},
    names,
};

/// An image, or many, and the environment that stands in for it: `[[images]]` of the configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImageRule {
    /// Which images: `*` stands for any characters, `?` for one.
    #[serde(rename = "match")]
    pub pattern: String,
    /// The environment that runs them.
    pub environment: String,
    /// The command that they run, in place of the environment's.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub command: Vec<String>,
}

/// The table of environments and images.
#[derive(Clone, Debug)]
pub struct Table {
    environments: BTreeMap<String, Arc<Environment>>,
    /// With its environment; the first that matches counts.
    images: Vec<(String, Arc<Environment>)>,
}

impl Table {
    /// What is built in.
    pub fn builtin() -> Self {
        // A test reads it; it cannot change afterwards.
        #[allow(clippy::expect_used, reason = "the table is part of the program")]
        Self::new(Vec::new(), Vec::new()).expect("the built-in table is sound")
    }

    /// What is built in, and what the configuration adds. An environment of the configuration replaces a
    /// built-in one of its name; its images are tried before the built-in ones.
    ///
    /// # Errors
    /// `XB6020`, naming the entry at fault and what is wrong with it.
    pub fn new(environments: Vec<Environment>, images: Vec<ImageRule>) -> Result<Self, Error> {
        let builtin = builtin::read();
        let mut table = Self { environments: BTreeMap::new(), images: Vec::new() };
        for environment in builtin.environments {
            table.environments.insert(environment.name.clone(), Arc::new(environment));
        }
        let mut seen = Vec::new();
        for environment in environments {
            check(&environment)?;
            if seen.contains(&environment.name) {
                return Err(fault(format!("the environment {:?} is given twice", environment.name)));
            }
            seen.push(environment.name.clone());
            table.environments.insert(environment.name.clone(), Arc::new(environment));
        }
        for rule in images.into_iter().chain(builtin.images) {
            table.add_image(rule)?;
        }
        Ok(table)
    }

    fn add_image(&mut self, rule: ImageRule) -> Result<(), Error> {
        let ImageRule { pattern, environment: name, command } = rule;
        let Some(environment) = self.environments.get(&name) else {
            return Err(fault(format!("[[images]] match = {pattern:?}: there is no environment {name:?}"))
                .with_hint(format!("there are: {}", self.names().join(", "))));
        };
        let environment = if command.is_empty() {
            environment.clone()
        } else {
            // It has a name of its own, so that revisions which name it find the command again.
            let name = format!("{name}@{pattern}");
            let own =
                Arc::new(Environment { name: name.clone(), command, ..Environment::clone(environment) });
            self.environments.insert(name, own.clone());
            own
        };
        self.images.push((pattern, environment));
        Ok(())
    }
}

impl Environments for Table {
    fn environment(&self, name: &str) -> Option<Arc<Environment>> {
        self.environments.get(name).cloned()
    }

    fn stands_in_for(&self, image: &str) -> Option<Arc<Environment>> {
        self.images
            .iter()
            .find(|(pattern, _)| pattern::matches(pattern, image))
            .map(|(_, found)| found.clone())
    }

    fn missing(&self, environment: &Environment) -> Vec<String> {
        needs::missing(environment)
    }

    fn names(&self) -> Vec<String> {
        self.environments.keys().filter(|name| !name.contains('@')).cloned().collect()
    }
}

fn check(environment: &Environment) -> Result<(), Error> {
    let fault = |what: String| Err(fault(format!("the environment {:?}: {what}", environment.name)));
    if let Err(error) = names::check_dns_label("environment", &environment.name) {
        return fault(error.to_string());
    }
    if !["process", "wasm", "docker", "builtin"].contains(&environment.driver.as_str()) {
        return fault(format!("there is no driver {:?}; use process, wasm or docker", environment.driver));
    }
    if environment.concurrency == 0 {
        return fault("concurrency must be 1 or more".to_owned());
    }
    if environment.image.is_some() && environment.driver != "docker" {
        return fault(format!("the driver {} runs no image", environment.driver));
    }
    if environment.blanks.is_some() && environment.command.is_empty() && environment.image.is_none() {
        return fault("blanks need a command that starts a worker, or an image".to_owned());
    }
    for step in &environment.build {
        if step.command.is_empty() || step.when.is_empty() {
            return fault("a build step needs `when` and `command`".to_owned());
        }
        if !step.mount.starts_with("/app/") || step.mount.split('/').any(|part| part == "..") {
            return fault(format!("build: mount = {:?} is not below /app/", step.mount));
        }
    }
    Ok(())
}

fn fault(message: String) -> Error {
    Error::invalid("XB6020", message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use xebec_core::revision::ContractSpec;

    fn environment(text: &str) -> Environment {
        toml::from_str(text).unwrap()
    }

    fn minimal(name: &str) -> Environment {
        environment(&format!("name = {name:?}\ndriver = \"process\"\ncontract = {{ name = \"stdio\" }}\n"))
    }

    fn rule(pattern: &str, environment: &str, command: &[&str]) -> ImageRule {
        ImageRule {
            pattern: pattern.to_owned(),
            environment: environment.to_owned(),
            command: command.iter().map(|&part| part.to_owned()).collect(),
        }
    }

    #[test]
    fn what_is_built_in() {
        let table = Table::builtin();
        let names = [
            "builtin",
            "exec",
            "http",
            "image",
            "node",
            "openwhisk-actionloop",
            "openwhisk-go",
            "openwhisk-skeleton",
            "openwhisk-wasm",
            "python",
            "wasi-command",
            "wasm",
        ];
        assert_eq!(table.names(), names);
        for name in table.names() {
            let found = table.environment(&name).unwrap();
            check(&found).unwrap();
            assert!(!found.description.is_empty() && found.concurrency > 0, "{name}");
        }
        assert_eq!(table.environment("exec").unwrap().contract, ContractSpec::named("stdio"));
        assert!(table.environment("nothing").is_none());
        for image in
            ["ghcr.io/openfaas/alpine:latest", "functions/alpine:3.2", "ghcr.io/openfaas/alpine@sha256:00"]
        {
            assert_eq!(table.stands_in_for(image).unwrap().name, "exec", "{image}");
        }
        for (image, environment) in [
            ("openwhisk/dockerskeleton", "openwhisk-skeleton"),
            ("docker.io/openwhisk/dockerskeleton:1.15.0", "openwhisk-skeleton"),
            ("openwhisk/actionloop-base:nightly", "openwhisk-actionloop"),
            ("docker.io/openwhisk/actionloop", "openwhisk-actionloop"),
        ] {
            assert_eq!(table.stands_in_for(image).unwrap().name, environment, "{image}");
        }
        assert_eq!(table.stands_in_for("openwhisk/action-golang-v1.20").unwrap().driver, "docker");
        assert_eq!(table.stands_in_for("ghcr.io/openfaas/figlet:latest").unwrap().driver, "docker");
    }

    #[test]
    fn the_configuration_goes_first() {
        let own = Environment { description: "ours".to_owned(), ..minimal("exec") };
        let images =
            vec![rule("functions/alpine:special", "python", &[]), rule("functions/*", "own", &["./run"])];
        let table = Table::new(vec![own, minimal("own")], images).unwrap();
        assert_eq!(table.environment("exec").unwrap().description, "ours");
        assert_eq!(table.stands_in_for("functions/alpine:special").unwrap().name, "python");
        assert_eq!(table.stands_in_for("ghcr.io/openfaas/alpine:1").unwrap().description, "ours");
        let special = table.stands_in_for("functions/alpine:3").unwrap();
        assert_eq!(special.command, ["./run"]);
        assert_eq!(table.environment(&special.name).unwrap(), special);
        assert!(!table.names().contains(&special.name));
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (environments, images, expected) in [
            (vec![minimal("a"), minimal("a")], vec![], "given twice"),
            (vec![minimal("A b")], vec![], "not a valid name"),
            (vec![Environment { driver: "x".to_owned(), ..minimal("a") }], vec![], "no driver \"x\""),
            (vec![Environment { concurrency: 0, ..minimal("a") }], vec![], "concurrency"),
            (vec![], vec![rule("x", "nothing", &[])], "no environment \"nothing\""),
        ] {
            let error = Table::new(environments, images).unwrap_err();
            assert_eq!(error.code, "XB6020");
            assert!(error.message.contains(expected), "{error}");
        }
        let mounted = environment(
            "name = \"a\"\ndriver = \"process\"\ncontract = { name = \"stdio\" }\n\
             [[build]]\nwhen = \"x\"\ncache_key = []\ncommand = [\"true\"]\nmount = \"/app/../etc\"\n",
        );
        assert!(Table::new(vec![mounted], vec![]).unwrap_err().message.contains("mount"));
    }

    #[test]
    fn images_that_are_handed_their_code() {
        let java = environment(
            "name = \"java\"\ndriver = \"docker\"\nimage = \"openwhisk/java8action\"\n\
             contract = { name = \"init-run\" }\nblanks = { keep = 1, from = \"started\" }\n",
        );
        let table = Table::new(vec![java.clone()], vec![]).unwrap();
        assert_eq!(*table.environment("java").unwrap(), java);
        let misplaced = Environment { driver: "process".to_owned(), ..java };
        assert!(Table::new(vec![misplaced], vec![]).unwrap_err().message.contains("runs no image"));
    }
}
